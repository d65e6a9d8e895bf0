//! The system calls of this plugin.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use criu_plugin_api::message::FileTarget;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, open};
use nix::sys::stat::Mode;

/// The flags of open(2) that a new description of a pipe is opened with; fcntl(2) sets the others.
const OPEN_FLAGS: i32 = libc::O_ACCMODE | libc::O_SYNC | libc::O_LARGEFILE;

/// The descriptor of a file to be dumped, for as long as its target is at hand.
pub(crate) fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

/// The flags to open another description of a pipe with. Never blocks: `O_NONBLOCK` is among them.
pub(crate) fn open_flags(flags: u32) -> i32 {
    flags.cast_signed() & OPEN_FLAGS | libc::O_NONBLOCK
}

/// A description of its own of the pipe behind a descriptor, with the access mode of `flags`.
pub(crate) fn reopen(fd: impl AsFd, flags: u32) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    open(
        path.as_str(),
        OFlag::from_bits_retain(open_flags(flags)) | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// A pipe, both ends `O_CLOEXEC` and with `flags`: the end to read from, the end to write to.
pub(crate) fn new_pipe(flags: OFlag) -> nix::Result<(File, File)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | flags)?;
    Ok((File::from(read), File::from(write)))
}

/// The size of the buffer of a pipe in bytes, `F_GETPIPE_SZ`.
pub(crate) fn size(pipe: impl AsFd) -> nix::Result<u32> {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ).map(|size| size.unsigned_abs())
}

/// Sets the size, `F_SETPIPE_SZ`; the kernel rounds it up.
pub(crate) fn set_size(pipe: impl AsFd, size: u32) -> nix::Result<()> {
    let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size)).map(drop)
}

/// Switches packet mode on for what is written through this description.
pub(crate) fn packet_mode(pipe: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_DIRECT;
    fcntl(pipe, FcntlArg::F_SETFL(flags)).map(drop)
}

/// Copies what is in a pipe into another without taking it; 0 when there is nothing. tee(2)
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> nix::Result<usize> {
    let all = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    match nix::fcntl::tee(from, to, all, SpliceFFlags::SPLICE_F_NONBLOCK) {
        Err(Errno::EAGAIN) => Ok(0),
        other => other,
    }
}

/// Whether a reader polls that all writers have gone. poll(2)
pub(crate) fn is_hung_up(pipe: impl AsFd) -> nix::Result<bool> {
    let mut asked = libc::pollfd {
        fd: pipe.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: poll reads and writes one pollfd, and with a time of 0 it does not wait.
    Errno::result(unsafe { libc::poll(&raw mut asked, 1, 0) })?;
    Ok(asked.revents & libc::POLLHUP != 0)
}

/// The bytes in a pipe, through either end. ioctl_pipe(2), `FIONREAD`
pub(crate) fn available(pipe: impl AsFd) -> nix::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a place that is valid for it.
    Errno::result(unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
