//! pidfd_open(2): `pidfd_entry`.
//!
//! A pidfd of a process of the tree is opened again as soon as that process is there. One of a process
//! that has ended and been reaped refers to nothing any more; it is made of a child that ends at once.
//! That child is the one process that this plugin starts: there is no other way to such a pidfd. All
//! that referred to one dead process do so again, told by the inode number (Linux 6.9 and later; before,
//! all pidfds have the same).
//!
//! A thread that is not the first of its process (`PIDFD_THREAD`, Linux 6.9) is asked for early, so that it is there
//! when its pidfd is opened.
//!
//! How that process ended can be asked of its pidfd since Linux 6.15; what was not a plain exit with 0
//! stands in `pidfd-exit.img`, an image of our own. That a core was dumped is not restored.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, PidfdEntry};
use nix::errno::Errno;

use crate::fdinfo::FdInfo;
use crate::{entry, sys};

/// The flags of pidfd_open(2) that a pidfd shows: `PIDFD_NONBLOCK` and `PIDFD_THREAD`. Others, as the
/// access mode, do not stand in the image.
const FLAGS: u32 = libc::O_NONBLOCK.cast_unsigned() | PIDFD_THREAD;
const PIDFD_THREAD: u32 = libc::O_EXCL.cast_unsigned();
/// The pid that a pidfd of a reaped process has.
const DEAD: i32 = -1;

static EXITS: ImageKind = image::own_kind("PIDFD_EXIT", "pidfd-exit.img", 0x5044_4558);

/// How a reaped process had ended.
#[derive(Clone, PartialEq, prost::Message)]
struct ExitEntry {
    /// The `ino` of its pidfds.
    #[prost(uint32, tag = "1")]
    ino: u32,
    /// As wait(2) has it.
    #[prost(int32, tag = "2")]
    status: i32,
}

/// The kind `pidfd`.
#[derive(Default)]
pub struct Pidfd {
    /// Those of reaped processes, by inode number.
    dead: RefCell<HashMap<u32, Vec<PidfdEntry>>>,
    /// How they ended, where it was not with 0, by inode number.
    exits: RefCell<BTreeMap<u32, i32>>,
    /// The threads of the tree, during a dump.
    threads: RefCell<HashSet<i32>>,
}

impl FileKind for Pidfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let info = FdInfo::read(host, file)?;
        let pid = info.get("Pid")?;
        let pid: i32 = pid.parse().map_err(|_| info.unknown("Pid", pid))?;
        let nspid = match info.find("NSpid").and_then(|pids| pids.split_whitespace().last()) {
            Some(text) => text.parse().map_err(|_| info.unknown("NSpid", text))?,
            None => pid,
        };
        if let Some(what) = self.obstacle(host, pid)? {
            return Ok(Verdict::refused(entry::object(file), what));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the format has room for the low half"
        )]
        let ino = file.ino as u32;
        let status = if pid == DEAD {
            sys::exit_status(entry::local(file))
        } else {
            None
        };
        if let Some(status) = status.filter(|&status| status != 0) {
            self.exits.borrow_mut().insert(ino, status);
        }
        Ok(entry::saved(
            FdTypes::Pidfd,
            FileEntry {
                id: file.id,
                pidfd: Some(PidfdEntry {
                    id: file.id,
                    ino,
                    flags: file.flags & FLAGS,
                    nspid,
                    fown: fown_decode(&file.fown)?,
                }),
                ..FileEntry::default()
            },
        ))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        self.threads.take();
        let exits = self.exits.take();
        if exits.is_empty() {
            return Ok(());
        }
        let mut image = image::create(host, &EXITS)?;
        for (ino, status) in exits {
            image.entry(&ExitEntry { ino, status })?;
        }
        image.finish()?;
        Ok(())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let tasks = host.tasks()?;
        let pids: HashSet<i32> = tasks.iter().map(|task| task.pid).collect();
        let threads: HashSet<i32> = tasks.iter().flat_map(|task| task.threads.clone()).collect();
        let mut dead: HashMap<u32, Vec<PidfdEntry>> = HashMap::new();
        let mut plans = Vec::new();
        for file in files {
            let pidfd = pidfd(file)?;
            if pidfd.nspid == DEAD {
                plans.push(FilePlan {
                    id: file.id,
                    group: Some(pidfd.ino.into()),
                    ..FilePlan::default()
                });
                dead.entry(pidfd.ino).or_default().push(pidfd);
            } else if pidfd.flags & PIDFD_THREAD != 0 && threads.contains(&pidfd.nspid) {
                host.early_thread(pidfd.nspid)?;
            } else if !pids.contains(&pidfd.nspid) {
                let what = format!("it refers to process {}, which is not in the image", pidfd.nspid);
                return Err(entry::damaged(file.id, what));
            }
        }
        *self.dead.borrow_mut() = dead;
        let exits: Vec<ExitEntry> = image::read_all(host, &EXITS)?;
        *self.exits.borrow_mut() = exits.iter().map(|exit| (exit.ino, exit.status)).collect();
        Ok(plans)
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let pidfd = pidfd(&request.file)?;
        if pidfd.nspid == DEAD {
            return self.open_dead(&pidfd).map(Progress::Done);
        }
        let what = || format!("restoring the pidfd of process {}", pidfd.nspid);
        let fd = match sys::pidfd_open(pidfd.nspid, pidfd.flags & FLAGS) {
            Err(Errno::ESRCH) => return Ok(Progress::NotYet(format!("process {}", pidfd.nspid))),
            other => other.context(what)?,
        };
        let fd = entry::complete(fd, pidfd.id, pidfd.flags, &pidfd.fown)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

