//! Pipes and FIFOs of this process, saved and made anew.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileRecord, OpenRequest, Purpose};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{ErrorCode, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, PipeDataEntry, PipeEntry, RegFileEntry};
use criu_proto::magic::{FIFO_DATA, PIPES_DATA};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use prost::Message;

use crate::fifo::Fifo;
use crate::owners::{OWNERS, OwnerEntry};
use crate::packets::{PIPE_PACKETS, PacketsEntry};
use crate::pipe::Pipe;
use crate::sys;

fn pipe(flags: OFlag) -> (File, File) {
    let (read, write) = nix::unistd::pipe2(flags | OFlag::O_CLOEXEC).unwrap();
    (read.into(), write.into())
}

fn flags(fd: impl AsFd) -> i32 {
    fcntl(fd, FcntlArg::F_GETFL).unwrap()
}

/// Saves descriptions as files 1, 2, ... of a set.
fn dump(kind: &impl FileKind, mock: &MockHost, fds: &[&File]) -> Vec<FileRecord> {
    let host = Host::new(mock, "pipes");
    let mut records = Vec::new();
    for (id, fd) in (1..).zip(fds) {
        let target = criu_plugin_api::message::FileTarget {
            id,
            ..file_target(fd).unwrap()
        };
        let Verdict::Entry(image) = kind.dump(&host, &target).unwrap() else {
            panic!("not saved");
        };
        records.push(FileRecord {
            id,
            fd_type: image.fd_type,
            entry: image.entry,
        });
    }
    kind.finish_dump(&host).unwrap();
    records
}

/// Opens all files of a set in one go, by asking for the first of each group.
fn restore(kind: &impl FileKind, mock: &MockHost, records: &[FileRecord]) -> Result<Vec<File>> {
    let host = Host::new(mock, "pipes");
    let plans = kind.prepare(&host, records)?;
    assert_eq!(plans.len(), records.len());
    let mut opened: Vec<Option<File>> = records.iter().map(|_| None).collect();
    for (at, record) in records.iter().enumerate() {
        if opened[at].is_some() {
            continue;
        }
        let Progress::Done(Opened { fd, also }) = kind.open(&host, &request(record))? else {
            panic!("it has nothing to wait for");
        };
        for (id, fd) in also
            .iter()
            .map(|also| (also.id, also.fd))
            .chain([(record.id, fd)])
        {
            let index = records.iter().position(|r| r.id == id).unwrap();
            opened[index] = Some(own(fd));
        }
    }
    Ok(opened
        .into_iter()
        .map(|file| file.expect("each is opened"))
        .collect())
}

fn request(record: &FileRecord) -> OpenRequest {
    OpenRequest {
        file: record.clone(),
        pid: std::process::id().cast_signed(),
        purpose: Purpose::Descriptor as i32,
        flags: None,
    }
}

fn own(fd: i32) -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: an opened descriptor belongs to the caller.
    unsafe { File::from_raw_fd(fd) }
}

fn contents(mock: &MockHost, kind: &ImageKind) -> Vec<(PipeDataEntry, Vec<u8>)> {
    let host = Host::new(mock, "pipes");
    let mut all = Vec::new();
    let Some(mut image) = image::open(&host, kind).unwrap() else {
        return all;
    };
    while let Some(entry) = image.next_entry::<PipeDataEntry>().unwrap() {
        let bytes = image.payload(entry.bytes.into()).unwrap();
        all.push((entry, bytes));
    }
    all
}

fn packets(mock: &MockHost) -> Vec<Vec<u32>> {
    let all: Vec<PacketsEntry> = image::read_all(&Host::new(mock, "pipes"), &PIPE_PACKETS).unwrap();
    all.into_iter().map(|entry| entry.lengths).collect()
}

fn inode(file: &File) -> u32 {
    u32::try_from(file_target(file).unwrap().ino).unwrap()
}

