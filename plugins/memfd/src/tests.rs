//! Memory objects saved and made again, in one process.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use criu_plugin_api::huge_pages::Window;
use criu_plugin_api::message::{FileImage, FileRecord, OpenRequest, Purpose};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Verdict, image};
use criu_proto::images::MemfdInodeEntry;
use criu_proto::magic;

use crate::{Memfd, sys};

fn verdict(kind: &Memfd, host: &MockHost, file: impl AsFd, id: u32) -> Verdict<FileImage> {
    let mut target = file_target(file).unwrap();
    target.id = id;
    kind.dump(&Host::new(host, "memfd"), &target).unwrap()
}

fn saved(kind: &Memfd, host: &MockHost, file: impl AsFd, id: u32) -> FileRecord {
    match verdict(kind, host, file, id) {
        Verdict::Entry(image) => {
            assert_eq!(image.vma_status, 1 << 14);
            FileRecord {
                id,
                fd_type: image.fd_type,
                entry: image.entry,
            }
        }
        other => panic!("not saved: {other:?}"),
    }
}

fn entries(host: &MockHost) -> Vec<MemfdInodeEntry> {
    image::read_all(&Host::new(host, "memfd"), &magic::MEMFD_INODE).unwrap()
}

fn open(kind: &Memfd, host: &MockHost, record: &FileRecord, purpose: Purpose, flags: Option<i32>) -> File {
    let flags = flags.map(i32::cast_unsigned);
    let request = OpenRequest {
        file: record.clone(),
        pid: 1,
        purpose: purpose as i32,
        flags,
    };
    match kind.open(&Host::new(host, "memfd"), &request).unwrap() {
        // SAFETY: the descriptor was just opened and handed over.
        Progress::Done(opened) => unsafe { File::from_raw_fd(opened.fd) },
        Progress::NotYet(what) => panic!("waits for {what}"),
    }
}

#[test]
fn a_memfd_comes_back_with_all_its_descriptions() {
    let (host, kind) = (MockHost::new(), Memfd::default());
    let services = Host::new(&host, "memfd");
    let mut file = sys::memfd_create(b"na/med \xff", libc::MFD_ALLOW_SEALING).unwrap();
    file.set_len(8192).unwrap();
    file.write_all(b"memfd data").unwrap();
    let reader = File::from(sys::reopen(None, file.as_raw_fd(), libc::O_RDONLY).unwrap());
    sys::add_seals(&file, libc::F_SEAL_SHRINK as u32).unwrap();
    let records = [saved(&kind, &host, &file, 1), saved(&kind, &host, &reader, 2)];
    kind.finish_dump(&services).unwrap();
    let [entry] = entries(&host).try_into().unwrap();
    assert_eq!(
        (entry.name.as_slice(), entry.size, entry.seals, entry.inode_id),
        (&b"na/med \xff"[..], 8192, 2, 1)
    );
    assert_eq!(
        (u64::from(entry.shmid), entry.mode),
        (file.metadata().unwrap().ino(), Some(0o100777))
    );
    assert_eq!(host.memory.borrow().len(), 1, "the contents are saved once");

    kind.prepare(&services, &records).unwrap();
    let mut again = records
        .each_ref()
        .map(|r| open(&kind, &host, r, Purpose::Descriptor, None));
    kind.finish_restore(&services, Outcome::Success).unwrap();
    for (was, is) in [&file, &reader].iter().zip(&again) {
        let (was, is) = (file_target(was).unwrap(), file_target(is).unwrap());
        assert_eq!(
            (was.link, was.flags, was.pos, was.size),
            (is.link, is.flags, is.pos, is.size)
        );
    }
    assert_eq!(
        again[0].metadata().unwrap().ino(),
        again[1].metadata().unwrap().ino()
    );
    assert_eq!(sys::seals(again[0].as_fd()).unwrap(), 2);
    again[0].seek(SeekFrom::Start(0)).unwrap();
    again[0].write_all(b"MEMFD").unwrap();
    let mut content = [0; 10];
    again[1].read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"MEMFD data");
}

#[test]
fn shared_anonymous_memory_keeps_its_name() {
    let (host, kind) = (MockHost::new(), Memfd::default());
    let services = Host::new(&host, "memfd");
    let file = match sys::shared_anonymous(3 * 4096, None) {
        Ok(file) => file,
        Err(errno) => return eprintln!("skipped: /proc/self/map_files is closed: {errno}"),
    };
    file.write_all_at(b"shared", 4096).unwrap();
    let record = saved(&kind, &host, &file, 1);
    kind.finish_dump(&services).unwrap();
    let [entry] = entries(&host).try_into().unwrap();
    assert_eq!(
        (entry.name.as_slice(), entry.size, entry.seals),
        (&b"/dev/zero"[..], 3 * 4096, 1)
    );

    kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
    let again = open(&kind, &host, &record, Purpose::Mapping, Some(libc::O_RDWR));
    kind.finish_restore(&services, Outcome::Success).unwrap();
    assert_eq!(file_target(&again).unwrap().link, b"/dev/zero (deleted)");
    let mut content = [0; 6];
    again.read_exact_at(&mut content, 4096).unwrap();
    assert_eq!(&content, b"shared");
}

