//! The bpf plugin: maps of bpf(2), arrays and hashes, behind descriptors.
//!
//! A map is described by each of its descriptors in `files.img`, and its contents once in `bpfmap-data.img`.
//! What a program of the kernel could still change while the tree stands still is saved as it is found.
//!
//! A map that is still there at the restore belongs to others as well: it is pinned, or programs or processes outside of the
//! tree use it. It is opened again as it is.

mod boot;
mod dump;
mod restore;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

/// The kind `bpfmap`.
#[derive(Default)]
pub struct BpfMap {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

criu_plugin_api::register! {
    kind: BpfMap::default(),
    point: FileKind,
    name: "bpfmap",
    claims: ["link:anon_inode:bpf-map", "image:19"],
}

criu_plugin_api::export_plugin! {
    name: "bpf",
    description: "BPF maps: arrays and hashes",
}

impl FileKind for BpfMap {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        *self.restore.borrow_mut() = restore::Restore::prepare(host, files)?;
        Ok(Vec::new())
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(request)
    }

    fn finish_restore(&self, _: &Host<'_>, _: Outcome) -> Result<()> {
        self.restore.take();
        Ok(())
    }
}