#[test]
fn entries_have_the_fields_of_the_format() {
    let mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::empty());
    write.write_all(b"in the pipe").unwrap();
    let records = dump(&Pipe::default(), &mock, &[&read, &write]);
    let entry = FileEntry::decode(records[1].entry.as_slice()).unwrap();
    let pipe_id = inode(&read);
    assert_eq!(
        entry,
        FileEntry {
            r#type: FdTypes::Pipe as i32,
            id: 2,
            pipe: Some(PipeEntry {
                id: 2,
                pipe_id,
                flags: 1,
                ..PipeEntry::default()
            }),
            ..FileEntry::default()
        }
    );
    let expected = PipeDataEntry {
        pipe_id,
        bytes: 11,
        size: Some(65536),
    };
    assert_eq!(
        contents(&mock, &PIPES_DATA),
        [(expected, b"in the pipe".to_vec())]
    );
    assert_eq!(mock.images(), ["pipes-data.img"]);
}

#[test]
fn data_stays_and_comes_back() {
    let mock = MockHost::new();
    let (mut read, mut write) = pipe(OFlag::empty());
    let bytes: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for piece in bytes.chunks(1000) {
        write.write_all(piece).unwrap();
    }
    read.read_exact(&mut [0; 1500]).unwrap();
    let records = dump(&Pipe::default(), &mock, &[&read, &write]);
    assert_eq!(sys::available(&read).unwrap(), 18_500);
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    assert_eq!(flags(&opened[0]), libc::O_RDONLY);
    assert_eq!(flags(&opened[1]), libc::O_WRONLY);
    opened[1].write_all(b"tail").unwrap();
    drop(opened.pop());
    let mut got = Vec::new();
    opened[0].read_to_end(&mut got).unwrap();
    assert_eq!(got[..18_500], bytes[1500..]);
    assert_eq!(got[18_500..], *b"tail");
}

#[test]
fn an_empty_pipe_of_the_usual_size_needs_no_image() {
    let mock = MockHost::new();
    let (read, write) = pipe(OFlag::empty());
    dump(&Pipe::default(), &mock, &[&read, &write]);
    assert_eq!(mock.images(), Vec::<String>::new());
}

#[test]
fn sizes_and_full_pipes_come_back() {
    let mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::O_NONBLOCK);
    let (small, small_write) = pipe(OFlag::empty());
    sys::set_size(&write, 256 << 10).unwrap();
    sys::set_size(&small, 4096).unwrap();
    write.write_all(&vec![7; 256 << 10]).unwrap();
    let records = dump(&Pipe::default(), &mock, &[&read, &write, &small, &small_write]);
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    assert_eq!(sys::size(&opened[0]).unwrap(), 256 << 10);
    assert_eq!(sys::size(&opened[2]).unwrap(), 4096);
    assert_eq!(flags(&opened[0]), libc::O_NONBLOCK);
    assert_eq!(opened[1].write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut got = vec![0; 256 << 10];
    opened[0].read_exact(&mut got).unwrap();
    assert!(got.iter().all(|&b| b == 7));
    assert_eq!(sys::available(&opened[0]).unwrap(), 0);
}

