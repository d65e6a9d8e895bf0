//! Terminals that come from outside: handed over by the user, or the terminal of the restore itself.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{TtyInfoEntry, TtyType};

use crate::device::key;
use crate::sys;

/// The terminal of the restore, held by the coordinator.
pub(crate) struct Own {
    holder: u32,
    fd: OwnedFd,
    rdev: u64,
    /// Whether the restore is in its foreground: then it may be changed.
    pub(crate) is_ours: bool,
}

impl Own {
    /// Finds it: standard input, output or error, or else the controlling terminal.
    pub(crate) fn find() -> Option<Self> {
        let standard = (0..=2).filter_map(|fd| sys::copy_of(fd).ok());
        let mut terminals = standard.filter(|fd| sys::is_terminal(fd.as_fd()));
        let fd = terminals
            .next()
            .or_else(|| sys::open_with("/dev/tty", libc::O_RDWR).ok())?;
        let group = nix::unistd::getpgrp().as_raw();
        Some(Self {
            holder: std::process::id(),
            rdev: sys::rdev(&fd).ok()?,
            is_ours: sys::foreground(fd.as_fd()) == Ok(group),
            fd,
        })
    }

    fn copy(&self) -> Result<OwnedFd> {
        if let Ok(copy) = sys::copy_of(self.fd.as_raw_fd())
            && sys::rdev(&copy).is_ok_and(|rdev| rdev == self.rdev)
        {
            return Ok(copy);
        }
        sys::descriptor_of(self.holder, self.fd.as_raw_fd()).context(|| "getting the terminal of the restore")
    }
}

/// What the user has handed over for a terminal.
pub(crate) fn inherited(host: &Host<'_>, info: &TtyInfoEntry) -> Result<Option<OwnedFd>> {
    host.inherited(&key(info.rdev, info.dev.unwrap_or(0)))
}

/// The terminal that stands in for one from outside.
///
/// # Errors
/// There is none.
pub(crate) fn stand_in(host: &Host<'_>, own: Option<&Own>, info: &TtyInfoEntry) -> Result<OwnedFd> {
    if let Some(fd) = inherited(host, info)? {
        return Ok(fd);
    }
    let key = key(info.rdev, info.dev.unwrap_or(0));
    if info.r#type() == TtyType::ExtTty {
        return Err(Error::new(format!(
            "the terminal {key} belongs to the outside, and none was handed over for it"
        ))
        .with_remedy(format!("use --inherit-fd 'fd[N]:{key}'")));
    }
    if !host.flag("shell-job")? {
        return Err(Error::new(format!("the terminal {key} belongs to the outside"))
            .with_remedy(format!("use --shell-job, or --inherit-fd 'fd[N]:{key}'")));
    }
    match own {
        Some(own) => own.copy(),
        None => Err(Error::new("this restore of a shell job has no terminal itself")
            .with_remedy("run it in a terminal, or hand one over with --inherit-fd")),
    }
}

/// A description of a terminal with these flags: a new one, or the very same where that is not possible.
pub(crate) fn reopen(fd: OwnedFd, flags: i32) -> OwnedFd {
    sys::open_with(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags).unwrap_or(fd)
}
