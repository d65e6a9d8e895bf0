//! Files saved and opened again, in one process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};

use criu_plugin_api::message::{FileImage, FileRecord, OpenRequest, Purpose};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Refusal, Stage, StageHook, Verdict};
use criu_proto::images::{FileEntry, RegFileEntry};
use prost::Message;

use super::Reg;
use crate::testing::Scratch;

fn with(settings: &[(&str, &str)]) -> MockHost {
    let mut host = MockHost::new();
    for (name, value) in settings {
        host.settings
            .entry((*name).to_owned())
            .or_default()
            .push((*value).to_owned());
    }
    host
}

fn verdict(kind: &Reg, host: &MockHost, file: impl AsFd, id: u32) -> Verdict<FileImage> {
    let mut target = file_target(file).unwrap();
    target.id = id;
    kind.dump(&Host::new(host, "files"), &target).unwrap()
}

fn saved(kind: &Reg, host: &MockHost, file: impl AsFd, id: u32) -> FileRecord {
    match verdict(kind, host, file, id) {
        Verdict::Entry(image) => FileRecord {
            id,
            fd_type: image.fd_type,
            entry: image.entry,
        },
        other => panic!("not saved: {other:?}"),
    }
}

fn refused(kind: &Reg, host: &MockHost, file: impl AsFd) -> Refusal {
    match verdict(kind, host, file, 1) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn entry(record: &FileRecord) -> RegFileEntry {
    FileEntry::decode(record.entry.as_slice()).unwrap().reg.unwrap()
}

fn finish_dump(kind: &Reg, host: &MockHost) {
    kind.finish_dump(&Host::new(host, "files")).unwrap();
}

/// A restore of some files up to their descriptors.
fn restored(kind: &Reg, host: &MockHost, records: &[FileRecord]) -> Vec<File> {
    let host = Host::new(host, "files");
    kind.prepare(&host, records).unwrap();
    records.iter().map(|record| opened(kind, &host, record)).collect()
}

fn opened(kind: &Reg, host: &Host<'_>, record: &FileRecord) -> File {
    let purpose = Purpose::Descriptor as i32;
    let request = OpenRequest {
        file: record.clone(),
        pid: 1,
        purpose,
        flags: None,
    };
    match kind.open(host, &request).unwrap() {
        // SAFETY: the descriptor was just opened and handed over.
        Progress::Done(opened) => unsafe { File::from_raw_fd(opened.fd) },
        Progress::NotYet(what) => panic!("waits for {what}"),
    }
}

fn end(kind: &Reg, host: &MockHost, outcome: Outcome) {
    kind.finish_restore(&Host::new(host, "files"), outcome).unwrap();
}

fn link(file: &File) -> Vec<u8> {
    file_target(file).unwrap().link
}

#[test]
fn a_file_comes_back_with_flags_and_offset() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    dir.file("a.txt", b"hello");
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .open(dir.path("a.txt"))
        .unwrap();
    file.seek(SeekFrom::Start(3)).unwrap();
    let record = saved(&kind, &host, &file, 5);
    let entry = entry(&record);
    assert_eq!(
        (entry.id, entry.pos, entry.size, entry.ext),
        (5, 3, Some(5), None)
    );
    assert_eq!(
        entry.mode,
        Some(std::fs::metadata(dir.path("a.txt")).unwrap().mode())
    );
    finish_dump(&kind, &host);
    assert!(
        host.images().is_empty(),
        "an ordinary file has no image of its own"
    );

    let mut again = restored(&kind, &host, &[record]).remove(0);
    assert_eq!(again.stream_position().unwrap(), 3);
    assert_eq!(
        file_target(&again).unwrap().flags,
        file_target(&file).unwrap().flags
    );
}

#[test]
fn directories_symbolic_links_and_devices_come_back() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    symlink("nowhere", dir.path("link")).unwrap();
    let link = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(dir.path("link"))
        .unwrap();
    let files = [
        File::open(dir.path("")).unwrap(),
        link,
        File::options().write(true).open("/dev/null").unwrap(),
    ];
    let records: Vec<_> = files
        .iter()
        .zip(1..)
        .map(|(f, id)| saved(&kind, &host, f, id))
        .collect();
    assert!(records.iter().all(|r| entry(r).size.is_none()));
    for (file, again) in files.iter().zip(restored(&kind, &host, &records)) {
        let (was, is) = (file_target(file).unwrap(), file_target(&again).unwrap());
        assert_eq!((was.ino, was.mode, was.flags), (is.ino, is.mode, is.flags));
    }
}

