//! Connections over the loopback device of a network namespace of the test's own, moved from socket to socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use criu_tcp_repair::{
    Error, Remains, State, Stream, addresses, in_repair, leave_quietly, pause, remain, restore,
};
use support::{ask, deaf, fresh, in_own_network, like, pair, state, until};

const ADDRESSES: [&str; 3] = ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"];

/// One end that was taken apart; its socket is to go before it is put together.
struct Apart {
    local: SocketAddr,
    remote: SocketAddr,
    stream: Stream,
}

fn apart(socket: &TcpStream) -> Apart {
    let paused = pause(socket).unwrap();
    let stream = paused.save().unwrap();
    paused.keep();
    let (local, remote) = addresses(socket).unwrap();
    Apart {
        local,
        remote,
        stream,
    }
}

impl Apart {
    fn together(&self) -> TcpStream {
        let socket = like(self.local);
        let restored = restore(&socket, self.local, self.remote, &self.stream).unwrap();
        assert_eq!(state(&socket), self.stream.state);
        let again = criu_tcp_repair::read(&socket).unwrap();
        self.assert_same(&again);
        restored.resume().unwrap();
        socket.into()
    }

    /// Nothing was lost, and nothing has happened meanwhile.
    fn assert_same(&self, again: &Stream) {
        if let (Some(before), Some(after)) = (self.stream.timestamp, again.timestamp) {
            assert!(
                after.wrapping_sub(before) < 10_000,
                "the clock went from {before} to {after}"
            );
        }
        let mut expected = self.stream.clone();
        let sent = expected.send.data.len() - expected.unsent as usize;
        if !expected.state.has_ended() {
            // Handed over in the end.
            expected.send.end = expected.send.end.wrapping_sub(expected.unsent);
            expected.send.data.truncate(sent);
            expected.unsent = 0;
        }
        expected.timestamp = again.timestamp;
        assert_eq!(again.window, expected.window);
        assert!(
            again.receive == expected.receive && again.send == expected.send,
            "other queues"
        );
        expected.receive.data.clear();
        expected.send.data.clear();
        let mut again = again.clone();
        again.receive.data.clear();
        again.send.data.clear();
        assert_eq!(again, expected);
    }
}

fn moved(socket: TcpStream) -> TcpStream {
    let apart = apart(&socket);
    drop(socket);
    apart.together()
}

/// Silent until both are there: there is no firewall.
fn both(a: &Apart, b: &Apart) -> (TcpStream, TcpStream) {
    let (first, second) = (like(a.local), like(b.local));
    let one = restore(&first, a.local, a.remote, &a.stream).unwrap();
    let two = restore(&second, b.local, b.remote, &b.stream).unwrap();
    two.resume().unwrap();
    one.resume().unwrap();
    (first.into(), second.into())
}

fn receive(socket: &mut TcpStream, expected: &[u8]) {
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let mut got = vec![0; expected.len()];
    socket.read_exact(&mut got).unwrap();
    assert!(got == expected, "other bytes arrived");
}

fn end_of(socket: &mut TcpStream) {
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
}

fn talk(a: &mut TcpStream, b: &mut TcpStream) {
    for _ in 0..2 {
        a.write_all(b"still here").unwrap();
        receive(b, b"still here");
        b.write_all(b"me too").unwrap();
        receive(a, b"me too");
    }
}

#[test]
fn both_ends_move() {
    in_own_network(|| {
        for address in ADDRESSES {
            let (mut client, mut server) = pair(address);
            client.write_all(b"to server").unwrap();
            server.write_all(b"to client").unwrap();
            let (a, b) = (apart(&client), apart(&server));
            drop((client, server));
            assert_eq!(a.stream.receive.data, b"to client");
            assert_eq!(a.stream.send.end, b.stream.receive.end);
            assert_eq!(a.stream.options & 7, 7);
            let (mut client, mut server) = both(&a, &b);
            receive(&mut client, b"to client");
            receive(&mut server, b"to server");
            talk(&mut client, &mut server);
        }
    });
}

#[test]
fn one_end_moves_and_the_other_does_not_notice() {
    in_own_network(|| {
        for address in ADDRESSES {
            let (mut client, mut server) = pair(address);
            for _ in 0..3 {
                client = moved(client);
                talk(&mut client, &mut server);
                server = moved(server);
                talk(&mut client, &mut server);
            }
        }
    });
}

