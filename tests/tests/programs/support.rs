//! What the tests of real programs share.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, Snapshot, Verdict, until};

/// A program's path; the test fails with what to do where it is not installed.
pub(crate) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed; `cargo xtask test` installs it"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.local_addr().expect("ask for the port").port()
}

/// A connection with a time limit for each read.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects as soon as somebody listens.
    pub(crate) fn open(port: u16) -> Connection {
        let stream = until("the server listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set a time limit");
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let reader = BufReader::new(stream.try_clone().expect("duplicate a socket"));
        Connection { stream, reader }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("send");
    }

    /// A line without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self.reader.read_line(&mut line).expect("read a line");
        assert!(n > 0, "the connection was closed");
        line.trim_end().to_owned()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("read");
        bytes
    }
}

/// Dumps (which kills the tree), runs `between`, restores, and compares the tree as /proc shows it.
pub(crate) fn checkpoint(lab: &Lab, pid: Pid, options: &[&str], between: impl FnOnce()) {
    checkpoint_except(lab, pid, options, &[], between);
}

/// As [`checkpoint`], without the named fields in the comparison.
pub(crate) fn checkpoint_except(
    lab: &Lab,
    pid: Pid,
    options: &[&str],
    except: &[&str],
    between: impl FnOnce(),
) {
    let before = Snapshot::settled(pid);
    Criu::dump(lab, "images", pid)
        .args(options.iter().copied())
        .run()
        .expect_ok();
    assert!(
        reaper::wait(pid, Duration::from_secs(20)).is_some(),
        "process {pid} is alive after its dump"
    );
    between();
    let restored = Criu::restore(lab, "images").args(options.iter().copied()).run();
    restored.expect_ok();
    println!("{restored}");
    before.assert_same(&Snapshot::settled(pid), except, "dump and restore");
}

/// Runs a program that speaks the guests' protocol.
pub(crate) fn scripted(lab: &mut Lab, pid: Pid, options: &[&str], except: &[&str], with_checkpoint: bool) {
    if let Some(early) = lab.wait_ready(pid) {
        panic!("before the checkpoint: {early:?}");
    }
    if with_checkpoint {
        checkpoint_except(lab, pid, options, except, || {});
    }
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}

/// Ends a server by SIGTERM and checks that nothing is left.
pub(crate) fn finish(lab: &Lab, pid: Pid) {
    // SAFETY: kill touches no memory; the process is the one that this test started.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    assert!(
        reaper::wait(pid, Duration::from_secs(20)).is_some(),
        "process {pid} does not end by SIGTERM"
    );
    lab.assert_clean(&[pid]);
}
