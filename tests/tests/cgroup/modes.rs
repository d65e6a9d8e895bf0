//! `--manage-cgroups` in all its modes, and the options beside it.

use std::fs;
use std::path::PathBuf;

use criu_tests::{Lab, remove_groups};

use super::support::{dump, get, goes_on, group, inside, put, ready, restore};

const GUEST: &str = "core/sleeper";

/// A guest in a group of pids and one of a named hierarchy, with a limit; dumped.
fn dumped(lab: &Lab) -> Option<(i32, PathBuf, PathBuf)> {
    dumped_with(lab, "--manage-cgroups")
}

fn dumped_with(lab: &Lab, options: &str) -> Option<(i32, PathBuf, PathBuf)> {
    let (pids, named) = (group(lab, "pids", "a")?, group(lab, "name=systemd", "a/b")?);
    put(&pids, "pids.max", "77");
    put(&named, "notify_on_release", "1");
    let pid = ready(lab, GUEST, &[&pids, &named]);
    dump(lab, pid, options).expect_ok();
    Some((pid, pids, named))
}

fn refused(lab: &Lab, options: &str, words: &[&str]) {
    let outcome = restore(lab, options);
    outcome.expect_error();
    for word in words {
        assert!(outcome.output.contains(word), "no {word:?} in\n{outcome}");
    }
}

#[test]
fn without_the_option_groups_are_left_alone() {
    let lab = Lab::new();
    let Some(pids) = group(&lab, "pids", "a") else {
        return;
    };
    let pid = ready(&lab, GUEST, &[&pids]);
    dump(&lab, pid, "").expect_ok();
    assert!(!lab.path().join("images/cgroup.img").exists());
    restore(&lab, "--manage-cgroups=full").expect_ok();
    assert!(!inside(&pids, pid));
    goes_on(lab, pid);
}

#[test]
fn where_criu_is_there_is_nothing_to_save() {
    let lab = Lab::new();
    let pid = ready(&lab, GUEST, &[]);
    dump(&lab, pid, "--manage-cgroups=full").expect_ok();
    assert!(!lab.path().join("images/cgroup.img").exists());
    restore(&lab, "--manage-cgroups=strict").expect_ok();
    goes_on(lab, pid);
}

#[test]
fn ignore() {
    let lab = Lab::new();
    let Some((pid, pids, _)) = dumped(&lab) else {
        return;
    };
    remove_groups(&lab);
    restore(&lab, "--manage-cgroups=ignore").expect_ok();
    assert!(!pids.exists());
    goes_on(lab, pid);
}

#[test]
fn none() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    fs::remove_dir(&named).expect("remove a group");
    refused(
        &lab,
        "--manage-cgroups=none",
        &["a/b", "does not exist", "--manage-cgroups=soft"],
    );
    fs::create_dir(&named).expect("make a group");
    put(&pids, "pids.max", "66");
    restore(&lab, "--manage-cgroups=none").expect_ok();
    assert!(inside(&pids, pid) && inside(&named, pid));
    assert_eq!(get(&pids, "pids.max"), "66");
    goes_on(lab, pid);
}

#[test]
fn props() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    fs::remove_dir(&pids).expect("remove a group");
    refused(&lab, "--manage-cgroups=props", &["does not exist"]);
    fs::create_dir(&pids).expect("make a group");
    restore(&lab, "--manage-cgroups=props").expect_ok();
    assert!(inside(&pids, pid) && inside(&named, pid));
    assert_eq!(get(&pids, "pids.max"), "77");
    goes_on(lab, pid);
}

#[test]
fn soft() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    put(&pids, "pids.max", "66");
    fs::remove_dir(&named).expect("remove a group");
    restore(&lab, "--manage-cgroups").expect_ok();
    assert!(inside(&pids, pid) && inside(&named, pid));
    assert_eq!(get(&pids, "pids.max"), "66");
    assert_eq!(get(&named, "notify_on_release"), "1");
    goes_on(lab, pid);
}

#[test]
fn full() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    put(&pids, "pids.max", "66");
    put(&named, "notify_on_release", "0");
    fs::remove_dir(&named).expect("remove a group");
    restore(&lab, "--manage-cgroups=full").expect_ok();
    assert!(inside(&pids, pid) && inside(&named, pid));
    assert_eq!(get(&pids, "pids.max"), "77");
    assert_eq!(get(&named, "notify_on_release"), "1");
    goes_on(lab, pid);
}

#[test]
fn strict() {
    let lab = Lab::new();
    // Of the other hierarchies it is in groups of the outside, which exist.
    let options = "--manage-cgroups --cgroup-dump-controller pids --cgroup-dump-controller name=systemd";
    let Some((pid, pids, named)) = dumped_with(&lab, options) else {
        return;
    };
    refused(
        &lab,
        "--manage-cgroups=strict",
        &["exists already", "--manage-cgroups=soft"],
    );
    remove_groups(&lab);
    restore(&lab, "--manage-cgroups=strict").expect_ok();
    assert!(inside(&pids, pid) && inside(&named, pid));
    assert_eq!(get(&pids, "pids.max"), "77");
    goes_on(lab, pid);
}

/// A restore that fails late leaves no group that it made, and those that were there as they were.
#[test]
fn a_failure_leaves_groups_as_they_were() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    let above = named.parent().expect("a group above").to_path_buf();
    fs::remove_dir(&named).expect("remove a group");
    fs::remove_dir(&above).expect("remove a group");
    put(&pids, "pids.max", "66");
    let script = lab.path().join("fails");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != pre-resume ]\n",
    )
    .expect("write a script");
    let outcome = criu_tests::Criu::restore(&lab, "images")
        .args(["--manage-cgroups=full", "--action-script"])
        .args([format!("sh {}", script.display())])
        .run();
    outcome.expect_error();
    assert!(!above.exists(), "{outcome}");
    assert_eq!(get(&pids, "pids.max"), "66");
    restore(&lab, "--manage-cgroups=full").expect_ok();
    assert_eq!(get(&pids, "pids.max"), "77");
    goes_on(lab, pid);
}

