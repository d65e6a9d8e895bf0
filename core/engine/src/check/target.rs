//! A process to try things on.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Outcome;
use crate::error::{Context, Error, Result};

/// A child that waits, stopped by ptrace(2), and is killed when this is dropped.
pub(super) struct Target {
    pid: Pid,
    /// Why it could not be stopped.
    seized: Outcome,
}

impl Target {
    /// Starts one.
    pub(super) fn start() -> Result<Self> {
        // SAFETY: the child makes nothing but system calls and does not return from here.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(Error::last_os("starting a process to try things on"));
        }
        if pid == 0 {
            // SAFETY: both calls take plain numbers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
        }
        let mut target = Self {
            pid: Pid::from_raw(pid),
            seized: Ok(()),
        };
        target.seized = target.seize();
        Ok(target)
    }

    fn seize(&self) -> Outcome {
        self.request(libc::PTRACE_SEIZE, 0, 0)
            .map_err(|e| format!("PTRACE_SEIZE: {}", e.desc()))?;
        self.request(libc::PTRACE_INTERRUPT, 0, 0)
            .map_err(|e| format!("PTRACE_INTERRUPT: {}", e.desc()))?;
        let stopped = waitpid(self.pid, Some(WaitPidFlag::__WALL));
        stopped
            .map(drop)
            .map_err(|e| format!("waiting for the stop: {}", e.desc()))
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Whether it is stopped.
    pub(super) fn seized(&self) -> Outcome {
        self.seized.clone()
    }

    /// A ptrace request with plain numbers, or the addresses of things that outlive it.
    pub(super) fn request(&self, request: libc::c_uint, addr: usize, data: usize) -> nix::Result<i64> {
        // SAFETY: every caller passes numbers, or addresses of what the request reads or writes.
        Errno::result(unsafe { libc::ptrace(request, self.pid.as_raw(), addr, data) })
    }

    /// A descriptor of the process.
    pub(super) fn pidfd(&self) -> nix::Result<OwnedFd> {
        // SAFETY: takes plain numbers and returns a new descriptor.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid.as_raw(), 0) })?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A copy of one of its descriptors.
    pub(super) fn descriptor(&self, fd: i32) -> nix::Result<OwnedFd> {
        let pidfd = self.pidfd()?;
        // SAFETY: takes plain numbers and returns a new descriptor.
        let got = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
        let got = i32::try_from(got).map_err(|_| Errno::EBADF)?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(got) })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let gone = kill(self.pid, Signal::SIGKILL)
            .and_then(|()| waitpid(self.pid, Some(WaitPidFlag::__WALL)))
            .context(|| format!("ending process {}", self.pid));
        if let Err(error) = gone {
            tracing::warn!("{error}");
        }
    }
}