#[test]
fn a_write_seal_comes_after_the_mappings() {
    let (host, kind) = (MockHost::new(), Memfd::default());
    let services = Host::new(&host, "memfd");
    let file = sys::memfd_create(b"sealed", libc::MFD_ALLOW_SEALING).unwrap();
    file.set_len(4096).unwrap();
    file.write_all_at(b"fixed", 0).unwrap();
    let seals = (libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL) as u32;
    sys::add_seals(&file, seals).unwrap();
    let record = saved(&kind, &host, &file, 1);
    kind.finish_dump(&services).unwrap();

    kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
    let again = open(&kind, &host, &record, Purpose::Descriptor, None);
    let for_mapping = open(&kind, &host, &record, Purpose::Mapping, Some(libc::O_RDWR));
    assert_eq!(
        file_target(&for_mapping).unwrap().flags & 3,
        libc::O_RDONLY as u32
    );
    assert_eq!(sys::seals(again.as_fd()).unwrap(), 0, "not before the end");
    kind.finish_restore(&services, Outcome::Success).unwrap();
    assert_eq!(sys::seals(again.as_fd()).unwrap(), seals);
    assert!(again.write_all_at(b"x", 0).is_err());
}

#[test]
fn files_that_are_only_called_so_are_not_served() {
    let (host, kind) = (MockHost::new(), Memfd::default());
    let mut target = file_target(File::open("/proc/self/exe").unwrap()).unwrap();
    for link in [c"/memfd:real", c"/dev/zero (deleted)", c"/memfd:real (deleted)"].map(CStr::to_bytes) {
        target.link = link.to_vec();
        assert_eq!(
            kind.dump(&Host::new(&host, "memfd"), &target).unwrap(),
            Verdict::NotMine
        );
    }
}

#[test]
fn a_missing_object_is_named() {
    let (host, kind) = (MockHost::new(), Memfd::default());
    let services = Host::new(&host, "memfd");
    let file = sys::memfd_create(b"x", 0).unwrap();
    let record = saved(&kind, &host, &file, 9);
    let error = kind.prepare(&services, &[record]).unwrap_err();
    assert!(
        error
            .message
            .contains("file 9: its memory object 1 is not in memfd.img"),
        "{error}"
    );
}

#[test]
fn contents_are_copied_through_a_window() {
    let object = sys::memfd_create(b"window", 0).unwrap();
    object.set_len(3 * 4096).unwrap();
    let mut window = Window::of(&object, 4096, 4096).unwrap();
    window.write(4090, b"cut at the end");
    window.write(5000, b"outside");
    drop(window);
    let mut content = [1; 3 * 4096];
    object.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content[8186..8192], b"cut at");
    assert!(
        content[..8186]
            .iter()
            .chain(&content[8192..])
            .all(|byte| *byte == 0)
    );
}

#[test]
fn huge_pages_come_back() {
    const HUGE: u64 = 2 << 20;
    let huge = libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
    let file = sys::memfd_create(b"huge", huge).unwrap();
    file.set_len(2 * HUGE).unwrap();
    let Ok(mut window) = Window::of(&file, HUGE, HUGE) else {
        return eprintln!("skipped: no huge page is free");
    };
    window.write(12345, b"huge");
    drop(window);
    let (host, kind) = (MockHost::new(), Memfd::default());
    let services = Host::new(&host, "memfd");
    let record = saved(&kind, &host, &file, 1);
    kind.finish_dump(&services).unwrap();
    drop(file);
    let [entry] = entries(&host).try_into().unwrap();
    assert_eq!((entry.size, entry.hugetlb_flag), (2 * HUGE, Some(huge)));
    kind.prepare(&services, std::slice::from_ref(&record)).unwrap();
    let again = open(&kind, &host, &record, Purpose::Descriptor, None);
    assert_eq!(again.metadata().unwrap().blksize(), HUGE);
    assert_eq!(
        again.metadata().unwrap().blocks() * 512,
        HUGE,
        "the untouched page stays so"
    );
    let mut content = [0; 4];
    again.read_exact_at(&mut content, HUGE + 12345).unwrap();
    assert_eq!(&content, b"huge");
}
