//! The tun plugin: `/dev/net/tun`, its descriptors and the network devices behind them.
//!
//! A device that does not persist goes with its last descriptor, and its addresses and routes with it; all of
//! them come back. A descriptor is a `tunfile_entry`; what the format has no field for is in
//! `tun-devices.img`. Packets that wait to be read are lost, as packets may be, and
//! so are settings that are not the device's own: its sysctls, its bridge, filters and classes of traffic. The log warns of
//! packets and of a bridge.

mod dump;
mod features;
mod link;
mod restore;
mod rtnetlink;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

static DEVICES: ImageKind = image::own_kind("TUN_DEVICES", "tun-devices.img", 0x5455_4e44);

/// An entry of `tun-devices.img`: a descriptor or a device.
#[derive(Clone, PartialEq, prost::Message)]
struct TunEntry {
    #[prost(message, optional, tag = "1")]
    file: Option<FileState>,
    #[prost(message, optional, tag = "2")]
    device: Option<DeviceState>,
}

/// What a `tunfile_entry` has no field for.
#[derive(Clone, PartialEq, prost::Message)]
struct FileState {
    /// The id of the file in `files.img`.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// The flags of open(2).
    #[prost(uint32, tag = "2")]
    flags: u32,
    /// The owner, an encoded `fown_entry`.
    #[prost(bytes = "vec", tag = "3")]
    fown: Vec<u8>,
}

/// A device.
#[derive(Clone, PartialEq, prost::Message)]
struct DeviceState {
    #[prost(string, tag = "1")]
    name: String,
    /// `IFF_TUN` and the others of linux/if_tun.h.
    #[prost(uint32, tag = "2")]
    flags: u32,
    #[prost(uint32, tag = "3")]
    index: u32,
    /// The user who may attach to it; -1 for none.
    #[prost(sint32, tag = "4")]
    owner: i32,
    /// The group that may; -1 for none.
    #[prost(sint32, tag = "5")]
    group: i32,
    /// Bytes of the header before each packet.
    #[prost(uint32, tag = "6")]
    header: u32,
    /// `TUNGETSNDBUF`.
    #[prost(uint32, tag = "7")]
    send_buffer: u32,
    #[prost(uint32, tag = "8")]
    mtu: u32,
    /// The hardware address of a tap.
    #[prost(bytes = "vec", tag = "9")]
    address: Vec<u8>,
    /// `IFF_UP` and the others of netdevice(7).
    #[prost(uint32, tag = "10")]
    interface: u32,
    /// `SIOCGIFTXQLEN`.
    #[prost(uint32, tag = "11")]
    queue: u32,
    /// Messages of rtnetlink(7): its addresses, then its routes, in the order in which they are set.
    #[prost(bytes = "vec", repeated, tag = "12")]
    settings: Vec<Vec<u8>>,
}

/// The kind `tun`.
#[derive(Default)]
pub struct Tun {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

criu_plugin_api::register! {
    kind: Tun::default(),
    point: FileKind,
    name: "tun",
    claims: ["chr:10:200", "image:15"],
}

criu_plugin_api::export_plugin! {
    name: "tun",
    description: "Network devices of user space: /dev/net/tun",
}

impl FileKind for Tun {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.restore.borrow_mut().prepare(host, files)?;
        Ok(Vec::new())
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(request)
    }

    fn finish_restore(&self, _: &Host<'_>, outcome: Outcome) -> Result<()> {
        self.restore.take().finish(outcome);
        Ok(())
    }
}
