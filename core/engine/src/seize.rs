//! The first stage: every task of a tree stopped, and the tree's shape.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criu_infect::{Found, Tracee};

use crate::error::{Context, Error, Result};
use crate::proc::{self, Stat};

/// What a process was doing when it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Running or sleeping.
    Alive,
    /// Stopped by job control with this signal.
    Stopped(i32),
    /// A zombie with this wait status.
    Dead(u32),
}

/// A process all of whose threads are stopped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) stat: Stat,
    pub(crate) state: State,
    /// The first thread that lives: the leader, unless that has ended before the others. None for a zombie.
    pub(crate) leader: Option<Tracee>,
    /// How the leader has ended that others have outlived, as wait(2) has it.
    pub(crate) lost: Option<u32>,
    /// The other threads.
    pub(crate) threads: Vec<Tracee>,
    /// Threads that the kernel has made in the process for its own work.
    pub(crate) workers: Vec<Tracee>,
}

impl Process {
    /// The thread by whose number the process is looked at: one that has ended has neither memory nor files.
    pub(crate) fn eye(&self) -> i32 {
        self.leader.as_ref().map_or(self.pid, Tracee::tid)
    }

    /// The ids of all threads that live, [`Self::eye`] first.
    pub(crate) fn tids(&self) -> Vec<i32> {
        std::iter::once(self.eye())
            .chain(self.threads.iter().map(Tracee::tid))
            .collect()
    }
}

/// A stopped tree, parents before children. Dropping it lets every task go on as it was.
#[derive(Debug)]
pub(crate) struct Seized {
    pub(crate) processes: Vec<Process>,
}

impl Seized {
    /// The processes, each before its children.
    pub(crate) fn into_processes(mut self) -> Vec<Process> {
        std::mem::take(&mut self.processes)
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        // Children first: one that traces another is not let go while that is still traced by us.
        while self.processes.pop().is_some() {}
    }
}

/// Stops a process and all its descendants.
///
/// A stopped task makes no children, so each process's children are complete once all its threads are
/// stopped; only orphans can still arrive from elsewhere, and for them the tree is walked again until
/// nothing new is found.
///
/// Where something holds the tasks, so that they cannot come to their stop, all are told to stop first;
/// `let_go` then takes care that they are held no longer.
///
/// # Errors
/// A task that cannot be stopped, named; then none is left stopped.
pub(crate) fn seize(root: i32, timeout: Duration, let_go: Option<&dyn Fn() -> Result<()>>) -> Result<Seized> {
    let _deadline = Deadline::new(timeout);
    let mut told = Told::new();
    let all_told = let_go.map_or(Ok(()), |let_go| {
        // In any case: one that is held cannot be detached from either.
        let result = tell(root, &mut told);
        let_go().and(result)
    });
    let seized = all_told.and_then(|()| walk(root, &mut told));
    drop(told);
    if Deadline::passed() && seized.is_err() {
        return Err(Error::Timeout {
            action: format!("stopping the tasks of the tree of process {root}"),
            seconds: timeout.as_secs(),
        });
    }
    seized
}

/// Tasks that have been told to stop and not been waited for.
type Told = HashMap<i32, Tracee>;

/// Tells every thread of a process and its descendants to stop, until no new one appears.
fn tell(root: i32, told: &mut Told) -> Result<()> {
    let mut pids = vec![root];
    let mut known = HashSet::from([root]);
    loop {
        let before = (pids.len(), told.len());
        let mut index = 0;
        while let Some(&pid) = pids.get(index) {
            // What is gone, or dead, or cannot be traced, is dealt with when it is to be stopped.
            let threads = proc::threads(pid).unwrap_or_default();
            for &tid in &threads {
                if !told.contains_key(&tid)
                    && let Ok(tracee) = Tracee::interrupted(tid)
                {
                    told.insert(tid, tracee);
                }
            }
            for child in proc::children(pid, &threads).unwrap_or_default() {
                if known.insert(child) {
                    pids.push(child);
                }
            }
            index += 1;
        }
        if (pids.len(), told.len()) == before {
            return Ok(());
        }
    }
}

fn walk(root: i32, told: &mut Told) -> Result<Seized> {
    let first = seize_process(root, told)?;
    let first =
        first.ok_or_else(|| Error::refused(format!("process {root}"), "ended while it was being stopped"))?;
    let mut seized = Seized {
        processes: vec![first],
    };
    let processes = &mut seized.processes;
    if let State::Dead(_) = processes[0].state {
        return Err(Error::refused(
            format!("process {root}"),
            "is a zombie: there is nothing left to dump",
        ));
    }
    let mut known: HashSet<i32> = HashSet::from([root]);
    loop {
        let before = processes.len();
        let mut index = 0;
        while index < processes.len() {
            // Depth first: the children of a process follow it, before its younger siblings.
            let parent = &processes[index];
            let mut at = index + 1;
            if parent.leader.is_some() {
                for child in proc::children(parent.pid, &parent.tids())? {
                    if known.insert(child)
                        && let Some(process) = seize_process(child, told)?
                    {
                        processes.insert(at, process);
                    }
                    // Behind this child and what is below it already.
                    at = end_of_subtree(processes, at, child);
                }
            }
            index += 1;
        }
        if processes.len() == before {
            // Nobody of the tree sends any more.
            for process in processes {
                if let (State::Alive, Some(leader)) = (process.state, &mut process.leader) {
                    leader.deliver_stop()?;
                    process.state = state_of(leader);
                }
            }
            return Ok(seized);
        }
    }
}

