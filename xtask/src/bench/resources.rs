//! Many of one kind of resource in one process.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::bench::guest::Kind;
use crate::error::{At, Error};

/// Makes so many of a kind, which last as long as the process.
pub(crate) fn make(kind: Kind, amount: usize) -> Result<(), Error> {
    raise_open_files()?;
    match kind {
        Kind::Pipes => each(amount, pipe),
        Kind::Eventfds => each(amount, || eventfd().map(keep)),
        Kind::Epolls => {
            let target = eventfd().map_err(failed)?;
            each(amount, || epoll(&target))?;
            keep(target);
            Ok(())
        }
        Kind::Timerfds => each(amount, timerfd),
        Kind::UnixPairs => each(amount, || {
            let (a, b) = UnixStream::pair()?;
            keep(a.into());
            keep(b.into());
            Ok(())
        }),
        Kind::TcpListeners => tcp_listeners(amount),
        Kind::TcpPairs => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
            each(amount, || tcp_pair(&listener))?;
            keep(listener.into());
            Ok(())
        }
        Kind::UdpSockets => each(amount, || {
            UdpSocket::bind("127.0.0.1:0").map(|socket| keep(socket.into()))
        }),
        Kind::Ptys => each(amount, pty),
        Kind::Memfds => each(amount, memfd),
        Kind::Files => numbered(amount, |name| {
            keep(File::create(name)?.into());
            Ok(())
        }),
        Kind::Ghosts => numbered(amount, |name| {
            let mut file = File::create(name)?;
            file.write_all(b"deleted")?;
            std::fs::remove_file(name)?;
            keep(file.into());
            Ok(())
        }),
        Kind::Watches => watches(amount),
        Kind::Locks => numbered(amount, |name| {
            let file = File::create(name)?;
            // SAFETY: flock takes plain numbers.
            checked(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) })?;
            keep(file.into());
            Ok(())
        }),
        Kind::Netlinks => each(amount, || {
            let (family, protocol) = (libc::AF_NETLINK, libc::NETLINK_ROUTE);
            // SAFETY: socket takes plain numbers.
            owned(unsafe { libc::socket(family, libc::SOCK_RAW, protocol) }).map(keep)
        }),
        Kind::Signalfds => each(amount, signalfd),
        Kind::Rings => each(amount, ring),
        Kind::Userfaultfds => each(amount, userfaultfd),
        Kind::BpfMaps => each(amount, bpf_map),
        Kind::Segments => each(amount, segment),
        Kind::Fifos => numbered(amount, fifo),
        Kind::Pidfds => each(amount, pidfd),
        // A protocol that nobody speaks (RFC 3692), and none at all: they receive nothing.
        Kind::RawSockets => each(amount, || socket(libc::AF_INET, libc::SOCK_RAW, 253)),
        Kind::PacketSockets => each(amount, || socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)),
        Kind::AioRings => each(amount, aio_ring),
        Kind::Marks => marks(amount),
        _ => Err(Error::Wrong(format!("{kind:?} is no family of resources"))),
    }
}

fn failed(cause: io::Error) -> Error {
    Error::System("make a resource".into(), cause)
}

fn each(amount: usize, make: impl Fn() -> io::Result<()>) -> Result<(), Error> {
    (0..amount).try_for_each(|_| make()).map_err(failed)
}

/// In files of names of their own.
fn numbered(amount: usize, make: impl Fn(&str) -> io::Result<()>) -> Result<(), Error> {
    (0..amount)
        .map(|number| format!("file-{number}"))
        .try_for_each(|name| make(&name).at("use", &name))
}

/// Leaves a descriptor open for good.
fn keep(fd: OwnedFd) {
    let _number = fd.into_raw_fd();
}

fn checked(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The descriptor that a call returned.
fn owned(result: RawFd) -> io::Result<OwnedFd> {
    let fd = checked(result)?;
    // SAFETY: the calls whose results come here return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raise_open_files() -> Result<(), Error> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is live for both calls.
    let done = checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).and_then(|_| {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
    });
    done.map(drop)
        .map_err(|cause| Error::System("raise the limit of open files".into(), cause))
}

fn pipe() -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: the array holds two descriptors.
    checked(unsafe { libc::pipe(ends.as_mut_ptr()) }).map(drop)
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes plain numbers.
    owned(unsafe { libc::eventfd(1, 0) })
}

fn epoll(target: &OwnedFd) -> io::Result<()> {
    // SAFETY: epoll_create1 takes a plain number.
    let epoll = owned(unsafe { libc::epoll_create1(0) })?;
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN.cast_unsigned(),
        u64: 7,
    };
    let (set, fd) = (epoll.as_raw_fd(), target.as_raw_fd());
    // SAFETY: the event is live for the call.
    checked(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    keep(epoll);
    Ok(())
}

fn timerfd() -> io::Result<()> {
    // SAFETY: timerfd_create takes plain numbers.
    let timer = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) })?;
    let later = libc::timespec {
        tv_sec: 100_000,
        tv_nsec: 0,
    };
    let spec = libc::itimerspec {
        it_interval: later,
        it_value: later,
    };
    // SAFETY: the kernel reads one structure; no old value is asked for.
    checked(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) })?;
    keep(timer);
    Ok(())
}

/// At an address of this process alone and chosen ports: the search for a free one takes longer the more
/// there are.
fn tcp_listeners(amount: usize) -> Result<(), Error> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 77, high, low);
    for port in (10_000..=u16::MAX).take(amount) {
        keep(TcpListener::bind((address, port)).map_err(failed)?.into());
    }
    Ok(())
}

