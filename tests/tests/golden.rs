//! Image sets of CRIU 4.2 (`golden/`, made of `guest.c` on Linux 6.18): all of their files are read to
//! the last byte, written again byte for byte, and hold what their decoded form (`*.json`) says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

#[path = "golden/json.rs"]
mod json;
#[path = "golden/payload.rs"]
mod payload;

use std::path::{Path, PathBuf};
use std::process::Command;

use criu_images::{ImageDir, PagemapReader, PagemapWriter, PagesWriter, Source, page_size};
use criu_proto::framing::{ImageReader, ImageWriter};
use criu_proto::images::*;
use criu_proto::magic::{self, Header, Id, kind_of};
use serde_json::Value;
use tempfile::TempDir;

const CASES: [&str; 15] = [
    "events",
    "files",
    "memory",
    "namespaces",
    "notify",
    "pipes",
    "plain",
    "signals",
    "sysvipc",
    "tcp",
    "threads",
    "timers",
    "tree",
    "tty",
    "unixsk",
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Unpacks a set into a directory that is removed with the value.
fn unpack(case: &str) -> (TempDir, ImageDir) {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden().join(format!("{case}.tar.gz"));
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(
        status.expect("tar runs").success(),
        "tar -xzf {}",
        archive.display()
    );
    let dir = ImageDir::open(folder.path()).unwrap();
    (folder, dir)
}

fn decoded(case: &str) -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(golden().join(format!("{case}.json"))).unwrap();
    match serde_json::from_str(&text).unwrap() {
        Value::Object(map) => map,
        other => panic!("{case}.json is no object: {other}"),
    }
}

#[test]
fn every_case_is_tested() {
    let mut found: Vec<String> = std::fs::read_dir(golden())
        .unwrap()
        .filter_map(|e| {
            e.unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .strip_suffix(".tar.gz")
                .map(str::to_owned)
        })
        .collect();
    found.sort();
    assert_eq!(found, CASES);
}

#[test]
fn all_files_are_written_again_byte_for_byte() {
    let (mut framed, mut raw) = (0, 0);
    for case in CASES {
        let (folder, dir) = unpack(case);
        for name in dir.list().unwrap() {
            let (kind, _) = kind_of(&name).unwrap_or_else(|| panic!("{case}/{name}: unknown kind"));
            if kind.header == Header::Raw {
                raw += 1;
                continue;
            }
            let bytes = std::fs::read(folder.path().join(&name)).unwrap();
            let mut reader =
                ImageReader::new(bytes.as_slice(), name.as_str(), Some(bytes.len() as u64), kind).unwrap();
            let mut writer = ImageWriter::new(Vec::new(), name.as_str(), kind).unwrap();
            payload::copy(kind, &mut reader, &mut writer).unwrap_or_else(|e| panic!("{case}: {e}"));
            reader.finish().unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(writer.finish().unwrap(), bytes, "{case}/{name}");
            framed += 1;
        }
    }
    // So that a set that unpacks to nothing is no success.
    assert!(framed > 200 && raw > 20, "{framed} images and {raw} raw files");
}

#[test]
fn all_entries_hold_what_the_json_says() {
    let mut compared = 0;
    for case in CASES {
        let (_folder, dir) = unpack(case);
        let json = decoded(case);
        let names: Vec<_> = json.keys().cloned().collect();
        assert_eq!(names, dir.list().unwrap(), "{case}");
        for (name, expected) in json {
            let (kind, _) = kind_of(&name).unwrap();
            if kind.header == Header::Raw {
                continue;
            }
            let entries = payload::entries(kind, &mut dir.open_named(kind, &name).unwrap()).unwrap();
            let expected = expected["entries"].as_array().unwrap();
            assert_eq!(entries.len(), expected.len(), "{case}/{name}");
            for (index, ((schema, bytes), expected)) in entries.iter().zip(expected).enumerate() {
                compared += json::compare(schema, bytes, expected)
                    .unwrap_or_else(|e| panic!("{case}/{name} entry {index}: {e}"));
            }
        }
    }
    assert!(compared > 10_000, "{compared} values compared");
}

