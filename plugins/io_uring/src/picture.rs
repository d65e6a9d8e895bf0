//! Which processes of a frozen tree have which rings: looked up once, whatever the number of rings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::{Context, Error, Host, Result};

use crate::ring::{Mapped, NAME, User};

/// The mappings of rings that a process has.
#[derive(Default)]
struct Mappings {
    by_inode: HashMap<u64, Vec<Mapped>>,
    /// By where they begin.
    by_start: HashMap<u64, Mapped>,
}

/// The rings of a tree.
pub(crate) struct Picture {
    tasks: Vec<Rc<TaskInfo>>,
    users: HashMap<u64, Vec<User>>,
    /// By process, as far as somebody has asked.
    mapped: RefCell<HashMap<i32, Rc<Mappings>>>,
}

impl Picture {
    /// Looks through the tables of descriptors.
    pub(crate) fn take(host: &Host<'_>) -> Result<Self> {
        let tasks: Vec<Rc<TaskInfo>> = host.tasks()?.into_iter().map(Rc::new).collect();
        let mut users: HashMap<u64, Vec<User>> = HashMap::new();
        for task in tasks.iter().filter(|task| !task.dead) {
            // A table that several processes share is that of each.
            for (inode, fd) in numbers(task.host_pid)? {
                let task = Rc::clone(task);
                users.entry(inode).or_default().push(User { task, fd });
            }
        }
        Ok(Self {
            tasks,
            users,
            mapped: RefCell::default(),
        })
    }

    /// A process of the tree, by either of its numbers.
    pub(crate) fn task(&self, pid: i32) -> Result<&Rc<TaskInfo>> {
        let mut tasks = self.tasks.iter();
        tasks
            .find(|task| task.pid == pid || task.host_pid == pid)
            .ok_or_else(|| Error::new(format!("process {pid} is not in the tree")))
    }

    /// The processes with a descriptor of a ring.
    pub(crate) fn users(&self, inode: u64) -> &[User] {
        self.users.get(&inode).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where the processes that have a descriptor of a ring have mapped it. Descriptors come before mappings: nobody
    /// has told yet.
    pub(crate) fn mappings(&self, inode: u64) -> Result<Vec<Mapped>> {
        let mut all = Vec::new();
        for user in self.users(inode) {
            let there = self.mapped_by(&user.task)?;
            all.extend(there.by_inode.get(&inode).into_iter().flatten().cloned());
        }
        Ok(all)
    }

    /// The mapping of a ring that begins at an address of a process.
    pub(crate) fn mapping_at(&self, pid: i32, start: u64) -> Result<Mapped> {
        let there = self.mapped_by(self.task(pid)?)?;
        let found = there.by_start.get(&start);
        found.cloned().ok_or_else(|| Error::new("it is not there"))
    }

    fn mapped_by(&self, task: &TaskInfo) -> Result<Rc<Mappings>> {
        if let Some(known) = self.mapped.borrow().get(&task.pid) {
            return Ok(Rc::clone(known));
        }
        let path = format!("/proc/{}/maps", task.host_pid);
        let text = fs::read(&path).context(|| format!("reading {path}"))?;
        let mut mappings = Mappings::default();
        for line in text.split(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(line).ok();
            if let Some(mapping) = line.and_then(|line| mapping_of(line, task.pid)) {
                mappings.by_start.insert(mapping.start, mapping.clone());
                mappings.by_inode.entry(mapping.inode).or_default().push(mapping);
            }
        }
        let mappings = Rc::new(mappings);
        self.mapped.borrow_mut().insert(task.pid, Rc::clone(&mappings));
        Ok(mappings)
    }
}

/// The mapping of a line of proc_pid_maps(5), if it is of a ring.
fn mapping_of(line: &str, pid: i32) -> Option<Mapped> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let offset = hex(words.nth(1)?)?;
    let inode = words.nth(1)?.parse().ok()?;
    (words.next()?.as_bytes() == NAME).then_some(Mapped {
        pid,
        inode,
        start: hex(start)?,
        end: hex(end)?,
        offset,
    })
}

/// The rings in the table of a process, each by its inode with the lowest of its numbers.
fn numbers(pid: i32) -> Result<HashMap<u64, i32>> {
    let folder = format!("/proc/{pid}/fd");
    let reading = || format!("reading {folder}");
    let mut numbers: HashMap<u64, i32> = HashMap::new();
    for entry in fs::read_dir(&folder).context(reading)? {
        let entry = entry.context(reading)?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(inode) = ring_at(&entry.path()) {
            let lowest = numbers.entry(inode).or_insert(fd);
            *lowest = fd.min(*lowest);
        }
    }
    Ok(numbers)
}

/// The inode of a ring behind a link of `/proc/PID/fd`.
fn ring_at(path: &Path) -> Option<u64> {
    let link = fs::read_link(path).ok()?;
    if link.as_os_str().as_bytes() != NAME {
        return None;
    }
    Some(fs::metadata(path).ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_rings_alone() {
        let line =
            "7f0000001000-7f0000002000 rw-s 10000000 00:0e 1234                       anon_inode:[io_uring]";
        let mapping = mapping_of(line, 7).unwrap();
        assert_eq!(
            (mapping.pid, mapping.inode, mapping.offset),
            (7, 1234, 0x1000_0000)
        );
        assert_eq!((mapping.start, mapping.end), (0x7f00_0000_1000, 0x7f00_0000_2000));
        for line in [
            "",
            "7f0000001000-7f0000002000 rw-p 00000000 00:00 0",
            "7f0000001000-7f0000002000 rw-s 00000000 00:0e 1234 anon_inode:[eventfd]",
            "7f0000001000 rw-s 00000000 00:0e 1234 anon_inode:[io_uring]",
            "7f0000001000-7f0000002000 rw-s 0 00:0e x anon_inode:[io_uring]",
        ] {
            assert!(mapping_of(line, 7).is_none(), "{line}");
        }
    }
}
