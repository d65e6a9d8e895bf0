//! What `/proc` tells of a stopped tree, read before the parasites are there and by several threads.

use std::collections::HashMap;

use criu_proto::images::RlimitEntry;

use super::ids::{self, Inodes};
use super::limits;
use crate::error::{Context, Error, Result};
use crate::parallel;
use crate::proc::{self, Stat, Status};
use crate::seize::{Process, Seized};

/// A thread is worth starting for so many files of `/proc`.
const WORTH: usize = 16;

/// Of one process.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Of its threads, the leader first.
    pub(crate) statuses: Vec<Status>,
    /// Its namespaces.
    pub(crate) namespaces: Inodes,
    /// The first thread that lives in another network namespace.
    pub(crate) moved_thread: Option<i32>,
    /// `/proc/PID/auxv`.
    pub(crate) auxv: Vec<u8>,
    /// `/proc/PID/timers`.
    pub(crate) timers: Vec<u8>,
    pub(crate) personality: u32,
    /// None where the kernel does not know it (CONFIG_AUDIT).
    pub(crate) loginuid: Option<u32>,
    pub(crate) oom_score_adj: i32,
    pub(crate) limits: Vec<RlimitEntry>,
}

/// Reads it of all processes, in their order; nothing of a zombie. Threads of the kernel's own are set apart.
///
/// # Errors
/// A file that cannot be read or does not parse, named.
pub(crate) fn gather(seized: &mut Seized) -> Result<Vec<Option<Facts>>> {
    let living = seized.processes.iter().filter(|p| p.leader.is_some());
    let pids: Vec<i32> = living.clone().map(Process::eye).collect();
    let threads: Vec<(i32, i32)> = living
        .clone()
        .flat_map(|p| p.tids().into_iter().map(|tid| (p.pid, tid)))
        .collect();
    let processes = parallel::map(&pids, WORTH / 4, |&pid| of_process(pid));
    let processes: Vec<Facts> = processes.into_iter().collect::<Result<_>>()?;
    let mut homes = HashMap::new();
    for (process, facts) in living.zip(&processes) {
        homes.insert(process.pid, (process.eye(), facts.namespaces));
    }
    let mut statuses = parallel::map(&threads, WORTH, |&(pid, tid)| -> Result<_> {
        let status = Status::read(pid, tid, &mut Vec::new())?;
        let moved = (homes.get(&pid)).is_some_and(|(eye, home)| tid != *eye && !home.has_net_of(pid, tid));
        Ok((status, moved.then_some(tid)))
    })
    .into_iter();
    let mut processes = processes.into_iter();
    let missing = || Error::malformed("the facts of a process", "are missing");
    seized
        .processes
        .iter_mut()
        .map(|process| {
            if process.leader.is_none() {
                return Ok(None);
            }
            let mut facts = processes.next().ok_or_else(missing)?;
            let count = 1 + process.threads.len();
            for told in statuses.by_ref().take(count) {
                let (status, moved) = told?;
                facts.statuses.push(status);
                facts.moved_thread = facts.moved_thread.or(moved);
            }
            set_workers_apart(process, &mut facts.statuses)?;
            let threads = process.leader.iter().chain(&process.threads);
            for (thread, status) in threads.zip(&facts.statuses) {
                if status.seccomp == 0 {
                    thread.tell_unfiltered();
                }
            }
            Ok(Some(facts))
        })
        .collect()
}

/// Threads of the kernel's own have nothing to be saved and cannot be made to run anything.
fn set_workers_apart(process: &mut Process, statuses: &mut Vec<Status>) -> Result<()> {
    // They block all that can be blocked; whoever else does so has its flags read for it.
    let blocked = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    for index in (0..process.threads.len()).rev() {
        let suspected = statuses
            .get(index + 1)
            .is_some_and(|status| status.blocked == blocked);
        if suspected && Stat::read_thread(process.pid, process.threads[index].tid())?.is_worker() {
            statuses.remove(index + 1);
            process.workers.push(process.threads.remove(index));
        }
    }
    Ok(())
}

fn of_process(pid: i32) -> Result<Facts> {
    Ok(Facts {
        statuses: Vec::new(),
        moved_thread: None,
        namespaces: ids::read(&pid.to_string())?,
        auxv: proc::read(&format!("/proc/{pid}/auxv"))?,
        timers: proc::read(&format!("/proc/{pid}/timers"))?,
        personality: personality(pid)?,
        loginuid: optional_number(&format!("/proc/{pid}/loginuid"))?,
        oom_score_adj: proc::read_number(&format!("/proc/{pid}/oom_score_adj"))?,
        limits: limits::of(pid).context(|| format!("reading the limits of process {pid}"))?,
    })
}

fn personality(pid: i32) -> Result<u32> {
    let path = format!("/proc/{pid}/personality");
    let text = proc::read(&path)?;
    proc::parse_hex(text.trim_ascii())
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| Error::malformed(path, "is not a number"))
}

/// A number that newer or differently built kernels have; none where the file does not exist.
fn optional_number(path: &str) -> Result<Option<u32>> {
    match proc::read_number(path) {
        Ok(number) => Ok(Some(number)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
