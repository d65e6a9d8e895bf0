//! The restore's side: groups that were made before the forks, and what they will watch.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;

use criu_plugin_api::{Context, Error, Host, Result, image};
use criu_proto::Described;
use criu_proto::images::{FhEntry, GhostFileEntry, RemapFilePathEntry, RemapType};
use criu_proto::magic::{self, ImageKind};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::extra::{self, FilesystemMark, Target};
use crate::fdinfo::handle_bytes;
use crate::mounts::{Mounts, mount_of};
use crate::sys;

/// `fanotify_mark` flags of linux/fanotify.h.
pub(crate) const FAN_MARK_ADD: u32 = 0x1;
pub(crate) const FAN_MARK_MOUNT: u32 = 0x10;
pub(crate) const FAN_MARK_IGNORED_MASK: u32 = 0x20;
pub(crate) const FAN_MARK_IGNORED_SURV_MODIFY: u32 = 0x40;
pub(crate) const FAN_MARK_FILESYSTEM: u32 = 0x100;
pub(crate) const FAN_MARK_MNTNS: u32 = 0x110;
pub(crate) const FAN_MARK_EVICTABLE: u32 = 0x200;
pub(crate) const FAN_MARK_IGNORE: u32 = 0x400;

/// What is watched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum At {
    Inode {
        s_dev: u32,
        ino: u64,
        handle: FhEntry,
    },
    Mount {
        id: u32,
        s_dev: u32,
        path: Option<Vec<u8>>,
    },
    FileSystem {
        s_dev: u32,
        path: Vec<u8>,
    },
    MountNamespace {
        path: Vec<u8>,
    },
}

/// For what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By a watch of inotify with this number.
    Watch { wd: i32, mask: u32 },
    /// By a mark of fanotify.
    Mark {
        flags: u32,
        mask: u32,
        ignored_mask: u32,
    },
}

/// A watch or a mark.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watched {
    pub(crate) at: At,
    pub(crate) how: How,
}

/// A group without its watches, and these, the newest first.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) fd: OwnedFd,
    pub(crate) watched: Vec<Watched>,
}

/// All groups of the set.
#[derive(Default)]
pub(crate) struct Groups {
    groups: BTreeMap<u32, Group>,
    /// Whether the images below have been read.
    is_read: bool,
    /// Deleted files that the set carries, by what they were: their file ids.
    deleted: HashMap<(u32, u64), u32>,
    /// Their new inodes, as long as names lead to them.
    held: HashMap<u32, OwnedFd>,
    /// Of a watch (group, place in its list) the file of the tree that it is on.
    targets: HashMap<(u32, usize), u32>,
    /// By group.
    pub(crate) file_systems: Vec<FilesystemMark>,
    pub(crate) unprivileged: Vec<extra::Unprivileged>,
    mounts: Option<Mounts>,
}

