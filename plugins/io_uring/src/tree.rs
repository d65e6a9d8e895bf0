//! The tree to be restored: its processes, and where a file is in their tables. Asked of the host once, whatever the
//! number of rings.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::{Error, Host, Result};

/// A table of descriptors.
#[derive(Default)]
struct Table {
    /// The lowest number of each file.
    lowest: HashMap<u32, i32>,
    numbers: HashSet<i32>,
}

/// The processes of a restore.
pub(crate) struct Tree<'a> {
    host: &'a Host<'a>,
    tasks: HashMap<i32, TaskInfo>,
    tables: RefCell<HashMap<i32, Rc<Table>>>,
}

impl<'a> Tree<'a> {
    pub(crate) fn of(host: &'a Host<'a>) -> Result<Self> {
        let living = host.tasks()?.into_iter().filter(|task| !task.dead);
        Ok(Self {
            host,
            tasks: living.map(|task| (task.pid, task)).collect(),
            tables: RefCell::default(),
        })
    }

    /// A living process.
    pub(crate) fn task(&self, pid: i32) -> Option<&TaskInfo> {
        self.tasks.get(&pid)
    }

    /// The number of a process here.
    pub(crate) fn host_pid(&self, pid: i32) -> Result<i32> {
        self.task(pid)
            .map(|task| task.host_pid)
            .ok_or_else(|| Error::new(format!("process {pid} is not in the tree")))
    }

    /// The lowest number of a file in the table of a process.
    pub(crate) fn number(&self, pid: i32, id: u32) -> Result<Option<i32>> {
        Ok(self.table(pid)?.lowest.get(&id).copied())
    }

    /// Whether a process has a descriptor of this number.
    pub(crate) fn has_number(&self, pid: i32, fd: i32) -> Result<bool> {
        Ok(self.table(pid)?.numbers.contains(&fd))
    }

    fn table(&self, pid: i32) -> Result<Rc<Table>> {
        if let Some(known) = self.tables.borrow().get(&pid) {
            return Ok(Rc::clone(known));
        }
        let mut table = Table::default();
        for slot in self.host.descriptors(pid)? {
            table.numbers.insert(slot.fd);
            let lowest = table.lowest.entry(slot.file_id).or_insert(slot.fd);
            *lowest = slot.fd.min(*lowest);
        }
        let table = Rc::new(table);
        self.tables.borrow_mut().insert(pid, Rc::clone(&table));
        Ok(table)
    }
}
