//! The task plugin: what the kernel keeps of tasks, threads and their memory policies and the image format has no
//! field for. Processors, I/O priorities, timer slack, core dump filters, autogroups, and policies
//! of NUMA memory are saved in an image of its own, which a set has only where something is not as it is at first.

mod affinity;
mod dump;
mod entry;
mod numa;
mod restore;
mod sys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;

use criu_plugin_api::message::{TaskImage, TaskInfo};
use criu_plugin_api::{Host, Progress, Result, TaskKind, TaskPoint, Verdict};

use entry::Attributes;

/// The kind `attributes`.
#[derive(Default)]
pub struct Task {
    dump: RefCell<dump::Dump>,
    restore: RefCell<HashMap<i32, Attributes>>,
}

criu_plugin_api::register! {
    kind: Task::default(),
    point: TaskKind,
    name: "attributes",
    claims: ["task:*"],
}

criu_plugin_api::export_plugin! {
    name: "task",
    description: "Processors, I/O priorities, timer slack, dump filters, autogroups, memory policies",
}

impl TaskKind for Task {
    fn dump(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        self.dump.borrow_mut().task(host, task)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.dump.take().finish(host)
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        *self.restore.borrow_mut() = restore::prepare(host)?;
        Ok(())
    }

    fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        if point == TaskPoint::Caught
            && let Some(attributes) = self.restore.borrow().get(&task.pid)
        {
            restore::restore(host, task, attributes)?;
        }
        Ok(Progress::Done(()))
    }
}
