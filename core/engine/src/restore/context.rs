//! What the coordinator and, after the forks, every task know of the restore.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};

use criu_plugin_api::Services;
use criu_plugin_api::message::{FileRecord, TaskInfo};

use super::catch::Caught;
use super::files::FileTable;
use super::images::{ImageSet, Live, TaskImages};
use super::kinds::Kinds;
use super::layout::Layout;
use super::own::Own;
use super::plan::{Plan, Role};
use super::service_fds::ServiceFds;
use super::shared::SharedMemory;
use crate::error::{Error, Result};
use crate::lsm;
use crate::options::Options;

/// The state of one restore. Tasks have a copy each, from the fork.
pub(crate) struct Restore {
    pub(crate) opts: Options,
    pub(crate) set: ImageSet,
    pub(crate) plan: Plan,
    pub(crate) layout: Layout,
    pub(crate) own: Own,
    pub(crate) labels: lsm::Plan,
    pub(crate) kinds: Kinds,
    pub(crate) service_fds: ServiceFds,
    /// Set once the kinds have made their plans.
    pub(crate) table: OnceCell<FileTable>,
    pub(crate) shared: OnceCell<SharedMemory>,
    /// In a task: its index in the plan.
    pub(crate) me: Cell<Option<usize>>,
    /// In a task: what it has opened so far.
    pub(crate) held: RefCell<super::files::Held>,
    /// In the coordinator, at the end: the caught threads.
    pub(crate) caught: RefCell<HashMap<i32, Caught>>,
    pub(crate) infos: Vec<TaskInfo>,
    /// Threads that files refer to; complete before the first fork.
    pub(crate) early_threads: RefCell<BTreeSet<i32>>,
    sequences: RefCell<HashMap<String, u32>>,
    itself: OnceCell<Weak<Restore>>,
}

impl Restore {
    pub(crate) fn new(
        opts: &Options,
        set: ImageSet,
        plan: Plan,
        layout: Layout,
        kinds: Kinds,
        service_fds: ServiceFds,
        (own, labels): (Own, lsm::Plan),
    ) -> Rc<Self> {
        let infos = set.tasks.iter().map(info).collect();
        let restore = Rc::new(Self {
            opts: opts.clone(),
            set,
            plan,
            layout,
            own,
            labels,
            kinds,
            service_fds,
            table: OnceCell::new(),
            shared: OnceCell::new(),
            me: Cell::new(None),
            held: RefCell::default(),
            caught: RefCell::default(),
            infos,
            early_threads: RefCell::default(),
            sequences: RefCell::default(),
            itself: OnceCell::new(),
        });
        // Set once, here.
        let _ = restore.itself.set(Rc::downgrade(&restore));
        restore
    }

    /// As the services that plugins are given.
    pub(crate) fn services(&self) -> Option<Rc<dyn Services>> {
        let restore = self.itself.get()?.upgrade()?;
        Some(restore)
    }

    /// The images of a node that is a living task.
    pub(crate) fn live(&self, node: usize) -> Result<(&TaskImages, &Live)> {
        let missing = || {
            Error::Task(format!(
                "process {} is not alive in the images",
                self.plan.nodes[node].pid
            ))
        };
        let Role::Task(index) = self.plan.nodes[node].role else {
            return Err(missing());
        };
        let task = &self.set.tasks[index];
        task.live.as_ref().map(|live| (task, live)).ok_or_else(missing)
    }

    /// The living task that a node has what a fork passes on from, if that is one.
    pub(crate) fn creator_live(&self, node: usize) -> Option<&Live> {
        let creator = self.plan.inherits_from(node)?;
        self.live(creator).ok().map(|(_, live)| live)
    }

    /// The file table; there from the plans on.
    pub(crate) fn table(&self) -> Result<&FileTable> {
        self.table
            .get()
            .ok_or_else(|| Error::Task("the files are not planned yet".to_owned()))
    }

    /// The shared memory; there before the first fork.
    pub(crate) fn shared(&self) -> Result<&SharedMemory> {
        self.shared
            .get()
            .ok_or_else(|| Error::Task("the shared memory is not there yet".to_owned()))
    }

    /// A file of the set.
    pub(crate) fn record(&self, id: u32) -> Result<&FileRecord> {
        let missing = || Error::malformed("files.img", format!("has no file {id}"));
        self.set.files.get(id).ok_or_else(missing)
    }

    /// All numbers that descriptors of any task have.
    pub(crate) fn all_numbers(set: &ImageSet) -> BTreeSet<RawFd> {
        let live = set.tasks.iter().filter_map(|task| task.live.as_ref());
        live.flat_map(|live| live.fds.iter())
            .map(|entry| entry.fd.cast_signed())
            .collect()
    }

    /// The next number of a sequence.
    pub(crate) fn next(&self, sequence: &str) -> u32 {
        let mut sequences = self.sequences.borrow_mut();
        let number = sequences.entry(sequence.to_owned()).or_insert(0);
        *number += 1;
        *number
    }
}

fn info(task: &TaskImages) -> TaskInfo {
    let live = task.live.as_ref();
    TaskInfo {
        pid: task.pid,
        ppid: task.ppid,
        pgid: task.pgid,
        sid: task.sid,
        threads: live.map_or_else(
            || vec![task.pid],
            |live| live.lasting().iter().map(|t| t.tid).collect(),
        ),
        files_id: live.map_or(0, |live| live.ids.files_id),
        dead: live.is_none(),
        host_pid: task.pid,
    }
}
