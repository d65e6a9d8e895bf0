//! Reads the entries of unix sockets and their queues, and finds out which belong together.

use std::collections::{BTreeMap, HashMap};

use criu_plugin_api::message::{FilePlan, FileRecord};
use criu_plugin_api::{Context, Error, Host, Result, image};
use criu_proto::images::{FileEntry, SkPacketEntry, UnixSkEntry};
use criu_proto::{Message, magic};

use crate::extra::{self, Extra, OptionValue};

use super::bind::{Files, NAME_MAX, has_path, path};
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
    /// The credentials that came with it: pid, uid, gid.
    pub(super) credentials: Option<(i32, u32, u32)>,
}

/// All unix sockets of the image set.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By id.
    entries: BTreeMap<u32, UnixSkEntry>,
    by_ino: HashMap<u32, u32>,
    /// By the id of the receiver.
    queues: HashMap<u32, Vec<Packet>>,
    extras: HashMap<u32, Extra>,
    /// Id to the representative of its group.
    groups: BTreeMap<u32, u32>,
    /// The ids of each group, by its representative.
    members: BTreeMap<u32, Vec<u32>>,
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
        plan.read_queues(host)?;
        plan.files = Files::check(plan.inside())?;
        plan.group();
        Ok(plan)
    }

    fn inside(&self) -> impl Iterator<Item = &UnixSkEntry> {
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
            });
        }
        for (id, extra) in &self.extras {
            let Some(queue) = self.queues.get_mut(id) else {
                continue;
            };
            for more in &extra.packets {
                if let Some(packet) = queue.get_mut(more.index as usize) {
                    packet.from.clone_from(&more.from);
                    packet.credentials = more.credentials.map(|c| (c.pid, c.uid, c.gid));
                }
            }
        }
        Ok(())
    }

    /// Sockets that are connected to each other, or share a name, are made in one go.
    fn group(&mut self) {
        let mut joined: BTreeMap<u32, u32> = self.inside().map(|e| (e.id, e.id)).collect();
        let mut names = HashMap::new();
        for entry in self.entries.values().filter(|e| e.uflags & EXTERNAL == 0) {
            if let Some(peer) = self.peer(entry) {
                join(&mut joined, entry.id, peer.id);
            }
            if !entry.name.is_empty() {
                let place = if has_path(entry) {
                    path(entry).into_os_string()
                } else {
                    Default::default()
                };
                let first = *names.entry((place, entry.name.clone())).or_insert(entry.id);
                join(&mut joined, entry.id, first);
            }
        }
        // The senders of what is queued send it again.
        let senders: HashMap<&[u8], u32> = self
            .inside()
            .filter(|e| !e.name.is_empty())
            .map(|e| (e.name.as_slice(), e.id))
            .collect();
        for (&receiver, packets) in &self.queues {
            for packet in packets.iter().filter(|p| !p.from.is_empty()) {
                let sender = senders.get(packet.from.as_slice());
                if let Some(&sender) = sender.filter(|_| joined.contains_key(&receiver)) {
                    join(&mut joined, receiver, sender);
                }
            }
        }
        let ids: Vec<u32> = joined.keys().copied().collect();
        for id in ids {
            let group = root(&mut joined, id);
            self.groups.insert(id, group);
            self.members.entry(group).or_default().push(id);
        }
    }

    /// What the core is to know.
    pub(super) fn file_plans(&self) -> Vec<FilePlan> {
        self.groups
            .iter()
            .filter(|(_, group)| self.members.get(group).is_some_and(|m| m.len() > 1))
            .map(|(&id, &group)| FilePlan {
                id,
                group: Some(group.into()),
                ..FilePlan::default()
            })
            .collect()
    }

    /// An entry by the id of the file.
    pub(super) fn entry(&self, id: u32) -> Option<&UnixSkEntry> {
        self.entries.get(&id)
    }

    /// All sockets that are made together with this one, itself included.
    pub(super) fn members(&self, id: u32) -> Vec<&UnixSkEntry> {
        let ids = self.groups.get(&id).and_then(|group| self.members.get(group));
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.entries.get(id))
            .collect()
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

    /// The options of a socket that its entry has no field for.
    pub(super) fn options(&self, id: u32) -> &[OptionValue] {
        self.extras.get(&id).map_or(&[], |e| e.options.as_slice())
    }

    /// Whom a socket takes its peer for: uid and gid; root when that was not saved.
    pub(super) fn peer_user(&self, id: u32) -> (u32, u32) {
        let peer = self.extras.get(&id).and_then(|e| e.peer);
        peer.map_or((0, 0), |p| (p.uid, p.gid))
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
    if entry.name.len() > NAME_MAX {
        return Err(Error::new(format!(
            "a name of {} bytes, over {NAME_MAX}",
            entry.name.len()
        )));
    }
    if entry.shutdown.is_some_and(|how| !(0..=3).contains(&how)) {
        return Err(Error::new("a shutdown state that is not known"));
    }
    if has_path(&entry) && !path(&entry).is_absolute() {
        return Err(Error::new("a relative name without its directory (name_dir)"));
    }
    if entry.state == u32::from(LISTEN) && (kind == libc::SOCK_DGRAM || entry.name.is_empty()) {
        return Err(Error::new("listens, but is a datagram socket or has no name"));
    }
    Ok(entry)
}

fn root(joined: &mut BTreeMap<u32, u32>, mut id: u32) -> u32 {
    while let Some(&next) = joined.get(&id)
        && next != id
    {
        let after = joined.get(&next).copied().unwrap_or(next);
        joined.insert(id, after);
        id = after;
    }
    id
}

fn join(joined: &mut BTreeMap<u32, u32>, a: u32, b: u32) {
    let (a, b) = (root(joined, a), root(joined, b));
    joined.insert(a.max(b), a.min(b));
}