#[test]
fn another_root() {
    let lab = Lab::new();
    let Some((pid, pids, named)) = dumped(&lab) else {
        return;
    };
    remove_groups(&lab);
    let name = lab
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    restore(
        &lab,
        &format!("--manage-cgroups --cgroup-root /{name}/else --cgroup-root pids:/{name}/p/q"),
    )
    .expect_ok();
    let base = |group: &PathBuf| group.ancestors().find(|g| g.ends_with(&name)).map(PathBuf::from);
    let (pids, named) = (base(&pids).expect("a base"), base(&named).expect("a base"));
    assert!(inside(&pids.join("p/q"), pid));
    assert_eq!(get(&pids.join("p/q"), "pids.max"), "77");
    assert!(inside(&named.join("else"), pid));
    assert!(!named.join("a").exists());
    goes_on(lab, pid);
}

/// On dump the root is where the saved groups begin.
#[test]
fn a_root_above_the_tree() {
    let lab = Lab::new();
    let Some(inner) = group(&lab, "pids", "a/b") else {
        return;
    };
    let outer = inner.parent().expect("a group above").to_path_buf();
    put(&outer, "pids.max", "55");
    let name = lab
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let pid = ready(&lab, GUEST, &[&inner]);
    dump(
        &lab,
        pid,
        &format!("--manage-cgroups --cgroup-root pids:/{name}/a"),
    )
    .expect_ok();
    remove_groups(&lab);
    restore(&lab, "--manage-cgroups").expect_ok();
    assert!(inside(&inner, pid));
    assert_eq!(get(&outer, "pids.max"), "55");
    goes_on(lab, pid);
}

#[test]
fn only_some_controllers() {
    let lab = Lab::new();
    let (Some(pids), Some(named)) = (group(&lab, "pids", ""), group(&lab, "name=systemd", "")) else {
        return;
    };
    let pid = ready(&lab, GUEST, &[&pids, &named]);
    dump(&lab, pid, "--manage-cgroups --cgroup-dump-controller pids").expect_ok();
    remove_groups(&lab);
    restore(&lab, "--manage-cgroups").expect_ok();
    assert!(inside(&pids, pid) && !named.exists());
    goes_on(lab, pid);
}

#[test]
fn other_properties() {
    let lab = Lab::new();
    let Some(pids) = group(&lab, "pids", "") else {
        return;
    };
    put(&pids, "pids.max", "44");
    put(&pids, "notify_on_release", "1");
    let spec = lab.path().join("spec");
    fs::write(
        &spec,
        "\"pids\":\n - \"strategy\": \"replace\"\n - \"properties\": []\n",
    )
    .expect("write");
    let pid = ready(&lab, GUEST, &[&pids]);
    dump(
        &lab,
        pid,
        &format!("--manage-cgroups --cgroup-props-file {}", spec.display()),
    )
    .expect_ok();
    remove_groups(&lab);
    restore(&lab, "--manage-cgroups").expect_ok();
    assert!(inside(&pids, pid));
    assert_eq!(get(&pids, "pids.max"), "max");
    assert_eq!(get(&pids, "notify_on_release"), "1");
    goes_on(lab, pid);
}

#[test]
fn a_wrong_specification_stops_the_dump() {
    let lab = Lab::new();
    let Some(pids) = group(&lab, "pids", "") else {
        return;
    };
    let pid = ready(&lab, GUEST, &[&pids]);
    let outcome = dump(&lab, pid, "--manage-cgroups --cgroup-props pids");
    outcome.expect_error();
    assert!(outcome.output.contains("--cgroup-props: "), "{outcome}");
    goes_on(lab, pid);
}

/// The hierarchies are found in a directory of the user's.
#[test]
fn a_yard() {
    let lab = Lab::new();
    let Some((pid, pids, _)) = dumped(&lab) else {
        return;
    };
    remove_groups(&lab);
    let yard = tempfile::tempdir().expect("make a folder");
    for (name, mount) in super::support::mounts() {
        std::os::unix::fs::symlink(mount, yard.path().join(name)).expect("make a link");
    }
    let options = format!("--manage-cgroups --cgroup-yard {}", yard.path().display());
    restore(&lab, &options).expect_ok();
    assert!(inside(&pids, pid));
    goes_on(lab, pid);
}

/// What was asked for is not passed over in silence.
#[test]
fn without_the_plugin() {
    let lab = Lab::new();
    let pid = ready(&lab, GUEST, &[]);
    let folder = tempfile::Builder::new()
        .prefix("criu-test-bin-")
        .tempdir()
        .expect("make the folder");
    for name in ["criu", "libcriu_plugin_files.so"] {
        fs::copy(criu_tests::build_folder().join(name), folder.path().join(name)).expect("copy");
    }
    for option in ["--manage-cgroups", "--freeze-cgroup=/sys/fs/cgroup/x"] {
        let outcome = criu_tests::Criu::dump(&lab, "images", pid)
            .installed_in(folder.path())
            .args([option])
            .run();
        outcome.expect_error();
        let name = option.split('=').next().unwrap_or_default();
        for word in [name, "plugin cgroup, which was not found"] {
            assert!(outcome.output.contains(word), "no {word:?} in\n{outcome}");
        }
    }
    goes_on(lab, pid);
}
