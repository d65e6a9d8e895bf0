//! Finds and saves the locks that the tree holds.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::message::{FileTarget, Purpose, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Refusal, Result};
use criu_proto::images::FileLockEntry;
use criu_proto::magic;

use super::POSIX;
use super::parse::{self, Lock};
use crate::images;
use crate::reg::name;

const PROC_LOCKS: &str = "/proc/locks";

/// The files of this dump on which there are locks. Who holds them is found out at the first of them: of the few
/// descriptors that most trees have, by asking each; of many, by `/proc/locks`, as asking each would cost more than all
/// else that is done for it.
#[derive(Default)]
pub(crate) struct Locked {
    /// Inode numbers are compared without the device, which overlays hide.
    system: Option<System>,
    /// Ids of files whose inode has a lock of somebody.
    files: HashSet<u32>,
    inodes: HashSet<u64>,
    /// Files with locks of their own that were met in the queue of a socket: what errors call them.
    travelling: BTreeMap<u32, String>,
}

#[derive(Default)]
struct System {
    inodes: HashSet<u64>,
    /// Inodes and their lockers, -1 where the kernel names none.
    holders: HashSet<(u64, i32)>,
}

/// Processes, and descriptors of all of them, that are looked at one by one. A look costs a few microseconds;
/// `/proc/locks` a grace period of RCU, often ten milliseconds, as it waits for a lock that is meant not to be taken.
const FEW_TASKS: usize = 16;
const FEW_DESCRIPTORS: usize = 256;

/// Reads of the list before what was seen is taken for all: it never stands still on a busy server.
const MAX_READS: u32 = 32;

/// One reading of the list, in as few calls as there can be.
fn read_list() -> std::io::Result<String> {
    let mut text = String::with_capacity(64 << 10);
    File::open(PROC_LOCKS)?.read_to_string(&mut text)?;
    Ok(text)
}

impl System {
    /// Looks at all descriptors of the tree; `None` if they are many.
    ///
    /// What others hold is not seen. It would matter if opening a file anew broke their lease, and cannot: nobody
    /// else may have a file open on which somebody holds a lease for writing.
    fn of_few(tasks: &[TaskInfo]) -> Result<Option<Self>> {
        if tasks.len() > FEW_TASKS {
            return Ok(None);
        }
        let mut paths = Vec::new();
        for task in tasks.iter().filter(|task| !task.dead) {
            // Since Linux 6.2 the length of the folder is their number.
            let folder = format!("/proc/{}/fd", task.host_pid);
            let count = std::fs::metadata(&folder)
                .context(|| format!("looking at {folder}"))?
                .len();
            if count > FEW_DESCRIPTORS as u64 {
                return Ok(None);
            }
            let folder = format!("/proc/{}/fdinfo", task.host_pid);
            for entry in std::fs::read_dir(&folder).context(|| format!("listing {folder}"))? {
                paths.push(entry.context(|| format!("listing {folder}"))?.path());
                if paths.len() > FEW_DESCRIPTORS {
                    return Ok(None);
                }
            }
        }
        let mut system = Self::default();
        let mut text = String::with_capacity(1 << 10);
        for path in paths {
            text.clear();
            match File::open(&path).and_then(|mut file| file.read_to_string(&mut text)) {
                Ok(_) => {}
                // Closed since: not one of a process that is stopped.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(|| format!("reading {}", path.display())),
            }
            let lines = text.lines().filter_map(|line| line.strip_prefix("lock:"));
            system.add(lines);
        }
        Ok(Some(system))
    }

    fn add<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        // A sort that is not known is met again, and refused, at the descriptor that holds it.
        for Lock { inode, pid, .. } in lines.filter_map(|line| parse::line(line).ok().flatten()) {
            self.inodes.insert(inode);
            self.holders.insert((inode, pid));
        }
    }

    /// Reads the list until it stands still, and takes all that was seen on the way: while others lock and
    /// unlock their files, the kernel may pass over an entry from one read(2) to the next.
    fn read() -> Result<Self> {
        let mut system = Self::default();
        let mut before = None;
        for _ in 0..MAX_READS {
            let text = Some(read_list().context(|| format!("reading {PROC_LOCKS}"))?);
            if text == before {
                break;
            }
            system.add(text.as_deref().unwrap_or_default().lines());
            before = text;
        }
        Ok(system)
    }
}

