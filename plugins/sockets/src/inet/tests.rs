//! Sockets of this very process, in a network namespace of the test's own: dumped, closed, made again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use criu_plugin_api::message::{FileRecord, OpenRequest, Slot, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{Error, FileKind, Host, Outcome, Progress, Stage, StageHook, Verdict};
use criu_proto::Message;
use criu_proto::images::{FileEntry, InetSkEntry};
use criu_tcp_repair::State;
use libc::{IPPROTO_TCP, SOL_SOCKET};

use super::{Inet, address, state};
use crate::testing::in_own_network;
use crate::{lock, sys};

struct Set {
    host: MockHost,
    files: Vec<FileRecord>,
    kind: Inet,
}

fn host(flags: &[&str]) -> MockHost {
    let mut host = MockHost::new();
    let me = std::process::id().cast_signed();
    host.tasks = vec![TaskInfo {
        pid: 1,
        host_pid: me,
        ..TaskInfo::default()
    }];
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, "1"));
        host.settings.insert(name.to_owned(), vec![value.to_owned()]);
    }
    host
}

fn dump(flags: &[&str], sockets: &[&OwnedFd]) -> Result<Set, Error> {
    let host = host(flags);
    let kind = Inet::default();
    let mut files = Vec::new();
    let result = (|| {
        let services = Host::new(&host, "sockets");
        for (i, socket) in sockets.iter().enumerate() {
            let mut target = file_target(socket).unwrap();
            // The thread, which has the namespace, stands in for the process.
            target.pid = nix::unistd::gettid().as_raw();
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
        Ok(())
    })();
    if let Err(e) = result {
        kind.at(&Host::new(&host, "sockets"), Stage::BeforeThaw).unwrap();
        return Err(e);
    }
    Ok(Set { host, files, kind })
}

impl Set {
    fn entry(&self, index: usize) -> InetSkEntry {
        FileEntry::decode(self.files[index].entry.as_slice())
            .unwrap()
            .isk
            .unwrap()
    }

    fn at(&self, stage: Stage) {
        self.kind.at(&Host::new(&self.host, "sockets"), stage).unwrap();
    }

    /// What happens after a dump that killed the tree; the sockets are closed by then.
    fn restore(&mut self) -> Result<Vec<OwnedFd>, Error> {
        // The end of the process that dumped takes its own table away, not the lasting one.
        self.kind = Inet::default();
        let kind = Inet::default();
        let mut slots = Vec::new();
        let mut opened = BTreeMap::new();
        {
            let host = Host::new(&self.host, "sockets");
            kind.prepare(&host, &self.files)?;
            for file in &self.files {
                let request = OpenRequest {
                    file: file.clone(),
                    pid: 1,
                    purpose: 0,
                    flags: None,
                };
                let Progress::Done(got) = kind.open(&host, &request)? else {
                    panic!("waits")
                };
                slots.push(Slot {
                    fd: got.fd,
                    file_id: file.id,
                    flags: 0,
                    fd_type: 4,
                });
                // SAFETY: the kind gave the descriptor away.
                opened.insert(file.id, unsafe { OwnedFd::from_raw_fd(got.fd) });
            }
        }
        self.host.descriptors.insert(1, slots);
        let host = Host::new(&self.host, "sockets");
        kind.at(&host, Stage::BeforeResume)?;
        kind.finish_restore(&host, Outcome::Success)?;
        Ok(opened.into_values().collect())
    }
}

fn socket(address: &str, kind: i32) -> OwnedFd {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = sys::socket(family, kind, 0).unwrap();
    sys::bind(fd.as_raw_fd(), &address::encode(&address)).unwrap();
    fd
}

fn listener(address: &str) -> OwnedFd {
    let fd = socket(address, libc::SOCK_STREAM);
    sys::listen(fd.as_raw_fd(), 8).unwrap();
    fd
}

fn connect(to: &OwnedFd) -> OwnedFd {
    let name = sys::local_name(to.as_raw_fd()).unwrap();
    let family = i32::from(u16::from_ne_bytes([name[0], name[1]]));
    let fd = sys::socket(family, libc::SOCK_STREAM, 0).unwrap();
    sys::connect(fd.as_raw_fd(), &name).unwrap();
    fd
}

fn accepted(listener: &OwnedFd) -> (OwnedFd, OwnedFd) {
    let client = connect(listener);
    (client, sys::accept(listener.as_raw_fd()).unwrap())
}

fn write(fd: &OwnedFd, data: &[u8]) {
    assert_eq!(
        sys::send(fd.as_raw_fd(), data, None, &[], libc::MSG_DONTWAIT).unwrap(),
        data.len()
    );
}

fn read(fd: &OwnedFd) -> Vec<u8> {
    assert_ne!(
        sys::poll(fd.as_raw_fd(), libc::POLLIN, 20_000).unwrap(),
        0,
        "nothing came within 20 s"
    );
    let mut buffer = vec![0; 1 << 16];
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

fn error(result: Result<Set, Error>) -> Error {
    result.err().expect("the dump went through")
}

#[test]
fn what_a_server_has_comes_back() {
    in_own_network(|| {
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let listening = listener(address);
            let (client, server) = accepted(&listening);
            write(&client, b"to server");
            write(&server, b"to client");
            let unbound = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap();
            let sockets = [&listening, &client, &server, &unbound];
            let name = sys::local_name(listening.as_raw_fd()).unwrap();
            let mut set = dump(&["tcp-established"], &sockets).unwrap();
            set.kind.finish_dump(&Host::new(&set.host, "sockets")).unwrap();
            assert!(
                !set.host.images().iter().any(|i| i.contains("extra")),
                "{:?}",
                set.host.images()
            );
            assert_eq!(
                (set.entry(0).state, set.entry(0).backlog),
                (u32::from(state::LISTEN), 8)
            );
            assert_eq!(
                (set.entry(1).state, set.entry(1).dst_port),
                (1, set.entry(0).src_port)
            );
            assert_eq!((set.entry(3).ns_id, set.entry(3).v6only), (None, Some(false)));
            set.at(Stage::Dumped);
            drop((listening, client, server, unbound));
            let sockets = set.restore().unwrap();
            assert_eq!(read(&sockets[2]), b"to server");
            assert_eq!(read(&sockets[1]), b"to client");
            talk(&sockets[1], &sockets[2]);
            assert_eq!(sys::local_name(sockets[0].as_raw_fd()).unwrap(), name);
            let (client, server) = accepted(&sockets[0]);
            talk(&client, &server);
        }
    });
}

#[test]
fn a_client_outside_does_not_notice() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        write(&client, b"request 1, ");
        let mut set = dump(&["tcp-established"], &[&listening, &server]).unwrap();
        set.at(Stage::Dumped);
        set.kind = Inet::default();
        drop((listening, server));
        write(&client, b"request 2");
        let answer = sys::poll(client.as_raw_fd(), libc::POLLIN | libc::POLLRDHUP, 300).unwrap();
        assert_eq!(answer, 0, "the client was answered while the server was away");
        let sockets = set.restore().unwrap();
        let mut all = read(&sockets[1]);
        if all.len() < 20 {
            all.extend(read(&sockets[1]));
        }
        assert_eq!(all, b"request 1, request 2");
        talk(&client, &sockets[1]);
    });
}

