//! State of terminals, events and tracers that cannot be saved: refused by name, with nothing touched.

#![allow(clippy::panic, reason = "a test reports by panicking")]

use criu_tests::{Criu, Lab, Verdict};

/// The dump says all of these words, and the guest finds everything as it was.
fn refused_for(guest: &str, words: &[&str]) {
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
    let outcome = Criu::dump(&lab, "images", pid).run();
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

/// A process that another one of the tree traces.
#[test]
fn tracer_in_the_tree() {
    refused_for("refused/ptrace_user", &["traced", "process"]);
}
