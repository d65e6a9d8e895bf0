//! The dump's side of what is watched: where it lies, so that a restore finds it again.

use std::collections::HashMap;
use std::path::PathBuf;

use criu_plugin_api::{Error, Host, Refusal, Result};
use criu_proto::images::FhEntry;
use nix::sys::stat::stat;

use crate::extra::{self, FilesystemMark, Target};
use crate::fdinfo::Inode;
use crate::irmap::{self, Irmap, leads_to};
use crate::mounts::Mounts;
use crate::sys;

/// Where an inode is found.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Under this path.
    Path(PathBuf),
    /// By its handle alone: it has no name that leads to it.
    Handle,
    /// Neither: on no mount, or on a file system without handles that open.
    Nowhere,
}

/// What the search uses.
struct Locator {
    mounts: Mounts,
    irmap: Option<Irmap>,
    /// `--force-irmap`
    searches_first: bool,
}

/// A watched inode to which no path leads: it may be behind a descriptor of the tree.
struct Pending {
    file: u32,
    index: u32,
    inode: Inode,
    /// For the error, should it not be.
    object: String,
}

/// What a dump knows, shared by the kinds of this plugin.
#[derive(Default)]
pub(crate) struct Dump {
    locator: Option<Locator>,
    pending: Vec<Pending>,
    /// Marks that the format has no place for.
    pub(crate) file_systems: Vec<FilesystemMark>,
    /// Groups that were made without privilege.
    pub(crate) unprivileged: Vec<extra::Unprivileged>,
}

impl Dump {
    /// Completes the handle of the inode that watch or mark number `index` of a file is on.
    pub(crate) fn complete(
        &mut self,
        host: &Host<'_>,
        (file, index): (u32, u32),
        inode: Inode,
        object: impl FnOnce() -> String,
    ) -> Result<FhEntry> {
        let locator = self.locator(host)?;
        let mut handle = inode.handle.clone();
        match locator.place(host, &inode)? {
            Place::Path(path) => handle.path = Some(irmap::bytes_of(&path)),
            Place::Handle => {}
            Place::Nowhere => self.pending.push(Pending {
                file,
                index,
                inode,
                object: object(),
            }),
        }
        Ok(handle)
    }

    fn locator(&mut self, host: &Host<'_>) -> Result<&mut Locator> {
        match &mut self.locator {
            Some(locator) => Ok(locator),
            none => Ok(none.insert(Locator {
                mounts: Mounts::read()?,
                irmap: None,
                searches_first: host.flag("force-irmap")?,
            })),
        }
    }

    /// The mounts of this process.
    pub(crate) fn mounts(&mut self, host: &Host<'_>) -> Result<&Mounts> {
        Ok(&self.locator(host)?.mounts)
    }

    /// All files of the tree have their ids: finds what is still to be found, and writes what the format
    /// has no place for.
    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        let targets = of_the_tree(host, self.pending)?;
        extra::write(host, &extra::TARGETS, &targets)?;
        extra::write(host, &extra::FILE_SYSTEMS, &self.file_systems)?;
        extra::write(host, &extra::UNPRIVILEGED, &self.unprivileged)
    }
}

impl Locator {
    fn place(&mut self, host: &Host<'_>, inode: &Inode) -> Result<Place> {
        if self.searches_first
            && let Some(path) = self.search(host, inode)?
        {
            return Ok(Place::Path(path));
        }
        let mut opens = false;
        let found = self
            .mounts
            .by_handle(inode.s_dev, inode.ino, &inode.handle, |fd, stat| {
                opens = true;
                let path = std::fs::read_link(sys::magic_link(&fd)).ok()?;
                if leads_to(&path, inode) {
                    return Some(Place::Path(path));
                }
                // Deleted: no mount shows it. Otherwise another mount may.
                (stat.st_nlink == 0).then_some(Place::Handle)
            });
        if let Some(place) = found {
            return Ok(place);
        }
        if opens {
            return Ok(Place::Handle);
        }
        let found = match self.searches_first {
            true => None,
            false => self.search(host, inode)?,
        };
        Ok(found.map_or(Place::Nowhere, Place::Path))
    }

    fn search(&mut self, host: &Host<'_>, inode: &Inode) -> Result<Option<PathBuf>> {
        if self.mounts.of(inode.s_dev).is_empty() {
            return Ok(None);
        }
        let irmap = match &mut self.irmap {
            Some(irmap) => irmap,
            none => none.insert(Irmap::new(host)?),
        };
        Ok(irmap.find(&self.mounts, inode))
    }
}

/// Finds inodes behind the descriptors of the tree.
fn of_the_tree(host: &Host<'_>, pending: Vec<Pending>) -> Result<Vec<Target>> {
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted: HashMap<(u32, u64), Option<u32>> = pending
        .iter()
        .map(|p| ((p.inode.s_dev, p.inode.ino), None))
        .collect();
    for task in host.tasks()?.iter().filter(|task| !task.dead) {
        for slot in host.descriptors(task.pid)? {
            let path = format!("/proc/{}/fd/{}", task.host_pid, slot.fd);
            let Ok(stat) = stat(path.as_str()) else { continue };
            if let Some(found) = wanted.get_mut(&(sys::kernel_dev(stat.st_dev), stat.st_ino)) {
                found.get_or_insert(slot.file_id);
            }
        }
    }
    pending
        .into_iter()
        .map(|p| match wanted[&(p.inode.s_dev, p.inode.ino)] {
            Some(target) => Ok(Target {
                file_id: p.file,
                index: p.index,
                target,
            }),
            None => Err(nowhere(p)),
        })
        .collect()
}

fn nowhere(pending: Pending) -> Error {
    let (dev, ino) = (pending.inode.s_dev, pending.inode.ino);
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    Error::from(Refusal {
        object: pending.object,
        what: format!(
            "no path is known that leads to what it watches, inode {ino} of device {major}:{minor}"
        ),
        remedy: Some("--irmap-scan-path DIR says where to search for it".to_owned()),
    })
}
