//! Puts back what was in the queues of unix sockets, by sending it again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::UnixSkEntry;

use super::bind::{Bound, bind};
use super::dump::path_of;
use super::plan::Packet;
use super::restore::{Group, datagram, socket};
use crate::extra::Credentials;
use crate::{sockopt, sys};

/// A packet on its way.
pub(super) struct Outgoing<'a> {
    pub(super) data: &'a [u8],
    pub(super) rights: &'a [RawFd],
    pub(super) credentials: Option<Credentials>,
    pub(super) urgent: bool,
}

impl Group<'_> {
    /// Fills the queue of a socket; `far` is its other end if that is not in the tree.
    pub(super) fn fill(&self, entry: &UnixSkEntry, far: Option<&OwnedFd>) -> Result<()> {
        let packets = self.plan.queue(entry.id);
        if packets.is_empty() {
            return Ok(());
        }
        let receiver = self.fd(entry.id)?;
        // Sets of others do not know who has sent what: then it was this very task.
        let unknown = self.plan.extra(entry.id).is_none() && entry.opts.so_passcred == Some(true);
        let passcred = |on: bool| {
            sys::set(receiver, libc::SOL_SOCKET, libc::SO_PASSCRED, i32::from(on)).context(|| "SO_PASSCRED")
        };
        passcred(unknown)?;
        let mutual = self.plan.peer(entry).filter(|p| p.peer == entry.ino);
        let connected = match (far, mutual, self.source(entry)) {
            (Some(far), ..) => Some(far.as_raw_fd()),
            (None, Some(peer), _) => Some(self.fd(peer.id)?),
            (None, None, Some(source)) => Some(self.fd(source)?),
            (None, None, None) => None,
        };
        match connected {
            Some(sender) => self.fill_from(sender, packets)?,
            None => self.fill_by_name(entry, packets)?,
        }
        passcred(false)
    }

    /// Sends through the other end of a connection.
    fn fill_from(&self, sender: RawFd, packets: &[Packet]) -> Result<()> {
        sockopt::widen_buffers(sender, packets.iter().map(|p| p.data.len() + 1024).sum())?;
        for packet in packets {
            let rights = self.rights(packet)?;
            send_from(sender, &packet.outgoing(&rights), self.own)?;
        }
        Ok(())
    }

    /// Sends datagrams to the name of the socket, each from the socket that has sent it first.
    fn fill_by_name(&self, entry: &UnixSkEntry, packets: &[Packet]) -> Result<()> {
        let name = self
            .names
            .get(&self.plan.key(entry))
            .ok_or_else(|| Error::new("it has packets, but neither peer nor name"))?;
        let nobody = socket(entry)?;
        let mut gone = HashMap::new();
        for packet in packets {
            let is_sender = |m: &&&UnixSkEntry| {
                datagram(m) && path_of(&m.name) == path_of(&packet.from) && m.name.len() >= 2
            };
            let known = self.members.iter().find(|m| {
                !packet.from.is_empty() && (m.name == packet.from || packet.from[0] != 0 && is_sender(m))
            });
            let sender = match known {
                Some(member) => self.fd(member.id)?,
                None if packet.from.is_empty() => nobody.as_raw_fd(),
                None => {
                    let from: &[u8] = &packet.from;
                    let made = match gone.entry(from) {
                        std::collections::hash_map::Entry::Occupied(made) => made.into_mut(),
                        std::collections::hash_map::Entry::Vacant(place) => {
                            place.insert(stand_in(entry, &packet.from)?)
                        }
                    };
                    made.as_ref().map_or(nobody.as_raw_fd(), |(fd, _)| fd.as_raw_fd())
                }
            };
            sockopt::widen_buffers(sender, packets.iter().map(|p| p.data.len() + 1024).sum())?;
            let rights = self.rights(packet)?;
            let outgoing = packet.outgoing(&rights);
            let sent = in_name_of(&outgoing, self.own, |credentials| {
                name.bound.send(sender, &packet.data, &rights, credentials)
            })?;
            whole(&outgoing, sent)?;
        }
        Ok(())
    }

    fn rights(&self, packet: &Packet) -> Result<Vec<RawFd>> {
        packet.rights.iter().map(|&id| self.right(id)).collect()
    }

    /// A file that travels in a queue.
    pub(super) fn right(&self, id: u32) -> Result<RawFd> {
        match self.travelling.get(&id) {
            Some(fd) => Ok(fd.as_raw_fd()),
            None => self.fd(id),
        }
    }
}

