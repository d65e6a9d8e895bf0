//! The inotify plugin: groups of inotify and fanotify, with what they watch.
//!
//! The kernel names watched inodes in fdinfo, by device, number and handle; a path is found for each
//! while the tree is frozen. A restore makes the groups before anything else, and puts the watches on
//! last of all, when nothing that the restore itself does can be an event any more.
//!
//! Events that wait to be read are not saved: nothing puts them back. The log says when there are some.

mod extra;
mod fanotify;
mod fdinfo;
mod groups;
mod guard;
mod inotify;
mod irmap;
mod locate;
mod mounts;
mod sys;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::{apply_flags, apply_owner};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result, Stage, StageHook, Verdict};
use criu_proto::images::{FdTypes, FileEntry, FownEntry};
use prost::Message;

pub use fanotify::Fanotify;
pub use inotify::Inotify;

use groups::Groups;
use locate::Dump;

/// What a run knows, shared by the kinds and the hook.
#[derive(Default)]
struct State {
    dump: RefCell<Dump>,
    groups: RefCell<Groups>,
}

thread_local! {
    /// One for all registrations.
    static STATE: Rc<State> = Rc::default();
}

criu_plugin_api::register! {
    kind: Inotify::new(STATE.with(Rc::clone)),
    point: FileKind,
    name: "inotify",
    claims: ["anon:inotify", "anon:[inotify]", "image:8"],
}

criu_plugin_api::register! {
    kind: Fanotify::new(STATE.with(Rc::clone)),
    point: FileKind,
    name: "fanotify",
    claims: ["anon:[fanotify]", "image:12"],
}

criu_plugin_api::register! {
    kind: Watches(STATE.with(Rc::clone)),
    point: StageHook,
    name: "watches",
    claims: ["stage:before-freeze,before-resume,complete"],
}

criu_plugin_api::export_plugin! {
    name: "inotify",
    description: "inotify and fanotify, with their watches and marks",
}

/// Puts the watches on at the end of a restore.
struct Watches(Rc<State>);

impl StageHook for Watches {
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::BeforeFreeze => {
                *self.0.dump.borrow_mut() = Dump::default();
                guard::check(host)
            }
            // The names of deleted files go after this, and their going would be an event.
            Stage::BeforeResume => self.0.groups.borrow_mut().hold_deleted(host),
            Stage::Complete => self.0.groups.take().watch(host),
            _ => Ok(()),
        }
    }
}

impl State {
    /// The end of a restore for both kinds.
    fn finish(&self, outcome: Outcome) {
        if outcome == Outcome::Failure {
            self.groups.take();
        }
    }

    /// A group in a task: a further descriptor of the one that was made before the forks.
    fn open(&self, request: &OpenRequest, flags: u32, fown: &FownEntry) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let what = || format!("restoring file {id}");
        let fd = self.groups.borrow().copy(id).context(what)?;
        apply_owner(&fd, fown).context(what)?;
        apply_flags(&fd, flags).context(what)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

/// The verdict with an entry.
fn saved(kind: FdTypes, entry: FileEntry) -> Verdict<FileImage> {
    let entry = FileEntry {
        r#type: kind as i32,
        ..entry
    };
    Verdict::Entry(FileImage {
        fd_type: kind as u32,
        entry: entry.encode_to_vec(),
        vma_status: 0,
    })
}

/// The part of a file's entry that `pick` takes out of it: that of its kind.
fn part_of<T>(file: &FileRecord, pick: impl FnOnce(FileEntry) -> Option<T>) -> Result<T> {
    let damaged = |what: String| Error::new(format!("the entry of file {}: {what}", file.id));
    let entry = FileEntry::decode(file.entry.as_slice()).map_err(|e| damaged(e.to_string()))?;
    pick(entry).ok_or_else(|| damaged("it does not have the part of its type".to_owned()))
}

/// The descriptor of a file to be dumped, for as long as its target is at hand.
fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

/// A file as the user knows it.
fn object(file: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&file.link);
    if file.fd < 0 {
        return format!("{link}, on its way to pid {}", file.pid);
    }
    format!("pid {}, fd {} ({link})", file.pid, file.fd)
}

/// Says that events are lost, if there are some.
fn tell_of_queued(file: &FileTarget) -> Result<u32> {
    let bytes = sys::queued(&local(file)).context(|| format!("asking {} for its events", object(file)))?;
    if bytes > 0 {
        tracing::warn!(
            "{}: {bytes} bytes of events wait to be read, which a restore cannot bring back: they are not saved",
            object(file)
        );
    }
    Ok(bytes)
}
