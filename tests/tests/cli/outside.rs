//! Objects of the outside: handed over at the restore, or declared at the dump.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use criu_tests::{Lab, until};

use super::support::{LIMIT, criu, dump, end, lives, no_tracer, restore, shell};

fn pipe() -> (fs::File, fs::File) {
    let (reading, writing): (OwnedFd, OwnedFd) = nix::unistd::pipe().expect("make a pipe");
    (reading.into(), writing.into())
}

fn name_of(pid: i32, fd: i32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("read the link of a descriptor");
    link.to_string_lossy().into_owned()
}

/// Restores with descriptors of this process in place of what keys name.
fn inheriting(lab: &Lab, files: &[(&String, i32)]) {
    let mut command = criu(lab, "restore -D im -d -v4 -o restore.log");
    for (&(key, fd), number) in files.iter().zip(20..) {
        command = command
            .arg("--inherit-fd")
            .arg(format!("fd[{number}]:{key}"))
            .fd(fd, number);
    }
    command.ok();
}

/// Both ends of a filter are other pipes after the restore.
#[test]
fn inherit_fd_of_pipes() {
    let lab = Lab::new();
    let (old_in, old_out) = (pipe(), pipe());
    let pid = shell(
        &lab,
        "exec cat",
        &[(old_in.0.as_raw_fd(), 0), (old_out.1.as_raw_fd(), 1)],
    );
    let keys = [0, 1].map(|fd| name_of(pid, fd));
    dump(&lab, pid, "");
    let (mut new_in, mut new_out) = (pipe(), pipe());
    inheriting(
        &lab,
        &[
            (&keys[0], new_in.0.as_raw_fd()),
            (&keys[1], new_out.1.as_raw_fd()),
        ],
    );
    new_in.1.write_all(b"through").expect("write");
    let mut back = [0; 7];
    new_out.0.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"through");
    let theirs = fs::metadata(format!("/proc/{pid}/fd/0")).expect("stat").ino();
    assert_eq!(theirs, new_in.0.metadata().expect("stat").ino());
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn inherit_fd_of_a_file() {
    let lab = Lab::new();
    fs::write(lab.path().join("old"), "old").expect("write");
    fs::write(lab.path().join("new"), "new").expect("write");
    let pid = shell(&lab, "exec 5<old; exec sleep 1010", &[]);
    dump(&lab, pid, "");
    let key = lab.path().join("old");
    // The key is the path without its first slash; with it is understood too.
    for key in [
        key.to_string_lossy().trim_start_matches('/').to_owned(),
        key.to_string_lossy().into_owned(),
    ] {
        let new = fs::File::open(lab.path().join("new")).expect("open");
        criu(&lab, "restore -D im -d -v4 -o restore.log")
            .arg("--inherit-fd")
            .arg(format!("fd[30]:{key}"))
            .fd(new.as_raw_fd(), 30)
            .ok();
        assert_eq!(name_of(pid, 5), lab.path().join("new").to_string_lossy());
        end(pid);
    }
    criu(&lab, "restore -D im -d --inherit-fd fd[77]:x").refused(&["77"]);
    criu(&lab, "restore -D im -d --inherit-fd 77:x").refused(&["77:x"]);
    assert!(!lives(pid));
    lab.assert_clean(&[pid]);
}

