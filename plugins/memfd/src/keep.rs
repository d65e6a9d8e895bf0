//! Keeps an object until the end of a restore. Without a descriptor if possible: thousands of them would leave none for
//! the tasks, which need as many, and which are born with all those of the coordinator.

use std::fs::{File, metadata};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use crate::sys;

/// An object that can be opened for as long as the process that keeps it lives.
pub(crate) enum Kept {
    /// A page of it is mapped: `/proc/PID/map_files` leads to it, with `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
    Mapped(sys::Hold),
    /// A descriptor, also where its pages are huge: each mapping would reserve one.
    Open(File, (u64, u64)),
}

impl Kept {
    /// Keeps an object.
    pub(crate) fn of(object: File, is_huge: bool) -> std::io::Result<Self> {
        if !is_huge && let Ok(hold) = sys::Hold::of(&object) {
            if sys::open(&hold.path(None), libc::O_RDONLY).is_ok() {
                return Ok(Self::Mapped(hold));
            }
            hold.release()?;
        }
        let meta = object.metadata()?;
        Ok(Self::Open(object, (meta.dev(), meta.ino())))
    }

    /// Another description of it, in the process `holder` that keeps it or in one that it has forked.
    pub(crate) fn reopen(&self, holder: u32, flags: i32) -> nix::Result<OwnedFd> {
        match self {
            // A fork has not got the mapping.
            Self::Mapped(hold) => sys::open(&hold.path(Some(holder)), flags),
            // By the descriptor that the fork has handed down, or, when this task has closed that already, by the one
            // of the coordinator.
            Self::Open(file, inode) => {
                let fd = file.as_raw_fd();
                let is_here =
                    metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|m| (m.dev(), m.ino()) == *inode);
                sys::reopen((!is_here).then_some(holder), fd, flags)
            }
        }
    }

    /// Lets go of it, in the process that keeps it.
    pub(crate) fn release(self) -> nix::Result<()> {
        match self {
            Self::Mapped(hold) => hold.release(),
            Self::Open(..) => Ok(()),
        }
    }
}
