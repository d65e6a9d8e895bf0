//! userfaultfd(2): an entry of the type EXT, described by `userfaultfd.img`; what it watches is in
//! `userfaultfd-ranges.img`.
//!
//! A userfaultfd watches the memory of the process that made it, whoever holds the descriptor now. The kernel names
//! neither that process nor the ranges, so both are found by asking it for what is there already:
//!
//! - A page that only one process of the tree has, mapped for the purpose, can be given up (`UFFDIO_UNREGISTER`) by a
//!   userfaultfd of that process alone: it never was registered, so nothing is given up.
//! - A registered range can be registered once more, for the same faults, by its own userfaultfd alone: nothing
//!   changes, and any other is told `EBUSY`.
//!
//! Missing pages stay missing. The dump reads none of them, and the restore registers ranges when all memory is in
//! place, after it has given back what came to be there by large pages. Faults that wait are met again by the
//! restored threads, so messages about them come again.
//!
//! See userfaultfd(2), ioctl_userfaultfd(2) and `Documentation/admin-guide/mm/userfaultfd.rst`.

mod dump;
mod owner;
mod pages;
mod restore;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{
    FileImage, FilePlan, FileRecord, FileTarget, MappingImage, MappingRecord, MappingTarget, OpenRequest,
};
use criu_plugin_api::{Error, FileKind, Host, MappingKind, Opened, Outcome, Progress, Result, Verdict};

static FILES: ImageKind = image::own_kind("USERFAULTFD", "userfaultfd.img", 0x5546_4644);
static RANGES: ImageKind = image::own_kind("USERFAULTFD_RANGES", "userfaultfd-ranges.img", 0x5546_4652);

/// The size of a page.
const PAGE: u64 = 4096;

/// A userfaultfd.
#[derive(Clone, PartialEq, prost::Message)]
struct UffdEntry {
    /// The id of the file in `files.img`.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// The process whose memory it watches.
    #[prost(int32, tag = "2")]
    pid: i32,
    /// The flags of fcntl(F_GETFL).
    #[prost(uint32, tag = "3")]
    flags: u32,
    /// What was agreed on by `UFFDIO_API`; nothing before that call.
    #[prost(uint64, optional, tag = "4")]
    features: Option<u64>,
}

/// A range that is registered, or a part of one.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeEntry {
    /// The id of the file that it is registered with.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// The first address.
    #[prost(uint64, tag = "2")]
    start: u64,
    /// The address after the last.
    #[prost(uint64, tag = "3")]
    end: u64,
    /// `UFFDIO_REGISTER_MODE_*`.
    #[prost(uint32, tag = "4")]
    modes: u32,
    /// Whether it is shared memory.
    #[prost(bool, tag = "5")]
    shared: bool,
    /// Its pages that are not just missing, ascending.
    #[prost(message, repeated, tag = "6")]
    runs: Vec<RunEntry>,
}

/// Pages of one sort.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct RunEntry {
    /// The first address.
    #[prost(uint64, tag = "1")]
    start: u64,
    /// The address after the last.
    #[prost(uint64, tag = "2")]
    end: u64,
    /// [`ZERO`], [`PROTECTED`], [`FILLED`].
    #[prost(uint32, tag = "3")]
    state: u32,
}

/// They are the page of zeros (`UFFDIO_ZEROPAGE`, or read and never written).
const ZERO: u32 = 1;
/// They are write-protected (`UFFDIO_WRITEPROTECT`).
const PROTECTED: u32 = 1 << 1;
/// They are there, with contents of their own.
const FILLED: u32 = 1 << 2;

/// The kinds `userfaultfd` and `userfaultfd-ranges`: the descriptors, and what is registered with them.
#[derive(Default)]
pub struct Userfaultfd {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

thread_local! {
    /// One for both registrations: descriptors and what is registered with them.
    static USERFAULTFD: Rc<Userfaultfd> = Rc::default();
}

criu_plugin_api::register! {
    kind: USERFAULTFD.with(Rc::clone),
    point: FileKind,
    name: "userfaultfd",
    claims: ["anon:[userfaultfd]", "image:16:userfaultfd.img"],
}

criu_plugin_api::register! {
    kind: USERFAULTFD.with(Rc::clone),
    point: MappingKind,
    name: "userfaultfd-ranges",
    claims: ["vma-flag:um", "vma-flag:uw", "vma-flag:ui"],
}

impl FileKind for Userfaultfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let restore = restore::Restore::read(host, files)?;
        let plans = restore.plans();
        self.restore.replace(restore);
        Ok(plans)
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(request)
    }

    fn finish_restore(&self, host: &Host<'_>, outcome: Outcome) -> Result<()> {
        let restore = self.restore.take();
        match outcome {
            Outcome::Success => restore.finish(host),
            Outcome::Failure => Ok(()),
        }
    }
}

impl MappingKind for Userfaultfd {
    fn dump(&self, _: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        self.dump.borrow_mut().mapping(mapping)
    }

    fn restore(&self, _: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        Err(Error::new(format!(
            "a mapping of pid {} is said to be a userfaultfd's: damaged",
            mapping.pid
        )))
    }
}
