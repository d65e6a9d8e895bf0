//! A task under ptrace: seize it, wait for its stops, let it go.

use std::cell::Cell;
use std::fs;
use std::marker::PhantomData;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::state::{Queue, SigInfo};
use crate::sys;
use crate::wait::Watch;

/// What a task was doing when it was seized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Running, or sleeping in a system call.
    Running,
    /// Stopped by job control; it stays so after [`Tracee::detach`].
    Stopped {
        /// `SIGSTOP`, `SIGTSTP`, `SIGTTIN` or `SIGTTOU`.
        signal: i32,
    },
}

/// Why a traced task has stopped, see `ptrace(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `PTRACE_EVENT_STOP`: after [`Tracee::interrupt`] (`signal` is `SIGTRAP`) or a group-stop
    /// (`signal` is what stopped the group).
    Event {
        /// `SIGTRAP` or the stop signal.
        signal: i32,
    },
    /// Another `PTRACE_EVENT_*`, as asked for by [`Tracee::set_options`].
    Other {
        /// Its number.
        event: i32,
    },
    /// A signal is about to be delivered.
    Signal {
        /// Which.
        signal: i32,
    },
    /// At the entry or the exit of a system call.
    Syscall,
    /// The task has exited.
    Exited {
        /// Exit status.
        status: i32,
    },
    /// The task was killed by a signal.
    Killed {
        /// Which.
        signal: i32,
    },
}

impl Stop {
    fn from_status(status: i32) -> Stop {
        if libc::WIFEXITED(status) {
            return Stop::Exited {
                status: libc::WEXITSTATUS(status),
            };
        }
        if libc::WIFSIGNALED(status) {
            return Stop::Killed {
                signal: libc::WTERMSIG(status),
            };
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
            0 => Stop::Signal { signal },
            libc::PTRACE_EVENT_STOP => Stop::Event { signal },
            event => Stop::Other { event },
        }
    }
}

/// How to resume a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Until something happens (`PTRACE_CONT`).
    Cont,
    /// Until the next entry or exit of a system call (`PTRACE_SYSCALL`).
    ToSyscall,
}

/// A seized task. Between calls it is stopped, unless [`Tracee::resume`] was the last one.
///
/// Only the thread that seized a task may trace it, so this type is not `Send`. Dropping it
/// detaches from the task; so does the kernel when the tracer dies.
#[derive(Debug)]
pub struct Tracee {
    tid: i32,
    found: Found,
    /// A stop signal that came while the task ran for us: sent again before it is let go.
    held_stop: Option<i32>,
    attached: bool,
    watch: Watch,
    /// Resumed, and no stop seen since.
    running: Cell<bool>,
    /// See [`Tracee::is_known_unfiltered`].
    unfiltered: Cell<bool>,
    not_send: PhantomData<*const ()>,
}

/// Options set on every seized task.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD;

impl Tracee {
    /// Seizes one task (a thread id) and waits until it has stopped.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Zombie`], [`Error::Traced`], [`Error::Denied`], [`Error::Died`].
    pub fn seize(tid: i32) -> Result<Tracee> {
        let mut tracee = Tracee::start_seize(tid)?;
        tracee.finish_seize()?;
        Ok(tracee)
    }

    /// Seizes many tasks: all are told to stop before the first is waited for.
    pub fn seize_all(tids: &[i32]) -> Vec<Result<Tracee>> {
        let started: Vec<_> = tids.iter().map(|tid| Tracee::start_seize(*tid)).collect();
        started
            .into_iter()
            .map(|tracee| tracee.and_then(Tracee::stopped))
            .collect()
    }

    /// First half of [`Self::seize`]: attaches and tells the task to stop, before it runs any more of its code.
    /// Until [`Self::stopped`], nothing but a drop may follow, which waits for the stop too.
    ///
    /// # Errors
    /// As for [`Self::seize`].
    pub fn interrupted(tid: i32) -> Result<Tracee> {
        Tracee::start_seize(tid)
    }

    /// Second half of [`Self::seize`]: waits until the task has stopped.
    ///
    /// # Errors
    /// [`Error::Died`].
    pub fn stopped(mut self) -> Result<Tracee> {
        self.finish_seize()?;
        Ok(self)
    }

