//! Runs other programs, with a line that says what goes on.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::error::{At, Error};

/// Runs a command whose output the user sees.
pub(crate) fn shown(command: &mut Command) -> Result<(), Error> {
    let text = line(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|cause| Error::Start {
            program: program_name(command),
            cause,
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: text,
        status: status.to_string(),
        output: String::new(),
    })
}

/// Runs a command for what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| Error::Start {
            program: program_name(command),
            cause,
        })?;
    if !done.status.success() {
        return Err(Error::Command {
            command: line(command),
            status: done.status.to_string(),
            output: String::new(),
        });
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a command quietly behind a progress line; its output is shown only if it fails.
pub(crate) fn quiet(what: &str, command: &mut Command) -> Result<Duration, Error> {
    let text = line(command);
    let log = tempfile::NamedTempFile::new().map_err(|e| Error::System("make a temporary file".into(), e))?;
    let file = log
        .reopen()
        .map_err(|e| Error::System("open a temporary file".into(), e))?;
    let second = file
        .try_clone()
        .map_err(|e| Error::System("duplicate a descriptor".into(), e))?;
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .spawn()
        .map_err(|cause| Error::Start {
            program: program_name(command),
            cause,
        })?;
    let mut progress = Progress::new(what);
    let status = loop {
        match child
            .try_wait()
            .map_err(|e| Error::System(format!("wait for {text}"), e))?
        {
            Some(status) => break status,
            None => progress.turn(),
        }
        thread::sleep(Duration::from_millis(20));
    };
    progress.done(status.success());
    if status.success() {
        return Ok(begun.elapsed());
    }
    let output = fs::read_to_string(log.path()).at("read", log.path())?;
    let lines: Vec<_> = output.lines().collect();
    let output = format!("\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    Err(Error::Command {
        command: text,
        status: status.to_string(),
        output,
    })
}

/// One line that says what is being done and for how long; on a terminal it moves.
pub(crate) struct Progress {
    what: String,
    begun: Instant,
    shown: Instant,
    turns: usize,
    moving: bool,
}

impl Progress {
    pub(crate) fn new(what: &str) -> Self {
        let moving = std::io::stdout().is_terminal();
        let now = Instant::now();
        let progress = Progress {
            what: what.to_owned(),
            begun: now,
            shown: now,
            turns: 0,
            moving,
        };
        if moving {
            print!("  … {what}");
            flush();
        }
        progress
    }

    /// To be called often while the work goes on.
    pub(crate) fn turn(&mut self) {
        if self.moving && self.shown.elapsed() > Duration::from_millis(100) {
            self.shown = Instant::now();
            self.turns += 1;
            let wheel = ['|', '/', '-', '\\'][self.turns % 4];
            print!(
                "\r  {wheel} {} ({:.0} s)\x1b[K",
                self.what,
                self.begun.elapsed().as_secs_f32()
            );
            flush();
        }
    }

    pub(crate) fn done(&mut self, well: bool) {
        let start = if self.moving { "\r\x1b[K" } else { "" };
        let mark = if well { '✓' } else { '✗' };
        let took = self.begun.elapsed();
        if took < Duration::from_secs(1) {
            println!(
                "{start}  {mark} {} ({:.1} ms)",
                self.what,
                took.as_secs_f64() * 1e3
            );
        } else {
            println!("{start}  {mark} {} ({:.1} s)", self.what, took.as_secs_f64());
        }
    }
}

fn flush() {
    // A terminal that is gone is no reason to stop.
    drop(std::io::stdout().flush());
}

/// The command line, as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn program_name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Where a program is in PATH (and in the system's folders, which a user's PATH may lack).
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// `cargo` as it was called.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