#[test]
fn truncated_images_are_refused_or_end_at_an_entry() {
    for case in ["plain", "tcp", "sysvipc", "files", "unixsk"] {
        let (folder, dir) = unpack(case);
        for name in dir.list().unwrap() {
            let (kind, _) = kind_of(&name).unwrap();
            // The content of a ghost file goes to the end of the file, whatever its length.
            if kind.header == Header::Raw || kind.name == "GHOST_FILE" {
                continue;
            }
            let bytes = std::fs::read(folder.path().join(&name)).unwrap();
            let mut clean = Vec::new();
            for length in 0..bytes.len() {
                let sized = read_to_end(kind, &name, &bytes[..length], Some(length as u64));
                let unsized_ = read_to_end(kind, &name, &bytes[..length], None);
                assert_eq!(sized.is_ok(), unsized_.is_ok(), "{case}/{name} cut to {length}");
                if sized.is_ok() {
                    clean.push(length);
                }
            }
            // A clean end is a whole number of entries: as many as there are but the last, and the
            // header alone.
            let entries = payload::entries(kind, &mut dir.open_named(kind, &name).unwrap()).unwrap();
            let tops = payload::top_level(kind, entries.len());
            assert!(
                clean.len() <= tops,
                "{case}/{name}: clean ends at {clean:?}, {tops} entries"
            );
        }
    }
}

fn read_to_end(
    kind: &magic::ImageKind,
    name: &str,
    bytes: &[u8],
    size: Option<u64>,
) -> Result<(), criu_images::FrameError> {
    let mut reader = ImageReader::new(bytes, name, size, kind)?;
    payload::entries(kind, &mut reader)?;
    reader.finish()
}

#[test]
fn pagemaps_and_pages_are_written_again() {
    for case in CASES {
        let (folder, dir) = unpack(case);
        for name in dir.list().unwrap() {
            let Some((kind, Id::Number(id))) = kind_of(&name) else {
                continue;
            };
            if !name.starts_with("pagemap-") {
                continue;
            }
            let pagemap = PagemapReader::open(&dir, kind, id).unwrap();
            let copy = tempfile::tempdir().unwrap();
            let out = ImageDir::open(copy.path()).unwrap();
            let pages = PagesWriter::create(&out, pagemap.pages_id(), 2 * page_size()).unwrap();
            let mut writer = PagemapWriter::create(&out, kind, id, pages.id()).unwrap();
            for run in pagemap.runs() {
                writer.run(run.vaddr, run.nr_pages, run.flags).unwrap();
                let Source::File(extent) = run.source else {
                    panic!("{case}/{name}: {run:?}")
                };
                let mut window = pages.take(run.bytes()).unwrap();
                pagemap.read(extent, &mut window).unwrap();
                window.commit().unwrap();
            }
            writer.finish().unwrap();
            pages.finish().unwrap();
            let pages_name = magic::PAGES.file_name(pagemap.pages_id().into());
            for file in [name, pages_name] {
                let (old, new) = (folder.path().join(&file), copy.path().join(&file));
                assert!(
                    std::fs::read(old).unwrap() == std::fs::read(new).unwrap(),
                    "{case}/{file}"
                );
            }
        }
    }
}

// Typed spot checks: what the generated types hold, and not only what lies on the wire.

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