#[test]
fn other_devices_are_not_served_unless_by_path() {
    let (host, kind) = (MockHost::new(), Reg::default());
    let device = "/dev/tty";
    let held = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(device)
        .unwrap();
    assert!(matches!(verdict(&kind, &host, &held, 1), Verdict::Entry(_)));
    let mut target = file_target(&held).unwrap();
    target.flags = 0;
    assert_eq!(
        kind.dump(&Host::new(&host, "files"), &target).unwrap(),
        Verdict::NotMine
    );
}

#[test]
fn a_deleted_file_is_carried_along_once() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let mut file = dir.file("ghost.txt", b"");
    file.write_all(b"deleted but open").unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o4711))
        .unwrap();
    let writer = OpenOptions::new()
        .append(true)
        .open(dir.path("ghost.txt"))
        .unwrap();
    dir.remove("ghost.txt");
    let was = file.metadata().unwrap();
    let records = [saved(&kind, &host, &file, 1), saved(&kind, &host, &writer, 2)];
    assert_eq!(
        entry(&records[0]).name,
        dir.path("ghost.txt").into_os_string().into_encoded_bytes()
    );
    finish_dump(&kind, &host);
    assert_eq!(host.images(), ["ghost-file-1.img", "remap-fpath.img"]);
    drop((file, writer));

    let again = restored(&kind, &host, &records);
    end(&kind, &host, Outcome::Success);
    assert!(dir.names().is_empty());
    assert_eq!(
        link(&again[0]),
        [
            dir.path("ghost.txt").as_os_str().as_encoded_bytes(),
            b" (deleted)"
        ]
        .concat()
    );
    let mut content = String::new();
    (&again[0]).seek(SeekFrom::Start(0)).unwrap();
    (&again[0]).read_to_string(&mut content).unwrap();
    assert_eq!(content, "deleted but open");
    let is = again[0].metadata().unwrap();
    assert_eq!((was.mode(), was.uid(), was.mtime(), was.mtime_nsec() / 1000), {
        (is.mode(), is.uid(), is.mtime(), is.mtime_nsec() / 1000)
    });
    assert_eq!(is.ino(), again[1].metadata().unwrap().ino());
}

#[test]
fn a_ghost_gives_way_to_a_newer_file_and_goes_on_failure() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let file = dir.file("name", b"old");
    dir.remove("name");
    dir.file("name", b"new");
    let record = saved(&kind, &host, &file, 1);
    finish_dump(&kind, &host);
    let again = restored(&kind, &host, std::slice::from_ref(&record)).remove(0);
    assert_eq!(dir.names().len(), 2);
    let mut content = [0; 3];
    again.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"old");
    end(&kind, &host, Outcome::Failure);
    assert_eq!(dir.names(), ["name"]);
}

#[test]
fn deleted_directories_links_and_fifos_come_back() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let path = |name: &str| {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
            .open(dir.path(name))
    };
    std::fs::create_dir(dir.path("outer")).unwrap();
    let inner = dir.file("outer/inner", b"within");
    let outer = File::open(dir.path("outer")).unwrap();
    symlink("far/away", dir.path("symlink")).unwrap();
    let symlink = path("symlink").unwrap();
    nix::unistd::mkfifo(&dir.path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let fifo = path("fifo").unwrap();
    for name in ["outer/inner", "symlink", "fifo"] {
        dir.remove(name);
    }
    std::fs::remove_dir(dir.path("outer")).unwrap();
    let files = [inner, outer, symlink, fifo];
    let records: Vec<_> = files
        .iter()
        .zip(1..)
        .map(|(f, id)| saved(&kind, &host, f, id))
        .collect();
    finish_dump(&kind, &host);
    let again = restored(&kind, &host, &records);
    end(&kind, &host, Outcome::Success);
    assert!(dir.names().is_empty());
    for (file, again) in files.iter().zip(&again) {
        assert_eq!(link(file), link(again));
        assert_eq!(file.metadata().unwrap().mode(), again.metadata().unwrap().mode());
    }
    assert_eq!(nix::fcntl::readlinkat(&again[2], "").unwrap(), "far/away");
}

