//! The program as its callers see it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for each test, and the program run in it with an empty home.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_criu"));
        command.args(args).current_dir(&self.0).env("HOME", self.0.path());
        for name in ["CRIU_CONFIG_FILE", "CRIU_LIBS_DIR", "POSIXLY_CORRECT"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Ended with 1, told why on standard error, printed nothing else.
fn failed_with(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(out(output), "");
    assert!(
        err(output).starts_with("Error: ") && err(output).contains(why),
        "{why}: {output:?}"
    );
    assert_eq!(err(output).matches("Error").count(), 1, "{output:?}");
}

#[test]
fn the_version_is_what_callers_compare() {
    let place = Place::new();
    for args in [&["--version"][..], &["-V"], &["dump", "--vers"], &["-sV"]] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            out(&output).starts_with("Version: 4.2\nImplementation: criu-rs "),
            "{output:?}"
        );
        assert_eq!(err(&output), "");
    }
}

#[test]
fn help_goes_to_standard_output() {
    let place = Place::new();
    for args in [&["--help"][..], &["-h"], &["restore", "-h"]] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("--images-dir DIR"), "{output:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Place::new()
        .command(&["man"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wrong_command_lines_end_with_one() {
    let place = Place::new();
    for (args, why) in [
        (&[][..], "no command was given"),
        (&["-v4"], "no command was given"),
        (&["dmup"], "unknown command 'dmup'"),
        (&["dump", "extra"], "dump takes no 'extra'"),
        (&["dump", "--nonsense"], "unrecognized option '--nonsense'"),
        (&["dump", "-t"], "'-t' needs a value"),
        (&["dump", "-t", "x"], "\"x\" is not a process's number"),
        (&["dump", "--tls-ca"], "ambiguous"),
        (&["restore", "--exec-cmd"], "needs a program"),
        (&["dump", "--exec-cmd", "--", "true"], "belongs to restore"),
        (&["cpuinfo"], "dump or check"),
        (&["cpuinfo", "show"], "dump or check"),
        (&["completions", "tcsh"], "bash, zsh or fish"),
        (&["cpuinfo", "check", "-D", "/nonexistent"], "/nonexistent"),
        (&["man", "-o", "no/such/dir/log"], "no/such/dir/log: No such file"),
    ] {
        failed_with(&place.run(args), why);
    }
}

#[test]
fn the_engine_tells_why_it_does_not_dump() {
    let place = Place::new();
    let output = place.run(&["dump", "-o", "dump.log"]);
    failed_with(&output, "name the root of the tree with --tree PID");
    let log = std::fs::read_to_string(place.path("dump.log")).unwrap();
    assert!(
        log.contains("Error (core/criu/src/main.rs:") && log.contains("--tree PID"),
        "{log}"
    );
}

#[test]
fn what_is_not_done_yet_is_refused_by_name() {
    let place = Place::new();
    for (args, why) in [
        (
            &["dump", "-t", "1", "--mntns-compat-mode"][..],
            "not implemented yet: --mntns-compat-mode",
        ),
        (
            &["restore", "--root", "/x", "--tls"],
            "not implemented yet: --root, --tls",
        ),
        (&["pre-dump", "-t", "1"], "not implemented yet: pre-dump"),
        (&["swrk", "3"], "not implemented yet: swrk"),
        (
            &["dump", "-t", "1", "--external", "mnt[/a]:b"],
            "not implemented yet: --external mnt[]",
        ),
        (
            &["restore", "--external", "veth[eth0]:v"],
            "not implemented yet: --external veth[]",
        ),
    ] {
        failed_with(&place.run(args), why);
    }
    // What asks for the default asks for nothing.
    for args in [
        &["man", "--no-tls"][..],
        &["man", "--manage-cgroups=ignore"],
        &["man", "--pre-dump-mode", "splice"],
    ] {
        assert_eq!(place.run(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn configuration_files_are_found_and_overridden() {
    let place = Place::new();
    place.write(".criu/default.conf", "track-mem\n");
    failed_with(&place.run(&["man"]), "not implemented yet: --track-mem");
    for args in [&["man", "--no-track-mem"][..], &["man", "--no-default-config"]] {
        assert_eq!(place.run(args).status.code(), Some(0), "{args:?}");
    }
    place.write(".criu/default.conf", "\nnonsense\n");
    failed_with(
        &place.run(&["man"]),
        ".criu/default.conf:2: unrecognized option 'nonsense'",
    );
    // Only what is asked about is answered, whatever the files say.
    assert_eq!(place.run(&["--version"]).status.code(), Some(0));
    place.write(".criu/default.conf", "");
    place.write(".config/criu/config.toml", "tls = true\n");
    failed_with(&place.run(&["man"]), "not implemented yet: --tls");
    let named = place.write("named.conf", "no-tls\nstream\n");
    let output = place
        .command(&["man"])
        .env("CRIU_CONFIG_FILE", &named)
        .output()
        .unwrap();
    failed_with(&output, "not implemented yet: --stream");
    let given = place.write("given.toml", "stream = false\n");
    let args = ["man", "--config", given.to_str().unwrap()];
    let output = place
        .command(&args)
        .env("CRIU_CONFIG_FILE", &named)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    failed_with(
        &place.run(&["man", "--config", "absent.conf"]),
        "absent.conf: No such file",
    );
}

#[test]
fn a_failure_is_in_the_log_and_on_standard_error_once_each() {
    let place = Place::new();
    place.write("work/dump.log", "from an earlier run\n");
    let output = place.run(&[
        "cpuinfo", "check", "-D", ".", "-W", "work", "-o", "dump.log", "-v4",
    ]);
    failed_with(&output, "cpuinfo.img");
    assert!(err(&output).contains("\n  Try: "), "{output:?}");
    let log = std::fs::read_to_string(place.path("work/dump.log")).unwrap();
    let line = log.lines().last().unwrap();
    assert!(
        line.starts_with('(') && line.contains(") Error (core/criu/src/main.rs:"),
        "{log}"
    );
    assert!(line.contains("cpuinfo.img"), "{log}");
    assert_eq!(log.matches("Error").count(), 1, "{log}");
}

#[test]
fn v0_says_nothing() {
    let place = Place::new();
    let output = place.run(&["cpuinfo", "check", "-verbosity=0", "-o", "a.log"]);
    assert_eq!(
        (output.status.code(), out(&output), err(&output)),
        (Some(1), "", "")
    );
    assert_eq!(std::fs::read_to_string(place.path("a.log")).unwrap(), "");
}

#[test]
fn cpuinfo_writes_an_image_that_this_processor_passes() {
    let place = Place::new();
    assert_eq!(place.run(&["cpuinfo", "dump"]).status.code(), Some(0));
    let image = std::fs::read(place.path("cpuinfo.img")).unwrap();
    assert_eq!(image[..8], [0x19, 0x43, 0x56, 0x54, 0x13, 0x40, 0x40, 0x61]);
    for cap in [
        "--cpu-cap",
        "--cpu-cap=none",
        "--cpu-cap=fpu",
        "--cpu-cap=ins",
        "--cpu-cap=all,^cpu",
    ] {
        let output = place.run(&["cpuinfo", "check", cap]);
        assert_eq!((output.status.code(), err(&output)), (Some(0), ""), "{cap}");
    }
    let cut = &image[..image.len() - 3];
    std::fs::write(place.path("cpuinfo.img"), cut).unwrap();
    failed_with(&place.run(&["cpuinfo", "check"]), "cpuinfo.img");
}

#[test]
fn a_descriptor_is_let_go_of_before_the_work() {
    let output = Place::new().run(&["man", "--close", "1", "--close", "12345"]);
    assert_eq!(
        (output.status.code(), out(&output), err(&output)),
        (Some(0), "", "")
    );
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Place::new().run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("shell-job"), "{shell}");
    }
}

#[test]
fn the_log_keeps_the_file_that_stands_there() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let log = place.write("a.log", "old");
    let before = inode(&log);
    assert_eq!(place.run(&["man", "-o", "a.log"]).status.code(), Some(0));
    assert_eq!(inode(&log), before);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}
