//! Dumps that fail: a plugin is missing, the program is killed, the disk is full.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use criu_tests::{
    Criu, Lab, Snapshot, Verdict, build_folder, dump_after_dumps_killed_at_ptrace_calls, kill_dumps,
    kill_dumps_at_calls, kill_restores, kill_restores_at_ptrace_calls, reaper, until,
};

/// Starts a guest and waits until it is set up.
pub(super) fn ready(lab: &Lab, guest: &str) -> i32 {
    let pid = lab.start_guest(guest);
    if let Some(early) = lab.wait_ready(pid) {
        panic!("{guest} before its checkpoint: {early:?}");
    }
    pid
}

/// The guest goes on and finds everything as it was; nothing is left.
pub(super) fn goes_on(mut lab: Lab, pid: i32) {
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}

/// The program and all plugins of the build but one.
fn plugins_without(missing: &str) -> tempfile::TempDir {
    // Not in the lab, which everyone may write: code from there is refused.
    let folder = tempfile::Builder::new()
        .prefix("criu-test-bin-")
        .tempdir()
        .expect("make the folder");
    for entry in fs::read_dir(build_folder()).expect("read the build's folder") {
        let path = entry.expect("read the build's folder").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        if name.starts_with("libcriu_plugin_") && name.ends_with(".so") && !name.contains(missing) {
            fs::copy(&path, folder.path().join(name)).expect("copy a plugin");
        }
    }
    fs::copy(build_folder().join("criu"), folder.path().join("criu")).expect("copy the program");
    folder
}

/// State that cannot be saved is refused by name, and stays as it was.
pub(crate) fn refused_for(guest: &str, object: &str, reason: &str) {
    refused_with(&[], guest, object, reason);
}

/// The same with options.
fn refused_with(options: &[&str], guest: &str, object: &str, reason: &str) {
    refused_saying(options, guest, |pid| {
        vec![object.to_owned(), reason.to_owned(), pid.to_string()]
    });
}

/// The same of a child of the guest.
fn refused_below(guest: &str, reason: &str) {
    refused_saying(&[], guest, |pid| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("read the children of the guest");
        vec![children.trim().to_owned(), reason.to_owned()]
    });
}

fn refused_saying(options: &[&str], guest: &str, words: impl Fn(i32) -> Vec<String>) {
    let lab = Lab::new();
    let pid = lab.start_guest(guest);
    match lab.wait_ready(pid) {
        None => {}
        Some(Verdict::Skip(why)) => {
            println!("skipped: {guest}: {why}");
            return;
        }
        Some(early) => panic!("{guest} before its checkpoint: {early:?}"),
    }
    let before = Snapshot::settled(pid);
    let outcome = Criu::dump(&lab, "images", pid)
        .args(options.iter().copied())
        .run();
    outcome.expect_error();
    for word in words(pid) {
        assert!(
            outcome.output.contains(&word),
            "the error does not say '{word}':\n{}",
            outcome.output
        );
    }
    Snapshot::assert_free(pid);
    before.assert_same(&Snapshot::settled(pid), &[], "a refused dump");
    goes_on(lab, pid);
}

#[test]
fn refused_datagram_held_back() {
    refused_for("refused/udp_held_back", "fd 3", "UDP_CORK, MSG_MORE");
}

#[test]
fn refused_urgent_data() {
    refused_with(
        &["--tcp-established"],
        "refused/tcp_urgent",
        "fd 0",
        "urgent data (MSG_OOB)",
    );
}

#[test]
fn refused_connection_that_waits() {
    refused_for("refused/tcp_waiting", "fd 3", "--skip-in-flight");
}

#[test]
fn refused_handshake() {
    refused_for("refused/tcp_handshake", "fd 4", "--skip-in-flight or --tcp-close");
}

#[test]
fn refused_unread_netlink_message() {
    refused_for(
        "refused/netlink_unread",
        "netlink socket",
        "messages that were not read yet",
    );
}

#[test]
fn refused_family_of_sockets() {
    refused_for(
        "refused/vsock",
        "fd 3: socket",
        "virtual machines (vsock) (AF_VSOCK",
    );
}

#[test]
fn refused_protocol_of_sockets() {
    refused_for("refused/mptcp", "fd 3: socket", "multipath TCP (MPTCP) (AF_INET");
}

