//! inotify(7): `inotify_file_entry`, with an `inotify_wd_entry` for each watch, the newest first.

use std::collections::HashSet;
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Outcome, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, InotifyFileEntry, InotifyWdEntry};
use criu_proto::magic;

use crate::groups::{self, At, Group, How, Watched};
use crate::{State, fdinfo, object, part_of, saved, sys, tell_of_queued};

/// Bits of a mask that tell what is watched: `IN_ALL_EVENTS`, `IN_EXCL_UNLINK`, `IN_ONESHOT`. Others
/// belong to events, or to the call that adds a watch.
const MASK: u32 = libc::IN_ALL_EVENTS | libc::IN_EXCL_UNLINK | libc::IN_ONESHOT;

/// The kind `inotify`.
pub struct Inotify(Rc<State>);

impl Inotify {
    pub(crate) fn new(state: Rc<State>) -> Self {
        Self(state)
    }
}

impl FileKind for Inotify {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        tell_of_queued(file)?;
        let watches = fdinfo::watches(&fdinfo::text(host, file)?).context(|| object(file))?;
        let mut dump = self.0.dump.borrow_mut();
        let mut entries = Vec::with_capacity(watches.len());
        for (index, watch) in (0..).zip(watches) {
            let (s_dev, i_ino) = (watch.inode.s_dev, watch.inode.ino);
            let what = || format!("{}, watch {}", object(file), watch.wd);
            entries.push(InotifyWdEntry {
                id: 0,
                i_ino,
                mask: watch.mask,
                ignored_mask: watch.ignored_mask,
                s_dev,
                wd: watch.wd,
                f_handle: dump.complete(host, (file.id, index), watch.inode, what)?,
            });
        }
        let entry = InotifyFileEntry {
            id: file.id,
            flags: file.flags,
            fown: fown_decode(&file.fown)?,
            wd: entries,
        };
        Ok(saved(
            FdTypes::Inotify,
            FileEntry {
                id: file.id,
                ify: Some(entry),
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
        // Older sets have the watches apart.
        let apart: Vec<InotifyWdEntry> = groups::entries(host, &magic::INOTIFY_WD)?;
        for file in files {
            let mut entry = inotify(file)?;
            entry
                .wd
                .extend(apart.iter().filter(|wd| wd.id == entry.id).cloned());
            let what = || format!("restoring inotify {}", entry.id);
            let watched = watched(&entry.wd).context(what)?;
            groups.check(file.id, &watched).context(what)?;
            let fd = sys::inotify_init()
                .map_err(|errno| groups::limited(errno, "fs.inotify.max_user_instances"))
                .context(what)?;
            groups.add(file.id, Group { fd, watched });
        }
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let entry = inotify(&request.file)?;
        self.0.open(request, entry.flags, &entry.fown)
    }

    fn finish_restore(&self, _host: &Host<'_>, outcome: Outcome) -> Result<()> {
        self.0.finish(outcome);
        Ok(())
    }
}

fn inotify(file: &FileRecord) -> Result<InotifyFileEntry> {
    part_of(file, |entry| entry.ify)
}

/// The watches of an entry, checked.
fn watched(entries: &[InotifyWdEntry]) -> Result<Vec<Watched>> {
    let mut numbers = HashSet::new();
    let watch = |entry: &InotifyWdEntry| {
        let wd = i32::try_from(entry.wd).ok().filter(|wd| *wd > 0);
        let wd = wd.ok_or_else(|| Error::new(format!("{} is no number of a watch: damaged", entry.wd)))?;
        if !numbers.insert(wd) {
            return Err(Error::new(format!("watch {wd} is there twice: damaged")));
        }
        groups::check_handle(&entry.f_handle).context(|| format!("watch {wd}"))?;
        // A watch for nothing cannot be asked for but with a bit that says nothing.
        let mask = match entry.mask & MASK {
            0 => libc::IN_ISDIR,
            mask => mask,
        };
        Ok(Watched {
            at: At::Inode {
                s_dev: entry.s_dev,
                ino: entry.i_ino,
                handle: entry.f_handle.clone(),
            },
            how: How::Watch { wd, mask },
        })
    };
    entries.iter().map(watch).collect()
}
