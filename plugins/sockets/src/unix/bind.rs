//! Binding unix sockets to their names.
//!
//! A name in the file system is made by bind(2) itself, so whatever stands there must go first. It may
//! only be a socket that nobody is bound to any more. The name of a socket whose file had been deleted
//! is made and taken away again, without touching what stands there now.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::UnixSkEntry;

use super::diag::{Table, kernel_device};
use super::dump::{path_of, show};
use crate::netlink::Netlink;
use crate::sys;

/// The longest `sun_path`.
pub(super) const NAME_MAX: usize = 108;

/// A `sockaddr_un`.
pub(super) fn address(name: &[u8]) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(name);
    address
}

/// Whether a socket has a name in the file system.
pub(super) fn has_path(entry: &UnixSkEntry) -> bool {
    entry.name.first().is_some_and(|&b| b != 0)
}

/// Where the name of a socket lies.
pub(super) fn path(entry: &UnixSkEntry) -> PathBuf {
    let name = Path::new(OsStr::from_bytes(path_of(&entry.name)));
    match &entry.name_dir {
        Some(directory) => {
            let directory: &[u8] = directory.as_ref();
            Path::new(OsStr::from_bytes(directory)).join(name)
        }
        None => name.to_owned(),
    }
}

fn beside(path: &Path, id: u32, what: &str) -> PathBuf {
    path.with_file_name(format!(".criu-{what}-{id}"))
}

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
    pub(super) fn check<'a>(entries: impl Iterator<Item = &'a UnixSkEntry>) -> Result<Self> {
        let mut files = Self::default();
        let mut table = None;
        for entry in entries.filter(|e| has_path(e)) {
            let path = path(entry);
            if entry.deleted == Some(true) {
                files.deleted.push((entry.id, path));
                continue;
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

fn own(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .context(|| format!("giving {} to {uid}:{gid}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
        .context(|| format!("setting the mode of {} to {:o}", path.display(), mode & 0o7777))
}

/// A name that a socket of the group is bound to, and where others reach it until the group is done.
#[derive(Debug)]
pub(super) struct Bound {
    /// Its address, for those in `directory`.
    name: Vec<u8>,
    directory: Option<PathBuf>,
    /// Removed at the end.
    temporary: Option<PathBuf>,
    /// Directories made for it, the outer ones first; they go as well.
    folders: Vec<PathBuf>,
}

impl Bound {
    /// Connects a socket to it.
    ///
    /// # Errors
    /// It does not listen, or the name does not lead to it.
    pub(super) fn connect(&self, fd: &impl AsRawFd) -> Result<()> {
        within(self.directory.as_deref(), || {
            sys::connect(fd.as_raw_fd(), &address(&self.name))
        })
        .context(|| format!("connecting to {}", show(&self.name)))
    }

    /// Connects as another user, if that one may; otherwise as ourselves.
    ///
    /// # Errors
    /// It does not listen, or the name does not lead to it.
    pub(super) fn connect_as(&self, fd: &impl AsRawFd, (uid, gid): (u32, u32)) -> Result<()> {
        let connect = || sys::connect(fd.as_raw_fd(), &address(&self.name));
        match within(self.directory.as_deref(), || sys::as_user(uid, gid, connect)) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => self.connect(fd),
            result => result.context(|| format!("connecting to {}", show(&self.name))),
        }
    }

    /// Sends a datagram to it.
    ///
    /// # Errors
    /// It does not take it.
    pub(super) fn send(
        &self,
        fd: RawFd,
        data: &[u8],
        rights: &[RawFd],
        credentials: Option<(i32, u32, u32)>,
    ) -> io::Result<usize> {
        let to = address(&self.name);
        within(self.directory.as_deref(), || {
            sys::send_as(fd, data, Some(&to), rights, credentials, libc::MSG_DONTWAIT)
        })
    }

    /// Where it is, outside of this group.
    pub(super) fn elsewhere(entry: &UnixSkEntry) -> Self {
        let directory = entry
            .name_dir
            .as_ref()
            .map(|d| PathBuf::from(OsString::from_vec(d.to_vec())));
        Self {
            name: entry.name.clone(),
            directory,
            temporary: None,
            folders: Vec::new(),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // Nothing more can be done about it; the file is only a name.
            let _ = fs::remove_file(path);
        }
        for folder in self.folders.iter().rev() {
            // It stays where somebody else has put something into it meanwhile.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Binds a socket to its name, if it has one.
///
/// # Errors
/// The name is taken, or its directory does not exist.
pub(super) fn bind(fd: &impl AsRawFd, entry: &UnixSkEntry) -> Result<Option<Bound>> {
    if entry.name.is_empty() {
        return Ok(None);
    }
    let plain = || sys::bind(fd.as_raw_fd(), &address(&entry.name));
    let bound = Bound::elsewhere(entry);
    let action = || format!("binding unix socket {} to {}", entry.ino, show(&entry.name));
    if !has_path(entry) {
        plain().context(action)?;
        return Ok(Some(bound));
    }
    let path = path(entry);
    if entry.deleted == Some(true) {
        return bind_deleted(entry, &path, bound, plain).context(action).map(Some);
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(e).context(|| format!("removing the old socket {}", path.display()));
        }
        _ => {}
    }
    within(bound.directory.as_deref(), plain).context(action)?;
    if let Some(perms) = &entry.file_perms {
        own(&path, perms.mode, perms.uid, perms.gid)?;
    }
    Ok(Some(bound))
}

/// The socket keeps the name, but its file gets another one, under which it is removed in the end.
fn bind_deleted(
    entry: &UnixSkEntry,
    path: &Path,
    mut bound: Bound,
    plain: impl FnOnce() -> io::Result<()>,
) -> Result<Bound> {
    let (aside, unlinked) = (
        beside(path, entry.id, "aside"),
        beside(path, entry.id, "unlinked"),
    );
    make_parents(path, &mut bound.folders)?;
    let occupied = fs::symlink_metadata(path).is_ok();
    if occupied {
        fs::rename(path, &aside).context(|| format!("moving {} aside", path.display()))?;
    }
    let mut result = within(bound.directory.as_deref(), plain).context(|| "bind");
    if result.is_ok() {
        result = fs::rename(path, &unlinked).context(|| format!("renaming {}", path.display()));
    }
    if occupied {
        fs::rename(&aside, path).context(|| format!("moving {} back", path.display()))?;
    }
    result?;
    bound.directory = unlinked.parent().map(Path::to_owned);
    bound.name = unlinked.file_name().unwrap_or_default().as_bytes().to_vec();
    bound.temporary = Some(unlinked);
    Ok(bound)
}

/// Makes the directories above a path that are gone, and notes them.
fn make_parents(path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let is_gone =
        |folder: &&Path| fs::symlink_metadata(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(is_gone).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder).context(|| format!("making the directory {} again", folder.display()))?;
        made.push(folder.to_owned());
    }
    Ok(())
}

/// Runs a call in another working directory.
fn within<T>(directory: Option<&Path>, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(directory) = directory else { return call() };
    let home = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(".")?;
    std::env::set_current_dir(directory)?;
    let result = call();
    nix::unistd::fchdir(home.as_fd())?;
    result
}
