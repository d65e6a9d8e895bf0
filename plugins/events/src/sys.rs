//! The system calls of this plugin.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Takes over the descriptor that a call returned.
pub(crate) fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the calls of this file that end here return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Borrows, so that the descriptor is not closed before its number is used.
pub(crate) fn raw(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// A counter at `count`. eventfd(2)
pub(crate) fn eventfd(count: u32, semaphore: bool) -> nix::Result<OwnedFd> {
    let mode = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
    // SAFETY: it takes plain numbers.
    owned(unsafe { libc::eventfd(count, mode | libc::EFD_CLOEXEC) }.into())
}

/// Writes a number to an eventfd.
pub(crate) fn write_word(fd: impl AsFd, word: u64) -> nix::Result<()> {
    let bytes = word.to_ne_bytes();
    // SAFETY: the bytes are valid for reading.
    let written = unsafe { libc::write(raw(&fd), bytes.as_ptr().cast(), bytes.len()) };
    Errno::result(written).map(drop)
}

/// Takes from an eventfd, without waiting.
fn read_word(fd: impl AsFd) -> nix::Result<u64> {
    let mut word = 0u64;
    let part = libc::iovec {
        iov_base: (&raw mut word).cast(),
        iov_len: size_of::<u64>(),
    };
    // SAFETY: the kernel writes at most these 8 bytes.
    let taken = unsafe { libc::preadv2(raw(&fd), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(taken).map(|_| word)
}

/// Whether an eventfd with this count has `EFD_SEMAPHORE`: then a read takes 1 of it, not all. Leaves it with its count.
/// The processes of the tree are stopped meanwhile.
pub(crate) fn is_semaphore(fd: impl AsFd, count: u64) -> nix::Result<bool> {
    let fd = fd.as_fd();
    let more = 2u64.saturating_sub(count);
    if more > 0 {
        write_word(fd, more)?;
    }
    let taken = read_word(fd)?;
    let left = count + more - taken;
    if left < count {
        write_word(fd, count - left)?;
    }
    // One too many in a semaphore that had none.
    for _ in count..left {
        read_word(fd)?;
    }
    Ok(taken == 1)
}

/// Gets the signals of the mask, signal N at bit N-1. signalfd(2)
pub(crate) fn signalfd(mask: u64) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel reads the 8 bytes of its signal set.
    owned(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            size_of::<u64>(),
            libc::SFD_CLOEXEC,
        )
    })
}

/// A timer of this clock, not armed. timerfd_create(2)
pub(crate) fn timerfd_create(clock: i32) -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain numbers.
    owned(unsafe { libc::timerfd_create(clock, libc::TFD_CLOEXEC) }.into())
}

/// Arms or, with no value, disarms a timer; expirations not yet read are forgotten.
pub(crate) fn timerfd_settime(
    fd: impl AsFd,
    flags: i32,
    value: libc::timespec,
    interval: libc::timespec,
) -> nix::Result<()> {
    let spec = libc::itimerspec {
        it_interval: interval,
        it_value: value,
    };
    // SAFETY: the kernel reads one itimerspec; no old value is asked for.
    Errno::result(unsafe { libc::timerfd_settime(raw(&fd), flags, &raw const spec, std::ptr::null_mut()) })
        .map(drop)
}

/// Has the kernel count the periods that have passed since a timer expired, which it otherwise does when
/// the timer is read.
pub(crate) fn timerfd_catch_up(fd: impl AsFd) -> nix::Result<()> {
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut spec = libc::itimerspec {
        it_interval: zero,
        it_value: zero,
    };
    // SAFETY: the kernel writes one itimerspec.
    Errno::result(unsafe { libc::timerfd_gettime(raw(&fd), &raw mut spec) }).map(drop)
}

/// `TFD_IOC_SET_TICKS` of linux/timerfd.h.
const TFD_IOC_SET_TICKS: libc::Ioctl = 0x4008_5400;

