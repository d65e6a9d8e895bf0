//! Maps of this process, saved and made again.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Verdict};
use criu_proto::framing::ImageWriter;
use criu_proto::images::BpfmapDataEntry;
use criu_proto::magic;
use nix::errno::Errno;

use crate::sys::{self, Info};
use crate::{BpfMap, boot};

/// A map, or `None` where bpf(2) is not to be had.
fn map(map_type: u32, flags: u32) -> Option<OwnedFd> {
    let info = Info {
        map_type,
        key_size: 4,
        value_size: 12,
        max_entries: 7,
        flags,
        name: b"test_map".to_vec(),
        ..Info::default()
    };
    match sys::create(&info) {
        Ok(map) => Some(map),
        Err(Errno::ENOSYS | Errno::EPERM) => {
            eprintln!("skipped: bpf(2) is not available");
            None
        }
        Err(errno) => panic!("BPF_MAP_CREATE: {errno}"),
    }
}

fn dump(kind: &BpfMap, host: &MockHost, fd: impl AsFd, id: u32) -> Verdict<FileRecord> {
    let mut target = file_target(&fd).unwrap();
    target.id = id;
    match kind.dump(&Host::new(host, "bpf"), &target).unwrap() {
        Verdict::Entry(image) => Verdict::Entry(FileRecord {
            id,
            fd_type: image.fd_type,
            entry: image.entry,
        }),
        Verdict::NotMine => Verdict::NotMine,
        Verdict::Refused(refusal) => Verdict::Refused(refusal),
    }
}

fn saved(kind: &BpfMap, host: &MockHost, fd: impl AsFd, id: u32) -> FileRecord {
    match dump(kind, host, fd, id) {
        Verdict::Entry(record) => record,
        other => panic!("not saved: {other:?}"),
    }
}

fn open(kind: &BpfMap, host: &MockHost, record: &FileRecord) -> OwnedFd {
    let request = OpenRequest {
        file: record.clone(),
        pid: 1,
        purpose: 0,
        flags: None,
    };
    match kind.open(&Host::new(host, "bpf"), &request).unwrap() {
        // SAFETY: the descriptor was just opened and handed over.
        Progress::Done(opened) => unsafe { OwnedFd::from_raw_fd(opened.fd) },
        Progress::NotYet(what) => panic!("waits for {what}"),
    }
}

fn value(map: &OwnedFd, key: u32) -> Option<[u8; 12]> {
    let mut value = [0; 12];
    sys::lookup(map, &key.to_ne_bytes(), &mut value)
        .unwrap()
        .then_some(value)
}

#[test]
fn maps_come_back_with_their_descriptions() {
    for map_type in [sys::ARRAY, sys::HASH] {
        // BPF_F_NO_PREALLOC is for hashes.
        let Some(map) = map(map_type, u32::from(map_type == sys::HASH)) else {
            return;
        };
        let (host, kind) = (MockHost::new(), BpfMap::default());
        let services = Host::new(&host, "bpf");
        sys::update(&map, &3_u32.to_ne_bytes(), b"three values").unwrap();
        sys::update(&map, &5_u32.to_ne_bytes(), b"five  values").unwrap();
        let was = sys::info(&map).unwrap();
        let reader = sys::open(was.id, sys::RDONLY).unwrap();
        let records = [saved(&kind, &host, &map, 1), saved(&kind, &host, &reader, 2)];
        kind.finish_dump(&services).unwrap();
        drop((map, reader));

        kind.prepare(&services, &records).unwrap();
        let again = records.each_ref().map(|record| open(&kind, &host, record));
        kind.finish_restore(&services, Outcome::Success).unwrap();
        let is = sys::info(&again[0]).unwrap();
        assert_eq!(Info { id: was.id, ..is }, was);
        assert_eq!(value(&again[0], 3).as_ref(), Some(b"three values"));
        assert_eq!(value(&again[0], 4).is_some(), map_type == sys::ARRAY);
        sys::update(&again[0], &5_u32.to_ne_bytes(), b"both see it!").unwrap();
        assert_eq!(value(&again[1], 5).as_ref(), Some(b"both see it!"));
        let denied = sys::update(&again[1], &5_u32.to_ne_bytes(), b"not so......");
        assert_eq!(denied, Err(Errno::EPERM), "it is open for reading only");
    }
}

#[test]
fn a_frozen_map_stays_frozen() {
    let Some(map) = map(sys::ARRAY, 0) else { return };
    let (host, kind) = (MockHost::new(), BpfMap::default());
    let services = Host::new(&host, "bpf");
    sys::update(&map, &0_u32.to_ne_bytes(), b"frozen value").unwrap();
    sys::freeze(&map).unwrap();
    let record = saved(&kind, &host, &map, 1);
    kind.finish_dump(&services).unwrap();
    kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
    let again = open(&kind, &host, &record);
    assert_eq!(value(&again, 0).as_ref(), Some(b"frozen value"));
    assert_eq!(
        sys::update(&again, &0_u32.to_ne_bytes(), &[0; 12]),
        Err(Errno::EPERM)
    );
}

#[test]
fn other_maps_are_refused() {
    let Some(map) = map(6, 0) else { return };
    let verdict = dump(&BpfMap::default(), &MockHost::new(), &map, 1);
    assert!(matches!(verdict, Verdict::Refused(refusal) if refusal.what.contains("an array per processor")));
}

#[test]
fn damaged_contents_are_refused() {
    let Some(map) = map(sys::HASH, 0) else { return };
    let (host, kind) = (MockHost::new(), BpfMap::default());
    let services = Host::new(&host, "bpf");
    sys::update(&map, &0_u32.to_ne_bytes(), &[1; 12]).unwrap();
    let record = saved(&kind, &host, &map, 1);
    kind.finish_dump(&services).unwrap();
    // Two elements are said to be there, one is.
    let mut image = ImageWriter::new(Vec::new(), "bpfmap-data.img", &magic::BPFMAP_DATA).unwrap();
    let entry = BpfmapDataEntry {
        map_id: sys::info(&map).unwrap().id,
        keys_bytes: 4,
        values_bytes: 12,
        count: 2,
    };
    image.entry(&entry).unwrap();
    image.payload(&[0; 16]).unwrap();
    host.put_image("bpfmap-data.img", &image.finish().unwrap())
        .unwrap();
    let error = kind
        .prepare(&services, std::slice::from_ref(&record))
        .unwrap_err();
    assert!(error.message.contains("do not fit its sizes"), "{error}");
}

#[test]
fn a_map_that_others_have_kept_is_used_again() {
    let Some(map) = map(sys::HASH, 0) else { return };
    let (host, kind) = (MockHost::new(), BpfMap::default());
    let services = Host::new(&host, "bpf");
    sys::update(&map, &0_u32.to_ne_bytes(), b"at the dump!").unwrap();
    let record = saved(&kind, &host, &map, 1);
    kind.finish_dump(&services).unwrap();
    sys::update(&map, &0_u32.to_ne_bytes(), b"changed then").unwrap();
    let restored = || {
        kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
        let again = open(&kind, &host, &record);
        kind.finish_restore(&services, Outcome::Success).unwrap();
        again
    };
    let id = |map: &OwnedFd| sys::info(map).unwrap().id;
    let again = restored();
    assert_eq!(id(&again), id(&map));
    assert_eq!(value(&again, 0).as_ref(), Some(b"changed then"));
    // A number of another boot means nothing here.
    boot::write(&services, "another".to_owned()).unwrap();
    let copy = restored();
    assert_ne!(id(&copy), id(&map));
    assert_eq!(value(&copy, 0).as_ref(), Some(b"at the dump!"));
}
