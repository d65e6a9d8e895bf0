//! Files that have lost their paths: brings the ghosts back, and finds those that a link holds.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{RegFileEntry, RemapFilePathEntry};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::lstat;
use nix::unistd::linkat;

use super::Shared;
use super::ghost_attrs;
use super::ghost_restore::{Created, Ghost};
use super::restore::{Restore, TMPFILE, absolute};
use crate::sys;

/// Whether the file was born without a name (`O_TMPFILE` of open(2)): only such a description can still
/// be given one.
fn is_nameless(entry: &RegFileEntry) -> bool {
    entry.flags.cast_signed() & TMPFILE != 0
}

/// Creates the deleted files, each once.
pub(super) fn bring_back(
    shared: &Shared<Restore>,
    host: &Host<'_>,
    remaps: Vec<(&RemapFilePathEntry, &RegFileEntry)>,
) -> Result<()> {
    let mut made: HashMap<u32, PathBuf> = HashMap::new();
    let mut ghosts = Vec::new();
    let mut seen = HashSet::new();
    let mut attrs = ghost_attrs::read(host)?;
    for &(remap, entry) in &remaps {
        let id = remap.remap_id;
        if seen.insert(id) {
            ghosts.push((id, entry, Ghost::read(host, id, attrs.remove(&id))?));
        }
    }
    // Deleted directories first, outer before inner: others may have lain in them.
    ghosts.sort_by_key(|(_, entry, ghost)| {
        (!ghost.is_dir(), if ghost.is_dir() { entry.name.len() } else { 0 })
    });
    let mut nameless = HashMap::new();
    for (remap, entry) in remaps.iter().filter(|(_, entry)| is_nameless(entry)) {
        nameless.entry(remap.remap_id).or_insert((remap.orig_id, *entry));
    }
    for (id, entry, ghost) in ghosts {
        let path = absolute(&entry.name);
        make_parents(shared, &path)?;
        let protection = ghost.protection();
        let born = nameless.get(&id).filter(|_| ghost.is_regular());
        if let Some(&(orig_id, entry)) = born {
            let file = ghost.create_nameless(host, entry, &path)?;
            let holder = shared.lock().holder;
            let path = PathBuf::from(format!("/proc/{holder}/fd/{}", file.as_raw_fd()));
            shared.lock().nameless.insert(orig_id, file);
            protect_later(shared, &path, protection)?;
            made.insert(id, path);
            continue;
        }
        let created = ghost.create(host, entry, &path)?;
        let path = created.path.clone();
        shared.lock().created.push(created);
        protect_later(shared, &path, protection)?;
        made.insert(id, path);
    }
    let mut names: HashMap<(u32, PathBuf), PathBuf> = HashMap::new();
    for (remap, entry) in remaps {
        let path = match names.entry((remap.remap_id, absolute(&entry.name))) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let path = name_again(shared, &made[&remap.remap_id], &absolute(&entry.name))?;
                new.insert(path).clone()
            }
        };
        shared.lock().paths.insert(remap.orig_id, path);
    }
    Ok(())
}

/// Keeps a ghost at hand that is immutable or append-only when it has no name any more.
fn protect_later(shared: &Shared<Restore>, path: &Path, protection: u32) -> Result<()> {
    if protection != 0 {
        let file = sys::open_with(path, libc::O_RDONLY | libc::O_NONBLOCK)
            .context(|| format!("opening {} to protect it later", path.display()))?;
        shared.lock().protected.push((file, protection));
    }
    Ok(())
}

/// Gives a ghost the name that this entry knew it by, if it has another one and that is free; where the entry is to be
/// opened.
fn name_again(shared: &Shared<Restore>, ghost: &Path, path: &Path) -> Result<PathBuf> {
    let is_dir = || {
        let created = &shared.lock().created;
        created.iter().any(|made| made.is_dir && made.path == ghost)
    };
    if ghost == path || ghost.starts_with("/proc") || is_dir() {
        return Ok(ghost.to_path_buf());
    }
    make_parents(shared, path)?;
    match linkat(AT_FDCWD, ghost, AT_FDCWD, path, AtFlags::empty()) {
        Ok(()) => {
            shared.lock().created.push(Created {
                path: path.to_path_buf(),
                is_dir: false,
            });
            Ok(path.to_path_buf())
        }
        Err(Errno::EEXIST | Errno::ENOTDIR | Errno::ENOENT | Errno::EXDEV | Errno::EPERM) => {
            Ok(ghost.to_path_buf())
        }
        Err(errno) => Err(errno).context(|| format!("naming {} {} as well", ghost.display(), path.display())),
    }
}

/// Makes the directories above a lost path that are gone, for the time of the restore.
fn make_parents(shared: &Shared<Restore>, path: &Path) -> Result<()> {
    let is_gone = |folder: &&Path| matches!(lstat(*folder), Err(Errno::ENOENT));
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(is_gone).collect();
    for folder in missing.into_iter().rev() {
        std::fs::create_dir(folder).context(|| {
            format!(
                "making the directory {} again for the deleted file {}",
                folder.display(),
                path.display()
            )
        })?;
        shared.lock().created.push(Created {
            path: folder.to_path_buf(),
            is_dir: true,
        });
    }
    Ok(())
}

/// Gives files that a hard link holds their old paths for the time of the restore, where these are free.
pub(super) fn link_all(
    shared: &Shared<Restore>,
    remaps: &[(&RemapFilePathEntry, &RegFileEntry)],
    entries: &HashMap<u32, RegFileEntry>,
) -> Result<()> {
    let mut made: HashMap<(u32, PathBuf), PathBuf> = HashMap::new();
    for (remap, entry) in remaps {
        let path = match made.entry((remap.remap_id, absolute(&entry.name))) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let path = link_one(shared, &absolute(&entry.name), remap.remap_id, entries)?;
                new.insert(path).clone()
            }
        };
        shared.lock().paths.insert(remap.orig_id, path);
    }
    Ok(())
}

/// The path at which the file that the link `id` holds can be opened.
fn link_one(
    shared: &Shared<Restore>,
    path: &Path,
    id: u32,
    entries: &HashMap<u32, RegFileEntry>,
) -> Result<PathBuf> {
    let Some(entry) = entries.get(&id) else {
        let path = path.display();
        return Err(Error::new(format!(
            "file {path}: its link, file {id}, is not in the image set: damaged"
        )));
    };
    let link = absolute(&entry.name);
    let what = || format!("file {}: its link {}", path.display(), link.display());
    lstat(&link).context(what)?;
    shared.lock().links.insert(link.clone());
    make_parents(shared, path)?;
    match linkat(AT_FDCWD, &link, AT_FDCWD, path, AtFlags::empty()) {
        Ok(()) => {
            shared.lock().created.push(Created {
                path: path.to_path_buf(),
                is_dir: false,
            });
            Ok(path.to_path_buf())
        }
        // Taken, or what was its directory is something else now.
        Err(Errno::EEXIST | Errno::ENOTDIR) => Ok(link),
        Err(errno) => Err(errno).context(what),
    }
}
