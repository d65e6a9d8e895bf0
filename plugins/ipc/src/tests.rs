//! Segments and semaphores of this very process, saved and brought back.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use criu_plugin_api::message::{MappingRecord, MappingTarget, RemoteCall, RemoteResult, TaskInfo};
use criu_plugin_api::testing::MockHost;
use criu_plugin_api::{FileKind, Host, MappingKind, Stage, StageHook, TaskKind, TaskPoint, Verdict};
use criu_proto::images::VmaEntry;
use prost::Message;

use crate::sem::{self, Undo};
use crate::shm::{Shm, sys};

const SIZE: u64 = 3 * 4096 - 100;

/// Runs a call in this process.
fn run(call: &RemoteCall) -> criu_plugin_api::Result<RemoteResult> {
    let mut buffers: Vec<Option<Vec<u8>>> = call.args.iter().map(|arg| arg.data.clone()).collect();
    let mut args = [0_u64; 6];
    for ((to, arg), buffer) in args.iter_mut().zip(&call.args).zip(&mut buffers) {
        *to = buffer.as_mut().map_or(arg.value, |data| data.as_mut_ptr() as u64);
    }
    // SAFETY: the calls of these kinds work on their buffers, which live here, and on mappings that the test
    // has made room for.
    let result = unsafe { libc::syscall(call.nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    let errno = nix::errno::Errno::last_raw();
    Ok(RemoteResult {
        value: if result < 0 { -i64::from(errno) } else { result },
        data: Vec::new(),
    })
}

fn pid() -> i32 {
    std::process::id().cast_signed()
}

fn host() -> MockHost {
    let mut host = MockHost::new();
    host.tasks = vec![TaskInfo {
        pid: pid(),
        host_pid: pid(),
        threads: vec![pid()],
        ..TaskInfo::default()
    }];
    host.remote = Some(Box::new(run));
    host
}

/// Attaches a segment where the kernel puts nothing by itself, so that the place stays free.
fn attach(id: i32, flags: i32) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x21_0000_0000);
    let to = NEXT.fetch_add(0x10_0000, Ordering::Relaxed);
    // SAFETY: nothing is mapped there.
    let at = unsafe { libc::shmat(id, to as *const libc::c_void, flags) };
    assert_eq!(at as u64, to);
    to
}

fn bytes(at: u64) -> &'static mut [u8] {
    // SAFETY: a segment of this size is attached there, and no other thread knows it.
    unsafe { std::slice::from_raw_parts_mut(at as *mut u8, SIZE as usize) }
}

fn detach(at: u64) {
    // SAFETY: nothing refers into the attachment any more.
    assert_eq!(unsafe { libc::shmdt(at as *const libc::c_void) }, 0);
}

/// Dumps the part of an attachment that begins at page `from` and is `pages` long.
fn dump(kind: &Shm, host: &MockHost, at: u64, (from, pages): (u64, u64)) -> MappingRecord {
    let path = format!("/proc/self/map_files/{at:x}-{:x}", at + (from + pages) * 4096);
    let writable = from != 0 || std::fs::symlink_metadata(path).unwrap().mode() & 0o200 != 0;
    let prot = if writable { 3 } else { 1 };
    let vma = VmaEntry {
        start: at + from * 4096,
        end: at + (from + pages) * 4096,
        pgoff: from * 4096,
        prot,
        flags: 1,
        status: 1,
        fd: -1,
        ..VmaEntry::default()
    };
    let target = MappingTarget {
        pid: pid(),
        vma: vma.encode_to_vec(),
        name: b"/SYSV00000000 (deleted)".to_vec(),
        ..MappingTarget::default()
    };
    let verdict = MappingKind::dump(kind, &Host::new(host, "ipc"), &target).unwrap();
    let Verdict::Entry(image) = verdict else {
        panic!("not saved: {verdict:?}");
    };
    let saved = VmaEntry::decode(image.vma.as_slice()).unwrap();
    assert_eq!(saved.status, 1 | 1 << 8 | 1 << 10);
    MappingRecord {
        pid: pid(),
        vma: image.vma,
        mm: Vec::new(),
    }
}

fn restore(kind: &Shm, host: &MockHost, record: &MappingRecord) {
    MappingKind::restore(kind, &Host::new(host, "ipc"), record).unwrap();
}

fn private() -> i32 {
    sys::get(0, SIZE, libc::IPC_CREAT | 0o640).unwrap()
}

#[test]
fn a_segment_that_went_comes_back() {
    let (host, kind, id) = (host(), Shm::default(), private());
    let services = Host::new(&host, "ipc");
    let (at, reader) = (attach(id, 0), attach(id, libc::SHM_RDONLY));
    bytes(at).fill(7);
    sys::set(id, 4, 5, 0o604).unwrap();
    sys::remove(id).unwrap();
    let was = sys::stat(id).unwrap();
    let records = [dump(&kind, &host, at, (0, 3)), dump(&kind, &host, reader, (0, 3))];
    kind.finish_dump(&services).unwrap();
    detach(at);
    detach(reader);
    assert!(sys::stat(id).is_err(), "it went with its last attachment");

    kind.at(&services, Stage::BeforeRestore).unwrap();
    assert!(sys::stat(id).is_err(), "nothing is made before the end");
    restore(&kind, &host, &records[0]);
    restore(&kind, &host, &records[1]);
    kind.at(&services, Stage::BeforeResume).unwrap();
    assert_eq!(sys::stat(id).unwrap(), was);
    assert!(bytes(reader).iter().all(|byte| *byte == 7));
    bytes(at)[0] = 8;
    assert_eq!(bytes(reader)[0], 8);
    detach(at);
    detach(reader);
    assert!(sys::stat(id).is_err());
}

