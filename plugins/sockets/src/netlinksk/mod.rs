//! Netlink sockets (netlink(7)): their protocol, port id, multicast groups, destination and options.
//!
//! Image: `netlink_sk_entry` in `files.img` (type 13). What was received and not read cannot be put back,
//! for only the kernel can send in its own name.

mod diag;
mod dump;
mod restore;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Progress, Result, Verdict};

use crate::extra::{self, Extra};

/// States: never connected, connected. One that is connected no longer is in state 0.
const CLOSE: u32 = 7;
const CONNECTED: u32 = 1;

/// The kind.
#[derive(Default)]
struct NetlinkSk {
    /// What sock_diag said of each network namespace, by its inode.
    tables: RefCell<HashMap<u64, diag::Table>>,
    extras: RefCell<Vec<Extra>>,
    plan: RefCell<restore::Plan>,
}

impl FileKind for NetlinkSk {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump_one(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.tables.take();
        extra::write(host, &extra::NETLINK, &self.extras.take())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.plan.replace(restore::Plan::read(host, files)?);
        Ok(Vec::new())
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.plan.borrow().open(host, request).map(Progress::Done)
    }
}

criu_plugin_api::register! {
    kind: NetlinkSk::default(),
    point: FileKind,
    name: "netlink",
    claims: ["socket:16:*:*", "image:13"],
}

/// The name of a netlink protocol, `NETLINK_ROUTE` and so on.
fn protocol_name(protocol: u32) -> String {
    let name = match protocol.cast_signed() {
        libc::NETLINK_ROUTE => "NETLINK_ROUTE",
        libc::NETLINK_USERSOCK => "NETLINK_USERSOCK",
        libc::NETLINK_FIREWALL => "NETLINK_FIREWALL",
        libc::NETLINK_SOCK_DIAG => "NETLINK_SOCK_DIAG",
        libc::NETLINK_NFLOG => "NETLINK_NFLOG",
        libc::NETLINK_XFRM => "NETLINK_XFRM",
        libc::NETLINK_SELINUX => "NETLINK_SELINUX",
        libc::NETLINK_ISCSI => "NETLINK_ISCSI",
        libc::NETLINK_AUDIT => "NETLINK_AUDIT",
        libc::NETLINK_FIB_LOOKUP => "NETLINK_FIB_LOOKUP",
        libc::NETLINK_CONNECTOR => "NETLINK_CONNECTOR",
        libc::NETLINK_NETFILTER => "NETLINK_NETFILTER",
        libc::NETLINK_GENERIC => "NETLINK_GENERIC",
        libc::NETLINK_KOBJECT_UEVENT => "NETLINK_KOBJECT_UEVENT",
        libc::NETLINK_CRYPTO => "NETLINK_CRYPTO",
        other => return format!("protocol {other}"),
    };
    name.to_owned()
}

/// A `struct sockaddr_nl`.
fn address(portid: u32, groups: u32) -> Vec<u8> {
    let mut bytes = (libc::AF_NETLINK as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&portid.to_ne_bytes());
    bytes.extend_from_slice(&groups.to_ne_bytes());
    bytes
}
