//! Sockets of this very process: dumped, closed, and made again.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{Error, FileKind, Host, Opened, Outcome, Progress, Verdict};
use criu_proto::Message;
use criu_proto::images::{FileEntry, UnixSkEntry};
use libc::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET};

use super::bind::address;
use super::{LISTEN, Unix};
use crate::sys;

/// A set of images of sockets.
struct Set {
    host: MockHost,
    files: Vec<FileRecord>,
}

fn dump(sockets: &[OwnedFd]) -> Result<Set, Error> {
    dump_with(MockHost::new(), sockets)
}

fn dump_with(host: MockHost, sockets: &[OwnedFd]) -> Result<Set, Error> {
    let kind = Unix::default();
    let mut files = Vec::new();
    {
        let services = Host::new(&host, "sockets");
        for (i, socket) in sockets.iter().enumerate() {
            let mut target = file_target(socket).unwrap();
            target.id = i as u32 + 1;
            match kind.dump(&services, &target)? {
                Verdict::Entry(image) => {
                    files.push(FileRecord {
                        id: target.id,
                        fd_type: image.fd_type,
                        entry: image.entry,
                    });
                }
                Verdict::Refused(refusal) => return Err(refusal.into()),
                Verdict::NotMine => panic!("not mine"),
            }
        }
        kind.finish_dump(&services)?;
    }
    Ok(Set { host, files })
}

impl Set {
    fn entry(&self, index: usize) -> UnixSkEntry {
        FileEntry::decode(self.files[index].entry.as_slice())
            .unwrap()
            .usk
            .unwrap()
    }

    fn try_restore(&self) -> Result<Vec<OwnedFd>, Error> {
        let kind = Unix::default();
        let host = Host::new(&self.host, "sockets");
        let plans = kind.prepare(&host, &self.files)?;
        let mut opened = BTreeMap::new();
        for file in &self.files {
            if opened.contains_key(&file.id) {
                continue;
            }
            let request = OpenRequest {
                file: file.clone(),
                pid: 1,
                purpose: 0,
                flags: None,
            };
            let Progress::Done(Opened { fd, also }) = kind.open(&host, &request)? else {
                panic!("waits")
            };
            let group = plans.iter().find(|p| p.id == file.id).and_then(|p| p.group);
            opened.insert(file.id, fd);
            for other in also {
                assert_eq!(plans.iter().find(|p| p.id == other.id).unwrap().group, group);
                assert!(group.is_some());
                opened.insert(other.id, other.fd);
            }
        }
        kind.finish_restore(&host, Outcome::Success)?;
        // SAFETY: the kind gave the descriptors away.
        Ok(opened
            .into_values()
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect())
    }

    fn restore(&self) -> Vec<OwnedFd> {
        self.try_restore().unwrap()
    }
}

fn listen_at(kind: i32, name: &[u8], backlog: i32) -> OwnedFd {
    let fd = sys::socket(libc::AF_UNIX, kind, 0).unwrap();
    sys::bind(fd.as_raw_fd(), &address(name)).unwrap();
    if kind != SOCK_DGRAM {
        sys::listen(fd.as_raw_fd(), backlog).unwrap();
    }
    fd
}

fn connect_to(kind: i32, name: &[u8]) -> OwnedFd {
    let fd = sys::socket(libc::AF_UNIX, kind, 0).unwrap();
    sys::connect(fd.as_raw_fd(), &address(name)).unwrap();
    fd
}

fn write(fd: &OwnedFd, data: &[u8]) {
    assert_eq!(
        sys::send(fd.as_raw_fd(), data, None, &[], libc::MSG_DONTWAIT).unwrap(),
        data.len()
    );
}

fn read(fd: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    let got = sys::receive(fd.as_raw_fd(), &mut buffer, libc::MSG_DONTWAIT).unwrap();
    buffer.truncate(got.length);
    buffer
}

fn talk(a: &OwnedFd, b: &OwnedFd) {
    for (from, to) in [(a, b), (b, a)] {
        write(from, b"after");
        assert_eq!(read(to), b"after");
    }
}

fn path_name(path: &Path) -> Vec<u8> {
    let mut name = path.as_os_str().as_bytes().to_vec();
    name.push(0);
    name
}

