//! Sockets of this very process: dumped, closed, and made again.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{Error, FileKind, Host, Progress, Verdict};
use criu_proto::Message;
use criu_proto::images::{FileEntry, NetlinkSkEntry};

use super::{NetlinkSk, address};
use crate::sys;

fn socket(kind: i32) -> OwnedFd {
    sys::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE).unwrap()
}

fn dump(mock: &MockHost, socket: &OwnedFd) -> Result<(FileRecord, NetlinkSkEntry), Error> {
    let kind = NetlinkSk::default();
    let host = Host::new(mock, "sockets");
    let image = match kind.dump(&host, &file_target(socket).unwrap())? {
        Verdict::Entry(image) => image,
        Verdict::Refused(refusal) => return Err(refusal.into()),
        Verdict::NotMine => panic!("not mine"),
    };
    kind.finish_dump(&host)?;
    let entry = FileEntry::decode(image.entry.as_slice()).unwrap();
    let record = FileRecord {
        id: entry.id,
        fd_type: image.fd_type,
        entry: image.entry,
    };
    Ok((record, entry.nlsk.unwrap()))
}

fn restore(mock: &MockHost, record: FileRecord) -> Result<OwnedFd, Error> {
    let kind = NetlinkSk::default();
    let host = Host::new(mock, "sockets");
    kind.prepare(&host, std::slice::from_ref(&record))?;
    let request = OpenRequest {
        file: record,
        pid: 1,
        purpose: 0,
        flags: None,
    };
    let Progress::Done(opened) = kind.open(&host, &request)? else {
        panic!("waits")
    };
    // SAFETY: the kind gave the descriptor away.
    Ok(unsafe { OwnedFd::from_raw_fd(opened.fd) })
}

#[test]
fn a_bound_socket_comes_back() {
    let fd = socket(libc::SOCK_DGRAM);
    sys::bind(fd.as_raw_fd(), &address(0, 0)).unwrap();
    sys::set(
        fd.as_raw_fd(),
        libc::SOL_NETLINK,
        libc::NETLINK_ADD_MEMBERSHIP,
        34u32,
    )
    .unwrap();
    let name = sys::local_name(fd.as_raw_fd()).unwrap();
    let mock = MockHost::new();
    let (record, entry) = dump(&mock, &fd).unwrap();
    assert_eq!((entry.protocol, entry.state), (0, 7));
    assert_eq!(address(entry.portid, 0), name);
    assert_eq!(entry.groups, [0, 2]);
    assert_eq!(mock.images(), ["sk-extra-netlink.img"]);
    // The port is in use.
    let error = restore(&mock, record.clone()).unwrap_err();
    assert!(error.message.contains("is used by another socket"), "{error}");
    drop(fd);
    let again = restore(&mock, record).unwrap();
    assert_eq!(sys::local_name(again.as_raw_fd()).unwrap(), name);
    let kind: i32 = sys::get(again.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TYPE).unwrap();
    assert_eq!(kind, libc::SOCK_DGRAM);
}

#[test]
fn a_plain_socket_needs_no_image_of_its_own() {
    let mock = MockHost::new();
    let (_, entry) = dump(&mock, &socket(libc::SOCK_RAW)).unwrap();
    assert_eq!((entry.portid, entry.dst_portid, entry.dst_group), (0, 0, 0));
    assert!(entry.groups.is_empty());
    assert!(mock.images().is_empty());
}

#[test]
fn what_was_not_read_is_refused() {
    let fd = socket(libc::SOCK_RAW);
    // A request of a type that does not exist, answered by an error.
    let mut message = 16u32.to_ne_bytes().to_vec();
    message.extend([0xff, 0x7f, 5, 0]);
    message.extend([0; 8]);
    sys::send(fd.as_raw_fd(), &message, Some(&address(0, 0)), &[], 0).unwrap();
    let error = dump(&MockHost::new(), &fd).unwrap_err();
    assert!(error.message.contains("not read yet"), "{error}");
}

#[test]
fn damaged_entries_are_refused() {
    let (record, entry) = dump(&MockHost::new(), &socket(libc::SOCK_RAW)).unwrap();
    for damage in [
        |e: &mut NetlinkSkEntry| e.state = 8,
        |e: &mut NetlinkSkEntry| e.id = 77,
        |e: &mut NetlinkSkEntry| e.dst_group = 33,
        |e: &mut NetlinkSkEntry| e.groups = vec![0; 2000],
    ] {
        let mut entry = entry.clone();
        damage(&mut entry);
        let mut file = FileEntry::decode(record.entry.as_slice()).unwrap();
        file.nlsk = Some(entry);
        let record = FileRecord {
            entry: file.encode_to_vec(),
            ..record.clone()
        };
        assert!(restore(&MockHost::new(), record).is_err());
    }
}