#[test]
fn external_file() {
    let lab = Lab::new();
    fs::write(lab.path().join("old"), "old").expect("write");
    fs::write(lab.path().join("new"), "new").expect("write");
    let pid = shell(&lab, "exec 5<old; exec sleep 1011", &[]);
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/5")).expect("read");
    let mount = info
        .lines()
        .find_map(|l| l.strip_prefix("mnt_id:"))
        .expect("a mount")
        .trim();
    let mount: u64 = mount.parse().expect("a number");
    let inode = fs::metadata(lab.path().join("old")).expect("stat").ino();
    let key = format!("file[{mount:x}:{inode:x}]");
    dump(&lab, pid, &format!("--external {key}"));
    fs::remove_file(lab.path().join("old")).expect("remove");
    criu(&lab, "restore -D im -d").refused(&[&key, "--inherit-fd"]);
    let new = fs::File::open(lab.path().join("new")).expect("open");
    criu(&lab, "restore -D im -d")
        .arg("--inherit-fd")
        .arg(format!("fd[30]:{key}"))
        .fd(new.as_raw_fd(), 30)
        .ok();
    assert_eq!(name_of(pid, 5), lab.path().join("new").to_string_lossy());
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A terminal whose master is here.
#[test]
fn external_tty() {
    let lab = Lab::new();
    let old = nix::pty::openpty(None, None).expect("open a terminal");
    let fd = old.slave.as_raw_fd();
    let pid = shell(&lab, "exec cat", &[(fd, 0), (fd, 1)]);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--shell-job", "--external"]);
    no_tracer(pid);
    let meta = fs::metadata(format!("/proc/{pid}/fd/0")).expect("stat");
    let key = format!("tty[{:x}:{:x}]", meta.rdev(), meta.dev());
    dump(&lab, pid, &format!("--external {key}"));
    criu(&lab, "restore -D im -d").refused(&[&key, "--inherit-fd"]);
    let new = nix::pty::openpty(None, None).expect("open a terminal");
    criu(&lab, "restore -D im -d")
        .arg("--inherit-fd")
        .arg(format!("fd[30]:{key}"))
        .fd(new.slave.as_raw_fd(), 30)
        .ok();
    let mut master = fs::File::from(new.master);
    master.write_all(b"typed\n").expect("type");
    let mut shown = Vec::new();
    until("cat has answered", LIMIT, || {
        let mut some = [0; 64];
        let count = master.read(&mut some).expect("read the terminal");
        shown.extend_from_slice(&some[..count]);
        // Once by the terminal's echo, once by cat.
        (String::from_utf8_lossy(&shown).matches("typed").count() == 2).then_some(())
    });
    end(pid);
    lab.assert_clean(&[pid]);
}

fn socket_key(pid: i32, fd: i32) -> (String, String) {
    let key = name_of(pid, fd);
    let inode = key
        .trim_start_matches("socket:[")
        .trim_end_matches(']')
        .to_owned();
    (key, inode)
}

/// What is sent comes back.
fn echoed(stream: &mut (impl Read + Write)) {
    stream.write_all(b"hello").expect("send");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("receive");
    assert_eq!(&back, b"hello");
}

/// One end of a pair is that of another pair after the restore.
#[test]
fn inherit_fd_of_a_unix_socket() {
    let lab = Lab::new();
    let pair = || std::os::unix::net::UnixStream::pair().expect("make a pair");
    let (mut here, there) = pair();
    let fd = there.as_raw_fd();
    let pid = shell(&lab, "exec cat", &[(fd, 0), (fd, 1)]);
    drop(there);
    echoed(&mut here);
    let (key, inode) = socket_key(pid, 0);
    dump(&lab, pid, &format!("--external unix[{inode}]"));
    drop(here);
    let (mut here, there) = pair();
    here.set_read_timeout(Some(LIMIT)).expect("set a time limit");
    inheriting(&lab, &[(&key, there.as_raw_fd())]);
    drop(there);
    echoed(&mut here);
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A connection goes on over another one; nothing is said over the old one, and nothing keeps its packets back.
#[test]
fn inherit_fd_of_a_connection() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let pair = || {
        let here = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        here.set_read_timeout(Some(LIMIT)).expect("set a time limit");
        (here, listener.accept().expect("accept").0)
    };
    let (mut old, there) = pair();
    let fd = there.as_raw_fd();
    let pid = shell(&lab, "exec cat", &[(fd, 0), (fd, 1)]);
    drop(there);
    echoed(&mut old);
    let (key, _) = socket_key(pid, 0);
    dump(&lab, pid, "--tcp-established");
    let (mut new, there) = pair();
    inheriting(&lab, &[(&key, there.as_raw_fd())]);
    drop(there);
    echoed(&mut new);
    old.set_read_timeout(Some(Duration::from_millis(1)))
        .expect("set a time limit");
    let silent = old
        .read(&mut [0])
        .expect_err("something was said over the old connection");
    assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(criu_tests::firewall_tables(&[pid]), Vec::<String>::new());
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A listening socket and a UDP socket are others, at other addresses, after the restore.
#[test]
fn inherit_fd_of_sockets_without_peers() {
    let lab = Lab::new();
    let make = || {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("listen");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        (OwnedFd::from(tcp), OwnedFd::from(udp))
    };
    let old = make();
    let fds = [(old.0.as_raw_fd(), 7), (old.1.as_raw_fd(), 8)];
    let pid = shell(&lab, "exec sleep 1015", &fds);
    let keys = fds.map(|(_, fd)| socket_key(pid, fd).0);
    dump(&lab, pid, "");
    // The old addresses stay taken here: what the images have could not be bound.
    let new = make();
    inheriting(
        &lab,
        &[(&keys[0], new.0.as_raw_fd()), (&keys[1], new.1.as_raw_fd())],
    );
    for (fd, own) in [(7, new.0), (8, new.1)] {
        let inode = fs::File::from(own).metadata().expect("stat").ino();
        assert_eq!(name_of(pid, fd), format!("socket:[{inode}]"));
    }
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A process whose standard input is a datagram socket that sends to one bound here.
fn sender(lab: &Lab) -> (i32, UnixDatagram, u64) {
    let receiver = UnixDatagram::bind(lab.path().join("receiver")).expect("bind");
    receiver.set_read_timeout(Some(LIMIT)).expect("set a time limit");
    let socket = UnixDatagram::unbound().expect("make a socket");
    socket.connect(lab.path().join("receiver")).expect("connect");
    let fd = OwnedFd::from(socket);
    let inode = fs::File::from(fd.try_clone().expect("dup"))
        .metadata()
        .expect("stat")
        .ino();
    let pid = shell(lab, "exec sleep 1012", &[(fd.as_raw_fd(), 7)]);
    (pid, receiver, inode)
}

/// Sends through the descriptor of the process, which shows that it is connected.
fn sends(pid: i32, receiver: &UnixDatagram) {
    use std::os::fd::FromRawFd;
    // SAFETY: both calls take plain numbers and give new descriptors, which nobody else knows.
    let socket = unsafe {
        let pidfd = OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32);
        UnixDatagram::from_raw_fd(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 7, 0) as i32)
    };
    socket.send(b"datagram").expect("send");
    let mut buffer = [0; 16];
    let count = receiver.recv(&mut buffer).expect("receive");
    assert_eq!(&buffer[..count], b"datagram");
}

#[test]
fn ext_unix_sk() {
    let lab = Lab::new();
    let (pid, receiver, inode) = sender(&lab);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--ext-unix-sk", "receiver"]);
    no_tracer(pid);
    dump(&lab, pid, "--ext-unix-sk");
    restore(&lab, "-x");
    sends(pid, &receiver);
    end(pid);

    // Of listed ones no others are accepted.
    drop(receiver);
    fs::remove_file(lab.path().join("receiver")).expect("remove");
    let (pid, receiver, second) = sender(&lab);
    assert_ne!(inode, second);
    criu(&lab, &format!("dump -D im -t {pid} --ext-unix-sk=1")).refused(&["--ext-unix-sk"]);
    criu(&lab, &format!("dump -D im -t {pid} -x1,2")).refused(&["--ext-unix-sk"]);
    no_tracer(pid);
    dump(&lab, pid, &format!("-x1,{second}"));
    restore(&lab, "-x");
    sends(pid, &receiver);
    end(pid);
    drop(receiver);
    fs::remove_file(lab.path().join("receiver")).expect("remove");
    lab.assert_clean(&[pid]);
}

/// The other end of a pair is lost, which the user has said is fine.
#[test]
fn external_unix() {
    let lab = Lab::new();
    let (here, there) = std::os::unix::net::UnixStream::pair().expect("make a pair");
    let pid = shell(&lab, "exec sleep 1013", &[(there.as_raw_fd(), 7)]);
    drop(there);
    let name = name_of(pid, 7);
    let inode = name
        .trim_start_matches("socket:[")
        .trim_end_matches(']')
        .to_owned();
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--external unix["]);
    no_tracer(pid);
    criu(&lab, &format!("dump -D im -t {pid} --external unix[nonsense]")).refused(&["unix[nonsense]"]);
    dump(&lab, pid, &format!("--external unix[{inode}]"));
    drop(here);
    restore(&lab, "");
    assert!(name_of(pid, 7).starts_with("socket:["));
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A device node whose name is gone is found again in /dev by its numbers.
#[test]
fn evasive_devices() {
    let lab = Lab::new();
    let node = lab.path().join("node");
    nix::sys::stat::mknod(
        &node,
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o666),
        nix::sys::stat::makedev(1, 5),
    )
    .expect("make a device node");
    // The mode of /dev/zero, whatever the umask here.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&node, mode).expect("chmod");
    let pid = shell(&lab, "exec 5<node; ln node other; rm node; exec sleep 1014", &[]);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["node"]);
    no_tracer(pid);
    dump(&lab, pid, "--evasive-devices");
    restore(&lab, "--evasive-devices");
    assert_eq!(name_of(pid, 5), "/dev/zero");
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}
