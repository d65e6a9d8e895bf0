//! Sockets whose connection has ended: a socket can still hold data that was not read, and an error that was not
//! heard. Both are made again by a connection within the host that ends in the same way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::{Error, Result, address, sys};

/// For packets to come from the host to itself.
const DELIVERY: Duration = Duration::from_secs(5);

/// What is left of a connection in a socket in state `CLOSE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// What was not read.
    pub data: Vec<u8>,
    /// The error that the next call would report: `ECONNREFUSED` (without data), `ECONNRESET`; `None` for none.
    pub error: Option<i32>,
}

/// Leaves the remains of a connection in a fresh socket, bound or not. The receive buffer must be large enough for the
/// data.
///
/// # Errors
/// The kernel's, packets within the host do not arrive, or the remains contradict themselves.
pub fn remain(socket: impl AsFd, remains: &Remains) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    match remains.error {
        Some(libc::ECONNREFUSED) if remains.data.is_empty() => refused(fd),
        Some(libc::ECONNRESET) | None => reset(fd, remains),
        _ => Err(Error::Contradiction("an error that its data does not go with")),
    }
}

/// A socket at an address of this host that `fd` can reach.
fn beside(fd: i32) -> Result<OwnedFd> {
    let name = sys::local_name(fd).map_err(Error::call("getsockname"))?;
    let own = address::decode(&name).ok_or(Error::Contradiction("a socket of another family"))?;
    let (family, loopback) = match own {
        SocketAddr::V4(_) => (libc::AF_INET, IpAddr::from(Ipv4Addr::LOCALHOST)),
        SocketAddr::V6(_) => (libc::AF_INET6, Ipv6Addr::LOCALHOST.into()),
    };
    let mut at = own;
    at.set_port(0);
    if own.ip().is_unspecified() {
        at.set_ip(loopback);
    }
    let socket =
        sys::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).map_err(Error::call("socket"))?;
    sys::bind(socket.as_raw_fd(), &address::encode(&at)).map_err(Error::call("bind"))?;
    Ok(socket)
}

fn connect(fd: i32, to: &OwnedFd) -> Result<()> {
    let name = sys::local_name(to.as_raw_fd()).map_err(Error::call("getsockname"))?;
    let flags = sys::status_flags(fd).map_err(Error::call("F_GETFL"))?;
    sys::set_status_flags(fd, flags | libc::O_NONBLOCK).map_err(Error::call("F_SETFL"))?;
    let result = sys::connect(fd, &name);
    sys::set_status_flags(fd, flags).map_err(Error::call("F_SETFL"))?;
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        result => result.map_err(Error::call("connect")),
    }
}

fn wait(fd: i32, events: i16, what: &'static str) -> Result<()> {
    let timeout = i32::try_from(DELIVERY.as_millis()).unwrap_or(i32::MAX);
    let got = sys::poll(fd, events, timeout).map_err(Error::call("poll"))?;
    if got == 0 { Err(Error::Lost(what)) } else { Ok(()) }
}

/// Nobody listens at the other side.
fn refused(fd: i32) -> Result<()> {
    let nobody = beside(fd)?;
    connect(fd, &nobody)?;
    wait(fd, libc::POLLERR, "a refusal")
}

fn reset(fd: i32, remains: &Remains) -> Result<()> {
    let listener = beside(fd)?;
    sys::listen(listener.as_raw_fd(), 1).map_err(Error::call("listen"))?;
    connect(fd, &listener)?;
    let own = sys::local_name(fd).map_err(Error::call("getsockname"))?;
    let peer = loop {
        wait(listener.as_raw_fd(), libc::POLLIN, "a connection within the host")?;
        let peer = sys::accept(listener.as_raw_fd()).map_err(Error::call("accept"))?;
        // Anyone may connect.
        if sys::peer_name(peer.as_raw_fd()).ok().as_ref() == Some(&own) {
            break peer;
        }
    };
    deliver(&peer, &remains.data)?;
    let deadline = Instant::now() + DELIVERY;
    while sys::ioctl_int(fd, libc::FIONREAD)
        .map_err(Error::call("FIONREAD"))?
        .cast_unsigned() as usize
        != remains.data.len()
    {
        if Instant::now() > deadline {
            return Err(Error::Lost("data within the host"));
        }
        std::thread::yield_now();
    }
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    sys::set(peer.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger)
        .map_err(Error::call("SO_LINGER"))?;
    drop(peer);
    wait(fd, libc::POLLERR, "a reset")?;
    if remains.error.is_none() {
        // Asking takes it away.
        sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_ERROR).map_err(Error::call("SO_ERROR"))?;
    }
    Ok(())
}

fn deliver(peer: &OwnedFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        match sys::send(peer.as_raw_fd(), data) {
            Ok(sent) => data = &data[sent..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                wait(peer.as_raw_fd(), libc::POLLOUT, "data within the host")?;
            }
            Err(e) => return Err(Error::call("send")(e)),
        }
    }
    Ok(())
}
