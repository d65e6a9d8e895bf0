//! Puts the groups and the tasks in their places.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::{Context, Error, ErrorCode, Result};

use crate::group;
use crate::make::{EARLY, FREEZERS, Work};
use crate::plan::{Group, Plan};
use crate::set::Set;

/// Controllers that would be in the way of a restore, in groups that exist: of devices that were opened before they
/// were denied, of helpers beyond the number of processes. A hierarchy of these alone is entered in the end.
const IN_THE_WAY: &[&str] = &["devices", "pids"];

/// The restore of groups; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Placement(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Plan,
    work: Work,
    /// Files by which groups were let go that were frozen before, and what stops them again.
    thawed: RefCell<Vec<(PathBuf, &'static str)>>,
}

impl Placement {
    pub(crate) fn new(plan: Plan) -> Self {
        Self(Rc::new(Inner {
            plan,
            work: Work::default(),
            thawed: RefCell::default(),
        }))
    }

    /// The groups that get their properties: all but the roots of hierarchies.
    fn with_properties(&self) -> impl Iterator<Item = (&Group, PathBuf)> {
        let plan = &self.0.plan;
        plan.groups
            .iter()
            .filter(|group| plan.mode.sets_properties(!group.existed) && group.path != b"/")
            .map(|group| (group, plan.dir(group)))
    }

    /// Makes the groups, ready to be entered.
    pub(crate) fn make(&self) -> Result<()> {
        let Inner { plan, work, .. } = &*self.0;
        for group in &plan.groups {
            let dir = plan.dir(group);
            if !group.existed {
                work.make(&dir)?;
            }
            if group.path == b"/" || !plan.mode.sets_properties(!group.existed) {
                continue;
            }
            for name in EARLY {
                let found = group.properties.iter().find(|property| property.name == *name);
                // One that was saved empty was not set: that of the group above is as good.
                if let Some(property) =
                    found.filter(|p| !p.name.starts_with("cpuset.") || !p.value.is_empty())
                {
                    work.set(&dir, property)?;
                }
            }
        }
        self.let_go()
    }

    /// Lets go what is frozen of the groups that tasks are to enter: they would stop at once.
    fn let_go(&self) -> Result<()> {
        let plan = &self.0.plan;
        let used: BTreeSet<&(usize, Vec<u8>)> =
            plan.threads.values().flat_map(|set| &plan.sets[set]).collect();
        for (index, path) in used {
            let hierarchy = &plan.hierarchies[*index];
            let dir = hierarchy.dir(path);
            let Some((file, run, stop)) = crate::freezer::frozen(&dir) else {
                continue;
            };
            let refused = |what: &str| {
                let error = Error::new(format!("control group {}: {what}", dir.display()));
                Error {
                    code: ErrorCode::Refused,
                    ..error
                }
                .with_remedy("thaw it before the restore")
            };
            let Some(file) = file else {
                return Err(refused("is frozen by a group above it"));
            };
            if !group::processes(&dir)?.is_empty() {
                return Err(refused("is frozen with processes in it"));
            }
            self.0.thawed.borrow_mut().push((file.clone(), stop));
            group::write(&file, run).context(|| format!("writing {run} to {}", file.display()))?;
        }
        Ok(())
    }

    /// The calling task enters its groups, before it has memory, so that this is charged to the right ones.
    pub(crate) fn enter(&self, task: &TaskInfo) -> Result<()> {
        let plan = &self.0.plan;
        if !plan.threads.contains_key(&task.pid) {
            return Ok(());
        }
        self.move_process(task, "self", 0, false)
    }

    /// What could only be entered now, and threads that are elsewhere than their process.
    pub(crate) fn place_threads(&self, task: &TaskInfo) -> Result<()> {
        let plan = &self.0.plan;
        let Some(leader) = plan.threads.get(&task.pid) else {
            return Ok(());
        };
        self.move_process(task, &task.host_pid.to_string(), task.host_pid, true)?;
        for tid in task.threads.iter().filter(|&&tid| tid != task.pid) {
            let Some(set) = plan.threads.get(tid).filter(|&set| set != leader) else {
                continue;
            };
            for place in plan.sets[set]
                .iter()
                .filter(|&place| !plan.sets[leader].contains(place))
            {
                let hierarchy = &plan.hierarchies[place.0];
                let file = if hierarchy.is_version_2() {
                    "cgroup.threads"
                } else {
                    "tasks"
                };
                enter(&hierarchy.dir(&place.1), file, *tid)
                    .context(|| format!("moving thread {tid} into its control group"))?;
            }
        }
        Ok(())
    }