#[test]
fn a_missing_end_stays_closed() {
    let mock = MockHost::new();
    let (read, mut gone) = pipe(OFlag::empty());
    gone.write_all(b"last").unwrap();
    drop(gone);
    let (reader, mut broken) = pipe(OFlag::empty());
    broken.write_all(b"unread").unwrap();
    drop(reader);
    let records = dump(&Pipe::default(), &mock, &[&read, &broken]);
    let saved = contents(&mock, &PIPES_DATA);
    assert_eq!(
        saved.len(),
        2,
        "what nobody reads now can be read by opening it again"
    );
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    let mut got = Vec::new();
    opened[0].read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last");
    // The test harness ignores SIGPIPE.
    assert_eq!(opened[1].write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let again = sys::reopen(&opened[1], 0).unwrap();
    let mut rest = [0; 16];
    assert_eq!(File::from(again).read(&mut rest).unwrap(), 6);
    assert_eq!(rest[..6], *b"unread");
}

#[test]
fn packets_keep_their_boundaries() {
    let mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::O_DIRECT);
    for packet in [&b"one"[..], &[9; 4096], b"three"] {
        write.write_all(packet).unwrap();
    }
    let records = dump(&Pipe::default(), &mock, &[&read, &write]);
    assert_eq!(packets(&mock), [[3, 4096, 5]]);
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    assert_ne!(flags(&opened[1]) & libc::O_DIRECT, 0);
    let mut room = [0; 8192];
    assert_eq!(opened[0].read(&mut room).unwrap(), 3);
    assert_eq!(opened[0].read(&mut room).unwrap(), 4096);
    assert_eq!(opened[0].read(&mut room[..2]).unwrap(), 2);
    opened[1].write_all(b"four").unwrap();
    assert_eq!(opened[0].read(&mut room).unwrap(), 4);
}

#[test]
fn every_slot_can_be_a_packet() {
    let mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::O_DIRECT | OFlag::O_NONBLOCK);
    let mut count = 0;
    while write.write(b"p").is_ok() {
        count += 1;
    }
    let records = dump(&Pipe::default(), &mock, &[&read, &write]);
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    assert!(opened[1].write(b"p").is_err());
    for _ in 0..count {
        assert_eq!(opened[0].read(&mut [0; 8]).unwrap(), 1);
    }
    assert!(opened[0].read(&mut [0; 8]).is_err());
}

#[test]
fn a_single_packet_is_told_from_bytes() {
    for (direct, text, expected) in [
        (true, &b"packet"[..], vec![vec![6]]),
        (true, b"p", vec![vec![1]]),
        (false, b"bytes", vec![]),
        (false, b"b", vec![]),
    ] {
        let mock = MockHost::new();
        let (read, mut write) = pipe(if direct { OFlag::O_DIRECT } else { OFlag::empty() });
        write.write_all(text).unwrap();
        dump(&Pipe::default(), &mock, &[&read, &write]);
        assert_eq!(packets(&mock), expected, "{text:?}");
    }
    // Written before packet mode came: a short read must not lose the rest.
    let mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::empty());
    write.write_all(b"bytes").unwrap();
    sys::packet_mode(&write).unwrap();
    dump(&Pipe::default(), &mock, &[&read, &write]);
    assert_eq!(packets(&mock), Vec::<Vec<u32>>::new());
}

