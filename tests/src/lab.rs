//! The folder and the processes of one run of a guest.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use tempfile::TempDir;

use crate::reaper::{self, End, Pid};
use crate::{leftovers, patience};

/// The environment variable by which the processes of a lab are known.
pub(crate) const MARK: &str = "CRIU_TEST_LAB";

/// How long a guest may take for one step on a busy machine.
const STEP: Duration = Duration::from_secs(40);

/// A temporary folder with the processes that were started in it. Dropping it kills them and removes it.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    go: Option<fs::File>,
}

/// What a guest said at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All checks held.
    Pass,
    /// The machine lacks something, by name.
    Skip(String),
    /// A check did not hold.
    Fail(String),
}

impl Lab {
    /// A fresh folder with the guests' `go` FIFO, open to every user (guests change theirs).
    pub fn new() -> Lab {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::with_prefix("criu-test-").expect("make a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))
            .expect("open the folder to all");
        nix::unistd::mkfifo(
            &folder.path().join("go"),
            nix::sys::stat::Mode::from_bits_truncate(0o666),
        )
        .expect("make the go FIFO");
        fs::set_permissions(folder.path().join("go"), fs::Permissions::from_mode(0o666))
            .expect("open the FIFO to all");
        Lab { folder, go: None }
    }

    /// The lab's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs in the lab's folder, in a session of its own, with nothing inherited, known by its
    /// environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // Guests count on the usual priority; the tests may be run with a lower one. Set in this thread, not in the
        // child, which would bear the mark of a process that has used its privileges.
        // SAFETY: setpriority touches no memory.
        let rc = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
        assert_eq!(rc, 0, "set the usual priority: {}", io::Error::last_os_error());
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env(MARK, self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec only async-signal-safe calls are made.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 {
                    return Err(io::Error::last_os_error());
                }
                libc::umask(0o022);
                // What the test itself inherited (a jobserver's pipe, a terminal) is not the guest's.
                if libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }

    /// Starts a guest (`FAMILY/NAME`).
    pub fn start_guest(&self, name: &str) -> Pid {
        let program = guest_program(name);
        reaper::spawn(&mut self.command(&program))
            .unwrap_or_else(|e| panic!("start the guest {}: {e}", program.display()))
    }

    /// Waits until the guest has set up its state, or has given a verdict before that.
    pub fn wait_ready(&self, pid: Pid) -> Option<Verdict> {
        let ready = self.path().join("ready");
        until("the guest is ready", STEP, || {
            if fs::symlink_metadata(&ready).is_ok() {
                return Some(None);
            }
            self.verdict().map(Some).or_else(|| {
                // It may have said why just before it ended.
                ended(pid).map(|how| Some(self.verdict().unwrap_or(Verdict::Fail(how))))
            })
        })
    }

    /// Lets the guest go on from its checkpoint().
    pub fn go(&mut self) {
        if self.go.is_none() {
            // Read-write: never blocks, and stays open for every process that has yet to come by.
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.path().join("go"));
            self.go = Some(file.expect("open the go FIFO"));
        }
    }

    /// What the guest has said so far.
    pub fn verdict(&self) -> Option<Verdict> {
        let text = fs::read_link(self.path().join("verdict")).ok()?;
        let text = text.to_string_lossy();
        Some(match text.split_once(": ") {
            None if text == "pass" => Verdict::Pass,
            Some(("skip", why)) => Verdict::Skip(why.to_owned()),
            Some(("fail", why)) => Verdict::Fail(why.to_owned()),
            _ => Verdict::Fail(text.into_owned()),
        })
    }

    /// Waits for the verdict and the end of the guest.
    pub fn conclude(&self, pid: Pid) -> Verdict {
        let verdict = until("the guest's verdict", STEP, || {
            self.verdict().or_else(|| {
                ended(pid).map(|how| {
                    self.verdict()
                        .unwrap_or(Verdict::Fail(format!("no verdict: {how}")))
                })
            })
        });
        if verdict == Verdict::Pass {
            match reaper::wait(pid, STEP) {
                Some(End::Exit(0)) => {}
                Some(end) => return Verdict::Fail(format!("passed, but then ended with {end:?}")),
                None => return Verdict::Fail("passed, but then did not end".to_owned()),
            }
        }
        verdict
    }

    /// Checks that the run left nothing behind. `roots` are the pids that were dumped and restored.
    pub fn assert_clean(&self, roots: &[Pid]) {
        leftovers::assert_none(self.path(), roots);
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        leftovers::kill_all(self.path());
        crate::remove_groups(self);
        leftovers::unmount_all(self.path());
    }
}

/// The compiled guest.
fn guest_program(name: &str) -> PathBuf {
    Path::new(env!("OUT_DIR")).join("guests").join(name)
}

/// How a process ended, if it has.
fn ended(pid: Pid) -> Option<String> {
    if let Some(end) = reaper::peek(pid) {
        return Some(format!("process {pid} ended: {end:?}"));
    }
    // A restored process that was not left to us is nobody's zombie here: it is there or it is gone.
    let there = Path::new(&format!("/proc/{pid}")).exists();
    // Between the two looks the reaper may have taken it.
    (!there && reaper::peek(pid).is_none()).then(|| format!("process {pid} is gone"))
}

/// Polls a condition until it gives a value; panics with `what` when the time is over.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = patience::deadline(limit);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s in vain until {what}",
            patience::patient(limit).as_secs()
        );
        thread::sleep(Duration::from_millis(1));
    }
}
