//! Looks at tasks from outside.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use criu_plugin_api::message::{TaskImage, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Result, Verdict, image};

use crate::entry::{Attributes, IMAGE, Policy, Range, Thread};
use crate::{affinity, numa, sys};

/// What the kernel gives the first process (`MMF_DUMP_FILTER_DEFAULT`; with huge pages).
const DUMP_FILTER: u32 = 0x33;
/// Pages of a process whose mappings are looked at in any case: 64 MiB, in about 0.3 ms.
const FEW_PAGES: u64 = 1 << 14;
/// Bytes that hold the beginning of a line with its policy.
const FIRST_LINE: u64 = 256;
/// Bytes of the text about mappings that are read where it matters little.
const MOST_TEXT: u64 = 64 << 10;
/// Threads that are looked at for memory policies in any case, and for which another worker is worth starting.
const FEW_THREADS: usize = 64;
const MOST_WORKERS: usize = 8;
/// Bytes that the kernel gives by one read.
const PAGE: usize = 4096;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    found: Vec<Attributes>,
    unrestricted: Option<Vec<u8>>,
    one_node: Option<bool>,
    /// By session.
    speakers: Option<HashMap<i32, i32>>,
}

/// What was found of one thread.
struct Looked {
    tid: i32,
    /// Nothing of one that is in a group of core scheduling.
    found: Result<Option<Thread>>,
}

impl Dump {
    /// Looks at a process.
    pub(crate) fn task(&mut self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        let pid = task.host_pid;
        let mut found = Attributes {
            pid: task.pid,
            dump_filter: dump_filter(pid)?.filter(|&filter| filter != DUMP_FILTER),
            autogroup: autogroup(host, task, &mut self.speakers)?.filter(|&nice| nice != 0),
            ..Attributes::default()
        };
        let mut own = Policy::default();
        let one_node = self.one_node();
        let looks_at_threads = !one_node || task.threads.len() <= FEW_THREADS;
        let unrestricted = self.unrestricted()?;
        for looked in of_threads(pid, &task.threads, unrestricted) {
            let tid = looked.tid;
            let mut thread = match looked.found? {
                Some(thread) => thread,
                None => {
                    return Ok(Verdict::refused(
                        format!("thread {tid} of process {pid}"),
                        "is in a group of core scheduling (PR_SCHED_CORE), which is not supported",
                    ));
                }
            };
            if tid == task.pid {
                let maps = if !one_node || has_few_pages(pid) {
                    policies(pid, tid, if one_node { MOST_TEXT } else { u64::MAX })?
                } else {
                    Vec::new()
                };
                let first = match maps.first() {
                    Some(first) => vec![first.clone()],
                    None => policies(pid, tid, FIRST_LINE)?,
                };
                // A mapping is shown with the default policy only if its thread has that too.
                if first.iter().any(|(_, policy)| policy.mode != numa::DEFAULT) {
                    own = leader_policy(host, pid)?;
                }
                found.ranges = ranges(pid, &maps, &own)?;
                thread.policy = (own.mode != numa::DEFAULT).then(|| own.clone());
            } else if looks_at_threads {
                thread.policy = thread_policy(pid, tid, &found.ranges, &own)?;
            }
            if !thread.is_plain() {
                found.threads.push(thread);
            }
        }
        let plain = Attributes {
            pid: found.pid,
            ..Attributes::default()
        };
        if found != plain {
            self.found.push(found);
        }
        Ok(Verdict::NotMine)
    }

    /// Whether all memory is on one node. Policies have no effect then, and are looked for only where that is cheap:
    /// the kernel tells those of mappings together with counts of all pages.
    fn one_node(&mut self) -> bool {
        *self.one_node.get_or_insert_with(|| {
            let possible = std::fs::read_to_string("/sys/devices/system/node/possible");
            possible.is_ok_and(|text| text.trim() == "0")
        })
    }

    /// The processors of threads that ask for none.
    fn unrestricted(&mut self) -> Result<&[u8]> {
        let known = match self.unrestricted.take() {
            Some(known) => known,
            None => affinity::unrestricted()?,
        };
        Ok(self.unrestricted.insert(known))
    }

    /// Writes the image, if there is anything to say.
    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &IMAGE)?;
        for attributes in &self.found {
            writer.entry(attributes)?;
        }
        writer.finish()?;
        Ok(())
    }
}

