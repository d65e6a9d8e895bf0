//! Makes packet sockets again.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Result};
use criu_proto::Message;
use criu_proto::images::{FileEntry, PacketMclist, PacketRing, PacketSockEntry};

use super::dump::{fanout, sort};
use super::{SOCK_PACKET, TPACKET_V3, option};
use crate::extra::{self, Extra};
use crate::{descriptor, sockopt, sys};

/// All packet sockets of the image set, by id.
#[derive(Default)]
pub(super) struct Plan {
    entries: BTreeMap<u32, PacketSockEntry>,
    extras: HashMap<u32, Extra>,
}

impl Plan {
    /// Reads and checks.
    ///
    /// # Errors
    /// The images are damaged.
    pub(super) fn read(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut plan = Self::default();
        for file in files {
            let entry = decode(file).context(|| format!("the packet socket with id {:#x}", file.id))?;
            plan.entries.insert(file.id, entry);
        }
        plan.extras = extra::read(host, &extra::PACKET)?;
        Ok(plan)
    }

    /// Makes a socket.
    pub(super) fn open(&self, request: &OpenRequest) -> Result<Opened> {
        let id = request.file.id;
        let entry = self
            .entries
            .get(&id)
            .ok_or_else(|| Error::new(format!("the packet socket {id:#x} is not prepared")))?;
        let fd = make(entry, self.extras.get(&id)).context(|| {
            format!(
                "restoring the packet socket {id:#x} of protocol {:#06x} at device {}",
                protocol(entry),
                entry.ifindex
            )
        })?;
        Ok(Opened::one(fd))
    }
}

/// The protocol in host order.
fn protocol(entry: &PacketSockEntry) -> u16 {
    u16::from_be(entry.protocol as u16)
}

fn decode(file: &FileRecord) -> Result<PacketSockEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("its entry does not decode: {e}")))?
        .psk
        .ok_or_else(|| Error::new("its entry has no packet_sock_entry"))?;
    if entry.id != file.id {
        return Err(Error::new(format!("its entry has another id, {:#x}", entry.id)));
    }
    let kind = entry.r#type.cast_signed();
    if ![libc::SOCK_RAW, libc::SOCK_DGRAM, SOCK_PACKET].contains(&kind) {
        return Err(Error::new(format!("type {kind} is no type of packet sockets")));
    }
    if entry.protocol > 0xffff || entry.version > TPACKET_V3 {
        return Err(Error::new(format!(
            "protocol {:#x}, ring version {}: damaged",
            entry.protocol, entry.version
        )));
    }
    if entry
        .mclist
        .iter()
        .any(|m| m.addr.len() > 32 || m.r#type > 0xffff)
    {
        return Err(Error::new("a membership that is damaged"));
    }
    Ok(entry)
}

fn make(entry: &PacketSockEntry, extra: Option<&Extra>) -> Result<OwnedFd> {
    let kind = entry.r#type.cast_signed();
    // Without a protocol nothing is received until all is set; the old type takes it here alone.
    let early = if kind == SOCK_PACKET { entry.protocol } else { 0 };
    let fd = sys::socket(libc::AF_PACKET, kind, early.cast_signed()).context(|| "socket")?;
    let raw = fd.as_raw_fd();
    sockopt::restore(raw, &entry.opts)?;
    sockopt::buffers(raw, &entry.opts)?;
    sockopt::restore_reuse(raw, &entry.opts)?;
    sockopt::restore_device(raw, &entry.opts)?;
    options(raw, entry)?;
    extra::set(raw, sort(entry), extra.map_or(&[][..], |e| e.options.as_slice()))?;
    for (number, name, ring) in [
        (option::RX_RING, "PACKET_RX_RING", &entry.rx_ring),
        (option::TX_RING, "PACKET_TX_RING", &entry.tx_ring),
    ] {
        if let Some(ring) = ring {
            set_ring(raw, number, entry.version, ring).context(|| {
                format!(
                    "{name} with {} blocks of {} bytes",
                    ring.block_nr, ring.block_size
                )
            })?;
        }
    }
    bind(raw, entry)?;
    for membership in &entry.mclist {
        sys::set_bytes(
            raw,
            libc::SOL_PACKET,
            option::ADD_MEMBERSHIP,
            &request(membership),
        )
        .context(|| {
            format!(
                "PACKET_ADD_MEMBERSHIP of type {} at device {}",
                membership.r#type, membership.index
            )
        })?;
    }
    if let Some(group) = fanout(entry) {
        sys::set(raw, libc::SOL_PACKET, option::FANOUT, group)
            .context(|| format!("joining the fanout group {group:#x} (PACKET_FANOUT)"))?;
    }
    descriptor::complete(&fd, entry.flags, &entry.fown, extra.and_then(|e| e.owner))?;
    Ok(fd)
}

