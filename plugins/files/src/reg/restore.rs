//! Opens files by their paths, after checking all of them and bringing the deleted ones back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use criu_plugin_api::inode;
use criu_plugin_api::message::{FileRecord, OpenRequest, Purpose};
use criu_plugin_api::restore::{apply_owner, change_flags, seek};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result};
use criu_proto::images::{FileEntry, RegFileEntry, RemapFilePathEntry, RemapType};
use criu_proto::magic;
use nix::errno::Errno;
use prost::Message;

use super::Shared;
use super::dead::StandIn;
use super::ghost_restore::Created;
use super::name::path_of;
use super::remap_restore as remap;
use super::settings::Settings;
use super::validate::Validator;
use crate::{images, sys};

/// What `prepare` leaves for the tasks and for the end.
#[derive(Default)]
pub(crate) struct Restore {
    /// Where the files that had lost their paths can be opened, by file id.
    pub(super) paths: HashMap<u32, PathBuf>,
    /// Names made for the time of the restore.
    pub(super) created: Vec<Created>,
    /// Hard links of the dump: theirs is the end of a successful restore.
    pub(super) links: BTreeSet<PathBuf>,
    /// The descriptions of files that never had a name, by file id.
    pub(super) nameless: HashMap<u32, File>,
    /// Deleted files that are immutable or append-only, with these flags of their inodes.
    pub(super) protected: Vec<(OwnedFd, u32)>,
    /// The process that holds them.
    pub(super) holder: i32,
    /// Processes that stand in for dead ones, by their numbers.
    stand_ins: HashMap<i32, StandIn>,
    inherits: bool,
    pids: HashSet<i32>,
}

impl Restore {
    /// Removes the names, the newest first: a deleted directory may hold deleted files.
    pub(super) fn clean_up(self, outcome: Outcome) -> Result<()> {
        let mut result = Ok(());
        for stand_in in self.stand_ins.values() {
            result = stand_in.end().and(result);
        }
        for created in self.created.iter().rev() {
            result = created.remove().and(result);
        }
        if outcome == Outcome::Success {
            for (file, flags) in &self.protected {
                let protected = inode::flags(file).and_then(|now| inode::set_flags(file, now | flags));
                result = protected
                    .context(|| format!("setting the flags {flags:#x} of the inode of a deleted file"))
                    .and(result);
            }
            for link in &self.links {
                result = std::fs::remove_file(link)
                    .context(|| format!("removing the link {}", link.display()))
                    .and(result);
            }
        }
        result
    }
}

/// The bit that sets `O_TMPFILE` apart from `O_DIRECTORY`.
pub(super) const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

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
pub(super) fn absolute(name: &[u8]) -> PathBuf {
    let name = path_of(name);
    Path::new("/").join(name.strip_prefix(".").unwrap_or(name))
}

pub(super) fn prepare(shared: &Shared<Restore>, host: &Host<'_>, files: &[FileRecord]) -> Result<()> {
    let settings = Settings::read(host)?;
    let pids = host.tasks()?.iter().map(|t| t.pid).collect();
    let holder = std::process::id().cast_signed();
    *shared.lock() = Restore {
        holder,
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
    let mut dead = Vec::new();
    for remap in &remaps {
        // A remap may be of a file of another kind's image; those kinds read it themselves.
        let Some(entry) = entries.get(&remap.orig_id) else {
            continue;
        };
        match remap.remap_type() {
            RemapType::Ghost => ghosts.push((remap, entry)),
            RemapType::Linked => links.push((remap, entry)),
            RemapType::Procfs => dead.push(remap.remap_id.cast_signed()),
        }
    }
    let made = remap::bring_back(shared, host, ghosts)
        .and_then(|()| remap::link_all(shared, &links, &entries))
        .and_then(|()| stand_in(shared, &dead));
    if made.is_err() {
        // The first cause is what the user must hear of.
        let _removal = std::mem::take(&mut *shared.lock()).clean_up(Outcome::Failure);
    }
    made
}

/// Starts the processes that stand in for dead ones.
fn stand_in(shared: &Shared<Restore>, dead: &[i32]) -> Result<()> {
    for &pid in dead {
        let is_there = shared.lock().stand_ins.contains_key(&pid);
        if !is_there {
            let started = StandIn::start(pid)?;
            shared.lock().stand_ins.insert(pid, started);
        }
    }
    Ok(())
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
        let comes_later = shared.lock().is_of_the_tree(&path) || is_terminal(&path);
        if remapped.contains(&file.id) || comes_later || inherited(shared, host, entry)?.is_some() {
            continue;
        }
        validator.check(entry, &path, settings)?;
    }
    Ok(())
}

