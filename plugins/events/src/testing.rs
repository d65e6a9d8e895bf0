//! Saves and restores descriptors of this process, for the tests.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};

use criu_plugin_api::message::{FileRecord, FileTarget, OpenRequest, Purpose, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::FileEntry;
use nix::fcntl::{FcntlArg, fcntl};
use prost::Message;

pub(crate) fn flags(fd: impl AsFd) -> i32 {
    fcntl(fd, FcntlArg::F_GETFL).unwrap()
}

pub(crate) fn me() -> i32 {
    std::process::id().cast_signed()
}

pub(crate) fn entry_of(record: &FileRecord) -> FileEntry {
    FileEntry::decode(record.entry.as_slice()).unwrap()
}

/// A host whose tree is this process.
pub(crate) fn tree() -> MockHost {
    let mut mock = MockHost::new();
    mock.tasks.push(TaskInfo {
        pid: me(),
        host_pid: me(),
        threads: vec![me()],
        ..TaskInfo::default()
    });
    mock
}

/// Saves descriptions as files 1, 2, ... of a set.
pub(crate) fn dump(kind: &impl FileKind, mock: &MockHost, fds: &[&impl AsFd]) -> Vec<FileRecord> {
    let host = Host::new(mock, "events");
    let records = (1..)
        .zip(fds)
        .map(|(id, fd)| {
            let target = FileTarget {
                id,
                ..file_target(fd).unwrap()
            };
            match kind.dump(&host, &target).unwrap() {
                Verdict::Entry(image) => FileRecord {
                    id,
                    fd_type: image.fd_type,
                    entry: image.entry,
                },
                other => panic!("not saved: {other:?}"),
            }
        })
        .collect();
    kind.finish_dump(&host).unwrap();
    records
}

/// Opens all files of a set.
pub(crate) fn restore(kind: &impl FileKind, mock: &MockHost, records: &[FileRecord]) -> Result<Vec<File>> {
    let host = Host::new(mock, "events");
    kind.prepare(&host, records)?;
    let mut opened: Vec<Option<File>> = records.iter().map(|_| None).collect();
    for (at, record) in records.iter().enumerate() {
        if opened[at].is_some() {
            continue;
        }
        let request = OpenRequest {
            file: record.clone(),
            pid: me(),
            purpose: Purpose::Descriptor as i32,
            flags: None,
        };
        let Progress::Done(Opened { fd, also }) = kind.open(&host, &request)? else {
            panic!("it has nothing to wait for");
        };
        for (id, fd) in also
            .iter()
            .map(|also| (also.id, also.fd))
            .chain([(record.id, fd)])
        {
            let index = records.iter().position(|r| r.id == id).unwrap();
            // SAFETY: an opened descriptor belongs to the caller.
            opened[index] = Some(unsafe { File::from_raw_fd(fd) });
        }
    }
    Ok(opened
        .into_iter()
        .map(|file| file.expect("each is opened"))
        .collect())
}