fn options(fd: RawFd, entry: &PacketSockEntry) -> Result<()> {
    for (number, name, value) in [
        (option::VERSION, "PACKET_VERSION", entry.version),
        (option::RESERVE, "PACKET_RESERVE", entry.reserve),
        (option::COPY_THRESH, "PACKET_COPY_THRESH", entry.copy_thresh),
        (option::AUXDATA, "PACKET_AUXDATA", entry.aux_data.into()),
        (option::ORIGDEV, "PACKET_ORIGDEV", entry.orig_dev.into()),
        (option::VNET_HDR, "PACKET_VNET_HDR", entry.vnet_hdr.into()),
        (option::LOSS, "PACKET_LOSS", entry.loss.into()),
        (option::TIMESTAMP, "PACKET_TIMESTAMP", entry.timestamp),
    ] {
        if value != 0 {
            sys::set(fd, libc::SOL_PACKET, number, value).context(|| format!("setting {name} to {value}"))?;
        }
    }
    Ok(())
}

/// `struct tpacket_req`, for version 3 `struct tpacket_req3`.
fn set_ring(fd: RawFd, number: i32, version: u32, ring: &PacketRing) -> std::io::Result<()> {
    let mut words = vec![ring.block_size, ring.block_nr, ring.frame_size, ring.frame_nr];
    if version == TPACKET_V3 {
        words.extend([ring.retire_tmo, ring.sizeof_priv, ring.features]);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    sys::set_bytes(fd, libc::SOL_PACKET, number, &bytes)
}

fn bind(fd: RawFd, entry: &PacketSockEntry) -> Result<()> {
    if entry.protocol == 0 && entry.ifindex == 0 {
        return Ok(());
    }
    if entry.r#type.cast_signed() == SOCK_PACKET {
        return match entry.ifindex {
            0 => Ok(()),
            index => sys::bind(fd, &old_address(index)?).context(|| "binding"),
        };
    }
    // `struct sockaddr_ll`; the protocol is in network order already.
    let mut address = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(&(entry.protocol as u16).to_ne_bytes());
    address.extend_from_slice(&entry.ifindex.to_ne_bytes());
    address.resize(20, 0);
    match sys::bind(fd, &address) {
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {
            let what = format!("there is no network device with index {}", entry.ifindex);
            Err(Error::new(what).with_remedy("restore where the device has the index it had"))
        }
        result => result.context(|| "binding"),
    }
}

/// A `struct sockaddr` with the name of a device.
fn old_address(index: u32) -> Result<Vec<u8>> {
    const NAME: usize = 14;
    let name = nix::net::if_::if_indextoname(index).context(|| format!("the name of device {index}"))?;
    let mut address = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
    address.extend(name.into_bytes().into_iter().take(NAME - 1));
    address.resize(2 + NAME, 0);
    Ok(address)
}

/// `struct packet_mreq`, longer for longer addresses.
fn request(membership: &PacketMclist) -> Vec<u8> {
    let mut bytes = membership.index.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&(membership.r#type as u16).to_ne_bytes());
    bytes.extend_from_slice(&(membership.addr.len() as u16).to_ne_bytes());
    bytes.extend_from_slice(&membership.addr);
    bytes.resize(bytes.len().max(16), 0);
    bytes
}
