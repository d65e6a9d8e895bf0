//! Files whose signals go to a thread that is not the first of its process (`F_OWNER_TID` of fcntl(2)): threads exist
//! only once all files are open, so these get their owner at the end, from within the task. Whatever kind the file is
//! of, its entry is the core's to keep.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use criu_plugin_api::message::{RemoteArg, RemoteCall, TaskImage, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Progress, Result, TaskKind, TaskPoint, Verdict};
use criu_proto::images::{FileEntry, FownEntry};
use nix::errno::Errno;
use prost::Message;

const F_OWNER_TID: u32 = 0;
const F_SETOWN_EX: libc::c_int = 15;
const F_GETOWNER_UIDS: libc::c_int = 17;

/// The kind `owners`.
#[derive(Default)]
pub(crate) struct Owners {
    /// By process: a number at which such a file stands, and its owner.
    late: RefCell<HashMap<i32, Vec<(i32, FownEntry)>>>,
}

impl TaskKind for Owners {
    fn dump(&self, _host: &Host<'_>, _task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        Ok(Verdict::Entry(TaskImage::default()))
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        let tasks = host.tasks()?;
        let first: HashSet<u32> = tasks.iter().map(|task| task.pid.cast_unsigned()).collect();
        let (mut seen, mut late) = (HashSet::new(), HashMap::new());
        for task in tasks.iter().filter(|task| !task.dead) {
            for slot in host.descriptors(task.pid)? {
                if !seen.insert(slot.file_id) {
                    continue;
                }
                // The kind of the file says what is wrong with an entry that does not decode.
                let Some(mut entry) = entry(host, slot.file_id) else {
                    continue;
                };
                // That of a FIFO stands with its path.
                if let Some(path) = entry.fifo.as_ref().and_then(|fifo| fifo.regf_id) {
                    entry = self::entry(host, path).unwrap_or_default();
                }
                let Some(owner) = owner_of(&entry) else { continue };
                if owner.pid != 0 && owner.pid_type == F_OWNER_TID && !first.contains(&owner.pid) {
                    let of_task: &mut Vec<_> = late.entry(task.pid).or_default();
                    of_task.push((slot.fd, *owner));
                }
            }
        }
        *self.late.borrow_mut() = late;
        Ok(())
    }

    fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        if point == TaskPoint::Caught {
            for (fd, owner) in self.late.borrow().get(&task.pid).into_iter().flatten() {
                set(host, task.pid, *fd, owner).context(|| {
                    format!(
                        "making thread {} the owner of pid {}, fd {fd}",
                        owner.pid, task.pid
                    )
                })?;
            }
        }
        Ok(Progress::Done(()))
    }
}

fn entry(host: &Host<'_>, id: u32) -> Option<FileEntry> {
    FileEntry::decode(host.file(id).ok()?.entry.as_slice()).ok()
}

/// The owner in an entry, whatever the kind.
fn owner_of(entry: &FileEntry) -> Option<&FownEntry> {
    let FileEntry {
        reg,
        isk,
        ext,
        usk,
        efd,
        epfd,
        sgfd,
        tfd,
        ify,
        ffy,
        pipe,
        pidfd,
        tty,
        memfd,
        nlsk,
        psk,
        bpf,
        ..
    } = entry;
    (reg.as_ref().map(|e| &e.fown))
        .or(isk.as_ref().map(|e| &e.fown))
        .or(ext.as_ref().map(|e| &e.fown))
        .or(usk.as_ref().map(|e| &e.fown))
        .or(efd.as_ref().map(|e| &e.fown))
        .or(epfd.as_ref().map(|e| &e.fown))
        .or(sgfd.as_ref().map(|e| &e.fown))
        .or(tfd.as_ref().map(|e| &e.fown))
        .or(ify.as_ref().map(|e| &e.fown))
        .or(ffy.as_ref().map(|e| &e.fown))
        .or(pipe.as_ref().map(|e| &e.fown))
        .or(pidfd.as_ref().map(|e| &e.fown))
        .or(tty.as_ref().map(|e| &e.fown))
        .or(memfd.as_ref().map(|e| &e.fown))
        .or(nlsk.as_ref().map(|e| &e.fown))
        .or(psk.as_ref().map(|e| &e.fown))
        .or(bpf.as_ref().map(|e| &e.fown))
}

fn set(host: &Host<'_>, pid: i32, fd: i32, owner: &FownEntry) -> Result<()> {
    // struct f_owner_ex: type and id, 32 bits each.
    let mut wanted = F_OWNER_TID.to_ne_bytes().to_vec();
    wanted.extend(owner.pid.to_ne_bytes());
    fcntl(
        host,
        pid,
        fd,
        F_SETOWN_EX,
        RemoteArg {
            data: Some(wanted),
            ..RemoteArg::default()
        },
    )?;
    let ids = fcntl(
        host,
        pid,
        fd,
        F_GETOWNER_UIDS,
        RemoteArg {
            room: 8,
            ..RemoteArg::default()
        },
    )?;
    let mut saved = owner.uid.to_ne_bytes().to_vec();
    saved.extend(owner.euid.to_ne_bytes());
    if ids == saved {
        return Ok(());
    }
    Err(Error::new(format!(
        "it was set by a user of the ids {}, {}, and the process has others now: not supported",
        owner.uid, owner.euid
    )))
}

/// fcntl(2) in the task; what it wrote into its argument.
fn fcntl(host: &Host<'_>, pid: i32, fd: i32, command: libc::c_int, arg: RemoteArg) -> Result<Vec<u8>> {
    let number = |value: i32| RemoteArg {
        value: i64::from(value).cast_unsigned(),
        ..RemoteArg::default()
    };
    let result = host.remote_call(&RemoteCall {
        pid,
        nr: libc::SYS_fcntl,
        args: vec![number(fd), number(command), arg],
    })?;
    match i32::try_from(-result.value) {
        Ok(errno) if errno > 0 => Err(Error::new(Errno::from_raw(errno).desc())),
        _ => Ok(result.data.into_iter().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use criu_proto::images::RegFileEntry;

    use super::*;

    #[test]
    fn the_owner_of_a_file_is_found() {
        let owner = FownEntry {
            pid: 7,
            pid_type: F_OWNER_TID,
            ..FownEntry::default()
        };
        let entry = FileEntry {
            reg: Some(RegFileEntry {
                fown: owner,
                ..RegFileEntry::default()
            }),
            ..FileEntry::default()
        };
        assert_eq!(owner_of(&entry), Some(&owner));
        assert_eq!(owner_of(&FileEntry::default()), None);
    }
}
