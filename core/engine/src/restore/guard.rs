//! The moment from which a restored tree outlives its coordinator.
//!
//! Until then the kernel ends every thread with its tracer (`PTRACE_O_EXITKILL`), and that is taken back thread by
//! thread. Were the coordinator killed meanwhile, a part of the tree would go and the rest would run: a second process
//! watches over that moment, and ends the rest too.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{Pid, getpid, getppid};

use super::sys;
use crate::error::{Context, Error, Result};

/// Told to the guard by the kernel at the coordinator's end.
const ORPHANED: i32 = libc::SIGTERM;

/// A child that ends processes, should this one end before [`Guard::dismiss`].
pub(crate) struct Guard {
    pid: i32,
}

impl Guard {
    /// Sets a guard over processes, which exist and cannot end by themselves: they are stopped.
    ///
    /// # Errors
    /// When there is no room for one more process, or for a descriptor of each of those.
    pub(crate) fn set(processes: &[i32]) -> Result<Self> {
        let doing = || "setting a guard over the restored processes";
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(doing)?;
        let mut fds: Vec<RawFd> = Vec::with_capacity(processes.len());
        let coordinator = getpid();
        let pid = sys::fork().context(doing)?;
        if pid == 0 {
            watch(processes, &mut fds, coordinator, &writer);
        }
        let guard = Self { pid };
        drop(writer);
        let mut errno = [0; 4];
        match std::fs::File::from(reader).read(&mut errno) {
            Ok(4) if errno == [0; 4] => Ok(guard),
            Ok(4) => Err(Errno::from_raw(i32::from_ne_bytes(errno))).context(doing),
            Ok(_) => Err(Error::Task("the guard of the restored processes died".to_owned())),
            Err(error) => Err(error).context(doing),
        }
    }

    /// From here on the processes live whatever becomes of this one.
    pub(crate) fn dismiss(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It is this process's child, and not waited for by anyone else.
        let _ = sys::kill(self.pid);
        let _ = sys::wait_for(self.pid, true);
    }
}

/// The guard's life. It is a copy of a process that may have had other threads: it takes no lock and no memory.
fn watch(processes: &[i32], fds: &mut Vec<RawFd>, coordinator: Pid, told: &OwnedFd) -> ! {
    sys::block_signals();
    close_all_but(told.as_raw_fd());
    let ready = (|| {
        sys::prctl(libc::PR_SET_PDEATHSIG, u64::from(ORPHANED.unsigned_abs()))?;
        for &pid in processes {
            // Not the number, which is another's once the process is reaped.
            fds.push(sys::pidfd_open(pid)?);
        }
        Ok(())
    })();
    let errno = ready.err().map_or(0, |errno: Errno| errno as i32);
    let written = nix::unistd::write(told, &errno.to_ne_bytes());
    if errno != 0 || written != Ok(size_of_val(&errno)) {
        sys::exit(1);
    }
    // Anyone may send the signal: who the parent is tells why it came. It may have gone before it was asked for.
    while getppid() == coordinator {
        sys::await_signal(ORPHANED);
    }
    for &fd in fds.iter() {
        // That it is gone already is what was wanted.
        let _ = sys::pidfd_kill(fd);
    }
    sys::exit(0)
}

fn close_all_but(kept: RawFd) {
    let kept = kept.cast_unsigned();
    if kept > 0 {
        sys::close_range(0, kept - 1);
    }
    sys::close_range(kept + 1, u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};

    /// A child that sleeps for good.
    fn sleeper() -> i32 {
        match sys::fork().unwrap() {
            0 => loop {
                // SAFETY: waits for a signal; this copy of the process does nothing else.
                unsafe { libc::pause() };
            },
            pid => pid,
        }
    }

    fn end(pid: i32) -> WaitStatus {
        waitpid(Pid::from_raw(pid), None).unwrap()
    }

    #[test]
    fn a_dismissed_guard_harms_nobody() {
        let pids = [sleeper(), sleeper()];
        let guard = Guard::set(&pids).unwrap();
        let its_pid = guard.pid;
        guard.dismiss();
        assert_eq!(sys::kill(its_pid), Err(Errno::ESRCH));
        for pid in pids {
            assert_eq!(
                waitpid(Pid::from_raw(pid), Some(nix::sys::wait::WaitPidFlag::WNOHANG)).unwrap(),
                WaitStatus::StillAlive
            );
            sys::kill(pid).unwrap();
            end(pid);
        }
    }

    #[test]
    fn a_guard_whose_process_ends_ends_the_others() {
        let pids = [sleeper(), sleeper()];
        let coordinator = sys::fork().unwrap();
        if coordinator == 0 {
            let set = Guard::set(&pids);
            std::mem::forget(set.map_err(|_| sys::exit(2)));
            sys::exit(7);
        }
        assert_eq!(
            end(coordinator),
            WaitStatus::Exited(Pid::from_raw(coordinator), 7)
        );
        for pid in pids {
            let killed = WaitStatus::Signaled(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL, false);
            assert_eq!(end(pid), killed);
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        let gone = sleeper();
        sys::kill(gone).unwrap();
        end(gone);
        let error = Guard::set(&[gone]).err().unwrap().to_string();
        assert!(error.contains("guard"), "{error}");
    }
}
