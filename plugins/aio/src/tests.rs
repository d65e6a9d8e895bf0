//! Rings of this very process, saved and made again.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use criu_plugin_api::message::{MappingRecord, MappingTarget, RemoteCall, RemoteResult, TaskInfo};
use criu_plugin_api::testing::MockHost;
use criu_plugin_api::{Host, MappingKind, Stage, StageHook, Verdict};
use criu_proto::framing::ImageWriter;
use criu_proto::images::{MmEntry, PagemapEntry, PagemapHead, VmaEntry};
use criu_proto::magic;
use prost::Message;

use crate::Aio;

const LENGTH: u64 = 4096;

/// Runs a call in this process.
fn run(call: &RemoteCall) -> criu_plugin_api::Result<RemoteResult> {
    let mut buffers: Vec<Option<Vec<u8>>> = call.args.iter().map(|arg| arg.data.clone()).collect();
    let mut args = [0_u64; 6];
    for ((to, arg), buffer) in args.iter_mut().zip(&call.args).zip(&mut buffers) {
        *to = buffer.as_mut().map_or(arg.value, |data| data.as_mut_ptr() as u64);
    }
    // SAFETY: the calls of this kind work on their buffers, which live here, and on rings and pages that
    // the test has made.
    let result = unsafe { libc::syscall(call.nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    let errno = nix::errno::Errno::last_raw();
    let rooms = call.args.iter().zip(buffers).filter(|(arg, _)| arg.room > 0);
    let data = rooms.map(|(_, buffer)| buffer.unwrap()).collect();
    Ok(RemoteResult {
        value: if result < 0 { -i64::from(errno) } else { result },
        data,
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
        ..TaskInfo::default()
    }];
    host.remote = Some(Box::new(run));
    host
}

/// A context at an address where the kernel puts nothing by itself, so that it stays free.
fn set_up() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x20_0000_0000);
    let mut context = 0_u64;
    // SAFETY: `context` is a place for the result.
    let result = unsafe { libc::syscall(libc::SYS_io_setup, 20, &raw mut context) };
    assert_eq!(result, 0);
    let to = NEXT.fetch_add(0x1_0000, Ordering::Relaxed);
    let (length, flags) = (LENGTH as usize, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED);
    // SAFETY: the ring is a page long, and there is nothing where it goes.
    let at = unsafe { libc::mremap(context as *mut _, length, length, flags, to as *mut libc::c_void) };
    assert_eq!(at as u64, to);
    to
}

fn destroy(context: u64) {
    // SAFETY: nothing of the ring is used afterwards.
    assert_eq!(unsafe { libc::syscall(libc::SYS_io_destroy, context) }, 0);
}

/// Reads `length` bytes of `file`, with this mark.
fn submit(context: u64, file: &File, mark: u64, length: u64) {
    assert!(
        try_submit(context, file, mark, length),
        "no room for request {mark}"
    );
}

/// The same; false when the context takes no more.
fn try_submit(context: u64, file: &File, mark: u64, length: u64) -> bool {
    static mut BUFFER: [u8; 64] = [0; 64];
    let mut request = [0_u64; 8];
    request[0] = mark;
    request[2] = (file.as_raw_fd() as u64) << 32;
    request[3] = (&raw mut BUFFER) as u64;
    request[4] = length;
    let list = [request.as_mut_ptr()];
    // SAFETY: the request is read during the call, and its buffer is a static one.
    let result = unsafe { libc::syscall(libc::SYS_io_submit, context, 1, list.as_ptr()) };
    let errno = nix::errno::Errno::last();
    assert!(result == 1 || errno == nix::errno::Errno::EAGAIN, "{errno}");
    result == 1
}

/// Fetches up to `most` events: mark and result.
fn fetch(context: u64, most: usize) -> Vec<(u64, u64)> {
    let mut events = vec![[0_u64; 4]; most];
    // SAFETY: there is room for `most` events.
    let got = unsafe {
        libc::syscall(
            libc::SYS_io_getevents,
            context,
            0,
            most,
            events.as_mut_ptr(),
            0_usize,
        )
    };
    events.truncate(usize::try_from(got).unwrap());
    events.iter().map(|event| (event[0], event[2])).collect()
}

/// Head and tail.
fn position(context: u64) -> (u32, u32) {
    // SAFETY: the ring is mapped, and its header has these words.
    unsafe { (*((context + 8) as *const u32), *((context + 12) as *const u32)) }
}

fn data_file() -> File {
    let mut file = criu_plugin_api::testing::memory_file("data").unwrap();
    file.write_all(&[7; 100]).unwrap();
    file
}

fn target(context: u64) -> MappingTarget {
    let vma = VmaEntry {
        start: context,
        end: context + LENGTH,
        status: 1,
        fd: -1,
        ..VmaEntry::default()
    };
    MappingTarget {
        pid: pid(),
        vma: vma.encode_to_vec(),
        name: b"/[aio] (deleted)".to_vec(),
        ..MappingTarget::default()
    }
}