#[test]
fn inventory_and_process_tree() {
    let (_folder, dir) = unpack("tree");
    let inventory = dir.inventory().unwrap();
    assert_eq!(inventory.img_version, 2);
    assert_eq!(inventory.fdinfo_per_id, Some(true));
    assert_eq!(inventory.root_ids.unwrap().cgroup_ns_id, Some(8));
    assert_eq!(
        inventory.dump_criu_run_id.as_deref(),
        Some("4b5b4f5f-41a5-47d0-bc53-625b7c79e9f0")
    );
    let tree: Vec<PstreeEntry> = dir.read_all(&magic::PSTREE, 0).unwrap();
    let expected = &decoded("tree")["pstree.img"]["entries"];
    assert_eq!(tree.len(), expected.as_array().unwrap().len());
    for (task, expected) in tree.iter().zip(expected.as_array().unwrap()) {
        let numbers = [task.pid, task.ppid, task.pgid, task.sid].map(u64::from);
        assert_eq!(
            numbers,
            ["pid", "ppid", "pgid", "sid"].map(|f| expected[f].as_u64().unwrap())
        );
        let threads: Vec<_> = task.threads.iter().map(|t| Value::from(*t)).collect();
        assert_eq!(Value::from(threads), expected["threads"]);
    }
}

#[test]
fn registers_and_timers() {
    let (_folder, dir) = unpack("timers");
    let json = decoded("timers");
    let (name, expected) = json.iter().find(|(name, _)| name.starts_with("core-")).unwrap();
    let (kind, Id::Number(pid)) = kind_of(name).unwrap() else {
        panic!("{name} has no pid")
    };
    let core: CoreEntry = dir.read_one(kind, pid).unwrap();
    assert_eq!(core.mtype(), core_entry::March::X8664);
    let info = core.thread_info.unwrap();
    let regs = info.gpregs;
    let expected_regs = &expected["entries"][0]["thread_info"]["gpregs"];
    for (value, name) in [
        (regs.r15, "r15"),
        (regs.bp, "bp"),
        (regs.ax, "ax"),
        (regs.orig_ax, "orig_ax"),
        (regs.ip, "ip"),
        (regs.sp, "sp"),
        (regs.flags, "flags"),
        (regs.fs_base, "fs_base"),
    ] {
        assert_eq!(value, hex(&expected_regs[name]), "{name}");
    }
    assert_eq!(regs.mode(), UserX86RegsMode::Native);
    let task = core.tc.unwrap();
    assert_eq!(task.comm, b"guest");
    let timers = task.timers.unwrap();
    assert_eq!(
        (timers.real.isec, timers.real.vsec, timers.real.vusec),
        (100, 999, 556_670)
    );
    assert_eq!((timers.virt.vsec, timers.virt.vusec), (1000, 4000));
    let [posix] = timers.posix.as_slice() else {
        panic!("{:?}", timers.posix)
    };
    assert_eq!(
        (posix.si_signo, posix.sival_ptr, posix.isec, posix.vnsec),
        (12, 42, 50, 556_660_496)
    );
}

#[test]
fn names_of_open_files() {
    let (_folder, dir) = unpack("files");
    let files: Vec<FileEntry> = dir.read_all(&magic::FILES, 0).unwrap();
    let json = decoded("files");
    let expected = json["files.img"]["entries"].as_array().unwrap();
    assert_eq!(files.len(), expected.len());
    let mut names = 0;
    for (file, expected) in files.iter().zip(expected) {
        assert_eq!(u64::from(file.id), expected["id"].as_u64().unwrap());
        assert_eq!(file.r#type().as_str_name(), expected["type"].as_str().unwrap());
        if let Some(reg) = &file.reg {
            assert_eq!(reg.name, expected["reg"]["name"].as_str().unwrap().as_bytes());
            names += 1;
        }
    }
    assert!(names >= 10, "{names} regular files");
}

#[test]
fn payload_of_a_tcp_stream() {
    let (_folder, dir) = unpack("tcp");
    let mut image = dir.open_image(&magic::TCP_STREAM, 0x4969f8).unwrap();
    let stream: TcpStreamEntry = image.entry().unwrap();
    assert_eq!(
        (stream.inq_len, stream.inq_seq, stream.outq_len),
        (9, 1_612_310_027, 0)
    );
    assert_eq!(
        (stream.mss_clamp, stream.timestamp, stream.rcv_wup),
        (65495, Some(2_568_557_990), Some(1_612_310_027))
    );
    assert_eq!(image.payload(stream.inq_len.into()).unwrap(), b"to client");
    image.finish().unwrap();
}
