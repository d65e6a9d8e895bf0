//! Takes the image sets as the golden ones were taken.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use criu_tests::reaper::{self, End, Pid};
use criu_tests::{Criu, Lab, until};

use super::compare::compare;
use super::set::Set;

/// The golden guests had this descriptor: the write end of a pipe of whoever started them.
const INHERITED: i32 = 251;

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A guest of a golden case, set up and waiting.
pub(crate) struct Guest {
    pub(crate) lab: Lab,
    pub(crate) pid: Pid,
    _pipe: OwnedFd,
}

impl Guest {
    /// Compiles the guest and starts it in a folder of the name of the case.
    pub(crate) fn start(case: &str) -> Guest {
        let lab = Lab::new();
        let program = lab.path().join("guest");
        let folder = lab.path().join(case);
        fs::create_dir(&folder).unwrap();
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let source = golden().join("guest.c");
        run(Command::new(compiler)
            .args(["-O0", "-w", "-pthread", "-o"])
            .args([&program, &source]));

        let (reader, writer) = nix::unistd::pipe().unwrap();
        let output = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut command = lab.command(&program);
        command
            .arg(case)
            .current_dir(&folder)
            .stdin(fs::File::open("/dev/null").unwrap())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let inherited = writer.as_raw_fd();
        // SAFETY: dup2 is async-signal-safe; `writer` stays open until the guest has been started.
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(inherited, INHERITED) < 0 {
                    return Err(io::Error::last_os_error());
                }
                dispositions()
            });
        }
        let pid = reaper::spawn(&mut command).unwrap();
        drop(writer);
        let ready = folder.join("ready");
        until("the guest is ready", Duration::from_secs(40), || {
            ready.exists().then_some(())
        });
        // It writes `ready` shortly before it sleeps.
        until("the guest sleeps", Duration::from_secs(40), || {
            asleep(pid).then_some(())
        });
        Guest {
            lab,
            pid,
            _pipe: reader,
        }
    }

    /// Dumps the guest and leaves it running. The folder of the images.
    pub(crate) fn dump(&self) -> PathBuf {
        Criu::dump(&self.lab, "images", self.pid)
            .args(["--tcp-established", "--file-locks", "--leave-running"])
            .run()
            .expect_ok();
        self.lab.path().join("images")
    }
}

/// Runs a tool to its end. Children are waited for in one place ([`reaper`]) alone.
pub(crate) fn run(command: &mut Command) {
    let pid = reaper::spawn(command).unwrap_or_else(|e| {
        let program = command.get_program().display();
        panic!("{program} does not start ({e}); `cargo xtask test` installs it")
    });
    let end = reaper::wait(pid, Duration::from_secs(60));
    assert_eq!(end, Some(End::Exit(0)), "{command:?}");
}

fn asleep(pid: Pid) -> bool {
    // pause(2) is system call 34 on x86-64.
    fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|text| text.starts_with("34 "))
}

/// The golden guests were jobs in the background of a shell: SIGINT and SIGQUIT ignored, all others default.
fn dispositions() -> io::Result<()> {
    for signal in (1..=64).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
        let ignored = signal == libc::SIGINT || signal == libc::SIGQUIT;
        // struct sigaction of the kernel: handler, flags, restorer, mask. The library's sigaction() leaves out
        // the signals that it uses itself.
        let action: [usize; 4] = [if ignored { libc::SIG_IGN } else { libc::SIG_DFL }, 0, 0, 0];
        // SAFETY: the kernel reads 32 bytes at `action` and sets no handler that could be called.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action.as_ptr(),
                std::ptr::null::<usize>(),
                8,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether this processor has the vector state of the one that the golden sets were taken on: AVX-512, and no
/// protection keys.
pub(crate) fn golden_processor() -> bool {
    // CPUID.7.0:ECX.OSPKE
    let keys = std::arch::x86_64::__cpuid_count(7, 0).ecx >> 4 & 1 == 1;
    std::arch::is_x86_feature_detected!("avx512f") && !keys
}

/// Takes out what another processor's vector state makes different, and says so.
pub(crate) fn forgive_processor(differences: &mut Vec<String>) {
    if !golden_processor() {
        println!(
            "skipped: fields of the vector state, as this processor has another one than the golden sets"
        );
        differences.retain(|difference| !difference.contains(" fpregs xsave"));
    }
}

/// The set that CRIU 4.2 took of the case.
pub(crate) fn unpacked(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden().join(format!("{case}.tar.gz"));
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path()));
    folder
}

fn same(case: &str) {
    let theirs = unpacked(case);
    let guest = Guest::start(case);
    let images = guest.dump();
    let log = images.join("dump.log");
    fs::rename(&log, guest.lab.path().join("log")).unwrap();
    let mut differences = compare(case, &Set::read(theirs.path()), &Set::read(&images));
    forgive_processor(&mut differences);
    assert!(
        differences.is_empty(),
        "{case}: {} differences:\n  {}",
        differences.len(),
        differences.join("\n  ")
    );
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod the_same_as_criu {
            $(#[test]
            fn $name() {
                super::same(stringify!($name));
            })*
        }
        mod restored_from_criu {
            $(#[test]
            fn $name() {
                super::super::restored::the_same(stringify!($name));
            })*
        }
        mod crit_reads {
            $(#[test]
            fn $name() {
                super::super::crit::reads(stringify!($name));
            })*
        }
    };
}

cases![
    events, files, memory, notify, pipes, plain, signals, tcp, threads, timers, tree, tty, unixsk
];
