//! Errors of a connected UDP or UDP-Lite socket that it has not told yet (`ECONNREFUSED`).
//!
//! Whoever looks at such an error takes it, and no datagram behind it is seen before. So it is taken, and comes again the
//! way it came: by a message of ICMP from the peer (RFC 792, RFC 4443), which this host sends to itself.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use criu_plugin_api::{Context, Host, Result};

use super::{DELIVERY, Socket, error_lost, headers, packet, send_whole, warn};
use crate::inet::protocol::Protocol;
use crate::{descriptor, sys};

/// An error that was taken from a socket which goes on.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    error: i32,
    /// Errors are kept in a queue besides (`IP_RECVERR`), which another message would lengthen.
    queued: bool,
}

/// Takes a pending error away and notes it for the image. With a queue of errors, which cannot be looked at, it stays
/// unless it stands before datagrams.
pub(super) fn take(host: &Host<'_>, socket: &mut Socket<'_>, waits: bool) -> Result<Taken> {
    let fd = socket.file.local_fd;
    let (level, option) = if socket.local.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    let queued = sys::get::<i32>(fd, level, option).context(|| "IP_RECVERR")? != 0;
    if queued && !waits {
        descriptor::errors_lost(host, &socket.object());
        return Ok(Taken { error: 0, queued });
    }
    let error = sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_ERROR).context(|| "SO_ERROR")?;
    if sys::poll(fd, 0, 0).context(|| "poll")? & libc::POLLERR != 0 {
        descriptor::errors_lost(host, &socket.object());
    }
    socket.extra.error = (error != 0).then_some(error);
    Ok(Taken { error, queued })
}

/// Gives it back to the socket, which may go on.
pub(super) fn put_back(host: &Host<'_>, socket: &Socket<'_>, Taken { error, queued }: Taken) {
    if error == 0 {
        return;
    }
    let ends = socket.remote.map(|remote| (socket.local, remote));
    let put = || tell(socket.file.local_fd, socket.protocol, ends, error);
    let done = !queued && socket.namespace.within(put).unwrap_or(false);
    if !done {
        let error = io::Error::from_raw_os_error(error);
        let what = format!("had an error to tell ({error}), which is lost should it go on");
        warn(host, &socket.object(), &what);
    }
}

/// Has a restored socket tell an error.
pub(crate) fn restore(
    host: &Host<'_>,
    fd: i32,
    protocol: Protocol,
    (local, remote): (SocketAddr, SocketAddr),
    error: i32,
) {
    if !tell(fd, protocol, Some((local, remote)), error).unwrap_or(false) {
        error_lost(host, &format!("{protocol} {local} to {remote}"));
    }
}

/// Whether the socket has the error now.
fn tell(fd: i32, protocol: Protocol, ends: Option<(SocketAddr, SocketAddr)>, error: i32) -> io::Result<bool> {
    let Some(message) = ends.and_then(|ends| message(protocol, ends, error)) else {
        return Ok(false);
    };
    let (packet, to) = message;
    send_whole(&packet, to)?;
    let deadline = Instant::now() + DELIVERY;
    while sys::poll(fd, 0, 0)? & libc::POLLERR == 0 {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::yield_now();
    }
    Ok(true)
}

/// Type and code of the message of ICMP by which an error comes.
fn kind(error: i32, ipv4: bool) -> Option<[u8; 2]> {
    Some(match (ipv4, error) {
        (true, libc::ENOPROTOOPT) => [3, 2],
        (true, libc::ECONNREFUSED) => [3, 3],
        (true, libc::EOPNOTSUPP) => [3, 5],
        (true, libc::EHOSTDOWN) => [3, 7],
        (true, libc::ENONET) => [3, 8],
        (true, libc::ENETUNREACH) => [3, 9],
        (true, libc::EHOSTUNREACH) => [3, 10],
        (true, libc::EPROTO) => [12, 0],
        (false, libc::ENETUNREACH) => [1, 0],
        (false, libc::EACCES) => [1, 1],
        (false, libc::EHOSTUNREACH) => [1, 3],
        (false, libc::ECONNREFUSED) => [1, 4],
        (false, libc::EPROTO) => [4, 0],
        _ => return None,
    })
}

/// A packet of the peer that says so of a datagram to it, and where it is to go.
fn message(
    protocol: Protocol,
    (mut local, mut remote): (SocketAddr, SocketAddr),
    error: i32,
) -> Option<(Vec<u8>, SocketAddr)> {
    for end in [&mut local, &mut remote] {
        // Of a link it keeps its device, and has no other form.
        if end.ip().to_canonical().is_ipv4() {
            end.set_ip(end.ip().to_canonical());
        }
    }
    let is_datagram = matches!(protocol, Protocol::Udp | Protocol::UdpLite);
    if !is_datagram || local.ip().is_unspecified() || remote.ip().is_unspecified() {
        return None;
    }
    let [kind, code] = kind(error, local.is_ipv4())?;
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(packet(protocol, local, remote, &[])?);
    let number = if local.is_ipv4() {
        libc::IPPROTO_ICMP
    } else {
        libc::IPPROTO_ICMPV6
    };
    let (header, pseudo) = headers((remote.ip(), local.ip()), number as u8, message.len())?;
    // That of ICMP for IPv4 covers the message alone.
    let before = if local.is_ipv4() { Vec::new() } else { pseudo };
    let sum = criu_tcp_repair::checksum(&[&before[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(([header, message].concat(), local))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_connected_socket_is_told() {
        crate::testing::in_own_network(|| {
            for (at, to, error) in [
                ("127.0.0.1:0", "127.0.0.1:9", libc::ECONNREFUSED),
                ("127.0.0.1:0", "127.0.0.1:9", libc::EHOSTUNREACH),
                ("[::1]:0", "[::1]:9", libc::ECONNREFUSED),
                ("[::]:0", "[::ffff:127.0.0.1]:9", libc::ECONNREFUSED),
            ] {
                let socket = UdpSocket::bind(at).unwrap();
                socket.connect(to).unwrap();
                let ends = (socket.local_addr().unwrap(), to.parse().unwrap());
                let fd = socket.as_raw_fd();
                assert!(tell(fd, Protocol::Udp, Some(ends), error).unwrap(), "{at}");
                let told = sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_ERROR).unwrap();
                assert_eq!(told, error);
            }
        });
    }

    #[test]
    fn what_no_message_says_is_not_told() {
        let ends = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert!(message(Protocol::Udp, ends, libc::EIO).is_none());
        assert!(message(Protocol::Udp, ends, 0).is_none());
    }
}
