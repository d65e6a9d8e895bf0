//! Entries that contradict themselves, and rings of this process.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest, RemoteCall, RemoteResult, Slot, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, MappingKind, Progress, Stage, StageHook, Verdict};
use criu_proto::framing::ImageWriter;
use criu_proto::images::VmaEntry;
use prost::Message;

use crate::IoUring;
use crate::entry::{Buffer, IMAGE, Registered, RingEntry};
use crate::layout::Layout;
use crate::picture::Picture;
use crate::ring::Ring;
use crate::sys::{self, Memory, Params, setup};

const ID: u32 = 7;
const FD: i32 = 3;

fn pid() -> i32 {
    std::process::id().cast_signed()
}

/// A tree of this process and one thread more, with a ring at descriptor 3 and a file at 4.
fn host() -> MockHost {
    let mut host = MockHost::new();
    host.tasks = vec![TaskInfo {
        pid: pid(),
        host_pid: pid(),
        threads: vec![pid(), pid() + 1],
        ..TaskInfo::default()
    }];
    let slot = |fd, file_id| Slot {
        fd,
        file_id,
        ..Slot::default()
    };
    host.descriptors.insert(pid(), vec![slot(FD, ID), slot(4, 8)]);
    host
}

fn files() -> Vec<FileRecord> {
    vec![FileRecord {
        id: ID,
        fd_type: 16,
        entry: Vec::new(),
    }]
}

fn entry() -> RingEntry {
    let layout = Layout::of(4, 8, 0).unwrap();
    RingEntry {
        id: ID,
        pid: pid(),
        owner: pid(),
        sq_entries: 4,
        cq_entries: 8,
        sq_head: 10,
        sq_tail: 12,
        cq_head: 5,
        cq_tail: 10,
        cqes: vec![0; layout.cqes().1],
        array: vec![0; layout.array().1],
        sqes: vec![0; layout.sqes()],
        files: vec![-1, 4],
        buffers: vec![Buffer::default()],
        registered: vec![Registered {
            tid: pid() + 1,
            pid: pid(),
            slot: 15,
        }],
        ..RingEntry::default()
    }
}

fn prepare(entries: &[RingEntry]) -> criu_plugin_api::Result<usize> {
    let host = host();
    let mut writer = ImageWriter::new(Vec::new(), "io-uring.img", &IMAGE).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    host.put_image("io-uring.img", &writer.finish().unwrap()).unwrap();
    let kind = IoUring::default();
    Ok(kind.prepare(&Host::new(&host, "io_uring"), &files())?.len())
}

