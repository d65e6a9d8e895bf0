//! What a socket has and the common image format has no field for: options of the network layers, the
//! senders of queued datagrams. Written only when there is something, into images of our own
//! (`sk-extra-unix.img`, `sk-extra-inet.img` and so on); a set without them restores as well.

mod inet;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::inode::Attribute;
use criu_plugin_api::{Context, Error, Host, Result};

use crate::descriptor::Owner;
use crate::{fresh, sys};

pub(crate) static UNIX: ImageKind = image::own_kind("SK_EXTRA_UNIX", "sk-extra-unix.img", 0x534b_5855);
pub(crate) static INET: ImageKind = image::own_kind("SK_EXTRA_INET", "sk-extra-inet.img", 0x534b_5849);
pub(crate) static NETLINK: ImageKind =
    image::own_kind("SK_EXTRA_NETLINK", "sk-extra-netlink.img", 0x534b_584e);
pub(crate) static PACKET: ImageKind = image::own_kind("SK_EXTRA_PACKET", "sk-extra-packet.img", 0x534b_5850);

/// All of one socket.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Extra {
    /// The id of its file.
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    /// Options that differ from those of a fresh socket.
    #[prost(message, repeated, tag = "2")]
    pub(crate) options: Vec<OptionValue>,
    /// Packets in its queue of which more is known.
    #[prost(message, repeated, tag = "3")]
    pub(crate) packets: Vec<PacketExtra>,
    /// `SO_PEERCRED`, unless it is root as the process that was seen to hold the socket.
    #[prost(message, optional, tag = "4")]
    pub(crate) peer: Option<Credentials>,
    /// Its type (`SOCK_DGRAM`), where the entry has no field for it and it is not the usual one.
    #[prost(uint32, optional, tag = "5")]
    pub(crate) kind: Option<u32>,
    /// An error that was not told yet, `ECONNRESET`.
    #[prost(int32, optional, tag = "6")]
    pub(crate) error: Option<i32>,
    /// The file of a unix socket that is not where its name leads, or has extended attributes.
    #[prost(message, optional, tag = "7")]
    pub(crate) place: Option<Place>,
    /// Listening: the connections that wait to be accepted, the oldest first.
    #[prost(message, repeated, tag = "8")]
    pub(crate) waiting: Vec<Waiting>,
    /// A datagram socket that is still connected to a socket which is closed.
    #[prost(bool, tag = "9")]
    pub(crate) lost_peer: bool,
    /// Whose it is, unless root's.
    #[prost(message, optional, tag = "10")]
    pub(crate) owner: Option<Owner>,
    /// The supplementary groups of its peer (`SO_PEERGROUPS`), unless they were those of the process that saved them.
    #[prost(message, optional, tag = "11")]
    pub(crate) peer_groups: Option<Groups>,
}

/// Supplementary groups.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Groups {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) ids: Vec<u32>,
}

/// Where the file of a unix socket is, and what it has.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Place {
    /// The root directory in which its absolute name leads to it; empty for the usual one.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) root: Vec<u8>,
    /// Where it has been moved to; empty if it was not.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) path: Vec<u8>,
    /// Its inode, to tell deleted files of one name apart.
    #[prost(uint64, tag = "3")]
    pub(crate) ino: u64,
    /// The extended attributes that it has.
    #[prost(message, repeated, tag = "4")]
    pub(crate) attributes: Vec<Attribute>,
}

/// A connection that waits to be accepted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Waiting {
    /// The inode of the socket that has connected; 0 when it is closed.
    #[prost(uint32, tag = "1")]
    pub(crate) client: u32,
    /// What it has sent.
    #[prost(message, repeated, tag = "2")]
    pub(crate) packets: Vec<EarlyPacket>,
    /// Who has connected.
    #[prost(message, optional, tag = "3")]
    pub(crate) peer: Option<Credentials>,
    /// With which groups.
    #[prost(message, optional, tag = "4")]
    pub(crate) peer_groups: Option<Groups>,
}

