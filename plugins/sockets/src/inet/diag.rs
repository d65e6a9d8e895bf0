//! What sock_diag(7) alone says of a socket: in which directions it is shut down, how much lies in its queue, where a
//! handshake leads, and with which keys it signs.
//!
//! One netlink socket for each network namespace is asked all questions of a dump.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use criu_tcp_repair::State;

use super::extra::SignatureKey;
use super::md5;
use crate::lock::Connection;
use crate::netlink::{self, Builder, Netlink, Next, word};
use crate::netns::Namespace;
use crate::sys;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
// Attributes of an answer (linux/inet_diag.h).
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_MD5SIG: u16 = 18;
/// What is to be told; keys of signatures come with the rest of what TCP has to say.
const WANTED: u8 = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SHUTDOWN - 1);
// Offsets in `struct inet_diag_msg`, and its length.
const SOURCE_PORT: usize = 4;
const DESTINATION_PORT: usize = 6;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;
const DEVICE: usize = 40;
const COOKIE: usize = 44;
const RECEIVE_QUEUE: usize = 56;
const SEND_QUEUE: usize = 60;
const INODE: usize = 68;
const MESSAGE: usize = 72;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The address that it is connected to.
    pub(super) remote: Option<SocketAddr>,
    /// The `SHUT_*` bits: 1 reading, 2 writing.
    pub(super) shutdown: u8,
    /// Bytes in the receive queue; for TCP all between what was read and what has come, the FIN included.
    pub(super) unread: u32,
    /// Bytes in the send queue, or for UDP the memory of what is on its way.
    pub(super) unsent: u32,
    /// Keys of MD5 signatures.
    pub(super) keys: Vec<SignatureKey>,
}

