//! Runs the checkpoint program, ours or another.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{At, Error};
use crate::sh;

/// A program with the command line of CRIU.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    plugins: Option<PathBuf>,
}

/// What one run took.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Wall time of the whole command.
    pub(crate) wall: Duration,
    /// What it printed.
    pub(crate) output: String,
}

impl Program {
    /// Builds ours in the given profile and takes it.
    pub(crate) fn build(release: bool) -> Result<Program, Error> {
        let mut build = sh::cargo();
        build.arg("build");
        if release {
            build.arg("--release");
        }
        sh::quiet("build the program and the plugins", &mut build)?;
        let folder = target_folder().join(if release { "release" } else { "debug" });
        Ok(Program {
            path: folder.join("criu"),
            plugins: Some(folder),
        })
    }

    /// Another program; it finds its own plugins.
    pub(crate) fn other(path: &Path) -> Program {
        Program {
            path: path.to_path_buf(),
            plugins: None,
        }
    }

    /// `criu dump -t PID -D DIR`.
    pub(crate) fn dump(&self, pid: i32, images: &Path, more: &[&str]) -> Result<Run, Error> {
        self.run("dump", images, &["-t", &pid.to_string()], more)
    }

    /// `criu restore -d -D DIR`.
    pub(crate) fn restore(&self, images: &Path, more: &[&str]) -> Result<Run, Error> {
        self.run("restore", images, &["--restore-detached"], more)
    }

    fn run(&self, verb: &str, images: &Path, first: &[&str], more: &[&str]) -> Result<Run, Error> {
        let log = format!("{verb}.log");
        let mut command = Command::new(&self.path);
        command
            .arg(verb)
            .args(first)
            .arg("-D")
            .arg(images)
            .args(["-o", &log])
            .args(more);
        if let Some(folder) = &self.plugins {
            command.arg("--plugin-dir").arg(folder);
        }
        // Restored processes inherit nothing of ours that a pipe's reader would wait for.
        let out = images.join(format!("{verb}.out"));
        let file = fs::File::create(&out).at("create", &out)?;
        let second = file.try_clone().at("duplicate", &out)?;
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let begun = Instant::now();
        let status = command.status().map_err(|cause| Error::Start {
            program: self.path.display().to_string(),
            cause,
        })?;
        let wall = begun.elapsed();
        let output = fs::read_to_string(&out).at("read", &out)?;
        if status.success() {
            return Ok(Run { wall, output });
        }
        let log = fs::read_to_string(images.join(log)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(Error::Command {
            command: format!("{} {verb}", self.path.display()),
            status: status.to_string(),
            output: format!("\n{output}\n{tail}"),
        })
    }
}

/// Cargo's folder for what it builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sh::root().join("target"), PathBuf::from)
}

/// Starts a program in a session of its own, with nothing inherited, in a folder.
pub(crate) fn start_apart(command: &mut Command, folder: &Path) -> Result<i32, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid and close_range are async-signal-safe and touch no memory.
    unsafe {
        command.pre_exec(|| {
            let inherited = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
            if libc::setsid() < 0 || libc::close_range(3, libc::c_uint::MAX, inherited) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn().map_err(|cause| Error::Start { program, cause })?;
    i32::try_from(child.id()).map_err(|_| Error::Wrong("a process id beyond 31 bits".into()))
}

/// Takes over the orphans of what is dumped and restored, so that they can be reaped at once.
pub(crate) fn become_subreaper() -> Result<(), Error> {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        let cause = std::io::Error::last_os_error();
        return Err(Error::System("become a child subreaper".into(), cause));
    }
    Ok(())
}

/// Reaps every child until none is left. Everything has been told to end before.
pub(crate) fn reap_all() {
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}
