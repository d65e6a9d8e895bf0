//! The second stage: a parasite in every process of a stopped tree.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use criu_infect::{Infected, Tracee};

use super::context::Context as Dump;
use super::facts::Facts;
use super::seccomp::Seccomp;
use crate::error::{Context, Error, Result};
use crate::proc::Stat;
use crate::seize::{Seized, State};

/// A stopped process whose leader is held by the context, see [`Parasites`].
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// [`seize::Process::eye`](crate::seize::Process::eye)
    pub(crate) eye: i32,
    /// How the leader has ended that others have outlived, as wait(2) has it.
    pub(crate) lost: Option<u32>,
    /// The process whose table it may have inherited.
    pub(crate) parent: Option<i32>,
    pub(crate) stat: Stat,
    pub(crate) state: State,
    /// The other threads.
    pub(crate) threads: Rc<RefCell<Vec<Tracee>>>,
    /// Threads that the kernel has made in the process for its own work.
    pub(crate) workers: Rc<RefCell<Vec<Tracee>>>,
    /// The ids of its other threads as the process itself sees them.
    pub(crate) ns_tids: Vec<i32>,
    /// What `/proc` says of it; nothing for a zombie.
    pub(crate) facts: Option<Facts>,
}

impl Process {
    /// Whether it is no zombie.
    pub(crate) fn is_alive(&self) -> bool {
        self.facts.is_some()
    }

    /// Enters the process and reads the seccomp filters of its threads.
    ///
    /// # Errors
    /// It cannot be entered, or the kernel will not tell.
    pub(crate) fn enter(&self, dump: &Dump, seccomp: &Seccomp) -> Result<()> {
        let statuses = self.facts.as_ref().map_or(&[][..], |facts| &facts.statuses);
        let Some((leader, others)) = statuses.split_first() else {
            return Ok(());
        };
        let mut parasites = dump.parasites.borrow_mut();
        seccomp.read(parasites.of(self.pid)?.tracee(), leader.seccomp)?;
        for (thread, status) in self.threads.borrow().iter().zip(others) {
            seccomp.read(thread, status.seccomp)?;
        }
        Ok(())
    }

    /// All threads but the one that stands in the parasite.
    fn take_others(&self) -> Vec<Tracee> {
        let mut others = self.threads.take();
        others.append(&mut self.workers.borrow_mut());
        others
    }
}

/// The leaders of a stopped tree by pid. They are entered one after the other, each before it is dumped: what
/// is done beside has something to do meanwhile.
///
/// Dropping it cures them and lets them go.
#[derive(Debug, Default)]
pub(crate) struct Parasites {
    /// Those that have not been entered yet.
    waiting: HashMap<i32, Tracee>,
    inside: HashMap<i32, Infected>,
    /// Those that cannot be entered.
    refused: HashMap<i32, Tracee>,
}

impl Parasites {
    /// Enters a process, unless that has been done.
    ///
    /// # Errors
    /// It cannot be entered, named; it stays stopped.
    pub(crate) fn enter(&mut self, pid: i32) -> Result<()> {
        if self.refused.contains_key(&pid) {
            return Err(Error::refused(format!("process {pid}"), "could not be entered"));
        }
        let Some(leader) = self.waiting.remove(&pid) else {
            return Ok(());
        };
        match leader.infect() {
            Ok(infected) => {
                self.inside.insert(pid, infected);
                Ok(())
            }
            Err(failed) => {
                self.refused.insert(pid, failed.tracee);
                Err(failed.error).context(|| format!("entering process {pid}"))
            }
        }
    }

    /// The parasite of a process, which is entered if it has not been yet.
    ///
    /// # Errors
    /// It cannot be entered, or is none of the tree that lives.
    pub(crate) fn of(&mut self, pid: i32) -> Result<&mut Infected> {
        self.enter(pid)?;
        self.inside
            .get_mut(&pid)
            .ok_or_else(|| Error::malformed(format!("process {pid}"), "has no parasite"))
    }

    /// Whether a process could not be entered.
    pub(crate) fn is_refused(&self, pid: i32) -> bool {
        self.refused.contains_key(&pid)
    }

    /// Removes the parasite of a process, if it has one; none for a process without a leader.
    fn cure(&mut self, pid: i32) -> Option<Result<Tracee>> {
        if let Some(infected) = self.inside.remove(&pid) {
            let cured = infected.cure();
            return Some(cured.context(|| format!("letting process {pid} go")));
        }
        let outside = self.waiting.remove(&pid).or_else(|| self.refused.remove(&pid));
        outside.map(Ok)
    }

    /// Waits for the end of a killed process.
    fn bury(&mut self, pid: i32) -> Result<()> {
        if let Some(infected) = self.inside.remove(&pid) {
            infected.bury()?;
        }
        let outside = self.waiting.remove(&pid).or_else(|| self.refused.remove(&pid));
        outside.map_or(Ok(()), |leader| leader.bury().map_err(Error::from))
    }
}