#[test]
fn a_segment_that_stayed_is_reset() {
    let (host, kind, id) = (host(), Shm::default(), private());
    let services = Host::new(&host, "ipc");
    let at = attach(id, 0);
    bytes(at)[..4096].fill(1);
    let record = dump(&kind, &host, at, (0, 3));
    kind.finish_dump(&services).unwrap();
    // Used by someone else it is not touched.
    let error = kind.at(&services, Stage::BeforeRestore).unwrap_err();
    assert!(
        error.message.contains("1 attachments of other processes"),
        "{error}"
    );
    bytes(at).fill(9);
    detach(at);
    kind.at(&services, Stage::BeforeRestore).unwrap();
    restore(&kind, &host, &record);
    assert!(bytes(at)[..4096].iter().all(|byte| *byte == 1));
    assert!(bytes(at)[4096..].iter().all(|byte| *byte == 0));
    kind.at(&services, Stage::RestoreFailed).unwrap();
    detach(at);
    assert!(sys::stat(id).is_ok(), "it was not ours to remove");
    sys::remove(id).unwrap();
}

#[test]
fn a_part_of_an_attachment_comes_back() {
    let (host, kind, id) = (host(), Shm::default(), private());
    let services = Host::new(&host, "ipc");
    let at = attach(id, 0);
    bytes(at).fill(3);
    let free = |page: u64| {
        // SAFETY: the page is the test's, and nothing refers to it.
        let result = unsafe { libc::munmap((at + page * 4096) as *mut libc::c_void, 4096) };
        assert_eq!(result, 0);
    };
    free(1);
    let records = [dump(&kind, &host, at, (0, 1)), dump(&kind, &host, at, (2, 1))];
    kind.finish_dump(&services).unwrap();
    free(0);
    free(2);
    sys::remove(id).unwrap();
    kind.at(&services, Stage::BeforeRestore).unwrap();
    restore(&kind, &host, &records[0]);
    restore(&kind, &host, &records[1]);
    assert_eq!(sys::stat(id).unwrap().attachments, 2);
    assert_eq!((bytes(at)[0], bytes(at)[8192]), (3, 3));
    // SAFETY: asks about the page in the middle alone.
    let there = unsafe { libc::msync((at + 4096) as *mut libc::c_void, 4096, libc::MS_ASYNC) };
    assert_eq!(there, -1);
    kind.at(&services, Stage::BeforeResume).unwrap();
    sys::remove(id).unwrap();
    detach(at);
}

#[test]
fn a_segment_with_other_users_is_refused() {
    let (host, kind, id) = (host(), Shm::default(), private());
    let (at, other) = (attach(id, 0), attach(id, 0));
    dump(&kind, &host, at, (0, 3));
    let error = kind.finish_dump(&Host::new(&host, "ipc")).unwrap_err();
    assert!(
        error
            .message
            .contains("is attached 2 times, 1 of them in this tree"),
        "{error}"
    );
    sys::remove(id).unwrap();
    detach(at);
    detach(other);
}

#[test]
fn an_adjustment_is_found_and_taken_again() {
    // SAFETY: takes plain numbers.
    let id = unsafe { libc::semget(libc::IPC_PRIVATE, 3, 0o600) };
    let value = |number: i32, to: Option<i32>| {
        let command = if to.is_some() { libc::SETVAL } else { libc::GETVAL };
        // SAFETY: both commands take plain numbers.
        unsafe { libc::semctl(id, number, command, to.unwrap_or(0)) }
    };
    let undo = |number: u16, change: i16| {
        let mut operation = libc::sembuf {
            sem_num: number,
            sem_op: change,
            sem_flg: libc::SEM_UNDO as i16,
        };
        // SAFETY: one operation, which lives here.
        assert_eq!(unsafe { libc::semop(id, &raw mut operation, 1) }, 0);
    };
    value(0, Some(5));
    value(1, Some(30000));
    undo(0, -3);
    undo(1, 2000);
    let (host, kind) = (host(), Undo::default());
    let services = Host::new(&host, "ipc");
    let set = sem::sets().unwrap().into_iter().find(|set| set.id == id).unwrap();
    let found = sem::adjustments(&services, pid(), set).unwrap();
    assert_eq!(found, [(0, 3), (1, -2000)]);
    assert_eq!((value(0, None), value(1, None)), (2, 32000), "nothing was done");
    kind.keep(pid(), set, found);
    kind.finish_dump(&services).unwrap();

    // What the end of the process would have done; SETVAL clears the adjustments.
    value(0, Some(5));
    value(1, Some(30000));
    kind.prepare(&services).unwrap();
    TaskKind::restore(&kind, &services, &host.tasks[0], TaskPoint::Caught).unwrap();
    assert_eq!((value(0, None), value(1, None)), (2, 32000));
    // SAFETY: removes the test's own set.
    assert_eq!(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }, 0);
    let error = kind.prepare(&services).unwrap_err();
    assert!(error.message.contains("does not exist here"), "{error}");
}
