//! Numbers for what tasks share: memory, tables, namespaces (`task_kobj_ids_entry`).

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;

use criu_proto::images::TaskKobjIdsEntry;
use nix::fcntl::readlinkat;

use crate::error::{Error, Result};

/// The namespaces in the order in which the images number them; the names of `/proc/PID/ns`.
const NAMESPACES: [&str; 8] = ["pid", "net", "ipc", "uts", "time", "mnt", "user", "cgroup"];

/// Where `net` and those stand in it whose name for the children of a process is [`CHILDREN`].
const NET: usize = 1;
const OF_CHILDREN: [usize; 2] = [0, 4];

/// The namespaces that children will live in, see namespaces(7).
const CHILDREN: [&str; 2] = ["pid_for_children", "time_for_children"];

/// Of one process, by kind; none where the kernel has no such namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inodes {
    own: [Option<u64>; NAMESPACES.len()],
    children: [Option<u64>; CHILDREN.len()],
}

/// Numbers namespaces from 1, this process's own first.
#[derive(Debug)]
pub(crate) struct Namespaces {
    own: Inodes,
    numbers: RefCell<HashMap<(usize, u64), u32>>,
}

impl Namespaces {
    /// With the namespaces of this process numbered.
    ///
    /// # Errors
    /// `/proc` is not mounted, or no descriptor is free.
    pub(crate) fn of_this_process() -> Result<Self> {
        let own = read("self")?;
        let namespaces = Self {
            own,
            numbers: RefCell::default(),
        };
        own.own.iter().enumerate().for_each(|(kind, &inode)| {
            namespaces.number(kind, inode);
        });
        Ok(namespaces)
    }

    /// The ids of the namespaces of a process, which must be this process's.
    ///
    /// # Errors
    /// It lives in another one, named, or its namespaces cannot be read.
    pub(crate) fn of(&self, pid: i32) -> Result<TaskKobjIdsEntry> {
        self.ids(pid, &read(&pid.to_string())?)
    }

    /// As [`Self::of`], of a process whose namespaces have been read.
    ///
    /// # Errors
    /// It lives in another one, named.
    pub(crate) fn ids(&self, pid: i32, inodes: &Inodes) -> Result<TaskKobjIdsEntry> {
        for (kind, name) in NAMESPACES.iter().enumerate() {
            if inodes.own[kind] != self.own.own[kind] {
                return Err(Error::refused(
                    format!("process {pid}"),
                    format!("lives in a {name} namespace of its own, which is not implemented yet"),
                ));
            }
        }
        for (at, kind) in OF_CHILDREN.into_iter().enumerate() {
            // A namespace of process ids has no name until its first process is there.
            if self.own.children[at].is_some() && inodes.children[at] != inodes.own[kind] {
                let name = NAMESPACES[kind];
                return Err(Error::refused(
                    format!("process {pid}"),
                    format!(
                        "has chosen another {name} namespace for its children (unshare(2), setns(2)), which is not supported"
                    ),
                ));
            }
        }
        let [pid_ns, net, ipc, uts, time, mnt, user, cgroup] =
            std::array::from_fn(|kind| self.number(kind, inodes.own[kind]));
        Ok(TaskKobjIdsEntry {
            pid_ns_id: pid_ns,
            net_ns_id: net,
            ipc_ns_id: ipc,
            uts_ns_id: uts,
            mnt_ns_id: mnt,
            user_ns_id: user,
            cgroup_ns_id: cgroup,
            time_ns_id: time,
            ..TaskKobjIdsEntry::default()
        })
    }

    /// The number of one namespace of a process, 0 where the kernel has no such namespace.
    ///
    /// # Errors
    /// The name is not one of a namespace.
    pub(crate) fn id(&self, pid: i32, name: &str) -> Result<u32> {
        let kind = NAMESPACES
            .iter()
            .position(|&n| n == name)
            .ok_or_else(|| Error::malformed(format!("namespace {name}"), "is not known"))?;
        let inode = read(&pid.to_string())?.own[kind];
        Ok(self.number(kind, inode).unwrap_or(0))
    }

    fn number(&self, kind: usize, inode: Option<u64>) -> Option<u32> {
        let mut numbers = self.numbers.borrow_mut();
        let next = numbers.len() as u32 + 1;
        Some(*numbers.entry((kind, inode?)).or_insert(next))
    }
}

/// Reads the namespaces of a process (or `self`).
///
/// # Errors
/// It is gone.
pub(crate) fn read(pid: &str) -> Result<Inodes> {
    let path = format!("/proc/{pid}/ns");
    let dir = File::open(&path).map_err(|source| Error::Io {
        action: format!("opening {path}"),
        source,
    })?;
    Ok(Inodes {
        own: NAMESPACES.map(|name| inode(&dir, name)),
        children: CHILDREN.map(|name| inode(&dir, name)),
    })
}

impl Inodes {
    /// Whether a thread of the process lives in its network namespace: the one that programs move threads out of.
    pub(crate) fn has_net_of(&self, pid: i32, tid: i32) -> bool {
        let link = readlinkat(
            nix::fcntl::AT_FDCWD,
            format!("/proc/{pid}/task/{tid}/ns/net").as_str(),
        );
        link.ok().and_then(|link| number(link.to_str()?)) == self.own[NET]
    }
}

