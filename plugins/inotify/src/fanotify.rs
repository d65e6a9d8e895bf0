//! fanotify(7): `fanotify_file_entry`, with a `fanotify_mark_entry` for each mark of an inode or a
//! mount; marks of whole file systems are in an image of our own.

use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Outcome, Progress, Refusal, Result, Verdict};
use criu_proto::images::{
    FanotifyFileEntry, FanotifyInodeMarkEntry, FanotifyMarkEntry, FanotifyMountMarkEntry, FdTypes, FileEntry,
    MarkType,
};
use criu_proto::magic;
use nix::errno::Errno;
use nix::sys::stat::stat;

use crate::extra::{FilesystemMark, Unprivileged};
use crate::fdinfo::{self, Mark, Marked};
use crate::groups::{
    self, At, FAN_MARK_EVICTABLE, FAN_MARK_IGNORE, FAN_MARK_IGNORED_SURV_MODIFY, FAN_MARK_MOUNT, Group, How,
    Watched,
};
use crate::irmap::bytes_of;
use crate::locate::Dump;
use crate::{State, guard, local, object, part_of, saved, sys, tell_of_queued};

/// Where this process finds its own namespace of mounts.
const OWN_NAMESPACE: &str = "/proc/self/ns/mnt";

/// Flags of a mark that are known here.
const KNOWN_FLAGS: u32 = FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE | FAN_MARK_IGNORE;

/// The kind `fanotify`.
pub struct Fanotify(Rc<State>);

impl Fanotify {
    pub(crate) fn new(state: Rc<State>) -> Self {
        Self(state)
    }
}

impl FileKind for Fanotify {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let group = fdinfo::group(&fdinfo::text(host, file)?).context(|| object(file))?;
        let queued = tell_of_queued(file)?;
        if let Some(refusal) = guard::waits_for_answer(file, &group, queued) {
            return Ok(Verdict::Refused(refusal));
        }
        let mut dump = self.0.dump.borrow_mut();
        if is_unprivileged(file, &group) {
            dump.unprivileged.push(Unprivileged { file_id: file.id });
        }
        let mut marks = Vec::with_capacity(group.marks.len());
        for mark in group.marks {
            if mark.flags & !KNOWN_FLAGS != 0 {
                let what = format!("a mark with flags {:#x}, of which not all are known", mark.flags);
                return Ok(Verdict::refused(object(file), what));
            }
            let index = u32::try_from(marks.len()).unwrap_or(u32::MAX);
            match save(&mut dump, host, file, index, mark)? {
                Ok(Some(entry)) => marks.push(entry),
                Ok(None) => {}
                Err(refusal) => return Ok(Verdict::Refused(refusal)),
            }
        }
        let entry = FanotifyFileEntry {
            id: file.id,
            flags: file.flags,
            fown: fown_decode(&file.fown)?,
            faflags: group.flags,
            evflags: group.event_flags,
            mark: marks,
        };
        Ok(saved(
            FdTypes::Fanotify,
            FileEntry {
                id: file.id,
                ffy: Some(entry),
                ..FileEntry::default()
            },
        ))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.0.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let mut groups = self.0.groups.borrow_mut();
        groups.read_images(host)?;
        // Older sets have the marks apart.
        let apart: Vec<FanotifyMarkEntry> = groups::entries(host, &magic::FANOTIFY_MARK)?;
        for file in files {
            let mut entry = fanotify(file)?;
            entry
                .mark
                .extend(apart.iter().filter(|mark| mark.id == entry.id).cloned());
            let what = || format!("restoring fanotify {}", entry.id);
            let mut watched = entry
                .mark
                .iter()
                .map(watched)
                .collect::<Result<Vec<_>>>()
                .context(what)?;
            groups.check(file.id, &watched).context(what)?;
            let of_group = |mark: &&FilesystemMark| mark.file_id == file.id;
            watched.extend(groups.file_systems.iter().filter(of_group).map(on_file_system));
            let make = || sys::fanotify_init(entry.faflags, entry.evflags);
            let is_unprivileged = groups.unprivileged.iter().any(|group| group.file_id == file.id);
            let fd = match is_unprivileged {
                true => sys::without_sys_admin(make),
                false => make(),
            };
            let fd = fd
                .map_err(|errno| groups::limited(errno, "fs.fanotify.max_user_groups"))
                .context(|| {
                    format!(
                        "making a group with flags {:#x}, {:#x}",
                        entry.faflags, entry.evflags
                    )
                })
                .context(what)?;
            groups.add(file.id, Group { fd, watched });
        }
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let entry = fanotify(&request.file)?;
        self.0.open(request, entry.flags, &entry.fown)
    }

    fn finish_restore(&self, _host: &Host<'_>, outcome: Outcome) -> Result<()> {
        self.0.finish(outcome);
        Ok(())
    }
}

fn fanotify(file: &FileRecord) -> Result<FanotifyFileEntry> {
    part_of(file, |entry| entry.ffy)
}

