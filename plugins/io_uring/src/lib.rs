//! The io_uring plugin: rings of io_uring(7), their descriptors and mappings.
//!
//! The kernel does not tell how a ring was made; `probe` finds it out. A ring is made again by its process, brought to
//! the same positions by requests that do nothing, and given its contents back at the end, when all else of the tree is
//! there; then what was registered is registered again. Requests in flight cannot be saved: they are waited for.
//! A descriptor is an entry of the type EXT; all else is in `io-uring.img`.

mod advance;
mod cost;
mod credentials;
mod dump;
mod entry;
mod fdinfo;
mod flight;
mod layout;
mod picture;
mod place;
mod probe;
mod registered;
mod resources;
mod restore;
mod ring;
mod same_cpu;
mod sys;
#[cfg(test)]
mod tests;
mod tree;

use std::rc::Rc;

use criu_plugin_api::message::{
    FileImage, FilePlan, FileRecord, FileTarget, MappingImage, MappingRecord, MappingTarget, OpenRequest,
};
use criu_plugin_api::{
    FileKind, Host, MappingKind, Opened, Outcome, Progress, Result, Stage, StageHook, Verdict,
};

/// The kinds `io_uring`.
#[derive(Default)]
pub struct IoUring {
    dump: dump::Dump,
    restore: restore::Restore,
}

thread_local! {
    /// One for all registrations: descriptors, mappings and stages are about the same rings.
    static RINGS: Rc<IoUring> = Rc::default();
}

criu_plugin_api::register! {
    kind: RINGS.with(Rc::clone),
    point: FileKind,
    name: "io_uring",
    claims: ["anon:[io_uring]", "image:16:io-uring.img"],
}

criu_plugin_api::register! {
    kind: RINGS.with(Rc::clone),
    point: MappingKind,
    name: "io_uring-mapping",
    claims: ["map:anon_inode:[io_uring]", "vma-status:20"],
}

criu_plugin_api::register! {
    kind: RINGS.with(Rc::clone),
    point: StageHook,
    name: "io_uring-stages",
    claims: ["stage:before-freeze,before-resume,complete"],
}

criu_plugin_api::export_plugin! {
    name: "io_uring",
    description: "Rings of io_uring_setup without requests in flight",
    options: [
        { name: "longest", kind: "int", default: "120",
          help: "Refuse a ring that would take more seconds to restore, by an estimate" },
        { name: "request-size", kind: "string",
          help: "64 or 128: the bytes of a request, where the kernel does not tell" },
    ],
}

impl FileKind for IoUring {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.restore.prepare(host, files)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.open(host, request)
    }

    fn finish_restore(&self, _: &Host<'_>, outcome: Outcome) -> Result<()> {
        if outcome == Outcome::Failure {
            self.restore.forget();
        }
        Ok(())
    }
}

impl MappingKind for IoUring {
    fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        self.dump.mapping(host, mapping)
    }

    fn restore(&self, _: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        self.restore.mapping(mapping)
    }
}

impl StageHook for IoUring {
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::BeforeFreeze => self.dump.forget(),
            Stage::BeforeResume => self.restore.complete(host)?,
            Stage::Complete => self.restore.start()?,
            _ => {}
        }
        Ok(())
    }
}
