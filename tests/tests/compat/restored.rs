//! Restores the golden sets, which CRIU 4.2 wrote, and dumps what came of them: the two sets hold the same.
//!
//! The guests ran in `/srv/golden` and had pids that may be taken here, so all of it happens in a mount and a
//! pid namespace of the test's own, with an empty `/srv`. The mapped libraries must be those of the golden
//! machine (Debian 12); the guest is compiled anew and told by its size, as its build id differs.

use std::fs;
use std::process::Command;

use criu_tests::Lab;
use criu_tests::reaper::{self, End};

use super::cases::{forgive_processor, golden_processor, run, unpacked};
use super::compare::compare;
use super::set::Set;

/// Runs as process 1 of the namespaces, where it reaps what the restore leaves to it. `$1` is the program
/// under test, `$2` the folder of its plugins, `$3` the lab, `$4` the case.
const SCRIPT: &str = r#"
set -eu
criu=$1 plugins=$2 lab=$3 case=$4
mount -t tmpfs none /srv
# Terminals of its own: the number of the golden one may be taken outside.
mount -t devpts -o newinstance,ptmxmode=0666 none /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
mkdir -p "/srv/golden/$case"
cp "$lab/guest" /srv/golden/guest
cd "/srv/golden/$case"
# The files that the guest had made and kept.
case $case in
files)  printf hello >a.txt; : >lock.txt; chmod 600 a.txt lock.txt ;;
notify) mkdir -m 700 watched ;;
pipes)  mkfifo -m 600 fifo ;;
memory) truncate -s 32768 map.bin; chmod 600 map.bin; printf f | dd of=map.bin conv=notrunc status=none ;;
esac
: >ready; chmod 600 ready
cd /
set -- --plugin-dir "$plugins" --file-locks --tcp-established -v4
# The guest was compiled anew, so its build id is another one; its size is not. A sibling, as one of the guests
# wants to be told of its parent's death, and the program is done with the restore.
"$criu" restore "$@" -D "$lab/golden" -W "$lab" -o restore.log --pidfile pid -d --restore-sibling \
    --file-validation filesize
# Each goes back into pause(2), call 34, unless it is stopped.
for task in $(pgrep -x 'guest|renamed'); do
    until grep -q '^34 ' "/proc/$task/syscall" || grep -q '^State:.[TZ]' "/proc/$task/status"; do :; done
done
# Left running, so that no lock of its connections outlasts it; it ends with these namespaces.
"$criu" dump "$@" -D "$lab/images" -o "$lab/dump.log" -t "$(cat "$lab/pid")" --leave-running
"#;

/// What no restore brings back as it was, a part of the line that says so.
const BOUND_TO_DIFFER: [&str; 5] = [
    // The kernel's own notes of how a task came to be: forked without an exec, used a privilege.
    " tc flags: ",
    // The kernel rounds what is left up by a tick whenever such a timer is set.
    " tc timers virt vusec: ",
    // Both ends are in the tree and talk again once they run: they offer the windows of their buffers.
    " max_window: ",
    " rcv_wnd: ",
    " snd_wnd: ",
];

/// Restores a case and compares what it became.
pub(crate) fn the_same(case: &str) {
    let lab = Lab::new();
    let theirs = unpacked(case);
    fs::create_dir(lab.path().join("images")).unwrap();
    std::os::unix::fs::symlink(theirs.path(), lab.path().join("golden")).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let source = super::cases::golden().join("guest.c");
    run(Command::new(compiler)
        .args(["-O0", "-w", "-pthread", "-o"])
        .args([&lab.path().join("guest"), &source]));
    let build = criu_tests::build_folder();
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ])
        .args([&build.join("criu"), &build])
        .arg(lab.path())
        .arg(case)
        .current_dir("/");
    let pid = reaper::spawn(&mut command).unwrap();
    let end = reaper::wait(pid, std::time::Duration::from_secs(60));
    let log = |name: &str| fs::read_to_string(lab.path().join(name)).unwrap_or_default();
    let lacks = "uses processor state that this machine lacks";
    if end != Some(End::Exit(0)) && !golden_processor() && log("restore.log").contains(lacks) {
        println!("skipped: {case}: the golden set {lacks}, and is refused by name");
        return;
    }
    assert_eq!(
        end,
        Some(End::Exit(0)),
        "restoring the set of CRIU 4.2 and dumping it again\n--- restore.log\n{}\n--- dump.log\n{}",
        log("restore.log"),
        log("dump.log")
    );
    let mut differences = compare(
        case,
        &Set::read(theirs.path()),
        &Set::read(&lab.path().join("images")),
    );
    forgive_processor(&mut differences);
    differences.retain(|difference| !BOUND_TO_DIFFER.iter().any(|text| difference.contains(text)));
    assert!(
        differences.is_empty(),
        "{case}: after a restore\n  {}",
        differences.join("\n  ")
    );
}

/// A set of a container is refused by the name of what it needs, before anything is created.
#[test]
fn namespaces_are_refused() {
    for (case, kind) in [("namespaces", "pid"), ("sysvipc", "ipc")] {
        let lab = Lab::new();
        let theirs = unpacked(case);
        std::os::unix::fs::symlink(theirs.path(), lab.path().join("images")).unwrap();
        let outcome = criu_tests::Criu::restore(&lab, "images").run();
        outcome.expect_error();
        let wanted = format!("lived in a {kind} namespace of its own, which is not implemented yet");
        assert!(outcome.to_string().contains(&wanted), "{outcome}");
    }
}
