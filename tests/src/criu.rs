//! Runs the program under test by its command line.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use crate::lab::Lab;
use crate::reaper::{self, End, Pid};
use crate::stepping;

/// How long one command may take; a debug build on a busy machine is slow, a hang is not.
const COMMAND: Duration = Duration::from_secs(90);

/// One command in the making. It runs in the lab's folder, with its images in a folder there.
#[derive(Debug)]
pub struct Criu<'a> {
    lab: &'a Lab,
    images: PathBuf,
    log: String,
    args: Vec<OsString>,
    program: PathBuf,
    plugins: Option<PathBuf>,
    limit: Duration,
    /// RLIMIT_NOFILE, soft and hard.
    descriptors: Option<u64>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended; `None` when it was killed because its time was over.
    pub end: Option<End>,
    /// Standard output and standard error together.
    pub output: String,
    /// The log file, as far as there is one.
    pub log: String,
    /// Wall time.
    pub took: Duration,
    command: String,
}

impl<'a> Criu<'a> {
    /// `criu dump -t PID` into the named folder of the lab.
    pub fn dump(lab: &'a Lab, images: &str, pid: Pid) -> Self {
        Self::command(lab, "dump", images).args(["-t", &pid.to_string()])
    }

    /// `criu restore --restore-detached` out of the named folder of the lab.
    pub fn restore(lab: &'a Lab, images: &str) -> Self {
        Self::command(lab, "restore", images).args(["--restore-detached"])
    }

    /// The line to type into a shell for a restore that stays in its foreground.
    pub fn restore_in_shell(lab: &Lab, images: &str, option: &str) -> String {
        let command = Criu::command(lab, "restore", images);
        let words: Vec<_> = command
            .args
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        format!("{} {} {option}", command.program.display(), words.join(" "))
    }

    /// The same command of a program that finds its own plugins.
    pub(crate) fn of(mut self, program: &Path) -> Self {
        self.program = program.to_path_buf();
        self.plugins = None;
        self
    }

    fn command(lab: &'a Lab, verb: &str, images: &str) -> Self {
        let images = lab.path().join(images);
        fs::create_dir_all(&images).expect("make the folder of the images");
        let log = format!("{verb}.log");
        let mut args: Vec<OsString> = vec![verb.into(), "-D".into(), images.clone().into()];
        args.extend(["-o".into(), log.clone().into(), "-v4".into()]);
        let plugins = env::var_os("CRIU_TEST_BIN").is_none().then(build_folder);
        Criu {
            lab,
            images,
            log,
            args,
            program: program(),
            plugins,
            limit: COMMAND,
            descriptors: None,
        }
    }

    /// Adds arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The program and the plugins of another folder than the build's. A copy of the program has to be there,
    /// since it looks for plugins beside itself too.
    pub fn installed_in(mut self, folder: &Path) -> Self {
        self.program = folder.join("criu");
        self.plugins = Some(folder.to_path_buf());
        self
    }

    /// The program of this folder, with no folder of plugins.
    pub fn alone_in(mut self, folder: &Path) -> Self {
        self.program = folder.join("criu");
        self.plugins = None;
        self
    }

    /// All arguments.
    fn words(&self) -> impl Iterator<Item = OsString> {
        let plugins = self
            .plugins
            .iter()
            .flat_map(|folder| ["--plugin-dir".into(), folder.clone().into()]);
        self.args.iter().cloned().chain(plugins)
    }

    /// Starts the command and kills it after the given time, unless it ended by itself before.
    pub fn run_killed_after(self, after: Duration) -> Option<End> {
        let mut command = self.lab.command(&self.program);
        command.args(self.words());
        let pid = reaper::spawn(&mut command).expect("start the program");
        reaper::wait_exactly(pid, after).or_else(|| {
            // SAFETY: kill has no memory effects; the child has not been reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            reaper::wait(pid, Duration::from_secs(10))
        })
    }

    /// Starts the command and kills it when its first thread makes the system call `nr` for this time, counted from 1,
    /// before anything comes of the call, unless it ends by itself before.
    pub fn run_killed_at_call(self, nr: i64, number: u32) -> Option<End> {
        let mut command = self.lab.command(&self.program);
        command.args(self.words());
        stepping::run_killed_at(&mut command, nr, number, self.limit)
    }

    /// With at most so many descriptors.
    pub fn descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Another time limit than the usual one.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the command to its end.
    pub fn run(self) -> Outcome {
        let program = self.program.clone();
        let out = self.lab.path().join(format!("{}.out", self.log));
        let file = fs::File::create(&out).expect("make the file for the output");
        let mut command = self.lab.command(&program);
        command
            .args(self.words())
            .stdout(file.try_clone().expect("duplicate a descriptor"))
            .stderr(file);
        command.stdin(Stdio::null());
        if let Some(count) = self.descriptors {
            limit_descriptors(&mut command, count);
        }
        let begun = Instant::now();
        let pid = reaper::spawn(&mut command).unwrap_or_else(|e| panic!("start {}: {e}", program.display()));
        let end = reaper::wait(pid, self.limit);
        let took = begun.elapsed();
        if end.is_none() {
            // SAFETY: kill has no memory effects; the child has not been reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            reaper::wait(pid, Duration::from_secs(10));
        }
        Outcome {
            end,
            output: read(&out),
            log: read(&self.images.join(&self.log)),
            took,
            command: format!("{command:?}").replace('"', ""),
        }
    }
}

fn limit_descriptors(command: &mut Command, count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: setrlimit is async-signal-safe, and reads the limit that the closure owns.
    unsafe {
        command.pre_exec(move || {
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

impl Outcome {
    /// It ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.end == Some(End::Exit(0))
    }

    /// Panics with the ends of the log and of the output unless it ended well.
    #[track_caller]
    pub fn expect_ok(&self) -> &Self {
        assert!(self.ok(), "{self}");
        self
    }

    /// Panics unless it ended with an error code of its own (no signal, no time-out).
    #[track_caller]
    pub fn expect_error(&self) -> &Self {
        assert!(
            matches!(self.end, Some(End::Exit(code)) if code != 0),
            "an error was expected\n{self}"
        );
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.map_or("was killed, its time was over".to_owned(), |e| {
            format!("ended: {e:?}")
        });
        writeln!(
            f,
            "{}\n{end} after {:.1} s",
            self.command,
            self.took.as_secs_f32()
        )?;
        writeln!(f, "--- output\n{}", tail(&self.output, 15))?;
        let errors: Vec<_> = self
            .log
            .lines()
            .filter(|l| l.contains("Error") || l.contains("Warn"))
            .collect();
        writeln!(f, "--- errors in the log\n{}", tail(&errors.join("\n"), 12))?;
        write!(f, "--- end of the log\n{}", tail(&self.log, 25))
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}

/// The folder of the build: this test is `target/PROFILE/deps/NAME`, the program is `target/PROFILE/criu`.
pub fn build_folder() -> PathBuf {
    let me = env::current_exe().expect("know the path of the test");
    let folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.parent().map(Path::to_path_buf).unwrap_or_default()
    } else {
        folder
    }
}

/// The program under test; `CRIU_TEST_BIN` names another one.
fn program() -> PathBuf {
    if let Some(path) = env::var_os("CRIU_TEST_BIN") {
        return path.into();
    }
    let path = build_folder().join("criu");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build` (or `cargo xtask test`) first",
        path.display()
    );
    path
}