/// Looks at all threads of a process; at many with more than one thread.
fn of_threads(pid: i32, tids: &[i32], unrestricted: &[u8]) -> Vec<Looked> {
    let look = |tids: &[i32]| -> Vec<Looked> {
        let looked = tids.iter().map(|&tid| Looked {
            tid,
            found: of_thread(pid, tid, unrestricted),
        });
        looked.collect()
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = tids.len().div_ceil(workers.min(MOST_WORKERS)).max(FEW_THREADS);
    let mut shares = tids.chunks(share);
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| (share, scope.spawn(|| look(share)))).collect();
        let mut all = look(own);
        for (share, other) in others {
            all.extend(other.join().unwrap_or_else(|_| look(share)));
        }
        all
    })
}

/// What a thread has, but its memory policy.
fn of_thread(pid: i32, tid: i32, unrestricted: &[u8]) -> Result<Option<Thread>> {
    let object = || format!("thread {tid} of process {pid}");
    if sys::core_cookie(tid) != 0 {
        return Ok(None);
    }
    let processors = sys::affinity(tid).context(|| format!("reading the processors of {}", object()))?;
    let io_priority =
        sys::io_priority(tid).context(|| format!("reading the I/O priority of {}", object()))?;
    let restricted = !affinity::same(&processors, unrestricted)
        && !affinity::of_group(tid).is_some_and(|group| affinity::same(&processors, &group));
    Ok(Some(Thread {
        tid,
        processors: restricted.then_some(processors),
        io_priority: (io_priority != 0).then_some(io_priority),
        policy: None,
    }))
}

/// Whether so little of a process is in memory that its mappings are looked at in any case.
fn has_few_pages(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let resident = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.is_some_and(|pages| pages <= FEW_PAGES)
}

/// The mappings of a process with the policies that a thread sees: their own, or else that of the thread. Of no more
/// than the first bytes that are asked for: what a line that is cut off there belongs to is not seen.
fn policies(pid: i32, tid: i32, most: u64) -> Result<Vec<(u64, Policy)>> {
    let path = format!("/proc/{pid}/task/{tid}/numa_maps");
    // Not there without CONFIG_NUMA.
    let Ok(file) = std::fs::File::open(&path) else {
        return Ok(Vec::new());
    };
    let mut text = Vec::new();
    if most == FIRST_LINE {
        // By one call: the kernel stops at the line that fills it.
        let mut line = [0; FIRST_LINE as usize];
        let length = (&file).read(&mut line).context(|| format!("reading {path}"))?;
        text.extend(
            line[..length]
                .split_inclusive(|&byte| byte == b'\n')
                .next()
                .unwrap_or_default(),
        );
    } else {
        text.reserve(PAGE);
        file.take(most)
            .read_to_end(&mut text)
            .context(|| format!("reading {path}"))?;
        if text.len() as u64 == most {
            let whole = text
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            text.truncate(whole);
        }
    }
    let lines = text.split(|&byte| byte == b'\n');
    let lines = lines.map(String::from_utf8_lossy).filter(|line| !line.is_empty());
    lines
        .map(|line| numa::line(&line).ok_or_else(|| Error::new(format!("{path}: {line:?} does not parse"))))
        .collect()
}

/// The policy of a thread that does not lead: what it sees of the first mapping that has none of its own.
fn thread_policy(pid: i32, tid: i32, own: &[Range], leader: &Policy) -> Result<Option<Policy>> {
    let foreign = |start: u64| own.iter().any(|range| range.start == start);
    let first = policies(pid, tid, FIRST_LINE)?.into_iter().next();
    let policy = match first {
        Some((start, policy)) if !foreign(start) => policy,
        None => return Ok(None),
        // Rare: somebody has bound the program's first page.
        Some(_) => {
            let all = policies(pid, tid, u64::MAX)?;
            let plain = all.into_iter().find(|(start, _)| !foreign(*start));
            plain.map_or_else(|| leader.clone(), |(_, policy)| policy)
        }
    };
    Ok((policy.mode != numa::DEFAULT).then_some(policy))
}