/// Sets the number of expirations not yet read, which is not 0.
pub(crate) fn timerfd_set_ticks(fd: impl AsFd, ticks: u64) -> nix::Result<()> {
    // SAFETY: the kernel reads one u64.
    Errno::result(unsafe { libc::ioctl(raw(&fd), TFD_IOC_SET_TICKS, &raw const ticks) }).map(drop)
}

/// clock_gettime(2)
pub(crate) fn now(clock: i32) -> nix::Result<libc::timespec> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    Errno::result(unsafe { libc::clock_gettime(clock, &raw mut now) })?;
    Ok(now)
}

/// Whether a descriptor becomes readable within so many milliseconds. poll(2)
pub(crate) fn readable_within(fd: impl AsFd, milliseconds: i32) -> nix::Result<bool> {
    let mut poll = libc::pollfd {
        fd: raw(&fd),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: one pollfd is passed.
        match Errno::result(unsafe { libc::poll(&raw mut poll, 1, milliseconds) }) {
            Err(Errno::EINTR) => {}
            other => return Ok(other? == 1 && poll.revents & libc::POLLIN != 0),
        }
    }
}

/// pidfd_open(2)
pub(crate) fn pidfd_open(pid: i32, flags: u32) -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain numbers.
    let fd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })?;
    Ok(fd)
}

/// `struct clone_args` of linux/sched.h, as Linux 5.3 had it.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// `struct pidfd_info` of linux/pidfd.h, as Linux 6.13 had it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`, an `_IOWR` of that struct.
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How a reaped process ended, as wait(2) has it; `None` before Linux 6.15, which is the first to tell.
pub(crate) fn exit_status(pidfd: impl AsFd) -> Option<i32> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel reads and writes one struct of the size that the number of the call tells.
    let result = Errno::result(unsafe { libc::ioctl(raw(&pidfd), PIDFD_GET_INFO, &raw mut info) });
    (result.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// A child that has ended with this status of wait(2) and waits to be reaped. It ends without a signal to
/// its parent, and is gone by [`reap`]. clone3(2), waitid(2)
pub(crate) fn dead_child(status: i32) -> nix::Result<i32> {
    let args = CloneArgs::default();
    // SAFETY: without flags it is fork(2); the child makes a few system calls and no use of what it
    // shares with its parent.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        end_as(status);
    }
    let pid = i32::try_from(Errno::result(pid)?).map_err(|_| Errno::EINVAL)?;
    wait(pid, libc::WNOWAIT)?;
    Ok(pid)
}

/// Ends this process, a child of [`dead_child`].
fn end_as(status: i32) -> ! {
    let signal = status & 0x7f;
    if signal != 0 {
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the calls change this process alone, which has its own copy of all that they change; the
        // set is written before it is read.
        unsafe {
            let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigfillset(set.as_mut_ptr());
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            libc::signal(signal, libc::SIG_DFL);
            libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
            libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), signal);
        }
    }
    // SAFETY: it ends this process, without running what the parent has registered for its exit.
    unsafe { libc::_exit(status >> 8 & 0xff) }
}

/// Reaps a child that ends without a signal.
pub(crate) fn reap(pid: i32) -> nix::Result<()> {
    wait(pid, 0)
}

fn wait(pid: i32, more: i32) -> nix::Result<()> {
    let flags = libc::WEXITED | libc::__WALL | more;
    loop {
        // SAFETY: no result is asked for.
        let result = unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), std::ptr::null_mut(), flags) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// An empty set. epoll_create(2)
pub(crate) fn epoll_create() -> nix::Result<OwnedFd> {
    // SAFETY: it takes a plain number.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())
}

/// Adds (`EPOLL_CTL_ADD`) or changes (`EPOLL_CTL_MOD`) a target. epoll_ctl(2)
pub(crate) fn epoll_ctl(epoll: impl AsFd, op: i32, tfd: i32, events: u32, data: u64) -> nix::Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the kernel reads one epoll_event.
    Errno::result(unsafe { libc::epoll_ctl(raw(&epoll), op, tfd, &raw mut event) }).map(drop)
}