#[test]
fn a_file_born_without_a_name_can_still_be_given_one() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(dir.path(""))
    };
    let Ok(file) = open(libc::O_TMPFILE) else {
        return eprintln!("skipped: this file system has no O_TMPFILE");
    };
    (&file).write_all(b"nameless").unwrap();
    let reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let records = [saved(&kind, &host, &file, 1), saved(&kind, &host, &reader, 2)];
    finish_dump(&kind, &host);
    let again = restored(&kind, &host, &records);
    end(&kind, &host, Outcome::Success);
    assert!(dir.names().is_empty());
    for (was, is) in [&file, &reader].iter().zip(&again) {
        let (was, is) = (file_target(was).unwrap(), file_target(is).unwrap());
        assert_eq!(
            (was.flags, was.pos, was.size, was.nlink),
            (is.flags, is.pos, is.size, is.nlink)
        );
    }
    let from = format!("/proc/self/fd/{}", again[0].as_raw_fd());
    let follow = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
    let here = nix::fcntl::AT_FDCWD;
    nix::unistd::linkat(here, from.as_str(), here, &dir.path("named"), follow).unwrap();
    assert_eq!(std::fs::read(dir.path("named")).unwrap(), b"nameless");
    assert_eq!(again[1].metadata().unwrap().nlink(), 1);
}

#[test]
fn a_sparse_ghost_stays_sparse() {
    for fiemap in [false, true] {
        let host = with(if fiemap { &[("ghost-fiemap", "1")] } else { &[] });
        let (dir, kind) = (Scratch::new(), Reg::default());
        let file = dir.file("sparse", b"");
        let size = 64 << 20;
        file.set_len(size).unwrap();
        file.write_all_at(b"deep inside", 33 << 20).unwrap();
        dir.remove("sparse");
        let record = saved(&kind, &host, &file, 1);
        finish_dump(&kind, &host);
        let again = restored(&kind, &host, &[record]).remove(0);
        end(&kind, &host, Outcome::Success);
        let mut content = [0; 11];
        again.read_exact_at(&mut content, 33 << 20).unwrap();
        assert_eq!(&content, b"deep inside");
        let meta = again.metadata().unwrap();
        assert_eq!(meta.size(), size);
        assert!(meta.blocks() * 512 < 2 << 20, "{} blocks", meta.blocks());
    }
}

#[test]
fn a_large_ghost_needs_the_limit_raised() {
    let (dir, kind) = (Scratch::new(), Reg::default());
    let file = dir.file("large", &vec![7; 1001]);
    dir.remove("large");
    let refusal = refused(&kind, &with(&[("ghost-limit", "1000")]), &file);
    assert!(refusal.remedy.unwrap().contains("--ghost-limit 1001"));
    let kind = Reg::default();
    saved(&kind, &with(&[("ghost-limit", "1001")]), &file, 1);
}

#[test]
fn a_damaged_ghost_is_noticed_and_leaves_nothing() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let file = dir.file("ghost", b"sixteen bytes...");
    dir.remove("ghost");
    let record = saved(&kind, &host, &file, 1);
    finish_dump(&kind, &host);
    let services = Host::new(&host, "files");
    let mut image = Vec::new();
    services
        .open_image("ghost-file-1.img")
        .unwrap()
        .unwrap()
        .read_to_end(&mut image)
        .unwrap();
    for length in 0..image.len() {
        host.put_image("ghost-file-1.img", &image[..length]).unwrap();
        let error = kind
            .prepare(&services, std::slice::from_ref(&record))
            .unwrap_err();
        assert!(error.message.contains("ghost-file-1.img"), "{error}");
        assert!(dir.names().is_empty());
    }
}

