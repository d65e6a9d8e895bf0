//! Datagrams that a UDP or UDP-Lite socket has received and nobody has read yet. They are read without being taken out
//! (`SO_PEEK_OFF`), and sent to the new socket by this host itself, in the name of their senders. Where that is not
//! possible they are dropped, as UDP may at any time, and the log says so.

pub(super) mod error;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Error, Host, Result};

use super::address;
use super::dump::Socket;
use super::extra::Datagram;
use super::protocol::Protocol;
use crate::{sockopt, sys};

/// The longest datagram.
const LONGEST: usize = 1 << 16;
/// More than a buffer of 1 GiB has room for.
const MOST: usize = 1 << 20;
/// For a packet to come from the host to itself.
const DELIVERY: Duration = Duration::from_secs(1);
const UDP_HEADER: usize = 8;
const TTL: u8 = 64;

fn warn(host: &Host<'_>, object: &str, what: &str) {
    host.log(2, "sockets", &format!("{object}: {what}"));
}

/// Says that what is in a queue will be lost.
pub(super) fn dropped(host: &Host<'_>, object: &str) {
    warn(host, object, "what was not read yet is dropped");
}

/// Says that an error will be lost.
pub(super) fn error_lost(host: &Host<'_>, object: &str) {
    warn(host, object, "an error that was not told yet is lost");
}

/// Saves the queue, and an error that stands before it.
///
/// # Errors
/// `SO_PEEK_OFF` cannot be used.
pub(super) fn save(host: &Host<'_>, socket: &mut Socket<'_>) -> Result<()> {
    let seen = sys::poll(socket.file.local_fd, libc::POLLIN, 0).context(|| "poll")?;
    let waits = seen & libc::POLLIN != 0;
    if seen & libc::POLLERR == 0 {
        return if waits { peek(host, socket) } else { Ok(()) };
    }
    let told = error::take(host, socket, waits)?;
    let peeked = if waits { peek(host, socket) } else { Ok(()) };
    error::put_back(host, socket, told);
    peeked
}

/// Reads the queue and takes nothing out of it.
fn peek(host: &Host<'_>, socket: &mut Socket<'_>) -> Result<()> {
    let fd = socket.file.local_fd;
    let before = sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).context(|| "SO_PEEK_OFF")?;
    crate::undo::peek_offset(host, socket.file);
    // Bound to no address, it may have been sent to at any of the host's.
    let asks = socket.local.ip().to_canonical().is_unspecified();
    let (level, option) = destination_option(socket.local);
    let told = !asks || sys::get::<i32>(fd, level, option).context(|| "IP_PKTINFO")? != 0;
    if !told {
        crate::undo::set_option(host, socket.file, level, option, 0);
        sys::set(fd, level, option, 1i32).context(|| "IP_PKTINFO")?;
    }
    let datagrams = sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0i32).and_then(|()| peek_all(fd, asks));
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, before).context(|| "SO_PEEK_OFF")?;
    if !told {
        sys::set(fd, level, option, 0i32).context(|| "IP_PKTINFO")?;
    }
    socket.extra.datagrams = datagrams.context(|| "peeking at its datagrams")?;
    Ok(())
}

/// What has the kernel tell where a datagram was sent to.
fn destination_option(local: SocketAddr) -> (i32, i32) {
    if local.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    }
}

