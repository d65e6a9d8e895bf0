//! A tree of processes as /proc shows it: what a checkpoint must not change.
//!
//! The comparison catches what a guest does not look at itself. Left out is what no restore can or should keep
//! (times, inode numbers of pipes and sockets, cpu masks, statistics).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::leftovers::state_and_parent;
use crate::patience;
use crate::reaper::Pid;
use mappings::Mappings;

mod mappings;

/// Lines `PLACE FIELD: VALUE`, by process, thread or descriptor; and the mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    lines: Lines,
    mappings: Mappings,
}

type Lines = BTreeMap<String, String>;

/// The fields of /proc/PID/status that belong to the task itself.
const STATUS: &[&str] = &[
    "Name",
    "Umask",
    "Tgid",
    "Ngid",
    "Pid",
    "Uid",
    "Gid",
    "Groups",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "Kthread",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "THP_enabled",
    "untag_mask",
];

/// Files that are compared as they stand.
const WHOLE: &[&str] = &[
    "limits",
    "personality",
    "oom_score_adj",
    "coredump_filter",
    "cmdline",
    "environ",
    "auxv",
    "timers",
];

/// The fields of a descriptor's fdinfo that say what the description is, not when or under which number.
const FDINFO: &[&str] = &[
    "pos",
    "flags",
    "eventfd-count",
    "eventfd-semaphore",
    "sigmask",
    "clockid",
    "ticks",
    "settime flags",
    "Pid",
];

impl Snapshot {
    /// Taken once the tree has come to rest, or after half a second if it never does.
    pub fn settled(root: Pid) -> Snapshot {
        let deadline = patience::deadline(Duration::from_millis(500));
        let mut last = Snapshot::take(root);
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let next = Snapshot::take(root);
            if (next == last && !busy(root)) || Instant::now() > deadline {
                return next;
            }
            last = next;
        }
    }

    /// Taken at once.
    pub fn take(root: Pid) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut todo = vec![(root, None)];
        while let Some((pid, parent)) = todo.pop() {
            process(pid, parent, &mut snapshot);
            todo.extend(children(pid).into_iter().map(|child| (child, Some(pid))));
        }
        snapshot
    }

    /// Panics when a thread of the tree is still traced: after a dump that failed, none may be.
    pub fn assert_free(root: Pid) {
        if let Some(traced) = traced(root) {
            panic!("{traced}");
        }
    }

    /// Whether no thread of the tree is traced.
    pub fn is_free(root: Pid) -> bool {
        traced(root).is_none()
    }

    /// Nothing differs that must not.
    pub fn same(&self, after: &Snapshot) -> bool {
        self.differences(after, &[]).is_empty()
    }

    /// Panics with what differs. `except` names fields to be left out, or `mapping` for all mappings.
    #[track_caller]
    pub fn assert_same(&self, after: &Snapshot, except: &[&str], what: &str) {
        let mut differences = self.differences(after, except);
        let more = differences.len().saturating_sub(25);
        differences.truncate(25);
        assert!(
            differences.is_empty(),
            "{what} changed:\n  {}\n  and {more} more",
            differences.join("\n  ")
        );
    }

    fn differences(&self, after: &Snapshot, except: &[&str]) -> Vec<String> {
        let mut differences = Vec::new();
        let keys: BTreeSet<_> = self.lines.keys().chain(after.lines.keys()).collect();
        for key in keys {
            let field = key.rsplit_once(' ').map_or(key.as_str(), |(_, field)| field);
            let (old, new) = (self.lines.get(key), after.lines.get(key));
            if old != new && !except.contains(&field) {
                let show = |v: Option<&String>| v.map_or("(absent)".to_owned(), |v| shorten(v));
                differences.push(format!(
                    "{key}\n    before: {}\n    after:  {}",
                    show(old),
                    show(new)
                ));
            }
        }
        if !except.contains(&"mapping") {
            differences.extend(self.mappings.differences(&after.mappings));
        }
        differences
    }
}

/// A thread of the tree that is traced, but for those that the tree traces itself.
fn traced(root: Pid) -> Option<String> {
    let mut tree = vec![root];
    let mut index = 0;
    while let Some(&pid) = tree.get(index) {
        tree.extend(children(pid));
        index += 1;
    }
    tree.iter().find_map(|&pid| traced_from_outside(pid, &tree))
}

fn traced_from_outside(root: Pid, tree: &[Pid]) -> Option<String> {
    for tid in numbers(&format!("/proc/{root}/task")) {
        let Ok(status) = fs::read_to_string(format!("/proc/{root}/task/{tid}/status")) else {
            // It has ended since.
            continue;
        };
        let field = |name: &str| {
            status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .unwrap_or("")
                .trim()
        };
        let tracer = field("TracerPid:");
        if tracer.parse().is_ok_and(|tracer| tree.contains(&tracer)) {
            continue;
        }
        if tracer != "0" {
            return Some(format!("thread {tid} is traced by {tracer}"));
        }
        if field("State:").starts_with('t') {
            return Some(format!("thread {tid} is in a tracing stop"));
        }
    }
    None
}

fn shorten(text: &str) -> String {
    if text.len() <= 600 {
        text.to_owned()
    } else {
        format!("{}...", text.chars().take(600).collect::<String>())
    }
}

