//! The options of internet sockets that have no field in the common format, by the numbers of the kernel
//! (asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/udp.h). One that a kernel does not know is passed
//! over.

use super::{Known, Sort};

macro_rules! numbers {
    ($level:ident: $($name:ident $option:literal),+ $(,)?) => {
        &[$(Known { level: libc::$level, option: $option, name: stringify!($name) }),+]
    };
}

const COMMON: &[Known] = numbers! { SOL_SOCKET:
    SO_DEBUG 1, SO_WIFI_STATUS 41, SO_SELECT_ERR_QUEUE 45, SO_BUSY_POLL 46, SO_MAX_PACING_RATE 47,
    SO_TXTIME 61, SO_TIMESTAMP_NEW 63, SO_TIMESTAMPNS_NEW 64, SO_TIMESTAMPING_NEW 65, SO_PREFER_BUSY_POLL 69,
    SO_BUSY_POLL_BUDGET 70, SO_TXREHASH 74, SO_RCVMARK 75, SO_RCVPRIORITY 82, SO_INCOMING_CPU 49, SO_LOCK_FILTER 44,
};
const TCP: &[Known] = numbers! { IPPROTO_TCP:
    TCP_MAXSEG 2, TCP_WINDOW_CLAMP 10, TCP_QUICKACK 12, TCP_THIN_LINEAR_TIMEOUTS 16, TCP_FASTOPEN 23, TCP_SAVE_SYN 27,
    TCP_FASTOPEN_CONNECT 30, TCP_FASTOPEN_KEY 33, TCP_FASTOPEN_NO_COOKIE 34, TCP_INQ 36, TCP_TX_DELAY 37,
    TCP_RTO_MAX_MS 44, TCP_RTO_MIN_US 45, TCP_DELACK_MAX_US 46,
};
const UDP: &[Known] = numbers! { IPPROTO_UDP:
    UDP_CORK 1, UDP_ENCAP 100, UDP_NO_CHECK6_TX 101, UDP_NO_CHECK6_RX 102,
};
/// How much of a packet its checksum covers (udplite(7)).
const UDPLITE: &[Known] = numbers! { IPPROTO_UDPLITE: UDPLITE_SEND_CSCOV 10, UDPLITE_RECV_CSCOV 11 };
/// Where the kernel puts a checksum. Those of ICMPv6 may say so at this level alone.
const RAW6: &[Known] = numbers! { SOL_RAW: IPV6_CHECKSUM 7 };
const IP: &[Known] = numbers! { IPPROTO_IP:
    IP_OPTIONS 4, IP_RECVOPTS 6, IP_RETOPTS 7, IP_PASSSEC 18, IP_RECVORIGDSTADDR 20, IP_CHECKSUM 23,
    IP_RECVFRAGSIZE 25, IP_RECVERR_RFC4884 26, IP_UNICAST_IF 50, IP_LOCAL_PORT_RANGE 51,
};
/// What a socket of IPv6 has for the packets of IPv4 that it sends and receives; its entry has no place for these.
const IP_OF_IPV6: &[Known] = numbers! { IPPROTO_IP:
    IP_TOS 1, IP_TTL 2, IP_PKTINFO 8, IP_MTU_DISCOVER 10, IP_RECVERR 11, IP_RECVTTL 12, IP_RECVTOS 13, IP_MINTTL 21,
    IP_BIND_ADDRESS_NO_PORT 24,
};
const IPV6: &[Known] = numbers! { IPPROTO_IPV6:
    IPV6_2292PKTINFO 2, IPV6_2292HOPOPTS 3, IPV6_2292DSTOPTS 4, IPV6_2292RTHDR 5, IPV6_2292HOPLIMIT 8, IPV6_FLOWINFO 11,
    IPV6_RECVERR_RFC4884 31, IPV6_FLOWINFO_SEND 33, IPV6_RECVHOPOPTS 53, IPV6_HOPOPTS 54, IPV6_RTHDRDSTOPTS 55,
    IPV6_RECVRTHDR 56, IPV6_RTHDR 57, IPV6_RECVDSTOPTS 58, IPV6_DSTOPTS 59, IPV6_RECVPATHMTU 60, IPV6_DONTFRAG 62,
    IPV6_AUTOFLOWLABEL 70, IPV6_ADDR_PREFERENCES 72, IPV6_MINHOPCOUNT 73, IPV6_RECVORIGDSTADDR 74, IPV6_UNICAST_IF 76,
    IPV6_RECVFRAGSIZE 77,
};
const MULTICAST: &[Known] = numbers! { IPPROTO_IP: IP_MULTICAST_IF 32, IP_MULTICAST_ALL 49 };
const MULTICAST6: &[Known] = numbers! { IPPROTO_IPV6: IPV6_MULTICAST_IF 17, IPV6_MULTICAST_ALL 29 };

/// Extension headers of IPv6 are the longest values.
const LONG: usize = 2048;
/// `IP_OPTIONS`; the two keys of `TCP_FASTOPEN_KEY`.
const MIDDLE: usize = 40;

/// All of them that a socket of this sort can have.
pub(super) fn known(sort: Sort) -> impl Iterator<Item = &'static Known> {
    let transport: &[&[Known]] = match (sort.kind, sort.protocol) {
        (libc::SOCK_STREAM, libc::IPPROTO_TCP) => &[TCP],
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => &[UDP],
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => &[UDPLITE],
        (libc::SOCK_RAW, _) if sort.family == libc::AF_INET6 => &[RAW6],
        _ => &[],
    };
    let datagrams = sort.kind != libc::SOCK_STREAM;
    let network: &[&[Known]] = match (sort.family, datagrams) {
        (libc::AF_INET, false) => &[COMMON, IP],
        (libc::AF_INET, true) => &[COMMON, IP, MULTICAST],
        (libc::AF_INET6, false) => &[COMMON, IPV6, IP, IP_OF_IPV6],
        (libc::AF_INET6, true) => &[COMMON, IPV6, IP, IP_OF_IPV6, MULTICAST6],
        _ => &[],
    };
    let transport = if network.is_empty() { &[] } else { transport };
    network.iter().chain(transport).copied().flatten()
}

impl Known {
    /// Room for the value, in bytes.
    pub(super) fn room(&self) -> usize {
        match (self.level, self.name) {
            (libc::IPPROTO_IP, "IP_OPTIONS") | (libc::IPPROTO_TCP, "TCP_FASTOPEN_KEY") => MIDDLE,
            (libc::IPPROTO_IPV6, "IPV6_HOPOPTS" | "IPV6_RTHDRDSTOPTS" | "IPV6_RTHDR" | "IPV6_DSTOPTS") => {
                LONG
            }
            _ => super::ROOM,
        }
    }

    /// It is set when the socket has its address, its peer and its filter: the kernel refuses it before, or it would be
    /// in the way.
    pub(super) fn is_late(&self) -> bool {
        matches!(
            self.name,
            "SO_TIMESTAMPING"
                | "SO_TIMESTAMPING_NEW"
                | "SO_LOCK_FILTER"
                | "SO_INCOMING_CPU"
                | "TCP_WINDOW_CLAMP"
                | "TCP_QUICKACK"
                | "TCP_TX_DELAY"
                | "UDP_CORK"
                | "UDP_ENCAP"
                | "IP_MINTTL"
                | "IPV6_MINHOPCOUNT"
        )
    }
}
