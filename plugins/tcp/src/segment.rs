//! Segments in the name of a peer, from this host to itself.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use crate::{Error, Result, address, sys};

/// The mark (`SO_MARK`) of the packets that this crate sends; that of CRIU, whose firewall rules let it pass, too.
pub const MARK: u32 = 0xc114;

/// Bits of a TCP header.
pub(crate) const FIN: u8 = 1;
pub(crate) const ACK: u8 = 0x10;
const TCP_HEADER: usize = 20;
/// Whatever the socket wants at least (`IP_MINTTL`).
const TTL: u8 = 255;

/// A segment without data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
}

impl Segment {
    /// Sends it to this host.
    pub(crate) fn send(self) -> Result<()> {
        let call = Error::call;
        let (to, from) = (canonical(self.to), canonical(self.from));
        let family = if to.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let raw = sys::socket(family, libc::SOCK_RAW, libc::IPPROTO_RAW)
            .map_err(call("a raw socket for packets in the name of the peer"))?;
        sys::set(raw.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, MARK).map_err(call("SO_MARK"))?;
        // The header of the packet is ours, too; a raw socket has no ports.
        let mut destination = to;
        destination.set_port(0);
        sys::send_to(
            raw.as_raw_fd(),
            &self.packet(from, to),
            &address::encode(&destination),
        )
        .map_err(call("sending a packet in the name of the peer"))
    }

    /// An IP packet (RFC 791, RFC 8200) with a TCP segment (RFC 9293).
    fn packet(self, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let mut segment = Vec::with_capacity(TCP_HEADER);
        segment.extend_from_slice(&from.port().to_be_bytes());
        segment.extend_from_slice(&to.port().to_be_bytes());
        segment.extend_from_slice(&self.sequence.to_be_bytes());
        segment.extend_from_slice(&self.acknowledged.to_be_bytes());
        segment.extend_from_slice(&[(TCP_HEADER as u8 / 4) << 4, self.flags]);
        // A window, and no checksum and urgent data yet.
        segment.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
        let (header, pseudo) = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => v4(from.octets(), to.octets()),
            (from, to) => v6(octets(from), octets(to)),
        };
        let sum = checksum(&[&pseudo[..], &segment].concat());
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        [header, segment].concat()
    }
}

/// The addresses of the packets of a socket: IPv4 for a mapped one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
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
    let mut header = vec![0x45, 0, 0, 20 + TCP_HEADER as u8, 0, 0, 0, 0, TTL, protocol, 0, 0];
    header.extend_from_slice(&from);
    header.extend_from_slice(&to);
    let pseudo = [&from[..], &to, &[0, protocol, 0, TCP_HEADER as u8]].concat();
    (header, pseudo)
}

fn v6(from: [u8; 16], to: [u8; 16]) -> (Vec<u8>, Vec<u8>) {
    let protocol = libc::IPPROTO_TCP as u8;
    let mut header = vec![0x60, 0, 0, 0, 0, TCP_HEADER as u8, protocol, TTL];
    header.extend_from_slice(&from);
    header.extend_from_slice(&to);
    let pseudo = [&from[..], &to, &[0, 0, 0, TCP_HEADER as u8, 0, 0, 0, protocol]].concat();
    (header, pseudo)
}

/// The checksum of RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |&b| b.into()));
    let mut sum: u32 = words.sum();
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
        assert_eq!(!checksum(&bytes), 0xddf2);
    }

    #[test]
    fn mapped_addresses_travel_as_ipv4() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().unwrap();
        assert_eq!(canonical(mapped), "127.0.0.1:80".parse().unwrap());
        let local: SocketAddr = "[fe80::1%3]:80".parse().unwrap();
        assert_eq!(canonical(local), local);
    }
}
