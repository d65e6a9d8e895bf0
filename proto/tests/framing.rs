//! The framing against damaged and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::io::{self, Read};

use criu_proto::framing::{FrameError, ImageReader, ImageWriter, MAX_ENTRY};
use criu_proto::images::{PipeDataEntry, PstreeEntry, SeccompEntry};
use criu_proto::magic::{self, IMG_COMMON_MAGIC, ImageKind};
use proptest::prelude::*;

fn task(pid: u32) -> PstreeEntry {
    PstreeEntry {
        pid,
        ppid: 1,
        pgid: 2,
        sid: 3,
        threads: vec![pid, pid + 1],
    }
}

fn image(tasks: u32) -> Vec<u8> {
    let mut writer = ImageWriter::new(Vec::new(), "pstree.img", &magic::PSTREE).unwrap();
    for pid in 0..tasks {
        writer.entry(&task(pid)).unwrap();
    }
    assert_eq!(writer.entries_written(), u64::from(tasks));
    writer.finish().unwrap()
}

fn read(bytes: &[u8], size: Option<u64>, kind: &ImageKind) -> Result<Vec<PstreeEntry>, FrameError> {
    let mut reader = ImageReader::new(bytes, "pstree.img", size, kind)?;
    let entries = reader.entries().collect::<Result<_, _>>()?;
    reader.finish().map(|()| entries)
}

/// Both with a known and an unknown size; the results must agree.
fn read_both(bytes: &[u8], kind: &ImageKind) -> Result<Vec<PstreeEntry>, FrameError> {
    let sized = read(bytes, Some(bytes.len() as u64), kind);
    let streamed = read(bytes, None, kind);
    match (&sized, &streamed) {
        (Ok(a), Ok(b)) => assert_eq!(a, b),
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        other => panic!("{other:?}"),
    }
    sized
}

#[test]
fn headers() {
    let bytes = image(0);
    assert_eq!(
        bytes,
        [IMG_COMMON_MAGIC.to_le_bytes(), magic::PSTREE.magic.to_le_bytes()].concat()
    );
    let inventory = ImageWriter::new(Vec::new(), "i", &magic::INVENTORY)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(inventory, magic::INVENTORY.magic.to_le_bytes());
    let stats = ImageWriter::new(Vec::new(), "s", &magic::STATS)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(stats[..4], magic::IMG_SERVICE_MAGIC.to_le_bytes());
    assert!(
        ImageWriter::new(Vec::new(), "p", &magic::PAGES)
            .unwrap()
            .finish()
            .unwrap()
            .is_empty()
    );
    for kind in [&magic::CORE, &magic::INVENTORY, &magic::STATS] {
        assert!(
            matches!(read_both(&bytes, kind), Err(FrameError::Magic { .. })),
            "{kind}"
        );
    }
}

