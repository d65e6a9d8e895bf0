//! The system calls of this plugin that need `unsafe`: the ioctls of terminals (ioctl_tty(2)).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use criu_plugin_api::message::FileTarget;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// `struct termios` of the kernel, which is not that of libc: what `TCGETS` and `TCSETS` carry.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Termios {
    pub(crate) iflag: u32,
    pub(crate) oflag: u32,
    pub(crate) cflag: u32,
    pub(crate) lflag: u32,
    pub(crate) line: u8,
    pub(crate) cc: [u8; CONTROL_CHARS],
}

/// `NCCS` of the kernel on x86 and ARM.
pub(crate) const CONTROL_CHARS: usize = 19;

/// `O_LARGEFILE` as the kernel has it; libc's is 0 where it is always meant.
pub(crate) const LARGE_FILE: u32 = if cfg!(target_arch = "aarch64") {
    0o400_000
} else {
    0o100_000
};

/// `struct winsize`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Winsize {
    pub(crate) rows: u16,
    pub(crate) cols: u16,
    pub(crate) xpixel: u16,
    pub(crate) ypixel: u16,
}

/// The descriptor of a file to be dumped, for as long as its target is at hand.
pub(crate) fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

fn get<T: Default + Copy>(fd: BorrowedFd<'_>, request: libc::Ioctl) -> nix::Result<T> {
    let mut value = T::default();
    // SAFETY: every caller below pairs the request with the type that the kernel writes for it.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) })?;
    Ok(value)
}

fn set<T: Copy>(fd: BorrowedFd<'_>, request: libc::Ioctl, value: T) -> nix::Result<()> {
    // SAFETY: every caller below pairs the request with the type that the kernel reads for it.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const value) }).map(drop)
}

fn call(fd: BorrowedFd<'_>, request: libc::Ioctl, value: libc::c_int) -> nix::Result<i32> {
    // SAFETY: every caller below uses a request whose argument is a plain number.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, libc::c_long::from(value)) })
}

/// `TCGETS`; on a master it is that of the slave.
pub(crate) fn termios(fd: BorrowedFd<'_>) -> nix::Result<Termios> {
    get(fd, libc::TCGETS)
}

/// `TCSETS`: at once, without waiting and without dropping input.
pub(crate) fn set_termios(fd: BorrowedFd<'_>, termios: Termios) -> nix::Result<()> {
    set(fd, libc::TCSETS, termios)
}

/// `TIOCGLCKTRMIOS`: the bits of the termios that are locked.
pub(crate) fn termios_locked(fd: BorrowedFd<'_>) -> nix::Result<Termios> {
    get(fd, libc::TIOCGLCKTRMIOS)
}

/// `TIOCSLCKTRMIOS`; needs `CAP_SYS_ADMIN`.
pub(crate) fn lock_termios(fd: BorrowedFd<'_>, locked: Termios) -> nix::Result<()> {
    set(fd, libc::TIOCSLCKTRMIOS, locked)
}

/// `TIOCGWINSZ`.
pub(crate) fn winsize(fd: BorrowedFd<'_>) -> nix::Result<Winsize> {
    get(fd, libc::TIOCGWINSZ)
}

/// `TIOCSWINSZ`.
pub(crate) fn set_winsize(fd: BorrowedFd<'_>, size: Winsize) -> nix::Result<()> {
    set(fd, libc::TIOCSWINSZ, size)
}

/// `TIOCGPTN`: the number of a master's slave.
pub(crate) fn pty_index(master: BorrowedFd<'_>) -> nix::Result<u32> {
    get(master, libc::TIOCGPTN)
}

/// `TIOCGDEV`: the device of the terminal itself, in the kernel's 32-bit encoding; also through
/// `/dev/tty`, and of the slave through a master.
pub(crate) fn device(fd: BorrowedFd<'_>) -> nix::Result<u32> {
    get(fd, libc::TIOCGDEV)
}

/// `TIOCGPTLCK`: whether the slave cannot be opened yet.
pub(crate) fn is_locked(master: BorrowedFd<'_>) -> nix::Result<bool> {
    get::<i32>(master, libc::TIOCGPTLCK).map(|locked| locked != 0)
}

/// `TIOCSPTLCK`.
pub(crate) fn set_lock(master: BorrowedFd<'_>, locked: bool) -> nix::Result<()> {
    set(master, libc::TIOCSPTLCK, i32::from(locked))
}

/// `TIOCGEXCL`.
pub(crate) fn is_exclusive(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    get::<i32>(fd, libc::TIOCGEXCL).map(|exclusive| exclusive != 0)
}