    /// Moves a process, as `/proc` and `cgroup.procs` know it, into those of its groups that it is not in.
    fn move_process(&self, task: &TaskInfo, who: &str, id: i32, in_the_end: bool) -> Result<()> {
        let plan = &self.0.plan;
        let places = plan.sets[&plan.threads[&task.pid]].iter().map(|(index, path)| {
            let hierarchy = &plan.hierarchies[*index];
            (hierarchy, path)
        });
        let mut due = places
            .filter(|(hierarchy, _)| is_in_the_way(&hierarchy.name) == in_the_end)
            .peekable();
        if due.peek().is_none() {
            return Ok(());
        }
        let now = Set::of(who)?;
        for (hierarchy, path) in due {
            if now.path(&hierarchy.name) != Some(path) {
                enter(&hierarchy.dir(path), "cgroup.procs", id)
                    .context(|| format!("moving process {} into its control group", task.pid))?;
            }
        }
        Ok(())
    }

    /// All other properties, then owners and modes. Some can only be written after others (a limit below another one,
    /// or the like of a group above): as long as some can be, the rest are tried again.
    pub(crate) fn set_properties(&self) -> Result<()> {
        let mut due = Vec::new();
        for (group, dir) in self.with_properties() {
            let late = |name: &str| !EARLY.contains(&name) && !FREEZERS.contains(&name);
            for property in group.properties.iter().filter(|property| late(&property.name)) {
                due.push((dir.clone(), property));
            }
        }
        loop {
            let before = due.len();
            let mut first = None;
            due.retain(|(dir, property)| match self.0.work.set(dir, property) {
                Ok(()) => false,
                Err(error) => {
                    first.get_or_insert(error);
                    true
                }
            });
            match first {
                None => break,
                Some(error) if due.len() == before => return Err(error),
                Some(_) => {}
            }
        }
        for (group, dir) in self.with_properties() {
            let files = group.properties.iter().filter_map(|property| {
                let perms = property.perms.as_ref()?;
                Some((dir.join(&property.name), perms))
            });
            let whole = group.perms.as_ref().map(|perms| (dir.clone(), perms));
            for (path, perms) in files.chain(whole) {
                self.0.work.own(&path, perms)?;
            }
        }
        Ok(())
    }

    /// Stops the groups that were stopped; the tasks in them have yet to be let go.
    pub(crate) fn freeze(&self) -> Result<()> {
        for (file, stop) in self.0.thawed.take() {
            group::write(&file, stop).context(|| format!("writing {stop} to {}", file.display()))?;
        }
        for (group, dir) in self.with_properties() {
            for property in group
                .properties
                .iter()
                .filter(|p| FREEZERS.contains(&p.name.as_str()))
            {
                let mut property = property.clone();
                // It was on the way.
                if property.value == "FREEZING" {
                    "FROZEN".clone_into(&mut property.value);
                }
                self.0.work.set(&dir, &property)?;
            }
        }
        Ok(())
    }

    /// After a failure, when no task is left.
    pub(crate) fn undo(&self) -> Result<()> {
        let mut result = self.0.work.undo();
        for (file, stop) in self.0.thawed.take() {
            let put = group::write(&file, stop).context(|| format!("writing {stop} to {}", file.display()));
            result = result.and(put);
        }
        result
    }
}

fn is_in_the_way(hierarchy: &str) -> bool {
    hierarchy.split(',').all(|name| IN_THE_WAY.contains(&name))
}

/// Moves a process or thread; 0 is the caller.
fn enter(dir: &Path, file: &str, id: i32) -> Result<()> {
    let path = dir.join(file);
    group::write(&path, &id.to_string()).context(|| format!("writing {id} to {}", path.display()))
}
