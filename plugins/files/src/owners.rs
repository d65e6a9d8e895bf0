//! Files whose signals go to a thread that is not the first of its process (`F_OWNER_TID` of fcntl(2)): threads are made
//! last, so those that own a file are asked for early. Whatever kind the file is of, its entry is the core's to keep.

use std::collections::HashSet;

use criu_plugin_api::message::{TaskImage, TaskInfo};
use criu_plugin_api::{Context, Host, Progress, Result, TaskKind, TaskPoint, Verdict};
use criu_proto::images::{FileEntry, FownEntry};
use prost::Message;

const F_OWNER_TID: u32 = 0;

/// The kind `owners`.
pub(crate) struct Owners;

impl TaskKind for Owners {
    fn dump(&self, _host: &Host<'_>, _task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        Ok(Verdict::Entry(TaskImage::default()))
    }

    fn prepare(&self, host: &Host<'_>) -> Result<()> {
        let tasks = host.tasks()?;
        if tasks.iter().all(|task| task.threads == [task.pid]) {
            // No thread but the first ones: there is nothing to look for.
            return Ok(());
        }
        let first: HashSet<u32> = tasks.iter().map(|task| task.pid.cast_unsigned()).collect();
        for id in host.files()? {
            // The kind of the file says what is wrong with an entry that does not decode.
            let entry = FileEntry::decode(host.file(id)?.entry.as_slice()).unwrap_or_default();
            let Some(owner) = owner_of(&entry).filter(|owner| owner.pid != 0) else {
                continue;
            };
            if owner.pid_type == F_OWNER_TID && !first.contains(&owner.pid) {
                host.early_thread(owner.pid.cast_signed())
                    .context(|| format!("asking for the owner of file {id}"))?;
            }
        }
        Ok(())
    }

    fn restore(&self, _host: &Host<'_>, _task: &TaskInfo, _point: TaskPoint) -> Result<Progress<()>> {
        Ok(Progress::Done(()))
    }
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

#[cfg(test)]
mod tests {
    use criu_plugin_api::message::FileRecord;
    use criu_plugin_api::testing::MockHost;
    use criu_proto::images::RegFileEntry;

    use super::*;

    fn owned_by(pid: u32, pid_type: u32) -> FileEntry {
        let fown = FownEntry {
            pid,
            pid_type,
            ..FownEntry::default()
        };
        FileEntry {
            reg: Some(RegFileEntry {
                fown,
                ..RegFileEntry::default()
            }),
            ..FileEntry::default()
        }
    }

    #[test]
    fn threads_that_own_files_are_asked_for() {
        let mut mock = MockHost::new();
        mock.tasks.push(TaskInfo {
            pid: 7,
            threads: vec![7, 8, 9],
            ..TaskInfo::default()
        });
        let entries = [owned_by(7, F_OWNER_TID), owned_by(8, 1), owned_by(9, F_OWNER_TID)];
        for (id, entry) in (1..).zip(entries.into_iter().chain([FileEntry::default()])) {
            let record = FileRecord {
                id,
                fd_type: 1,
                entry: entry.encode_to_vec(),
            };
            mock.files.insert(id, record);
        }
        Owners.prepare(&Host::new(&mock, "files")).unwrap();
        assert_eq!(*mock.early.borrow(), [9]);
    }
}
