//! Connections over the loopback device of a network namespace of the test's own, taken apart at both
//! ends, closed, and put together.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use super::*;
use crate::{inet::address, testing};

struct End {
    fd: OwnedFd,
    local: Vec<u8>,
    remote: Vec<u8>,
}

fn connection() -> (End, End) {
    let any = address::encode(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into());
    let listener = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    sys::bind(listener.as_raw_fd(), &any).unwrap();
    sys::listen(listener.as_raw_fd(), 1).unwrap();
    let client = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    sys::connect(
        client.as_raw_fd(),
        &sys::local_name(listener.as_raw_fd()).unwrap(),
    )
    .unwrap();
    let server = sys::accept(listener.as_raw_fd()).unwrap();
    let end = |fd: OwnedFd| End {
        local: sys::local_name(fd.as_raw_fd()).unwrap(),
        remote: sys::peer_name(fd.as_raw_fd()).unwrap().unwrap(),
        fd,
    };
    (end(client), end(server))
}

fn apart(end: &End) -> Stream {
    enter(end.fd.as_raw_fd()).unwrap();
    read(end.fd.as_raw_fd()).unwrap()
}

fn together(end: &mut End, stream: &Stream) {
    end.fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let fd = end.fd.as_raw_fd();
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        sys::set(fd, libc::SOL_SOCKET, option, 8i32 << 20).unwrap();
    }
    rebuild(fd, &end.local, &end.remote, stream).unwrap();
    // Before anything is read: that would offer more.
    let window = sys::get::<RepairWindow>(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW).unwrap();
    assert_eq!(Some(window), stream.window);
}

fn receive_all(fd: &OwnedFd, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let ready = sys::poll(fd.as_raw_fd(), libc::POLLIN, 20_000).unwrap();
        assert_ne!(ready, 0, "{} of {length} bytes after 20 s", all.len());
        let mut buffer = vec![0; length - all.len()];
        let got = sys::receive(fd.as_raw_fd(), &mut buffer, libc::MSG_DONTWAIT).unwrap();
        assert_ne!(got.length, 0, "end after {} of {length} bytes", all.len());
        all.extend_from_slice(&buffer[..got.length]);
    }
    all
}

fn send_all(fd: &OwnedFd, data: &[u8]) {
    assert_eq!(
        sys::send(fd.as_raw_fd(), data, None, &[], libc::MSG_DONTWAIT).unwrap(),
        data.len()
    );
}

fn talk(a: &End, b: &End) {
    for (from, to) in [(a, b), (b, a)] {
        send_all(&from.fd, b"still here");
        assert_eq!(receive_all(&to.fd, 10), b"still here");
    }
}

#[test]
fn a_connection_survives_at_both_ends() {
    testing::in_own_network(|| {
        let (mut client, mut server) = connection();
        send_all(&client.fd, b"to server");
        send_all(&server.fd, b"to client");
        let (at_client, at_server) = (apart(&client), apart(&server));
        assert_eq!(at_client.receive.data, b"to client");
        assert_eq!(at_client.send.end, at_server.receive.end);
        assert_eq!(at_client.options & 7, 7);
        together(&mut client, &at_client);
        together(&mut server, &at_server);
        // Nothing was lost, and nothing has happened meanwhile.
        for (end, before) in [(&client, &at_client), (&server, &at_server)] {
            let after = read(end.fd.as_raw_fd()).unwrap();
            let timestamp = after.timestamp.unwrap().wrapping_sub(before.timestamp.unwrap());
            assert!(timestamp < 10_000, "the clock went from {before:?} to {after:?}");
            assert_eq!(
                Stream {
                    timestamp: before.timestamp,
                    window: before.window,
                    ..after
                },
                *before
            );
        }
        finish(client.fd.as_raw_fd(), &Unsent::of(&at_client)).unwrap();
        finish(server.fd.as_raw_fd(), &Unsent::of(&at_server)).unwrap();
        assert_eq!(receive_all(&client.fd, 9), b"to client");
        assert_eq!(receive_all(&server.fd, 9), b"to server");
        talk(&client, &server);
    });
}

#[test]
fn what_does_not_fit_into_the_window_is_sent_later() {
    testing::in_own_network(|| {
        let (mut client, mut server) = connection();
        let mut written = Vec::new();
        // Until nothing fits any more.
        loop {
            let data: Vec<u8> = (0..4096u32)
                .map(|i| (i * 7 + written.len() as u32 / 4096) as u8)
                .collect();
            match sys::send(client.fd.as_raw_fd(), &data, None, &[], libc::MSG_DONTWAIT) {
                Ok(sent) => written.extend_from_slice(&data[..sent]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        let (at_client, at_server) = (apart(&client), apart(&server));
        assert!(
            at_client.unsent > 0 && at_server.receive.data.len() > 10_000,
            "{} unsent",
            at_client.unsent
        );
        assert_eq!(
            at_client.send.data.len() + at_server.receive.data.len(),
            written.len()
        );
        together(&mut client, &at_client);
        together(&mut server, &at_server);
        finish(server.fd.as_raw_fd(), &Unsent::of(&at_server)).unwrap();
        finish(client.fd.as_raw_fd(), &Unsent::of(&at_client)).unwrap();
        assert!(
            receive_all(&server.fd, written.len()) == written,
            "other bytes arrived"
        );
        talk(&client, &server);
    });
}

#[test]
fn leaving_quietly_changes_nothing() {
    testing::in_own_network(|| {
        let (client, server) = connection();
        send_all(&client.fd, b"unread");
        let first = (apart(&client), apart(&server));
        assert!(in_repair(client.fd.as_raw_fd()).unwrap());
        for end in [&client, &server] {
            leave_quietly(end.fd.as_raw_fd()).unwrap();
            assert!(!in_repair(end.fd.as_raw_fd()).unwrap());
        }
        assert_eq!(first.1.receive.data, b"unread");
        assert_eq!(receive_all(&server.fd, 6), b"unread");
        talk(&client, &server);
    });
}
