//! The aio plugin: the rings of the kernel's asynchronous I/O, io_setup(2).
//!
//! A context is known to its process by the address of its ring, a mapping that the kernel made. On
//! restore the kernel makes another one, which is moved to that address; events that had not been
//! fetched are put into it again. Requests in flight cannot be saved.

mod dump;
mod features;
mod pages;
mod restore;
mod ring;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use criu_plugin_api::message::{MappingImage, MappingRecord, MappingTarget};
use criu_plugin_api::{Host, MappingKind, Result, Stage, StageHook, Verdict};

/// The kind `aio`.
#[derive(Default)]
pub struct Aio {
    dump: dump::Dump,
    restore: restore::Restore,
}

thread_local! {
    /// One for both registrations: the hook looks again at the rings that were saved, and lets go of what was kept.
    static AIO: Rc<Aio> = Rc::default();
}

criu_plugin_api::register! {
    kind: AIO.with(Rc::clone),
    point: MappingKind,
    name: "aio",
    claims: ["map:/[aio]*", "vma-status:13"],
}

criu_plugin_api::register! {
    kind: AIO.with(Rc::clone),
    point: StageHook,
    name: "aio-idle",
    claims: ["stage:before-freeze,dumped,before-restore,resumed,restore-failed"],
}

criu_plugin_api::export_plugin! {
    name: "aio",
    description: "Asynchronous I/O contexts of io_setup",
}

impl MappingKind for Aio {
    fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        self.dump.mapping(host, mapping)
    }

    fn restore(&self, host: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        self.restore.mapping(host, mapping)
    }
}

impl StageHook for Aio {
    fn at(&self, _host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::BeforeFreeze => self.dump.forget(),
            Stage::Dumped => self.dump.still_idle()?,
            Stage::BeforeRestore | Stage::Resumed | Stage::RestoreFailed => self.restore.forget(),
            _ => {}
        }
        Ok(())
    }
}