/// `TIOCEXCL`.
pub(crate) fn set_exclusive(fd: BorrowedFd<'_>) -> nix::Result<()> {
    call(fd, libc::TIOCEXCL, 0).map(drop)
}

/// `TIOCGPKT`: whether a master is in packet mode.
pub(crate) fn has_packets(master: BorrowedFd<'_>) -> nix::Result<bool> {
    get::<i32>(master, libc::TIOCGPKT).map(|packets| packets != 0)
}

/// `TIOCPKT`.
pub(crate) fn set_packets(master: BorrowedFd<'_>) -> nix::Result<()> {
    set(master, libc::TIOCPKT, 1i32)
}

/// `TIOCGSID`: the session that a terminal controls; only on a master, or on one's own terminal.
pub(crate) fn session(fd: BorrowedFd<'_>) -> nix::Result<i32> {
    get(fd, libc::TIOCGSID)
}

/// `TIOCGPGRP`: the foreground process group; only on a master, or on one's own terminal.
pub(crate) fn foreground(fd: BorrowedFd<'_>) -> nix::Result<i32> {
    get(fd, libc::TIOCGPGRP)
}

/// `TIOCSPGRP`.
pub(crate) fn set_foreground(fd: BorrowedFd<'_>, group: i32) -> nix::Result<()> {
    set(fd, libc::TIOCSPGRP, group)
}

/// `TIOCSCTTY`, without taking it from another session.
pub(crate) fn control(fd: BorrowedFd<'_>) -> nix::Result<()> {
    call(fd, libc::TIOCSCTTY, 0).map(drop)
}

/// `TIOCGPTPEER` (Linux 4.13): opens the slave of a master with these flags and `FD_CLOEXEC`.
pub(crate) fn open_peer(master: BorrowedFd<'_>, flags: i32) -> nix::Result<OwnedFd> {
    // Other than open(2), this would leave `O_CLOEXEC` in the flags of the description for ever.
    let fd = call(master, libc::TIOCGPTPEER, flags & !libc::O_CLOEXEC)?;
    // SAFETY: the call returned a new descriptor, which nobody else knows.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: F_SETFD takes a plain number.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// `TIOCSTI`: a byte as if it were typed, processed at once; needs `CAP_SYS_ADMIN`.
pub(crate) fn type_byte(fd: BorrowedFd<'_>, byte: u8) -> nix::Result<()> {
    set(fd, libc::TIOCSTI, byte)
}

/// Suspends (`TCOOFF`) or goes on with (`TCOON`) the output of a terminal.
pub(crate) fn flow(fd: BorrowedFd<'_>, action: libc::c_int) -> nix::Result<()> {
    call(fd, libc::TCXONC, action).map(drop)
}

/// Opens a path with exactly these flags, `O_CLOEXEC` and `O_NOCTTY`.
pub(crate) fn open_with<P: AsRef<Path>>(path: P, flags: i32) -> nix::Result<OwnedFd> {
    open(
        path.as_ref(),
        OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
        Mode::empty(),
    )
}

/// pidfd_open(2) and pidfd_getfd(2): a descriptor of the same description in this process.
pub(crate) fn descriptor_of(pid: u32, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: takes plain numbers, returns a new descriptor.
    let pidfd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let pidfd = i32::try_from(pidfd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and nobody else's.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: takes plain numbers, returns a new descriptor.
    let got = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
    let got = i32::try_from(got).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(got) })
}

/// A copy of what stands at this number of this process, if anything does.
pub(crate) fn copy_of(fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes and returns plain numbers; a closed one gives EBADF.
    let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// isatty(3).
pub(crate) fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    termios(fd).is_ok()
}

/// `st_rdev` behind a descriptor.
pub(crate) fn rdev(fd: impl AsFd) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(File::from(fd.as_fd().try_clone_to_owned()?).metadata()?.rdev())
}

/// Whether a read would find something, and whether the other end is closed. Everything that was
/// written before has arrived then: the kernel moves it along before it answers.
pub(crate) fn poll(fd: BorrowedFd<'_>) -> nix::Result<(bool, bool)> {
    use nix::poll::{PollFd, PollFlags, PollTimeout};
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::ZERO)?;
    let events = fds[0].revents().unwrap_or(PollFlags::empty());
    Ok((
        events.contains(PollFlags::POLLIN),
        events.contains(PollFlags::POLLHUP),
    ))
}

/// Runs `work` with `SIGTTOU` blocked, so that a background group may change its terminal.
pub(crate) fn from_background<T>(work: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
    let mut stopping = SigSet::empty();
    stopping.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    let is_blocked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&stopping), Some(&mut before)).is_ok();
    let result = work();
    if is_blocked {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    result
}
