//! The names of unix sockets in the file system, as they were before a restore.
//!
//! What stands at a name may only be a socket that nobody is bound to any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::UnixSkEntry;

use super::bind::{beside, has_path, moved_to, own, path};
use super::diag::{Table, kernel_device};
use crate::extra::Place;
use crate::netlink::Netlink;

/// The state of the names before the restore, so that a failed one can put it back.
#[derive(Debug, Default)]
pub(super) struct Files {
    before: BTreeMap<PathBuf, Option<Stale>>,
    deleted: Vec<(u32, PathBuf)>,
}

/// A socket file that nobody is bound to.
#[derive(Debug)]
struct Stale {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Files {
    /// Looks at all names, before anything is created.
    ///
    /// # Errors
    /// Something else stands at a name, or a living socket is bound to it.
    pub(super) fn check<'a>(
        entries: impl Iterator<Item = (&'a UnixSkEntry, Option<&'a Place>)>,
    ) -> Result<Self> {
        let mut files = Self::default();
        let mut table = None;
        for (entry, place) in entries.filter(|(e, _)| has_path(e)) {
            let mut path = path(entry, place);
            if entry.deleted == Some(true) {
                files.deleted.push((entry.id, path));
                let Some(moved) = moved_to(place) else { continue };
                path = moved.to_owned();
            }
            let stale = match fs::symlink_metadata(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e).context(|| format!("looking at {}", path.display())),
                Ok(meta) if !meta.file_type().is_socket() => {
                    return Err(Error::new(format!(
                        "unix socket {} is to be bound to {}, which exists and is no socket",
                        entry.ino,
                        path.display()
                    )));
                }
                Ok(meta) => {
                    let table = match &table {
                        Some(table) => table,
                        None => table.insert(all_sockets()?),
                    };
                    in_use(table, entry, &path, &meta)?;
                    Some(Stale {
                        mode: meta.mode(),
                        uid: meta.uid(),
                        gid: meta.gid(),
                    })
                }
            };
            files.before.insert(path, stale);
        }
        Ok(files)
    }

    /// Takes away what a failed restore has made.
    ///
    /// # Errors
    /// A name could not be removed.
    pub(super) fn undo(&self) -> Result<()> {
        for (id, path) in &self.deleted {
            let _ = fs::remove_file(beside(path, *id, "unlinked"));
            let aside = beside(path, *id, "aside");
            if fs::symlink_metadata(&aside).is_ok() {
                fs::rename(&aside, path).context(|| format!("putting {} back", path.display()))?;
            }
        }
        for (path, stale) in &self.before {
            let socket = fs::symlink_metadata(path).ok().map(|m| m.file_type().is_socket());
            match stale {
                None if socket == Some(true) => {
                    fs::remove_file(path).context(|| format!("removing {}", path.display()))?;
                }
                Some(stale) if socket.is_none() => {
                    nix::sys::stat::mknod(
                        path,
                        nix::sys::stat::SFlag::S_IFSOCK,
                        nix::sys::stat::Mode::from_bits_truncate(stale.mode),
                        0,
                    )
                    .context(|| format!("putting {} back", path.display()))?;
                    own(path, stale.mode, stale.uid, stale.gid)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn all_sockets() -> Result<Table> {
    Netlink::open(libc::NETLINK_SOCK_DIAG)
        .and_then(|netlink| Table::collect(&netlink))
        .context(|| "listing the unix sockets (sock_diag)")
}

fn in_use(table: &Table, entry: &UnixSkEntry, path: &Path, meta: &fs::Metadata) -> Result<()> {
    let Ok(ino) = u32::try_from(meta.ino()) else {
        return Ok(());
    };
    let Some(other) = table.bound_to(ino, kernel_device(meta.dev())).next() else {
        return Ok(());
    };
    Err(Error::new(format!(
        "unix socket {} is to be bound to {}, which unix socket {} of another process uses",
        entry.ino,
        path.display(),
        other.ino
    ))
    .with_remedy("end the process that listens there"))
}