#[test]
fn refused_unread_question() {
    refused_for("refused/fan_unread", "fd 3", "permission events wait to be read");
}

#[test]
fn refused_unanswered_question() {
    refused_for("refused/fan_unanswered", "fd 3", "waits for the answer");
}

#[test]
fn refused_listener_that_guards_what_is_dumped() {
    refused_for("refused/fan_guards", "fd 3", "decides on accesses");
}

#[test]
fn refused_performance_event() {
    refused_for("refused/perf_event", "descriptor 3", "perf_event_open(2)");
}

#[test]
fn refused_listener_of_calls() {
    refused_for(
        "refused/seccomp_listener",
        "descriptor 3",
        "a listener of seccomp(2)",
    );
}

#[test]
fn refused_landlock_rules() {
    refused_for("refused/landlock", "descriptor 3", "a set of Landlock rules");
}

#[test]
fn refused_confined_by_landlock() {
    refused_for("refused/landlock_confined", "process", "confined by Landlock");
}

#[test]
fn refused_user_confined_by_landlock() {
    refused_below("refused/landlock_user", "confined by Landlock");
}

#[test]
fn refused_thread_confined_by_landlock() {
    refused_for("refused/landlock_thread", "thread", "confined by Landlock");
}

#[test]
fn refused_automatic_mounts() {
    refused_for("refused/autofs", "pipe:[", "automatic mounts at ");
}

#[test]
fn refused_file_system_in_the_making() {
    refused_for("refused/fscontext", "descriptor 3", "fsopen(2)");
}

#[test]
fn refused_map_per_processor() {
    refused_for("refused/bpf_percpu", "fd 3", "an array per processor");
}

#[test]
fn refused_cryptography() {
    refused_for("refused/alg_socket", "descriptor 3", "(AF_ALG)");
}

#[test]
fn refused_notification() {
    refused_for(
        "refused/mq_notify",
        "fd 3",
        "waits for a notification (mq_notify)",
    );
}

#[test]
fn refused_segment_of_others() {
    refused_for(
        "refused/shm_outsider",
        "System V shared memory segment",
        "is attached 2 times, 1 of them in this tree",
    );
}

/// Without its plugin a kind is refused by name: the process, the descriptor, the kind, the plugin.
fn refused_without(plugin: &str, guest: &str, kind: &str, object: &str) {
    let lab = Lab::new();
    let pid = ready(&lab, guest);
    let before = Snapshot::settled(pid);
    let folder = plugins_without(plugin);
    let outcome = Criu::dump(&lab, "images", pid).installed_in(folder.path()).run();
    outcome.expect_error();
    for word in [plugin, kind, object, &pid.to_string()] {
        assert!(
            outcome.output.contains(word),
            "the error does not say '{word}':\n{}",
            outcome.output
        );
    }
    Snapshot::assert_free(pid);
    before.assert_same(&Snapshot::settled(pid), &[], "a refused dump");
    goes_on(lab, pid);
}

#[test]
fn without_plugin_files() {
    refused_without("files", "core/sleeper", "file", "mapping");
}

#[test]
fn without_plugin_pipes() {
    refused_without("pipes", "pipes/data", "pipe", "descriptor 3");
}

#[test]
fn without_plugin_events() {
    refused_without("events", "events/eventfd", "eventfd", "descriptor 3");
}

#[test]
fn without_plugin_sockets() {
    refused_without("sockets", "sockets/unix_pairs", "unix", "descriptor 3");
}

#[test]
fn without_plugin_tty() {
    refused_without("tty", "tty/pair", "tty", "descriptor 3");
}

#[test]
fn without_plugin_memfd() {
    refused_without("memfd", "memfd/plain", "memfd", "descriptor 3");
}

#[test]
fn without_plugin_inotify() {
    refused_without("inotify", "inotify/watches", "inotify", "descriptor 3");
}

#[test]
fn without_plugin_ipc() {
    refused_without("ipc", "ipc/shm_removed", "sysvshm", "mapping");
}

#[test]
fn without_plugin_bpf() {
    refused_without("bpf", "bpf/array", "bpfmap", "descriptor 3");
}

#[test]
fn without_plugin_tun() {
    refused_without("tun", "tun/tap", "tun", "descriptor 3");
}

#[test]
fn without_plugin_io_uring() {
    refused_without("io_uring", "io_uring/used", "io_uring", "mapping");
}

