//! POSIX message queues, mq_overview(7).
//!
//! A queue with a name is like a file: it outlives its processes, with its messages, and a restore opens
//! it again. A queue whose name was taken away is carried in the image. A descriptor is an entry of the
//! type EXT; all else is in `mqueue.img`.

mod dump;
mod restore;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

static IMAGE: ImageKind = image::own_kind("MQUEUE", "mqueue.img", 0x4d51_5545);

/// A descriptor of a queue.
#[derive(Clone, PartialEq, prost::Message)]
struct MqueueEntry {
    /// The id of the file in `files.img`.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// The flags of open(2).
    #[prost(uint32, tag = "2")]
    flags: u32,
    /// The number of the queue.
    #[prost(uint32, tag = "3")]
    queue: u32,
    /// The path under which it was opened; `/NAME` from mq_open(3).
    #[prost(bytes = "vec", tag = "4")]
    path: Vec<u8>,
    /// The queue, at the first of its descriptors.
    #[prost(message, optional, tag = "5")]
    object: Option<QueueEntry>,
}

/// A queue.
#[derive(Clone, PartialEq, prost::Message)]
struct QueueEntry {
    /// Its name, without a slash.
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    /// Whether the name was taken away.
    #[prost(bool, tag = "2")]
    unlinked: bool,
    /// Permissions.
    #[prost(uint32, tag = "3")]
    mode: u32,
    #[prost(uint32, tag = "4")]
    uid: u32,
    #[prost(uint32, tag = "5")]
    gid: u32,
    /// `mq_maxmsg`.
    #[prost(uint64, tag = "6")]
    max_messages: u64,
    /// `mq_msgsize` in bytes.
    #[prost(uint64, tag = "7")]
    message_size: u64,
    /// How many messages it held.
    #[prost(uint64, tag = "8")]
    count: u64,
    /// The messages of a queue without a name, in the order in which they are received.
    #[prost(message, repeated, tag = "9")]
    messages: Vec<MessageEntry>,
}

/// A message.
#[derive(Clone, PartialEq, prost::Message)]
struct MessageEntry {
    #[prost(uint32, tag = "1")]
    priority: u32,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

/// The kind `mqueue`.
#[derive(Default)]
pub(crate) struct Mqueue {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

impl FileKind for Mqueue {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.restore.borrow_mut().prepare(host, files)
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(request)
    }

    fn finish_restore(&self, _: &Host<'_>, outcome: Outcome) -> Result<()> {
        self.restore.borrow_mut().finish(outcome);
        Ok(())
    }
}
