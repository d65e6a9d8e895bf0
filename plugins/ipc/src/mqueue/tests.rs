//! Queues of this process, saved and brought back.

use std::ffi::CString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Verdict};

use super::{Mqueue, sys};

fn name(of: &str) -> CString {
    CString::new(format!("criu-test-{}-{of}", std::process::id())).unwrap()
}

fn dump(kind: &Mqueue, host: &MockHost, fd: impl AsFd, id: u32) -> FileRecord {
    let mut target = file_target(&fd).unwrap();
    target.id = id;
    match kind.dump(&Host::new(host, "ipc"), &target).unwrap() {
        Verdict::Entry(image) => FileRecord {
            id,
            fd_type: image.fd_type,
            entry: image.entry,
        },
        other => panic!("not saved: {other:?}"),
    }
}

fn open(kind: &Mqueue, host: &MockHost, record: &FileRecord) -> OwnedFd {
    let request = OpenRequest {
        file: record.clone(),
        pid: 1,
        purpose: 0,
        flags: None,
    };
    match kind.open(&Host::new(host, "ipc"), &request).unwrap() {
        // SAFETY: the descriptor was just opened and handed over.
        Progress::Done(opened) => unsafe { OwnedFd::from_raw_fd(opened.fd) },
        Progress::NotYet(what) => panic!("waits for {what}"),
    }
}

fn all(queue: &OwnedFd) -> Vec<(Vec<u8>, u32)> {
    let mut buffer = vec![0; 64];
    let mut messages = Vec::new();
    while let Ok((length, priority)) = sys::receive(queue, &mut buffer) {
        messages.push((buffer[..length].to_vec(), priority));
    }
    messages
}

#[test]
fn a_queue_without_a_name_is_carried() {
    let (host, kind, name) = (MockHost::new(), Mqueue::default(), name("gone"));
    let services = Host::new(&host, "ipc");
    let queue = sys::create(&name, 5, 64).unwrap();
    let reader = sys::open(&name, libc::O_RDONLY).unwrap();
    sys::unlink(&name).unwrap();
    let messages = [(b"b".to_vec(), 9), (b"a".to_vec(), 3), (b"c".to_vec(), 3)];
    for (data, priority) in &messages {
        sys::send(&queue, data, *priority).unwrap();
    }
    let records = [dump(&kind, &host, &queue, 1), dump(&kind, &host, &reader, 2)];
    kind.finish_dump(&services).unwrap();
    assert_eq!(all(&queue), messages, "they are still there");
    let was = file_target(&reader).unwrap();
    drop((queue, reader));

    assert_eq!(kind.prepare(&services, &records).unwrap().len(), 2);
    let again = records.each_ref().map(|record| open(&kind, &host, record));
    kind.finish_restore(&services, Outcome::Success).unwrap();
    let is = file_target(&again[1]).unwrap();
    assert_eq!((is.link, is.flags, is.mode), (was.link, was.flags, was.mode));
    assert!(
        sys::send(&again[1], b"x", 0).is_err(),
        "it is open for reading only"
    );
    assert_eq!(all(&again[0]), messages);
    let attributes = sys::attributes(&again[0]).unwrap();
    assert_eq!((attributes.max_messages, attributes.message_size), (5, 64));
}

#[test]
fn a_queue_with_a_name_stays_where_it_is() {
    let (host, kind, name) = (MockHost::new(), Mqueue::default(), name("stays"));
    let services = Host::new(&host, "ipc");
    let queue = sys::create(&name, 5, 64).unwrap();
    sys::send(&queue, b"kept", 1).unwrap();
    let records = [dump(&kind, &host, &queue, 1)];
    kind.finish_dump(&services).unwrap();
    kind.prepare(&services, &records).unwrap();
    let again = open(&kind, &host, &records[0]);
    kind.finish_restore(&services, Outcome::Failure).unwrap();
    assert_eq!(all(&again), [(b"kept".to_vec(), 1)]);
    // Without the queue there is nothing to restore: its message is lost.
    sys::unlink(&name).unwrap();
    let error = kind.prepare(&services, &records).unwrap_err();
    assert!(error.message.contains("does not exist here"), "{error}");
    // Another one is no substitute.
    drop(sys::create(&name, 6, 64).unwrap());
    let error = kind.prepare(&services, &records).unwrap_err();
    assert!(error.message.contains("another queue"), "{error}");
    sys::unlink(&name).unwrap();
}

#[test]
fn a_failed_restore_leaves_no_queue() {
    let (host, kind, name) = (MockHost::new(), Mqueue::default(), name("made"));
    let services = Host::new(&host, "ipc");
    let records = [dump(&kind, &host, sys::create(&name, 5, 64).unwrap(), 1)];
    kind.finish_dump(&services).unwrap();
    sys::unlink(&name).unwrap();
    kind.prepare(&services, &records).unwrap();
    assert!(
        sys::open(&name, libc::O_RDONLY).is_ok(),
        "it was empty, so it is made anew"
    );
    kind.finish_restore(&services, Outcome::Failure).unwrap();
    assert!(sys::open(&name, libc::O_RDONLY).is_err());
}
