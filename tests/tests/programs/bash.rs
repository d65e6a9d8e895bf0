//! An interactive bash with a running job, dumped as a shell's job (`--shell-job`) and restored from that shell.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};
use std::{fs, io};

use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, until};

/// The terminal's other side, as a person at it.
struct Terminal {
    master: fs::File,
    seen: String,
}

impl Terminal {
    fn type_line(&mut self, line: &str) {
        self.master
            .write_all(format!("{line}\n").as_bytes())
            .expect("type");
    }

    /// Waits until the text has appeared, and forgets all up to it.
    fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(
                Instant::now() < deadline,
                "'{text}' did not appear; the terminal shows:\n{}",
                self.seen
            );
            let mut poll = libc::pollfd {
                fd: self.master.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one live pollfd is given, with the count 1.
            if unsafe { libc::poll(&raw mut poll, 1, 100) } > 0 {
                let mut buffer = [0; 4096];
                let n = self.master.read(&mut buffer).expect("read the terminal");
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        }
    }
}

fn outer_shell(lab: &Lab) -> (Terminal, Pid) {
    let pty = nix::pty::openpty(None, None).expect("open a pty");
    let slave: OwnedFd = pty.slave;
    let mut command = lab.command("/bin/bash");
    command
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "outer> ")
        .env("HISTFILE", "/dev/null");
    command.env("TERM", "dumb").env("INPUTRC", "/dev/null");
    let clone = || slave.try_clone().expect("duplicate the slave");
    command.stdin(clone()).stdout(clone()).stderr(clone());
    // SAFETY: after the lab's own setsid; ioctl is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            }
        });
    }
    let pid = reaper::spawn(&mut command).expect("start bash");
    let mut terminal = Terminal {
        master: fs::File::from(pty.master),
        seen: String::new(),
    };
    terminal.expect("outer> ");
    (terminal, pid)
}

fn run(with_checkpoint: bool) {
    let lab = Lab::new();
    let (mut terminal, outer) = outer_shell(&lab);
    terminal.type_line("PS1='inner> ' bash --norc --noprofile -i");
    terminal.expect("inner> ");
    terminal.type_line("secret=$((6*7)); sleep 100000 & echo \"inner is $$.\"");
    terminal.expect("inner is ");
    terminal.expect("inner> ");
    let inner = child_of(outer);
    until("the job runs", Duration::from_secs(10), || job_of(inner));
    if with_checkpoint {
        Criu::dump(&lab, "images", inner)
            .args(["--shell-job"])
            .run()
            .expect_ok();
        terminal.expect("outer> ");
        let restore = Criu::restore_in_shell(&lab, "images", "--shell-job");
        terminal.type_line(&restore);
        until("the inner shell is back", Duration::from_secs(60), || {
            let back = fs::read_to_string(format!("/proc/{inner}/comm")).ok()?;
            (back.trim() == "bash").then_some(())
        });
    }
    terminal.type_line("echo \"secret=$secret\"; jobs");
    terminal.expect("secret=42");
    terminal.expect("Running");
    terminal.type_line("kill %1; wait %1; echo \"job ended with $?\"");
    terminal.expect("job ended with 143");
    terminal.type_line("exit");
    terminal.expect("outer> ");
    terminal.type_line("exit");
    assert!(
        reaper::wait(outer, Duration::from_secs(20)).is_some(),
        "the outer shell does not end"
    );
    lab.assert_clean(&[inner]);
}

fn child_of(pid: Pid) -> Pid {
    until("the shell has a child", Duration::from_secs(10), || {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}

/// The sleeping job, once it is what it is to be.
fn job_of(shell: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
    let job: Pid = text.split_whitespace().next()?.parse().ok()?;
    (fs::read_to_string(format!("/proc/{job}/comm")).ok()?.trim() == "sleep").then_some(job)
}

#[test]
fn bash_job_native() {
    run(false);
}

#[test]
fn bash_job_checkpoint() {
    run(true);
}
