//! What sock_diag(7) alone says of a socket: in which directions it is shut down, how much lies in its queue, where a
//! handshake leads.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use crate::netlink::{self, Builder, Netlink, Next, word};
use crate::sys;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
// Attributes of an answer (linux/inet_diag.h).
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_MD5SIG: u16 = 18;
// Offsets in `struct inet_diag_msg`, and its length.
const DESTINATION_PORT: usize = 6;
const DESTINATION: usize = 24;
const DEVICE: usize = 40;
const COOKIE: usize = 44;
const RECEIVE_QUEUE: usize = 56;
const SEND_QUEUE: usize = 60;
const MESSAGE: usize = 72;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The address that it is connected to.
    pub(super) remote: Option<SocketAddr>,
    /// The `SHUT_*` bits: 1 reading, 2 writing.
    pub(super) shutdown: u8,
    /// Bytes in the receive queue; for TCP all between what was read and what has come, the FIN included.
    pub(super) unread: u32,
    /// Bytes in the send queue, or for UDP the memory of what is on its way.
    pub(super) unsent: u32,
    /// Keys of MD5 signatures are set.
    pub(super) md5: bool,
}

/// The peer of a socket that has none.
pub(super) fn nobody(local: SocketAddr) -> SocketAddr {
    match local {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Asks for the socket `fd`, in the current network namespace.
///
/// # Errors
/// The kernel does not find it.
pub(super) fn exact(protocol: i32, fd: RawFd, local: SocketAddr, remote: SocketAddr) -> io::Result<Found> {
    let cookie = cookie(fd)?;
    let netlink = Netlink::open(libc::NETLINK_SOCK_DIAG)?;
    // That to which it is bound, by its address or by name; Linux 5.0.
    let device = sys::get::<u32>(fd, libc::SOL_SOCKET, SO_BINDTOIFINDEX).unwrap_or(0);
    let ask = |from: SocketAddr, to: SocketAddr| {
        let request = request(protocol, u32::MAX, (from, Some(to)), device, cookie);
        first(&netlink, 0, &request, cookie)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    // For UDP, kernels before 5.9 took the addresses the other way round; the cookie tells when that is wrong.
    ask(local, remote).or_else(|e| ask(remote, local).map_err(|_| e))
}

/// Looks for the socket `fd` among those with its port in a state, in the current network namespace.
///
/// # Errors
/// The kernel does not find it.
pub(super) fn search(protocol: i32, fd: RawFd, local: SocketAddr, state: u8) -> io::Result<Found> {
    let cookie = cookie(fd)?;
    let netlink = Netlink::open(libc::NETLINK_SOCK_DIAG)?;
    let request = request(protocol, 1 << state, (local, None), 0, NO_COOKIE);
    let found = first(&netlink, libc::NLM_F_DUMP as u16, &request, cookie)?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

const SO_BINDTOIFINDEX: i32 = 62;
const NO_COOKIE: u64 = u64::MAX;

fn cookie(fd: RawFd) -> io::Result<u64> {
    sys::get(fd, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// `struct inet_diag_req_v2`.
fn request(
    protocol: i32,
    states: u32,
    (from, to): (SocketAddr, Option<SocketAddr>),
    device: u32,
    cookie: u64,
) -> Vec<u8> {
    let family = if from.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut request = vec![family as u8, protocol as u8, 1 << (INET_DIAG_SHUTDOWN - 1), 0];
    request.extend_from_slice(&states.to_ne_bytes());
    request.extend_from_slice(&from.port().to_be_bytes());
    request.extend_from_slice(&to.map_or(0, |t| t.port()).to_be_bytes());
    for side in [Some(from), to] {
        let mut bytes = match side.map(|s| s.ip()) {
            Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
            None => Vec::new(),
        };
        bytes.resize(16, 0);
        request.extend_from_slice(&bytes);
    }
    request.extend_from_slice(&device.to_ne_bytes());
    request.extend_from_slice(&(cookie as u32).to_ne_bytes());
    request.extend_from_slice(&((cookie >> 32) as u32).to_ne_bytes());
    request
}

/// The answer with that cookie.
fn first(netlink: &Netlink, flags: u16, request: &[u8], cookie: u64) -> io::Result<Option<Found>> {
    let mut builder = Builder::default();
    builder.message(SOCK_DIAG_BY_FAMILY, flags, 1, request);
    netlink.send(&builder.finish())?;
    let mut found = None;
    netlink.receive(|message| {
        match message.kind {
            NLMSG_ERROR => netlink::outcome(message.body)?,
            NLMSG_DONE => return Ok(Next::Stop),
            SOCK_DIAG_BY_FAMILY => {
                if found.is_none() {
                    found = parse(message.body, cookie);
                }
                if flags != 0 {
                    // The rest of a list is to be read.
                    return Ok(Next::Continue);
                }
            }
            _ => return Ok(Next::Continue),
        }
        Ok(Next::Stop)
    })?;
    Ok(found)
}

fn parse(body: &[u8], cookie: u64) -> Option<Found> {
    let own = [word(body, COOKIE)?, word(body, COOKIE + 4)?];
    if u64::from(own[0]) | u64::from(own[1]) << 32 != cookie {
        return None;
    }
    let mut found = Found {
        remote: remote(body),
        shutdown: 0,
        unread: word(body, RECEIVE_QUEUE)?,
        unsent: word(body, SEND_QUEUE)?,
        md5: false,
    };
    for (kind, data) in netlink::attributes(body.get(MESSAGE..)?) {
        match kind {
            INET_DIAG_SHUTDOWN => found.shutdown = data.first().copied().unwrap_or(0) & 3,
            INET_DIAG_MD5SIG => found.md5 = true,
            _ => {}
        }
    }
    Some(found)
}

fn remote(body: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(
        body.get(DESTINATION_PORT..DESTINATION_PORT + 2)?
            .try_into()
            .ok()?,
    );
    let bytes: [u8; 16] = body.get(DESTINATION..DESTINATION + 16)?.try_into().ok()?;
    let mut address = if i32::from(*body.first()?) == libc::AF_INET6 {
        SocketAddr::new(Ipv6Addr::from(bytes).into(), port)
    } else {
        SocketAddr::new(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(), port)
    };
    if let SocketAddr::V6(v6) = &mut address
        && v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(word(body, DEVICE)?);
    }
    (port != 0).then_some(address)
}
