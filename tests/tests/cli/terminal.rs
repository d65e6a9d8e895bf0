//! What a person at a terminal sees.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::{fs, thread};

use criu_tests::reaper::{self, End};
use criu_tests::{Lab, build_folder};

use super::support::{LIMIT, end, guest, read};

/// Long work tells how far it has come, in place; what comes after stands on a line of its own, and the log has none
/// of it.
#[test]
fn long_work_shows_its_progress() {
    let lab = Lab::new();
    let pid = guest(&lab, "cli/big");
    let terminal = nix::pty::openpty(None, None).expect("open a terminal");
    let mut command = lab.command(build_folder().join("criu"));
    command.args([
        "dump",
        "-D",
        "im",
        "-o",
        "dump.log",
        "-v4",
        "--display-stats",
        "--plugin-dir",
    ]);
    command
        .arg(build_folder())
        .args(["-t", &pid.to_string(), "--leave-running"]);
    // Work is long after 0.3 seconds.
    command.args(["--action-script", "sleep 0.4"]);
    let slave = fs::File::from(terminal.slave);
    command
        .stdout(slave.try_clone().expect("dup"))
        .stderr(slave.try_clone().expect("dup"));
    let program = reaper::spawn(&mut command).expect("start the program");
    drop((slave, command));
    let mut master = fs::File::from(terminal.master);
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        let mut some = [0; 4096];
        // A terminal whose other end is closed by all ends with an error.
        while let Ok(count @ 1..) = master.read(&mut some) {
            shown.extend_from_slice(&some[..count]);
        }
        let _ = master.as_raw_fd();
        String::from_utf8_lossy(&shown).into_owned()
    });
    let ended = reaper::wait(program, LIMIT.max(Duration::from_secs(90)));
    let shown = reader.join().expect("read the terminal");
    assert_eq!(ended, Some(End::Exit(0)), "{shown}");
    assert!(shown.contains("\r\u{1b}[Kmemory saved: "), "{shown:?}");
    assert!(shown.contains(" MiB"), "{shown:?}");
    let log = read(&lab, "im/dump.log");
    assert!(!log.contains("MiB") && !log.contains('\u{1b}'), "{log}");
    end(pid);
    lab.assert_clean(&[pid]);
}
