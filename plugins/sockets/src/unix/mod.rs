//! Unix sockets (unix(7)): pairs, listening and connected ones, datagrams; their names, queues and
//! the descriptors in them.
//!
//! Image: `unix_sk_entry` in `files.img` (type 5), packets in `sk-queues.img`. A socket outside of the
//! tree that one of ours is connected to by name has an entry with [`EXTERNAL`] set. What those have no
//! field for is in `sk-extra-unix.img`.

mod bind;
mod connect;
mod diag;
mod dump;
mod files;
mod fill;
mod group;
mod name;
mod peers;
mod plan;
mod queue;
mod restore;
#[cfg(test)]
mod tests;
mod waiting;
mod who;

use std::cell::{RefCell, RefMut};
use std::collections::HashSet;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

/// States as sock_diag numbers them.
pub(crate) const ESTABLISHED: u8 = 1;
pub(crate) const CLOSE: u8 = 7;
pub(crate) const LISTEN: u8 = 10;
/// `uflags`: the entry stands for a socket outside of the tree.
pub(crate) const EXTERNAL: u32 = 1;

/// The kind.
#[derive(Default)]
struct Unix {
    seen: RefCell<dump::Seen>,
    outside: RefCell<HashSet<u32>>,
    plan: RefCell<plan::Plan>,
}

impl Unix {
    fn seen(&self) -> RefMut<'_, dump::Seen> {
        self.seen.borrow_mut()
    }
}

impl FileKind for Unix {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump_one(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let plan = plan::Plan::read(host, files)?;
        let plans = plan.file_plans();
        self.plan.replace(plan);
        Ok(plans)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        restore::open(host, &self.plan.borrow(), request)
    }

    fn attach(&self, host: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        restore::attach(host, &self.plan.borrow(), file, fd)
    }

    fn finish_restore(&self, _host: &Host<'_>, outcome: Outcome) -> Result<()> {
        let plan = self.plan.take();
        if outcome == Outcome::Failure {
            plan.files.undo()
        } else {
            Ok(())
        }
    }
}

criu_plugin_api::register! {
    kind: Unix::default(),
    point: FileKind,
    name: "unix",
    claims: ["socket:1:*:*", "image:5"],
}
