//! Saves packet sockets and the mappings of their rings.

use criu_plugin_api::message::{FileImage, FileTarget, MappingImage, MappingTarget};
use criu_plugin_api::{Context, Error, Host, Result, Verdict, restore};
use criu_proto::Message;
use criu_proto::images::{FdTypes, FileEntry, PacketSockEntry, VmaEntry};

use super::{NO_FANOUT, Packet, diag, option, ring};
use crate::descriptor::Owner;
use crate::extra::{self, Extra, Sort};
use crate::netlink::Netlink;
use crate::{descriptor, netns, sockopt, sys};

/// Types of fanout whose choice is a program that cannot be read back.
const FANOUT_CBPF: u32 = 6;
const FANOUT_EBPF: u32 = 7;

impl Packet {
    pub(super) fn dump_one(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let object = format!("pid {} fd {}: packet socket {}", file.pid, file.fd, file.ino);
        descriptor::verdict(self.save(host, file, &object), &object).context(|| format!("dumping {object}"))
    }

    fn save(&self, host: &Host<'_>, file: &FileTarget, object: &str) -> Result<Verdict<FileImage>> {
        let fd = file.local_fd;
        let namespace = netns::of_socket(fd, file.pid, host)?;
        let socket = self.look_up(&namespace, file.ino)?;
        if socket.ifindex == u32::MAX {
            return Ok(Verdict::refused(
                object,
                "is bound to a network device that does not exist any more",
            ));
        }
        // Unlike sock_diag this tells the flags of the group.
        let fanout = if socket.grouped {
            sys::get::<u32>(fd, libc::SOL_PACKET, option::FANOUT).context(|| "PACKET_FANOUT")?
        } else {
            0
        };
        if [FANOUT_CBPF, FANOUT_EBPF].contains(&(fanout >> 16 & 0xff)) {
            return Ok(Verdict::refused(
                object,
                "is in a fanout group that a program divides (PACKET_FANOUT_CBPF or EBPF): not supported",
            ));
        }
        let seen = sys::poll(fd, libc::POLLIN, 0).context(|| "poll")?;
        if seen & libc::POLLERR != 0 {
            descriptor::errors_lost(host, object);
        }
        if seen & libc::POLLIN != 0 {
            host.log(
                2,
                "sockets",
                &format!("{object}: packets that were not read yet are dropped"),
            );
        }
        let mut opts = sockopt::dump(fd)?;
        opts.so_bound_dev = sockopt::device(fd)?;
        let entry = PacketSockEntry {
            id: file.id,
            r#type: socket.kind.into(),
            protocol: socket.protocol.to_be().into(),
            flags: file.flags,
            ifindex: socket.ifindex,
            fown: restore::fown_decode(&file.fown)?,
            opts,
            version: socket.version,
            reserve: socket.reserve,
            aux_data: socket.aux_data(),
            orig_dev: socket.orig_dev(),
            vnet_hdr: socket.vnet_hdr(),
            loss: socket.loss(),
            timestamp: socket.timestamp,
            copy_thresh: socket.copy_thresh,
            mclist: socket.memberships,
            // 0 is a group as well.
            fanout: socket.grouped.then_some(fanout),
            rx_ring: socket.receive,
            tx_ring: socket.send,
            ns_id: Some(namespace.id),
        };
        let options = extra::options(fd, sort(&entry))?;
        let owner = Owner::of(file);
        if !options.is_empty() || owner.is_some() {
            self.extras.borrow_mut().push(Extra {
                id: file.id,
                options,
                owner,
                ..Extra::default()
            });
        }
        let image = FileEntry {
            r#type: FdTypes::Packetsk as i32,
            id: file.id,
            psk: Some(entry),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Packetsk as u32,
            entry: image.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    /// What sock_diag says of a socket.
    fn look_up(&self, namespace: &netns::Namespace, ino: u64) -> Result<diag::Socket> {
        let mut tables = self.tables.borrow_mut();
        if let std::collections::hash_map::Entry::Vacant(place) = tables.entry(namespace.ino) {
            let table = namespace
                .within(|| diag::Table::collect(&Netlink::open(libc::NETLINK_SOCK_DIAG)?))
                .context(|| "listing the packet sockets (sock_diag, CONFIG_PACKET_DIAG)")?;
            place.insert(table);
        }
        let ino = u32::try_from(ino).map_err(|_| Error::new("an inode number over 32 bits"))?;
        let found = tables.get(&namespace.ino).and_then(|table| table.get(ino));
        found
            .cloned()
            .ok_or_else(|| Error::new("sock_diag does not know the socket"))
    }

    pub(super) fn dump_mapping(
        &self,
        host: &Host<'_>,
        mapping: &MappingTarget,
    ) -> Result<Verdict<MappingImage>> {
        let mut vma = VmaEntry::decode(mapping.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", mapping.pid)))?;
        let object = format!(
            "pid {}: mapping {:#x}-{:#x} of {}",
            mapping.pid,
            vma.start,
            vma.end,
            String::from_utf8_lossy(&mapping.name)
        );
        let Some(found) = ring::holder(host, mapping.pid, &mapping.name).context(|| object.clone())? else {
            return Ok(Verdict::refused(
                object,
                "no process of the tree has a descriptor of this socket any more: not supported",
            ));
        };
        let family =
            sys::get::<i32>(found.fd(), libc::SOL_SOCKET, libc::SO_DOMAIN).context(|| object.clone())?;
        if family != libc::AF_PACKET {
            return Ok(Verdict::NotMine);
        }
        let namespace = netns::of_socket(found.fd(), found.pid, host).context(|| object.clone())?;
        let socket = self.look_up(&namespace, found.ino).context(|| object.clone())?;
        if vma.pgoff != 0 || vma.end - vma.start != socket.mapping_length() {
            return Ok(Verdict::refused(
                object,
                "is only a part of the rings of a packet socket: not supported",
            ));
        }
        vma.shmid = host.dump_file(found.pid, &found.local).context(|| object)?.into();
        vma.status = ring::REGULAR | ring::SOCKET;
        Ok(Verdict::Entry(MappingImage {
            vma: vma.encode_to_vec(),
            ..MappingImage::default()
        }))
    }
}

/// What decides which options it has.
pub(super) fn sort(entry: &PacketSockEntry) -> Sort {
    Sort {
        family: libc::AF_PACKET,
        kind: entry.r#type.cast_signed(),
        protocol: 0,
    }
}

/// The group that is to be joined.
pub(super) fn fanout(entry: &PacketSockEntry) -> Option<u32> {
    entry.fanout.filter(|&fanout| fanout != NO_FANOUT)
}