fn tcp_pair(listener: &TcpListener) -> io::Result<()> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    keep(client.into());
    keep(server.into());
    Ok(())
}

fn pty() -> io::Result<()> {
    // SAFETY: posix_openpt takes plain numbers.
    let master = owned(unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) })?;
    let fd = master.as_raw_fd();
    let mut unlock: c_int = 0;
    // SAFETY: the kernel reads one int.
    checked(unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw mut unlock) })?;
    // SAFETY: this request takes plain numbers and returns a descriptor.
    keep(owned(unsafe {
        libc::ioctl(fd, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY)
    })?);
    keep(master);
    Ok(())
}

fn memfd() -> io::Result<()> {
    // SAFETY: the name is a C string.
    let memory = owned(unsafe { libc::memfd_create(c"bench".as_ptr(), 0) })?;
    let mut file = File::from(memory);
    file.write_all(b"in memory")?;
    keep(file.into());
    Ok(())
}

/// One group with a watch on each of so many files.
fn watches(amount: usize) -> Result<(), Error> {
    // SAFETY: inotify_init1 takes a plain number.
    let group = owned(unsafe { libc::inotify_init1(0) }).map_err(failed)?;
    numbered(amount, |name| {
        File::create(name)?;
        let path = std::ffi::CString::new(name)?;
        // SAFETY: the path is a C string.
        checked(unsafe { libc::inotify_add_watch(group.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY) })
            .map(drop)
    })?;
    keep(group);
    Ok(())
}

/// One group of fanotify(7) with a mark on each of so many files.
fn marks(amount: usize) -> Result<(), Error> {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_UNLIMITED_MARKS;
    // SAFETY: fanotify_init takes plain numbers.
    let group =
        owned(unsafe { libc::fanotify_init(flags, libc::O_RDONLY.cast_unsigned()) }).map_err(failed)?;
    numbered(amount, |name| {
        File::create(name)?;
        let path = std::ffi::CString::new(name)?;
        let fd = group.as_raw_fd();
        // SAFETY: the path is a C string.
        checked(unsafe {
            libc::fanotify_mark(
                fd,
                libc::FAN_MARK_ADD,
                libc::FAN_MODIFY,
                libc::AT_FDCWD,
                path.as_ptr(),
            )
        })
        .map(drop)
    })?;
    keep(group);
    Ok(())
}

fn fifo(name: &str) -> io::Result<()> {
    let path = std::ffi::CString::new(name)?;
    // SAFETY: the path is a C string.
    checked(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })?;
    keep(File::options().read(true).write(true).open(name)?.into());
    Ok(())
}

fn pidfd() -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    from_call(unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) }).map(keep)
}

fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<()> {
    // SAFETY: socket takes plain numbers.
    owned(unsafe { libc::socket(family, kind, protocol) }).map(keep)
}

fn aio_ring() -> io::Result<()> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the kernel writes one number, the address of the ring.
    match unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn signalfd() -> io::Result<()> {
    // SAFETY: an all-zero set is a valid one, and both calls get the address of one.
    owned(unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::signalfd(-1, &raw const set, 0)
    })
    .map(keep)
}

/// A new descriptor by a call that the C library has no function for.
fn from_call(result: libc::c_long) -> io::Result<OwnedFd> {
    owned(RawFd::try_from(result).unwrap_or(-1))
}

/// A ring of io_uring(7), mapped as libraries do it.
fn ring() -> io::Result<()> {
    const ENTRIES: u32 = 8;
    /// Sizes and offsets of the mappings: the rings, the entries.
    const MAPPINGS: [(usize, libc::off_t); 2] = [(4096, 0), (64 * ENTRIES as usize, 0x1000_0000)];
    // `struct io_uring_params`.
    let mut params = [0u32; 30];
    // SAFETY: the kernel reads and writes 120 bytes.
    let ring = from_call(unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) })?;
    for (size, offset) in MAPPINGS {
        // SAFETY: the kernel chooses a free address.
        let at = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                std::ptr::null_mut(),
                size,
                access,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
    }
    keep(ring);
    Ok(())
}

fn userfaultfd() -> io::Result<()> {
    /// `UFFDIO_API` and its argument: the version, no features, room for the answer.
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    let mut api = [0xaau64, 0, 0];
    // SAFETY: userfaultfd takes a plain number.
    let faults = from_call(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) })?;
    // SAFETY: the kernel reads and writes three words.
    checked(unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) })?;
    keep(faults);
    Ok(())
}

fn bpf_map() -> io::Result<()> {
    const MAP_CREATE: c_int = 0;
    /// Of `union bpf_attr`: an array of four values of eight bytes.
    const ARRAY: [u32; 5] = [2, 4, 8, 4, 0];
    // SAFETY: the kernel reads as many bytes as it is told.
    let map = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, ARRAY.as_ptr(), size_of_val(&ARRAY)) };
    from_call(map).map(keep)
}

/// Shared memory that goes with the last process that has it.
fn segment() -> io::Result<()> {
    // SAFETY: the calls take plain numbers; the kernel chooses the address.
    unsafe {
        let id = checked(libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600))?;
        let at = libc::shmat(id, std::ptr::null(), 0);
        let removed = checked(libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()));
        if at.addr().cast_signed() == -1 {
            return Err(io::Error::last_os_error());
        }
        removed.map(drop)
    }
}