#[test]
fn what_does_not_fit_into_the_window_is_sent_later() {
    in_own_network(|| {
        let (mut client, server) = pair("127.0.0.1:0");
        client.set_nonblocking(true).unwrap();
        let mut written = Vec::new();
        loop {
            let data: Vec<u8> = (0..4096u32)
                .map(|i| (i * 7 + written.len() as u32 / 4096) as u8)
                .collect();
            match client.write(&data) {
                Ok(sent) => written.extend_from_slice(&data[..sent]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        let (a, b) = (apart(&client), apart(&server));
        drop((client, server));
        assert!(a.stream.unsent > 0 && b.stream.receive.data.len() > 10_000);
        assert_eq!(
            a.stream.send.data.len() + b.stream.receive.data.len(),
            written.len()
        );
        let (mut client, mut server) = both(&a, &b);
        receive(&mut server, &written);
        client.set_nonblocking(false).unwrap();
        talk(&mut client, &mut server);
    });
}

#[test]
fn pausing_changes_nothing() {
    in_own_network(|| {
        let (mut client, mut server) = pair("127.0.0.1:0");
        support::set(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        client.write_all(b"unread").unwrap();
        let (first, second) = (pause(&client).unwrap(), pause(&server).unwrap());
        assert!(in_repair(&client).unwrap());
        assert_eq!(second.save().unwrap().receive.data, b"unread");
        first.resume().unwrap();
        drop(second);
        for end in [&client, &server] {
            assert!(!in_repair(end).unwrap());
        }
        receive(&mut server, b"unread");
        talk(&mut client, &mut server);
    });
}

/// A client in a state, the server, and what the server has still to hear.
fn prepared(address: &str, wanted: State) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = pair(address);
    client.write_all(b"request").unwrap();
    receive(&mut server, b"request");
    let listens = matches!(wanted, State::FinWait2 | State::CloseWait);
    if wanted.peer_has_ended() {
        server.write_all(b"answer").unwrap();
    }
    if wanted == State::LastAck {
        server.shutdown(Shutdown::Write).unwrap();
        until(&client, State::CloseWait);
    }
    if !listens {
        deaf(&server, true);
    }
    if wanted.has_ended() {
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    if matches!(wanted, State::CloseWait | State::Closing) {
        server.shutdown(Shutdown::Write).unwrap();
    }
    until(&client, wanted);
    (client, server)
}

#[test]
fn every_state_comes_back() {
    in_own_network(|| {
        for address in ADDRESSES {
            for wanted in [
                State::Established,
                State::FinWait1,
                State::FinWait2,
                State::CloseWait,
                State::LastAck,
                State::Closing,
            ] {
                let (client, mut server) = prepared(address, wanted);
                let mut client = moved(moved(client));
                if wanted.end_is_pending() || wanted == State::Established {
                    deaf(&server, false);
                }
                if wanted.peer_has_ended() {
                    receive(&mut client, b"answer");
                    end_of(&mut client);
                } else {
                    server.write_all(b"late answer").unwrap();
                    receive(&mut client, b"late answer");
                }
                if wanted.has_ended() {
                    assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
                    receive(&mut server, b"last words");
                } else {
                    client.write_all(b"late words").unwrap();
                    receive(&mut server, b"late words");
                }
                drop(client);
                end_of(&mut server);
            }
        }
    });
}

#[test]
fn an_end_behind_data_that_was_never_sent_waits_for_it() {
    in_own_network(|| {
        let (mut client, mut server) = pair("127.0.0.1:0");
        client.set_nonblocking(true).unwrap();
        let data = vec![7; 64 << 20];
        let written = client.write(&data).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(state(&client), State::FinWait1);
        let a = apart(&client);
        drop(client);
        assert!(a.stream.unsent > 0);
        let mut client = a.together();
        receive(&mut server, &data[..written]);
        end_of(&mut server);
        server.write_all(b"answer").unwrap();
        client.set_nonblocking(false).unwrap();
        receive(&mut client, b"answer");
    });
}

#[test]
fn a_handshake_goes_on() {
    in_own_network(|| {
        for address in ADDRESSES {
            let listener = TcpListener::bind(address).unwrap();
            deaf(&listener, true);
            let client = ask(&listener);
            let remote = listener.local_addr().unwrap();
            assert_eq!(state(&client), State::SynSent);
            let paused = pause(&client).unwrap();
            let stream = paused.save().unwrap();
            paused.keep();
            let local = client.local_addr().unwrap();
            drop(client);
            let socket = like(local);
            restore(&socket, local, remote, &stream)
                .unwrap()
                .resume()
                .unwrap();
            assert_eq!(state(&socket), State::SynSent);
            let paused = pause(&socket).unwrap();
            assert_eq!(
                paused.save().unwrap().send.end,
                stream.send.end,
                "the sequence number of the SYN"
            );
            drop(paused);
            deaf(&listener, false);
            let mut server = listener.accept().unwrap().0;
            until(&socket, State::Established);
            talk(&mut socket.into(), &mut server);
        }
    });
}

#[test]
fn a_connection_to_itself_moves() {
    in_own_network(|| {
        let socket = fresh(libc::AF_INET);
        let at = criu_tcp_repair::address::encode(&"127.0.0.1:4711".parse().unwrap());
        // SAFETY: both calls read as many bytes as there are.
        unsafe {
            let (name, length) = (at.as_ptr().cast(), at.len() as libc::socklen_t);
            assert_eq!(libc::bind(socket.as_raw_fd(), name, length), 0);
            assert_eq!(libc::connect(socket.as_raw_fd(), name, length), 0);
        }
        let mut own = TcpStream::from(socket);
        own.write_all(b"to myself").unwrap();
        let mut own = moved(own);
        receive(&mut own, b"to myself");
        own.write_all(b"again").unwrap();
        receive(&mut own, b"again");
    });
}

#[test]
fn urgent_data_is_refused() {
    in_own_network(|| {
        let (client, server) = pair("127.0.0.1:0");
        // SAFETY: one byte is read.
        let sent = unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        let mut poll = libc::pollfd {
            fd: server.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: one entry, alive.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5_000) }, 1);
        let error = pause(&server).unwrap().save().unwrap_err();
        assert!(matches!(error, Error::Urgent), "{error}");
    });
}

#[test]
fn what_is_no_connection_is_refused() {
    in_own_network(|| {
        let closed = fresh(libc::AF_INET);
        let error = pause(&closed).unwrap().save().unwrap_err();
        assert!(error.to_string().contains("CLOSE"), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(pause(&listener).unwrap_err().raw_os_error(), Some(libc::EPERM));
        let here = "127.0.0.1:1".parse().unwrap();
        restore(&closed, here, here, &Stream::default()).unwrap_err();
        leave_quietly(&closed).unwrap();
    });
}

#[test]
fn remains_of_a_connection_are_left() {
    in_own_network(|| {
        let large = vec![3; 1 << 20];
        for (data, error) in [
            (&b""[..], Some(libc::ECONNREFUSED)),
            (b"", Some(libc::ECONNRESET)),
            (b"unread", Some(libc::ECONNRESET)),
            (b"unread", None),
            (&large, None),
        ] {
            for family in [libc::AF_INET, libc::AF_INET6] {
                let socket = fresh(family);
                let remains = Remains {
                    data: data.to_vec(),
                    error,
                };
                remain(&socket, &remains).unwrap();
                assert_eq!(state(&socket), State::Close);
                let mut socket = TcpStream::from(socket);
                if data.is_empty() {
                    assert_eq!(support::error_of(&socket), error);
                } else {
                    receive(&mut socket, data);
                }
                let end = socket.read(&mut [0]);
                match error.filter(|_| !data.is_empty()) {
                    Some(error) => assert_eq!(end.unwrap_err().raw_os_error(), Some(error)),
                    None => assert_eq!(end.unwrap(), 0),
                }
                assert_eq!(socket.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
            }
        }
        let wrong = Remains {
            data: b"x".to_vec(),
            error: Some(libc::ECONNREFUSED),
        };
        let error: io::Error = remain(fresh(libc::AF_INET), &wrong).unwrap_err().into();
        assert!(error.to_string().contains("contradicts"), "{error}");
    });
}
