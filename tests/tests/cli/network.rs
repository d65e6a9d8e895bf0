//! Options about connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
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
    restore(&lab, "--tcp-close");
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
