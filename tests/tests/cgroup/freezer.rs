//! `--freeze-cgroup`: the tree is stopped by its group, and this is as before afterwards.

use std::path::Path;
use std::time::Duration;

use criu_tests::{Criu, Lab, Snapshot, Verdict, kill_dumps, until};

use super::support::{dump, get, goes_on, group, inside, put, ready, restore};

const GUEST: &str = "cgroup/v1_named";
const TREE: &str = "core/tree";

/// The hierarchy, the file, and its two states.
type Version = (&'static str, &'static str, &'static str, &'static str);
const VERSIONS: [Version; 2] = [
    ("freezer", "freezer.state", "THAWED", "FROZEN"),
    ("unified", "cgroup.freeze", "0", "1"),
];

/// A tree in a group of its own.
fn frozen_by(lab: &Lab, hierarchy: &str, guest: &str) -> Option<(i32, std::path::PathBuf)> {
    let group = group(lab, hierarchy, "")?;
    let pid = ready(lab, guest, &[]);
    for process in criu_tests::processes_of(lab.path()) {
        put(&group, "cgroup.procs", &process.to_string());
    }
    Some((pid, group))
}

fn option(group: &Path) -> String {
    format!("--freeze-cgroup {}", group.display())
}

#[test]
fn dump_and_restore() {
    for (hierarchy, file, run, _) in VERSIONS {
        let lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, TREE) else {
            continue;
        };
        dump(&lab, pid, &option(&group)).expect_ok();
        assert_eq!(get(&group, file), run);
        restore(&lab, "").expect_ok();
        goes_on(lab, pid);
    }
}

/// The group is frozen before the dump: so it is afterwards, and the tree in it stands still.
#[test]
fn frozen_before() {
    for (hierarchy, file, run, stop) in VERSIONS {
        let lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, TREE) else {
            continue;
        };
        put(&group, file, stop);
        until("the group is frozen", Duration::from_secs(10), || {
            let state = match hierarchy {
                "freezer" => get(&group, file) == stop,
                _ => get(&group, "cgroup.events").contains("frozen 1"),
            };
            state.then_some(())
        });
        dump(&lab, pid, "").expect_error();
        let options = format!("{} --leave-running --manage-cgroups", option(&group));
        let outcome = Criu::dump(&lab, "images", pid)
            .args(options.split_whitespace())
            .run();
        outcome.expect_ok();
        assert_eq!(get(&group, file), stop, "{outcome}");
        Snapshot::assert_free(pid);
        assert!(inside(&group, pid));
        // It does not go on before it is let go.
        let mut lab = lab;
        lab.go();
        assert_eq!(lab.verdict(), None);
        put(&group, file, run);
        assert_eq!(lab.conclude(pid), Verdict::Pass);
        lab.assert_clean(&[pid]);
    }
}

/// A tree that was frozen is restored so, in a group that is made anew and in one that is still frozen.
#[test]
fn restored_frozen() {
    for (hierarchy, file, run, stop) in VERSIONS {
        let mut lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, TREE) else {
            continue;
        };
        put(&group, file, stop);
        let options = format!("{} --manage-cgroups", option(&group));
        dump(&lab, pid, &options).expect_ok();
        assert_eq!(get(&group, file), stop);
        criu_tests::remove_groups(&lab);
        restore(&lab, "--manage-cgroups").expect_ok();
        assert_eq!(get(&group, file), stop);
        assert!(inside(&group, pid));
        dump(&lab, pid, &options).expect_ok();
        let outcome = restore(&lab, "--manage-cgroups");
        outcome.expect_ok();
        assert_eq!(get(&group, file), stop, "{outcome}");
        lab.go();
        assert_eq!(lab.verdict(), None);
        put(&group, file, run);
        assert_eq!(lab.conclude(pid), Verdict::Pass);
        lab.assert_clean(&[pid]);
    }
}

/// What is said about a tree that stands in a freezer, without the option.
#[test]
fn frozen_without_the_option() {
    for (hierarchy, file, run, stop) in VERSIONS {
        let lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, GUEST) else {
            continue;
        };
        put(&group, file, stop);
        let outcome = dump(&lab, pid, "");
        outcome.expect_error();
        let remedy = option(&group);
        for word in ["is frozen", &remedy, &pid.to_string()] {
            assert!(outcome.output.contains(word), "no {word:?} in\n{outcome}");
        }
        put(&group, file, run);
        goes_on(lab, pid);
    }
}

#[test]
fn strangers_in_the_group() {
    for (hierarchy, file, run, _) in VERSIONS {
        let lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, GUEST) else {
            continue;
        };
        let mut command = lab.command("/bin/sleep");
        command.arg("1000");
        let stranger = criu_tests::reaper::spawn(&mut command).expect("start a program");
        put(&group, "cgroup.procs", &stranger.to_string());
        let outcome = dump(&lab, pid, &option(&group));
        outcome.expect_error();
        for word in [&format!("process {stranger} (sleep)"), "not in the tree"] {
            assert!(outcome.output.contains(word), "no {word:?} in\n{outcome}");
        }
        assert_eq!(get(&group, file), run);
        Snapshot::assert_free(pid);
        // SAFETY: kill has no memory effects; the child has not been reaped.
        unsafe { libc::kill(stranger, libc::SIGKILL) };
        criu_tests::reaper::wait(stranger, Duration::from_secs(10));
        goes_on(lab, pid);
    }
}

#[test]
fn what_is_no_group() {
    let lab = Lab::new();
    let pid = ready(&lab, "core/sleeper", &[]);
    for (path, words) in [("/", "no control group"), ("/no/such/group", "No such file")] {
        let outcome = dump(&lab, pid, &format!("--freeze-cgroup {path}"));
        outcome.expect_error();
        assert!(outcome.output.contains(words), "{outcome}");
    }
    goes_on(lab, pid);
}

/// criu killed at many points: the group is as before, thawed or frozen.
#[test]
fn killed() {
    for (hierarchy, file, run, stop) in VERSIONS {
        let lab = Lab::new();
        let Some((pid, group)) = frozen_by(&lab, hierarchy, GUEST) else {
            continue;
        };
        let options = option(&group);
        kill_dumps(&lab, pid, &options.split_whitespace().collect::<Vec<_>>(), || {
            until("the group is thawed", Duration::from_secs(10), || {
                (get(&group, file) == run).then_some(())
            });
        });
        put(&group, file, stop);
        for _ in 0..5 {
            Criu::dump(&lab, "frozen", pid)
                .args(options.split_whitespace())
                .args(["--leave-running"])
                .run_killed_after(Duration::from_millis(30));
            until("the group is frozen", Duration::from_secs(10), || {
                (get(&group, file) == stop).then_some(())
            });
        }
        put(&group, file, run);
        goes_on(lab, pid);
    }
}