    fn start_seize(tid: i32) -> Result<Tracee> {
        let watch = Watch::new().map_err(|errno| Error::Sys {
            tid,
            doing: "watching for the end",
            errno,
        })?;
        // SAFETY: the request takes no pointers.
        let seized = unsafe { sys::ptrace(tid, "seizing", libc::PTRACE_SEIZE, 0, OPTIONS as usize) };
        match seized {
            Err(Error::Sys {
                errno: Errno::EPERM, ..
            }) => return Err(why_not(tid)),
            other => other?,
        };
        let tracee = Tracee {
            tid,
            found: Found::Running,
            held_stop: None,
            attached: true,
            watch,
            running: Cell::new(true),
            unfiltered: Cell::new(false),
            not_send: PhantomData,
        };
        match tracee.interrupt() {
            // It died in between; the wait says how.
            Ok(()) | Err(Error::Gone { .. }) => Ok(tracee),
            Err(e) => Err(e),
        }
    }

    fn finish_seize(&mut self) -> Result<()> {
        loop {
            match self.wait("seizing")? {
                Stop::Event {
                    signal: libc::SIGTRAP,
                } => return Ok(()),
                Stop::Event { signal } => {
                    self.found = Found::Stopped { signal };
                    return Ok(());
                }
                // A signal overtook our stop: it is delivered with all it carries (which sets up a
                // handler's frame, or stops the group, or kills), and our stop follows before the
                // task runs any of its code.
                Stop::Signal { signal } => self.resume(Resume::Cont, signal)?,
                _ => self.resume(Resume::Cont, 0)?,
            }
        }
    }

    /// Has a pending `SIGSTOP` stop the seized task, as it is about to. No signal mask holds it back, so it
    /// would come when the task runs for us, and be gone. The task runs code of its own only if a `SIGCONT`
    /// comes in between.
    ///
    /// # Errors
    /// As for [`Self::seize`].
    pub fn deliver_stop(&mut self) -> Result<()> {
        while self.found == Found::Running && self.has_pending_stop()? {
            self.resume(Resume::Cont, 0)?;
            self.interrupt()?;
            self.finish_seize()?;
        }
        Ok(())
    }

