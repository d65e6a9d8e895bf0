//! A network of the test's own, and sockets in it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use criu_tcp_repair::{Info, State, address};

/// Runs a test in a thread with a network namespace of its own, its loopback device up. Needs root.
pub(crate) fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            device_up("lo");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn check(result: i32) -> i32 {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

fn device_up(name: &str) {
    let socket = fresh(libc::AF_INET);
    // SAFETY: ifreq is plain data; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads a whole ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) });
}

/// A TCP socket that is nothing yet, with buffers for large queues.
pub(crate) fn fresh(family: i32) -> OwnedFd {
    // SAFETY: no pointers; the descriptor is new.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, libc::SOCK_STREAM, 0))) };
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        set(fd.as_raw_fd(), libc::SOL_SOCKET, option, 8 << 20);
    }
    fd
}

pub(crate) fn set(fd: RawFd, level: i32, option: i32, value: i32) {
    // SAFETY: the option reads one int.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), 4) });
}

/// The pending error, which is taken away.
pub(crate) fn error_of(socket: &TcpStream) -> Option<i32> {
    socket.take_error().unwrap().and_then(|e| e.raw_os_error())
}

/// Has a socket drop all that arrives (socket(7), `SO_ATTACH_FILTER`), or take it again.
pub(crate) fn deaf(socket: &impl AsRawFd, yes: bool) {
    let mut nothing = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut nothing,
    };
    let option = if yes {
        libc::SO_ATTACH_FILTER
    } else {
        libc::SO_DETACH_FILTER
    };
    let length = size_of_val(&program) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const program).cast());
    // SAFETY: the program has one instruction, which the kernel copies.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, length) });
}

/// Asks for a connection and does not wait for it.
pub(crate) fn ask(listener: &TcpListener) -> TcpStream {
    let to = listener.local_addr().unwrap();
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket = TcpStream::from(fresh(family));
    socket.set_nonblocking(true).unwrap();
    let name = address::encode(&to);
    // SAFETY: the kernel reads as many bytes as there are.
    unsafe {
        libc::connect(
            socket.as_raw_fd(),
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EINPROGRESS));
    socket.set_nonblocking(false).unwrap();
    socket
}

/// A client and its server.
pub(crate) fn pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

pub(crate) fn state(socket: &impl AsFd) -> State {
    Info::read(socket).unwrap().state
}

/// Waits until a socket is in a state; packets are on their way.
pub(crate) fn until(socket: &impl AsFd, wanted: State) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while state(socket) != wanted {
        assert!(
            std::time::Instant::now() < deadline,
            "{} for 20 s, not {wanted}",
            state(socket)
        );
        std::thread::yield_now();
    }
}

/// The next socket for a connection of this address.
pub(crate) fn like(address: SocketAddr) -> OwnedFd {
    fresh(if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    })
}
