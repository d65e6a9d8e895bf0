//! Locks saved, dropped and taken again, in one process.

use std::fs::File;
use std::os::fd::AsRawFd;

use criu_plugin_api::message::{FileTarget, RemoteCall, RemoteResult, Slot, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{ErrorCode, Host, TaskKind, TaskPoint};
use criu_proto::images::FileLockEntry;
use criu_proto::magic;

use super::dump::Locked;
use super::{FLOCK, LEASE, Locks, OFD, POSIX};
use crate::images;
use crate::testing::Scratch;

/// Runs a call in this very process.
fn run(call: &RemoteCall) -> criu_plugin_api::Result<RemoteResult> {
    let mut args = [0_u64; 3];
    let mut buffers = Vec::new();
    for (to, arg) in args.iter_mut().zip(&call.args) {
        *to = arg.value;
        if arg.data.is_some() || arg.room > 0 {
            let mut buffer = arg.data.clone().unwrap_or_default();
            buffer.resize(buffer.len().max(arg.room as usize), 0);
            *to = buffer.as_mut_ptr() as u64;
            buffers.push((buffer, arg.room));
        }
    }
    // SAFETY: the calls of this kind work at most on their buffers, which live here.
    let result = unsafe { libc::syscall(call.nr, args[0], args[1], args[2]) };
    let errno = nix::errno::Errno::last_raw();
    let data = buffers
        .into_iter()
        .filter(|(_, room)| *room > 0)
        .map(|(buffer, _)| buffer)
        .collect();
    Ok(RemoteResult {
        value: if result < 0 { -i64::from(errno) } else { result },
        data,
    })
}

fn host(files: &[File]) -> MockHost {
    let pid = std::process::id().cast_signed();
    let slots = files.iter().zip(1..).map(|(f, file_id)| Slot {
        fd: f.as_raw_fd(),
        file_id,
        ..Slot::default()
    });
    let mut host = MockHost::new();
    host.tasks = vec![TaskInfo {
        pid,
        host_pid: pid,
        files_id: 1,
        ..TaskInfo::default()
    }];
    host.descriptors = [(pid, slots.collect())].into();
    host.remote = Some(Box::new(run));
    host
}

/// Made before any lock is taken: a look at a file closes a descriptor of it, which drops POSIX locks.
fn targets(files: &[File]) -> Vec<FileTarget> {
    files
        .iter()
        .zip(1..)
        .map(|(f, id)| FileTarget {
            id,
            ..file_target(f).unwrap()
        })
        .collect()
}

fn note(host: &Host<'_>, targets: &[FileTarget]) -> Locked {
    let mut locked = Locked::default();
    for target in targets {
        assert!(locked.note(host, target).unwrap());
    }
    locked
}

fn entry(flag: u32, write: bool, file: &File, start: i64, len: i64) -> FileLockEntry {
    let pid = std::process::id().cast_signed();
    FileLockEntry {
        flag,
        r#type: u32::from(write),
        pid,
        fd: file.as_raw_fd(),
        start,
        len,
    }
}

fn saved(host: &MockHost) -> Vec<FileLockEntry> {
    images::entries(&Host::new(host, "files"), "filelocks.img", &magic::FILE_LOCKS).unwrap()
}

#[test]
fn every_sort_of_lock_is_saved_and_taken_again() {
    let dir = Scratch::new();
    // A read lease needs that nobody has the file open for writing.
    drop(dir.file("lease", b""));
    let lease = File::open(dir.path("lease")).unwrap();
    let files = [
        dir.file("posix", b""),
        dir.file("flock", b""),
        dir.file("ofd", b""),
        lease,
    ];
    let locks = [
        entry(POSIX, true, &files[0], 10, 20),
        entry(FLOCK, false, &files[1], 0, 0),
        entry(OFD, false, &files[2], 5, 0),
        entry(LEASE, false, &files[3], 0, 0),
    ];
    let (services, targets) = (host(&files), targets(&files));
    let host = Host::new(&services, "files");
    for lock in &locks {
        super::restore::take(&host, lock).unwrap();
    }
    note(&host, &targets).save(&host, true).unwrap();
    assert_eq!(saved(&services), locks);

    // All are dropped, and taken again by the kind.
    for lock in &locks {
        release(lock);
    }
    let kind = Locks::default();
    kind.prepare(&host).unwrap();
    let task = services.tasks[0].clone();
    kind.restore(&host, &task, TaskPoint::AfterFiles).unwrap();
    assert!(held(&files).is_empty(), "too early");
    kind.restore(&host, &task, TaskPoint::Caught).unwrap();
    note(&host, &targets).save(&host, true).unwrap();
    assert_eq!(saved(&services), locks);
}

/// Releases a lock, by the calls that take one.
fn release(lock: &FileLockEntry) {
    let mut flock = libc::flock {
        l_type: libc::F_UNLCK as i16,
        l_whence: 0,
        l_start: lock.start,
        l_len: lock.len,
        l_pid: 0,
    };
    // SAFETY: plain numbers, and a lock that lives during the call.
    let result = unsafe {
        match lock.flag {
            FLOCK => libc::flock(lock.fd, libc::LOCK_UN),
            LEASE => libc::fcntl(lock.fd, libc::F_SETLEASE, libc::F_UNLCK),
            OFD => libc::fcntl(lock.fd, libc::F_OFD_SETLK, &raw mut flock),
            _ => libc::fcntl(lock.fd, libc::F_SETLK, &raw mut flock),
        }
    };
    assert_eq!(result, 0);
}

fn held(files: &[File]) -> Vec<String> {
    let infos = files
        .iter()
        .map(|f| std::fs::read_to_string(format!("/proc/self/fdinfo/{}", f.as_raw_fd())).unwrap());
    infos
        .flat_map(|i| {
            i.lines()
                .filter(|l| l.starts_with("lock:"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_lease_that_is_being_broken_is_broken_again() {
    for (write, to) in [
        (true, libc::F_RDLCK),
        (true, libc::F_UNLCK),
        (false, libc::F_UNLCK),
    ] {
        let dir = Scratch::new();
        drop(dir.file("f", b""));
        let file = File::options()
            .read(true)
            .write(write)
            .open(dir.path("f"))
            .unwrap();
        let files = [file];
        let (services, targets) = (host(&files), targets(&files));
        let host = Host::new(&services, "files");
        let breaking = FileLockEntry {
            r#type: to.cast_unsigned() | super::BREAKING,
            ..entry(LEASE, write, &files[0], 0, 0)
        };
        super::restore::take(&host, &breaking).unwrap();
        note(&host, &targets).save(&host, true).unwrap();
        assert_eq!(saved(&services), [breaking]);
        assert_eq!(super::restore::read(&host).unwrap(), [breaking]);
        release(&breaking);
    }
}

#[test]
fn locks_are_found_among_many_descriptors() {
    let dir = Scratch::new();
    let files: Vec<File> = (0..300).map(|n| dir.file(&format!("{n}"), b"")).collect();
    let (services, targets) = (host(&files), targets(&files));
    let host = Host::new(&services, "files");
    let lock = entry(FLOCK, true, &files[299], 0, 0);
    super::restore::take(&host, &lock).unwrap();
    let mut locked = Locked::default();
    assert!(!locked.note(&host, &targets[0]).unwrap());
    assert!(locked.note(&host, &targets[299]).unwrap());
    locked.save(&host, true).unwrap();
    assert_eq!(saved(&services), [lock]);
}

#[test]
fn a_lock_needs_the_option() {
    let dir = Scratch::new();
    let files = [dir.file("locked", b"")];
    let (services, targets) = (host(&files), targets(&files));
    let host = Host::new(&services, "files");
    super::restore::take(&host, &entry(FLOCK, true, &files[0], 0, 0)).unwrap();
    let error = note(&host, &targets).save(&host, false).unwrap_err();
    assert_eq!(error.code, ErrorCode::Refused);
    assert!(error.remedy.unwrap().contains("--file-locks"));
    assert!(services.images().is_empty());
}

#[test]
fn a_lock_on_a_file_of_another_plugin_is_found() {
    let files = [criu_plugin_api::testing::memory_file("locked").unwrap()];
    let services = host(&files);
    let host = Host::new(&services, "files");
    let lock = entry(OFD, true, &files[0], 0, 0);
    super::restore::take(&host, &lock).unwrap();
    let mut locked = Locked::default();
    let dir = Scratch::new();
    locked
        .note(&host, &file_target(dir.file("other", b"")).unwrap())
        .unwrap();
    locked.save(&host, true).unwrap();
    assert_eq!(saved(&services), [lock]);
}

#[test]
fn a_lock_that_cannot_be_meant_is_refused() {
    let dir = Scratch::new();
    let file = dir.file("f", b"");
    let good = entry(FLOCK, true, &file, 0, 0);
    let bad = [
        FileLockEntry { flag: 3, ..good },
        FileLockEntry { r#type: 2, ..good },
        FileLockEntry { r#type: 4, ..good },
        FileLockEntry { fd: -1, ..good },
        FileLockEntry { start: -1, ..good },
        FileLockEntry { len: -1, ..good },
    ];
    for entry in bad {
        let services = MockHost::new();
        let host = Host::new(&services, "files");
        let mut image = images::create(&host, "filelocks.img", &magic::FILE_LOCKS).unwrap();
        image.entry(&entry).unwrap();
        image.finish().unwrap();
        assert!(Locks::default().prepare(&host).is_err(), "{entry:?}");
    }
}