#[test]
fn a_link_holds_a_file_with_other_names() {
    let (dir, host, kind) = (Scratch::new(), with(&[("link-remap", "1")]), Reg::default());
    let file = dir.file("one", b"content");
    dir.link("one", "two");
    dir.remove("one");
    let refusal = refused(&Reg::default(), &MockHost::new(), &file);
    assert!(refusal.remedy.unwrap().contains("--link-remap"));

    let record = saved(&kind, &host, &file, 5);
    let (link_id, link_path) = host.dumped.borrow()[0].clone();
    assert_eq!(
        link_path,
        dir.path("link_remap.1").into_os_string().into_encoded_bytes()
    );
    finish_dump(&kind, &host);
    assert_eq!(host.images(), ["remap-fpath.img"]);
    kind.hook().at(&Host::new(&host, "files"), Stage::Dumped).unwrap();
    kind.hook()
        .at(&Host::new(&host, "files"), Stage::BeforeThaw)
        .unwrap();
    assert_eq!(dir.names(), ["link_remap.1", "two"]);

    let link_file = File::open(dir.path("link_remap.1")).unwrap();
    let link_record = saved(&kind, &host, &link_file, link_id);
    let again = restored(&kind, &host, &[record.clone(), link_record.clone()]).remove(0);
    end(&kind, &host, Outcome::Failure);
    assert_eq!(
        dir.names(),
        ["link_remap.1", "two"],
        "a failed restore keeps what the image needs"
    );
    assert_eq!(again.metadata().unwrap().ino(), file.metadata().unwrap().ino());
    let again = restored(&kind, &host, &[record, link_record]).remove(0);
    end(&kind, &host, Outcome::Success);
    assert_eq!(dir.names(), ["two"]);
    assert_eq!(link(&again), link(&file));
}

#[test]
fn a_failed_dump_takes_its_links_back() {
    let (dir, host, kind) = (Scratch::new(), with(&[("link-remap", "1")]), Reg::default());
    let file = dir.file("one", b"content");
    dir.link("one", "two");
    dir.remove("one");
    saved(&kind, &host, &file, 5);
    assert_eq!(dir.names(), ["link_remap.1", "two"]);
    kind.hook()
        .at(&Host::new(&host, "files"), Stage::BeforeThaw)
        .unwrap();
    assert_eq!(dir.names(), ["two"]);
}

#[test]
fn a_changed_file_stops_the_restore_before_anything_is_made() {
    let (dir, host, kind) = (Scratch::new(), MockHost::new(), Reg::default());
    let file = dir.file("f", b"12345");
    let record = saved(&kind, &host, &file, 1);
    file.write_all_at(b"longer", 4).unwrap();
    let error = kind.prepare(&Host::new(&host, "files"), &[record]).unwrap_err();
    assert!(error.message.contains("saved size 5, here 10"), "{error}");
}

#[test]
fn an_external_file_is_left_to_the_user() {
    let (dir, kind) = (Scratch::new(), Reg::default());
    let file = dir.file("f", b"12345");
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
    let mount: u32 = info
        .lines()
        .find_map(|l| l.strip_prefix("mnt_id:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let key = format!("file[{mount:x}:{:x}]", file.metadata().unwrap().ino());
    let host = with(&[("external", &key)]);
    let record = saved(&kind, &host, &file, 1);
    assert_eq!(
        (entry(&record).ext, entry(&record).name),
        (Some(true), key.clone().into_bytes())
    );

    let mut host = MockHost::new();
    let error = kind
        .prepare(&Host::new(&host, "files"), std::slice::from_ref(&record))
        .unwrap_err();
    assert!(error.remedy.unwrap().contains(&key));
    host.inherited
        .insert(key, OwnedFd::from(file.try_clone().unwrap()));
    let again = restored(&kind, &host, &[record]).remove(0);
    assert_eq!(again.metadata().unwrap().ino(), file.metadata().unwrap().ino());
}

#[test]
fn an_inherited_file_is_not_checked_but_the_others_are() {
    let (dir, kind) = (Scratch::new(), Reg::default());
    let (file, other) = (dir.file("inherited", b"1"), dir.file("checked", b"2"));
    let records = [
        saved(&kind, &MockHost::new(), &file, 1),
        saved(&kind, &MockHost::new(), &other, 2),
    ];
    let path = dir.path("inherited");
    let key = path.to_str().unwrap().trim_start_matches('/').to_owned();
    let mut host = with(&[("inherit-fd", &format!("fd[9]:{key}"))]);
    host.inherited
        .insert(key, OwnedFd::from(other.try_clone().unwrap()));
    dir.remove("inherited");
    let again = restored(&kind, &host, &records);
    assert_eq!(
        again[0].metadata().unwrap().ino(),
        other.metadata().unwrap().ino()
    );
    dir.remove("checked");
    let error = kind.prepare(&Host::new(&host, "files"), &records).unwrap_err();
    assert!(error.message.contains("checked"), "{error}");
}
