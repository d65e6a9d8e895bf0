//! State of terminals, events, rings and tracers that cannot be saved: refused by name, with nothing touched.

#![allow(clippy::panic, reason = "a test reports by panicking")]

use criu_tests::{Criu, Lab, Verdict};

/// The dump says all of these words, and the guest finds everything as it was.
fn refused_for(guest: &str, words: &[&str]) {
    refused_with(guest, &[], words);
}

/// The same with options.
fn refused_with(guest: &str, options: &[&str], words: &[&str]) {
    let mut lab = Lab::new();
    let pid = lab.start_guest(guest);
    match lab.wait_ready(pid) {
        None => {}
        Some(Verdict::Skip(why)) => {
            println!("skipped: {guest}: {why}");
            return;
        }
        Some(other) => panic!("{guest} before its checkpoint: {other:?}"),
    }
    let outcome = Criu::dump(&lab, "images", pid)
        .args(options.iter().copied())
        .run();
    outcome.expect_error();
    for word in words {
        assert!(
            outcome.output.contains(word),
            "the error does not say '{word}':\n{}",
            outcome.output
        );
    }
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}

#[test]
fn userfaultfd_of_the_outside() {
    refused_for(
        "refused/uffd_outside",
        &[
            "[userfaultfd]",
            "watches the memory of a process outside of the tree",
        ],
    );
}

#[test]
fn userfaultfd_of_a_process_that_has_ended() {
    refused_for(
        "refused/uffd_gone",
        &["[userfaultfd]", "watches the memory of a process that has ended"],
    );
}

#[test]
fn range_of_a_userfaultfd_of_nobody() {
    refused_for(
        "refused/uffd_nobody",
        &[
            "mapping ",
            "is registered with a userfaultfd that no process of the tree has open",
        ],
    );
}

#[test]
fn fresh_userfaultfd_of_two_processes() {
    refused_for(
        "refused/uffd_fresh",
        &[
            "fd 3",
            "is a userfaultfd without UFFDIO_API that several processes have open",
        ],
    );
}

#[test]
fn private_file_with_a_userfaultfd() {
    refused_for(
        "refused/uffd_private",
        &[
            "mapping ",
            "is registered with a userfaultfd, and is a private mapping of a file",
        ],
    );
}

#[test]
fn pidfd_of_the_outside() {
    refused_for("refused/pidfd_outside", &["fd 3", "outside of the tree"]);
}

#[test]
fn line_discipline() {
    refused_for(
        "refused/tty_discipline",
        &["fd ", "/dev/pt", "the line discipline 27 (N_NULL)"],
    );
}

#[test]
fn quoted_end_of_line_in_a_terminal() {
    refused_for(
        "refused/tty_quoted",
        &["terminal /dev/pt", "a quoted end of line"],
    );
}

/// Both are named by one walk.
#[test]
fn sockets_with_an_ebpf_filter_and_of_another_namespace() {
    refused_for(
        "refused/socket_ebpf",
        &[
            "pid ",
            "fd ",
            "an eBPF program is attached to it",
            "SO_DETACH_BPF",
            "lives in the network namespace net:[",
        ],
    );
}

/// A process that another one of the tree traces.
#[test]
fn tracer_in_the_tree() {
    refused_for("refused/ptrace_user", &["traced", "process"]);
}

/// A ring of io_uring with that guest's state; requests are waited for a second.
fn ring(guest: &str, words: &[&str]) {
    let mut all = vec!["pid ", "ring of io_uring"];
    all.extend(words);
    refused_with(&format!("refused/io_uring_{guest}"), &["--timeout", "1"], &all);
}

#[test]
fn ring_with_a_request_that_never_ends() {
    ring(
        "forever",
        &[
            "fd 3",
            "1 request in flight, among them 1 request for a file",
            "--timeout",
        ],
    );
}

#[test]
fn ring_with_a_far_time() {
    ring("time", &["fd 3", "1 request in flight"]);
}

#[test]
fn ring_with_an_eventfd() {
    ring(
        "eventfd",
        &["fd 3", "an eventfd is registered", "unregister it first"],
    );
}

#[test]
fn ring_with_restrictions() {
    ring("restricted", &["fd 3", "restrictions are registered"]);
}

#[test]
fn ring_with_a_personality() {
    ring("personality", &["fd 3", "names a personality"]);
}

#[test]
fn ring_with_provided_buffers() {
    ring("provided", &["fd 3", "buffers are provided to it (group 40000)"]);
}

#[test]
fn ring_in_memory_of_its_own() {
    ring("own_memory", &["fd 3", "IORING_SETUP_NO_MMAP"]);
}

#[test]
fn ring_without_room() {
    ring("full", &["fd 3", "8 completions wait for room"]);
}

#[test]
fn ring_after_multishot() {
    ring("multishot", &["fd 3", "cannot be told", "multishot"]);
}

#[test]
fn ring_with_a_silent_request() {
    ring("silent", &["fd 3", "IOSQE_CQE_SKIP_SUCCESS"]);
}

#[test]
fn ring_with_a_file_that_is_closed() {
    ring(
        "closed_file",
        &[
            "fd 3",
            "registered file 0",
            "/scratch",
            "keep the descriptor open",
        ],
    );
}

#[test]
fn ring_with_one_of_two_files() {
    ring(
        "same_file",
        &["fd 3", "registered file 0", "/scratch", "one of several"],
    );
}

#[test]
fn ring_of_unknown_shape() {
    ring(
        "unknown_size",
        &["fd 3", "64 or 128 bytes", "io_uring.request-size=64"],
    );
}

#[test]
fn ring_that_is_closed() {
    ring("closed", &["mapping 0x", "no process has a descriptor"]);
}

#[test]
fn files_of_a_process_without_its_leader() {
    refused_for(
        "refused/leader_gone",
        &["its first thread has ended", "PIDFD_THREAD, Linux 6.9"],
    );
}

#[test]
fn user_dispatch_that_the_kernel_does_not_tell() {
    refused_for(
        "refused/user_dispatch",
        &["PR_SET_SYSCALL_USER_DISPATCH", "Linux 6.4"],
    );
}

#[test]
fn thread_with_a_descriptor_table_of_its_own() {
    refused_for(
        "refused/thread_files",
        &["thread ", "has a descriptor table of its own (unshare(2))"],
    );
}

#[test]
fn thread_with_a_working_directory_of_its_own() {
    refused_for(
        "refused/thread_fs",
        &[
            "thread ",
            "has a root, a working directory and a umask of its own (unshare(2))",
        ],
    );
}

#[test]
fn thread_in_another_network_namespace() {
    refused_for(
        "refused/thread_net",
        &["thread ", "lives in a net namespace of its own"],
    );
}

#[test]
fn children_to_be_in_another_pid_namespace() {
    refused_for(
        "refused/children_pid",
        &["process ", "has chosen another pid namespace for its children"],
    );
}
