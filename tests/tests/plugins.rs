//! Which plugins a dump needs: that of each kind, and no other. A missing one makes exactly its kinds fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::Path;

use criu_tests::reaper::Pid;
use criu_tests::{Criu, Lab, Snapshot, Verdict, build_folder};
use tempfile::TempDir;

/// A folder with the program and the plugins that `wanted` says. It lies beside no other plugin, and is nobody
/// else's to write.
fn installed(wanted: impl Fn(&str) -> bool) -> TempDir {
    let folder = TempDir::with_prefix("criu-test-bin-").unwrap();
    let build = build_folder();
    let mut plugins = 0;
    for entry in fs::read_dir(&build).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let plugin = file
            .strip_prefix("libcriu_plugin_")
            .and_then(|rest| rest.strip_suffix(".so"));
        if plugin.is_some_and(&wanted) {
            plugins += 1;
            take(&build.join(&file), &folder.path().join(&file));
        }
    }
    assert!(plugins > 0, "no plugin in {}: build them first", build.display());
    take(&build.join("criu"), &folder.path().join("criu"));
    folder
}

/// The same file where that is possible; copies of all plugins would be large.
fn take(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
    }
}

/// A guest that waits for its checkpoint, and how it was before.
fn started(guest: &str) -> (Lab, Pid, Snapshot) {
    let lab = Lab::new();
    let pid = lab.start_guest(guest);
    if let Some(early) = lab.wait_ready(pid) {
        panic!("{guest} before its checkpoint: {early:?}");
    }
    let before = Snapshot::settled(pid);
    (lab, pid, before)
}

/// The guest goes on and finds everything as it was.
fn goes_on(mut lab: Lab, pid: Pid) {
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}

/// Without the plugin a guest of its kind is refused, and not touched.
fn refused(plugin: &str, kind: &str, guest: &str, object: &str) {
    let (lab, pid, before) = started(guest);
    let folder = installed(|name| name != plugin);
    let outcome = Criu::dump(&lab, "images", pid).installed_in(folder.path()).run();
    outcome.expect_error();
    let error = outcome.output.lines().last().unwrap_or_default();
    for words in [
        &format!("its kind, {kind}, is served by plugin {plugin}, which was not found"),
        object,
        &pid.to_string(),
    ] {
        assert!(
            error.contains(words),
            "the error does not say '{words}':\n{error}"
        );
    }
    Snapshot::assert_free(pid);
    before.assert_same(&Snapshot::settled(pid), &[], "a refused dump");
    goes_on(lab, pid);
}

/// With the plugin, and that of the program's own file, a guest of its kind is dumped.
fn enough(plugin: &str, guest: &str) {
    let (lab, pid, before) = started(guest);
    let folder = installed(|name| name == plugin || name == "files");
    let outcome = Criu::dump(&lab, "images", pid)
        .installed_in(folder.path())
        .args(["--leave-running", "--tcp-established"])
        .run();
    outcome.expect_ok();
    before.assert_same(&Snapshot::settled(pid), &[], "a dump with --leave-running");
    goes_on(lab, pid);
}

/// What a plugin of another build hands over is compared with what the program knows; it serves its kinds like any.
#[test]
fn a_plugin_of_another_build() {
    const KEY: &[u8] = b"\nbuild ";
    let (lab, pid, before) = started("pipes/data");
    let folder = installed(|name| name == "files" || name == "pipes");
    let file = folder.path().join("libcriu_plugin_pipes.so");
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes.windows(KEY.len()).position(|words| words == KEY).unwrap() + KEY.len();
    let digit = &mut bytes[place];
    assert!(digit.is_ascii_hexdigit(), "the build is a number");
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let outcome = Criu::dump(&lab, "images", pid)
        .installed_in(folder.path())
        .args(["--leave-running"])
        .run();
    outcome.expect_ok();
    before.assert_same(&Snapshot::settled(pid), &[], "a dump with --leave-running");
    goes_on(lab, pid);
}

macro_rules! kinds {
    ($($plugin:ident $kind:ident $guest:literal $object:literal),* $(,)?) => {
        mod missing {
            $(#[test]
            fn $kind() {
                super::refused(stringify!($plugin), stringify!($kind), $guest, $object);
            })*
        }
        mod alone {
            $(#[test]
            fn $kind() {
                super::enough(stringify!($plugin), $guest);
            })*
        }
    };
}

kinds! {
    files reg "core/sleeper" "descriptor 0",
    pipes pipe "pipes/data" "descriptor 3",
    pipes fifo "pipes/fifo" "descriptor 3",
    events eventfd "events/eventfd" "descriptor 3",
    events signalfd "events/signalfd" "descriptor 3",
    events timerfd "events/timerfd" "descriptor 3",
    events pidfd "events/pidfd" "descriptor 3",
    events epoll "events/epoll_nested" "descriptor 3",
    sockets unix "sockets/unix_pairs" "descriptor 3",
    sockets inet "sockets/tcp_listen" "descriptor 3",
    tty tty "tty/pair" "descriptor 3",
    inotify inotify "inotify/watches" "descriptor 3",
    inotify fanotify "inotify/fan_ids" "descriptor 3",
    tun tun "tun/tap" "descriptor 3",
    memfd memfd "memfd/plain" "descriptor 3",
    aio aio "aio/empty" "mapping",
    bpf bpfmap "bpf/array" "descriptor 3",
    io_uring io_uring "io_uring/unmapped" "descriptor 3",
    ipc sysvshm "ipc/shm_removed" "mapping",
    ipc mqueue "ipc/mq_unlinked" "descriptor 3",
}