#[test]
fn truncations_name_the_place() {
    let bytes = image(3);
    let whole = read_both(&bytes, &magic::PSTREE).unwrap();
    assert_eq!(whole, [task(0), task(1), task(2)]);
    let entry = (bytes.len() - 8) / 3;
    for length in 0..bytes.len() {
        match read_both(&bytes[..length], &magic::PSTREE) {
            Ok(tasks) => {
                assert_eq!((length - 8) % entry, 0, "clean end at {length}");
                assert_eq!(tasks, whole[..(length - 8) / entry]);
            }
            Err(FrameError::Truncated {
                entry: number,
                offset,
                part,
                needed,
                left,
                ..
            }) => {
                assert_eq!(offset + left, length as u64, "{part}");
                assert!(needed > left);
                assert_eq!(number, length.saturating_sub(8) as u64 / entry as u64);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn overlong_lengths_allocate_nothing() {
    let mut bytes = image(1);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    let error = read_both(&bytes, &magic::PSTREE).unwrap_err();
    assert!(matches!(error, FrameError::TooLong { entry: 1, .. }), "{error}");
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&MAX_ENTRY.to_le_bytes());
    let error = read_both(&bytes, &magic::PSTREE).unwrap_err();
    assert!(
        matches!(
            error,
            FrameError::Truncated {
                left: 0,
                part: "message",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_zero_tail_is_no_entry_with_zeros() {
    let mut bytes = image(1);
    bytes.extend_from_slice(&[0; 4]);
    let error = read_both(&bytes, &magic::PSTREE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pstree.img: entry 1 at offset 28: pstree_entry lacks its required field pid"
    );
    // Where nothing is required an empty entry is one.
    let mut writer = ImageWriter::new(Vec::new(), "seccomp.img", &magic::SECCOMP).unwrap();
    writer.entry(&SeccompEntry::default()).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes.len(), 12);
    let mut reader = ImageReader::new(&bytes[..], "seccomp.img", Some(12), &magic::SECCOMP).unwrap();
    assert_eq!(reader.entry::<SeccompEntry>().unwrap(), SeccompEntry::default());
    assert!(matches!(
        reader.entry::<SeccompEntry>(),
        Err(FrameError::NoEntry { entry: 1, .. })
    ));
}

fn pipe() -> Vec<u8> {
    let mut writer = ImageWriter::new(Vec::new(), "pipes-data.img", &magic::PIPES_DATA).unwrap();
    writer
        .entry(&PipeDataEntry {
            pipe_id: 1,
            bytes: 5,
            size: None,
        })
        .unwrap();
    writer.payload(b"he").unwrap();
    writer.copy_payload(3, &mut &b"llo, world"[..]).unwrap();
    writer
        .entry(&PipeDataEntry {
            pipe_id: 2,
            bytes: 0,
            size: None,
        })
        .unwrap();
    writer.finish().unwrap()
}

#[test]
fn payloads() {
    let bytes = pipe();
    for skip in [false, true] {
        let mut reader = ImageReader::new(&bytes[..], "pipes-data.img", None, &magic::PIPES_DATA).unwrap();
        let entry: PipeDataEntry = reader.entry().unwrap();
        if skip {
            reader.skip_payload(entry.bytes.into()).unwrap();
        } else {
            let mut out = Vec::new();
            reader.copy_payload(2, &mut out).unwrap();
            out.extend(reader.payload(3).unwrap());
            assert_eq!(out, b"hello");
        }
        assert_eq!(reader.entry::<PipeDataEntry>().unwrap().pipe_id, 2);
        assert_eq!(reader.next_bytes().unwrap(), None);
        reader.finish().unwrap();
    }
    let mut reader = ImageReader::new(&bytes[..], "pipes-data.img", None, &magic::PIPES_DATA).unwrap();
    reader.entry::<PipeDataEntry>().unwrap();
    assert!(matches!(
        reader.finish(),
        Err(FrameError::Trailing { entries: 1, .. })
    ));
    for size in [None, Some(bytes.len() as u64)] {
        let mut reader = ImageReader::new(&bytes[..], "p", size, &magic::PIPES_DATA).unwrap();
        reader.entry::<PipeDataEntry>().unwrap();
        let at = reader.offset();
        let error = reader.payload(u64::MAX).unwrap_err();
        let expected = bytes.len() as u64 - at;
        assert!(
            matches!(error, FrameError::Truncated { entry: 0, left, .. } if left == expected),
            "{error}"
        );
        let mut reader = ImageReader::new(&bytes[..], "p", size, &magic::PIPES_DATA).unwrap();
        assert!(matches!(
            reader.skip_payload(1 << 40),
            Err(FrameError::Truncated { .. })
        ));
    }
}

#[test]
fn a_short_source_of_payload_is_an_error() {
    let mut writer = ImageWriter::new(Vec::new(), "p", &magic::PIPES_DATA).unwrap();
    let error = writer.copy_payload(9, &mut &b"short"[..]).unwrap_err();
    assert!(matches!(error, FrameError::CopyIn { length: 9, .. }), "{error}");
}

/// Gives one byte at a time, interrupted in between, as a pipe may.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = into.len().min(1);
        self.0.read(&mut into[..length])
    }
}

#[test]
fn short_reads_are_continued() {
    let bytes = image(2);
    let mut reader = ImageReader::new(Trickle(&bytes, false), "t", None, &magic::PSTREE).unwrap();
    let tasks: Vec<PstreeEntry> = reader.entries().collect::<Result<_, _>>().unwrap();
    assert_eq!(tasks, [task(0), task(1)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_both(&bytes, &magic::PSTREE);
        let mut framed = image(1);
        framed.extend_from_slice(&bytes);
        let _ = read_both(&framed, &magic::PSTREE);
        let mut entry = image(0);
        entry.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        entry.extend_from_slice(&bytes);
        let _ = read_both(&entry, &magic::PSTREE);
    }

    #[test]
    fn one_flipped_bit_never_panics(tasks in 1u32..4, bit in 0usize..1000) {
        let mut bytes = image(tasks);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = read_both(&bytes, &magic::PSTREE);
    }

    #[test]
    fn entries_come_back(pids in prop::collection::vec(0u32..u32::MAX - 1, 0..50)) {
        let mut writer = ImageWriter::new(Vec::new(), "pstree.img", &magic::PSTREE).unwrap();
        let tasks: Vec<_> = pids.into_iter().map(task).collect();
        for task in &tasks {
            writer.entry(task).unwrap();
        }
        prop_assert_eq!(read_both(&writer.finish().unwrap(), &magic::PSTREE).unwrap(), tasks);
    }
}
