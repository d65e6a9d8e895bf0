//! Locks on files: flock(2), POSIX and open file description locks of fcntl(2), and leases.
//!
//! They hang on descriptors and processes alike, so they are found at the end of a dump, when all
//! descriptor tables are known, and taken again when each task is complete. All of them lie in
//! `filelocks.img`.

pub(crate) mod dump;
mod lease;
mod parse;
mod restore;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::message::{TaskImage, TaskInfo};
use criu_plugin_api::{Host, Progress, Result, TaskKind, TaskPoint, Verdict};
use criu_proto::images::FileLockEntry;

/// The `flag` of an entry: the sort of lock.
pub(crate) const POSIX: u32 = 1;
pub(crate) const FLOCK: u32 = 2;
pub(crate) const LEASE: u32 = 8;
pub(crate) const OFD: u32 = 4;
/// Set in the `type` of a lease that is being broken; the rest is what it is to become.
pub(crate) const BREAKING: u32 = 4;

/// The kind `locks`: it takes the locks again. The files save them: see [`dump::Locked`].
#[derive(Default)]
pub struct Locks {
    entries: RefCell<Vec<FileLockEntry>>,
}

impl TaskKind for Locks {
    fn dump(&self, _host: &Host<'_>, _task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        Ok(Verdict::Entry(TaskImage::default()))
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        *self.entries.borrow_mut() = restore::read(host)?;
        Ok(())
    }

    fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        if point == TaskPoint::Caught {
            for entry in self.entries.borrow().iter().filter(|e| e.pid == task.pid) {
                restore::take(host, entry)?;
            }
        }
        Ok(Progress::Done(()))
    }
}