/// Data that was sent before its connection was accepted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EarlyPacket {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
    /// The ids of the files that travel with them.
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) rights: Vec<u32>,
    /// The credentials that came with it.
    #[prost(message, optional, tag = "3")]
    pub(crate) credentials: Option<Credentials>,
    /// Sent with `MSG_OOB`.
    #[prost(bool, tag = "4")]
    pub(crate) urgent: bool,
}

/// An option as setsockopt(2) takes it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OptionValue {
    /// `SOL_SOCKET`, `IPPROTO_TCP` and so on.
    #[prost(int32, tag = "1")]
    pub(crate) level: i32,
    /// Its number.
    #[prost(int32, tag = "2")]
    pub(crate) option: i32,
    /// Its value: an int, or the name of a congestion control.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) value: Vec<u8>,
}

/// Who has sent a packet.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PacketExtra {
    /// The number of the packet in the queue, from 0.
    #[prost(uint32, tag = "1")]
    pub(crate) index: u32,
    /// The name of its sender (`sun_path`); empty for none.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) from: Vec<u8>,
    /// The credentials that came with it; with pid 0 it came without any, though the receiver asks for them.
    #[prost(message, optional, tag = "3")]
    pub(crate) credentials: Option<Credentials>,
    /// A byte sent with `MSG_OOB`.
    #[prost(bool, tag = "4")]
    pub(crate) urgent: bool,
}

/// `struct ucred`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Credentials {
    /// The process.
    #[prost(int32, tag = "1")]
    pub(crate) pid: i32,
    /// Its user.
    #[prost(uint32, tag = "2")]
    pub(crate) uid: u32,
    /// Its group.
    #[prost(uint32, tag = "3")]
    pub(crate) gid: u32,
}

/// The kinds of sockets whose options differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sort {
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
}

/// An option that is saved.
struct Known {
    level: i32,
    option: i32,
    name: &'static str,
}

macro_rules! known {
    ($($level:ident $($option:ident)+;)+) => {
        &[$($(Known { level: libc::$level, option: libc::$option, name: stringify!($option) }),+),+]
    };
}

static ALL: &[Known] = known! { SOL_SOCKET SO_TIMESTAMP SO_TIMESTAMPNS SO_PEEK_OFF; };
static NETWORK: &[Known] = known! { SOL_SOCKET SO_TIMESTAMPING SO_RXQ_OVFL SO_ZEROCOPY; };
static UNIX_ONLY: &[Known] = &[
    Known {
        level: libc::SOL_SOCKET,
        option: 76,
        name: "SO_PASSPIDFD",
    },
    Known {
        level: libc::SOL_SOCKET,
        option: 83,
        name: "SO_PASSRIGHTS",
    },
    Known {
        level: libc::SOL_SOCKET,
        option: 84,
        name: "SO_INQ",
    },
];
static TCP: &[Known] = known! {
    IPPROTO_TCP TCP_CONGESTION TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT TCP_USER_TIMEOUT TCP_NOTSENT_LOWAT;
};
static UDP: &[Known] = known! { IPPROTO_UDP UDP_SEGMENT UDP_GRO; };
/// A stream takes over other values on its way, and cannot set them.
static MULTICAST: &[Known] = known! { IPPROTO_IP IP_MULTICAST_TTL IP_MULTICAST_LOOP; };
static MULTICAST6: &[Known] = known! { IPPROTO_IPV6 IPV6_MULTICAST_HOPS IPV6_MULTICAST_LOOP; };
static IP: &[Known] = known! {
    IPPROTO_IP IP_MTU_DISCOVER IP_RECVERR IP_RECVTTL IP_RECVTOS IP_MINTTL IP_TRANSPARENT
        IP_BIND_ADDRESS_NO_PORT;
};
static IPV6: &[Known] = known! {
    IPPROTO_IPV6 IPV6_UNICAST_HOPS IPV6_MTU_DISCOVER IPV6_RECVERR IPV6_RECVHOPLIMIT IPV6_RECVTCLASS
        IPV6_TRANSPARENT;
};
static NETLINK_ONLY: &[Known] = known! {
    SOL_NETLINK NETLINK_PKTINFO NETLINK_BROADCAST_ERROR NETLINK_NO_ENOBUFS NETLINK_LISTEN_ALL_NSID
        NETLINK_CAP_ACK NETLINK_EXT_ACK NETLINK_GET_STRICT_CHK;
};
static PACKET_ONLY: &[Known] = &[
    Known {
        level: libc::SOL_PACKET,
        option: 19,
        name: "PACKET_TX_HAS_OFF",
    },
    Known {
        level: libc::SOL_PACKET,
        option: 20,
        name: "PACKET_QDISC_BYPASS",
    },
    Known {
        level: libc::SOL_PACKET,
        option: 23,
        name: "PACKET_IGNORE_OUTGOING",
    },
    Known {
        level: libc::SOL_PACKET,
        option: 24,
        name: "PACKET_VNET_HDR_SZ",
    },
];

