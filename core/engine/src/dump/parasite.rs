//! The second stage: a parasite in every process of a stopped tree.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use criu_infect::Tracee;

use super::context::Context as Dump;
use super::facts::Facts;
use super::seccomp::Seccomp;
use crate::error::{Context, Error, Result};
use crate::proc::Stat;
use crate::seize::{Seized, State};

/// A stopped process whose leader stands in the parasite (held by the context, by pid).
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
    /// The leader of a process that cannot be entered, stopped like the others.
    pub(crate) not_entered: Option<Tracee>,
    /// What `/proc` says of it; nothing for a zombie.
    pub(crate) facts: Option<Facts>,
}

impl Process {
    /// All threads but the one that stands in the parasite.
    fn take_others(&self) -> Vec<Tracee> {
        let mut others = self.threads.take();
        others.append(&mut self.workers.borrow_mut());
        others
    }
}

/// A tree with parasites. Dropping it lets the further threads go; the leaders are cured when the
/// context lets go of their parasites.
#[derive(Debug)]
pub(crate) struct Infection {
    pub(crate) processes: Vec<Process>,
}

/// Enters every process that is not a zombie.
///
/// # Errors
/// A process that cannot be entered, named; those entered before are cured when `dump` drops them.
pub(crate) fn infect(dump: &Dump, seized: Seized, facts: Vec<Option<Facts>>) -> Result<Infection> {
    let mut processes: Vec<Process> = Vec::with_capacity(seized.processes.len());
    let mut known = HashSet::with_capacity(seized.processes.len());
    for (process, facts) in seized.processes.into_iter().zip(facts) {
        let (pid, eye) = (process.pid, process.eye());
        let statuses = facts.as_ref().map_or(&[][..], |facts| &facts.statuses);
        let others = process.threads.iter().zip(statuses.iter().skip(1));
        let ns_tids: Vec<i32> = others
            .map(|(thread, status)| status.ns_pids.last().copied().unwrap_or(thread.tid()))
            .collect();
        let mut not_entered = None;
        if let Some(leader) = process.leader {
            match leader.infect() {
                Ok(infected) => _ = dump.infected.borrow_mut().insert(pid, infected),
                Err(failed) => {
                    let error = Err::<(), _>(failed.error).context(|| format!("entering process {pid}"));
                    dump.blockers.note_process(error)?;
                    not_entered = Some(failed.tracee);
                }
            }
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
            not_entered,
            facts,
        });
        known.insert(pid);
    }
    Ok(Infection { processes })
}

impl Infection {
    /// Reads the seccomp filters of all threads.
    ///
    /// # Errors
    /// The kernel will not tell.
    pub(crate) fn read_seccomp(&self, dump: &Dump, seccomp: &Seccomp) -> Result<()> {
        for process in &self.processes {
            let statuses = process.facts.as_ref().map_or(&[][..], |facts| &facts.statuses);
            let Some((leader, others)) = statuses.split_first() else {
                continue;
            };
            if let Some(infected) = dump.infected.borrow().get(&process.pid) {
                seccomp.read(infected.tracee(), leader.seccomp)?;
            }
            for (thread, status) in process.threads.borrow().iter().zip(others) {
                seccomp.read(thread, status.seccomp)?;
            }
        }
        Ok(())
    }

    /// Removes the parasites. All tasks are still stopped.
    pub(crate) fn cure(self, dump: &Dump) -> Cured {
        let leaders = self
            .processes
            .iter()
            .map(|process| {
                let infected = dump.infected.borrow_mut().remove(&process.pid)?;
                Some(
                    infected
                        .cure()
                        .context(|| format!("letting process {} go", process.pid)),
                )
            })
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
                return Err(Error::last_os(format!("killing process {}", process.pid)));
            }
            pidfds.push(pidfd);
        }
        for process in living() {
            for thread in process.take_others() {
                thread.bury()?;
            }
            if let Some(infected) = dump.infected.borrow_mut().remove(&process.pid) {
                infected.bury()?;
            }
        }
        Ok(())
    }
}

/// A stopped tree without parasites. Dropping it lets every task go on as it was.
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
        for (process, leader) in self.infection.processes.iter().zip(self.leaders) {
            let Some(leader) = leader else { continue };
            if stopped && process.state == State::Alive {
                stop(process.pid);
            }
            let released = leader.and_then(|leader| {
                leader
                    .detach()
                    .context(|| format!("letting process {} go", process.pid))
            });
            result = result.and(released);
            let threads = Tracee::detach_all(process.take_others());
            result =
                result.and(threads.context(|| format!("letting the threads of process {} go", process.pid)));
        }
        result
    }
}

/// Has a process stop as soon as it is let go.
fn stop(pid: i32) {
    // SAFETY: sends a signal to a process that cannot be another one while it is traced.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
}