#[test]
fn other_descriptions_of_an_end_are_opened_anew() {
    let mock = MockHost::new();
    let (read, write) = pipe(OFlag::empty());
    let nonblock = libc::O_NONBLOCK.cast_unsigned();
    let both = File::from(sys::reopen(&read, libc::O_RDWR.cast_unsigned() | nonblock).unwrap());
    let other = File::from(sys::reopen(&read, libc::O_WRONLY.cast_unsigned()).unwrap());
    fcntl(&other, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let before = [&read, &write, &both, &other];
    let records = dump(&Pipe::default(), &mock, &before);
    let opened = restore(&Pipe::default(), &mock, &records).unwrap();
    for (old, new) in before.iter().zip(&opened) {
        assert_eq!(flags(old), flags(new));
        assert_eq!(inode(new), inode(&opened[0]), "one pipe");
    }
    assert_ne!(inode(&opened[0]), inode(&read));
}

#[test]
fn a_pipe_can_be_handed_over() {
    let mut mock = MockHost::new();
    let (read, mut write) = pipe(OFlag::O_NONBLOCK);
    write.write_all(b"old").unwrap();
    let records = dump(&Pipe::default(), &mock, &[&write]);
    let (mut theirs, ours) = pipe(OFlag::empty());
    let key = format!("pipe:[{}]", inode(&read));
    mock.inherited
        .insert(key, OwnedFd::from(ours.try_clone().unwrap()));
    let mut opened = restore(&Pipe::default(), &mock, &records).unwrap();
    opened[0].write_all(b"new").unwrap();
    assert_eq!(flags(&opened[0]) & libc::O_NONBLOCK, libc::O_NONBLOCK);
    assert_eq!(
        flags(&ours) & libc::O_NONBLOCK,
        0,
        "the flags of the other description stay"
    );
    drop((opened, ours, mock));
    let mut got = String::new();
    theirs.read_to_string(&mut got).unwrap();
    assert_eq!(got, "new", "what was in the old pipe is still there, not here");
}

#[test]
fn damage_is_found_before_anything_is_made() {
    let (read, mut write) = pipe(OFlag::O_DIRECT);
    write.write_all(b"one").unwrap();
    write.write_all(b"two").unwrap();
    let fresh = || {
        let mock = MockHost::new();
        let records = dump(&Pipe::default(), &mock, &[&read, &write]);
        (mock, records)
    };
    let fails = |mock: &MockHost, records: &[FileRecord], text: &str| {
        let error = Pipe::default()
            .prepare(&Host::new(mock, "pipes"), records)
            .expect_err(text);
        assert!(error.message.contains(text), "{}", error.message);
    };
    let (mock, records) = fresh();
    let mut bytes = Vec::new();
    Host::new(&mock, "pipes")
        .open_image("pipes-data.img")
        .unwrap()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    mock.put_image("pipes-data.img", &bytes[..bytes.len() - 1])
        .unwrap();
    fails(&mock, &records, "pipes-data.img");
    mock.put_image("pipes-data.img", &[&bytes[..], &bytes[8..]].concat())
        .unwrap();
    fails(&mock, &records, "two entries");
    mock.put_image("pipes-data.img", &bytes[..8]).unwrap();
    fails(&mock, &records, "does not have that pipe");
    let (mock, records) = fresh();
    let wrong = PacketsEntry {
        pipe_id: inode(&read),
        lengths: vec![3, 4],
    };
    crate::packets::write(&Host::new(&mock, "pipes"), &PIPE_PACKETS, &[wrong]).unwrap();
    fails(&mock, &records, "packets of 7 bytes");
    let (mock, mut records) = fresh();
    records[0].entry = FileEntry {
        r#type: FdTypes::Pipe as i32,
        id: 1,
        ..FileEntry::default()
    }
    .encode_to_vec();
    fails(&mock, &records, "says nothing of a pipe");
}

#[test]
fn a_size_that_is_not_allowed_is_named() {
    let mock = MockHost::new();
    let host = Host::new(&mock, "pipes");
    let mut image = image::create(&host, &PIPES_DATA).unwrap();
    let entry = PipeDataEntry {
        pipe_id: 77,
        bytes: 0,
        size: Some(u32::MAX),
    };
    image.entry(&entry).unwrap();
    image.finish().unwrap();
    let record = FileRecord {
        id: 1,
        fd_type: FdTypes::Pipe as u32,
        entry: FileEntry {
            r#type: FdTypes::Pipe as i32,
            id: 1,
            pipe: Some(PipeEntry {
                id: 1,
                pipe_id: 77,
                ..PipeEntry::default()
            }),
            ..FileEntry::default()
        }
        .encode_to_vec(),
    };
    let error = restore(&Pipe::default(), &mock, &[record]).unwrap_err();
    assert!(error.message.contains("pipe:[77]"), "{error}");
    assert!(error.message.contains("4294967295 bytes"), "{error}");
}

/// A FIFO in the directory for temporary files, removed at the end.
struct Named(PathBuf);

impl Named {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("criu-fifo-{}-{name}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self(path)
    }

    fn open(&self, flags: i32) -> File {
        File::options()
            .read(flags & libc::O_ACCMODE != libc::O_WRONLY)
            .write(flags & libc::O_ACCMODE != libc::O_RDONLY)
            .custom_flags(flags)
            .open(&self.0)
            .unwrap()
    }

    /// What the kind of paths would have saved and would open for `fds`, saved in this order.
    fn serve(&self, mock: &mut MockHost, fds: &[&File]) {
        for (id, fd) in (1..).zip(fds) {
            let reg = RegFileEntry {
                id,
                flags: flags(fd).cast_unsigned(),
                name: self.0.as_os_str().as_encoded_bytes().to_vec(),
                ..RegFileEntry::default()
            };
            let entry = FileEntry {
                r#type: FdTypes::Reg as i32,
                id,
                reg: Some(reg),
                ..FileEntry::default()
            };
            let record = FileRecord {
                id,
                fd_type: FdTypes::Reg as u32,
                entry: entry.encode_to_vec(),
            };
            mock.files.insert(id, record);
            mock.paths.insert(id, self.0.clone());
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn a_fifo_comes_back_with_its_data_and_all_its_ends() {
    let named = Named::new("data");
    let mut mock = MockHost::new();
    let mut both = named.open(libc::O_RDWR | libc::O_NONBLOCK);
    let write = named.open(libc::O_WRONLY);
    let read = named.open(libc::O_RDONLY);
    both.write_all(b"in the fifo").unwrap();
    let before = [&write, &read, &both];
    let records = dump(&Fifo::default(), &mock, &before);
    named.serve(&mut mock, &before);
    let expected = PipeDataEntry {
        pipe_id: inode(&both),
        bytes: 11,
        size: Some(65536),
    };
    assert_eq!(contents(&mock, &FIFO_DATA), [(expected, b"in the fifo".to_vec())]);
    assert_eq!(mock.images(), ["fifo-data.img"]);
    let modes: Vec<_> = before.iter().map(flags).collect();
    drop((write, read, both));
    let mut opened = restore(&Fifo::default(), &mock, &records).unwrap();
    assert_eq!(opened.iter().map(flags).collect::<Vec<_>>(), modes);
    let mut got = [0; 32];
    assert_eq!(opened[2].read(&mut got).unwrap(), 11);
    assert_eq!(got[..11], *b"in the fifo");
    assert_eq!(
        opened[2].read(&mut got).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn a_reader_that_waits_for_a_writer_sees_no_hang_up() {
    let named = Named::new("waits");
    let mut mock = MockHost::new();
    let read = named.open(libc::O_RDONLY | libc::O_NONBLOCK);
    let records = dump(&Fifo::default(), &mock, &[&read]);
    named.serve(&mut mock, &[&read]);
    drop(read);
    let mut opened = restore(&Fifo::default(), &mock, &records).unwrap();
    let mut poll = libc::pollfd {
        fd: opened[0].as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd is passed, and the call does not wait.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 0);
    assert_eq!(opened[0].read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_blocking_reader_without_a_writer_does_not_block_the_restore() {
    let named = Named::new("blocking");
    let mut mock = MockHost::new();
    let write = named.open(libc::O_RDWR);
    let read = named.open(libc::O_RDONLY);
    drop(write);
    let records = dump(&Fifo::default(), &mock, &[&read]);
    named.serve(&mut mock, &[&read]);
    let mode = flags(&read);
    drop(read);
    let mut opened = restore(&Fifo::default(), &mock, &records).unwrap();
    assert_eq!(flags(&opened[0]), mode);
    assert_eq!(opened[0].read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_path_that_is_no_fifo_any_more_is_left_alone() {
    let named = Named::new("changed");
    let mut mock = MockHost::new();
    let mut both = named.open(libc::O_RDWR);
    both.write_all(b"data").unwrap();
    let records = dump(&Fifo::default(), &mock, &[&both]);
    named.serve(&mut mock, &[&both]);
    std::fs::remove_file(&named.0).unwrap();
    std::fs::write(&named.0, "precious").unwrap();
    let error = restore(&Fifo::default(), &mock, &records).unwrap_err();
    assert!(error.message.contains("was a FIFO"), "{error}");
    assert_eq!(std::fs::read(&named.0).unwrap(), b"precious");
}

#[test]
fn a_bare_path_is_of_another_kind() {
    let mock = MockHost::new();
    let (read, _write) = pipe(OFlag::empty());
    let mut target = file_target(&read).unwrap();
    target.flags |= libc::O_PATH.cast_unsigned();
    let verdict = Pipe::default().dump(&Host::new(&mock, "pipes"), &target).unwrap();
    assert_eq!(verdict, Verdict::NotMine);
}

#[test]
fn inode_numbers_that_do_not_fit_get_an_id_of_their_own() {
    let mock = MockHost::new();
    let host = Host::new(&mock, "pipes");
    let kind = Pipe::default();
    let (read, _write) = pipe(OFlag::empty());
    let (other, _other_write) = pipe(OFlag::empty());
    let mut far = file_target(&other).unwrap();
    far.ino = file_target(&read).unwrap().ino | 1 << 32;
    let mut ids = Vec::new();
    for target in [file_target(&read).unwrap(), far] {
        let Verdict::Entry(image) = kind.dump(&host, &target).unwrap() else {
            panic!("not saved");
        };
        let entry = FileEntry::decode(image.entry.as_slice()).unwrap();
        ids.push(entry.pipe.unwrap().pipe_id);
    }
    assert_eq!(ids, [inode(&read), inode(&read) + 1]);
}

#[test]
fn an_unknown_end_is_an_error_and_no_refusal() {
    let mock = MockHost::new();
    let (read, _write) = pipe(OFlag::empty());
    let records = dump(&Pipe::default(), &mock, &[&read]);
    let error = Pipe::default()
        .open(&Host::new(&mock, "pipes"), &request(&records[0]))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Failed);
    assert!(error.message.contains("was not prepared"), "{error}");
}

#[test]
fn an_owner_is_saved_unless_it_is_root() {
    let (mock, kind) = (MockHost::new(), Pipe::default());
    let host = Host::new(&mock, "pipes");
    let (read, _write) = pipe(OFlag::empty());
    let (other, _other_write) = pipe(OFlag::empty());
    let mut theirs = file_target(&read).unwrap();
    (theirs.uid, theirs.gid, theirs.mode) = (12, 34, libc::S_IFIFO | 0o640);
    let mut roots = file_target(&other).unwrap();
    (roots.uid, roots.gid, roots.mode) = (0, 0, libc::S_IFIFO | 0o600);
    for target in [theirs, roots] {
        kind.dump(&host, &target).unwrap();
    }
    kind.finish_dump(&host).unwrap();
    let saved: Vec<OwnerEntry> = image::read_all(&host, &OWNERS).unwrap();
    let pipe_id = inode(&read);
    let (uid, gid, mode) = (12, 34, 0o640);
    assert_eq!(
        saved,
        [OwnerEntry {
            pipe_id,
            uid,
            gid,
            mode
        }]
    );
}

#[test]
fn an_owner_that_no_file_has_is_damage() {
    let entry = |pipe_id, uid, mode| OwnerEntry {
        pipe_id,
        uid,
        gid: 0,
        mode,
    };
    for wrong in [
        vec![entry(1, u32::MAX, 0o600)],
        vec![entry(1, 0, 0o10_600)],
        vec![entry(1, 5, 0o600), entry(1, 6, 0o600)],
    ] {
        let mock = MockHost::new();
        let host = Host::new(&mock, "pipes");
        let mut image = image::create(&host, &OWNERS).unwrap();
        for entry in &wrong {
            image.entry(entry).unwrap();
        }
        image.finish().unwrap();
        let error = Pipe::default().prepare(&host, &[]).unwrap_err();
        assert!(error.message.contains("damaged"), "{error}");
    }
}
