//! Other builds: a plugin from outside the workspace, and the program with the plugins inside.
//!
//! Both are built here, by the cargo that runs the tests, into folders of their own below the build's; what has been
//! compiled for the workspace is used again.

#![allow(clippy::panic, reason = "a test reports by panicking")]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use criu_tests::{Case, Criu, Lab, Snapshot, Verdict, build_folder, reaper};

/// How long a build may take; on a busy machine it waits for others, too.
const LIMIT: Duration = Duration::from_secs(900);

/// Builds into `target/NAME` and gives the folder with what was built.
fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let target = build_folder().parent().map(Path::to_path_buf).unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--locked", "--quiet"])
        .args(arguments)
        .args(["--config", "profile.dev.debug='line-tables-only'"])
        .args(["--config", "profile.dev.package.'*'.opt-level=1"])
        .env("CARGO_TARGET_DIR", target.join(name))
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .stdin(Stdio::null());
    let mut log = tempfile::tempfile().expect("make a temporary file");
    let clone = || log.try_clone().expect("duplicate a descriptor");
    command.stdout(clone()).stderr(clone());
    let pid = reaper::spawn(&mut command).expect("start cargo");
    let end = reaper::wait(pid, LIMIT);
    let mut output = String::new();
    log.seek(SeekFrom::Start(0))
        .and_then(|_| log.read_to_string(&mut output))
        .expect("read what cargo printed");
    assert_eq!(end, Some(reaper::End::Exit(0)), "{command:?} printed:\n{output}");
    target.join(name).join("debug")
}

static EXAMPLE: LazyLock<PathBuf> =
    LazyLock::new(|| build("example", &["--manifest-path", "examples/plugin-kmsg/Cargo.toml"]));

fn kmsg() -> Case {
    Case::new("examples/kmsg").plugins_in(&EXAMPLE)
}

#[test]
fn example_plugin_native() {
    Case::new("examples/kmsg").native();
}

#[test]
fn example_plugin_checkpoint() {
    kmsg().checkpoint();
}

#[test]
fn example_plugin_thrice() {
    kmsg().thrice();
}

#[test]
fn example_plugin_leave_running() {
    kmsg().leave_running();
}

/// Without it the file is refused, and images that need it say so.
#[test]
fn example_plugin_missing() {
    let mut lab = Lab::new();
    let pid = lab.start_guest("examples/kmsg");
    if let Some(early) = lab.wait_ready(pid) {
        panic!("examples/kmsg before its checkpoint: {early:?}");
    }
    let before = Snapshot::settled(pid);
    let outcome = Criu::dump(&lab, "images", pid).run();
    outcome.expect_error();
    for word in ["/dev/kmsg", "descriptor 3", &pid.to_string()] {
        assert!(
            outcome.output.contains(word),
            "the error does not say '{word}'\n{outcome}"
        );
    }
    before.assert_same(&Snapshot::settled(pid), &[], "a refused dump");
    let plugins = ["--plugin-dir".as_ref(), EXAMPLE.as_os_str()];
    Criu::dump(&lab, "images", pid).args(plugins).run().expect_ok();
    assert!(reaper::wait(pid, Duration::from_secs(10)).is_some());
    let outcome = Criu::restore(&lab, "images").run();
    outcome.expect_error();
    assert!(
        outcome.output.contains("kmsg"),
        "the error does not name the plugin\n{outcome}"
    );
    assert!(
        criu_tests::processes_of(lab.path()).is_empty(),
        "processes are left"
    );
    Criu::restore(&lab, "images").args(plugins).run().expect_ok();
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}

/// A folder with nothing but the self-contained program.
static SELF_CONTAINED: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = build("static", &["-p", "criu", "--features", "static-plugins"]);
    // Apart from the build's folder, where the program would look for plugins.
    let folder = built.join("alone");
    fs::create_dir_all(&folder).expect("make a folder");
    // A new name each time: the old program may be in use.
    let fresh = folder.join(format!("criu-{}", std::process::id()));
    fs::copy(built.join("criu"), &fresh).expect("copy the program");
    fs::rename(&fresh, folder.join("criu")).expect("put the program into its place");
    folder
});

fn self_contained(guest: &'static str) -> Case {
    Case::new(guest).program_in(&SELF_CONTAINED)
}

#[test]
fn self_contained_files() {
    self_contained("files/offsets").checkpoint();
}

#[test]
fn self_contained_pipes() {
    self_contained("pipes/data").checkpoint();
}

#[test]
fn self_contained_events() {
    self_contained("events/mixed").checkpoint();
}

#[test]
fn self_contained_connections() {
    self_contained("sockets/tcp_established")
        .option("--tcp-established")
        .checkpoint();
}

#[test]
fn self_contained_inotify() {
    self_contained("inotify/watches").checkpoint();
}

#[test]
fn self_contained_memfd() {
    self_contained("memfd/plain").checkpoint();
}

#[test]
fn self_contained_tty() {
    self_contained("tty/pair").checkpoint();
}

#[test]
fn self_contained_bpf() {
    self_contained("bpf/array").checkpoint();
}

#[test]
fn self_contained_ipc() {
    self_contained("ipc/shm_removed").checkpoint();
}

#[test]
fn self_contained_tun() {
    self_contained("tun/tap").checkpoint();
}

#[test]
fn self_contained_io_uring() {
    self_contained("io_uring/used").checkpoint();
}

#[test]
fn self_contained_aio() {
    self_contained("aio/empty").checkpoint();
}