/// get_mempolicy(2) of the leading thread.
fn leader_policy(host: &Host<'_>, pid: i32) -> Result<Policy> {
    use criu_plugin_api::message::{RemoteArg, RemoteCall};
    /// Bits of the mask; more than any kernel has.
    const BITS: u64 = 1024;
    let room = |room| RemoteArg {
        room,
        ..RemoteArg::default()
    };
    let value = |value| RemoteArg {
        value,
        ..RemoteArg::default()
    };
    let result = host.remote_call(&RemoteCall {
        pid,
        nr: libc::SYS_get_mempolicy,
        args: vec![room(4), room((BITS / 8) as u32), value(BITS), value(0), value(0)],
    })?;
    if result.value < 0 || result.data.len() != 2 {
        let errno = nix::errno::Errno::from_raw(i32::try_from(-result.value).unwrap_or(0));
        return Err(Error::new(format!(
            "asking process {pid} for its memory policy: {}",
            errno.desc()
        )));
    }
    let bytes = |chunk: &[u8]| std::array::from_fn(|i| chunk.get(i).copied().unwrap_or(0));
    let mode = u32::from_ne_bytes(std::array::from_fn(|i| {
        result.data[0].get(i).copied().unwrap_or(0)
    }));
    let mut nodes: Vec<u64> = result.data[1]
        .chunks(8)
        .map(|chunk| u64::from_ne_bytes(bytes(chunk)))
        .collect();
    while nodes.last() == Some(&0) {
        nodes.pop();
    }
    Ok(Policy {
        mode: mode & 0xfff,
        flags: mode & !0xfff,
        nodes,
    })
}

/// The mappings whose policy is not that of the thread.
fn ranges(pid: i32, maps: &[(u64, Policy)], own: &Policy) -> Result<Vec<Range>> {
    let mut differing = maps.iter().filter(|(_, policy)| policy != own).peekable();
    if differing.peek().is_none() {
        return Ok(Vec::new());
    }
    let path = format!("/proc/{pid}/maps");
    let text = std::fs::read(&path).context(|| format!("reading {path}"))?;
    let mut ends = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        if let Some((start, end)) = range
            && let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            ends.insert(start, end);
        }
    }
    differing
        .map(|(start, policy)| {
            let end = ends.get(start).copied();
            let end = end.ok_or_else(|| Error::new(format!("{path} has no mapping at {start:#x}")))?;
            Ok(Range {
                start: *start,
                end,
                policy: policy.clone(),
            })
        })
        .collect()
}

fn dump_filter(pid: i32) -> Result<Option<u32>> {
    // Not there without CONFIG_ELF_CORE.
    let path = format!("/proc/{pid}/coredump_filter");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(None);
    };
    let value = u32::from_str_radix(text.trim(), 16);
    value
        .map(Some)
        .map_err(|error| Error::new(format!("{path}: {error}")))
}

/// Of each session whose leader is dead but in the tree: the process that comes first and speaks for it.
fn speakers_of(tasks: &[TaskInfo]) -> HashMap<i32, i32> {
    let leaders = tasks.iter().filter(|task| task.dead && task.pid == task.sid);
    let dead: HashSet<i32> = leaders.map(|task| task.sid).collect();
    let mut speakers = HashMap::new();
    for task in tasks.iter().filter(|task| !task.dead && dead.contains(&task.sid)) {
        speakers.entry(task.sid).or_insert(task.pid);
    }
    speakers
}

/// The nice value of the autogroup of a session that begins with this process, see sched(7).
fn autogroup(
    host: &Host<'_>,
    task: &TaskInfo,
    speakers: &mut Option<HashMap<i32, i32>>,
) -> Result<Option<i32>> {
    let leads = task.sid == task.pid;
    if !leads {
        let speakers = match speakers {
            Some(speakers) => speakers,
            None => speakers.insert(speakers_of(&host.tasks()?)),
        };
        if speakers.get(&task.sid) != Some(&task.pid) {
            return Ok(None);
        }
    }
    // Not there without CONFIG_SCHED_AUTOGROUP.
    let Ok(text) = std::fs::read_to_string(format!("/proc/{}/autogroup", task.host_pid)) else {
        return Ok(None);
    };
    // `/autogroup-25 nice 0`
    Ok(text
        .trim()
        .rsplit_once("nice ")
        .and_then(|(_, nice)| nice.parse().ok()))
}