impl Packet {
    fn outgoing<'a>(&'a self, rights: &'a [RawFd]) -> Outgoing<'a> {
        Outgoing {
            data: &self.data,
            rights,
            credentials: self.credentials.filter(|c| c.pid != 0),
            urgent: self.urgent,
        }
    }
}

/// A socket with the name of a sender that is closed. `None` where somebody else has the name.
fn stand_in(receiver: &UnixSkEntry, name: &[u8]) -> Result<Option<(OwnedFd, Bound)>> {
    let entry = UnixSkEntry {
        // Unlike any other of this set, for the names of files that are made on the way.
        id: receiver.id | 1 << 31,
        name: name.to_vec(),
        name_dir: Some(b"/tmp".to_vec()).filter(|_| !matches!(name.first(), None | Some(0 | b'/'))),
        deleted: Some(true),
        r#type: receiver.r#type,
        opts: receiver.opts.clone(),
        ..UnixSkEntry::default()
    };
    let fd = socket(&entry)?;
    match bind(&fd, &entry, None) {
        Ok(bound) => Ok(bound.map(|bound| (fd, bound))),
        Err(error) => {
            tracing::warn!(
                "unix socket {}: a datagram loses the name of its sender: {error}",
                receiver.ino
            );
            Ok(None)
        }
    }
}

/// Sends a packet over a connection, whole.
pub(super) fn send_from(sender: RawFd, packet: &Outgoing<'_>, own: i32) -> Result<()> {
    let flags = if packet.urgent { libc::MSG_OOB } else { 0 } | libc::MSG_DONTWAIT;
    let mut sent = in_name_of(packet, own, |credentials| {
        sys::send_as(sender, packet.data, None, packet.rights, credentials, flags)
    })?;
    // What is left of a stream; of a packet nothing is.
    while sent > 0 && sent < packet.data.len() {
        let rest = Outgoing {
            data: &packet.data[sent..],
            rights: &[],
            ..*packet
        };
        let more = in_name_of(&rest, own, |credentials| {
            sys::send_as(sender, rest.data, None, &[], credentials, flags)
        })?;
        if more == 0 {
            break;
        }
        sent += more;
    }
    whole(packet, sent)
}

/// Sends a packet with the credentials it had. When that process is gone, a child has its pid for the moment;
/// where that cannot be, the packet comes from this task, `own`.
fn in_name_of(
    packet: &Outgoing<'_>,
    own: i32,
    send: impl Fn(Option<(i32, u32, u32)>) -> io::Result<usize>,
) -> Result<usize> {
    let whose = packet.credentials.map(|c| (c.pid, c.uid, c.gid));
    let mut result = send(whose);
    if let Some((pid, uid, gid)) = whose
        && result
            .as_ref()
            .is_err_and(|e| e.raw_os_error() == Some(libc::ESRCH))
    {
        result = sys::beside_process(pid, || send(whose)).unwrap_or_else(|_| send(Some((own, uid, gid))));
    }
    result.context(|| {
        format!(
            "sending {} bytes and {} descriptors",
            packet.data.len(),
            packet.rights.len()
        )
    })
}

fn whole(packet: &Outgoing<'_>, sent: usize) -> Result<()> {
    if sent < packet.data.len() {
        return Err(Error::new(format!(
            "only {sent} bytes of a packet of {}",
            packet.data.len()
        )));
    }
    Ok(())
}