/// Dumps a ring, its page included, as the core does.
fn dump(kind: &Aio, host: &MockHost, context: u64) -> MappingRecord {
    let Verdict::Entry(image) = kind.dump(&Host::new(host, "aio"), &target(context)).unwrap() else {
        panic!("not saved");
    };
    assert!(image.dump_pages);
    // SAFETY: the ring is mapped and a page long.
    let page = unsafe { std::slice::from_raw_parts(context as *const u8, LENGTH as usize) };
    host.put_image("pages-3.img", &[&[0xff; 8192][..], page].concat())
        .unwrap();
    let mut pagemap = ImageWriter::new(Vec::new(), "pagemap", &magic::PAGEMAP).unwrap();
    pagemap.entry(&PagemapHead { pages_id: 3 }).unwrap();
    let mut entry = PagemapEntry {
        vaddr: 4096,
        nr_pages: Some(2),
        flags: Some(4),
        ..PagemapEntry::default()
    };
    pagemap.entry(&entry).unwrap();
    entry = PagemapEntry {
        vaddr: context,
        nr_pages: Some(1),
        ..entry
    };
    pagemap.entry(&entry).unwrap();
    host.put_image(&format!("pagemap-{}.img", pid()), &pagemap.finish().unwrap())
        .unwrap();
    let mm = MmEntry::decode(image.mm_fields.as_slice()).unwrap();
    assert_eq!(
        (mm.aios.len(), mm.aios[0].id, mm.aios[0].ring_len),
        (1, context, 4096)
    );
    MappingRecord {
        pid: pid(),
        vma: image.vma,
        mm: image.mm_fields,
    }
}

#[test]
fn a_ring_comes_back_at_its_address_with_its_events() {
    let (host, kind, file) = (host(), Aio::default(), data_file());
    let context = set_up();
    // The events of interest lie around the end of the ring.
    for mark in 0..120 {
        submit(context, &file, mark, 1);
        assert_eq!(fetch(context, 1).len(), 1);
    }
    for mark in 0..15 {
        submit(context, &file, 1000 + mark, mark + 1);
    }
    let record = dump(&kind, &host, context);
    kind.at(&Host::new(&host, "aio"), Stage::Dumped).unwrap();
    destroy(context);

    kind.restore(&Host::new(&host, "aio"), &record).unwrap();
    assert_eq!(position(context), (120, 8));
    submit(context, &file, 2000, 50);
    let expected: Vec<_> = (0..15)
        .map(|mark| (1000 + mark, mark + 1))
        .chain([(2000, 50)])
        .collect();
    assert_eq!(fetch(context, 7), expected[..7]);
    assert_eq!(fetch(context, 100), expected[7..]);
    destroy(context);
}

#[test]
fn a_full_ring_comes_back() {
    let (host, kind, file) = (host(), Aio::default(), data_file());
    let context = set_up();
    for mark in 0..77 {
        submit(context, &file, mark, 1);
        fetch(context, 1);
    }
    let waiting = (0..)
        .take_while(|&mark| try_submit(context, &file, mark, mark % 60))
        .count();
    assert!(waiting > 50);
    let record = dump(&kind, &host, context);
    let before = position(context);
    destroy(context);
    kind.restore(&Host::new(&host, "aio"), &record).unwrap();
    assert_eq!(position(context), before);
    let expected: Vec<_> = (0..waiting as u64).map(|mark| (mark, mark % 60)).collect();
    assert_eq!(fetch(context, 200), expected);
    submit(context, &file, 1, 1);
    destroy(context);
}

#[test]
fn an_idle_ring_comes_back_empty() {
    let (host, kind, file) = (host(), Aio::default(), data_file());
    let context = set_up();
    submit(context, &file, 1, 1);
    fetch(context, 1);
    let record = dump(&kind, &host, context);
    destroy(context);
    kind.restore(&Host::new(&host, "aio"), &record).unwrap();
    assert_eq!(position(context), (1, 1));
    assert!(fetch(context, 10).is_empty());
    submit(context, &file, 5, 6);
    assert_eq!(fetch(context, 10), [(5, 6)]);
    destroy(context);
}

#[test]
fn a_completion_during_the_dump_is_noticed() {
    let (host, kind, file) = (host(), Aio::default(), data_file());
    let context = set_up();
    dump(&kind, &host, context);
    submit(context, &file, 1, 1);
    let error = kind.at(&Host::new(&host, "aio"), Stage::Dumped).unwrap_err();
    assert!(error.message.contains("in flight"), "{error}");
    destroy(context);
}

#[test]
fn a_ring_of_nobody_is_refused() {
    let (mut host, kind) = (host(), Aio::default());
    let context = set_up();
    // As the kernel answers in a child that has inherited the mapping.
    host.remote = Some(Box::new(|_| {
        Ok(RemoteResult {
            value: -22,
            data: Vec::new(),
        })
    }));
    let verdict = kind.dump(&Host::new(&host, "aio"), &target(context)).unwrap();
    assert!(matches!(verdict, Verdict::Refused(refusal) if refusal.what.contains("inherited")));
    destroy(context);
}

#[test]
fn damaged_pages_are_refused_before_anything_is_made() {
    let (host, kind) = (host(), Aio::default());
    let context = set_up();
    let record = dump(&kind, &host, context);
    destroy(context);
    // Each time a restore of its own: one reads the page map of a process once.
    let refused = |record: &MappingRecord| {
        let restored = Aio::default().restore(&Host::new(&host, "aio"), record);
        restored.unwrap_err().message
    };
    let mut other = record.clone();
    let mut mm = MmEntry::decode(record.mm.as_slice()).unwrap();
    mm.aios[0].nr_req += 1;
    other.mm = mm.encode_to_vec();
    assert!(refused(&other).contains("requests make no ring of"));
    host.put_image("pages-3.img", &[0; 3 * 4096]).unwrap();
    assert!(refused(&record).contains("layout"));
    host.put_image("pages-3.img", &[0; 4096]).unwrap();
    assert!(refused(&record).contains("reading pages-3.img"));
    host.put_image(&format!("pagemap-{}.img", pid()), b"").unwrap();
    assert!(refused(&record).contains("pagemap-"));
}
