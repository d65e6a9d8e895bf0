//! The tty plugin: pseudo-terminals, controlling terminals, consoles and serial lines of the machine, and terminals
//! that belong to the outside.
//!
//! Every terminal is described once in `tty-info.img`: the two ends of a pair separately. Descriptors
//! refer to it by its number. What is under way inside a pair stands in `tty-data.img`.
//!
//! Masters are made before the forks, each with the number that it had. A session gets its terminal when it
//! begins, so that its processes inherit it. All files of a pair are opened by one task: the leader of its
//! session, where there is one, because only there `/dev/tty` means that terminal.

mod console;
mod data;
mod device;
mod dump;
mod exchange;
mod flow;
mod images;
mod opening;
mod outside;
mod packets;
mod pairs;
mod restore;
mod session;
mod settings;
mod sys;
#[cfg(test)]
mod tests;
mod underway;

use std::cell::RefCell;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest, TaskInfo};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Verdict};

/// The kind `tty`.
#[derive(Default)]
pub struct Tty {
    dump: RefCell<dump::Dump>,
    restore: RefCell<restore::Restore>,
}

criu_plugin_api::register! {
    kind: Tty::default(),
    point: FileKind,
    name: "tty",
    claims: [
        // pts; /dev/tty, console, ptmx; tty1 and ttyS0 and so on; ttyACM, ttyUSB, ttyAMA, hvc.
        "chr:136-143:*", "chr:5:0-2", "chr:4:*",
        "chr:166:*", "chr:188:*", "chr:204:*", "chr:229:*",
        "image:11",
    ],
}

criu_plugin_api::export_plugin! {
    name: "tty",
    description: "Terminals: pseudo-terminal pairs, controlling terminals, consoles, serial lines, inherited ones",
}

impl FileKind for Tty {
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

    fn lead_session(&self, host: &Host<'_>, task: &TaskInfo) -> Result<()> {
        self.restore.borrow().lead_session(host, task.pid)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        self.restore.borrow().open(host, request)
    }

    fn attach(&self, _host: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        self.restore.borrow().attach(file, fd)
    }

    fn finish_restore(&self, _host: &Host<'_>, _outcome: Outcome) -> Result<()> {
        // The masters that the coordinator holds go; the tasks have theirs.
        self.restore.take();
        Ok(())
    }
}
