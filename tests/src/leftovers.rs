//! Finds what a run left behind: processes, mounts, sockets, firewall tables.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::lab::MARK;
use crate::netlink;
use crate::patience;
use crate::reaper::Pid;

/// The living processes of a lab: known by their environment, their working directory or their parent.
pub fn processes_of(lab: &Path) -> Vec<Pid> {
    let mark = format!("{MARK}={}", lab.display());
    let mut found: Vec<Pid> = Vec::new();
    let mut others: Vec<(Pid, Pid)> = Vec::new();
    for pid in pids() {
        let Some((state, parent)) = state_and_parent(pid) else {
            continue;
        };
        let dead = state == 'Z' || state == 'X';
        // One whose leading thread has ended is known by another.
        let Some(thread) = (if dead { other_thread(pid) } else { Some(pid) }) else {
            continue;
        };
        let environ = fs::read(format!("/proc/{thread}/environ")).unwrap_or_default();
        let marked = environ.split(|b| *b == 0).any(|var| var == mark.as_bytes());
        let inside = ["cwd", "root"]
            .iter()
            .any(|link| fs::read_link(format!("/proc/{thread}/{link}")).is_ok_and(|to| to.starts_with(lab)));
        if marked || inside {
            found.push(pid);
        } else {
            others.push((pid, parent));
        }
    }
    // Programs that overwrite their environment are known by their parent.
    loop {
        let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, p)| found.contains(p));
        if children.is_empty() {
            return found;
        }
        found.extend(children.iter().map(|(pid, _)| pid));
        others = rest;
    }
}

/// Kills every process of a lab, until there is none.
pub fn kill_all(lab: &Path) {
    let deadline = patience::deadline(Duration::from_secs(10));
    loop {
        let pids = processes_of(lab);
        if pids.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            eprintln!("processes of {} that cannot be killed: {pids:?}", lab.display());
            return;
        }
        for pid in pids {
            // SAFETY: kill has no memory effects; the pid was just seen to be one of ours.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Takes off what guests have mounted in the folder: a test with mounts of its own keeps them until its thread ends, and the
/// folder is removed before.
pub(crate) fn unmount_all(lab: &Path) {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    // The mount point is the fifth field. What is mounted last lies on top.
    for point in text.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(point).starts_with(lab) {
            _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

/// Panics when anything of the lab is left.
pub(crate) fn assert_none(lab: &Path, roots: &[Pid]) {
    let deadline = patience::deadline(Duration::from_secs(5));
    // Killed processes take a moment to go.
    while !processes_of(lab).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    let name = lab.display().to_string();
    let mut left = Vec::new();
    for pid in processes_of(lab) {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        left.push(format!("process {pid} ({})", comm.trim()));
    }
    for (file, what) in [
        ("/proc/self/mountinfo", "mount"),
        ("/proc/net/unix", "unix socket"),
    ] {
        let text = fs::read_to_string(file).unwrap_or_default();
        left.extend(
            text.lines()
                .filter(|l| l.contains(&name))
                .map(|l| format!("{what}: {l}")),
        );
    }
    left.extend(
        firewall_tables(roots)
            .into_iter()
            .map(|table| format!("nftables table {table}")),
    );
    assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
}

/// The nftables tables that were made for one of these trees: a root's pid is part of their names.
pub fn firewall_tables(roots: &[Pid]) -> Vec<String> {
    let ours = |table: &String| {
        table
            .split(|c: char| !c.is_ascii_digit())
            .any(|n| roots.iter().any(|pid| n == pid.to_string()))
    };
    // Without nf_tables in the kernel there is no table either.
    let tables = netlink::nft_tables().unwrap_or_else(|error| {
        eprintln!("list nftables tables: {error}");
        Vec::new()
    });
    tables.into_iter().filter(ours).collect()
}

fn pids() -> Vec<Pid> {
    numbers("/proc").expect("read /proc").collect()
}

fn numbers(folder: &str) -> std::io::Result<impl Iterator<Item = Pid>> {
    Ok(fs::read_dir(folder)?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()))
}

/// A thread of a process but the first.
fn other_thread(pid: Pid) -> Option<Pid> {
    numbers(&format!("/proc/{pid}/task"))
        .ok()?
        .find(|&thread| thread != pid)
}

/// The state letter and the parent of a process.
pub(crate) fn state_and_parent(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
