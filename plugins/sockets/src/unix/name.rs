//! The name of a unix socket at the dump: where its file lies, and how it is to be found again.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use criu_plugin_api::inode::{self, Attribute};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Result};
use criu_proto::images::{FilePermsEntry, UnixSkEntry};

use super::bind::has_path;
use super::diag::kernel_device;
use super::dump::{path_of, show};
use crate::extra::Place;
use crate::sys;

/// The file that a socket is bound to.
struct Bound {
    meta: Metadata,
    attributes: Vec<Attribute>,
    /// Its path in the eyes of this process, without the mark of a deleted file.
    path: PathBuf,
    marked_deleted: bool,
}

impl Bound {
    fn of(file: &FileTarget) -> Result<Self> {
        let handle = sys::bound_file(file.local_fd).context(|| "opening it (SIOCUNIXFILE)")?;
        let handle = File::from(handle);
        let meta = handle.metadata().context(|| "fstat")?;
        let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let link = fs::read_link(link)
            .context(|| "where it lies")?
            .into_os_string()
            .into_vec();
        // A living file may have a name that ends so.
        let marked = link
            .strip_suffix(b" (deleted)")
            .filter(|_| !same(Path::new(OsStr::from_bytes(&link)), &meta));
        Ok(Self {
            path: PathBuf::from(OsStr::from_bytes(marked.unwrap_or(&link))),
            marked_deleted: marked.is_some(),
            attributes: inode::attributes(&handle).context(|| "reading its extended attributes")?,
            meta,
        })
    }

    /// Whether a path leads to it.
    fn is_at(&self, path: &Path) -> bool {
        same(path, &self.meta)
    }
}

fn same(path: &Path, meta: &Metadata) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|m| m.ino() == meta.ino() && kernel_device(m.dev()) == kernel_device(meta.dev()))
}

/// Notes owner, mode and directory of the file that a socket is bound to, and whether it is deleted; returns
/// what the entry has no field for.
///
/// # Errors
/// It could not be looked at, or its name cannot be made again.
pub(super) fn look(
    file: &FileTarget,
    host_pid: i32,
    entry: &mut UnixSkEntry,
) -> Result<std::result::Result<Option<Place>, String>> {
    if !has_path(entry) {
        return Ok(Ok(None));
    }
    let name = path_of(&entry.name).to_vec();
    let shown = show(&name);
    let mut bound = Bound::of(file).context(|| format!("looking at the file {shown} that it is bound to"))?;
    entry.file_perms = Some(FilePermsEntry {
        mode: bound.meta.mode(),
        uid: bound.meta.uid(),
        gid: bound.meta.gid(),
    });
    let mut place = Place {
        ino: bound.meta.ino(),
        attributes: std::mem::take(&mut bound.attributes),
        ..Place::default()
    };
    let usual = |place: Place| Some(place).filter(|place| !place.attributes.is_empty());
    let name = Path::new(OsStr::from_bytes(&name));
    let current = working_directory(host_pid)?;
    if name.is_absolute() {
        if bound.is_at(name) {
            return Ok(Ok(usual(place)));
        }
        let root = fs::read_link(format!("/proc/{host_pid}/root")).context(|| "its root directory")?;
        if root != Path::new("/") {
            let inside = root.join(name.strip_prefix("/").unwrap_or(name));
            place.root = root.into_os_string().into_vec();
            if bound.is_at(&inside) {
                return Ok(Ok(Some(place)));
            }
        }
    } else if let Some(directory) = directory_of(&bound, name, &current) {
        entry.name_dir = Some(directory.into_os_string().into_vec());
        return Ok(Ok(usual(place)));
    } else {
        // There is no directory in which the name leads to it now: any will do in which it may be made.
        let directory = strip(&bound.path, name).unwrap_or(current);
        entry.name_dir = Some(directory.into_os_string().into_vec());
    }
    entry.deleted = Some(true);
    if bound.meta.nlink() == 0 {
        return Ok(Ok(Some(place)));
    }
    match still_at(&bound) {
        Some(path) => {
            place.path = path.into_os_string().into_vec();
            Ok(Ok(Some(place)))
        }
        None => Ok(Err(format!(
            "its file has lost the name {shown} but not its others, which are not to be found: not supported"
        ))),
    }
}

/// The working directory of a process; without the mark of a deleted one, which is made again if needed.
fn working_directory(host_pid: i32) -> Result<PathBuf> {
    let link = format!("/proc/{host_pid}/cwd");
    let cwd = fs::read_link(&link).context(|| "the working directory")?;
    let deleted = fs::metadata(&link).is_ok_and(|m| m.nlink() == 0);
    let bytes = cwd.as_os_str().as_bytes();
    let bare = bytes.strip_suffix(b" (deleted)").filter(|_| deleted);
    Ok(bare.map_or(cwd.clone(), |b| PathBuf::from(OsStr::from_bytes(b))))
}

/// A path of the file that leads to it: it was renamed, or this name of several is left.
fn still_at(bound: &Bound) -> Option<PathBuf> {
    if !bound.marked_deleted && bound.is_at(&bound.path) {
        return Some(bound.path.clone());
    }
    let neighbours = fs::read_dir(bound.path.parent()?).ok()?;
    let paths = neighbours.flatten().map(|entry| entry.path());
    paths.into_iter().find(|path| bound.is_at(path))
}

/// The directory in which the relative `name` leads to the file.
fn directory_of(bound: &Bound, name: &Path, current: &Path) -> Option<PathBuf> {
    let leads = |directory: &Path| bound.is_at(&directory.join(name));
    if let Some(directory) = strip(&bound.path, name).filter(|d| leads(d)) {
        return Some(directory);
    }
    if leads(current) {
        return Some(current.to_owned());
    }
    // `../name` leads to it from any directory beside it.
    let (up, rest) = shorten(name);
    let mut directory = strip(&bound.path, &rest)?;
    for _ in 0..up {
        let below = fs::read_dir(&directory).ok()?.flatten();
        directory = below
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .next()?;
    }
    leads(&directory).then_some(directory)
}

/// A relative name without detours: how many directories it leads up, and what follows.
fn shorten(name: &Path) -> (usize, PathBuf) {
    let (mut up, mut rest) = (0, PathBuf::new());
    for component in name.components() {
        match component {
            Component::ParentDir if !rest.pop() => up += 1,
            Component::Normal(part) => rest.push(part),
            _ => {}
        }
    }
    (up, rest)
}

/// `path` without the components of `name` at its end.
fn strip(path: &Path, name: &Path) -> Option<PathBuf> {
    let mut directory = path.to_owned();
    for component in name.components().rev().filter(|c| *c != Component::CurDir) {
        if directory.file_name() != Some(component.as_os_str()) {
            return None;
        }
        directory.pop();
    }
    Some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detours_are_left_out() {
        for (name, up, rest) in [
            ("a", 0, "a"),
            ("./a/../b", 0, "b"),
            ("../../a", 2, "a"),
            ("a/../../b/c", 1, "b/c"),
        ] {
            assert_eq!(shorten(Path::new(name)), (up, PathBuf::from(rest)), "{name}");
        }
    }

    #[test]
    fn names_are_taken_off_paths() {
        for (path, name, directory) in [
            ("/a/b/c", "c", Some("/a/b")),
            ("/a/b/c", "./b//c", Some("/a")),
            ("/c", "c", Some("/")),
            ("/a/b/c", "x", None),
            ("/a/b/c", "../c", None),
        ] {
            let found = strip(Path::new(path), Path::new(name));
            assert_eq!(found.as_deref(), directory.map(Path::new), "{path} {name}");
        }
    }
}
