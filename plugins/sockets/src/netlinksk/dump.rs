//! Saves netlink sockets.

use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Result, Verdict, restore};
use criu_proto::Message;
use criu_proto::images::{FdTypes, FileEntry, NetlinkSkEntry};

use super::{CLOSE, CONNECTED, NetlinkSk, diag, protocol_name};
use crate::descriptor::Owner;
use crate::extra::{self, Extra, Sort};
use crate::netlink::{self, Netlink};
use crate::{descriptor, netns, sockopt, sys};

/// `NETLINK_LIST_MEMBERSHIPS`: a bit for each group (Linux 4.2).
const LIST_MEMBERSHIPS: i32 = 9;
/// Room for 32768 groups.
const GROUPS_ROOM: usize = 4096;

impl NetlinkSk {
    pub(super) fn dump_one(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let protocol = sys::get::<u32>(file.local_fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)
            .context(|| format!("pid {} fd {}: SO_PROTOCOL", file.pid, file.fd))?;
        let object = format!(
            "pid {} fd {}: netlink socket {} ({})",
            file.pid,
            file.fd,
            file.ino,
            protocol_name(protocol)
        );
        descriptor::verdict(self.save(host, file, protocol, &object), &object)
            .context(|| format!("dumping {object}"))
    }

    fn save(
        &self,
        host: &Host<'_>,
        file: &FileTarget,
        protocol: u32,
        object: &str,
    ) -> Result<Verdict<FileImage>> {
        let fd = file.local_fd;
        let namespace = netns::of_socket(fd, file.pid, host)?;
        let ino = u32::try_from(file.ino).map_err(|_| Error::new("an inode number over 32 bits"))?;
        let listed = self.listed(&namespace, ino)?;
        if let Some(what) = lost(fd, listed)? {
            return Ok(Verdict::refused_but(
                object,
                what,
                "dump when the program has read its messages",
            ));
        }
        let kind = sys::get::<u32>(fd, libc::SOL_SOCKET, libc::SO_TYPE).context(|| "SO_TYPE")?;
        let (portid, _) = name(sys::local_name(fd).context(|| "getsockname")?)?;
        let peer = sys::peer_name(fd).context(|| "getpeername")?;
        let (dst_portid, dst_mask) = peer.map_or(Ok((0, 0)), name)?;
        let state = match listed {
            Some(socket) => socket.state.into(),
            None if (dst_portid, dst_mask) != (0, 0) => CONNECTED,
            None => CLOSE,
        };
        let mut opts = sockopt::dump(fd)?;
        let (passcred, passsec) = sockopt::pass_options(fd)?;
        (opts.so_passcred, opts.so_passsec) = (Some(passcred), Some(passsec));
        let entry = NetlinkSkEntry {
            id: file.id,
            ino,
            protocol,
            state,
            flags: file.flags,
            portid,
            groups: groups(fd)?,
            dst_portid,
            // The number of the one group of the mask, from 1.
            dst_group: if dst_mask == 0 {
                0
            } else {
                dst_mask.trailing_zeros() + 1
            },
            fown: restore::fown_decode(&file.fown)?,
            opts,
            ns_id: Some(namespace.id),
        };
        let extra = Extra {
            id: file.id,
            options: extra::options(fd, sort(&entry, kind.cast_signed()))?,
            kind: (kind.cast_signed() != libc::SOCK_RAW).then_some(kind),
            owner: Owner::of(file),
            ..Extra::default()
        };
        if extra.kind.is_some() || !extra.options.is_empty() || extra.owner.is_some() {
            self.extras.borrow_mut().push(extra);
        }
        let image = FileEntry {
            r#type: FdTypes::Netlinksk as i32,
            id: file.id,
            nlsk: Some(entry),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Netlinksk as u32,
            entry: image.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    /// What sock_diag says of a socket; nothing of one without a port id, or on a kernel without it.
    fn listed(&self, namespace: &netns::Namespace, ino: u32) -> Result<Option<diag::Socket>> {
        let mut tables = self.tables.borrow_mut();
        if let std::collections::hash_map::Entry::Vacant(place) = tables.entry(namespace.ino) {
            let table = namespace
                .within(|| diag::Table::collect(&Netlink::open(libc::NETLINK_SOCK_DIAG)?))
                .context(|| "listing the netlink sockets (sock_diag)")?;
            place.insert(table);
        }
        Ok(tables.get(&namespace.ino).and_then(|table| table.get(ino)))
    }
}

/// What would be lost.
fn lost(fd: i32, listed: Option<diag::Socket>) -> Result<Option<&'static str>> {
    let found = sys::poll(fd, libc::POLLIN | libc::POLLERR, 0).context(|| "poll")?;
    Ok(if found & libc::POLLERR != 0 {
        Some("has an error that was not told yet (messages were dropped, ENOBUFS)")
    } else if found & libc::POLLIN != 0 {
        Some("has messages that were not read yet: not supported")
    } else if listed.is_some_and(|socket| socket.dumping) {
        Some("is in the middle of a listing (NLM_F_DUMP) that was not read to its end: not supported")
    } else {
        None
    })
}

/// The multicast groups it is a member of: bit 0 of the first word is group 1. No trailing zeros.
fn groups(fd: i32) -> Result<Vec<u32>> {
    let bytes = sys::get_bytes(fd, libc::SOL_NETLINK, LIST_MEMBERSHIPS, GROUPS_ROOM)
        .context(|| "listing its groups (NETLINK_LIST_MEMBERSHIPS)")?;
    let mut words: Vec<u32> = (0..bytes.len() / 4)
        .filter_map(|i| netlink::word(&bytes, i * 4))
        .collect();
    while words.last() == Some(&0) {
        words.pop();
    }
    Ok(words)
}

/// Port id and mask of groups of a `struct sockaddr_nl`.
fn name(bytes: Vec<u8>) -> Result<(u32, u32)> {
    let word = |at| netlink::word(&bytes, at).ok_or_else(|| Error::new("a netlink address cut short"));
    Ok((word(4)?, word(8)?))
}

/// What decides which options it has.
pub(super) fn sort(entry: &NetlinkSkEntry, kind: i32) -> Sort {
    Sort {
        family: libc::AF_NETLINK,
        kind,
        protocol: entry.protocol.cast_signed(),
    }
}
