//! Devices of this process, saved and made again.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Verdict};

use crate::Tun;
use crate::sys::{self, Request};

/// A device of flags, or `None` where there are none to be had.
fn device(name: &str, flags: u32) -> Option<OwnedFd> {
    let fd = match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(file) => OwnedFd::from(file),
        Err(error) => {
            eprintln!("skipped: /dev/net/tun: {error}");
            return None;
        }
    };
    let mut request = Request::of(name).unwrap().with_flags(flags);
    if let Err(errno) = request.call(&fd, sys::TUNSETIFF) {
        eprintln!("skipped: TUNSETIFF: {errno}");
        return None;
    }
    Some(fd)
}

fn dump(kind: &Tun, host: &MockHost, fd: &OwnedFd, id: u32) -> FileRecord {
    let mut target = file_target(fd).unwrap();
    target.id = id;
    match kind.dump(&Host::new(host, "tun"), &target).unwrap() {
        Verdict::Entry(image) => FileRecord {
            id,
            fd_type: image.fd_type,
            entry: image.entry,
        },
        other => panic!("not saved: {other:?}"),
    }
}

fn open(kind: &Tun, host: &MockHost, record: &FileRecord) -> OwnedFd {
    let request = OpenRequest {
        file: record.clone(),
        pid: 1,
        purpose: 0,
        flags: None,
    };
    match kind.open(&Host::new(host, "tun"), &request).unwrap() {
        // SAFETY: the descriptor was just opened and handed over.
        Progress::Done(opened) => unsafe { OwnedFd::from_raw_fd(opened.fd) },
        Progress::NotYet(what) => panic!("waits for {what}"),
    }
}

fn attached(fd: &OwnedFd) -> (String, u32) {
    let mut request = Request::of("").unwrap();
    request.call(fd, sys::TUNGETIFF).unwrap();
    (request.name(), request.flags())
}

#[test]
fn a_tap_with_two_queues_comes_back() {
    const FLAGS: u32 = sys::IFF_TAP | 0x1000 | 0x100 | sys::IFF_VNET_HDR;
    let Some(one) = device("crt-tap0", FLAGS) else {
        return;
    };
    let Some(other) = device("crt-tap0", FLAGS) else {
        return;
    };
    let mut detach = Request::of("").unwrap().with_flags(sys::IFF_DETACH_QUEUE);
    detach.call(&other, sys::TUNSETQUEUE).unwrap();
    sys::set(&one, sys::TUNSETVNETHDRSZ, 12).unwrap();
    let (host, kind) = (MockHost::new(), Tun::default());
    let services = Host::new(&host, "tun");
    let records = [dump(&kind, &host, &one, 1), dump(&kind, &host, &other, 2)];
    kind.finish_dump(&services).unwrap();
    let was = [attached(&one), attached(&other)];
    let error = kind.prepare(&services, &records).unwrap_err();
    assert!(error.message.contains("a device of this name exists"), "{error}");
    kind.finish_restore(&services, Outcome::Failure).unwrap();
    drop((one, other));

    kind.prepare(&services, &records).unwrap();
    let again = records.each_ref().map(|record| open(&kind, &host, record));
    kind.finish_restore(&services, Outcome::Success).unwrap();
    assert_eq!(again.each_ref().map(attached), was);
    assert_eq!(sys::get(&again[0], sys::TUNGETVNETHDRSZ), Ok(12));
}

#[test]
fn packets_that_wait_are_seen() {
    let Some(fd) = device("crtunit%d", 1) else { return };
    assert_eq!(sys::has_unread(&fd), Ok(false));
    // The kernel sends by itself when an interface that knows IPv6 comes up; nothing may come without.
    let mut up = Request::of(&attached(&fd).0).unwrap();
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    up.call(&socket, libc::SIOCGIFFLAGS).unwrap();
    let mut up = up.with_flags(up.flags() | 1);
    up.call(&socket, libc::SIOCSIFFLAGS).unwrap();
    let mut waits = libc::pollfd {
        fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one pollfd.
    let any = unsafe { libc::poll(&raw mut waits, 1, 3000) } > 0;
    assert_eq!(sys::has_unread(&fd), Ok(any));
}
