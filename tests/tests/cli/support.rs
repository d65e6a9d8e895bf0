//! Runs the program with descriptors and an environment of the test's choice.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, fs, io};

use criu_tests::reaper::{self, End, Pid};
use criu_tests::{Lab, build_folder, until};

/// No command takes longer on the busiest machine; one that hangs does.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A run of the program in the making, in the lab's folder.
pub(crate) struct Cli<'a> {
    lab: &'a Lab,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    /// Descriptors of the test, and the numbers that the program finds them under.
    fds: Vec<(RawFd, RawFd)>,
}

/// What it did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) end: Option<End>,
    pub(crate) out: String,
    pub(crate) err: String,
    command: String,
}

/// `criu` with these arguments, separated by blanks, and the plugins of the build.
pub(crate) fn criu<'a>(lab: &'a Lab, line: &str) -> Cli<'a> {
    Cli {
        lab,
        args: line
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(OsString::from)
            .collect(),
        env: Vec::new(),
        fds: Vec::new(),
    }
}

impl<'a> Cli<'a> {
    /// One more argument, which may hold blanks.
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Has the program find a descriptor of the test under this number.
    pub(crate) fn fd(mut self, own: RawFd, number: RawFd) -> Self {
        self.fds.push((own, number));
        self
    }

    fn command(&self) -> Command {
        let mut command = self.lab.command(build_folder().join("criu"));
        // Behind a `--` there may be another program's arguments.
        let split = self
            .args
            .iter()
            .position(|arg| arg == "--")
            .unwrap_or(self.args.len());
        let (before, after) = self.args.split_at(split);
        command
            .args(before)
            .arg("--plugin-dir")
            .arg(build_folder())
            .args(after);
        command.env("HOME", self.lab.path());
        command.envs(self.env.iter().cloned());
        let fds = self.fds.clone();
        // SAFETY: between fork and exec only async-signal-safe calls are made.
        unsafe {
            command.pre_exec(move || place(&fds));
        }
        command
    }

    /// Starts it with its output in files.
    pub(crate) fn start(self) -> Running<'a> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |what: &str| {
            let path = self.lab.path().join(format!("{what}-{number}"));
            fs::File::create(path).expect("make a file for the output")
        };
        let mut command = self.command();
        let text = format!("{command:?}").replace('"', "");
        command.stdin(Stdio::null());
        command.stdout(file("out")).stderr(file("err"));
        let pid = reaper::spawn(&mut command).expect("start the program");
        Running {
            lab: self.lab,
            pid,
            number,
            command: text,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ran {
        self.start().finish()
    }

    /// Runs it to its end, which must be exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.end, Some(End::Exit(0)), "{ran}");
        ran
    }

    /// Runs it to its end, which must be exit code 1 with all these words on standard error.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Ran {
        let ran = self.run();
        assert_eq!(ran.end, Some(End::Exit(1)), "{ran}");
        for word in words {
            assert!(ran.err.contains(word), "the error does not say {word:?}:\n{ran}");
        }
        ran
    }
}