#[test]
fn a_dump_that_goes_on_leaves_no_trace() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        sys::set(server.as_raw_fd(), SOL_SOCKET, libc::SO_REUSEADDR, 1i32).unwrap();
        for flags in [
            &["tcp-established", "leave-running"][..],
            &["tcp-established", "leave-stopped"],
        ] {
            let set = dump(flags, &[&client, &server]).unwrap();
            assert!(set.entry(1).opts.reuseaddr.unwrap());
            assert!(criu_tcp_repair::in_repair(&server).unwrap());
            set.at(Stage::Dumped);
            assert!(!criu_tcp_repair::in_repair(&server).unwrap());
            assert_eq!(
                sys::get::<i32>(server.as_raw_fd(), SOL_SOCKET, libc::SO_REUSEADDR).unwrap(),
                1
            );
            talk(&client, &server);
            set.at(Stage::BeforeThaw);
        }
        // A failure after the lasting lock was made.
        let set = dump(&["tcp-established"], &[&client, &server]).unwrap();
        set.at(Stage::Dumped);
        set.at(Stage::BeforeThaw);
        talk(&client, &server);
        // No table is left: one of each name can be made.
        for table in ["CRIU-1", "CRIU-1-dump"] {
            lock::Lock::new(table.to_owned()).unwrap();
        }
        // Each socket was to be taken out of repair mode by its own process, had the dump been killed.
        let undone: Vec<u64> = set.host.undo.borrow().iter().map(|c| c.args[2].value).collect();
        assert_eq!(undone, [19, 2, 19]);
    });
}

#[test]
fn connections_need_leave() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        let refusal = error(dump(&[], &[&server]));
        assert!(refusal.remedy.unwrap().contains("--tcp-established"));
        assert!(
            refusal.message.contains(&format!("fd {}", server.as_raw_fd())),
            "{}",
            refusal.message
        );
        talk(&client, &server);

        let waiting = connect(&listening);
        let refusal = error(dump(&["tcp-established"], &[&listening]));
        assert!(refusal.remedy.unwrap().contains("--skip-in-flight"));
        dump(&["skip-in-flight"], &[&listening]).unwrap();
        drop(waiting);

        drop((client, server));
    });
}

