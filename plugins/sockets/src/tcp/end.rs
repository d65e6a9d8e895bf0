//! Ends the directions of a connection that had ended before: by a FIN of this side, and by one in the
//! name of the peer, which has sent it long ago and will not do so again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use super::Stream;
use crate::inet::address;
use crate::sys;

/// Milliseconds for a packet to come from the host to itself.
const DELIVERY: i32 = 5_000;

const FIN_ACK: u8 = 0x11;
const TCP_HEADER: usize = 20;

/// Ends what this side sends. The peer acknowledges the FIN once more.
///
/// # Errors
/// The kernel's.
pub fn end_sending(fd: RawFd) -> io::Result<()> {
    sys::shutdown(fd, libc::SHUT_WR)
}

/// Has the socket receive a FIN as from its peer, unless one has come by itself: from a peer on this
/// host that was put together, too. Needs `CAP_NET_RAW`.
///
/// # Errors
/// The kernel's, or the packet did not arrive.
pub fn end_receiving(fd: RawFd, local: SocketAddr, remote: SocketAddr, stream: &Stream) -> io::Result<()> {
    if has_ended(fd, 0)? {
        return Ok(());
    }
    let (to, from) = (canonical(local), canonical(remote));
    let packet = packet(from, to, stream.receive.end, stream.send.start());
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let raw = sys::socket(family, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    // The header of the packet is ours, too; a raw socket has no ports.
    let destination = address::encode(&SocketAddr::new(to.ip(), 0));
    sys::send(raw.as_raw_fd(), &packet, Some(&destination), &[], 0)?;
    if has_ended(fd, DELIVERY)? {
        return Ok(());
    }
    Err(io::Error::other("a FIN in the name of the peer did not arrive"))
}

fn has_ended(fd: RawFd, timeout: i32) -> io::Result<bool> {
    Ok(sys::poll(fd, libc::POLLRDHUP, timeout)? & libc::POLLRDHUP != 0)
}

/// The addresses of the packets of a socket: IPv4 for a mapped one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// An IP packet (RFC 791, RFC 8200) with a TCP segment (RFC 9293) that has a FIN and no data.
fn packet(from: SocketAddr, to: SocketAddr, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(TCP_HEADER);
    segment.extend_from_slice(&from.port().to_be_bytes());
    segment.extend_from_slice(&to.port().to_be_bytes());
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[(TCP_HEADER as u8 / 4) << 4, FIN_ACK]);
    // A window, and no checksum and urgent data yet.
    segment.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
    let (header, pseudo) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => v4(from.octets(), to.octets()),
        (from, to) => v6(octets(from), octets(to)),
    };
    let sum = checksum(pseudo.iter().chain(&segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    [header, segment].concat()
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A header, and what of it the checksum of TCP covers. The kernel fills in checksum and identification.
fn v4(from: [u8; 4], to: [u8; 4]) -> (Vec<u8>, Vec<u8>) {
    let protocol = libc::IPPROTO_TCP as u8;
    let mut header = vec![0x45, 0, 0, 20 + TCP_HEADER as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    header.extend_from_slice(&from);
    header.extend_from_slice(&to);
    let pseudo = [&from[..], &to, &[0, protocol, 0, TCP_HEADER as u8]].concat();
    (header, pseudo)
}

fn v6(from: [u8; 16], to: [u8; 16]) -> (Vec<u8>, Vec<u8>) {
    let protocol = libc::IPPROTO_TCP as u8;
    let mut header = vec![0x60, 0, 0, 0, 0, TCP_HEADER as u8, protocol, 64];
    header.extend_from_slice(&from);
    header.extend_from_slice(&to);
    let pseudo = [&from[..], &to, &[0, 0, 0, TCP_HEADER as u8, 0, 0, 0, protocol]].concat();
    (header, pseudo)
}

/// The checksum of RFC 1071 over an even number of bytes.
fn checksum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u16 {
    let mut sum = 0u32;
    for (i, &byte) in bytes.enumerate() {
        sum += if i % 2 == 0 {
            u32::from(byte) << 8
        } else {
            u32::from(byte)
        };
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The example of RFC 1071.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(!checksum(bytes.iter()), 0xddf2);
    }
}
