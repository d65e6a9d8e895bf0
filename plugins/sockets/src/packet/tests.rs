//! Sockets of this very process: dumped, closed, and made again. Need root.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{Error, FileKind, Host, Progress, Verdict};
use criu_proto::Message;
use criu_proto::images::{FileEntry, PacketSockEntry};

use super::{Packet, option};
use crate::sys;

/// An ethertype for experiments.
const PROTOCOL: u16 = 0x88b6;

fn socket() -> OwnedFd {
    sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).unwrap()
}

/// A `struct sockaddr_ll` of the loopback device.
fn loopback() -> Vec<u8> {
    let mut address = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
    address.extend(PROTOCOL.to_be_bytes());
    address.extend(nix::net::if_::if_nametoindex("lo").unwrap().to_ne_bytes());
    address.resize(20, 0);
    address
}

fn dump(mock: &MockHost, socket: &OwnedFd) -> (FileRecord, PacketSockEntry) {
    let kind = Packet::default();
    let host = Host::new(mock, "sockets");
    let Verdict::Entry(image) = FileKind::dump(&kind, &host, &file_target(socket).unwrap()).unwrap() else {
        panic!("refused")
    };
    kind.finish_dump(&host).unwrap();
    let entry = FileEntry::decode(image.entry.as_slice()).unwrap();
    let record = FileRecord {
        id: entry.id,
        fd_type: image.fd_type,
        entry: image.entry,
    };
    (record, entry.psk.unwrap())
}

fn restore(mock: &MockHost, record: FileRecord) -> Result<OwnedFd, Error> {
    let kind = Packet::default();
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
fn all_that_the_format_has_is_saved_and_comes_back() {
    let fd = socket();
    let set = |number, value: i32| sys::set(fd.as_raw_fd(), libc::SOL_PACKET, number, value).unwrap();
    set(option::VERSION, 1);
    set(option::RESERVE, 16);
    set(option::COPY_THRESH, 99);
    set(option::AUXDATA, 1);
    set(option::LOSS, 1);
    let ring: Vec<u8> = [4096u32, 2, 2048, 4]
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect();
    sys::set_bytes(fd.as_raw_fd(), libc::SOL_PACKET, option::RX_RING, &ring).unwrap();
    sys::bind(fd.as_raw_fd(), &loopback()).unwrap();
    let mock = MockHost::new();
    let (record, first) = dump(&mock, &fd);
    assert_eq!(first.protocol, u32::from(PROTOCOL.to_be()));
    assert_eq!((first.version, first.reserve, first.copy_thresh), (1, 16, 99));
    assert!(first.aux_data && first.loss && !first.orig_dev && !first.vnet_hdr);
    assert_eq!(
        first.rx_ring.as_ref().map(|r| (r.block_size, r.frame_nr)),
        Some((4096, 4))
    );
    assert_eq!((first.tx_ring.as_ref(), first.fanout), (None, None));
    drop(fd);
    let again = restore(&mock, record).unwrap();
    let (_, mut second) = dump(&MockHost::new(), &again);
    second.opts = first.opts.clone();
    assert_eq!(first, second);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let fd = socket();
    sys::bind(fd.as_raw_fd(), &loopback()).unwrap();
    let mock = MockHost::new();
    let (record, mut entry) = dump(&mock, &fd);
    entry.ifindex = 1 << 30;
    let mut file = FileEntry::decode(record.entry.as_slice()).unwrap();
    file.psk = Some(entry);
    let error = restore(
        &mock,
        FileRecord {
            entry: file.encode_to_vec(),
            ..record
        },
    )
    .unwrap_err();
    assert!(error.message.contains("no network device with index"), "{error}");
}

#[test]
fn damaged_entries_are_refused() {
    let (record, entry) = dump(&MockHost::new(), &socket());
    for damage in [
        |e: &mut PacketSockEntry| e.r#type = 1,
        |e: &mut PacketSockEntry| e.version = 3,
        |e: &mut PacketSockEntry| e.protocol = 0x10000,
        |e: &mut PacketSockEntry| e.id = 77,
        |e: &mut PacketSockEntry| {
            e.mclist = vec![criu_proto::images::PacketMclist {
                index: 1,
                r#type: 0,
                addr: vec![0; 33],
            }];
        },
    ] {
        let mut entry = entry.clone();
        damage(&mut entry);
        let mut file = FileEntry::decode(record.entry.as_slice()).unwrap();
        file.psk = Some(entry);
        let record = FileRecord {
            entry: file.encode_to_vec(),
            ..record.clone()
        };
        assert!(restore(&MockHost::new(), record).is_err());
    }
}
