//! Waiting for a traced task, in a way that ends also when the task's process is killed.
//!
//! `wait4(2)` tells of the end of a process's leader only when all other threads are gone, and a traced thread that has
//! died is gone only when its tracer has waited for it (`ptrace(2)`, "Death under ptrace"). So a tracer that waits for a
//! leader would wait for ever when somebody kills the process. It is told of the death of each thread by `SIGCHLD`:
//! whoever waits for a leader looks then whether it is dead, and waits for its threads first.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction,
};

use crate::arch;
use crate::error::{Error, Result};
use crate::sys;

static CANCELLED: AtomicBool = AtomicBool::new(false);
/// Counts the reasons for a wait to look up: the end of a child or traced task, and [`cancel`].
static EVENTS: AtomicU32 = AtomicU32::new(0);
/// The threads that trace, 0 for none.
static TRACERS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

/// Makes every wait of this crate fail with [`Error::Cancelled`], one that is under way at once. Async-signal-safe: a
/// handler may call it that has `SIGCHLD` in its `sa_mask`.
pub fn cancel() {
    CANCELLED.store(true, Ordering::SeqCst);
    EVENTS.fetch_add(1, Ordering::SeqCst);
    wake(|_| true);
}

/// Takes [`cancel`] back, so that what was stopped can be cured.
pub fn uncancel() {
    CANCELLED.store(false, Ordering::SeqCst);
}

/// Sends `SIGCHLD` to threads that trace.
fn wake(whom: impl Fn(i32) -> bool) {
    // Whatever code a handler interrupts may be about to look at its own.
    let errno = Errno::last_raw();
    for tracer in &TRACERS {
        let tid = tracer.load(Ordering::SeqCst);
        if tid != 0 && whom(tid) {
            // SAFETY: plain system calls. In a forked child, whose threads are others, the thread does not exist.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGCHLD) };
        }
    }
    Errno::set_raw(errno);
}

extern "C" fn on_child(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    EVENTS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the kernel hands both to a handler with SA_SIGINFO.
    let (code, context) = unsafe { ((*info).si_code, &mut *context.cast::<libc::ucontext_t>()) };
    arch::leave_wait(context);
    // The kernel wakes the tracer itself, unless another signal is just on its way to it: then any thread.
    if code != libc::SI_TKILL {
        // SAFETY: takes nothing.
        let own = unsafe { libc::gettid() };
        wake(|tid| tid != own);
    }
}

/// A thread's place in [`TRACERS`]. One that finds none free is woken by the kernel alone.
struct Place(Option<&'static AtomicI32>);

impl Place {
    fn take() -> Self {
        // SAFETY: takes nothing.
        let own = unsafe { libc::gettid() };
        let takes = |place: &&AtomicI32| {
            place
                .compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        };
        // What this process was started by may have blocked it.
        let wanted = SigSet::from(Signal::SIGCHLD);
        _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&wanted), None);
        Self(TRACERS.iter().find(takes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(0, Ordering::SeqCst);
        }
    }
}

thread_local! {
    static PLACE: Place = Place::take();
}

/// What a thread has seen of the ends of tasks, for one that it traces.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Cell<u32>,
}

impl Watch {
    /// Before the task is traced. The first one takes `SIGCHLD` over, for the rest of the process's life.
    ///
    /// # Errors
    /// The kernel's, if the handler cannot be set.
    pub(crate) fn new() -> std::result::Result<Self, Errno> {
        static IS_READY: AtomicBool = AtomicBool::new(false);
        if !IS_READY.load(Ordering::SeqCst) {
            let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP;
            let action = SigAction::new(SigHandler::SigAction(on_child), flags, SigSet::empty());
            // SAFETY: the handler makes only system calls and stores to atomics.
            unsafe { sigaction(Signal::SIGCHLD, &action) }?;
            IS_READY.store(true, Ordering::SeqCst);
        }
        // Gone only while the thread ends.
        _ = PLACE.try_with(|_| ());
        Ok(Self {
            seen: Cell::new(EVENTS.load(Ordering::SeqCst)),
        })
    }

    /// `wait4(2)` for the task, any kind; the raw status.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Gone`], [`Error::Sys`].
    pub(crate) fn wait(&self, tid: i32) -> Result<i32> {
        let mut status = 0;
        loop {
            let events = EVENTS.load(Ordering::SeqCst);
            if CANCELLED.load(Ordering::SeqCst) {
                return Err(Error::Cancelled { tid });
            }
            let mut options = libc::__WALL;
            if self.seen.get() != events {
                // Most often it has stopped already, and there is nothing to be looked at.
                options |= libc::WNOHANG;
            }
            match arch::wait4(tid, &mut status, options, &EVENTS, events) {
                0 => {
                    wait_for_threads(tid);
                    self.seen.set(events);
                }
                1.. => return Ok(status),
                error => match Errno::from_raw(i32::try_from(-error).unwrap_or(0)) {
                    Errno::EINTR => {}
                    Errno::ECHILD => return Err(Error::Gone { tid }),
                    errno => {
                        return Err(Error::Sys {
                            tid,
                            doing: "waiting for a stop",
                            errno,
                        });
                    }
                },
            }
        }
    }
}

/// Waits for the threads of a leader that is dead, those that have died before it. Their status is the process's.
fn wait_for_threads(leader: i32) {
    if sys::state(leader) != Some('Z') {
        return;
    }
    let Ok(tasks) = fs::read_dir(format!("/proc/{leader}/task")) else {
        return;
    };
    let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for tid in tids.filter(|tid| *tid != leader) {
        let what = libc::WEXITED | libc::WNOHANG | libc::__WALL;
        // SAFETY: the kernel takes no pointer where there is none.
        unsafe { libc::waitid(libc::P_PID, tid.unsigned_abs(), std::ptr::null_mut(), what) };
    }
}