#[test]
fn ended_directions_stay_ended() {
    in_own_network(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            for both in [false, true] {
                let listening = listener(address);
                let (client, server) = accepted(&listening);
                write(&client, b"last words");
                sys::shutdown(client.as_raw_fd(), libc::SHUT_WR).unwrap();
                // The peer is outside of the tree, or in it.
                let sockets = [&server, &client];
                let mut set = dump(&["tcp-established"], &sockets[..1 + usize::from(both)]).unwrap();
                assert_eq!(
                    (set.entry(0).state, set.entry(0).shutdown),
                    (State::CloseWait as u32, Some(1))
                );
                set.at(Stage::Dumped);
                drop((server, listening));
                let (server, client) = if both {
                    // The acknowledgement of its FIN may be delayed.
                    let waits = [State::FinWait1, State::FinWait2].map(|s| s as u32);
                    assert!(waits.contains(&set.entry(1).state));
                    assert_eq!(set.entry(1).shutdown, Some(2));
                    drop(client);
                    let mut sockets = set.restore().unwrap();
                    let client = sockets.remove(1);
                    (sockets.remove(0), client)
                } else {
                    (set.restore().unwrap().remove(0), client)
                };
                assert_eq!(read(&server), b"last words");
                assert_eq!(read(&server), b"");
                write(&server, b"answer");
                assert_eq!(read(&client), b"answer");
                let sent = sys::send(client.as_raw_fd(), b"x", None, &[], 0).unwrap_err();
                assert_eq!(sent.raw_os_error(), Some(libc::EPIPE));
                drop(server);
                assert_eq!(read(&client), b"");
            }
        }
    });
}

#[test]
fn an_end_that_was_not_heard_is_told_again() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        write(&client, b"to be read");
        let name = |n: Vec<u8>| address::decode(&n).unwrap();
        let local = name(sys::local_name(server.as_raw_fd()).unwrap());
        let remote = name(sys::peer_name(server.as_raw_fd()).unwrap().unwrap());
        // The server's end never leaves the host.
        let mut away = lock::Lock::new("criu-test".to_owned()).unwrap();
        away.add(&[lock::Connection { local, remote }]).unwrap();
        write(&server, b"never arrived");
        sys::shutdown(server.as_raw_fd(), libc::SHUT_WR).unwrap();
        let mut set = dump(&["tcp-established"], &[&server]).unwrap();
        assert_eq!(set.entry(0).state, State::FinWait1 as u32);
        set.at(Stage::Dumped);
        drop((server, away));
        let server = set.restore().unwrap().remove(0);
        assert_eq!(read(&client), b"never arrived");
        assert_eq!(read(&client), b"");
        assert_eq!(read(&server), b"to be read");
        write(&client, b"more");
        assert_eq!(read(&server), b"more");
    });
}

#[test]
fn given_up_connections_read_as_ended() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        let ends = |mut set: Set| {
            let sockets = set.restore().unwrap();
            assert_eq!(read(&sockets[0]), b"");
            let sent = sys::send(sockets[0].as_raw_fd(), b"x", None, &[], 0).unwrap_err();
            assert_eq!(sent.raw_os_error(), Some(libc::EPIPE));
        };
        // At the dump.
        let set = dump(&["tcp-close"], &[&server]).unwrap();
        assert_eq!(set.entry(0).state, u32::from(state::CLOSE));
        talk(&client, &server);
        ends(set);
        // At the restore.
        let mut set = dump(&["tcp-established"], &[&server]).unwrap();
        set.at(Stage::Dumped);
        drop((server, client, listening));
        let refusal = Set {
            host: host(&[]),
            files: set.files.clone(),
            kind: Inet::default(),
        }
        .restore()
        .unwrap_err();
        assert!(refusal.remedy.unwrap().contains("--tcp-close"));
        set.host
            .settings
            .insert("tcp-close".to_owned(), vec!["1".to_owned()]);
        ends(set);
        // The lock of the dump is gone, too.
        lock::Lock::new("CRIU-1".to_owned()).unwrap();
    });
}

