//! The cgroup plugin: which control groups tasks and threads are in, the groups themselves with their
//! properties, cgroups(7), and the freezer by which a tree can be stopped.
//!
//! `--manage-cgroups` decides whether any of it is saved or restored; without it groups are left alone, and
//! restored tasks stay in those of criu.

mod dump;
mod freezer;
mod group;
mod hierarchy;
mod make;
mod mode;
mod mounts;
mod place;
mod plan;
mod props;
mod roots;
mod set;
mod spec;
#[cfg(test)]
mod tests;
mod values;
mod watcher;

use std::cell::RefCell;
use std::rc::Rc;

use criu_plugin_api::message::{TaskImage, TaskInfo};
use criu_plugin_api::{Host, Progress, Result, Stage, StageHook, TaskKind, TaskPoint, Verdict};

use freezer::Freezer;
use mode::Mode;
use place::Placement;

/// The kind `cgroup`.
#[derive(Default)]
pub struct Cgroup {
    dump: RefCell<dump::Dump>,
    freezer: RefCell<Option<Freezer>>,
    restore: RefCell<Option<Placement>>,
}

thread_local! {
    /// One for both registrations: the hook completes what the kind began.
    static CGROUP: Rc<Cgroup> = Rc::default();
}

criu_plugin_api::register! {
    kind: CGROUP.with(Rc::clone),
    point: TaskKind,
    name: "cgroup",
    claims: ["task:*"],
}

criu_plugin_api::register! {
    kind: CGROUP.with(Rc::clone),
    point: StageHook,
    name: "cgroup-stages",
    claims: ["stage:before-freeze,interrupted,frozen,cured,before-resume,complete,restore-failed"],
}

criu_plugin_api::export_plugin! {
    name: "cgroup",
    description: "Control groups: membership, properties, the freezer",
}

impl TaskKind for Cgroup {
    fn dump(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        if Mode::of(host)? == Mode::Ignore {
            return Ok(Verdict::NotMine);
        }
        self.dump.borrow_mut().task(task).map(Verdict::Entry)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        let dump = self.dump.take();
        match Mode::of(host)? {
            Mode::Ignore => Ok(()),
            _ => dump.finish(host, self.freezer.borrow().as_ref()),
        }
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        let Some(plan) = plan::Plan::read(host)? else {
            return Ok(());
        };
        // Held while it is made: after a failure the hook takes back what is there by then.
        let placement = self.restore.borrow_mut().insert(Placement::new(plan)).clone();
        placement.make()
    }

    fn restore(&self, _host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        let Some(placement) = self.restore.borrow().clone() else {
            return Ok(Progress::Done(()));
        };
        match point {
            TaskPoint::Born => placement.enter(task)?,
            TaskPoint::Caught => placement.place_threads(task)?,
            TaskPoint::BeforeFiles | TaskPoint::AfterFiles => {}
        }
        Ok(Progress::Done(()))
    }
}

impl StageHook for Cgroup {
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
        let placement = self.restore.borrow().clone();
        match (stage, placement) {
            (Stage::BeforeFreeze, _) => {
                if Mode::of(host)? != Mode::Ignore {
                    dump::check_options(host)?;
                }
                *self.freezer.borrow_mut() = Freezer::freeze(host)?;
                Ok(())
            }
            (Stage::Interrupted, _) => self.freezer.borrow().as_ref().map_or(Ok(()), Freezer::let_go),
            (Stage::Frozen, _) => self
                .freezer
                .borrow()
                .as_ref()
                .map_or(Ok(()), |freezer| freezer.check_members(host)),
            (Stage::Cured, _) => self.freezer.take().map_or(Ok(()), Freezer::finish),
            (Stage::BeforeResume, Some(placement)) => placement.set_properties(),
            (Stage::Complete, Some(placement)) => placement.freeze(),
            (Stage::RestoreFailed, Some(placement)) => placement.undo(),
            _ => Ok(()),
        }
    }
}
