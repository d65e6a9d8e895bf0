//! The memfd plugin: memory with a descriptor, memfd_create(2), and the objects behind shared anonymous
//! mappings, which the kernel makes of the same stuff.
//!
//! Every object is described once in `memfd.img`, its times and attributes in `memfd-attrs.img`; its contents are a shared memory image. Descriptors
//! and mappings refer to it by the number of the object.

mod attrs;
mod dump;
mod features;
mod keep;
mod object;
mod restore;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

/// The kind `memfd`.
#[derive(Default)]
pub struct Memfd {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

criu_plugin_api::register! {
    kind: Memfd::default(),
    point: FileKind,
    name: "memfd",
    claims: [
        "link:/memfd:*",
        "link:/dev/zero (deleted)",
        "link:/anon_hugepage (deleted)",
        "path:/memfd:*",
        "image:18",
    ],
}

criu_plugin_api::export_plugin! {
    name: "memfd",
    description: "Memory objects: memfd_create and shared anonymous memory",
}

impl FileKind for Memfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        *self.restore.borrow_mut() = restore::Restore::prepare(host, files)?;
        // Every description is opened anew from its object: any task may do it, without an attach.
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(request)
    }

    fn finish_restore(&self, _host: &Host<'_>, outcome: Outcome) -> Result<()> {
        self.restore.take().finish(outcome)
    }
}