#[test]
fn contradictions_are_refused_before_anything_is_made() {
    assert_eq!(prepare(&[entry()]).unwrap(), 1);
    assert!(prepare(&[entry(), entry()]).is_err(), "twice");
    type Change = (&'static str, fn(&mut RingEntry));
    let changes: [Change; 27] = [
        ("another id", |e| e.id = 9),
        ("no process", |e| e.pid = 1),
        ("no owner", |e| e.owner = 1),
        ("flags", |e| e.setup = 1 << 14),
        ("size 0", |e| e.sq_entries = 0),
        ("size 3", |e| e.sq_entries = 3),
        ("a great size", |e| e.cq_entries = 1 << 31),
        ("more requests than places", |e| e.sq_tail = 15),
        ("a tail before the head", |e| e.sq_tail = 9),
        ("more completions than places", |e| e.cq_head = 1),
        ("a head behind the tail", |e| e.cq_head = 11),
        ("used before it was enabled", |e| e.setup = setup::R_DISABLED),
        ("short completions", |e| e.cqes.truncate(5)),
        ("long completions", |e| e.cqes.push(0)),
        ("no array", |e| e.array.clear()),
        ("short requests", |e| e.sqes.truncate(64)),
        ("longer requests", |e| e.setup = setup::SQE128),
        ("longer completions", |e| e.setup = setup::CQE32),
        ("an array too many", |e| e.setup = setup::NO_SQARRAY),
        ("an issuer of another process", |e| e.issuer = 1),
        ("an issuer without need", |e| e.issuer = pid()),
        ("no issuer", |e| e.setup = setup::SINGLE_ISSUER),
        ("no such descriptor", |e| e.files = vec![5]),
        ("no such place", |e| e.registered[0].slot = 16),
        ("no such thread", |e| e.registered[0].tid = 1),
        ("a thread without credentials", |e| e.setup = setup::SQPOLL),
        ("attached to itself", |e| {
            e.setup = setup::SQPOLL;
            e.credentials = Some(crate::credentials::Credentials {
                uids: vec![0; 4],
                gids: vec![0; 4],
                ..Default::default()
            });
            e.attached = ID;
        }),
    ];
    for (what, change) in changes {
        let mut changed = entry();
        change(&mut changed);
        let error = prepare(&[changed]).expect_err(what);
        println!("{what}: {error}");
    }
    let mut worn = entry();
    (worn.sq_head, worn.sq_tail) = (4_000_000_000, 4_000_000_000);
    (worn.cq_head, worn.cq_tail) = (4_000_000_000, 4_000_000_000);
    let error = prepare(&[worn]).unwrap_err();
    assert!(error.message.contains("4000000000 requests"), "{error}");
    assert!(error.remedy.unwrap().contains("io_uring.longest="));
}

/// Runs a call in this process.
fn run(call: &RemoteCall) -> criu_plugin_api::Result<RemoteResult> {
    let mut buffers: Vec<Option<Vec<u8>>> = call.args.iter().map(|arg| arg.data.clone()).collect();
    let mut args = [0_u64; 6];
    for ((to, arg), buffer) in args.iter_mut().zip(&call.args).zip(&mut buffers) {
        *to = buffer.as_mut().map_or(arg.value, |data| data.as_mut_ptr() as u64);
    }
    // SAFETY: the calls of this kind ask rings, work on their buffers, which live here, and map and unmap memory that
    // nothing else knows of.
    let result = unsafe { libc::syscall(call.nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    let errno = nix::errno::Errno::last_raw();
    Ok(RemoteResult {
        value: if result < 0 { -i64::from(errno) } else { result },
        data: Vec::new(),
    })
}

/// Makes requests that do nothing.
fn nops(ring: &OwnedFd, params: &Params, count: u32) {
    let memory = Memory::map(ring, 0, 4096).unwrap();
    let tail = memory.load(params.sq.tail).unwrap();
    memory.store(params.sq.tail, tail.wrapping_add(count)).unwrap();
    assert_eq!(sys::enter_ring(ring, count, 0, 0), count.into());
}

/// Rings of every shape are known for what they are, used or not, and nothing of them is changed by that.
#[test]
fn shapes_are_found_out() {
    let mut host = host();
    host.tasks[0].threads = vec![pid()];
    host.remote = Some(Box::new(run));
    let services = Host::new(&host, "io_uring");
    for shape in 0..8_u32 {
        for used in [0, 1, 5, 8] {
            let flag = |bit: u32, flag: u32| if shape >> bit & 1 != 0 { flag } else { 0 };
            let flags = flag(0, setup::CQE32) | flag(1, setup::SQE128) | flag(2, setup::NO_SQARRAY);
            let mut params = Params {
                flags,
                ..Params::default()
            };
            // Large enough for the length of its requests to show in pages.
            let ring = sys::make(64, &mut params).unwrap();
            nops(&ring, &params, used);
            let target = file_target(&ring).unwrap();
            let picture = Picture::take(&services).unwrap();
            let seen = Ring::of(&picture, &target).unwrap();
            let before = seen.info().unwrap();
            let found = crate::probe::find(&services, &seen, &[]).unwrap();
            assert_eq!(found.flags, flags, "used {used} times");
            assert_eq!(seen.info().unwrap(), before);
        }
    }
}

/// A ring is saved, made again in this very process, and goes on where it was.
#[test]
fn a_ring_comes_back() {
    let mut host = host();
    host.remote = Some(Box::new(run));
    host.tasks[0].threads = vec![pid()];
    let mut params = Params::default();
    let ring = sys::make(8, &mut params).unwrap();
    let (fd, local) = (ring.as_raw_fd(), Memory::map(&ring, 0, 4096).unwrap());
    for _ in 0..7 {
        nops(&ring, &params, 3);
        let tail = local.load(params.cq.tail).unwrap();
        local.store(params.cq.head, tail).unwrap();
    }
    // All but two are fetched; the rest lies around the end of the ring.
    local.store(params.cq.head, 19).unwrap();
    for _ in 0..2 {
        nops(&ring, &params, 5);
    }
    host.descriptors.insert(
        pid(),
        vec![Slot {
            fd,
            file_id: 1,
            ..Slot::default()
        }],
    );
    let services = Host::new(&host, "io_uring");
    let kind = IoUring::default();
    kind.at(&services, Stage::BeforeFreeze).unwrap();
    let target = file_target(&ring).unwrap();
    let verdict = FileKind::dump(&kind, &services, &target).unwrap();
    let Verdict::Entry(saved) = verdict else {
        panic!("{verdict:?}")
    };
    kind.finish_dump(&services).unwrap();
    drop(local);

    let record = FileRecord {
        id: 1,
        fd_type: saved.fd_type,
        entry: saved.entry,
    };
    let kind = IoUring::default();
    kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
    let request = OpenRequest {
        file: record,
        pid: pid(),
        ..OpenRequest::default()
    };
    let Progress::Done(opened) = kind.open(&services, &request).unwrap() else {
        panic!("it waits")
    };
    // SAFETY: the descriptor was just opened and handed over.
    let again = unsafe { OwnedFd::from_raw_fd(opened.fd) };
    // It takes the place of the old one, whose owner has it from now on.
    // SAFETY: dup2 takes plain numbers, and both descriptors are open.
    assert_eq!(unsafe { libc::dup2(again.as_raw_fd(), fd) }, fd);
    kind.at(&services, Stage::BeforeResume).unwrap();
    kind.at(&services, Stage::Complete).unwrap();
    let info = crate::fdinfo::FdInfo::parse(
        &std::fs::read(format!("/proc/self/fdinfo/{}", again.as_raw_fd())).unwrap(),
    )
    .unwrap();
    assert_eq!((info.cached_sq_head, info.sq_tail), (31, 31));
    assert_eq!((info.cq_head, info.cached_cq_tail), (19, 31));
    nops(&again, &params, 4);
    drop(ring);
}

#[test]
fn mappings_of_other_parts_are_refused() {
    let (host, kind) = (host(), IoUring::default());
    for offset in [1 << 12, 0x8000_0000, 0x1000_1000] {
        let vma = VmaEntry {
            start: 0x1000,
            end: 0x2000,
            pgoff: offset,
            ..VmaEntry::default()
        };
        let target = criu_plugin_api::message::MappingTarget {
            pid: pid(),
            vma: vma.encode_to_vec(),
            name: b"anon_inode:[io_uring]".to_vec(),
            ..Default::default()
        };
        let verdict = MappingKind::dump(&kind, &Host::new(&host, "io_uring"), &target).unwrap();
        assert!(matches!(verdict, Verdict::Refused(_)), "{offset:#x}: {verdict:?}");
    }
}
