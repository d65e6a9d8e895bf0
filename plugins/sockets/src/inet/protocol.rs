//! What a socket of IPv4 or IPv6 speaks, by its type and its protocol.

use std::fmt;

use criu_proto::images::InetSkEntry;

/// The protocols of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    UdpLite,
    /// Echo requests and replies, `SOCK_DGRAM` of ICMP (icmp(7)).
    Ping,
    /// Whole packets of the protocol with this number (raw(7)).
    Raw(u32),
}

impl Protocol {
    /// That of a socket; `None` for one that is not of this kind.
    pub(super) fn of(entry: &InetSkEntry) -> Option<Self> {
        match (entry.r#type.cast_signed(), entry.proto.cast_signed()) {
            (libc::SOCK_STREAM, libc::IPPROTO_TCP) => Some(Self::Tcp),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => Some(Self::Udp),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => Some(Self::UdpLite),
            (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => Some(Self::Ping),
            (libc::SOCK_RAW, 1..=255) => Some(Self::Raw(entry.proto)),
            _ => None,
        }
    }

    /// It has whole packets.
    pub(super) fn is_raw(self) -> bool {
        matches!(self, Self::Raw(_))
    }

    /// The table below `/proc/net` that lists these sockets, in both versions of IP.
    pub(super) fn table(self, ipv6: bool) -> &'static str {
        match (self, ipv6) {
            (Self::Tcp, false) => "tcp",
            (Self::Tcp, true) => "tcp6",
            (Self::Udp, false) => "udp",
            (Self::Udp, true) => "udp6",
            (Self::UdpLite, false) => "udplite",
            (Self::UdpLite, true) => "udplite6",
            (Self::Ping, false) => "icmp",
            (Self::Ping, true) => "icmp6",
            (Self::Raw(_), false) => "raw",
            (Self::Raw(_), true) => "raw6",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP socket"),
            Self::Udp => f.write_str("UDP socket"),
            Self::UdpLite => f.write_str("UDP-Lite socket"),
            Self::Ping => f.write_str("ICMP echo socket"),
            Self::Raw(number) => write!(f, "raw socket of protocol {number}"),
        }
    }
}
