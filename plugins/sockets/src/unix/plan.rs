//! Reads the entries of unix sockets and their queues, and finds out which belong together.

use std::collections::{BTreeMap, HashMap};

use criu_plugin_api::inode;
use criu_plugin_api::message::{FilePlan, FileRecord};
use criu_plugin_api::{Context, Error, Host, Result, image};
use criu_proto::images::{FileEntry, SkPacketEntry, UnixSkEntry};
use criu_proto::{Message, magic};

use crate::extra::{self, Credentials, Extra, Place, Waiting};

use super::bind::{has_path, is_name, path};
use super::dump::path_of;
use super::files::Files;
use super::group::{Detached, Groups};
use super::who::{Peer, Who};
use super::{EXTERNAL, LISTEN};

/// A packet to be put into a queue.
#[derive(Debug)]
pub(super) struct Packet {
    /// The bytes.
    pub(super) data: Vec<u8>,
    /// The ids of the files that travel with them.
    pub(super) rights: Vec<u32>,
    /// The name of its sender; empty for none.
    pub(super) from: Vec<u8>,
    /// The credentials that came with it; with pid 0 it came without any.
    pub(super) credentials: Option<Credentials>,
    /// Sent with `MSG_OOB`.
    pub(super) urgent: bool,
}

/// A name, the directory in which it is one, and of a deleted file its inode: another socket may have the same
/// name.
pub(super) type Key = (Vec<u8>, Option<Vec<u8>>, Option<u64>);

/// All unix sockets of the image set.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By id.
    entries: BTreeMap<u32, UnixSkEntry>,
    by_ino: HashMap<u32, u32>,
    /// By the id of the receiver.
    queues: HashMap<u32, Vec<Packet>>,
    extras: HashMap<u32, Extra>,
    groups: Groups,
    pub(super) who: Who,
    pub(super) files: Files,
}

impl Plan {
    /// Reads and checks.
    ///
    /// # Errors
    /// The images are damaged, or a name is taken.
    pub(super) fn read(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut plan = Self::default();
        for file in files {
            let entry = decode(file).context(|| format!("unix socket with id {:#x}", file.id))?;
            if let Some(other) = plan.by_ino.insert(entry.ino, entry.id) {
                return Err(Error::new(format!(
                    "unix sockets {other:#x} and {:#x} have the same inode {}: damaged",
                    entry.id, entry.ino
                )));
            }
            plan.entries.insert(entry.id, entry);
        }
        if plan.entries.is_empty() {
            return Ok(plan);
        }
        plan.check_peers()?;
        plan.extras = extra::read(host, &extra::UNIX)?;
        for (id, extra) in &plan.extras {
            let attributes = extra.place.as_ref().map_or(&[][..], |p| &p.attributes);
            if !inode::are_possible(attributes) {
                let what = "extended attributes that no file has: damaged";
                return Err(Error::new(format!("unix socket with id {id:#x}: {what}")));
            }
        }
        plan.read_queues(host)?;
        plan.files = Files::check(plan.inside().map(|e| (e, plan.place(e.id))))?;
        plan.who = Who::read(host)?;
        plan.groups = Groups::of(&plan);
        Ok(plan)
    }

    /// All sockets that are not only names of others outside.
    pub(super) fn inside(&self) -> impl Iterator<Item = &UnixSkEntry> {
        self.entries.values().filter(|e| e.uflags & EXTERNAL == 0)
    }

    /// Two ends of a connection name each other.
    fn check_peers(&self) -> Result<()> {
        for entry in self
            .inside()
            .filter(|e| e.r#type.cast_signed() != libc::SOCK_DGRAM)
        {
            let Some(peer) = self.peer(entry) else { continue };
            let waits = peer.state == u32::from(LISTEN);
            if peer.r#type != entry.r#type || !waits && (peer.peer != entry.ino || peer.id == entry.id) {
                return Err(Error::new(format!(
                    "unix socket {} is connected to {}, but that one to {}: damaged",
                    entry.ino, peer.ino, peer.peer
                )));
            }
        }
        Ok(())
    }