/// Room for a value; the name of a congestion control is the longest.
const ROOM: usize = 16;

impl Sort {
    fn known(self) -> impl Iterator<Item = &'static Known> {
        let network = match self.family {
            libc::AF_UNIX => UNIX_ONLY,
            libc::AF_NETLINK => NETLINK_ONLY,
            libc::AF_PACKET => PACKET_ONLY,
            libc::AF_INET => IP,
            _ => IPV6,
        };
        let internet = [libc::AF_INET, libc::AF_INET6].contains(&self.family);
        let transport = match (self.kind, self.protocol) {
            (libc::SOCK_STREAM, libc::IPPROTO_TCP) if internet => TCP,
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP) if internet => UDP,
            _ => &[],
        };
        let multicast = match (self.family, self.kind) {
            (libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_RAW) => MULTICAST,
            (libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_RAW) => MULTICAST6,
            _ => &[],
        };
        let common = if [libc::AF_UNIX, libc::AF_NETLINK].contains(&self.family) {
            &[]
        } else {
            NETWORK
        };
        ALL.iter()
            .chain(common)
            .chain(network)
            .chain(transport)
            .chain(multicast)
            .chain(inet::known(self))
    }

    /// The values of a socket; `None` where the kernel does not know an option of this kind.
    fn values(self, fd: RawFd) -> io::Result<Vec<Option<Vec<u8>>>> {
        self.known()
            .map(
                |known| match sys::get_bytes(fd, known.level, known.option, known.room()) {
                    Ok(value) => Ok(Some(value)),
                    Err(e) if unknown(&e) => Ok(None),
                    Err(e) => Err(e),
                },
            )
            .collect()
    }
}

fn unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EINVAL)
    )
}

thread_local! {
    /// The options of a fresh socket of each kind.
    static DEFAULTS: RefCell<HashMap<Sort, Vec<Option<Vec<u8>>>>> = RefCell::default();
}

/// The options of a socket that differ from those of a fresh one. Fresh ones are made in the namespace
/// of this process; where that has other defaults, more is written than needed.
///
/// # Errors
/// An option could not be read.
pub(crate) fn options(fd: RawFd, sort: Sort) -> Result<Vec<OptionValue>> {
    let read = || {
        if !DEFAULTS.with_borrow(|defaults| defaults.contains_key(&sort)) {
            let fresh = fresh::like(sort)?;
            let values = sort.values(fresh.as_raw_fd())?;
            DEFAULTS.with_borrow_mut(|defaults| defaults.insert(sort, values));
        }
        let values = sort.values(fd)?;
        Ok::<_, io::Error>(DEFAULTS.with_borrow(|defaults| {
            let fresh = defaults.get(&sort).map_or(&[][..], Vec::as_slice);
            sort.known()
                .zip(values)
                .enumerate()
                .filter(|(i, (_, value))| fresh.get(*i) != Some(value))
                .filter_map(|(_, (known, value))| {
                    Some(OptionValue {
                        level: known.level,
                        option: known.option,
                        value: value?,
                    })
                })
                .collect()
        }))
    };
    read().context(|| "reading the options of its protocol")
}

