//! epoll(7): `eventpoll_file_entry`, with its targets.
//!
//! A set knows a target by its description and by the number under which it was added. The image has
//! the number, which usually leads to the description in the table of the process. Where it does not
//! (the number was closed, or taken by something else, while another descriptor keeps the description),
//! the description is searched for in the whole tree, and the pair of number and file is written into
//! `eventpoll-moved.img`. The entry in the format then has the number at which the same process holds
//! the description now, if it does: that is as much as a reader without our image can make of it.
//!
//! Edge-triggered targets that were ready and had been reported are in `eventpoll-edges.img`, so that they are
//! not reported once more. The kernel does not tell that of a target, only whether the set has anything to
//! report at all (poll(2)): where it has not, all that are ready have been reported. Where it has, which of
//! them is not known, and all of them are reported after a restore. So are targets that become ready after they were
//! added, such as TCP connections, which go on at the very end.
//!
//! A one-shot target that is used up is restored so only when it is ready for anything at that time; if not,
//! it may report one error or hang-up.

mod dump;
mod restore;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::EventpollFileEntry;

use crate::entry;

static MOVED: ImageKind = image::own_kind("EVENTPOLL_MOVED", "eventpoll-moved.img", 0x4550_4d56);

static PARAMS: ImageKind = image::own_kind("EVENTPOLL_PARAMS", "eventpoll-params.img", 0x4550_5041);

static EDGES: ImageKind = image::own_kind("EVENTPOLL_EDGES", "eventpoll-edges.img", 0x4550_4544);

/// An edge-triggered target of which everything has been reported that held.
#[derive(Clone, PartialEq, prost::Message)]
struct EdgeEntry {
    /// The file id of the set.
    #[prost(uint32, tag = "1")]
    epoll: u32,
    /// Which of its targets, from 0.
    #[prost(uint32, tag = "2")]
    index: u32,
    /// The events that held.
    #[prost(uint32, tag = "3")]
    told: u32,
}

/// How a set polls the network itself, `struct epoll_params` (Linux 6.9).
#[derive(Clone, PartialEq, prost::Message)]
struct ParamsEntry {
    /// The file id of the set.
    #[prost(uint32, tag = "1")]
    epoll: u32,
    /// How long, in microseconds.
    #[prost(uint32, tag = "2")]
    busy_poll_usecs: u32,
    /// How many packets at once.
    #[prost(uint32, tag = "3")]
    busy_poll_budget: u32,
    #[prost(bool, tag = "4")]
    prefer_busy_poll: bool,
}

/// The kind `epoll`.
#[derive(Default)]
pub struct Epoll {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

/// A target that does not stand at its number in the process of its set.
#[derive(Clone, PartialEq, prost::Message)]
struct MovedEntry {
    /// The file id of the set.
    #[prost(uint32, tag = "1")]
    epoll: u32,
    /// Which of its targets, from 0.
    #[prost(uint32, tag = "2")]
    index: u32,
    /// The number under which it was added.
    #[prost(uint32, tag = "3")]
    tfd: u32,
    /// The file id of the target.
    #[prost(uint32, tag = "4")]
    file: u32,
}

impl FileKind for Epoll {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        self.dump.borrow_mut().file(host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let (restore, plans) = restore::Restore::prepare(host, files)?;
        *self.restore.borrow_mut() = restore;
        Ok(plans)
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(&request.file)
    }

    fn attach(&self, host: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        self.restore.borrow().attach(host, file, fd)
    }
}

/// Whether a target reports each change once, and goes on with it.
fn is_edge(events: u32) -> bool {
    const EDGE: u32 = libc::EPOLLET.cast_unsigned();
    const ONE_SHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
    events & (EDGE | ONE_SHOT) == EDGE
}

fn eventpoll(file: &FileRecord) -> Result<EventpollFileEntry> {
    entry::of(file, |entry| entry.epfd)
}