fn pidfd(file: &FileRecord) -> Result<PidfdEntry> {
    entry::of(file, |entry| entry.pidfd)
}

impl Pidfd {
    /// Why a pidfd of this process cannot be saved, if so.
    fn obstacle(&self, host: &Host<'_>, pid: i32) -> Result<Option<String>> {
        if pid == DEAD {
            return Ok(None);
        }
        let mut threads = self.threads.borrow_mut();
        if threads.is_empty() {
            for task in host.tasks()? {
                threads.extend(&task.threads);
                threads.insert(task.host_pid);
            }
        }
        Ok(match pid {
            _ if threads.contains(&pid) => None,
            0 => Some("it refers to a process of another pid namespace".to_owned()),
            _ => Some(format!(
                "it refers to process {pid}, which is outside of the tree"
            )),
        })
    }

    /// Opens all that refer to one dead process.
    fn open_dead(&self, asked: &PidfdEntry) -> Result<Opened> {
        let dead = self.dead.borrow();
        let members = dead
            .get(&asked.ino)
            .filter(|members| members.iter().any(|member| member.id == asked.id))
            .ok_or_else(|| Error::new(format!("file {} was not prepared", asked.id)))?;
        let what = || format!("restoring the pidfd {} of a dead process", asked.id);
        let status = self.exits.borrow().get(&asked.ino).copied();
        let child = sys::dead_child(status.unwrap_or(0)).context(what)?;
        let opened = members
            .iter()
            .map(|member| {
                let fd = sys::pidfd_open(child, member.flags & FLAGS).context(what)?;
                Ok((
                    member.id,
                    entry::complete(fd, member.id, member.flags, &member.fown)?,
                ))
            })
            .collect::<Result<Vec<_>>>();
        // Reaped in any case, so that the task has no child that it does not know of.
        sys::reap(child).context(what)?;
        let mut result = None;
        let mut others = Vec::new();
        for (id, fd) in opened? {
            if id == asked.id {
                result = Some(fd);
            } else {
                others.push((id, fd));
            }
        }
        let fd = result.ok_or_else(|| Error::new(format!("file {} was not prepared", asked.id)))?;
        Ok(others
            .into_iter()
            .fold(Opened::one(fd), |opened, (id, fd)| opened.with(id, fd)))
    }
}

#[cfg(test)]
mod tests {
    use criu_plugin_api::testing::{MockHost, file_target};
    use prost::Message;

    use super::*;
    use crate::testing::{dump, entry_of, me, restore, tree};