/// From a link such as `net:[4026531840]`, see namespaces(7).
fn inode(dir: &File, name: &str) -> Option<u64> {
    number(readlinkat(dir, name).ok()?.to_str()?)
}

fn number(link: &str) -> Option<u64> {
    let (_, number) = link.split_once(":[")?;
    number.strip_suffix(']')?.parse().ok()
}

/// What tasks may share, by its number for kcmp(2).
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Object {
    Memory = 1,
    Files = 2,
    Fs = 3,
    Sighand = 4,
}

/// Numbers the shared objects of tasks; equal numbers mean one object.
#[derive(Debug)]
pub(crate) struct Objects {
    memory: Sorted,
    files: Sorted,
    fs: Sorted,
    /// One task for each distinct object and its number, by the number of the memory.
    sighands: HashMap<u32, Vec<(i32, u32)>>,
    last_sighand: u32,
}

impl Objects {
    pub(crate) fn new() -> Self {
        let sorted = |object| Sorted {
            object,
            seen: Vec::new(),
        };
        Self {
            memory: sorted(Object::Memory),
            files: sorted(Object::Files),
            fs: sorted(Object::Fs),
            sighands: HashMap::new(),
            // This program's own, as in the inventory.
            last_sighand: 1,
        }
    }

    /// Fills in the numbers of a task.
    ///
    /// # Errors
    /// The kernel will not compare (CONFIG_KCMP, ptrace permission).
    pub(crate) fn number(&mut self, pid: i32, ids: &mut TaskKobjIdsEntry) -> Result<()> {
        ids.vm_id = self.memory.number(pid)?;
        ids.files_id = self.files.number(pid)?;
        ids.fs_id = self.fs.number(pid)?;
        ids.sighand_id = self.sighand(pid, ids.vm_id)?;
        Ok(())
    }

    /// Checks that a thread has what the threads of a process share unless one of them has called unshare(2).
    ///
    /// # Errors
    /// It has not, named; or the kernel will not compare.
    pub(crate) fn check_thread(pid: i32, eye: i32, tid: i32) -> Result<()> {
        let shared = [
            (Object::Files, "a descriptor table"),
            (Object::Fs, "a root, a working directory and a umask"),
        ];
        for (object, what) in shared {
            if compare(eye, tid, object)? != Ordering::Equal {
                return Err(Error::refused(
                    format!("thread {tid} of process {pid}"),
                    format!("has {what} of its own (unshare(2)), which is not supported"),
                ));
            }
        }
        Ok(())
    }

    /// Actions are only shared together with the memory (clone(2)): most tasks need no comparison.
    fn sighand(&mut self, pid: i32, memory: u32) -> Result<u32> {
        let others = self.sighands.entry(memory).or_default();
        for &(other, number) in others.iter() {
            if compare(other, pid, Object::Sighand)? == Ordering::Equal {
                return Ok(number);
            }
        }
        self.last_sighand += 1;
        others.push((pid, self.last_sighand));
        Ok(self.last_sighand)
    }
}

/// The tasks seen so far, one for each distinct object, in the kernel's order.
#[derive(Debug)]
struct Sorted {
    object: Object,
    seen: Vec<(i32, u32)>,
}

impl Sorted {
    /// Number 1 is this program's own object, as in the inventory.
    fn number(&mut self, pid: i32) -> Result<u32> {
        let mut failure = None;
        let place = self.seen.binary_search_by(|&(other, _)| {
            compare(other, pid, self.object).unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Ordering::Equal
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        match place {
            Ok(index) => Ok(self.seen[index].1),
            Err(index) => {
                let number = self.seen.len() as u32 + 2;
                self.seen.insert(index, (pid, number));
                Ok(number)
            }
        }
    }
}

fn compare(a: i32, b: i32, object: Object) -> Result<Ordering> {
    // SAFETY: kcmp only compares; it takes no pointers with these types.
    match unsafe { libc::syscall(libc::SYS_kcmp, a, b, object as i32, 0, 0) } {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => Err(Error::last_os(format!(
            "comparing the {object:?} of processes {a} and {b}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespaces_are_numbered_in_order() {
        let namespaces = Namespaces::of_this_process().unwrap();
        let ids = namespaces.of(std::process::id() as i32).unwrap();
        assert_eq!(ids.pid_ns_id, Some(1));
        assert_eq!(ids.net_ns_id, Some(2));
        assert_eq!(namespaces.id(std::process::id() as i32, "net").unwrap(), 2);
        assert!(namespaces.id(1, "nonsense").is_err());
    }

    #[test]
    fn the_same_object_has_the_same_number() {
        let me = std::process::id() as i32;
        let mut objects = Objects::new();
        let (mut a, mut b) = (TaskKobjIdsEntry::default(), TaskKobjIdsEntry::default());
        objects.number(me, &mut a).unwrap();
        objects.number(me, &mut b).unwrap();
        assert_eq!((a.vm_id, a.files_id, a.fs_id, a.sighand_id), (2, 2, 2, 2));
        assert_eq!(a, b);
    }
}
