//! Saves and restores groups of this process, for the tests.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::rc::Rc;

use criu_plugin_api::message::{FileRecord, FileTarget, OpenRequest, Purpose, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Progress, Result, Stage, StageHook, Verdict};

use crate::{Fanotify, Inotify, State, Watches};

/// The kinds of one run.
pub(crate) struct Run {
    pub(crate) inotify: Inotify,
    pub(crate) fanotify: Fanotify,
    hook: Watches,
}

impl Run {
    pub(crate) fn new() -> Self {
        let state: Rc<State> = Rc::default();
        Self {
            inotify: Inotify::new(Rc::clone(&state)),
            fanotify: Fanotify::new(Rc::clone(&state)),
            hook: Watches(state),
        }
    }

    /// Opens all files of a set, and puts the watches on.
    pub(crate) fn restore(
        &self,
        kind: &impl FileKind,
        mock: &MockHost,
        records: &[FileRecord],
    ) -> Result<Vec<File>> {
        let host = Host::new(mock, "inotify");
        kind.prepare(&host, records)?;
        let mut opened = Vec::new();
        for record in records {
            let request = OpenRequest {
                file: record.clone(),
                pid: me(),
                purpose: Purpose::Descriptor as i32,
                flags: None,
            };
            let Progress::Done(done) = kind.open(&host, &request)? else {
                panic!("it has nothing to wait for");
            };
            // SAFETY: an opened descriptor belongs to the caller.
            opened.push(unsafe { File::from_raw_fd(done.fd) });
        }
        self.hook.at(&host, Stage::BeforeResume)?;
        self.hook.at(&host, Stage::Complete)?;
        Ok(opened)
    }
}

pub(crate) fn me() -> i32 {
    std::process::id().cast_signed()
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
    mock.descriptors.insert(me(), Vec::new());
    mock
}

/// Saves groups as files 1, 2, ... of a set.
pub(crate) fn dump(kind: &impl FileKind, mock: &MockHost, fds: &[&impl AsFd]) -> Result<Vec<FileRecord>> {
    let host = Host::new(mock, "inotify");
    let mut records = Vec::new();
    for (id, fd) in (1..).zip(fds) {
        let target = FileTarget {
            id,
            ..file_target(fd)?
        };
        match kind.dump(&host, &target)? {
            Verdict::Entry(image) => records.push(FileRecord {
                id,
                fd_type: image.fd_type,
                entry: image.entry,
            }),
            other => panic!("not saved: {other:?}"),
        }
    }
    kind.finish_dump(&host)?;
    Ok(records)
}

/// What fdinfo says that a group watches.
pub(crate) fn lines(group: &impl AsFd) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", group.as_fd().as_raw_fd())).unwrap();
    let lines = text.lines().filter(|line| line.contains("notify "));
    lines.map(str::to_owned).collect()
}
