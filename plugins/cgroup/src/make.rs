//! Makes groups and gives them their properties, so that it can be taken back.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::{CgroupPerms, CgroupPropEntry};

use crate::{group, values};

/// How long a group may take to be left by processes that have been killed.
const LEAVING: Duration = Duration::from_secs(2);

/// What a task needs before it can enter a group, in this order; the rest comes when all are there.
pub(crate) const EARLY: &[&str] = &[
    "cgroup.type",
    "cgroup.subtree_control",
    "cpuset.cpus",
    "cpuset.mems",
    "cpu.rt_period_us",
    "cpu.rt_runtime_us",
];
/// What would stop tasks that have yet to be completed.
pub(crate) const FREEZERS: &[&str] = &["freezer.state", "cgroup.freeze"];

/// What was done, to be taken back.
#[derive(Debug)]
enum Step {
    Made(PathBuf),
    /// A property that had another value.
    Changed(PathBuf, String, String),
    Owned(PathBuf, CgroupPerms),
}

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    steps: RefCell<Vec<Step>>,
}

impl Work {
    /// Makes a group, and those that it lies in.
    pub(crate) fn make(&self, dir: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.is_dir() {
            missing.push(at);
            at = at
                .parent()
                .ok_or_else(|| Error::new(format!("{} is in no control group hierarchy", dir.display())))?;
        }
        for dir in missing.into_iter().rev() {
            match std::fs::create_dir(dir) {
                Ok(()) => self.steps.borrow_mut().push(Step::Made(dir.to_owned())),
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::new(format!(
                        "making control group {}: {error}",
                        dir.display()
                    )));
                }
            }
            inherit_cpuset(dir)?;
        }
        Ok(())
    }

    /// Gives a group one property.
    pub(crate) fn set(&self, dir: &Path, property: &CgroupPropEntry) -> Result<()> {
        let path = dir.join(&property.name);
        if values::is_set(&path, &property.name, &property.value) {
            return Ok(());
        }
        if let Ok(before) = group::read(&path) {
            let before = values::saved(&property.name, before);
            let step = Step::Changed(path.clone(), property.name.clone(), before);
            self.steps.borrow_mut().push(step);
        }
        values::set(&path, &property.name, &property.value).map_err(|error| {
            let failed = Error::new(format!(
                "writing {:?} to {}: {error}",
                property.value,
                path.display()
            ));
            match error.kind() {
                ErrorKind::NotFound => failed.with_remedy("enable the controller in the group above"),
                _ => failed,
            }
        })
    }

    /// Gives a group or one of its files its owner and mode. A file that is not there has none.
    pub(crate) fn own(&self, path: &Path, wanted: &CgroupPerms) -> Result<()> {
        let Ok(before) = group::perms(path) else {
            return Ok(());
        };
        self.steps.borrow_mut().push(Step::Owned(path.to_owned(), before));
        group::set_perms(path, wanted)
    }

    /// Takes everything back, the last step first; as far as it can be.
    pub(crate) fn undo(&self) -> Result<()> {
        let mut result = Ok(());
        while let Some(step) = self.steps.borrow_mut().pop() {
            let undone = match &step {
                Step::Made(dir) => {
                    remove(dir).context(|| format!("removing control group {}", dir.display()))
                }
                Step::Changed(path, name, before) => values::set(path, name, before)
                    .context(|| format!("putting {before:?} back into {}", path.display())),
                Step::Owned(path, before) => group::set_perms(path, before),
            };
            // What has gone needs nothing any more.
            result = result.and(undone);
        }
        result
    }
}

/// A group of version 1 with no processors or nodes takes no tasks; it gets those of the group above.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    // Version 2 has `cgroup.type`, and an empty list that means the same.
    if dir.join("cgroup.type").exists() {
        return Ok(());
    }
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(name);
        let Ok(now) = group::read(&path) else { continue };
        let above = dir.parent().map(|above| group::read(&above.join(name)));
        if let (true, Some(Ok(above))) = (now.is_empty(), above) {
            group::write(&path, &above).context(|| format!("writing {above:?} to {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes a group, as soon as the last process has left it.
fn remove(dir: &Path) -> std::io::Result<()> {
    let deadline = Instant::now() + LEAVING;
    loop {
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // The end of a process that others wait for is told to nobody here.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("old/new/newer"));
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("pids.max"), "max\n").unwrap();
        let work = Work::default();
        work.make(&new).unwrap();
        let property = CgroupPropEntry {
            name: "pids.max".to_owned(),
            value: "77".to_owned(),
            perms: None,
        };
        work.set(&old, &property).unwrap();
        let before = group::perms(&old).unwrap();
        let mut wanted = before;
        wanted.uid = 5;
        work.own(&old, &wanted).unwrap();
        assert!(new.is_dir());
        assert_eq!(group::perms(&old).unwrap().uid, 5);
        work.undo().unwrap();
        assert!(!old.join("new").exists());
        assert_eq!(group::perms(&old).unwrap(), before);
        assert_eq!(group::read(&old.join("pids.max")).unwrap(), "max");
    }

    #[test]
    fn a_property_that_the_group_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let property = CgroupPropEntry {
            name: "memory.max".to_owned(),
            value: "1".to_owned(),
            perms: None,
        };
        let error = Work::default().set(dir.path(), &property).unwrap_err();
        assert!(
            error.message.contains("memory.max") && error.remedy.is_some(),
            "{error}"
        );
    }
}
