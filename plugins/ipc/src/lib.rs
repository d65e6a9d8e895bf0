//! The ipc plugin: what processes share by a key or a name, not by a descriptor alone.
//!
//! - System V shared memory, shmget(2): segments and their attachments (`shm`).
//! - The adjustments of System V semaphores that a process would make at its end, `SEM_UNDO` (`sem`).
//! - POSIX message queues, mq_open(3) (`mqueue`).
//!
//! Segments, sets of semaphores and queues with a name belong to the machine as files do: they outlive
//! their processes, so a dump leaves them where they are, and a restore uses those that it finds.

mod mqueue;
mod sem;
mod shm;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use criu_plugin_api::message::{
    FileImage, FileTarget, MappingImage, MappingRecord, MappingTarget, OpenRequest, TaskImage, TaskInfo,
};
use criu_plugin_api::{
    FileKind, Host, MappingKind, Opened, Progress, Result, Stage, StageHook, TaskKind, TaskPoint, Verdict,
};

thread_local! {
    /// One for all registrations of shared memory.
    static SHM: Rc<shm::Shm> = Rc::default();
}

criu_plugin_api::register! {
    kind: SHM.with(Rc::clone),
    point: MappingKind,
    name: "sysvshm",
    claims: ["map:/SYSV*", "vma-status:10"],
}

criu_plugin_api::register! {
    kind: SHM.with(Rc::clone),
    point: FileKind,
    name: "sysvshm",
    claims: ["link:/SYSV*"],
}

criu_plugin_api::register! {
    kind: SHM.with(Rc::clone),
    point: StageHook,
    name: "sysvshm",
    claims: ["stage:before-freeze,frozen,before-restore,before-resume,restore-failed"],
}

criu_plugin_api::register! {
    kind: sem::Undo::default(),
    point: TaskKind,
    name: "sysvsem",
    claims: ["task:*"],
}

criu_plugin_api::register! {
    kind: mqueue::Mqueue::default(),
    point: FileKind,
    name: "mqueue",
    claims: ["file:reg@19800202", "image:16:mqueue.img"],
}

criu_plugin_api::export_plugin! {
    name: "ipc",
    description: "System V shared memory and semaphore undos, POSIX message queues",
}

impl MappingKind for shm::Shm {
    fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        self.dump.borrow_mut().mapping(host, mapping)
    }

    fn restore(&self, host: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        self.restore.borrow_mut().mapping(host, mapping)
    }
}

/// The memory of a segment behind a descriptor: by way of `/proc/PID/map_files` alone.
impl FileKind for shm::Shm {
    fn dump(&self, _: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        Ok(shm::refuse_descriptor(file))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let error = format!("file {}: no image has such a file", request.file.id);
        Err(criu_plugin_api::Error::new(error))
    }
}

impl StageHook for shm::Shm {
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::BeforeFreeze => drop(self.dump.take()),
            Stage::Frozen => return shm::dump::claim_numbers(host),
            Stage::BeforeRestore => *self.restore.borrow_mut() = shm::restore::Restore::prepare(host)?,
            Stage::BeforeResume => return self.restore.borrow().complete(),
            Stage::RestoreFailed => self.restore.take().undo(),
            _ => {}
        }
        Ok(())
    }
}

impl TaskKind for sem::Undo {
    fn dump(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        self.dump_task(host, task)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.finish(host)
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        self.read(host)
    }

    fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        if point == TaskPoint::Caught {
            self.restore_task(host, task)?;
        }
        Ok(Progress::Done(()))
    }
}