#[test]
fn pairs_keep_what_is_queued() {
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (a, b) = sys::socketpair(libc::AF_UNIX, kind).unwrap();
        write(&a, b"one");
        write(&a, b"two");
        write(&b, b"back");
        let set = dump(&[a, b]).unwrap();
        assert_eq!(
            (set.entry(0).backlog > 0, set.entry(0).peer),
            (true, set.entry(1).ino)
        );
        let sockets = set.restore();
        if kind == SOCK_STREAM {
            assert_eq!(read(&sockets[1]), b"onetwo");
        } else {
            assert_eq!(read(&sockets[1]), b"one");
            assert_eq!(read(&sockets[1]), b"two");
        }
        assert_eq!(read(&sockets[0]), b"back");
        talk(&sockets[0], &sockets[1]);
    }
}

#[test]
fn listening_and_accepted_keep_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("listen");
    let name = path_name(&path);
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        let listener = listen_at(kind, &name, 5);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let client = connect_to(kind, &name);
        let server = sys::accept(listener.as_raw_fd()).unwrap();
        let waiting = connect_to(kind, &name);
        let set = dump(&[listener, client, server, waiting]).unwrap();
        let entry = set.entry(0);
        assert_eq!((entry.state, entry.backlog), (u32::from(LISTEN), 5));
        assert_eq!(entry.file_perms.unwrap().mode, 0o140_604);
        assert_eq!((entry.deleted, entry.name_dir), (None, None));
        assert_eq!(set.entry(3).peer, entry.ino);
        let sockets = set.restore();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode(), 0o140_604);
        assert_eq!(sys::local_name(sockets[2].as_raw_fd()).unwrap(), address(&name));
        assert_eq!(
            sys::peer_name(sockets[1].as_raw_fd()).unwrap().unwrap(),
            address(&name)
        );
        talk(&sockets[1], &sockets[2]);
        let accepted = sys::accept(sockets[0].as_raw_fd()).unwrap();
        talk(&accepted, &sockets[3]);
        let again = connect_to(kind, &name);
        talk(&again, &sys::accept(sockets[0].as_raw_fd()).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_accepted_socket_outlives_its_listener_and_its_client() {
    let name = b"\0criu-test-outlives".to_vec();
    let listener = listen_at(SOCK_STREAM, &name, 5);
    let client = connect_to(SOCK_STREAM, &name);
    let server = sys::accept(listener.as_raw_fd()).unwrap();
    write(&client, b"last words");
    drop((listener, client));
    let set = dump(&[server]).unwrap();
    assert_eq!((set.entry(0).peer, set.entry(0).shutdown), (0, Some(3)));
    let sockets = set.restore();
    assert_eq!(sys::local_name(sockets[0].as_raw_fd()).unwrap(), address(&name));
    assert_eq!(read(&sockets[0]), b"last words");
    assert_eq!(read(&sockets[0]), b"");
}

#[test]
fn a_deleted_name_does_not_touch_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    let name = path_name(&path);
    let old = listen_at(SOCK_DGRAM, &name, 0);
    let to_old = connect_to(SOCK_DGRAM, &name);
    std::fs::remove_file(&path).unwrap();
    let new = listen_at(SOCK_STREAM, &name, 1);
    let set = dump(&[old, to_old, new]).unwrap();
    assert_eq!((set.entry(0).deleted, set.entry(2).deleted), (Some(true), None));
    let sockets = set.restore();
    assert_eq!(sys::local_name(sockets[0].as_raw_fd()).unwrap(), address(&name));
    write(&sockets[1], b"to the old one");
    assert_eq!(read(&sockets[0]), b"to the old one");
    let client = connect_to(SOCK_STREAM, &name);
    talk(&client, &sys::accept(sockets[2].as_raw_fd()).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_name_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    let name = path_name(&path);
    let set = dump(&[listen_at(SOCK_STREAM, &name, 1)]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = listen_at(SOCK_STREAM, &name, 1);
    let error = set.try_restore().unwrap_err().to_string();
    assert!(error.contains("of another process uses"), "{error}");
    let client = connect_to(SOCK_STREAM, &name);
    talk(&client, &sys::accept(other.as_raw_fd()).unwrap());
}

#[test]
fn datagrams_wait_at_a_bound_socket() {
    let name = b"\0criu-test-bound".to_vec();
    let receiver = listen_at(SOCK_DGRAM, &name, 0);
    let sender = connect_to(SOCK_DGRAM, &name);
    write(&sender, b"first");
    write(&sender, b"");
    write(&sender, b"third");
    let set = dump(&[receiver, sender]).unwrap();
    let sockets = set.restore();
    for text in [&b"first"[..], b"", b"third"] {
        assert_eq!(read(&sockets[0]), text);
    }
    write(&sockets[1], b"fourth");
    assert_eq!(read(&sockets[0]), b"fourth");
}

#[test]
fn options_and_shutdown_come_back() {
    let (a, b) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    sys::set(a.as_raw_fd(), SOL_SOCKET, libc::SO_SNDBUF, 50_000i32).unwrap();
    sys::set(a.as_raw_fd(), SOL_SOCKET, libc::SO_PASSCRED, 1i32).unwrap();
    sys::set(
        a.as_raw_fd(),
        SOL_SOCKET,
        libc::SO_RCVTIMEO,
        libc::timeval {
            tv_sec: 3,
            tv_usec: 500_000,
        },
    )
    .unwrap();
    sys::set(
        a.as_raw_fd(),
        SOL_SOCKET,
        libc::SO_LINGER,
        libc::linger {
            l_onoff: 1,
            l_linger: 7,
        },
    )
    .unwrap();
    // One instruction: take the whole packet.
    sys::attach_filter(a.as_raw_fd(), &[0x0004_0000_0000_0006]).unwrap();
    sys::shutdown(b.as_raw_fd(), libc::SHUT_WR).unwrap();
    criu_plugin_api::restore::apply_flags(&b, libc::O_NONBLOCK.cast_unsigned()).unwrap();
    let set = dump(&[a, b]).unwrap();
    assert_eq!((set.entry(0).shutdown, set.entry(1).shutdown), (Some(1), Some(2)));
    let sockets = set.restore();
    let again = dump(&sockets).unwrap();
    for i in 0..2 {
        let (before, after) = (set.entry(i), again.entry(i));
        assert_eq!(
            UnixSkEntry {
                ino: before.ino,
                peer: before.peer,
                ..after
            },
            before
        );
    }
}

#[test]
fn a_peer_outside_is_refused_by_name() {
    let name = b"\0criu-test-outside".to_vec();
    let outside = listen_at(SOCK_DGRAM, &name, 0);
    let error = dump(&[connect_to(SOCK_DGRAM, &name)]).err().unwrap();
    assert!(
        error.remedy.as_ref().unwrap().contains("--ext-unix-sk"),
        "{error}"
    );
    assert!(error.message.contains("@criu-test-outside"), "{error}");
    assert!(
        error.message.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(outside);

    let (a, b) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    let ino = dump(&[a.try_clone().unwrap(), b]).unwrap().entry(1).ino;
    let (a, b) = (a, ino);
    let error = dump(std::slice::from_ref(&a)).err();
    // The other end is closed by now: nothing to refuse.
    assert!(error.is_none(), "{error:?} {b}");
}

#[test]
fn one_end_of_a_pair_may_be_outside() {
    let (a, b) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    let sockets = [a];
    let error = dump(&sockets).err().unwrap();
    assert!(
        error.remedy.as_ref().unwrap().contains("--external unix["),
        "{error}"
    );
    let ino = file_target(&b).unwrap().ino;
    let mut host = MockHost::new();
    host.settings
        .insert("external".to_owned(), vec![format!("unix[{ino}]")]);
    let mut set = dump_with(host, &sockets).unwrap();
    assert_eq!(read(&set.restore()[0]), b"");
    let (mine, theirs) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    set.host.inherited.insert(format!("socket:[{ino}]"), mine);
    let sockets = set.restore();
    talk(&sockets[0], &theirs);
}

#[test]
fn a_failed_restore_leaves_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    let set = dump(&[listen_at(SOCK_STREAM, &path_name(&path), 1)]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let kind = Unix::default();
    let host = Host::new(&set.host, "sockets");
    kind.prepare(&host, &set.files).unwrap();
    let request = OpenRequest {
        file: set.files[0].clone(),
        pid: 1,
        purpose: 0,
        flags: None,
    };
    let Progress::Done(opened) = kind.open(&host, &request).unwrap() else {
        panic!("waits")
    };
    // SAFETY: the kind gave the descriptor away.
    drop(unsafe { OwnedFd::from_raw_fd(opened.fd) });
    assert!(path.exists());
    kind.finish_restore(&host, Outcome::Failure).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn datagrams_keep_their_senders() {
    let names = [b"\0criu-test-receiver".to_vec(), b"\0criu-test-sender".to_vec()];
    let receiver = listen_at(SOCK_DGRAM, &names[0], 0);
    sys::set(receiver.as_raw_fd(), SOL_SOCKET, libc::SO_PASSCRED, 1i32).unwrap();
    let named = listen_at(SOCK_DGRAM, &names[1], 0);
    let to = address(&names[0]);
    let me = std::process::id().cast_signed();
    sys::send_as(named.as_raw_fd(), b"first", Some(&to), &[], Some((me, 17, 18)), 0).unwrap();
    sys::send(
        connect_to(SOCK_DGRAM, &names[0]).as_raw_fd(),
        b"second",
        None,
        &[],
        0,
    )
    .unwrap();
    let set = dump(&[receiver, named]).unwrap();
    assert!(set.host.images().contains(&"sk-extra-unix.img".to_owned()));
    let sockets = set.restore();
    let mut buffer = [0; 16];
    let got = sys::receive(sockets[0].as_raw_fd(), &mut buffer, libc::MSG_DONTWAIT).unwrap();
    assert_eq!(
        (&buffer[..got.length], got.from),
        (&b"first"[..], address(&names[1]))
    );
    let credentials = got.credentials.unwrap();
    assert_eq!((credentials.pid, credentials.uid, credentials.gid), (me, 17, 18));
    let got = sys::receive(sockets[0].as_raw_fd(), &mut buffer, libc::MSG_DONTWAIT).unwrap();
    assert_eq!((&buffer[..got.length], got.from), (&b"second"[..], Vec::new()));
}

#[test]
fn plain_sockets_have_no_image_of_their_own() {
    let (a, b) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    assert_eq!(dump(&[a, b]).unwrap().host.images(), Vec::<String>::new());
}

#[test]
fn peers_keep_their_user() {
    let name = b"\0criu-test-users".to_vec();
    let listener = sys::socket(libc::AF_UNIX, SOCK_STREAM, 0).unwrap();
    sys::bind(listener.as_raw_fd(), &address(&name)).unwrap();
    sys::as_user(41, 42, || sys::listen(listener.as_raw_fd(), 3)).unwrap();
    let client = sys::as_user(51, 52, || Ok(connect_to(SOCK_STREAM, &name))).unwrap();
    let server = sys::accept(listener.as_raw_fd()).unwrap();
    let (a, b) = sys::as_user(61, 62, || sys::socketpair(libc::AF_UNIX, SOCK_SEQPACKET)).unwrap();
    let set = dump(&[listener, client, server, a, b]).unwrap();
    let sockets = set.restore();
    let users: Vec<_> = sockets
        .iter()
        .map(|s| {
            sys::peer_credentials(s.as_raw_fd())
                .map(|(_, uid, gid)| (uid, gid))
                .unwrap()
        })
        .collect();
    assert_eq!(users, [(41, 42), (41, 42), (51, 52), (61, 62), (61, 62)]);
    assert!(nix::unistd::geteuid().is_root());
}

#[test]
fn damaged_sets_are_refused() {
    let (a, b) = sys::socketpair(libc::AF_UNIX, SOCK_STREAM).unwrap();
    write(&a, b"queued");
    let set = dump(&[a, b]).unwrap();
    let damage = |change: &dyn Fn(&mut UnixSkEntry)| {
        let mut files = set.files.clone();
        let mut file = FileEntry::decode(files[1].entry.as_slice()).unwrap();
        change(file.usk.as_mut().unwrap());
        files[1].entry = file.encode_to_vec();
        Unix::default()
            .prepare(&Host::new(&set.host, "sockets"), &files)
            .unwrap_err()
            .to_string()
    };
    let first = set.entry(0).ino;
    for (change, text) in [
        (
            &(|e: &mut UnixSkEntry| e.peer ^= 4) as &dyn Fn(&mut UnixSkEntry),
            "is connected to",
        ),
        (&|e| e.r#type = 5, "is connected to"),
        (&|e| e.r#type = 3, "none of stream"),
        (&move |e| e.ino = first, "same inode"),
        (&|e| e.id = 9, "another id"),
        (&|e| e.name = vec![b'x'; 109], "a name of 109 bytes"),
        (&|e| e.name = vec![0; 109], "a name of 109 bytes"),
        (&|e| e.name = b"relative".to_vec(), "without its directory"),
        (&|e| e.state = 10, "listens"),
        (&|e| e.shutdown = Some(4), "shutdown state"),
    ] {
        let error = damage(change);
        assert!(error.contains(text), "{error}, not {text}");
    }
    let mut queue = Vec::new();
    for word in [0x5456_4319u32, 0x5626_4026, 4] {
        queue.extend_from_slice(&word.to_le_bytes());
    }
    // A packet without bytes for file 9.
    queue.extend_from_slice(&[0x08, 9, 0x10, 0]);
    set.host.put_image("sk-queues.img", &queue).unwrap();
    let error = set.try_restore().unwrap_err().to_string();
    assert!(error.contains("no unix socket"), "{error}");
}