/// The peer of a socket that has none.
pub(super) fn nobody(local: SocketAddr) -> SocketAddr {
    match local {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

thread_local! {
    /// By the namespace.
    static OPEN: RefCell<HashMap<u64, Netlink>> = RefCell::default();
    /// The keys of listening sockets that have some, by namespace, version of IP, cookie.
    static KEYS: RefCell<HashMap<(u64, bool), Keys>> = RefCell::default();
}

type Keys = HashMap<u64, Vec<SignatureKey>>;

/// The dump is over.
pub(super) fn forget() {
    OPEN.with_borrow_mut(HashMap::clear);
    KEYS.with_borrow_mut(HashMap::clear);
}

/// Asks for the socket `fd` in its namespace.
///
/// # Errors
/// The kernel does not find it.
pub(super) fn exact(
    namespace: &Namespace,
    protocol: i32,
    fd: RawFd,
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<Found> {
    let cookie = cookie(fd)?;
    // That to which it is bound, by its address or by name; Linux 5.0.
    let device = sys::get::<u32>(fd, libc::SOL_SOCKET, SO_BINDTOIFINDEX).unwrap_or(0);
    let ask = |from: SocketAddr, to: SocketAddr| {
        let request = request(protocol, u32::MAX, (from, Some(to)), device, cookie);
        first(namespace, 0, &request, cookie)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    // For UDP, kernels before 5.9 took the addresses the other way round; the cookie tells when that is wrong.
    ask(local, remote).or_else(|e| ask(remote, local).map_err(|_| e))
}

/// Looks for the socket `fd` among those with its port in a state, in its namespace.
///
/// # Errors
/// The kernel does not find it.
pub(super) fn search(
    namespace: &Namespace,
    protocol: i32,
    fd: RawFd,
    local: SocketAddr,
    state: u8,
) -> io::Result<Found> {
    let cookie = cookie(fd)?;
    let request = request(protocol, 1 << state, (local, None), 0, NO_COOKIE);
    let found = first(namespace, libc::NLM_F_DUMP as u16, &request, cookie)?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The TCP connections of a namespace, in all states that can be saved, by the inodes of their sockets.
///
/// # Errors
/// The kernel's.
pub(super) fn connections(namespace: &Namespace) -> io::Result<Vec<(u64, Connection)>> {
    let states = State::ALL.into_iter().filter(|s| s.is_movable());
    let states = states.fold(0, |mask, state| mask | 1 << state as u8);
    let mut all = Vec::new();
    for any in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        let any = SocketAddr::new(any, 0);
        let request = request(libc::IPPROTO_TCP, states, (any, None), 0, NO_COOKIE);
        ask(namespace, libc::NLM_F_DUMP as u16, &request, |body| {
            let ends = side(body, SOURCE_PORT, SOURCE).zip(remote(body));
            if let Some(((local, remote), ino)) = ends.zip(word(body, INODE)) {
                all.push((ino.into(), Connection { local, remote }));
            }
        })?;
    }
    Ok(all)
}

/// The keys of a TCP socket that listens. All those of the namespace are listed once: they cannot be asked for one by
/// one, for several may have the same address.
///
/// # Errors
/// The kernel's.
pub(super) fn keys(namespace: &Namespace, fd: RawFd, local: SocketAddr) -> io::Result<Vec<SignatureKey>> {
    let cookie = cookie(fd)?;
    let list = (namespace.ino, local.is_ipv6());
    if !KEYS.with_borrow(|keys| keys.contains_key(&list)) {
        let states = 1 << super::state::LISTEN;
        let any = match local {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let request = request(libc::IPPROTO_TCP, states, (any, None), 0, NO_COOKIE);
        let mut all = Keys::new();
        ask(namespace, libc::NLM_F_DUMP as u16, &request, |body| {
            if let Some((cookie, found)) = parse(body)
                && !found.keys.is_empty()
            {
                all.insert(cookie, found.keys);
            }
        })?;
        KEYS.with_borrow_mut(|keys| keys.insert(list, all));
    }
    let found = KEYS.with_borrow(|keys| keys.get(&list).and_then(|k| k.get(&cookie)).cloned());
    Ok(found.unwrap_or_default())
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
    let mut request = vec![family as u8, protocol as u8, WANTED, 0];
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
fn first(namespace: &Namespace, flags: u16, request: &[u8], cookie: u64) -> io::Result<Option<Found>> {
    let mut found = None;
    ask(namespace, flags, request, |body| {
        if let Some((_, other)) = parse(body).filter(|(own, _)| *own == cookie)
            && found.is_none()
        {
            found = Some(other);
        }
    })?;
    Ok(found)
}

/// Asks in a namespace, and hands the answers to `take`.
fn ask(namespace: &Namespace, flags: u16, request: &[u8], take: impl FnMut(&[u8])) -> io::Result<()> {
    OPEN.with_borrow_mut(|open| {
        let netlink = match open.entry(namespace.ino) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(namespace.within(|| Netlink::open(libc::NETLINK_SOCK_DIAG))?)
            }
        };
        let result = ask_at(netlink, flags, request, take);
        if result.is_err() {
            // Whatever it may still have to say.
            open.remove(&namespace.ino);
        }
        result
    })
}

fn ask_at(netlink: &Netlink, flags: u16, request: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut builder = Builder::default();
    builder.message(SOCK_DIAG_BY_FAMILY, flags, 1, request);
    netlink.send(&builder.finish())?;
    netlink.receive(|message| {
        match message.kind {
            NLMSG_ERROR => netlink::outcome(message.body)?,
            NLMSG_DONE => return Ok(Next::Stop),
            SOCK_DIAG_BY_FAMILY => take(message.body),
            _ => return Ok(Next::Continue),
        }
        // The rest of a list is to be read.
        Ok(if flags == 0 { Next::Stop } else { Next::Continue })
    })
}

/// Cookie and state of a socket.
fn parse(body: &[u8]) -> Option<(u64, Found)> {
    let cookie = [word(body, COOKIE)?, word(body, COOKIE + 4)?];
    let mut found = Found {
        remote: remote(body),
        shutdown: 0,
        unread: word(body, RECEIVE_QUEUE)?,
        unsent: word(body, SEND_QUEUE)?,
        keys: Vec::new(),
    };
    for (kind, data) in netlink::attributes(body.get(MESSAGE..)?) {
        match kind {
            INET_DIAG_SHUTDOWN => found.shutdown = data.first().copied().unwrap_or(0) & 3,
            INET_DIAG_MD5SIG => found.keys = md5::decode(data),
            _ => {}
        }
    }
    Some((u64::from(cookie[0]) | u64::from(cookie[1]) << 32, found))
}

/// The address that the socket is connected to.
fn remote(body: &[u8]) -> Option<SocketAddr> {
    side(body, DESTINATION_PORT, DESTINATION).filter(|address| address.port() != 0)
}

fn side(body: &[u8], port_at: usize, address_at: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(body.get(port_at..port_at + 2)?.try_into().ok()?);
    let bytes: [u8; 16] = body.get(address_at..address_at + 16)?.try_into().ok()?;
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
    Some(address)
}