/// Between fork and exec: puts descriptors to their numbers. Copies are made first, out of the way of the numbers
/// that are wanted.
fn place(fds: &[(RawFd, RawFd)]) -> io::Result<()> {
    let mut copies = [-1; 8];
    for (copy, (own, _)) in copies.iter_mut().zip(fds) {
        // SAFETY: the call takes plain numbers.
        *copy = unsafe { libc::fcntl(*own, libc::F_DUPFD_CLOEXEC, 200) };
    }
    for (copy, (_, number)) in copies.iter().zip(fds) {
        // SAFETY: the call takes plain numbers; nothing of this process lies at those wanted.
        if unsafe { libc::dup2(*copy, *number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A run that has begun.
pub(crate) struct Running<'a> {
    lab: &'a Lab,
    pub(crate) pid: Pid,
    number: u32,
    command: String,
}

impl Running<'_> {
    /// Waits for its end; kills it when it takes too long.
    pub(crate) fn finish(self) -> Ran {
        let end = reaper::wait(self.pid, LIMIT);
        if end.is_none() {
            signal(self.pid, libc::SIGKILL);
            reaper::wait(self.pid, LIMIT);
        }
        let read = |what: &str| {
            let path = self.lab.path().join(format!("{what}-{}", self.number));
            String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
        };
        Ran {
            end,
            out: read("out"),
            err: read("err"),
            command: self.command,
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nended: {:?}\n--- out\n{}\n--- err\n{}",
            self.command, self.end, self.out, self.err
        )
    }
}

/// A folder of the lab.
pub(crate) fn folder(lab: &Lab, name: &str) {
    fs::create_dir_all(lab.path().join(name)).expect("make a folder");
}

/// A process that only waits, and a folder `im` for its images.
pub(crate) fn sleeper(lab: &Lab) -> Pid {
    let pid = shell(lab, "exec sleep 1000", &[]);
    until("the process sleeps", LIMIT, || {
        (state(pid) == Some('S')).then_some(())
    });
    pid
}

/// A shell that runs the script with descriptors of the test under the numbers given. It is ready once its program
/// is what the script's last `exec` made of it.
pub(crate) fn shell(lab: &Lab, script: &str, fds: &[(RawFd, RawFd)]) -> Pid {
    folder(lab, "im");
    let mut command = lab.command("/bin/sh");
    command.arg("-c").arg(script);
    let fds = fds.to_vec();
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || place(&fds));
    }
    let pid = reaper::spawn(&mut command).expect("start a shell");
    until("the shell has become its program", LIMIT, || {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (comm.trim_end() != "sh").then_some(())
    });
    pid
}

/// A guest that has set up its state.
pub(crate) fn guest(lab: &Lab, name: &str) -> Pid {
    folder(lab, "im");
    let pid = lab.start_guest(name);
    assert_eq!(lab.wait_ready(pid), None, "guest {name}");
    pid
}

/// The letter of a process's state; none when there is no such process.
pub(crate) fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The parent of a process.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether a process lives (a zombie does not).
pub(crate) fn lives(pid: Pid) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

pub(crate) fn signal(pid: Pid, signal: i32) {
    // SAFETY: kill has no memory effects; the pid is that of a process of this test.
    unsafe { libc::kill(pid, signal) };
}

/// Ends a process and waits until it is dead.
pub(crate) fn end(pid: Pid) {
    signal(pid, libc::SIGKILL);
    until("the process is dead", LIMIT, || (!lives(pid)).then_some(()));
}

/// Waits until a dumped tree's root is gone.
pub(crate) fn gone(pid: Pid) {
    assert_eq!(
        reaper::wait(pid, LIMIT),
        Some(End::Signal(libc::SIGKILL)),
        "the end of a dumped process"
    );
}

/// Dumps to `im` with these options, which kills the process.
#[track_caller]
pub(crate) fn dump(lab: &Lab, pid: Pid, options: &str) -> Ran {
    let ran = criu(lab, &format!("dump -D im -v4 -o dump.log -t {pid} {options}")).ok();
    gone(pid);
    ran
}

/// Restores detached from `im` with these options.
#[track_caller]
pub(crate) fn restore(lab: &Lab, options: &str) -> Ran {
    criu(lab, &format!("restore -D im -v4 -o restore.log -d {options}")).ok()
}

pub(crate) fn read(lab: &Lab, name: &str) -> String {
    fs::read_to_string(lab.path().join(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
}

/// What an interrupted run must not leave.
#[track_caller]
pub(crate) fn no_tracer(pid: Pid) {
    criu_tests::Snapshot::assert_free(pid);
    assert!(
        matches!(state(pid), Some('S' | 'R' | 'D')),
        "state {:?}",
        state(pid)
    );
}