    fn has_pending_stop(&self) -> Result<bool> {
        for queue in [Queue::Process, Queue::Thread] {
            let is_stop = |info: &SigInfo| info[..4] == libc::SIGSTOP.to_ne_bytes();
            if self.pending(queue)?.iter().any(is_stop) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The thread id.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// What the task was doing when it was seized.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Tells that the stopped task is under no seccomp filter (`Seccomp` in `/proc/PID/status` is 0), as it stays until it is
    /// let go: there is nothing to be suspended for the parasite.
    pub fn tell_unfiltered(&self) {
        self.unfiltered.set(true);
    }

    /// Whether [`Self::tell_unfiltered`] was called.
    pub(crate) fn is_known_unfiltered(&self) -> bool {
        self.unfiltered.get()
    }

    /// Asks a running task to stop, or a stopped one to stop again as soon as it is resumed and
    /// before it runs code of its own (`PTRACE_INTERRUPT`). Does not wait.
    pub fn interrupt(&self) -> Result<()> {
        self.request("interrupting", libc::PTRACE_INTERRUPT, 0, 0)
    }

    /// Lets a thread of the kernel's own go on, unless its process is stopped by job control or it goes on already.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn go(&self) -> Result<()> {
        if self.running.get() || self.found != Found::Running {
            return Ok(());
        }
        self.resume(Resume::Cont, 0)
    }

    /// Stops such a thread again.
    ///
    /// # Errors
    /// [`Error::Gone`] and [`Error::Died`] if it has ended meanwhile.
    pub fn stand_still(&mut self) -> Result<()> {
        if !self.running.get() {
            return Ok(());
        }
        self.interrupt()?;
        self.wait_until(Resume::Cont, "stopping it again", |stop| {
            matches!(stop, Stop::Event { .. })
        })
        .map(drop)
    }

    /// Lets the stopped task run; `signal` (0: none) is delivered if the stop was [`Stop::Signal`].
    pub fn resume(&self, how: Resume, signal: i32) -> Result<()> {
        let request = match how {
            Resume::Cont => libc::PTRACE_CONT,
            Resume::ToSyscall => libc::PTRACE_SYSCALL,
        };
        self.request("resuming", request, 0, signal as usize)?;
        self.running.set(true);
        Ok(())
    }

    /// Stops a task that still runs because an earlier wait was cancelled; the signal that is then
    /// about to be delivered, or 0.
    pub(crate) fn halt(&mut self) -> Result<i32> {
        if !self.running.get() {
            return Ok(0);
        }
        self.interrupt()?;
        match self.wait("stopping it")? {
            Stop::Signal { signal } => Ok(signal),
            _ => Ok(0),
        }
    }

    /// Waits for the next stop. The end of the task is [`Error::Died`]; `doing` is said in it.
    pub fn wait(&mut self, doing: &'static str) -> Result<Stop> {
        let stop = Stop::from_status(self.watch.wait(self.tid)?);
        self.running.set(false);
        let how = match stop {
            Stop::Exited { status } => format!("it exited with status {status}"),
            Stop::Killed { signal } => format!("it was killed by signal {signal}"),
            stop => return Ok(stop),
        };
        self.attached = false;
        Err(Error::Died {
            tid: self.tid,
            doing,
            how,
        })
    }

    /// Resumes until `wanted` says yes. Stop signals on the way are kept for [`Self::detach`];
    /// other stops are passed over, but a signal that is not wanted is an error.
    pub fn resume_until(
        &mut self,
        how: Resume,
        doing: &'static str,
        wanted: impl FnMut(Stop) -> bool,
    ) -> Result<Stop> {
        self.resume(how, 0)?;
        self.wait_until(how, doing, wanted)
    }

    /// [`Self::resume_until`] for a task that was resumed already.
    pub fn wait_until(
        &mut self,
        how: Resume,
        doing: &'static str,
        mut wanted: impl FnMut(Stop) -> bool,
    ) -> Result<Stop> {
        loop {
            let stop = self.wait(doing)?;
            if wanted(stop) {
                return Ok(stop);
            }
            match stop {
                Stop::Signal {
                    signal: libc::SIGSTOP,
                } => self.held_stop = Some(libc::SIGSTOP),
                Stop::Signal { signal: libc::SIGSYS } => {
                    return Err(Error::Unsupported {
                        tid: self.tid,
                        why: "its system calls are sent back to it (PR_SET_SYSCALL_USER_DISPATCH), which only \
                              Linux 6.4 and later can suspend",
                    });
                }
                Stop::Signal { .. } | Stop::Syscall => {
                    return Err(Error::UnexpectedStop {
                        tid: self.tid,
                        doing,
                        stop: format!("{stop:?}"),
                    });
                }
                _ => {}
            }
            self.resume(how, 0)?;
        }
    }

    /// From whatever stop to a [`Stop::Event`] without running code of the task. There a restart of an interrupted
    /// system call is still due, and the tracer's death changes nothing.
    ///
    /// The same is true of a [`Stop::Signal`]: it is injected at the tracer's death only as long as nobody has waited
    /// for the stop, since that takes the signal out of the task's `exit_code`. At a [`Stop::Syscall`] no restart is
    /// due any more.
    pub fn settle(&mut self) -> Result<()> {
        self.interrupt()?;
        self.resume(Resume::Cont, 0)?;
        self.wait_until(Resume::Cont, "settling", |s| matches!(s, Stop::Event { .. }))
            .map(drop)
    }

    /// Sets `PTRACE_O_*` beside those that this crate needs.
    pub fn set_options(&self, options: i32) -> Result<()> {
        self.request(
            "setting ptrace options",
            libc::PTRACE_SETOPTIONS,
            0,
            (options | OPTIONS) as usize,
        )
    }

    /// Lets the task go: it runs on, or stays stopped by job control if it was found so or was
    /// told to stop meanwhile.
    pub fn detach(mut self) -> Result<()> {
        self.detach_inner()
    }

    fn detach_inner(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.attached) {
            return Ok(());
        }
        let due = self.halt()?;
        if let Some(signal) = self.held_stop.take() {
            // SAFETY: sends a signal to the task, which cannot be another one while we trace it.
            unsafe { libc::syscall(libc::SYS_tkill, self.tid, signal) };
        }
        self.request("detaching", libc::PTRACE_DETACH, 0, due as usize)
    }

