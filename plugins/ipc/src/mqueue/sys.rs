//! The system calls of message queues. The names are those of mq_overview(7), without the slash.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `mq_maxmsg`, `mq_msgsize`, `mq_curmsgs` of mq_getattr(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) max_messages: u64,
    pub(crate) message_size: u64,
    pub(crate) count: u64,
}

/// `struct mq_attr` as the kernel has it.
#[repr(C)]
#[derive(Default)]
struct Attr {
    flags: libc::c_long,
    maxmsg: libc::c_long,
    msgsize: libc::c_long,
    curmsgs: libc::c_long,
    reserved: [libc::c_long; 4],
}

/// mq_open(2) of a queue that exists. The descriptor is closed on exec in any case; the flags of the
/// description are those given.
pub(crate) fn open(name: &CStr, flags: i32) -> nix::Result<OwnedFd> {
    let no_attributes = std::ptr::null::<Attr>();
    // SAFETY: the name is a C string, and there are no attributes to read.
    let fd = unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), flags, 0, no_attributes) };
    let fd = owned(fd)?;
    // SAFETY: takes plain numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// mq_open(2) of a new queue, for reading and writing, never waiting.
pub(crate) fn create(name: &CStr, max_messages: u64, message_size: u64) -> nix::Result<OwnedFd> {
    let number = |value: u64| libc::c_long::try_from(value).map_err(|_| Errno::EINVAL);
    let attr = Attr {
        maxmsg: number(max_messages)?,
        msgsize: number(message_size)?,
        ..Attr::default()
    };
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: name and attributes live during the call.
    let fd = unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), flags, 0o600, &raw const attr) };
    owned(fd)
}

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// mq_unlink(2).
pub(crate) fn unlink(name: &CStr) -> nix::Result<()> {
    // SAFETY: the name is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) }).map(drop)
}

/// mq_getattr(3).
pub(crate) fn attributes(queue: impl AsFd) -> nix::Result<Attributes> {
    let mut attr = Attr::default();
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: the call fills the struct, which lives here; no new attributes are given.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mq_getsetattr,
            fd,
            std::ptr::null::<Attr>(),
            &raw mut attr,
        )
    })?;
    let number = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
    Ok(Attributes {
        max_messages: number(attr.maxmsg),
        message_size: number(attr.msgsize),
        count: number(attr.curmsgs),
    })
}

/// mq_timedsend(2), without a time.
pub(crate) fn send(queue: impl AsFd, data: &[u8], priority: u32) -> nix::Result<()> {
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: `data` has as many bytes as are said.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mq_timedsend,
            fd,
            data.as_ptr(),
            data.len(),
            priority,
            std::ptr::null::<libc::timespec>(),
        )
    })
    .map(drop)
}

/// mq_timedreceive(2), without a time: length and priority of the message. The buffer must have room for the
/// largest one.
pub(crate) fn receive(queue: impl AsFd, buffer: &mut [u8]) -> nix::Result<(usize, u32)> {
    let fd = queue.as_fd().as_raw_fd();
    let mut priority = 0_u32;
    // SAFETY: the buffer has as many bytes as are said, and the priority lives here.
    let length = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mq_timedreceive,
            fd,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut priority,
            std::ptr::null::<libc::timespec>(),
        )
    })?;
    Ok((usize::try_from(length).unwrap_or(0).min(buffer.len()), priority))
}
