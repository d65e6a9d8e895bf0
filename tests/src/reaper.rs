//! The test process is a child subreaper: what a dump or a restore leaves behind becomes its child. One thread
//! reaps them all at once, since process 1 may take seconds, and a zombie holds the pid that a restore needs.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::patience;

/// A process id as the kernel gives it.
pub type Pid = i32;

/// How a child ended: its exit code, or the signal that killed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It called exit with this code.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
}

#[derive(Default)]
struct Ended {
    table: Mutex<HashMap<Pid, End>>,
    changed: Condvar,
}

static ENDED: LazyLock<&'static Ended> = LazyLock::new(|| {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    let rc = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(rc, 0, "become a child subreaper: {}", io::Error::last_os_error());
    let ended: &'static Ended = Box::leak(Box::default());
    thread::Builder::new()
        .name("reaper".into())
        .spawn(|| reap(ended))
        .expect("start the reaper thread");
    ended
});

/// Starts a program. Its end is learnt by [`wait`]; nothing else may wait for children in this process.
pub fn spawn(command: &mut Command) -> io::Result<Pid> {
    let ended = *ENDED;
    // Held across the fork: the reaper cannot record the end of a new pid before an old record of it is gone.
    let mut table = ended.table.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    let pid = Pid::try_from(child.id()).map_err(io::Error::other)?;
    table.remove(&pid);
    ended.changed.notify_all();
    Ok(pid)
}

/// Waits until a child (or an orphan that has become one) has ended. `None` when the time is over.
pub fn wait(pid: Pid, limit: Duration) -> Option<End> {
    wait_exactly(pid, patience::patient(limit))
}

/// The same, for a time that is the same on every machine.
pub(crate) fn wait_exactly(pid: Pid, limit: Duration) -> Option<End> {
    let ended = *ENDED;
    let deadline = Instant::now() + limit;
    let mut table = ended.table.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(end) = table.remove(&pid) {
            return Some(end);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        table = ended
            .changed
            .wait_timeout(table, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// How a child ended, if it has; [`wait`] still finds it.
pub fn peek(pid: Pid) -> Option<End> {
    ENDED
        .table
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&pid)
        .copied()
}

fn reap(ended: &Ended) {
    loop {
        // SAFETY: a zeroed siginfo_t is a valid value, and waitid only writes into it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is ours and live for the call.
        let rc = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
        let mut table = ended.table.lock().unwrap_or_else(PoisonError::into_inner);
        if rc != 0 {
            // No child at all: the next one comes by a spawn (orphans come only from children).
            drop(ended.changed.wait_timeout(table, Duration::from_millis(100)));
            continue;
        }
        // SAFETY: waitid filled the structure for a child, so the pid field is the active one.
        let pid = unsafe { info.si_pid() };
        // The stops of a process that a test traces are reported too, whatever was asked for: they are no end.
        let id = libc::id_t::try_from(pid).unwrap_or_default();
        // SAFETY: `info` is ours and live for the call.
        let rc = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOHANG) };
        if rc == 0 && [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code) {
            // SAFETY: as above; for an ended child the status is the exit code or the signal.
            let status = unsafe { info.si_status() };
            let end = if info.si_code == libc::CLD_EXITED {
                End::Exit(status)
            } else {
                End::Signal(status)
            };
            table.insert(pid, end);
            ended.changed.notify_all();
        }
    }
}