    /// [`Self::detach`] for all threads of a process. The first that runs on may end the process, or
    /// replace its program, before the others are let go: these have died, and are waited for, as
    /// nobody else learns of their end before their tracer does. Only a child of the caller is left for
    /// it to wait for.
    ///
    /// # Errors
    /// The first thread that is alive and cannot be let go; the others are, all the same.
    pub fn detach_all(threads: impl IntoIterator<Item = Self>) -> Result<()> {
        let mut result = Ok(());
        let mut dead = Vec::new();
        for mut thread in threads {
            match thread.detach_inner() {
                Err(Error::Gone { .. }) => dead.push(thread),
                Err(Error::Died { .. }) => {}
                other => result = result.and(other),
            }
        }
        // The end of a leader, which comes first, is told only after that of the other threads.
        for thread in dead.into_iter().rev() {
            if !is_own_child(thread.tid) {
                result = result.and(thread.bury());
            }
        }
        result
    }

    /// Kills the task with `SIGKILL` and leaves its status to its parent.
    pub fn kill(mut self) -> Result<()> {
        self.attached = false;
        // SAFETY: as above.
        if unsafe { libc::kill(self.tid, libc::SIGKILL) } == 0 {
            return Ok(());
        }
        Err(Error::Sys {
            tid: self.tid,
            doing: "killing",
            errno: Errno::last(),
        })
    }

    /// Waits for the end of a task that has been killed, so that its parent learns of it: the death
    /// of a traced task is reported to its tracer first.
    ///
    /// # Errors
    /// [`Error::Sys`] if it cannot be waited for.
    pub fn bury(mut self) -> Result<()> {
        self.attached = false;
        loop {
            let status = match self.watch.wait(self.tid) {
                Ok(status) => status,
                // The last thread of a process takes the others with it.
                Err(Error::Gone { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                return Ok(());
            }
        }
    }

    /// A ptrace request without pointers.
    pub(crate) fn request(&self, doing: &'static str, request: u32, addr: usize, data: usize) -> Result<()> {
        // SAFETY: only requests that take integers are made through here.
        unsafe { sys::ptrace(self.tid, doing, request, addr, data) }.map(drop)
    }
}

/// Threads of one process, which are let go together when this is dropped, see [`Tracee::detach_all`].
#[derive(Debug)]
pub struct Threads(Vec<Tracee>);

impl Threads {
    /// Seizes them all, or none.
    ///
    /// # Errors
    /// That of the first which cannot be seized, as for [`Tracee::seize`].
    pub fn seize(tids: &[i32]) -> Result<Self> {
        let (mut threads, mut result) = (Self(Vec::with_capacity(tids.len())), Ok(()));
        for thread in Tracee::seize_all(tids) {
            match thread {
                Ok(thread) => threads.0.push(thread),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result.map(|()| threads)
    }

    /// Lets them all go.
    ///
    /// # Errors
    /// As for [`Tracee::detach_all`].
    pub fn detach(mut self) -> Result<()> {
        Tracee::detach_all(std::mem::take(&mut self.0))
    }
}

impl std::ops::Deref for Threads {
    type Target = Vec<Tracee>;

    fn deref(&self) -> &Vec<Tracee> {
        &self.0
    }
}

impl std::ops::DerefMut for Threads {
    fn deref_mut(&mut self) -> &mut Vec<Tracee> {
        &mut self.0
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Err(error) = Tracee::detach_all(std::mem::take(&mut self.0)) {
            tracing::debug!(%error, "detaching from dropped threads");
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if let Err(error) = self.detach_inner() {
            tracing::debug!(tid = self.tid, %error, "detaching from a dropped task");
        }
    }
}

/// Whether a process, not a thread, is a child of the caller.
fn is_own_child(tid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let field = |name: &str| -> Option<i32> {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse().ok()
    };
    field("Tgid:") == Some(tid) && field("PPid:") == i32::try_from(std::process::id()).ok()
}

/// What stands behind `EPERM` of `PTRACE_SEIZE`.
fn why_not(tid: i32) -> Error {
    match sys::state(tid) {
        None => return Error::Gone { tid },
        Some(state @ ('Z' | 'X')) => return Error::Zombie { tid, state },
        _ => {}
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|l| l.strip_prefix("TracerPid:"))
        .and_then(|p| p.trim().parse().ok());
    match tracer {
        Some(tracer) if tracer != 0 => Error::Traced { tid, tracer },
        _ => Error::Denied { tid },
    }
}
