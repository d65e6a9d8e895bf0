//! Binding unix sockets to their names.
//!
//! A name in the file system is made by bind(2) itself, so whatever stands there must go first. The name of
//! a socket whose file had been deleted is made and taken away again, without touching what stands there
//! now; that of one whose file was renamed is made, and the file moved. A name of a process with another
//! root directory is made in that.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use criu_plugin_api::inode;
use criu_plugin_api::{Context, Result};
use criu_proto::images::UnixSkEntry;

use super::dump::{path_of, show};
use super::who::{Peer, Who};
use crate::extra::Place;
use crate::sys;

/// The longest `sun_path`. The kernel ends a path of that length with one more byte, a NUL.
pub(super) const NAME_MAX: usize = 108;

/// A `sockaddr_un`.
pub(super) fn address(name: &[u8]) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(&name[..name.len().min(NAME_MAX)]);
    address
}

/// Whether a name can have come from the kernel.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() <= NAME_MAX || name.len() == NAME_MAX + 1 && name[0] != 0 && name[NAME_MAX] == 0
}

/// Whether a socket has a name in the file system.
pub(super) fn has_path(entry: &UnixSkEntry) -> bool {
    entry.name.first().is_some_and(|&b| b != 0)
}

/// Where the name of a socket leads, in the eyes of this process.
pub(super) fn path(entry: &UnixSkEntry, place: Option<&Place>) -> PathBuf {
    let name = Path::new(OsStr::from_bytes(path_of(&entry.name)));
    if let Some(root) = root_of(entry, place) {
        return root.join(name.strip_prefix("/").unwrap_or(name));
    }
    match &entry.name_dir {
        Some(directory) => {
            let directory: &[u8] = directory.as_ref();
            Path::new(OsStr::from_bytes(directory)).join(name)
        }
        None => name.to_owned(),
    }
}

/// The root directory in which an absolute name is to be bound, if it is another one.
fn root_of<'a>(entry: &UnixSkEntry, place: Option<&'a Place>) -> Option<&'a Path> {
    let root = place.map_or(&[][..], |p| p.root.as_slice());
    (!root.is_empty() && entry.name.first() == Some(&b'/')).then(|| Path::new(OsStr::from_bytes(root)))
}

/// Where the file of a socket has been moved to.
pub(super) fn moved_to(place: Option<&Place>) -> Option<&Path> {
    let path = place.map_or(&[][..], |p| p.path.as_slice());
    (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
}

/// A name of our own in the same directory.
pub(super) fn beside(path: &Path, id: u32, what: &str) -> PathBuf {
    path.with_file_name(format!(".criu-{what}-{id}"))
}

/// Gives a file its owner and its mode.
pub(super) fn own(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .context(|| format!("giving {} to {uid}:{gid}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
        .context(|| format!("setting the mode of {} to {:o}", path.display(), mode & 0o7777))
}

/// Gives the file of a socket what it had.
fn complete(path: &Path, entry: &UnixSkEntry, place: Option<&Place>) -> Result<()> {
    if let Some(perms) = &entry.file_perms {
        own(path, perms.mode, perms.uid, perms.gid)?;
    }
    inode::set_attributes(path, false, place.map_or(&[], |p| &p.attributes))
        .context(|| format!("completing {}", path.display()))
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

    /// Connects in the name of another process and user, if that one may; otherwise as ourselves.
    ///
    /// # Errors
    /// It does not listen, or the name does not lead to it.
    pub(super) fn connect_as(&self, fd: &impl AsRawFd, who: &Who, own: i32, whom: Peer<'_>) -> Result<()> {
        let connect = || sys::connect(fd.as_raw_fd(), &address(&self.name));
        match within(self.directory.as_deref(), || who.act(own, whom, connect)) {
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

    /// Others reach it at this path.
    fn reached_at(&mut self, path: &Path) {
        self.directory = path.parent().map(Path::to_owned);
        self.name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    }

    /// The file of a socket was moved away from its name.
    fn move_to(mut self, entry: &UnixSkEntry, place: Option<&Place>, to: &Path) -> Result<Self> {
        let Some(temporary) = self.temporary.take() else {
            return Ok(self);
        };
        remove_old(to)
            .and_then(|()| fs::rename(&temporary, to).context(|| format!("moving it to {}", to.display())))
            .inspect_err(|_| {
                // The first error is the one to tell.
                let _ = fs::remove_file(&temporary);
            })?;
        complete(to, entry, place)?;
        self.reached_at(to);
        Ok(self)
    }

    /// Where others reach a socket that is bound already.
    pub(super) fn existing(entry: &UnixSkEntry, place: Option<&Place>) -> Self {
        let mut bound = Self::elsewhere(entry);
        if root_of(entry, place).is_some() {
            bound.reached_at(&path(entry, place));
        }
        bound
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
pub(super) fn bind(fd: &impl AsRawFd, entry: &UnixSkEntry, place: Option<&Place>) -> Result<Option<Bound>> {
    if entry.name.is_empty() {
        return Ok(None);
    }
    let plain = || sys::bind(fd.as_raw_fd(), &address(&entry.name));
    let mut bound = Bound::elsewhere(entry);
    let action = || format!("binding unix socket {} to {}", entry.ino, show(&entry.name));
    if !has_path(entry) {
        plain().context(action)?;
        return Ok(Some(bound));
    }
    let path = path(entry, place);
    if let Some(root) = root_of(entry, place) {
        bound.reached_at(&path);
        let inside = || within_root(root, plain);
        return bind_path(entry, place, &path, bound, inside)
            .context(action)
            .map(Some);
    }
    let directory = bound.directory.clone();
    let inside = || within(directory.as_deref(), plain);
    bind_path(entry, place, &path, bound, inside)
        .context(action)
        .map(Some)
}

/// Binds to a path: `inside` does it where the name means that path.
fn bind_path(
    entry: &UnixSkEntry,
    place: Option<&Place>,
    path: &Path,
    bound: Bound,
    inside: impl FnOnce() -> io::Result<()>,
) -> Result<Bound> {
    if entry.deleted == Some(true) {
        let bound = bind_deleted(entry, path, bound, inside)?;
        return match moved_to(place) {
            Some(moved) => bound.move_to(entry, place, moved),
            None => Ok(bound),
        };
    }
    remove_old(path)?;
    inside().context(|| "bind")?;
    complete(path, entry, place)?;
    Ok(bound)
}

fn remove_old(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).context(|| format!("removing the old socket {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The socket keeps the name, but its file gets another one, under which it is removed in the end.
fn bind_deleted(
    entry: &UnixSkEntry,
    path: &Path,
    mut bound: Bound,
    inside: impl FnOnce() -> io::Result<()>,
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
    let mut result = inside().context(|| "bind");
    if result.is_ok() {
        result = fs::rename(path, &unlinked).context(|| format!("renaming {}", path.display()));
    }
    if occupied {
        fs::rename(&aside, path).context(|| format!("moving {} back", path.display()))?;
    }
    result?;
    bound.reached_at(&unlinked);
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

/// Runs a call in another root directory. The way back needs the old one open.
fn within_root<T>(root: &Path, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let open = |path: &str| {
        File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(path)
    };
    let (old_root, home) = (open("/")?, open(".")?);
    nix::unistd::chroot(root)?;
    let result = call();
    nix::unistd::fchdir(old_root.as_fd())?;
    nix::unistd::chroot(".")?;
    nix::unistd::fchdir(home.as_fd())?;
    result
}