/// Some thread of the tree runs or waits for a processor.
fn busy(root: Pid) -> bool {
    let running = |tid: &Pid| state_and_parent(*tid).is_some_and(|(state, _)| state == 'R' || state == 'D');
    numbers(&format!("/proc/{root}/task")).iter().any(running) || children(root).into_iter().any(busy)
}

/// The children of all threads of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let mut found: Vec<Pid> = Vec::new();
    for tid in numbers(&format!("/proc/{pid}/task")) {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|n| n.parse::<Pid>().ok()));
    }
    found
}

fn numbers(folder: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut all: Vec<i32> = entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    all.sort_unstable();
    all
}

fn process(pid: Pid, parent: Option<Pid>, snapshot: &mut Snapshot) {
    let lines = &mut snapshot.lines;
    let Some((state, _)) = state_and_parent(pid) else {
        return;
    };
    let stopped = if state == 'T' || state == 'Z' { state } else { 'S' };
    lines.insert(format!("{pid} state"), stopped.to_string());
    if let Some(parent) = parent {
        lines.insert(format!("{pid} parent"), parent.to_string());
    }
    if state == 'Z' {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        lines.insert(
            format!("{pid} exit_code"),
            stat.split_whitespace().last().unwrap_or("").to_owned(),
        );
        return;
    }
    for file in WHOLE {
        if let Ok(bytes) = fs::read(format!("/proc/{pid}/{file}")) {
            let text = String::from_utf8_lossy(&bytes).replace('\0', "|");
            // The peers' remaining times in `timers` move on; ids, signals and clocks do not.
            lines.insert(format!("{pid} {file}"), text);
        }
    }
    for link in ["exe", "cwd", "root"] {
        if let Ok(to) = fs::read_link(format!("/proc/{pid}/{link}")) {
            lines.insert(format!("{pid} {link}"), plain(&to.to_string_lossy()));
        }
    }
    let mut threads = numbers(&format!("/proc/{pid}/task"));
    threads.retain(|tid| !is_worker(pid, *tid));
    lines.insert(format!("{pid} threads"), threads.len().to_string());
    for tid in threads {
        thread(pid, tid, lines);
    }
    snapshot.mappings.read(pid);
    for fd in numbers(&format!("/proc/{pid}/fd")) {
        descriptor(pid, fd, lines);
    }
}

/// Whether the kernel has made a thread for its own work (`PF_IO_WORKER`, `PF_USER_WORKER`): it makes and ends them as
/// it likes.
fn is_worker(pid: Pid, tid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| {
        // The flags are field 9 of proc_pid_stat(5), the state field 3.
        rest.split_whitespace().nth(9 - 3)?.parse::<u64>().ok()
    });
    flags.is_some_and(|flags| flags & (0x10 | 0x4000) != 0)
}

fn thread(pid: Pid, tid: Pid, lines: &mut Lines) {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    for line in status.lines() {
        if let Some((name, value)) = line.split_once(':')
            && STATUS.contains(&name)
        {
            lines.insert(format!("{pid} thread {tid} {name}"), value.trim().to_owned());
        }
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    if let Some((_, rest)) = stat.rsplit_once(") ") {
        // proc_pid_stat(5), counted from the state (field 3).
        let fields: Vec<_> = rest.split_whitespace().collect();
        for (name, number) in [
            ("tty_nr", 7),
            ("tpgid", 8),
            ("nice", 19),
            ("rt_priority", 40),
            ("policy", 41),
        ] {
            let value = fields.get(number - 3).copied().unwrap_or_default();
            // A pty may come back under another number.
            let value = if name == "tty_nr" && value != "0" {
                "a terminal"
            } else {
                value
            };
            lines.insert(format!("{pid} thread {tid} {name}"), value.to_owned());
        }
    }
}

fn descriptor(pid: Pid, fd: i32, lines: &mut Lines) {
    let Ok(to) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else {
        return;
    };
    lines.insert(format!("{pid} fd {fd} is"), plain(&to.to_string_lossy()));
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    for line in info.lines() {
        if let Some((name, value)) = line.split_once(':')
            && FDINFO.contains(&name)
        {
            lines.insert(
                format!("{pid} fd {fd} {}", name.replace(' ', "-")),
                value.trim().to_owned(),
            );
        }
    }
    let watched: Vec<String> = info.lines().filter_map(epoll_entry).collect();
    if !watched.is_empty() {
        let mut watched = watched;
        watched.sort_unstable();
        lines.insert(format!("{pid} fd {fd} epoll"), watched.join("; "));
    }
}

/// `tfd: N events: M data: D` without the inode that follows.
fn epoll_entry(line: &str) -> Option<String> {
    let line = line.strip_prefix("tfd:")?;
    let words: Vec<_> = line.split_whitespace().take(5).collect();
    Some(words.join(" "))
}

/// A path without what differs from run to run: the inode of a pipe, the number of a pty, a deleted file's name.
fn plain(path: &str) -> String {
    if path.ends_with(" (deleted)") {
        return "a deleted file".to_owned();
    }
    if path.starts_with("/dev/pts/") {
        return "/dev/pts/N".to_owned();
    }
    match path.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => path.to_owned(),
    }
}
