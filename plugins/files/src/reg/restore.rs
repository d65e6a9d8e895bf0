//! Opens files by their paths, after checking all of them and bringing the deleted ones back.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use criu_plugin_api::message::{FileRecord, OpenRequest, Purpose};
use criu_plugin_api::restore::{apply_flags, apply_owner, seek};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result};
use criu_proto::images::{FileEntry, RegFileEntry, RemapFilePathEntry, RemapType};
use criu_proto::magic;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::lstat;
use nix::unistd::linkat;
use prost::Message;

use super::Shared;
use super::ghost_restore::{Created, Ghost};
use super::name::path_of;
use super::settings::Settings;
use super::validate::Validator;
use crate::{images, sys};

/// What `prepare` leaves for the tasks and for the end.
#[derive(Default)]
pub(crate) struct Restore {
    /// Where the files that had lost their paths can be opened, by file id.
    paths: HashMap<u32, PathBuf>,
    /// Names made for the time of the restore.
    created: Vec<Created>,
    /// Hard links of the dump: theirs is the end of a successful restore.
    links: Vec<PathBuf>,
    inherits: bool,
    pids: HashSet<i32>,
}

impl Restore {
    /// Removes the names, the newest first: a deleted directory may hold deleted files.
    pub(super) fn clean_up(self, outcome: Outcome) -> Result<()> {
        let mut result = Ok(());
        for created in self.created.iter().rev() {
            result = created.remove().and(result);
        }
        if outcome == Outcome::Success {
            for link in &self.links {
                result = std::fs::remove_file(link)
                    .context(|| format!("removing the link {}", link.display()))
                    .and(result);
            }
        }
        result
    }
}

/// The entry of a file, checked to be of this kind.
fn entry(file: &FileRecord) -> Result<RegFileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry.reg.ok_or_else(|| {
        Error::new(format!(
            "file {} is of type REG but has no such entry: damaged",
            file.id
        ))
    })
}

/// Names of images of a mount namespace may lack the leading slash.
fn absolute(name: &[u8]) -> PathBuf {
    let name = path_of(name);
    Path::new("/").join(name.strip_prefix(".").unwrap_or(name))
}