/// A stopped tree whose leaders the context holds. Dropping it lets the further threads go.
#[derive(Debug)]
pub(crate) struct Infection {
    pub(crate) processes: Vec<Process>,
}

impl Infection {
    /// Of a stopped tree: hands its leaders to the context, which does not enter them yet.
    pub(crate) fn of(dump: &Dump, seized: Seized, facts: Vec<Option<Facts>>) -> Self {
        let mut parasites = dump.parasites.borrow_mut();
        let mut processes: Vec<Process> = Vec::with_capacity(seized.processes.len());
        let mut known = HashSet::with_capacity(seized.processes.len());
        for (process, facts) in seized.into_processes().into_iter().zip(facts) {
            let (pid, eye) = (process.pid, process.eye());
            let statuses = facts.as_ref().map_or(&[][..], |facts| &facts.statuses);
            let others = process.threads.iter().zip(statuses.iter().skip(1));
            let ns_tids: Vec<i32> = others
                .map(|(thread, status)| status.ns_pids.last().copied().unwrap_or(thread.tid()))
                .collect();
            if let Some(leader) = process.leader {
                parasites.waiting.insert(pid, leader);
            }
            let threads = Rc::new(RefCell::new(process.threads));
            let workers = Rc::new(RefCell::new(process.workers));
            dump.know_threads(pid, &threads, &ns_tids, &workers);
            processes.push(Process {
                pid,
                eye,
                lost: process.lost,
                parent: known.contains(&process.stat.ppid).then_some(process.stat.ppid),
                stat: process.stat,
                state: process.state,
                threads,
                workers,
                ns_tids,
                facts,
            });
            known.insert(pid);
        }
        Self { processes }
    }

    /// Removes the parasites. All tasks are still stopped.
    pub(crate) fn cure(self, dump: &Dump) -> Cured {
        let leaders = self
            .processes
            .iter()
            .map(|process| dump.parasites.borrow_mut().cure(process.pid))
            .collect();
        Cured {
            infection: self,
            leaders,
        }
    }

    /// Kills the tree, parents first so that none of them sees a child die, and waits for the end.
    ///
    /// # Errors
    /// A process that could not be killed.
    pub(crate) fn kill(self, dump: &Dump) -> Result<()> {
        let living = || {
            self.processes
                .iter()
                .filter(|p| !matches!(p.state, State::Dead(_)))
        };
        let mut pidfds = Vec::new();
        for process in living() {
            let pidfd = dump.pidfd(process.pid)?;
            // SAFETY: sends a signal by a pidfd; no pointer but a null siginfo.
            let ret = unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    pidfd.as_raw_fd(),
                    libc::SIGKILL,
                    std::ptr::null::<libc::siginfo_t>(),
                    0,
                )
            };
            if ret < 0 {
                let denied = Error::last_os(format!("killing process {}", process.pid));
                // Its label may let nobody send it signals. Who traces it needs no leave.
                tracing::debug!("{denied}; it is ended where it stands");
                if dump.parasites.borrow_mut().of(process.pid)?.kill().is_err() {
                    return Err(denied);
                }
            }
            pidfds.push(pidfd);
        }
        for process in living() {
            for thread in process.take_others() {
                thread.bury()?;
            }
            dump.parasites.borrow_mut().bury(process.pid)?;
        }
        Ok(())
    }
}

/// A stopped tree without parasites.
#[derive(Debug)]
pub(crate) struct Cured {
    infection: Infection,
    /// Of each process, unless it is a zombie.
    leaders: Vec<Option<Result<Tracee>>>,
}

impl Cured {
    /// Lets every task go on as it was, or stopped.
    ///
    /// # Errors
    /// The first process that could not be cured or let go; the others are, all the same.
    pub(crate) fn release(self, stopped: bool) -> Result<()> {
        let mut result = Ok(());
        // Children first: one that traces another is not let go while that is still traced by us.
        for (process, leader) in self.infection.processes.iter().zip(self.leaders).rev() {
            let Some(leader) = leader else { continue };
            if stopped && process.state == State::Alive {
                result = result.and(stop(process.pid));
            }
            let (leader, lost) = match leader {
                Ok(leader) => (Some(leader), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // All at once: by then others may have ended it, of which its leader tells last.
            let threads = leader.into_iter().chain(process.take_others());
            let released =
                Tracee::detach_all(threads).context(|| format!("letting process {} go", process.pid));
            result = result.and(lost).and(released);
        }
        result
    }
}

/// Has a process stop as soon as it is let go.
fn stop(pid: i32) -> Result<()> {
    // SAFETY: sends a signal to a process that cannot be another one while it is traced.
    if unsafe { libc::kill(pid, libc::SIGSTOP) } == 0 {
        return Ok(());
    }
    Err(Error::last_os(format!("stopping process {pid}")))
}