/// The place behind a child and its descendants; `from` where it is not in the list from there on.
fn end_of_subtree(processes: &[Process], from: usize, child: i32) -> usize {
    let Some(start) = processes
        .iter()
        .skip(from)
        .position(|p| p.pid == child)
        .map(|i| i + from)
    else {
        return from;
    };
    let mut inside = HashSet::from([child]);
    let mut end = start + 1;
    while processes.get(end).is_some_and(|p| inside.contains(&p.stat.ppid)) {
        inside.insert(processes[end].pid);
        end += 1;
    }
    end
}

/// Stops all threads of a process, until no new one appears. `None` for one that has ended meanwhile and
/// left nothing, as children do for whose end their parent does not care.
fn seize_process(pid: i32, told: &mut Told) -> Result<Option<Process>> {
    let seized = match told.remove(&pid) {
        Some(tracee) => tracee.stopped(),
        None => Tracee::seize(pid),
    };
    let leader = match seized {
        Ok(tracee) => Some(tracee),
        Err(criu_infect::Error::Zombie { .. } | criu_infect::Error::Died { .. }) => None,
        Err(criu_infect::Error::Gone { .. }) if !exists(pid) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut threads: Vec<Tracee> = Vec::new();
    let mut known = HashSet::from([pid]);
    loop {
        let listed = match proc::threads(pid) {
            Err(_) if leader.is_none() && !exists(pid) => return Ok(None),
            listed => listed?,
        };
        let fresh: Vec<i32> = listed.into_iter().filter(|tid| !known.contains(tid)).collect();
        if fresh.is_empty() {
            break;
        }
        let (known_of, fresh): (Vec<i32>, Vec<i32>) =
            fresh.into_iter().partition(|tid| told.contains_key(tid));
        let before = known_of
            .into_iter()
            .filter_map(|tid| Some((tid, told.remove(&tid)?.stopped())));
        let now = Tracee::seize_all(&fresh);
        for (tid, seized) in before.chain(fresh.iter().copied().zip(now)) {
            match seized {
                Ok(tracee) => {
                    known.insert(tid);
                    threads.push(tracee);
                }
                // It ended between the listing and the seizure.
                Err(criu_infect::Error::Gone { .. }) => {}
                Err(criu_infect::Error::Zombie { .. } | criu_infect::Error::Died { .. })
                    if !thread_exists(pid, tid) => {}
                Err(error) => {
                    return Err(Error::from(error))
                        .context(|| format!("stopping the threads of process {pid}"));
                }
            }
        }
        // Those that are stopped make no others.
        if proc::thread_count(pid).is_some_and(|count| count == known.len()) {
            break;
        }
    }
    let Some(leader) = leader else {
        return match without_leader(pid, threads) {
            Err(_) if !exists(pid) => Ok(None),
            found => found.map(Some),
        };
    };
    Ok(Some(Process {
        pid,
        stat: Stat::read(pid)?,
        state: state_of(&leader),
        leader: Some(leader),
        lost: None,
        threads,
        workers: Vec::new(),
    }))
}

/// A process whose leader has ended: a zombie, unless other threads live on.
fn without_leader(pid: i32, mut threads: Vec<Tracee>) -> Result<Process> {
    let of_leader = Stat::read(pid)?;
    if threads.is_empty() {
        return Ok(Process {
            pid,
            state: State::Dead(of_leader.exit_code),
            stat: of_leader,
            leader: None,
            lost: None,
            threads,
            workers: Vec::new(),
        });
    }
    let first = threads.remove(0);
    // What is the memory's is told by those who have it, what is its parent's business by the leader.
    let stat = Stat {
        exit_signal: of_leader.exit_signal,
        ..Stat::read_thread(pid, first.tid())?
    };
    Ok(Process {
        pid,
        stat,
        state: state_of(&first),
        leader: Some(first),
        lost: Some(of_leader.exit_code),
        threads,
        workers: Vec::new(),
    })
}

fn exists(pid: i32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

fn state_of(leader: &Tracee) -> State {
    match leader.found() {
        Found::Running => State::Alive,
        Found::Stopped { signal } => State::Stopped(signal),
    }
}

fn thread_exists(pid: i32, tid: i32) -> bool {
    std::fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(false)
}

static PASSED: AtomicBool = AtomicBool::new(false);

/// Ends waits for tasks that do not stop: an alarm that cancels them.
struct Deadline {
    previous: Option<nix::sys::signal::SigAction>,
}

extern "C" fn on_alarm(_: libc::c_int) {
    PASSED.store(true, Ordering::Relaxed);
    criu_infect::cancel();
}

impl Deadline {
    fn new(timeout: Duration) -> Self {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        PASSED.store(false, Ordering::Relaxed);
        criu_infect::uncancel();
        let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        if seconds == 0 {
            return Self { previous: None };
        }
        let action = SigAction::new(SigHandler::Handler(on_alarm), SaFlags::SA_RESTART, SigSet::all());
        // SAFETY: the handler stores to an atomic and calls what is made for it, SIGCHLD blocked as that wants.
        let previous = unsafe { sigaction(Signal::SIGALRM, &action) }.ok();
        nix::unistd::alarm::set(seconds);
        Self { previous }
    }

    fn passed() -> bool {
        PASSED.load(Ordering::Relaxed)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(previous) = self.previous.take() {
            nix::unistd::alarm::cancel();
            // SAFETY: puts back what was there before.
            _ = unsafe { nix::sys::signal::sigaction(nix::sys::signal::Signal::SIGALRM, &previous) };
        }
        criu_infect::uncancel();
    }
}