/// All entries of an image; none when there is no such image.
pub(crate) fn entries<M: Described>(host: &Host<'_>, kind: &ImageKind) -> Result<Vec<M>> {
    let mut entries = Vec::new();
    if let Some(mut reader) = image::open(host, kind)? {
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// A failure that is the limit of a setting, with its name.
pub(crate) fn limited(errno: Errno, setting: &str) -> Error {
    let error = Error::new(errno.desc());
    match errno {
        Errno::EMFILE | Errno::ENOSPC => {
            error.with_remedy(format!("raise the limit of this user: sysctl {setting}"))
        }
        _ => error,
    }
}

/// A handle must be one.
pub(crate) fn check_handle(handle: &FhEntry) -> Result<()> {
    match handle_bytes(handle) {
        Some(_) => Ok(()),
        None => Err(Error::new(format!(
            "its handle says {} bytes and has {} words: damaged",
            handle.bytes,
            handle.handle.len()
        ))),
    }
}

impl Groups {
    /// Reads, once, what other images say of what is watched.
    pub(crate) fn read_images(&mut self, host: &Host<'_>) -> Result<()> {
        if std::mem::replace(&mut self.is_read, true) {
            return Ok(());
        }
        for target in image::read_all::<Target>(host, &extra::TARGETS)? {
            self.targets
                .insert((target.file_id, target.index as usize), target.target);
        }
        self.file_systems = image::read_all(host, &extra::FILE_SYSTEMS)?;
        self.unprivileged = image::read_all(host, &extra::UNPRIVILEGED)?;
        let mut seen = HashMap::new();
        for remap in entries::<RemapFilePathEntry>(host, &magic::REMAP_FPATH)? {
            if remap.remap_type() != RemapType::Ghost || seen.insert(remap.remap_id, ()).is_some() {
                continue;
            }
            // Without the header the plugin that brings it back says what is wrong with it.
            if let Some((dev, ino)) = ghost(host, remap.remap_id)? {
                self.deleted.insert((dev, ino), remap.orig_id);
            }
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<&mut Mounts> {
        match &mut self.mounts {
            Some(mounts) => Ok(mounts),
            none => Ok(none.insert(Mounts::read()?)),
        }
    }

    /// What a group will watch is there, as far as that can be known before the tree is.
    pub(crate) fn check(&mut self, id: u32, watched: &[Watched]) -> Result<()> {
        for (index, watched) in watched.iter().enumerate() {
            let At::Inode { s_dev, ino, handle } = &watched.at else {
                continue;
            };
            let comes_later =
                self.targets.contains_key(&(id, index)) || self.deleted.contains_key(&(*s_dev, *ino));
            let Some(path) = handle.path.as_deref().map(sys::path_of) else {
                continue;
            };
            if comes_later || path.starts_with("/proc") {
                continue;
            }
            let opens = self.mounts()?.by_handle(*s_dev, *ino, handle, |_, _| Some(()));
            if opens.is_none() {
                nix::sys::stat::lstat(path)
                    .context(|| format!("looking for the watched {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Takes over a group.
    pub(crate) fn add(&mut self, id: u32, group: Group) {
        self.groups.insert(id, group);
    }

    /// A further descriptor of a group.
    pub(crate) fn copy(&self, id: u32) -> Result<OwnedFd> {
        let group = self.groups.get(&id);
        let group = group.ok_or_else(|| Error::new(format!("file {id} was not prepared")))?;
        group.fd.try_clone().context(|| "copying the descriptor")
    }

    /// Opens the deleted files that are watched, while names still lead to them.
    pub(crate) fn hold_deleted(&mut self, host: &Host<'_>) -> Result<()> {
        // The restore may have mounted something.
        self.mounts = None;
        for watched in self.groups.values().flat_map(|group| &group.watched) {
            let At::Inode { s_dev, ino, .. } = &watched.at else {
                continue;
            };
            if let Some(&id) = self.deleted.get(&(*s_dev, *ino))
                && !self.held.contains_key(&id)
            {
                let fd = host
                    .open_path(id, Some(libc::O_PATH.cast_unsigned()))
                    .context(|| format!("opening the deleted file {id}, which is watched"))?;
                self.held.insert(id, fd);
            }
        }
        Ok(())
    }

    /// Puts all watches on: everything else is done.
    pub(crate) fn watch(mut self, host: &Host<'_>) -> Result<()> {
        for (id, group) in std::mem::take(&mut self.groups) {
            // The kernel lists the newest first.
            for (index, watched) in group.watched.iter().enumerate().rev() {
                self.put(host, (id, index), &group.fd, watched)
                    .context(|| format!("restoring what file {id} watches"))?;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        host: &Host<'_>,
        place: (u32, usize),
        group: &OwnedFd,
        watched: &Watched,
    ) -> Result<()> {
        let what = || describe(&watched.at);
        let target = match &watched.at {
            At::Inode { s_dev, ino, handle } => self.inode(host, place, (*s_dev, *ino), handle),
            At::Mount { id, s_dev, path } => self.mount(*id, *s_dev, path.as_deref()).map(Some),
            At::FileSystem { s_dev, path } => self.file_system(*s_dev, path).map(Some),
            At::MountNamespace { path } => sys::open_link(&String::from_utf8_lossy(path))
                .context(|| "opening the namespace")
                .map(Some),
        };
        let target = target.context(what)?;
        match watched.how {
            How::Watch { wd, mask } => {
                let is_gone = target.is_none();
                let target = match target {
                    Some(target) => target,
                    None => sys::fleeting().context(|| "making a file that goes at once")?,
                };
                if is_gone {
                    tracing::warn!(
                        "watch {wd} of file {}: {} is gone, and the program is told so",
                        place.0,
                        what()
                    );
                }
                add_watch(group, &target, wd, mask).context(what)
            }
            How::Mark {
                flags,
                mask,
                ignored_mask,
            } => match target {
                Some(target) => {
                    let on = match watched.at {
                        At::Inode { .. } => 0,
                        At::Mount { .. } => FAN_MARK_MOUNT,
                        At::FileSystem { .. } => FAN_MARK_FILESYSTEM,
                        At::MountNamespace { .. } => FAN_MARK_MNTNS,
                    };
                    add_mark(group, &target, (on, flags), mask, ignored_mask).context(what)
                }
                None => {
                    tracing::warn!(
                        "a mark of file {}: {} is gone, and the mark with it",
                        place.0,
                        what()
                    );
                    Ok(())
                }
            },
        }
    }

    /// The inode that is to be watched; `None` when it had no name any more and has gone since.
    fn inode(
        &mut self,
        host: &Host<'_>,
        place: (u32, usize),
        (s_dev, ino): (u32, u64),
        handle: &FhEntry,
    ) -> Result<Option<OwnedFd>> {
        if let Some(&id) = self.targets.get(&place) {
            return of_the_tree(host, id).map(Some);
        }
        if let Some(fd) = self.deleted.get(&(s_dev, ino)).and_then(|id| self.held.get(id)) {
            return fd.try_clone().context(|| "copying a descriptor").map(Some);
        }
        // The inode itself, whatever its name is by now; where there is no such inode, its path.
        if let Some(fd) = self.mounts()?.by_handle(s_dev, ino, handle, |fd, _| Some(fd)) {
            return Ok(Some(fd));
        }
        match handle.path.as_deref() {
            Some(path) => sys::open_path(sys::path_of(path))
                .context(|| "opening it")
                .map(Some),
            None => Ok(None),
        }
    }

    fn mount(&mut self, id: u32, s_dev: u32, path: Option<&[u8]>) -> Result<OwnedFd> {
        let mounts = self.mounts()?;
        let Some(path) = path.map(sys::path_of) else {
            let mount = mounts.by_id(id).filter(|mount| mount.s_dev == s_dev);
            return mount
                .and_then(|mount| mount.open())
                .ok_or_else(|| Error::new("there is no such mount here"));
        };
        let fd = sys::open_path(path).context(|| "opening it")?;
        let mount = mount_of(&fd).and_then(|id| mounts.by_id(id));
        match mount.is_some_and(|mount| mount.point == path) {
            true => Ok(fd),
            false => Err(Error::new("nothing is mounted here")),
        }
    }

    fn file_system(&mut self, s_dev: u32, path: &[u8]) -> Result<OwnedFd> {
        let fd = sys::open_path(sys::path_of(path));
        let is_it = |fd: &OwnedFd| fstat(fd).is_ok_and(|stat| sys::kernel_dev(stat.st_dev) == s_dev);
        if !fd.as_ref().is_ok_and(is_it)
            && let Some(other) = self
                .mounts()?
                .of(s_dev)
                .into_iter()
                .find_map(|mount| mount.open())
        {
            return Ok(other);
        }
        fd.context(|| "opening it")
    }
}

/// What was deleted: device and inode of a ghost.
fn ghost(host: &Host<'_>, id: u32) -> Result<Option<(u32, u64)>> {
    let name = magic::GHOST_FILE.file_name(u64::from(id));
    let Some(file) = host.open_image(&name)? else {
        return Ok(None);
    };
    let file = std::io::BufReader::new(file);
    let mut reader = image::ImageReader::new(file, name, None, &magic::GHOST_FILE)?;
    let header: GhostFileEntry = reader.entry()?;
    Ok(header.dev.zip(header.ino))
}

/// What is behind a descriptor of the restored tree.
fn of_the_tree(host: &Host<'_>, id: u32) -> Result<OwnedFd> {
    for task in host.tasks()?.iter().filter(|task| !task.dead) {
        let slots = host.descriptors(task.pid)?;
        if let Some(slot) = slots.iter().find(|slot| slot.file_id == id) {
            let link = format!("/proc/{}/fd/{}", task.host_pid, slot.fd);
            return sys::open_link(&link).context(|| format!("opening {link}"));
        }
    }
    Err(Error::new(format!(
        "no process has file {id}, which is watched: damaged"
    )))
}

fn add_watch(group: &OwnedFd, target: &OwnedFd, wd: i32, mask: u32) -> Result<()> {
    sys::set_next_wd(group, wd).context(|| format!("choosing number {wd} for a watch"))?;
    let got = sys::inotify_add_watch(group, target, mask)
        .map_err(|errno| limited(errno, "fs.inotify.max_user_watches"))
        .context(|| format!("adding watch {wd}"))?;
    if got == wd {
        return Ok(());
    }
    Err(Error::new(format!(
        "watch {wd} leads to the same file as watch {got}, and one file has one watch"
    )))
}

fn add_mark(
    group: &OwnedFd,
    target: &OwnedFd,
    (on, flags): (u32, u32),
    mask: u32,
    ignored_mask: u32,
) -> Result<()> {
    let add = FAN_MARK_ADD | on | flags & FAN_MARK_EVICTABLE;
    let doing = || "adding the mark";
    let failed = |errno| limited(errno, "fs.fanotify.max_user_marks");
    if mask != 0 {
        sys::fanotify_mark(group, add, u64::from(mask), target)
            .map_err(failed)
            .context(doing)?;
    }
    if ignored_mask != 0 {
        let how = match flags & FAN_MARK_IGNORE {
            0 => FAN_MARK_IGNORED_MASK,
            ignore => ignore,
        };
        let add = add | how | flags & FAN_MARK_IGNORED_SURV_MODIFY;
        sys::fanotify_mark(group, add, u64::from(ignored_mask), target)
            .map_err(failed)
            .context(doing)?;
    }
    Ok(())
}

/// What is watched, for people.
fn describe(at: &At) -> String {
    let device = |s_dev: u32| format!("device {}:{}", s_dev >> 20, s_dev & 0xf_ffff);
    let shown = |path: &[u8]| Path::display(sys::path_of(path)).to_string();
    match at {
        At::Inode { s_dev, ino, handle } => match handle.path.as_deref() {
            Some(path) => shown(path),
            None => format!("inode {ino} of {}", device(*s_dev)),
        },
        At::Mount { id, path, .. } => match path.as_deref() {
            Some(path) => format!("the mount at {}", shown(path)),
            None => format!("mount {id}"),
        },
        At::FileSystem { path, .. } => format!("the file system of {}", shown(path)),
        At::MountNamespace { .. } => "the mounts of a namespace".to_owned(),
    }
}
