//! TCP, UDP, raw and ICMP echo sockets (tcp(7), udp(7), udplite(7), raw(7), icmp(7)), over IPv4 and IPv6.
//!
//! Image: `inet_sk_entry` in `files.img` (type 4); an established connection has a
//! `tcp-stream-INODE.img` as well. During a dump its packets are held back and it is in repair mode;
//! both end when the tree goes on. When the tree is killed instead, the lock stays until the restore,
//! and the socket goes without a word to its peer.

pub(crate) mod address;
mod diag;
mod dump;
mod extra;
mod held;
mod md5;
mod multicast;
mod options;
mod plan;
mod protocol;
mod queue;
mod raw;
mod restore;
mod resume;
mod stream;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::cell::RefCell;
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Stage, StageHook, Verdict};

/// The states of datagram sockets, and those of TCP without a connection, as the kernel numbers them (`tcp_states.h`).
mod state {
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const LISTEN: u8 = 10;
}

/// The kind, and what it does at the ends of a dump and of a restore.
#[derive(Default)]
struct Inet {
    /// Connections that a dump holds.
    held: RefCell<held::Held>,
    plan: RefCell<plan::Plan>,
    /// What has no place in the other images.
    extras: RefCell<Vec<extra::Extra>>,
}

thread_local! {
    static INET: Rc<Inet> = Rc::default();
}

/// What was found out for one dump alone.
fn forget() {
    crate::netns::forget();
    crate::undo::forget();
    table::forget();
    diag::forget();
    multicast::forget();
}

fn shared() -> Rc<Inet> {
    INET.with(Rc::clone)
}

impl FileKind for Inet {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let (verdict, extra) = dump::dump(host, &self.held, file)?;
        self.extras.borrow_mut().extend(extra);
        Ok(verdict)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        forget();
        extra::write(host, &self.extras.take())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.plan.replace(plan::Plan::read(host, files)?);
        Ok(Vec::new())
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        restore::open(host, &self.plan.borrow(), request).map(Progress::Done)
    }

    fn finish_restore(&self, _host: &Host<'_>, _outcome: Outcome) -> Result<()> {
        // The lock of the restore, if it still stands, goes with its socket.
        self.plan.take();
        Ok(())
    }
}

impl StageHook for Inet {
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::Dumped => self.held.borrow_mut().dumped(host),
            Stage::BeforeThaw => {
                // A dump that failed comes to no end of its own.
                forget();
                self.extras.take();
                self.held.borrow_mut().release(host)
            }
            Stage::BeforeResume => resume::resume(host, &mut self.plan.borrow_mut()),
            Stage::RestoreFailed => {
                self.plan.take();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

criu_plugin_api::register! {
    kind: shared(),
    point: FileKind,
    name: "inet",
    claims: [
        "socket:2:1:6",
        "socket:10:1:6",
        "socket:2:2:17",
        "socket:10:2:17",
        "socket:2:2:136",
        "socket:10:2:136",
        "socket:2:2:1",
        "socket:10:2:58",
        "socket:2:3:*",
        "socket:10:3:*",
        "image:4",
    ],
}

criu_plugin_api::register! {
    kind: shared(),
    point: StageHook,
    name: "tcp-connections",
    claims: ["stage:dumped,before-thaw,before-resume,restore-failed"],
}