#[test]
fn udp_keeps_its_addresses() {
    in_own_network(|| {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let bound = socket(at, libc::SOCK_DGRAM);
            let connected = socket(at, libc::SOCK_DGRAM);
            let name = sys::local_name(bound.as_raw_fd()).unwrap();
            sys::connect(connected.as_raw_fd(), &name).unwrap();
            let half = socket(at, libc::SOCK_DGRAM);
            sys::connect(half.as_raw_fd(), &name).unwrap();
            sys::shutdown(half.as_raw_fd(), libc::SHUT_WR).unwrap();
            let mut set = dump(&[], &[&bound, &connected, &half]).unwrap();
            assert_eq!((set.entry(0).state, set.entry(1).state), (7, 1));
            assert_eq!((set.entry(1).shutdown, set.entry(2).shutdown), (None, Some(2)));
            drop((bound, connected, half));
            let sockets = set.restore().unwrap();
            write(&sockets[1], b"datagram");
            assert_eq!(read(&sockets[0]), b"datagram");
            let again = dump(&[], &sockets.iter().collect::<Vec<_>>()).unwrap();
            for i in 0..3 {
                assert_eq!(
                    InetSkEntry {
                        ino: set.entry(i).ino,
                        ..again.entry(i)
                    },
                    set.entry(i)
                );
            }
        }
    });
}

#[test]
fn options_come_back() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:0");
        let (client, server) = accepted(&listening);
        let ip = libc::IPPROTO_IP;
        for (level, option, value) in [
            (IPPROTO_TCP, libc::TCP_NODELAY, 1i32),
            (IPPROTO_TCP, libc::TCP_KEEPIDLE, 33),
            (IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
            (IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 4321),
            (IPPROTO_TCP, libc::TCP_LINGER2, 21),
            (SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (SOL_SOCKET, libc::SO_SNDBUF, 70_000),
            (SOL_SOCKET, libc::SO_MARK, 77),
            (SOL_SOCKET, libc::SO_OOBINLINE, 1),
            (ip, libc::IP_TOS, 16),
            (ip, libc::IP_TTL, 9),
            (SOL_SOCKET, libc::SO_PRIORITY, 3),
            (ip, libc::IP_PKTINFO, 1),
        ] {
            sys::set(server.as_raw_fd(), level, option, value).unwrap();
        }
        let only6 = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap();
        sys::set(only6.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1i32).unwrap();
        let port = address::decode(&sys::local_name(listening.as_raw_fd()).unwrap())
            .unwrap()
            .port();
        sys::bind(
            only6.as_raw_fd(),
            &address::encode(&format!("[::]:{port}").parse().unwrap()),
        )
        .unwrap();
        sys::listen(only6.as_raw_fd(), 3).unwrap();
        let device = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        sys::set_bytes(device.as_raw_fd(), SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo").unwrap();
        let free = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        sys::set(free.as_raw_fd(), ip, libc::IP_FREEBIND, 1i32).unwrap();
        sys::bind(
            free.as_raw_fd(),
            &address::encode(&"192.0.2.1:99".parse().unwrap()),
        )
        .unwrap();
        let sockets = [&server, &only6, &device, &free, &listening];
        sys::set_bytes(server.as_raw_fd(), IPPROTO_TCP, libc::TCP_CONGESTION, b"reno").unwrap();
        let mut set = dump(&["tcp-established"], &sockets).unwrap();
        set.kind.finish_dump(&Host::new(&set.host, "sockets")).unwrap();
        set.at(Stage::Dumped);
        drop((server, only6, device, free, listening));
        let sockets = set.restore().unwrap();
        talk(&client, &sockets[0]);
        for (option, value) in [(libc::TCP_USER_TIMEOUT, 4321), (libc::TCP_LINGER2, 21)] {
            assert_eq!(
                sys::get::<i32>(sockets[0].as_raw_fd(), IPPROTO_TCP, option).unwrap(),
                value
            );
        }
        let congestion =
            sys::get_bytes(sockets[0].as_raw_fd(), IPPROTO_TCP, libc::TCP_CONGESTION, 16).unwrap();
        assert!(congestion.starts_with(b"reno\0"));
        let again = dump(&["tcp-established"], &sockets.iter().collect::<Vec<_>>()).unwrap();
        again.at(Stage::BeforeThaw);
        for i in 0..sockets.len() {
            assert_eq!(
                InetSkEntry {
                    ino: set.entry(i).ino,
                    ..again.entry(i)
                },
                set.entry(i)
            );
        }
    });
}

#[test]
fn a_port_in_use_is_named() {
    in_own_network(|| {
        let listening = listener("127.0.0.1:4242");
        let mut set = dump(&[], &[&listening]).unwrap();
        let error = set.restore().unwrap_err();
        assert!(
            error.message.contains("127.0.0.1:4242") && error.message.contains("in use"),
            "{error}"
        );
        let _ = listening.into_raw_fd();
    });
}