#[test]
fn without_plugin_aio() {
    refused_without("aio", "aio/empty", "aio", "mapping");
}

/// What is done to a guest leaves it able to go on to its end.
fn put_through(guest: &str, what: impl FnOnce(&Lab, i32)) {
    let lab = Lab::new();
    let pid = ready(&lab, guest);
    what(&lab, pid);
    goes_on(lab, pid);
}

/// Killed at fifty points of a dump the program leaves a tree that runs, and that can be dumped again.
pub(super) fn killed(guest: &str, options: &[&str]) {
    put_through(guest, |lab, pid| kill_dumps(lab, pid, options, || {}));
}

#[test]
fn killed_simple() {
    killed("core/sleeper", &[]);
}

#[test]
fn killed_threads() {
    killed("core/threads", &[]);
}

#[test]
fn killed_tree() {
    killed("core/tree", &[]);
}

#[test]
fn killed_connections() {
    killed("sockets/tcp_established", &["--tcp-established"]);
}

#[test]
fn killed_rings() {
    killed("io_uring/used", &[]);
    killed("io_uring/registered", &[]);
}

/// Where threads are stopped, made to act and let go, one after the other.
fn killed_at_ptrace_calls(guest: &str, options: &[&str]) {
    put_through(guest, |lab, pid| {
        kill_dumps_at_calls(lab, pid, (libc::SYS_ptrace, 1), options);
    });
}

#[test]
fn killed_at_ptrace_calls_tree() {
    killed_at_ptrace_calls("core/tree", &[]);
}

#[test]
fn killed_at_ptrace_calls_threads() {
    killed_at_ptrace_calls("core/threads", &[]);
}

/// No thread notices, whatever it waits in.
#[test]
fn killed_at_ptrace_calls_waiting() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/restart_calls");
    // Thirteen threads beside the first, of which one waits for a time that will pass.
    until("one thread has ended", Duration::from_secs(20), || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("list the threads");
        (tasks.count() == 13).then_some(())
    });
    kill_dumps_at_calls(&lab, pid, (libc::SYS_ptrace, 1), &["--file-locks"]);
    goes_on(lab, pid);
}

#[test]
fn killed_at_ptrace_calls_connections() {
    killed_at_ptrace_calls("sockets/tcp_established", &["--tcp-established"]);
}

/// What a killed dump has left is still at work when the next one comes.
fn dumped_after_a_killed_dump(guest: &str, step: usize) {
    put_through(guest, |lab, pid| {
        dump_after_dumps_killed_at_ptrace_calls(lab, pid, step, &[]);
    });
}

#[test]
fn dumped_after_a_killed_dump_tree() {
    dumped_after_a_killed_dump("core/tree", 3);
}

#[test]
fn dumped_after_a_killed_dump_threads() {
    dumped_after_a_killed_dump("core/threads", 7);
}

/// Killed at 25 points of a restore the program leaves nothing, or all.
fn killed_in_restore(guest: &str, options: &[&str]) {
    put_through(guest, |lab, pid| kill_restores(lab, pid, options));
}

#[test]
fn killed_in_restore_threads() {
    killed_in_restore("core/threads", &[]);
}

#[test]
fn killed_in_restore_tree() {
    killed_in_restore("core/tree", &[]);
}

/// Processes lose who forked them on the way.
#[test]
fn killed_in_restore_sessions() {
    killed_in_restore("core/session_below", &[]);
}

/// Where its threads are caught and let go, one after the other.
fn killed_at_ptrace_calls_of_a_restore(guest: &str) {
    put_through(guest, |lab, pid| kill_restores_at_ptrace_calls(lab, pid, &[]));
}

#[test]
fn killed_at_ptrace_calls_of_a_restore_tree() {
    killed_at_ptrace_calls_of_a_restore("core/tree");
}

#[test]
fn killed_at_ptrace_calls_of_a_restore_filters() {
    killed_at_ptrace_calls_of_a_restore("core/seccomp_filter");
}

#[test]
fn killed_in_restore_credentials() {
    killed_in_restore("core/credentials", &[]);
}

#[test]
fn killed_in_restore_rings() {
    killed_in_restore("io_uring/sqpoll", &[]);
}

#[test]
fn killed_in_restore_filters() {
    killed_in_restore("core/seccomp_filter", &[]);
}