/// Sets options, but for those that [`set_late`] is for.
///
/// # Errors
/// One is not known here, or the kernel refuses it.
pub(crate) fn set(fd: RawFd, sort: Sort, options: &[OptionValue]) -> Result<()> {
    set_those(fd, sort, options, false)
}

/// Sets the options that can only be set when a socket has its address and its peer.
///
/// # Errors
/// As of [`set`].
pub(crate) fn set_late(fd: RawFd, sort: Sort, options: &[OptionValue]) -> Result<()> {
    set_those(fd, sort, options, true)
}

fn set_those(fd: RawFd, sort: Sort, options: &[OptionValue], late: bool) -> Result<()> {
    for option in options {
        let known = sort
            .known()
            .find(|k| (k.level, k.option) == (option.level, option.option));
        let known = known.filter(|k| option.value.len() <= k.room()).ok_or_else(|| {
            Error::new(format!(
                "option {} of level {} is not known",
                option.option, option.level
            ))
        })?;
        if known.is_late() == late {
            sys::set_bytes(fd, option.level, option.option, &option.value)
                .context(|| format!("setting {} to {}", known.name, shown(&option.value)))?;
        }
    }
    Ok(())
}

/// A number or a name.
fn shown(value: &[u8]) -> String {
    if let Ok(int) = <[u8; 4]>::try_from(value) {
        return i32::from_ne_bytes(int).to_string();
    }
    let name: Vec<u8> = value.iter().copied().take_while(|&b| b != 0).collect();
    match String::from_utf8(name) {
        Ok(name) if name.chars().all(|c| c.is_ascii_graphic()) => name,
        _ => format!("{value:?}"),
    }
}

/// Writes an image, if there is anything to write.
///
/// # Errors
/// The file system's.
pub(crate) fn write(host: &Host<'_>, kind: &ImageKind, extras: &[Extra]) -> Result<()> {
    if extras.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, kind)?;
    for extra in extras {
        image.entry(extra)?;
    }
    image.finish()?;
    Ok(())
}

/// Reads an image, by the ids of the files.
///
/// # Errors
/// It is damaged.
pub(crate) fn read(host: &Host<'_>, kind: &ImageKind) -> Result<HashMap<u32, Extra>> {
    let all: Vec<Extra> = image::read_all(host, kind)?;
    for extra in &all {
        check(extra).context(|| format!("{}: file {:#x}", kind.file_name(0), extra.id))?;
    }
    Ok(all.into_iter().map(|extra| (extra.id, extra)).collect())
}

fn check(extra: &Extra) -> Result<()> {
    /// `NGROUPS_MAX` of linux/limits.h.
    const MOST: usize = 65536;
    extra.owner.map_or(Ok(()), Owner::check)?;
    let waiting = extra.waiting.iter().map(|waiting| &waiting.peer_groups);
    for groups in waiting.chain([&extra.peer_groups]).flatten() {
        if groups.ids.len() > MOST || groups.ids.contains(&u32::MAX) {
            return Err(Error::new("groups that no process has: damaged"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_no_process_has_are_damage() {
        let with = |ids: Vec<u32>| Extra {
            waiting: vec![Waiting {
                peer_groups: Some(Groups { ids }),
                ..Waiting::default()
            }],
            ..Extra::default()
        };
        assert!(check(&with(vec![7; 65536])).is_ok());
        assert!(check(&with(vec![7; 65537])).is_err());
        assert!(check(&with(vec![u32::MAX])).is_err());
    }
}
