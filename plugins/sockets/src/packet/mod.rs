//! Packet sockets (packet(7)): type, protocol, device, options, multicast memberships, fanout groups, and
//! the rings of `PACKET_MMAP` with their mappings.
//!
//! Image: `packet_sock_entry` in `files.img` (type 10); a mapped ring is a `vma_entry` with status bit 11
//! whose `shmid` is the id of the socket's file. Packets that were not read are dropped, as a network may
//! drop them; a restored ring is empty and begins at its first frame.

mod diag;
mod dump;
mod restore;
mod ring;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use criu_plugin_api::message::{
    FileImage, FilePlan, FileRecord, FileTarget, MappingImage, MappingRecord, MappingTarget, OpenRequest,
};
use criu_plugin_api::{FileKind, Host, MappingKind, Opened, Progress, Result, Verdict};

use crate::extra::{self, Extra};

/// Numbers of options, from linux/if_packet.h.
mod option {
    pub(super) const ADD_MEMBERSHIP: i32 = 1;
    pub(super) const RX_RING: i32 = 5;
    pub(super) const COPY_THRESH: i32 = 7;
    pub(super) const AUXDATA: i32 = 8;
    pub(super) const ORIGDEV: i32 = 9;
    pub(super) const VERSION: i32 = 10;
    pub(super) const RESERVE: i32 = 12;
    pub(super) const TX_RING: i32 = 13;
    pub(super) const LOSS: i32 = 14;
    pub(super) const VNET_HDR: i32 = 15;
    pub(super) const TIMESTAMP: i32 = 17;
    pub(super) const FANOUT: i32 = 18;
}

/// `TPACKET_V3`, the only version whose rings have the last three fields.
const TPACKET_V3: u32 = 2;
/// `SOCK_PACKET`, the type of before Linux 2.2.
const SOCK_PACKET: i32 = 10;
/// `packet_sock_entry.fanout` of a socket in no group.
const NO_FANOUT: u32 = u32::MAX;

/// The kind, and the kind of the mappings of its rings.
#[derive(Default)]
struct Packet {
    /// What sock_diag said of each network namespace, by its inode.
    tables: RefCell<HashMap<u64, diag::Table>>,
    extras: RefCell<Vec<Extra>>,
    plan: RefCell<restore::Plan>,
}

thread_local! {
    static PACKET: Rc<Packet> = Rc::default();
}

impl FileKind for Packet {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump_one(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.tables.take();
        extra::write(host, &extra::PACKET, &self.extras.take())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.plan.replace(restore::Plan::read(host, files)?);
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.plan.borrow().open(request).map(Progress::Done)
    }
}

impl MappingKind for Packet {
    fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        self.dump_mapping(host, mapping)
    }

    fn restore(&self, host: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        ring::map(host, mapping)
    }
}

criu_plugin_api::register! {
    kind: PACKET.with(Rc::clone),
    point: FileKind,
    name: "packet",
    claims: ["socket:17:*:*", "image:10"],
}

criu_plugin_api::register! {
    kind: PACKET.with(Rc::clone),
    point: MappingKind,
    name: "packet-ring",
    claims: ["map:socket:[*", "vma-status:11"],
}