pub(super) fn prepare(shared: &Shared<Restore>, host: &Host<'_>, files: &[FileRecord]) -> Result<()> {
    let settings = Settings::read(host)?;
    let pids = host.tasks()?.iter().map(|t| t.pid).collect();
    *shared.lock() = Restore {
        inherits: settings.inherits,
        pids,
        ..Restore::default()
    };
    let entries = files
        .iter()
        .map(|f| Ok((f.id, entry(f)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    let remaps: Vec<RemapFilePathEntry> =
        images::entries(host, &magic::REMAP_FPATH.file_name(0), &magic::REMAP_FPATH)?;
    check(shared, host, &settings, files, &entries, &remaps)?;
    let mut ghosts = Vec::new();
    let mut links = Vec::new();
    for remap in &remaps {
        // A remap may be of a file of another kind's image; those kinds read it themselves.
        let Some(entry) = entries.get(&remap.orig_id) else {
            continue;
        };
        match remap.remap_type() {
            RemapType::Ghost => ghosts.push((remap, entry)),
            RemapType::Linked => links.push((remap, entry)),
            RemapType::Procfs => {
                let path = path_of(&entry.name).display();
                let error = format!("file {path}: files of dead processes in /proc cannot be restored");
                return Err(Error::new(error));
            }
        }
    }
    let made = create_ghosts(shared, host, ghosts).and_then(|()| link_all(shared, &links, &entries));
    if made.is_err() {
        // The first cause is what the user must hear of.
        let _removal = std::mem::take(&mut *shared.lock()).clean_up(Outcome::Failure);
    }
    made
}

/// Checks every file that is to be opened by its own path.
fn check(
    shared: &Shared<Restore>,
    host: &Host<'_>,
    settings: &Settings,
    files: &[FileRecord],
    entries: &HashMap<u32, RegFileEntry>,
    remaps: &[RemapFilePathEntry],
) -> Result<()> {
    let remapped: HashSet<u32> = remaps.iter().map(|r| r.orig_id).collect();
    let mut validator = Validator::default();
    for file in files {
        let entry = &entries[&file.id];
        let path = absolute(&entry.name);
        let comes_later = shared.lock().is_of_the_tree(&path) || path.starts_with("/dev/pts");
        if remapped.contains(&file.id) || comes_later || inherited(shared, host, entry)?.is_some() {
            continue;
        }
        validator.check(entry, &path, settings)?;
    }
    Ok(())
}

fn create_ghosts(
    shared: &Shared<Restore>,
    host: &Host<'_>,
    remaps: Vec<(&RemapFilePathEntry, &RegFileEntry)>,
) -> Result<()> {
    let mut made: HashMap<u32, PathBuf> = HashMap::new();
    let mut ghosts = Vec::new();
    let mut seen = HashSet::new();
    for &(remap, entry) in &remaps {
        if seen.insert(remap.remap_id) {
            ghosts.push((remap.remap_id, entry, Ghost::read(host, remap.remap_id)?));
        }
    }
    // Deleted directories first, outer before inner: others may have lain in them.
    ghosts.sort_by_key(|(_, entry, ghost)| {
        (!ghost.is_dir(), if ghost.is_dir() { entry.name.len() } else { 0 })
    });
    for (id, entry, ghost) in ghosts {
        let created = ghost.create(entry, &absolute(&entry.name))?;
        made.insert(id, created.path.clone());
        shared.lock().created.push(created);
    }
    for (remap, _) in remaps {
        shared
            .lock()
            .paths
            .insert(remap.orig_id, made[&remap.remap_id].clone());
    }
    Ok(())
}

/// Gives files that a hard link holds their old paths for the time of the restore, where these are free.
fn link_all(
    shared: &Shared<Restore>,
    remaps: &[(&RemapFilePathEntry, &RegFileEntry)],
    entries: &HashMap<u32, RegFileEntry>,
) -> Result<()> {
    let mut made: HashMap<u32, PathBuf> = HashMap::new();
    for (remap, entry) in remaps {
        let path = match made.get(&remap.remap_id) {
            Some(path) => path.clone(),
            None => link_one(shared, &absolute(&entry.name), remap.remap_id, entries)?,
        };
        made.insert(remap.remap_id, path.clone());
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
    shared.lock().links.push(link.clone());
    match linkat(AT_FDCWD, &link, AT_FDCWD, path, AtFlags::empty()) {
        Ok(()) => {
            shared.lock().created.push(Created {
                path: path.to_path_buf(),
                is_dir: false,
            });
            Ok(path.to_path_buf())
        }
        Err(Errno::EEXIST) => Ok(link),
        Err(errno) => Err(errno).context(what),
    }
}

impl Restore {
    /// Whether a path in /proc belongs to a process that is restored with the others.
    fn is_of_the_tree(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix("/proc") else {
            return false;
        };
        let pid = rest.iter().next().and_then(|pid| pid.to_str()?.parse().ok());
        pid.is_some_and(|pid| self.pids.contains(&pid))
    }
}

pub(super) fn open(
    shared: &Shared<Restore>,
    host: &Host<'_>,
    request: &OpenRequest,
) -> Result<Progress<Opened>> {
    let entry = entry(&request.file)?;
    if let Some(fd) = inherited(shared, host, &entry)? {
        return Ok(Progress::Done(Opened::one(fd)));
    }
    let path = {
        let state = shared.lock();
        state
            .paths
            .get(&request.file.id)
            .cloned()
            .unwrap_or_else(|| absolute(&entry.name))
    };
    let flags = open_flags(request, &entry);
    let fd = match sys::open_with(&path, flags) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) if shared.lock().is_of_the_tree(&path) => {
            return Ok(Progress::NotYet(format!("the process of {}", path.display())));
        }
        Err(errno) => {
            return Err(errno).context(|| format!("opening {} with flags {flags:#o}", path.display()));
        }
    };
    if flags & libc::O_PATH != 0 || !matches!(request.purpose(), Purpose::Descriptor | Purpose::InFlight) {
        return Ok(Progress::Done(Opened::one(fd)));
    }
    complete(&fd, &entry).context(|| format!("restoring the file {}", path.display()))?;
    Ok(Progress::Done(Opened::one(fd)))
}

/// The descriptor that the user hands over for this file, if any.
fn inherited(shared: &Shared<Restore>, host: &Host<'_>, entry: &RegFileEntry) -> Result<Option<OwnedFd>> {
    let inherits = shared.lock().inherits;
    if !inherits && !entry.ext() {
        return Ok(None);
    }
    let key = String::from_utf8_lossy(&entry.name).into_owned();
    if entry.ext() {
        let fd = host.inherited(&key)?;
        return fd.map(Some).ok_or_else(|| {
            Error::new(format!("{key} was left out of the image as external"))
                .with_remedy(format!("--inherit-fd fd[N]:{key} hands it over"))
        });
    }
    match host.inherited(key.trim_start_matches('/'))? {
        Some(fd) => Ok(Some(fd)),
        None => host.inherited(&key),
    }
}

/// The flags to open with: nothing that creates or empties a file.
fn open_flags(request: &OpenRequest, entry: &RegFileEntry) -> i32 {
    /// The bit that sets `O_TMPFILE` apart from `O_DIRECTORY`.
    const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
    let mut flags = match request.purpose() {
        Purpose::Cwd | Purpose::Root => return libc::O_PATH | libc::O_DIRECTORY,
        Purpose::Exe => return libc::O_RDONLY,
        _ => request.flags.unwrap_or(entry.flags).cast_signed(),
    };
    if flags & TMPFILE != 0 {
        flags &= !libc::O_TMPFILE;
    }
    flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_ASYNC) | libc::O_NOCTTY
}

/// Offset, owner and what else open(2) does not set.
fn complete(fd: &OwnedFd, entry: &RegFileEntry) -> Result<()> {
    if entry.pos != 0 {
        seek(fd, entry.pos)?;
    }
    apply_owner(fd, &entry.fown)?;
    apply_flags(fd, entry.flags)
}
