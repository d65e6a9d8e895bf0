//! Options about connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use criu_tests::{Lab, until};

use super::support::{LIMIT, criu, dump, end, guest, no_tracer, restore, shell, state};

/// A process with one end of a connection whose other end is here.
fn connected(lab: &Lab) -> (i32, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let here = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (there, _) = listener.accept().expect("accept");
    here.set_read_timeout(Some(LIMIT)).expect("set a time limit");
    // `cat` sends back what it gets.
    let fd = there.as_raw_fd();
    let pid = shell(lab, "exec cat", &[(fd, 0), (fd, 1)]);
    (pid, here)
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"hello").expect("send");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("receive");
    assert_eq!(&back, b"hello");
}

#[test]
fn tcp_established_is_asked_for_by_name() {
    let lab = Lab::new();
    let (pid, mut here) = connected(&lab);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--tcp-established", "127.0.0.1"]);
    no_tracer(pid);
    echo(&mut here);
    dump(&lab, pid, "--tcp-established");
    criu(&lab, "restore -D im -d").refused(&["--tcp-established"]);
    restore(&lab, "--tcp-established");
    echo(&mut here);
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn every_network_lock() {
    let lab = Lab::new();
    let (pid, mut here) = connected(&lab);
    for method in ["iptables", "nftables", "skip"] {
        let options = format!("--tcp-established --network-lock {method}");
        dump(&lab, pid, &options);
        restore(&lab, &options);
        echo(&mut here);
    }
    criu(&lab, &format!("dump -D im -t {pid} --network-lock tin")).refused(&["tin", "nftables"]);
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn tcp_close() {
    let lab = Lab::new();
    let (pid, mut here) = connected(&lab);
    dump(&lab, pid, "--tcp-close");
    // The set says so itself.
    restore(&lab, "");
    // What reads a closed connection comes to its end.
    until("cat ends", LIMIT, || {
        (state(pid).is_none_or(|s| s == 'Z')).then_some(())
    });
    // The other end is not told: its packets are answered by a reset, or nobody was asked.
    here.set_read_timeout(Some(Duration::from_millis(1)))
        .expect("set a time limit");
    let mut byte = [0];
    assert!(here.read(&mut byte).map_or(true, |count| count == 0));
    lab.assert_clean(&[pid]);
}

/// A connection that waits to be accepted belongs to nobody in the tree.
#[test]
fn skip_in_flight() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    let pid = shell(&lab, "exec sleep 1009", &[(listener.as_raw_fd(), 9)]);
    drop(listener);
    let waiting = TcpStream::connect(address).expect("connect");
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--skip-in-flight"]);
    no_tracer(pid);
    dump(&lab, pid, "--skip-in-flight");
    drop(waiting);
    restore(&lab, "");
    // The listener listens.
    TcpStream::connect(address).expect("connect after the restore");
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A socket that drops all that comes, or takes it again.
fn deaf(socket: &OwnedFd, yes: bool) {
    let mut nothing = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut nothing,
    };
    let option = if yes {
        libc::SO_ATTACH_FILTER
    } else {
        libc::SO_DETACH_FILTER
    };
    // SAFETY: the program and its one instruction live during the call, which reads no more than them.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A peer outside of the tree that has asked a listening socket of it for a connection, and has not heard the answer,
/// asks the restored one again.
#[test]
fn half_open_connections_are_asked_for_again() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let pid = shell(&lab, "exec sleep 1016", &[(listener.as_raw_fd(), 9)]);
    drop(listener);
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("make a socket");
    deaf(&client, true);
    let asked = connect(client.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port));
    assert_eq!(asked, Err(nix::errno::Errno::EINPROGRESS));
    let half_open = format!(":{port:04X} ");
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("read the table of connections");
    let is_half_open = |line: &str| line.contains(&half_open) && line.split_whitespace().nth(3) == Some("03");
    assert!(table.lines().any(is_half_open), "no SYN_RECV at {port}:\n{table}");
    dump(&lab, pid, "");
    restore(&lab, "");
    deaf(&client, false);
    let mut client = TcpStream::from(client);
    until("the connection comes about", LIMIT, || {
        client.take_error().map_or(None, |e| {
            assert!(e.is_none(), "{e:?}");
            client.peer_addr().ok()
        })
    });
    client.set_nonblocking(false).expect("let it wait");
    client.write_all(b"hello").expect("send");
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn tcp_close_of_both_ends() {
    let mut lab = Lab::new();
    let pid = guest(&lab, "sockets/tcp_close");
    dump(&lab, pid, "--tcp-close");
    restore(&lab, "--tcp-close");
    std::fs::write(lab.path().join("restored"), "").expect("mark the guest as restored");
    lab.go();
    assert_eq!(lab.conclude(pid), criu_tests::Verdict::Pass);
    lab.assert_clean(&[pid]);
}
