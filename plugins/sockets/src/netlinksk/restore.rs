//! Makes netlink sockets again.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Result};
use criu_proto::Message;
use criu_proto::images::{FileEntry, NetlinkSkEntry};

use super::dump::sort;
use super::{CLOSE, CONNECTED, address, protocol_name};
use crate::extra::{self, Extra};
use crate::{descriptor, sockopt, sys};

/// More groups than any protocol has.
const GROUPS_MAX: usize = 1024;

/// All netlink sockets of the image set, by id.
#[derive(Default)]
pub(super) struct Plan {
    entries: BTreeMap<u32, NetlinkSkEntry>,
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
            let entry = decode(file).context(|| format!("the netlink socket with id {:#x}", file.id))?;
            plan.entries.insert(file.id, entry);
        }
        plan.extras = extra::read(host, &extra::NETLINK)?;
        Ok(plan)
    }

    /// Makes a socket.
    pub(super) fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Opened> {
        let id = request.file.id;
        let entry = self
            .entries
            .get(&id)
            .ok_or_else(|| Error::new(format!("the netlink socket {id:#x} is not prepared")))?;
        if let Some(fd) = host.inherited(&format!("socket:[{}]", entry.ino))? {
            return Ok(Opened::one(fd));
        }
        let fd = make(entry, self.extras.get(&id)).context(|| {
            let protocol = protocol_name(entry.protocol);
            format!("restoring the netlink socket {} ({protocol})", entry.ino)
        })?;
        Ok(Opened::one(fd))
    }
}

fn decode(file: &FileRecord) -> Result<NetlinkSkEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("its entry does not decode: {e}")))?
        .nlsk
        .ok_or_else(|| Error::new("its entry has no netlink_sk_entry"))?;
    if entry.id != file.id {
        return Err(Error::new(format!("its entry has another id, {:#x}", entry.id)));
    }
    if ![0, CONNECTED, CLOSE].contains(&entry.state) {
        return Err(Error::new(format!("state {} is not known: damaged", entry.state)));
    }
    if entry.groups.len() > GROUPS_MAX {
        return Err(Error::new(format!(
            "{} words of groups: damaged",
            entry.groups.len()
        )));
    }
    if entry.dst_group > 32 {
        return Err(Error::new(format!("is connected to group {}", entry.dst_group)));
    }
    Ok(entry)
}

fn make(entry: &NetlinkSkEntry, extra: Option<&Extra>) -> Result<OwnedFd> {
    let kind = extra
        .and_then(|e| e.kind)
        .map_or(libc::SOCK_RAW, u32::cast_signed);
    let fd = sys::socket(libc::AF_NETLINK, kind, entry.protocol.cast_signed()).context(|| "socket")?;
    let raw = fd.as_raw_fd();
    sockopt::restore(raw, &entry.opts)?;
    sockopt::buffers(raw, &entry.opts)?;
    sockopt::restore_reuse(raw, &entry.opts)?;
    // Before it joins: NETLINK_LISTEN_ALL_NSID says what it is to hear.
    let options = extra.map_or(&[][..], |e| e.options.as_slice());
    extra::set(raw, sort(entry, kind), options)?;
    if entry.portid != 0 {
        bind(raw, entry.portid)?;
    }
    for group in members(&entry.groups) {
        sys::set(raw, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
            .context(|| format!("joining group {group} (NETLINK_ADD_MEMBERSHIP)"))?;
    }
    if entry.state == CONNECTED {
        let mask = entry.dst_group.checked_sub(1).map_or(0, |bit| 1 << bit);
        sys::connect(raw, &address(entry.dst_portid, mask)).context(|| {
            format!(
                "connecting to port id {}, group {}",
                entry.dst_portid, entry.dst_group
            )
        })?;
    }
    descriptor::complete(&fd, entry.flags, &entry.fown, extra.and_then(|e| e.owner))?;
    Ok(fd)
}

fn bind(fd: RawFd, portid: u32) -> Result<()> {
    match sys::bind(fd, &address(portid, 0)) {
        Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => Err(Error::new(format!(
            "port id {portid} is used by another socket (see /proc/net/netlink)"
        ))
        .with_remedy("end the process that uses it")),
        result => result.context(|| format!("binding to port id {portid}")),
    }
}

/// The numbers of the groups in a mask, from 1.
fn members(words: &[u32]) -> impl Iterator<Item = u32> {
    words.iter().zip(0u32..).flat_map(|(&word, index)| {
        (0..32)
            .filter(move |bit| word & (1 << bit) != 0)
            .map(move |bit| index * 32 + bit + 1)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_numbered_from_one() {
        let groups: Vec<u32> = super::members(&[0x8000_0001, 0, 2]).collect();
        assert_eq!(groups, [1, 32, 66]);
    }
}
