//! The system calls of this plugin that need `unsafe`: the ioctls of terminals (ioctl_tty(2)).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use criu_plugin_api::message::FileTarget;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout};
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

/// `struct termios2` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Termios2 {
    termios: Termios,
    ispeed: u32,
    ospeed: u32,
}

/// `_IOR('T', 0x2A, struct termios2)` and `_IOW('T', 0x2B, struct termios2)`.
const TCGETS2: libc::Ioctl = 0x802c_542a;
const TCSETS2: libc::Ioctl = 0x402c_542b;

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

/// `TIOCPKT`. A status that was pending is gone.
pub(crate) fn set_packets(master: BorrowedFd<'_>, packets: bool) -> nix::Result<()> {
    set(master, libc::TIOCPKT, i32::from(packets))
}

/// Whether the next read from a master in packet mode gives a status.
pub(crate) fn has_status(master: BorrowedFd<'_>) -> nix::Result<bool> {
    events(master, PollFlags::POLLPRI, 0).map(|events| events.contains(PollFlags::POLLPRI))
}

/// Whether a write would be taken, at least a part of it.
pub(crate) fn has_room(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    events(fd, PollFlags::POLLOUT, 0).map(|events| events.contains(PollFlags::POLLOUT))
}

/// `FIONREAD`: bytes in the reader's own buffer; in line mode those of complete lines.
pub(crate) fn waiting(fd: BorrowedFd<'_>) -> nix::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one integer to the address given, which is one.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Writes an empty text, which has waiting echoes written.
pub(crate) fn write_nothing(fd: BorrowedFd<'_>) -> nix::Result<()> {
    nix::unistd::write(fd, &[]).map(drop)
}

/// tcflush(3): drops what was not read (`TCIFLUSH`), or what the other end has not read (`TCOFLUSH`).
pub(crate) fn flush(fd: BorrowedFd<'_>, queue: libc::c_int) -> nix::Result<()> {
    call(fd, libc::TCFLSH, queue).map(drop)
}

/// `TIOCVHANGUP`: all that have the terminal open now find it hung up; needs `CAP_SYS_ADMIN`.
pub(crate) fn hang_up(slave: BorrowedFd<'_>) -> nix::Result<()> {
    const TIOCVHANGUP: libc::Ioctl = 0x5437;
    call(slave, TIOCVHANGUP, 0).map(drop)
}

/// `TIOCGETD`: the number of the line discipline.
pub(crate) fn discipline(fd: BorrowedFd<'_>) -> nix::Result<i32> {
    get(fd, libc::TIOCGETD)
}

/// `TCGETS2`: the speeds of input and output in baud.
pub(crate) fn speeds(fd: BorrowedFd<'_>) -> nix::Result<(u32, u32)> {
    get::<Termios2>(fd, TCGETS2).map(|termios| (termios.ispeed, termios.ospeed))
}

/// `TCSETS2`: termios with speeds, of which those count that `BOTHER` asks for.
pub(crate) fn set_termios_and_speeds(
    fd: BorrowedFd<'_>,
    termios: Termios,
    (ispeed, ospeed): (u32, u32),
) -> nix::Result<()> {
    let termios = Termios2 {
        termios,
        ispeed,
        ospeed,
    };
    set(fd, TCSETS2, termios)
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

/// `KDGETMODE`: whether a virtual console shows graphics.
pub(crate) fn shows_graphics(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    const KDGETMODE: libc::Ioctl = 0x4b3b;
    const KD_GRAPHICS: libc::c_int = 1;
    Ok(get::<libc::c_int>(fd, KDGETMODE)? == KD_GRAPHICS)
}

/// `struct vt_mode` of ioctl_console(2).
#[derive(Default, Clone, Copy)]
#[repr(C)]
struct VtMode {
    mode: u8,
    waitv: u8,
    signals: [i16; 3],
}

/// `VT_GETMODE`: whether a process decides about switches to and from a console.
pub(crate) fn is_switched_by_process(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    const VT_GETMODE: libc::Ioctl = 0x5601;
    const VT_PROCESS: u8 = 1;
    Ok(get::<VtMode>(fd, VT_GETMODE)?.mode == VT_PROCESS)
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

/// Which of these events there are within so many milliseconds.
fn events(fd: BorrowedFd<'_>, wanted: PollFlags, milliseconds: u16) -> nix::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, wanted)];
    nix::poll::poll(&mut fds, PollTimeout::from(milliseconds))?;
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}

/// Whether a read would find something, and whether the other end is closed. Everything that was
/// written before has arrived then: the kernel moves it along before it answers.
pub(crate) fn poll(fd: BorrowedFd<'_>) -> nix::Result<(bool, bool)> {
    let events = events(fd, PollFlags::POLLIN, 0)?;
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

/// Bytes of stack for [`apart`].
const STACK: usize = 256 << 10;

/// Does something in a short-lived process that shares all memory and descriptors with this one, and comes back
/// when it is done. Should this process be killed meanwhile, that one does its work to the end. clone(2)
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> T {
    extern "C" fn run<W: FnMut()>(work: *mut libc::c_void) -> libc::c_int {
        // What is sent to the whole process group, or by an alarm of this process, is not meant for it.
        from_none(|| {
            // SAFETY: it is the place of the closure of the call below, which waits until this is over.
            unsafe { (*work.cast::<W>())() };
        });
        0
    }
    fn start<W: FnMut()>(work: &mut W) -> nix::Result<i32> {
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end;
        // Not with a table of descriptors of its own: a copy costs as much as there are.
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK | libc::CLONE_SIGHAND;
        // SAFETY: the stack is its own, aligned for any architecture, and outlives the process: with
        // CLONE_VFORK this thread goes on when that has ended, or never.
        Errno::result(unsafe { libc::clone(run::<W>, top.cast(), flags, std::ptr::from_mut(work).cast()) })
    }
    let mut work = Some(work);
    let mut done = None;
    let mut once = || {
        if let Some(work) = work.take() {
            done = Some(catch_unwind(AssertUnwindSafe(work)));
        }
    };
    if let Ok(pid) = start(&mut once) {
        reap(pid);
    } else {
        // No process can be made: the work is done here.
        once();
    }
    match done {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => resume_unwind(Box::new("the process that worked on a terminal was killed")),
    }
}

/// Runs `work` with all signals blocked that can be.
fn from_none(work: impl FnOnce()) {
    use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
    _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None);
    work();
}

/// Reaps a child that ends without a signal.
fn reap(pid: i32) {
    loop {
        // SAFETY: no status is asked for.
        let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        if Errno::result(result) != Err(Errno::EINTR) {
            return;
        }
    }
}