    fn pid_of(file: &impl std::os::fd::AsRawFd) -> i32 {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_living_process_of_the_tree_is_found_again() {
        let mock = tree();
        let nonblock = libc::O_NONBLOCK.cast_unsigned();
        let fd = sys::pidfd_open(me(), nonblock).unwrap();
        let records = dump(&Pidfd::default(), &mock, &[&fd]);
        let saved = entry_of(&records[0]).pidfd.unwrap();
        assert_eq!((saved.flags, saved.nspid), (nonblock, me()));
        let opened = restore(&Pidfd::default(), &mock, &records).unwrap();
        assert_eq!(pid_of(&opened[0]), me());
        assert_eq!(crate::testing::flags(&fd), crate::testing::flags(&opened[0]));
    }

    #[test]
    fn a_thread_is_asked_for() {
        let mut mock = tree();
        let tid = me() + 1;
        mock.tasks[0].threads.push(tid);
        let record = |id, nspid, flags| FileRecord {
            id,
            fd_type: FdTypes::Pidfd as u32,
            entry: FileEntry {
                id,
                r#type: FdTypes::Pidfd as i32,
                pidfd: Some(PidfdEntry {
                    id,
                    nspid,
                    flags,
                    ..PidfdEntry::default()
                }),
                ..FileEntry::default()
            }
            .encode_to_vec(),
        };
        let prepare = |file| Pidfd::default().prepare(&Host::new(&mock, "events"), &[file]);
        prepare(record(1, me(), 0)).unwrap();
        prepare(record(2, tid, PIDFD_THREAD)).unwrap();
        assert_eq!(*mock.early.borrow(), [tid]);
        // Without the flag it is no pidfd of a thread.
        assert!(prepare(record(3, tid, 0)).is_err());
    }

    #[test]
    fn dead_processes_are_told_apart() {
        let mock = tree();
        let children = [5 << 8, libc::SIGTERM].map(|status| sys::dead_child(status).unwrap());
        let fds = [children[0], children[1], children[0]].map(|pid| sys::pidfd_open(pid, 0).unwrap());
        for child in children {
            sys::reap(child).unwrap();
        }
        let fds: Vec<_> = fds.iter().collect();
        let records = dump(&Pidfd::default(), &mock, &fds);
        let opened = restore(&Pidfd::default(), &mock, &records).unwrap();
        assert!(opened.iter().all(|file| pid_of(file) == DEAD));
        assert!(opened.iter().all(|file| sys::readable_within(file, 0).unwrap()));
        let after: Vec<_> = opened.iter().map(|file| file_target(file).unwrap().ino).collect();
        assert_eq!(after[0], after[2]);
        if let Some(status) = sys::exit_status(fds[0]) {
            assert_eq!(status, 5 << 8);
            assert_eq!(mock.images(), ["pidfd-exit.img"]);
        }
        let exits = |of: &dyn Fn(usize) -> Option<i32>| [of(0), of(1), of(2)];
        assert_eq!(
            exits(&|at| sys::exit_status(&opened[at])),
            exits(&|at| sys::exit_status(fds[at]))
        );
        let before: Vec<_> = fds.iter().map(|fd| file_target(fd).unwrap().ino).collect();
        if before[0] != before[1] {
            assert_ne!(after[0], after[1]);
        }
    }

    #[test]
    fn what_is_outside_of_the_tree_is_refused() {
        let mock = MockHost::new();
        let fd = sys::pidfd_open(me(), 0).unwrap();
        let verdict = Pidfd::default().dump(&Host::new(&mock, "events"), &file_target(&fd).unwrap());
        let Verdict::Refused(refusal) = verdict.unwrap() else {
            panic!("it was saved");
        };
        assert!(
            refusal.what.contains(&format!("process {}", me())),
            "{}",
            refusal.what
        );
        assert!(refusal.object.contains("[pidfd]"), "{}", refusal.object);
    }

    #[test]
    fn a_process_that_is_not_in_the_image_is_found_early() {
        let mock = tree();
        let records = dump(&Pidfd::default(), &mock, &[&sys::pidfd_open(me(), 0).unwrap()]);
        let error = restore(&Pidfd::default(), &MockHost::new(), &records).unwrap_err();
        assert!(error.message.contains("not in the image"), "{error}");
    }
}
