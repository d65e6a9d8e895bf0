//! Files that cannot be saved, refused by name.

use criu_tests::Need;

use super::dump::refused_for;

#[test]
fn dnotify() {
    refused_for("refused/dnotify", "fd 3", "F_NOTIFY");
}

#[test]
fn lock_in_a_queue() {
    refused_for("refused/lock_travelling", "/f", "on its way through a socket");
}

#[test]
fn file_of_a_thread() {
    refused_for("refused/proc_thread", "fd 3", "of a thread that is not the first");
}

#[test]
fn namespace_without_processes() {
    refused_for("refused/namespace_foreign", "fd 4", "uts namespace");
}

#[test]
fn file_below_a_mount() {
    let _own = Need::Mounts.meet();
    refused_for("refused/file_overmounted", "fd 3", "a mount hides it");
}

#[test]
fn file_of_a_detached_mount() {
    let _own = Need::Mounts.meet();
    refused_for("refused/file_detached", "fd 3", "odd-name-of-a-file");
}
