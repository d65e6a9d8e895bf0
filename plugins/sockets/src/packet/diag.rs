//! What sock_diag(7) says about packet sockets; some of it cannot be had from a descriptor.

use std::collections::HashMap;
use std::io;

use criu_proto::images::{PacketMclist, PacketRing};

use crate::netlink::{self, Builder, Netlink, Next};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
// linux/packet_diag.h
/// `PACKET_SHOW_INFO | MCLIST | RING_CFG | FANOUT`.
const SHOW: u32 = 0xf;
const PACKET_DIAG_INFO: u16 = 0;
const PACKET_DIAG_MCLIST: u16 = 1;
const PACKET_DIAG_RX_RING: u16 = 2;
const PACKET_DIAG_TX_RING: u16 = 3;
const PACKET_DIAG_FANOUT: u16 = 4;
const AUXDATA: u32 = 2;
const ORIGDEV: u32 = 4;
const VNETHDR: u32 = 8;
const LOSS: u32 = 0x10;
/// The length of `struct packet_diag_mclist`, and the most bytes of an address in it.
const MEMBERSHIP: usize = 44;
const ADDRESS_MAX: usize = 32;

/// One packet socket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Socket {
    /// `SOCK_RAW` and so on.
    pub(super) kind: u8,
    /// The protocol in host order.
    pub(super) protocol: u16,
    /// The device; 0 for all of them, `u32::MAX` when it is gone.
    pub(super) ifindex: u32,
    pub(super) version: u32,
    pub(super) reserve: u32,
    pub(super) copy_thresh: u32,
    pub(super) timestamp: u32,
    flags: u32,
    /// Each as often as it was joined.
    pub(super) memberships: Vec<PacketMclist>,
    pub(super) receive: Option<PacketRing>,
    pub(super) send: Option<PacketRing>,
    /// In a fanout group.
    pub(super) grouped: bool,
}

impl Socket {
    pub(super) fn aux_data(&self) -> bool {
        self.flags & AUXDATA != 0
    }

    pub(super) fn orig_dev(&self) -> bool {
        self.flags & ORIGDEV != 0
    }

    pub(super) fn vnet_hdr(&self) -> bool {
        self.flags & VNETHDR != 0
    }

    pub(super) fn loss(&self) -> bool {
        self.flags & LOSS != 0
    }

    /// How long a mapping of its rings is, in bytes.
    pub(super) fn mapping_length(&self) -> u64 {
        let rings = [&self.receive, &self.send];
        let one = |ring: &PacketRing| u64::from(ring.block_size) * u64::from(ring.block_nr);
        rings.into_iter().flatten().map(one).sum()
    }
}

/// All packet sockets of a network namespace, by inode.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<u32, Socket>);

impl Table {
    /// Asks the kernel, through a socket of the namespace in question.
    ///
    /// # Errors
    /// The kernel has no packet_diag, or an answer could not be read.
    pub(super) fn collect(netlink: &Netlink) -> io::Result<Self> {
        let mut request = vec![libc::AF_PACKET as u8, 0, 0, 0];
        for value in [0, SHOW, 0, 0] {
            request.extend_from_slice(&value.to_ne_bytes());
        }
        let mut builder = Builder::default();
        builder.message(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP as u16, 1, &request);
        netlink.send(&builder.finish())?;
        let mut table = Self::default();
        netlink.receive(|message| {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => {
                    netlink::outcome(message.body)?;
                    return Ok(Next::Stop);
                }
                SOCK_DIAG_BY_FAMILY => {
                    let (ino, socket) = parse(message.body).ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, "packet_diag answer cut short")
                    })?;
                    table.0.insert(ino, socket);
                }
                _ => {}
            }
            Ok(Next::Continue)
        })?;
        Ok(table)
    }

    /// The socket with this inode.
    pub(super) fn get(&self, ino: u32) -> Option<&Socket> {
        self.0.get(&ino)
    }
}

/// A `struct packet_diag_msg` and its attributes; `None` when it is cut short.
fn parse(body: &[u8]) -> Option<(u32, Socket)> {
    const LENGTH: usize = 16;
    let head = body.get(..LENGTH)?;
    let mut socket = Socket {
        kind: head[1],
        protocol: u16::from_ne_bytes([head[2], head[3]]),
        ..Socket::default()
    };
    for (kind, data) in netlink::attributes(&body[LENGTH..]) {
        let word = |index: usize| netlink::word(data, index * 4);
        match kind {
            PACKET_DIAG_INFO => {
                socket.ifindex = word(0)?;
                socket.version = word(1)?;
                socket.reserve = word(2)?;
                socket.copy_thresh = word(3)?;
                socket.timestamp = word(4)?;
                socket.flags = word(5)?;
            }
            PACKET_DIAG_MCLIST => {
                for membership in data.chunks_exact(MEMBERSHIP) {
                    add_memberships(membership, &mut socket.memberships)?;
                }
            }
            PACKET_DIAG_RX_RING => socket.receive = Some(ring(data)?),
            PACKET_DIAG_TX_RING => socket.send = Some(ring(data)?),
            PACKET_DIAG_FANOUT => socket.grouped = true,
            _ => {}
        }
    }
    Some((netlink::word(head, 4)?, socket))
}

fn add_memberships(data: &[u8], list: &mut Vec<PacketMclist>) -> Option<()> {
    /// More than any program joins; what is beyond makes no difference.
    const TIMES_MAX: u32 = 1024;
    let half = |at: usize| Some(u16::from_ne_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let length = usize::from(half(10)?).min(ADDRESS_MAX);
    let one = PacketMclist {
        index: netlink::word(data, 0)?,
        r#type: half(8)?.into(),
        addr: data.get(12..12 + length)?.to_vec(),
    };
    let times = netlink::word(data, 4)?.clamp(1, TIMES_MAX);
    list.extend((0..times).map(|_| one.clone()));
    Some(())
}

/// A `struct packet_diag_ring`.
fn ring(data: &[u8]) -> Option<PacketRing> {
    let word = |index: usize| netlink::word(data, index * 4);
    Some(PacketRing {
        block_size: word(0)?,
        block_nr: word(1)?,
        frame_size: word(2)?,
        frame_nr: word(3)?,
        retire_tmo: word(4)?,
        sizeof_priv: word(5)?,
        features: word(6)?,
    })
}
