//! What processes have that cannot be saved, killed dumps of those of another kind, and trees that are killed
//! while they are dumped or restored.

use std::time::Duration;

use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, Outcome, Snapshot, kill_all, processes_of, until};

use super::dump::{goes_on, killed, ready, refused_for};
use super::images::images;

#[test]
fn refused_supervised_filter() {
    refused_for("refused/seccomp_supervised", "thread", "SECCOMP_RET_USER_NOTIF");
}

/// A child whose own parent traces it: refused with both pids, and still traced.
#[test]
fn refused_traced_child() {
    let lab = Lab::new();
    let pid = ready(&lab, "refused/ptraced");
    let before = Snapshot::settled(pid);
    let outcome = Criu::dump(&lab, "images", pid).run();
    outcome.expect_error();
    let says = format!("already traced by process {pid}");
    assert!(outcome.output.contains(&says), "{outcome}");
    before.assert_same(&Snapshot::settled(pid), &[], "a refused dump");
    goes_on(lab, pid);
}

#[test]
fn refused_shared_memory() {
    refused_for("refused/shared_memory", "shares its memory", "CLONE_VM");
}

#[test]
fn refused_local_descriptor_table() {
    refused_for("refused/descriptor_table", "process", "modify_ldt");
}

#[test]
fn refused_secret_memory() {
    refused_for("refused/secret", "mapping", "secret memory");
}

#[test]
fn refused_user_probes() {
    refused_for("refused/uprobes", "mapping", "--allow-uprobes");
}

#[test]
fn killed_32_bit() {
    killed("ia32/signals", &[]);
}

/// Of threads that are traced their tracer is told first, and no process has ended before all of its threads have.
#[test]
fn killed_from_elsewhere_during_a_restore() {
    for guest in ["core/threads", "core/tree"] {
        let lab = Lab::new();
        let (pid, _) = images(&lab, guest, &[]);
        for action in ["setup-namespaces", "post-restore", "network-unlock", "pre-resume"] {
            let kill = format!("[ $CRTOOLS_SCRIPT_ACTION != {action} ] || kill -KILL $CRTOOLS_INIT_PID");
            let outcome = Criu::restore(&lab, "images")
                .args(["--action-script", &kill])
                .limit(Duration::from_secs(20))
                .run();
            assert!(
                outcome.end.is_some(),
                "{guest}, {action}: the restore hangs\n{outcome}"
            );
            // At the last one there is nothing left to be done that could fail.
            if action != "pre-resume" {
                outcome.expect_error();
            }
            nothing_is_left(&lab);
        }
        lab.assert_clean(&[pid]);
    }
}

#[test]
fn killed_from_elsewhere_during_a_dump() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/threads");
    let kill = "[ $CRTOOLS_SCRIPT_ACTION != network-lock ] || kill -KILL $CRTOOLS_INIT_PID";
    let outcome = Criu::dump(&lab, "images", pid)
        .args(["--action-script", kill])
        .limit(Duration::from_secs(20))
        .run();
    assert!(outcome.end.is_some(), "the dump hangs\n{outcome}");
    outcome.expect_error();
    assert!(reaper::wait(pid, Duration::from_secs(10)).is_some());
    lab.assert_clean(&[pid]);
}

/// How often a tree is killed while it is dumped or restored: each time a little later.
const POINTS: u32 = 25;

/// Runs the program and kills the tree's root when a part of the usual time has passed; it ends in time, well or not.
fn killed_after(criu: Criu<'_>, pid: Pid, after: Duration) -> Outcome {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(after);
            // What has not been made yet is killed afterwards.
            let root = nix::unistd::Pid::from_raw(pid);
            _ = nix::sys::signal::kill(root, nix::sys::signal::Signal::SIGKILL);
        });
        let outcome = criu.limit(Duration::from_secs(20)).run();
        assert!(outcome.end.is_some(), "after {after:?} it hangs\n{outcome}");
        outcome
    })
}

fn nothing_is_left(lab: &Lab) {
    until("nothing of the tree is left", Duration::from_secs(10), || {
        processes_of(lab.path()).is_empty().then_some(())
    });
}

#[test]
fn killed_from_elsewhere_at_any_moment_of_a_dump() {
    for guest in ["core/threads", "core/tree"] {
        let lab = Lab::new();
        let pid = ready(&lab, guest);
        let whole = Criu::dump(&lab, "whole", pid).args(["--leave-running"]).run();
        let whole = whole.expect_ok().took;
        goes_on(lab, pid);
        for point in 1..=POINTS {
            let lab = Lab::new();
            let pid = ready(&lab, guest);
            killed_after(Criu::dump(&lab, "images", pid), pid, whole * point / POINTS);
            assert!(reaper::wait(pid, Duration::from_secs(10)).is_some());
            kill_all(lab.path());
            lab.assert_clean(&[pid]);
        }
    }
}

#[test]
fn killed_from_elsewhere_at_any_moment_of_a_restore() {
    for guest in ["core/threads", "core/tree"] {
        let lab = Lab::new();
        let (pid, _) = images(&lab, guest, &[]);
        let whole = Criu::restore(&lab, "images").run().expect_ok().took;
        kill_all(lab.path());
        nothing_is_left(&lab);
        for point in 1..=POINTS {
            if killed_after(Criu::restore(&lab, "images"), pid, whole * point / POINTS).ok() {
                kill_all(lab.path());
            }
            nothing_is_left(&lab);
        }
        lab.assert_clean(&[pid]);
    }
}