#[test]
fn images_folder_missing() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/sleeper");
    let outcome = Criu::dump(&lab, "images", pid)
        .args(["-D", "/nonexistent/images"])
        .run();
    outcome.expect_error();
    assert!(outcome.output.contains("/nonexistent/images"), "{outcome}");
    goes_on(lab, pid);
}

/// A full disk: the error names the file, and the tree runs on.
#[test]
fn disk_full() {
    let lab = Lab::new();
    let pid = ready(&lab, "memory/large");
    let before = Snapshot::settled(pid);
    let disk = SmallDisk::mount(&lab, 8 << 20);
    let outcome = Criu::dump(&lab, "images", pid)
        .args(["-D".as_ref(), disk.0.as_os_str()])
        .run();
    outcome.expect_error();
    assert!(outcome.output.contains("No space left on device"), "{outcome}");
    Snapshot::assert_free(pid);
    before.assert_same(&Snapshot::settled(pid), &[], "a dump onto a full disk");
    drop(disk);
    goes_on(lab, pid);
}

/// Too few descriptors at every point of a dump: the error says so, and the tree runs on. With enough it succeeds.
#[test]
fn few_descriptors() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/tree");
    let before = Snapshot::settled(pid);
    let (mut refused, mut unclear) = (0, Vec::new());
    for count in 3.. {
        assert!(count < 500, "the dump of a small tree needs 500 descriptors");
        let outcome = Criu::dump(&lab, &format!("images-{count}"), pid)
            .args(["--leave-running"])
            .descriptors(count)
            .run();
        Snapshot::assert_free(pid);
        before.assert_same(&Snapshot::settled(pid), &[], "a dump with few descriptors");
        if outcome.ok() {
            break;
        }
        outcome.expect_error();
        refused += 1;
        let says = |text: &str| outcome.output.contains(text);
        // Below a handful not even the program's own libraries can be opened.
        if count >= 6 && !says("open files") {
            unclear.push(format!("{count}: {}", outcome.output.trim()));
        }
    }
    assert!(
        unclear.is_empty(),
        "errors that do not say why:\n{}",
        unclear.join("\n")
    );
    println!("refused with {refused} limits");
    goes_on(lab, pid);
}

/// A pid that nobody has is named.
#[test]
fn no_such_process() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/sleeper");
    let outcome = Criu::dump(&lab, "images", 4_000_000).run();
    outcome.expect_error();
    assert!(outcome.output.contains("4000000"), "{outcome}");
    goes_on(lab, pid);
}

/// A tmpfs of a few bytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(lab: &Lab, bytes: usize) -> SmallDisk {
        let at = lab.path().join("disk");
        fs::create_dir(&at).expect("make the mount point");
        let path = std::ffi::CString::new(at.as_os_str().as_encoded_bytes()).expect("a path");
        let data = std::ffi::CString::new(format!("size={bytes}")).expect("mount data");
        // SAFETY: all pointers are to live, terminated strings.
        let rc = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                data.as_ptr().cast(),
            )
        };
        assert_eq!(rc, 0, "mount a tmpfs: {}", std::io::Error::last_os_error());
        SmallDisk(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(path) = std::ffi::CString::new(self.0.as_os_str().as_encoded_bytes()) {
            // SAFETY: the pointer is to a live, terminated string.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A process that somebody else traces is refused, and stays that one's.
#[test]
fn traced_by_another() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/sleeper");
    // SAFETY: PTRACE_SEIZE touches no memory of ours.
    let rc = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    assert_eq!(rc, 0, "seize: {}", std::io::Error::last_os_error());
    let outcome = Criu::dump(&lab, "images", pid).run();
    // SAFETY: as above; the tracee must be stopped to be let go.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) };
    outcome.expect_error();
    assert!(outcome.output.contains(&pid.to_string()), "{outcome}");
    until("the tracee is let go", Duration::from_secs(10), || {
        // SAFETY: as above.
        (unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) } == 0).then_some(())
    });
    goes_on(lab, pid);
}

/// A folder with the images of an earlier dump can be used again.
#[test]
fn same_folder_again() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/sleeper");
    for _ in 0..2 {
        Criu::dump(&lab, "images", pid)
            .args(["--leave-running"])
            .run()
            .expect_ok();
    }
    assert!(reaper::peek(pid).is_none());
    goes_on(lab, pid);
}