impl Locked {
    /// Takes note of a file, and says whether there is any lock on it.
    pub(crate) fn note(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<bool> {
        let by_descriptor = matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight);
        let system = match &self.system {
            Some(system) => system,
            None => self.system.insert(match System::of_few(&host.tasks()?)? {
                Some(system) => system,
                None => System::read()?,
            }),
        };
        let mut has_lock = system.inodes.contains(&file.ino);
        // It need not be in any table.
        has_lock |= file.purpose() == Purpose::InFlight && !own_locks(file)?.is_empty();
        // The path of another kind's file has no number by which its locks are found.
        if has_lock && by_descriptor {
            self.files.insert(file.id);
            self.inodes.insert(file.ino);
            if file.purpose() == Purpose::InFlight && !own_locks(file)?.is_empty() {
                self.travelling.insert(file.id, name::object(file));
            }
        }
        Ok(has_lock)
    }

    /// Writes `filelocks.img`, or refuses when the user did not allow for locks.
    pub(crate) fn save(self, host: &Host<'_>, allowed: bool) -> Result<()> {
        let locks = self.find(host)?;
        let Some(first) = locks.first() else { return Ok(()) };
        if !allowed {
            return Err(Error::from(Refusal {
                object: format!("pid {}, fd {}", first.pid, first.fd),
                what: "it holds a file lock, which others may take once the process is gone".to_owned(),
                remedy: Some("--file-locks saves it".to_owned()),
            }));
        }
        let mut image = images::create(host, &magic::FILE_LOCKS.file_name(0), &magic::FILE_LOCKS)?;
        for lock in &locks {
            image.entry(lock)?;
        }
        image.finish()?;
        Ok(())
    }

    /// The locks of all tasks: POSIX locks belong to a descriptor table, the others to a description.
    fn find(&self, host: &Host<'_>) -> Result<Vec<FileLockEntry>> {
        let Some(system) = &self.system else {
            return Ok(Vec::new());
        };
        let tasks = host.tasks()?;
        let elsewhere = self.elsewhere(system, &tasks);
        if self.files.is_empty() && elsewhere.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let (mut tables, mut descriptions) = (HashSet::new(), HashSet::new());
        for task in tasks.iter().filter(|t| !t.dead) {
            if !tables.insert(task.files_id) {
                continue;
            }
            // A POSIX lock shows at the description through which it was taken: once a table, however
            // many numbers that has there.
            let mut seen_here = HashSet::new();
            for slot in host.descriptors(task.pid)? {
                let may_hold =
                    self.files.contains(&slot.file_id) || leads_to(task.host_pid, slot.fd, &elsewhere);
                if !may_hold || !seen_here.insert(slot.file_id) {
                    continue;
                }
                let is_first = descriptions.insert(slot.file_id);
                for lock in of_descriptor(host, task.pid, slot.fd)? {
                    if lock.flag == POSIX || is_first {
                        found.push(lock.entry(task.pid, slot.fd));
                    }
                }
            }
        }
        match self.travelling.iter().find(|(id, _)| !descriptions.contains(id)) {
            Some((_, object)) => Err(Error::from(Refusal {
                object: object.clone(),
                what: "it holds a lock, and nobody has it open: it is on its way through a socket".to_owned(),
                remedy: Some("dump once it has been received".to_owned()),
            })),
            None => Ok(found),
        }
    }

    /// Inodes that no file of this plugin has (a fifo, a memfd), with a lock of a task of the tree or of
    /// somebody whom the kernel does not name.
    fn elsewhere(&self, system: &System, tasks: &[TaskInfo]) -> HashSet<u64> {
        let pids: HashSet<i32> = tasks.iter().flat_map(|t| [t.pid, t.host_pid]).collect();
        let holders = system.holders.iter();
        holders
            .filter(|(inode, pid)| !self.inodes.contains(inode) && (*pid < 0 || pids.contains(pid)))
            .map(|(inode, _)| *inode)
            .collect()
    }
}

fn leads_to(pid: i32, fd: i32, inodes: &HashSet<u64>) -> bool {
    if inodes.is_empty() {
        return false;
    }
    std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|m| inodes.contains(&m.ino()))
}

/// The locks that a description at hand holds itself.
fn own_locks(file: &FileTarget) -> Result<Vec<Lock>> {
    let path = format!("/proc/self/fdinfo/{}", file.local_fd);
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    parse::fdinfo(&text).map_err(|line| {
        Error::from(Refusal {
            object: name::object(file),
            what: format!("it holds a lock of a sort that is not supported: {line}"),
            remedy: None,
        })
    })
}

fn of_descriptor(host: &Host<'_>, pid: i32, fd: i32) -> Result<Vec<Lock>> {
    let text = host.fdinfo(pid, fd)?;
    let refused = |what: String| {
        Err(Error::from(Refusal {
            object: format!("pid {pid}, fd {fd}"),
            what,
            remedy: None,
        }))
    };
    let text = String::from_utf8_lossy(&text);
    let locks = match parse::fdinfo(&text) {
        Ok(locks) => locks,
        Err(line) => return refused(format!("it holds a lock of a sort that is not supported: {line}")),
    };
    Ok(locks)
}
