//! What all kinds of this plugin do with their entries.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use criu_plugin_api::message::{FileImage, FileRecord, FileTarget};
use criu_plugin_api::restore::{apply_flags, apply_owner};
use criu_plugin_api::{Context, Error, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, FownEntry};
use prost::Message;

/// The verdict with an entry.
pub(crate) fn saved(kind: FdTypes, entry: FileEntry) -> Verdict<FileImage> {
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
pub(crate) fn of<T>(file: &FileRecord, pick: impl FnOnce(FileEntry) -> Option<T>) -> Result<T> {
    let entry = FileEntry::decode(file.entry.as_slice()).map_err(|e| damaged(file.id, e))?;
    pick(entry).ok_or_else(|| damaged(file.id, "it does not have the part of its type"))
}

pub(crate) fn damaged(id: u32, what: impl std::fmt::Display) -> Error {
    Error::new(format!("the entry of file {id}: {what}"))
}

/// Sets owner and flags of a new descriptor.
pub(crate) fn complete(fd: OwnedFd, id: u32, flags: u32, fown: &FownEntry) -> Result<OwnedFd> {
    let what = || format!("restoring file {id}");
    apply_owner(&fd, fown).context(what)?;
    apply_flags(&fd, flags).context(what)?;
    Ok(fd)
}

/// The descriptor of a file to be dumped, for as long as its target is at hand.
pub(crate) fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

/// A file as the user knows it.
pub(crate) fn object(file: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&file.link);
    if file.fd < 0 {
        return format!("{link}, on its way to pid {}", file.pid);
    }
    format!("pid {}, fd {} ({link})", file.pid, file.fd)
}

/// A further descriptor of the same description.
pub(crate) fn copy(fd: impl AsFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().context(|| "copying a descriptor")
}