/// Takes one event if there is one now, and returns what has happened and its data. epoll_wait(2)
pub(crate) fn epoll_take(epoll: impl AsFd) -> nix::Result<Option<(u32, u64)>> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: the kernel writes at most one epoll_event.
    let count = Errno::result(unsafe { libc::epoll_wait(raw(&epoll), &raw mut event, 1, 0) })?;
    Ok((count == 1).then_some((event.events, event.u64)))
}

/// Which of these events, and of errors and hang-ups, hold of a file now. poll(2)
pub(crate) fn ready(fd: impl AsFd, events: u32) -> nix::Result<u32> {
    // All events of epoll_ctl(2) that poll(2) knows are the same bits there.
    let events = (events & EPOLL_EVENTS) as i16;
    let mut poll = libc::pollfd {
        fd: raw(&fd),
        events,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one pollfd.
    Errno::result(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
    Ok(u32::from(poll.revents.cast_unsigned()) & EPOLL_EVENTS)
}

/// The bits of `EPOLLIN` to `EPOLLRDHUP`, without `EPOLLNVAL`.
pub(crate) const EPOLL_EVENTS: u32 = 0x27df;

/// `struct kcmp_epoll_slot` of linux/kcmp.h.
#[repr(C)]
struct EpollSlot {
    epoll: u32,
    tfd: u32,
    /// Counts the targets of the same number.
    offset: u32,
}

/// Whether descriptor `fd` of a process is the target number `tfd` (the `offset`th of that number) of a
/// set of our own; false as well when there is no such descriptor. kcmp(2), `KCMP_EPOLL_TFD`
pub(crate) fn is_target(pid: i32, fd: i32, epoll: impl AsFd, tfd: u32, offset: u32) -> nix::Result<bool> {
    const KCMP_EPOLL_TFD: libc::c_int = 7;
    let slot = EpollSlot {
        epoll: raw(&epoll).cast_unsigned(),
        tfd,
        offset,
    };
    let me = std::process::id().cast_signed();
    // SAFETY: the kernel reads one slot and compares.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, pid, me, KCMP_EPOLL_TFD, fd, &raw const slot) };
    match Errno::result(result) {
        Ok(order) => Ok(order == 0),
        Err(Errno::EBADF) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Runs `work` in a short-lived process that shares everything with this one but its descriptor table, of
/// which it has a copy, and returns when it is done. `work` changes no descriptors but those of the copy.
/// clone(2)
pub(crate) fn in_a_copy_of_the_table(mut work: impl FnMut()) -> nix::Result<()> {
    extern "C" fn run<W: FnMut()>(work: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the place of the closure of the call below, which waits until this is over.
        unsafe { (*work.cast::<W>())() };
        0
    }
    fn start<W: FnMut()>(work: &mut W) -> nix::Result<i32> {
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_SIGHAND;
        // SAFETY: the stack is its own, aligned for any architecture, and outlives the process: with
        // CLONE_VFORK this thread goes on when that has ended.
        Errno::result(unsafe { libc::clone(run::<W>, top.cast(), flags, std::ptr::from_mut(work).cast()) })
    }
    let pid = start(&mut work)?;
    reap(pid)
}

/// Which of these numbers of a process stand in a set of our own as what they mean there now, by asking to
/// add them again. Done in a copy of the table, where everything can be put at its number; takes the same
/// time for each, however large the set is. epoll_ctl(2)
pub(crate) fn stand_at_numbers(pid: i32, epoll: impl AsFd, numbers: &[i32]) -> nix::Result<Vec<bool>> {
    let mut stand = vec![false; numbers.len()];
    // Above all numbers, so that nothing is put in their place.
    let above = numbers.iter().max().map_or(0, |last| last.saturating_add(1));
    let pidfd = pidfd_open(pid, 0)?;
    let mut done = Ok(());
    in_a_copy_of_the_table(|| {
        done = (|| {
            let epoll = copy_above(&epoll, above)?;
            let pidfd = copy_above(&pidfd, above)?;
            for (number, stands) in numbers.iter().zip(&mut stand) {
                *stands = stands_at(&pidfd, &epoll, *number)?;
            }
            Ok(())
        })();
    })?;
    done.map(|()| stand)
}

fn stands_at(pidfd: &OwnedFd, epoll: &OwnedFd, number: i32) -> nix::Result<bool> {
    // SAFETY: it takes plain numbers.
    let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw(pidfd), number, 0) };
    let got = match RawFd::try_from(Errno::result(got).or_else(|errno| match errno {
        Errno::EBADF => Ok(-1),
        other => Err(other),
    })?) {
        Ok(got) if got >= 0 => got,
        _ => return Ok(false),
    };
    if got != number {
        // SAFETY: both are numbers of this copy of the table alone, which nobody else uses.
        Errno::result(unsafe { libc::dup2(got, number) })?;
        // SAFETY: it was made above, and is known to nobody.
        unsafe { libc::close(got) };
    }
    match epoll_ctl(epoll, libc::EPOLL_CTL_ADD, number, 0, 0) {
        Err(Errno::EEXIST) => Ok(true),
        Ok(()) => epoll_ctl(epoll, libc::EPOLL_CTL_DEL, number, 0, 0).map(|()| false),
        // It cannot be in a set at all.
        Err(Errno::EPERM | Errno::EINVAL | Errno::ELOOP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A further descriptor with at least this number.
fn copy_above(fd: impl AsFd, least: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain numbers.
    owned(unsafe { libc::fcntl(raw(&fd), libc::F_DUPFD_CLOEXEC, least) }.into())
}

/// `struct epoll_params` of linux/eventpoll.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EpollParams {
    pub(crate) busy_poll_usecs: u32,
    pub(crate) busy_poll_budget: u16,
    pub(crate) prefer_busy_poll: u8,
    /// Must be 0.
    padding: u8,
}

/// `EPIOCSPARAMS` and `EPIOCGPARAMS`: `_IOW` and `_IOR` of that struct, 0x8A, 1 and 2.
const EPIOCSPARAMS: libc::Ioctl = 0x4008_8a01;
const EPIOCGPARAMS: libc::Ioctl = 0x8008_8a02;

/// How a set polls the network itself; `None` before Linux 6.9, and where it is built without that.
pub(crate) fn epoll_params(epoll: impl AsFd) -> Option<EpollParams> {
    let mut params = EpollParams::default();
    // SAFETY: the kernel writes one struct.
    let result = unsafe { libc::ioctl(raw(&epoll), EPIOCGPARAMS, &raw mut params) };
    Errno::result(result).is_ok().then_some(params)
}

pub(crate) fn set_epoll_params(epoll: impl AsFd, usecs: u32, budget: u16, prefer: u8) -> nix::Result<()> {
    let params = EpollParams {
        busy_poll_usecs: usecs,
        busy_poll_budget: budget,
        prefer_busy_poll: prefer,
        padding: 0,
    };
    // SAFETY: the kernel reads one struct.
    Errno::result(unsafe { libc::ioctl(raw(&epoll), EPIOCSPARAMS, &raw const params) }).map(drop)
}

/// Bytes of stack for [`in_a_copy_of_the_table`].
const STACK: usize = 256 << 10;

/// A copy at a number, in place of what is there. dup3(2)
pub(crate) fn dup_to(fd: impl AsFd, number: i32) -> nix::Result<()> {
    // SAFETY: it takes plain numbers; whoever calls it has seen to what is at the number.
    Errno::result(unsafe { libc::dup3(raw(&fd), number, libc::O_CLOEXEC) }).map(drop)
}
