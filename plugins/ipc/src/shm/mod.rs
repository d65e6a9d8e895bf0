//! System V shared memory, see sysvipc(7) and shmop(2).
//!
//! A segment is saved as `ipcns-shm-N.img` has it, N being the number of the ipc namespace, and its
//! contents as a shared memory image of the segment's id. Its attachments are mappings with the bit
//! `SYSVIPC` of their status.

mod attach;
pub(crate) mod dump;
pub(crate) mod restore;
pub(crate) mod sys;

use std::cell::RefCell;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Host, Result, Verdict};
use criu_proto::magic;

/// What is beside a segment's description in the format: optional, of this project.
pub(crate) static CREATORS: ImageKind =
    image::own_kind("SHM_CREATORS", "ipcns-shm-creators.img", 0x5348_4d43);

/// Bits of `vma_entry.status`.
const REGULAR: u32 = 1;
const ANON_SHARED: u32 = 1 << 8;
const SYSVIPC: u32 = 1 << 10;

/// The size of a page.
const PAGE: u64 = 4096;

/// Bits of `shm_perm.mode` that are no permissions: linux/shm.h.
const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;
/// A flag of shmget(2), beside the binary logarithm of the size of huge pages from bit 26.
const SHM_HUGETLB: u32 = 0o4000;

/// Who made a segment.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Creator {
    /// The id of the segment.
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    /// `shm_cpid`.
    #[prost(int32, tag = "2")]
    pub(crate) pid: i32,
}

/// Segments and their attachments.
#[derive(Default)]
pub(crate) struct Shm {
    pub(crate) dump: RefCell<dump::Dump>,
    pub(crate) restore: RefCell<restore::Restore>,
}

/// The segments of the namespace of the tree's root.
fn image_name(host: &Host<'_>) -> Result<Option<String>> {
    let Some(root) = host.tasks()?.into_iter().find(|task| !task.dead) else {
        return Ok(None);
    };
    let id = host.namespace_id(root.pid, "ipc")?;
    Ok(Some(magic::IPCNS_SHM.file_name(u64::from(id))))
}

pub(crate) fn refuse_descriptor(file: &FileTarget) -> Verdict<FileImage> {
    let link = String::from_utf8_lossy(&file.link);
    Verdict::refused_but(
        format!("pid {}, fd {}, {link}", file.pid, file.fd),
        "a descriptor of a segment of System V shared memory (from /proc/PID/map_files), which cannot be saved",
        "close it first; attachments of the segment are saved",
    )
}