/// Whether a path is that of a terminal of a pair, whose node is there when the pair is.
fn is_terminal(path: &Path) -> bool {
    const DEVPTS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x1cd1);
    let named = |name: &str| name == "ptmx" || name.bytes().all(|byte| byte.is_ascii_digit());
    if !path.file_name().and_then(|name| name.to_str()).is_some_and(named) {
        return false;
    }
    let folder = path.parent().map(nix::sys::statfs::statfs);
    path.starts_with("/dev/pts")
        || folder.is_some_and(|stat| stat.is_ok_and(|s| s.filesystem_type() == DEVPTS))
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
    let mut flags = open_flags(request, &entry);
    let by_description = matches!(request.purpose(), Purpose::Descriptor | Purpose::InFlight);
    let nameless = {
        let state = shared.lock();
        let held = state.nameless.get(&request.file.id).filter(|_| by_description);
        held.map(|file| (state.holder, file.as_raw_fd()))
    };
    if path.starts_with("/proc") && shared.lock().paths.contains_key(&request.file.id) {
        // The link that leads to a file without a name is to be followed.
        flags &= !libc::O_NOFOLLOW;
    }
    let opened = match nameless {
        Some((holder, fd)) => sys::fetch(holder, fd).map(|fd| (fd, None)),
        None => sys::open_with(&path, flags).map(|fd| (fd, Some(flags.cast_unsigned()))),
    };
    let (fd, has) = match opened {
        Ok(opened) => opened,
        Err(Errno::EPERM) if flags & libc::O_ACCMODE != libc::O_RDONLY => {
            let fd = sys::open_protected(&path, flags)
                .context(|| format!("opening {} with flags {flags:#o}", path.display()))?;
            (fd, None)
        }
        Err(Errno::ENOENT) if shared.lock().is_of_the_tree(&path) => {
            return Ok(Progress::NotYet(format!("the process of {}", path.display())));
        }
        Err(errno) => {
            return Err(errno).context(|| format!("opening {} with flags {flags:#o}", path.display()));
        }
    };
    if flags & libc::O_PATH != 0 || !by_description {
        return Ok(Progress::Done(Opened::one(fd)));
    }
    complete(&fd, &entry, has).context(|| format!("restoring the file {}", path.display()))?;
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
    let mut flags = match request.purpose() {
        Purpose::Cwd | Purpose::Root => return libc::O_PATH | libc::O_DIRECTORY,
        Purpose::Exe => return libc::O_RDONLY,
        _ => request.flags.unwrap_or(entry.flags).cast_signed(),
    };
    if flags & TMPFILE != 0 {
        flags &= !libc::O_TMPFILE;
    }
    let is_passive = entry
        .mode
        .is_some_and(|mode| matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR));
    if !is_passive {
        // Only fcntl(2) both sets it and makes the file send signals. Of a file that never sends any, it
        // keeps what open(2) was told.
        flags &= !libc::O_ASYNC;
    }
    flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC) | libc::O_NOCTTY
}

/// Offset, owner and what else open(2) does not set; `has` are the flags it was given, if that is known.
fn complete(fd: &OwnedFd, entry: &RegFileEntry, has: Option<u32>) -> Result<()> {
    if entry.pos != 0 {
        seek(fd, entry.pos)?;
    }
    apply_owner(fd, &entry.fown)?;
    change_flags(fd, has, entry.flags)
}