    fn read_queues(&mut self, host: &Host<'_>) -> Result<()> {
        let Some(mut image) = image::open(host, &magic::SK_QUEUES)? else {
            return Ok(());
        };
        while let Some(packet) = image.next_entry::<SkPacketEntry>()? {
            let data = image.payload(packet.length.into())?;
            if !self.entries.contains_key(&packet.id_for) {
                let what = "which is no unix socket: damaged";
                return Err(Error::new(format!(
                    "sk-queues.img: a packet for file {:#x}, {what}",
                    packet.id_for
                )));
            }
            let mut rights = Vec::new();
            for message in packet.scm {
                if message.r#type != libc::SCM_RIGHTS.cast_unsigned() {
                    return Err(Error::new(format!(
                        "sk-queues.img: control message of type {} is not known",
                        message.r#type
                    )));
                }
                rights.extend(message.rights);
            }
            self.queues.entry(packet.id_for).or_default().push(Packet {
                data,
                rights,
                from: Vec::new(),
                credentials: None,
                urgent: false,
            });
        }
        for (id, extra) in &self.extras {
            let Some(queue) = self.queues.get_mut(id) else {
                continue;
            };
            for more in &extra.packets {
                if let Some(packet) = queue.get_mut(more.index as usize) {
                    packet.from.clone_from(&more.from);
                    packet.credentials = more.credentials;
                    packet.urgent = more.urgent;
                }
            }
        }
        Ok(())
    }

    /// What the core is to know.
    pub(super) fn file_plans(&self) -> Vec<FilePlan> {
        self.groups.file_plans()
    }

    /// An entry by the id of the file.
    pub(super) fn entry(&self, id: u32) -> Option<&UnixSkEntry> {
        self.entries.get(&id)
    }

    /// All sockets that are made together with this one, itself included.
    pub(super) fn members(&self, id: u32) -> Vec<&UnixSkEntry> {
        let ids = self.groups.members(id).iter();
        ids.filter_map(|id| self.entries.get(id)).collect()
    }

    /// How a socket is made that is connected by another process than its group's.
    pub(super) fn detached(&self, id: u32) -> Option<&Detached> {
        self.groups.detached.get(&id)
    }

    /// All of those that connect to a listening socket.
    pub(super) fn detached_at(&self, listener: u32) -> impl Iterator<Item = (u32, &Detached)> {
        let all = self.groups.detached.iter();
        all.filter(move |(_, d)| d.listener == listener)
            .map(|(id, d)| (*id, d))
    }

    /// Whether others connect to this listening socket, so that it is completed last.
    pub(super) fn is_split(&self, id: u32) -> bool {
        self.groups.split.contains(&id)
    }

    /// The socket in the tree that one is connected to (or waits to be accepted by).
    pub(super) fn peer(&self, entry: &UnixSkEntry) -> Option<&UnixSkEntry> {
        let id = self.by_ino.get(&entry.peer).filter(|_| entry.peer != 0)?;
        self.entries.get(id).filter(|p| p.uflags & EXTERNAL == 0)
    }

    /// The socket outside of the tree that one is to be connected to by name.
    pub(super) fn outside(&self, entry: &UnixSkEntry) -> Option<&UnixSkEntry> {
        let id = self.by_ino.get(&entry.peer).filter(|_| entry.peer != 0)?;
        self.entries.get(id).filter(|p| p.uflags & EXTERNAL != 0)
    }

    /// What the entry of a socket has no field for.
    pub(super) fn extra(&self, id: u32) -> Option<&Extra> {
        self.extras.get(&id)
    }

    /// Where its file is, if that is not where its name leads.
    pub(super) fn place(&self, id: u32) -> Option<&Place> {
        self.extras.get(&id).and_then(|e| e.place.as_ref())
    }

    /// Whom a socket takes its peer for: root as its first holder when that was not saved.
    pub(super) fn peer_user(&self, id: u32) -> Peer<'_> {
        let mut peer = Peer::root(self.who.holder(id).unwrap_or(0));
        if let Some(extra) = self.extras.get(&id) {
            peer.credentials = extra.peer.unwrap_or(peer.credentials);
            peer.groups = extra.peer_groups.as_ref().map(|groups| groups.ids.as_slice());
        }
        peer
    }

    /// What tells a name from others.
    pub(super) fn key(&self, entry: &UnixSkEntry) -> Key {
        let place = self.place(entry.id);
        let root = place.map(|p| p.root.clone()).filter(|root| !root.is_empty());
        let directory = entry.name_dir.as_ref().map(|d| d.to_vec()).or(root);
        let deleted = (entry.deleted == Some(true)).then(|| place.map_or(0, |p| p.ino));
        let name = if has_path(entry) {
            path_of(&entry.name).to_vec()
        } else {
            entry.name.clone()
        };
        (name, directory, deleted)
    }

    /// The connections that wait at a listening socket, in their order: who has connected, and what is known
    /// of it. Sets of others do not tell the order.
    pub(super) fn waiting_at(&self, listener: &UnixSkEntry) -> Vec<(Option<&UnixSkEntry>, Option<&Waiting>)> {
        let saved = self.extras.get(&listener.id).map_or(&[][..], |e| &e.waiting);
        let waits =
            |e: &&UnixSkEntry| e.peer == listener.ino && e.r#type == listener.r#type && e.id != listener.id;
        let mut all = Vec::new();
        for waiting in saved {
            let client = self
                .by_ino
                .get(&waiting.client)
                .and_then(|id| self.entries.get(id));
            let client = client.filter(|_| waiting.client != 0).filter(waits);
            if client.is_some() || waiting.client == 0 {
                all.push((client, Some(waiting)));
            }
        }
        let known = |e: &UnixSkEntry| saved.iter().any(|w| w.client == e.ino);
        all.extend(
            self.inside()
                .filter(waits)
                .filter(|e| !known(e))
                .map(|e| (Some(e), None)),
        );
        all
    }

    /// All queues, by the id of their owner.
    pub(super) fn queues(&self) -> impl Iterator<Item = (u32, &[Packet])> {
        self.queues.iter().map(|(id, packets)| (*id, packets.as_slice()))
    }

    /// What is to be put into the queue of a socket.
    pub(super) fn queue(&self, id: u32) -> &[Packet] {
        self.queues.get(&id).map_or(&[], Vec::as_slice)
    }
}

fn decode(file: &FileRecord) -> Result<UnixSkEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("its entry does not decode: {e}")))?
        .usk
        .ok_or_else(|| Error::new("its entry has no unix_sk_entry"))?;
    if entry.id != file.id {
        return Err(Error::new(format!("its entry has another id, {:#x}", entry.id)));
    }
    let kind = entry.r#type.cast_signed();
    if ![libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET].contains(&kind) {
        return Err(Error::new(format!(
            "type {kind} is none of stream, datagram, seqpacket"
        )));
    }
    if !is_name(&entry.name) {
        return Err(Error::new(format!(
            "a name of {} bytes, which is none of a unix socket",
            entry.name.len()
        )));
    }
    if entry.shutdown.is_some_and(|how| !(0..=3).contains(&how)) {
        return Err(Error::new("a shutdown state that is not known"));
    }
    if has_path(&entry) && !path(&entry, None).is_absolute() {
        return Err(Error::new("a relative name without its directory (name_dir)"));
    }
    if entry.state == u32::from(LISTEN) && (kind == libc::SOCK_DGRAM || entry.name.is_empty()) {
        return Err(Error::new("listens, but is a datagram socket or has no name"));
    }
    Ok(entry)
}