/// The entry of a mark, if it has one; a refusal is the inner error.
fn save(
    dump: &mut Dump,
    host: &Host<'_>,
    file: &FileTarget,
    index: u32,
    mark: Mark,
) -> Result<std::result::Result<Option<FanotifyMarkEntry>, Refusal>> {
    let mut entry = FanotifyMarkEntry {
        id: 0,
        mflags: mark.flags,
        mask: mark.mask,
        ignored_mask: mark.ignored_mask,
        ..FanotifyMarkEntry::default()
    };
    let refused = |what: String| {
        Ok(Err(Refusal {
            object: object(file),
            what,
            remedy: None,
        }))
    };
    match mark.on {
        Marked::Inode(inode) => {
            entry.r#type = MarkType::Inode as i32;
            entry.s_dev = inode.s_dev;
            entry.ie = Some(FanotifyInodeMarkEntry {
                i_ino: inode.ino,
                f_handle: dump.complete(host, (file.id, index), inode, || object(file))?,
            });
        }
        Marked::Mount(id) => {
            let mount = dump.mounts(host)?.by_id(id);
            let Some(mount) = mount.filter(|mount| mount.open().is_some()) else {
                return refused(format!(
                    "a mark on mount {id}, which lies in another namespace or below another mount"
                ));
            };
            entry.r#type = MarkType::Mount as i32;
            entry.s_dev = mount.s_dev;
            entry.me = Some(FanotifyMountMarkEntry {
                mnt_id: id,
                path: Some(bytes_of(&mount.point)),
            });
        }
        Marked::FileSystem(s_dev) => {
            let mounts = dump.mounts(host)?.of(s_dev);
            let Some(mount) = mounts.into_iter().find(|mount| mount.open().is_some()) else {
                let (major, minor) = (s_dev >> 20, s_dev & 0xf_ffff);
                return refused(format!(
                    "a mark on the file system of device {major}:{minor}, which is mounted nowhere here"
                ));
            };
            let path = bytes_of(&mount.point);
            dump.file_systems.push(on_whole(file.id, s_dev, path, &entry));
            return Ok(Ok(None));
        }
        Marked::MountNamespace(number) => {
            let is_own = stat(OWN_NAMESPACE).is_ok_and(|stat| stat.st_ino == u64::from(number));
            if !is_own {
                return refused(format!(
                    "a mark on the namespace of mounts {number}, which is another one"
                ));
            }
            let path = OWN_NAMESPACE.as_bytes().to_vec();
            dump.file_systems.push(on_whole(file.id, 0, path, &entry));
            return Ok(Ok(None));
        }
    }
    Ok(Ok(Some(entry)))
}

fn on_whole(file_id: u32, s_dev: u32, path: Vec<u8>, entry: &FanotifyMarkEntry) -> FilesystemMark {
    FilesystemMark {
        file_id,
        s_dev,
        path,
        mflags: entry.mflags,
        mask: entry.mask,
        ignored_mask: entry.ignored_mask,
    }
}

/// A mark of an entry, checked.
fn watched(entry: &FanotifyMarkEntry) -> Result<Watched> {
    let at = match (MarkType::try_from(entry.r#type), &entry.ie, &entry.me) {
        (Ok(MarkType::Inode), Some(inode), _) => {
            groups::check_handle(&inode.f_handle)?;
            At::Inode {
                s_dev: entry.s_dev,
                ino: inode.i_ino,
                handle: inode.f_handle.clone(),
            }
        }
        (Ok(MarkType::Mount), _, Some(mount)) => At::Mount {
            id: mount.mnt_id,
            s_dev: entry.s_dev,
            path: mount.path.clone(),
        },
        _ => {
            let what = "a mark does not have the part of its type: damaged";
            return Err(Error::new(what));
        }
    };
    let how = How::Mark {
        flags: entry.mflags,
        mask: entry.mask,
        ignored_mask: entry.ignored_mask,
    };
    Ok(Watched { at, how })
}

fn on_file_system(mark: &FilesystemMark) -> Watched {
    let path = mark.path.clone();
    Watched {
        at: match mark.s_dev {
            0 => At::MountNamespace { path },
            s_dev => At::FileSystem { s_dev, path },
        },
        how: How::Mark {
            flags: mark.mflags,
            mask: mark.mask,
            ignored_mask: mark.ignored_mask,
        },
    }
}

/// Whether the maker of a group lacked `CAP_SYS_ADMIN`: then the group has marks of inodes only, and
/// even a privileged process cannot touch one of a mount, whether it is there or not. Linux 5.13 to
/// about 6.15; later ones tell nobody, and such a group comes back as a privileged one.
fn is_unprivileged(file: &FileTarget, group: &fdinfo::Group) -> bool {
    const FAN_MARK_REMOVE: u32 = 0x2;
    /// `FAN_REPORT_FID`, `FAN_REPORT_DIR_FID`: without one of them privilege is needed.
    const IDS: u32 = 0x200 | 0x400;
    let plain = group.marks.iter().all(|mark| matches!(mark.on, Marked::Inode(_)));
    if group.flags & IDS == 0 || !plain {
        return false;
    }
    let Ok(root) = sys::open_path(std::path::Path::new("/")) else {
        return false;
    };
    let flags = FAN_MARK_REMOVE | FAN_MARK_MOUNT;
    sys::fanotify_mark(&local(file), flags, libc::FAN_OPEN, &root) == Err(Errno::EPERM)
}
