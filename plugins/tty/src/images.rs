//! The images of this kind, checked, and what each terminal in them is.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::FileRecord;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{FileEntry, RegFileEntry, TtyDataEntry, TtyFileEntry, TtyInfoEntry, TtyType};
use criu_proto::magic;
use prost::Message;

use crate::device::{Device, info_id};
use crate::dump::damaged;
use crate::flow::Flow;
use crate::settings::Settings;

/// What the format has no place for: written only for terminals that have such state.
pub(crate) static EXTRA: ImageKind = image::own_kind("TTY_EXTRA", "tty-extra.img", 0x5454_5958);

/// State of one end of a pair.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ExtraEntry {
    /// The terminal's number in `tty-info.img`.
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    /// How output is stopped.
    #[prost(enumeration = "Flow", tag = "2")]
    pub(crate) flow: i32,
    /// Of a slave: what its master reads next in packet mode, the bits of `TIOCPKT`.
    #[prost(uint32, tag = "3")]
    pub(crate) packet_status: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Slave,
    /// A slave that has hung up, of whatever pair.
    HungUp,
    /// `/dev/tty`
    Controlling,
}

#[derive(Default)]
pub(crate) enum Terminal {
    /// A pair; the slave's description may be missing.
    Pair(Box<Pair>),
    /// A slave whose master is gone.
    HungUp,
    /// One from outside.
    Outside(Box<TtyInfoEntry>),
    /// A console or a serial line of the machine.
    Console(Box<TtyInfoEntry>),
    /// The controlling terminal of the tree's session, which nobody holds by another name.
    #[default]
    Controlling,
}

/// Both ends of a pair; the slave's description is missing when nobody has opened it yet.
pub(crate) struct Pair {
    pub(crate) index: u32,
    pub(crate) master: TtyInfoEntry,
    pub(crate) slave: Option<TtyInfoEntry>,
    /// For the master, and for the slave.
    pub(crate) data: [Vec<u8>; 2],
    pub(crate) extra: [ExtraEntry; 2],
}

/// What is known of a pair.
#[derive(Clone, Copy, Default)]
struct Ends {
    /// A master of it is there.
    is_whole: bool,
    /// The ids of the ends that have settings.
    master: Option<u32>,
    slave: Option<u32>,
}

impl Ends {
    fn add(&mut self, info: &TtyInfoEntry) {
        let live = info.termios.is_some().then_some(info.id);
        match role(info) {
            Some(Role::Master) => {
                self.is_whole = true;
                self.master = self.master.or(live);
            }
            Some(Role::Slave) => self.slave = self.slave.or(live),
            _ => {}
        }
    }
}

/// The images of this kind.
pub(crate) struct Images {
    pub(crate) infos: BTreeMap<u32, TtyInfoEntry>,
    /// The ends of each pair.
    ends: HashMap<u32, Ends>,
    data: HashMap<u32, Vec<u8>>,
    extra: HashMap<u32, ExtraEntry>,
}

impl Images {
    pub(crate) fn read(host: &Host<'_>) -> Result<Self> {
        let mut infos = BTreeMap::new();
        for info in image::read_all::<TtyInfoEntry>(host, &magic::TTY_INFO)? {
            let id = info.id;
            Settings::of(&info).context(|| format!("terminal {id} of tty-info.img"))?;
            if infos.insert(id, info).is_some() {
                return Err(Error::new(format!(
                    "tty-info.img has terminal {id} twice: damaged"
                )));
            }
        }
        let mut data: HashMap<u32, Vec<u8>> = HashMap::new();
        for entry in image::read_all::<TtyDataEntry>(host, &magic::TTY_DATA)? {
            if !infos.contains_key(&entry.tty_id) {
                let error = format!(
                    "tty-data.img has data of terminal {}, which is not there: damaged",
                    entry.tty_id
                );
                return Err(Error::new(error));
            }
            data.entry(entry.tty_id)
                .or_default()
                .extend_from_slice(&entry.data);
        }
        let extra: Vec<ExtraEntry> = image::read_all(host, &EXTRA)?;
        let extra = extra.into_iter().map(|entry| (entry.id, entry)).collect();
        let mut ends: HashMap<u32, Ends> = HashMap::new();
        for info in infos.values() {
            if let Some(pty) = info.pty {
                ends.entry(pty.index).or_default().add(info);
            }
        }
        Ok(Self {
            infos,
            ends,
            data,
            extra,
        })
    }

    /// The number of the pair of which this is an end that can be made anew.
    pub(crate) fn pair_of(&self, info: &TtyInfoEntry) -> Option<u32> {
        let index = info.pty?.index;
        self.ends.get(&index)?.is_whole.then_some(index)
    }

    /// The same for `/dev/tty`: by the pair that controls its session.
    pub(crate) fn pair_of_session(&self, info: &TtyInfoEntry) -> Option<u32> {
        let controls = |other: &&TtyInfoEntry| {
            role(other).is_some_and(|r| r != Role::Controlling) && other.sid == info.sid
        };
        self.pair_of(info).or_else(|| {
            self.infos
                .values()
                .find(controls)
                .and_then(|other| self.pair_of(other))
        })
    }
}

pub(crate) fn role(info: &TtyInfoEntry) -> Option<Role> {
    match (info.r#type(), Device::of(info.rdev.into())) {
        (TtyType::Pty, Some(Device::Master)) => Some(Role::Master),
        (TtyType::Pty, Some(Device::Slave(_))) if info.termios.is_none() => Some(Role::HungUp),
        (TtyType::Pty, Some(Device::Slave(_))) => Some(Role::Slave),
        (TtyType::Ctty, _) => Some(Role::Controlling),
        _ => None,
    }
}

pub(crate) fn entry(file: &FileRecord) -> Result<TtyFileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry
        .tty
        .ok_or_else(|| damaged(file.id, "is of type TTY but has no such entry"))
}

impl Images {
    pub(crate) fn pair(&mut self, index: u32) -> Result<Terminal> {
        let ends = self.ends.get(&index).copied().unwrap_or_default();
        let end = |id: Option<u32>| self.infos.get(&id?).cloned();
        let master = end(ends.master);
        let master =
            master.ok_or_else(|| Error::new(format!("terminal {index} has no settings: damaged")))?;
        let slave = end(ends.slave);
        let slave_id = slave.as_ref().map_or(info_id(index, false), |slave| slave.id);
        let ids = [master.id, slave_id];
        let data = ids.map(|id| self.data.remove(&id).unwrap_or_default());
        let extra = ids.map(|id| self.extra.remove(&id).unwrap_or_default());
        Ok(Terminal::Pair(Box::new(Pair {
            index,
            master,
            slave,
            data,
            extra,
        })))
    }
}

/// The path under which a terminal was opened.
pub(crate) fn path_of(host: &Host<'_>, entry: &TtyFileEntry) -> Result<Option<RegFileEntry>> {
    let Some(id) = entry.regf_id else {
        return Ok(None);
    };
    let record = host.file(id)?;
    let entry = FileEntry::decode(record.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {id}: {e}")))?;
    Ok(entry.reg)
}

pub(crate) fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}
