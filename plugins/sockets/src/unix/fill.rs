//! Puts back what was in the queues of unix sockets, by sending it again.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::UnixSkEntry;

use super::plan::Packet;
use super::restore::{Group, key, socket};
use crate::{sockopt, sys};

impl Group<'_> {
    /// Fills the queue of a socket; `far` is its other end if that is not in the tree.
    pub(super) fn fill(&self, entry: &UnixSkEntry, far: Option<&OwnedFd>) -> Result<()> {
        let packets = self.plan.queue(entry.id);
        if packets.is_empty() {
            return Ok(());
        }
        let receiver = self.fd(entry.id)?;
        let passcred = |on: bool| {
            sys::set(receiver, libc::SOL_SOCKET, libc::SO_PASSCRED, i32::from(on)).context(|| "SO_PASSCRED")
        };
        // Otherwise the packets come without any credentials.
        passcred(entry.opts.so_passcred == Some(true))?;
        let mutual = self.plan.peer(entry).filter(|p| p.peer == entry.ino);
        let connected = match (far, mutual) {
            (Some(far), _) => Some(far.as_raw_fd()),
            (None, Some(peer)) => Some(self.fd(peer.id)?),
            (None, None) => None,
        };
        match connected {
            Some(sender) => self.fill_from(entry, sender, packets)?,
            None => self.fill_by_name(entry, packets)?,
        }
        passcred(false)
    }

    /// Sends through the other end of a connection.
    fn fill_from(&self, entry: &UnixSkEntry, sender: RawFd, packets: &[Packet]) -> Result<()> {
        sockopt::widen_buffers(sender, packets.iter().map(|p| p.data.len() + 1024).sum())?;
        for packet in packets {
            let rights = self.rights(packet)?;
            let send = |credentials| {
                sys::send_as(
                    sender,
                    &packet.data,
                    None,
                    &rights,
                    credentials,
                    libc::MSG_DONTWAIT,
                )
            };
            let mut sent = as_sender(packet, send)?;
            while sent < packet.data.len() && entry.r#type.cast_signed() == libc::SOCK_STREAM {
                let rest = &packet.data[sent..];
                sent +=
                    sys::send(sender, rest, None, &[], libc::MSG_DONTWAIT).context(|| "sending the rest")?;
            }
            whole(packet, sent)?;
        }
        Ok(())
    }

    /// Sends datagrams to the name of the socket, each from the socket that has sent it first.
    fn fill_by_name(&self, entry: &UnixSkEntry, packets: &[Packet]) -> Result<()> {
        let name = self
            .names
            .get(&key(entry))
            .ok_or_else(|| Error::new("it has packets, but neither peer nor name"))?;
        let nobody = socket(entry)?;
        for packet in packets {
            let sender = self
                .members
                .iter()
                .find(|m| !packet.from.is_empty() && m.name == packet.from);
            let sender = sender.map_or(Ok(nobody.as_raw_fd()), |m| self.fd(m.id))?;
            sockopt::widen_buffers(sender, packets.iter().map(|p| p.data.len() + 1024).sum())?;
            let rights = self.rights(packet)?;
            let sent = as_sender(packet, |credentials| {
                name.bound.send(sender, &packet.data, &rights, credentials)
            })?;
            whole(packet, sent)?;
        }
        Ok(())
    }

    fn rights(&self, packet: &Packet) -> Result<Vec<RawFd>> {
        let one = |id| match self.travelling.get(id) {
            Some(fd) => Ok(fd.as_raw_fd()),
            None => self.fd(*id),
        };
        packet.rights.iter().map(one).collect()
    }
}

/// Sends a packet with the credentials it had, or with our own if that process does not exist.
fn as_sender(
    packet: &Packet,
    send: impl Fn(Option<(i32, u32, u32)>) -> std::io::Result<usize>,
) -> Result<usize> {
    let result = match send(packet.credentials) {
        Err(e) if packet.credentials.is_some() && e.raw_os_error() == Some(libc::ESRCH) => send(None),
        result => result,
    };
    result.context(|| {
        format!(
            "sending {} bytes and {} descriptors",
            packet.data.len(),
            packet.rights.len()
        )
    })
}

fn whole(packet: &Packet, sent: usize) -> Result<()> {
    if sent < packet.data.len() {
        return Err(Error::new(format!(
            "only {sent} bytes of a packet of {}",
            packet.data.len()
        )));
    }
    Ok(())
}
