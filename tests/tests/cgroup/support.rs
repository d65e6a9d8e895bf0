//! A guest in groups of the test's own making.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, Outcome, Verdict};

/// Where a hierarchy is mounted, as `/proc/self/mounts` says; `unified` for that of version 2.
pub(crate) fn mount(name: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let here = match fields[2] {
            "cgroup2" => name == "unified",
            "cgroup" => fields[3].split(',').any(|option| option == name),
            _ => false,
        };
        here.then(|| PathBuf::from(fields[1]))
    })
}

/// All mounts of hierarchies by the name of their directory, which is that of the controllers.
pub(crate) fn mounts() -> Vec<(String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    let found = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let point = PathBuf::from(fields[1]);
        let name = point.file_name()?.to_str()?.to_owned();
        match fields[2] {
            "cgroup2" => Some(("unified".to_owned(), point)),
            "cgroup" => Some((name, point)),
            _ => None,
        }
    });
    found.collect()
}

/// A group of the lab in a hierarchy, made; nothing where that is not mounted.
pub(crate) fn group(lab: &Lab, hierarchy: &str, below: &str) -> Option<PathBuf> {
    let Some(mount) = mount(hierarchy) else {
        println!("skipped: the control group hierarchy {hierarchy} is not mounted");
        return None;
    };
    let name = lab.path().file_name().expect("a lab has a name");
    let own = mount.join(name);
    let group = if below.is_empty() { own } else { own.join(below) };
    fs::create_dir_all(&group).expect("make a control group");
    Some(group)
}

/// Starts a guest, and moves it into these groups once it is ready.
pub(crate) fn ready(lab: &Lab, guest: &str, groups: &[&Path]) -> Pid {
    let pid = lab.start_guest(guest);
    if let Some(early) = lab.wait_ready(pid) {
        panic!("{guest} before its checkpoint: {early:?}");
    }
    for group in groups {
        put(group, "cgroup.procs", &pid.to_string());
    }
    pid
}

pub(crate) fn put(group: &Path, file: &str, text: &str) {
    let path = group.join(file);
    fs::write(&path, text).unwrap_or_else(|e| panic!("write {text} to {}: {e}", path.display()));
}

pub(crate) fn get(group: &Path, file: &str) -> String {
    let path = group.join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    text.trim_end().to_owned()
}

/// Whether a process is in a group.
pub(crate) fn inside(group: &Path, pid: Pid) -> bool {
    get(group, "cgroup.procs")
        .lines()
        .any(|line| line == pid.to_string())
}

/// Dumps with these options, and waits for the end of the tree.
pub(crate) fn dump(lab: &Lab, pid: Pid, options: &str) -> Outcome {
    let outcome = Criu::dump(lab, "images", pid)
        .args(options.split_whitespace())
        .run();
    if outcome.ok() {
        let end = reaper::wait(pid, Duration::from_secs(10));
        assert!(end.is_some(), "process {pid} is alive after its dump\n{outcome}");
    }
    outcome
}

pub(crate) fn restore(lab: &Lab, options: &str) -> Outcome {
    Criu::restore(lab, "images")
        .args(options.split_whitespace())
        .run()
}

/// The guest goes on and finds everything as it was; nothing is left.
pub(crate) fn goes_on(mut lab: Lab, pid: Pid) {
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}
