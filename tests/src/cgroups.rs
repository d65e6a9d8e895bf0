//! The control groups of a lab: in each hierarchy one with the name of its folder, and what is below.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::lab::Lab;
use crate::patience;

/// Those that there are, one a hierarchy.
pub fn groups(lab: &Lab) -> Vec<PathBuf> {
    let name = lab.path().file_name().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            kind.starts_with("cgroup").then(|| Path::new(point).join(name))
        })
        .filter(|group| group.is_dir())
        .collect();
    found.sort();
    found
}

/// Removes them, with what is frozen thawed. Processes that have been killed take a moment to leave.
pub fn remove_groups(lab: &Lab) {
    let deadline = patience::deadline(Duration::from_secs(10));
    for group in groups(lab) {
        while !removed(&group) {
            if Instant::now() > deadline {
                eprintln!("the control group {} cannot be removed", group.display());
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn removed(group: &Path) -> bool {
    for (file, run) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        // Of the one version or the other.
        let _ = fs::write(group.join(file), run);
    }
    let inside = fs::read_dir(group).into_iter().flatten().flatten();
    let below: Vec<PathBuf> = inside
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    below.iter().all(|group| removed(group)) && (fs::remove_dir(group).is_ok() || !group.exists())
}
