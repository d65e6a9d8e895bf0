//! What processes have that cannot be saved, and killed dumps of those of another kind.

use criu_tests::{Criu, Lab, Snapshot};

use super::dump::{goes_on, killed, ready, refused_for};

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