fn peek_all(fd: RawFd, asks: bool) -> std::io::Result<Vec<Datagram>> {
    let mut buffer = vec![0; LONGEST];
    let mut all = Vec::new();
    for _ in 0..MOST {
        match sys::receive(fd, &mut buffer, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
            // A socket that is no longer read from reads as ended.
            Ok(got) if got.from.is_empty() => break,
            Ok(got) => {
                let to = got.to.filter(|_| asks);
                let to = to.map_or(Vec::new(), |to| address::octets(to.to_canonical()));
                // What came together comes one by one again, as it may at any time.
                for data in segments(&buffer[..got.length], got.segment) {
                    all.push(Datagram {
                        from: got.from.clone(),
                        data: data.to_vec(),
                        to: to.clone(),
                    });
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// The datagrams of which some bytes are, all but the last of this length; without one they are a single one.
fn segments(bytes: &[u8], length: Option<usize>) -> Vec<&[u8]> {
    match length {
        Some(length) if length < bytes.len() => bytes.chunks(length).collect(),
        _ => vec![bytes],
    }
}

/// Fills the queue of a socket that has its addresses, and no filter yet.
///
/// # Errors
/// An image that is damaged, or no raw socket.
pub(super) fn fill(
    host: &Host<'_>,
    fd: RawFd,
    protocol: Protocol,
    local: SocketAddr,
    datagrams: &[Datagram],
) -> Result<()> {
    if datagrams.is_empty() {
        return Ok(());
    }
    sockopt::widen_buffers(fd, datagrams.iter().map(|d| d.data.len() + 1024).sum())?;
    let mut locals = Locals::default();
    for (i, datagram) in datagrams.iter().enumerate() {
        let from = address::decode(&datagram.from).ok_or_else(|| Error::new("a datagram from no address"))?;
        let wanted = wanted(local, from, datagram, &mut locals)?;
        let delivered = match wanted.or_else(|| destination(local, from)) {
            Some(to) => deliver(fd, protocol, (from, to), &datagram.data)
                .context(|| format!("sending a datagram from {from} to {local} itself"))?,
            None => false,
        };
        if !delivered {
            let dropped = datagrams.len() - i;
            let what =
                format!("{dropped} datagrams that were not read yet are dropped: they cannot be delivered");
            warn(host, &format!("{protocol} {local}"), &what);
            break;
        }
    }
    Ok(())
}

/// Which addresses of datagrams are this host's.
#[derive(Default)]
struct Locals(HashMap<IpAddr, bool>);

impl Locals {
    fn has(&mut self, ip: IpAddr) -> std::io::Result<bool> {
        if let Some(&known) = self.0.get(&ip) {
            return Ok(known);
        }
        let is_local = address::is_local(ip)?;
        self.0.insert(ip, is_local);
        Ok(is_local)
    }
}

/// Where a datagram was sent to, if the socket has no address of its own and that is still one of this host.
fn wanted(
    local: SocketAddr,
    from: SocketAddr,
    datagram: &Datagram,
    locals: &mut Locals,
) -> Result<Option<SocketAddr>> {
    if datagram.to.is_empty() || !local.ip().to_canonical().is_unspecified() {
        return Ok(None);
    }
    let ip = address::from_octets(&datagram.to)
        .ok_or_else(|| Error::new("a datagram to no address: damaged"))?
        .to_canonical();
    // One of a link would need its device.
    let of_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if of_link || ip.is_multicast() || ip.is_ipv4() != from.ip().to_canonical().is_ipv4() {
        return Ok(None);
    }
    let is_local = locals
        .has(ip)
        .context(|| format!("asking whether {ip} is of this host"))?;
    Ok(is_local.then(|| SocketAddr::new(ip, local.port())))
}

/// An address of this host at which the socket receives.
fn destination(local: SocketAddr, from: SocketAddr) -> Option<SocketAddr> {
    let from = from.ip().to_canonical();
    let ip = match local.ip().to_canonical() {
        ip if ip.is_multicast() => return None,
        IpAddr::V4(ip) if ip.is_broadcast() => return None,
        ip if !ip.is_unspecified() => ip,
        _ if from.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    let mut to = SocketAddr::new(ip, local.port());
    if let (SocketAddr::V6(to), SocketAddr::V6(local)) = (&mut to, local) {
        to.set_scope_id(local.scope_id());
    }
    (ip.is_ipv4() == from.is_ipv4()).then_some(to)
}

/// Whether the datagram has come into the queue.
fn deliver(
    fd: RawFd,
    protocol: Protocol,
    (from, to): (SocketAddr, SocketAddr),
    data: &[u8],
) -> std::io::Result<bool> {
    let Some(packet) = packet(protocol, from, to, data) else {
        return Ok(false);
    };
    let before = memory(fd)?;
    match send_whole(&packet, to) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(false),
        Err(e) => return Err(e),
    }
    let deadline = Instant::now() + DELIVERY;
    while memory(fd)? == before {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::yield_now();
    }
    Ok(true)
}

/// Sends a whole IP packet to an address of this host.
fn send_whole(packet: &[u8], to: SocketAddr) -> std::io::Result<()> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let raw = sys::socket(family, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    sys::set(
        raw.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_MARK,
        criu_tcp_repair::MARK,
    )?;
    let mut destination = to;
    destination.set_port(0);
    sys::send(
        raw.as_raw_fd(),
        packet,
        Some(&address::encode(&destination)),
        &[],
        0,
    )
    .map(drop)
}

/// What the receive queue takes, in bytes (`SO_MEMINFO`, Linux 4.12).
fn memory(fd: RawFd) -> std::io::Result<u32> {
    const SO_MEMINFO: i32 = 55;
    let all = sys::get_bytes(fd, libc::SOL_SOCKET, SO_MEMINFO, 36)?;
    crate::netlink::word(&all, 0).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// An IP packet (RFC 791, RFC 8200) with a datagram of UDP (RFC 768) or UDP-Lite (RFC 3828); `None` if it is too long
/// for one.
fn packet(protocol: Protocol, from: SocketAddr, to: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + data.len()).ok()?.to_be_bytes();
    // UDP-Lite says in its place how much the checksum covers: 0 is all.
    let (protocol, third) = match protocol {
        Protocol::UdpLite => (libc::IPPROTO_UDPLITE as u8, [0, 0]),
        _ => (libc::IPPROTO_UDP as u8, length),
    };
    let mut datagram = [from.port().to_be_bytes(), to.port().to_be_bytes(), third, [0, 0]].concat();
    datagram.extend_from_slice(data);
    let (header, pseudo) = headers((from.ip().to_canonical(), to.ip()), protocol, datagram.len())?;
    // 0 would mean that there is none.
    let sum = match criu_tcp_repair::checksum(&[&pseudo[..], &datagram].concat()) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    Some([header, datagram].concat())
}

/// The header of an IP packet with so many bytes behind it, and what else its checksum covers.
fn headers(between: (IpAddr, IpAddr), protocol: u8, length: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = u16::try_from(length).ok()?.to_be_bytes();
    match between {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + length).ok()?.to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, TTL, protocol, 0, 0];
            header.extend_from_slice(&[from.octets(), to.octets()].concat());
            let pseudo = [&from.octets()[..], &to.octets(), &[0, protocol], &bytes].concat();
            Some((header, pseudo))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0, bytes[0], bytes[1], protocol, TTL];
            header.extend_from_slice(&[from.octets(), to.octets()].concat());
            let pseudo = [
                &from.octets()[..],
                &to.octets(),
                &[0, 0],
                &bytes,
                &[0, 0, 0, protocol],
            ]
            .concat();
            Some((header, pseudo))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn datagrams_that_came_together_are_parted() {
        let bytes: Vec<u8> = (0..250).collect();
        let lengths = |length| -> Vec<usize> { segments(&bytes, length).iter().map(|s| s.len()).collect() };
        assert_eq!(lengths(None), [250]);
        assert_eq!(lengths(Some(100)), [100, 100, 50]);
        assert_eq!(lengths(Some(250)), [250]);
        assert_eq!(segments(&[], Some(9)), [&[0u8; 0]]);
    }

    #[test]
    fn datagrams_come_in_the_name_of_their_senders() {
        crate::testing::in_own_network(|| {
            for (at, from) in [
                ("127.0.0.1:0", "192.0.2.7:77"),
                ("0.0.0.0:0", "127.0.0.1:78"),
                ("[::1]:0", "[2001:db8::7]:77"),
                ("[::]:0", "[::ffff:127.0.0.1]:79"),
            ] {
                let socket = UdpSocket::bind(at).unwrap();
                let from: SocketAddr = from.parse().unwrap();
                let datagrams: Vec<Datagram> = [&b"odd"[..], b"", &[7; 60000]]
                    .map(|data| Datagram {
                        from: address::encode(&from),
                        data: data.to_vec(),
                        to: Vec::new(),
                    })
                    .into();
                let mock = criu_plugin_api::testing::MockHost::new();
                let host = Host::new(&mock, "sockets");
                fill(
                    &host,
                    socket.as_raw_fd(),
                    Protocol::Udp,
                    socket.local_addr().unwrap(),
                    &datagrams,
                )
                .unwrap();
                let mut buffer = [0; 65536];
                for datagram in &datagrams {
                    let (length, sender) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!(buffer[..length], datagram.data);
                    assert_eq!(sender, from);
                }
            }
        });
    }

    #[test]
    fn a_group_is_no_address_of_this_host() {
        let from = "127.0.0.1:1".parse().unwrap();
        assert_eq!(destination("239.1.2.3:4".parse().unwrap(), from), None);
        let here = destination("0.0.0.0:4".parse().unwrap(), from);
        assert_eq!(here, Some("127.0.0.1:4".parse().unwrap()));
    }
}
