//! Properties that are not written as they are read.

use std::path::Path;

use crate::group;

/// What is saved of a value.
pub(crate) fn saved(name: &str, value: String) -> String {
    match name {
        "memory.oom_control" => oom_kill_disable(&value).to_owned(),
        _ => value,
    }
}

/// `memory.oom_control` tells more than it takes.
fn oom_kill_disable(value: &str) -> &str {
    value
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill_disable "))
        .unwrap_or(value)
}

/// Whether a file has its value already.
pub(crate) fn is_set(path: &Path, name: &str, wanted: &str) -> bool {
    if matches!(name, "cgroup.procs" | "cgroup.threads" | "tasks") {
        return true;
    }
    let Ok(now) = group::read(path) else {
        return false;
    };
    match name {
        // What a group becomes by others is none of its properties.
        "cgroup.type" => wanted != "threaded" || now == wanted,
        "cgroup.subtree_control" => words(&now) == words(wanted),
        _ => saved(name, now).trim() == oom_kill_disable(wanted).trim(),
    }
}

fn words(text: &str) -> std::collections::BTreeSet<&str> {
    text.split_whitespace().collect()
}

/// Gives a property its value.
pub(crate) fn set(path: &Path, name: &str, wanted: &str) -> std::io::Result<()> {
    match name {
        "cgroup.subtree_control" => subtree_control(path, wanted),
        "devices.list" => devices(path, wanted),
        "memory.oom_control" => group::write(path, oom_kill_disable(wanted)),
        _ if name.ends_with("_device") => per_device(path, wanted),
        _ => wanted_lines(wanted).try_for_each(|line| group::write(path, line)),
    }
}

/// Lists are written a line a call; no line at all is an empty value.
fn wanted_lines(wanted: &str) -> impl Iterator<Item = &str> {
    let empty = wanted.trim().is_empty().then_some("");
    wanted.lines().filter(|line| !line.trim().is_empty()).chain(empty)
}

fn subtree_control(path: &Path, wanted: &str) -> std::io::Result<()> {
    let now = group::read(path)?;
    let change: Vec<String> = words(&now)
        .difference(&words(wanted))
        .map(|word| format!("-{word}"))
        .chain(
            words(wanted)
                .difference(&words(&now))
                .map(|word| format!("+{word}")),
        )
        .collect();
    group::write(path, &change.join(" "))
}

/// All is denied before what is listed is allowed.
fn devices(list: &Path, wanted: &str) -> std::io::Result<()> {
    group::write(&list.with_file_name("devices.deny"), "a")?;
    let allow = list.with_file_name("devices.allow");
    let mut lines = wanted.lines().filter(|line| !line.trim().is_empty());
    lines.try_for_each(|line| {
        let all = line.starts_with("a ");
        group::write(&allow, if all { "a" } else { line })
    })
}

/// `MAJOR:MINOR LIMIT` lines: one that is not wanted any more is set to 0.
fn per_device(path: &Path, wanted: &str) -> std::io::Result<()> {
    let device = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let kept: Vec<_> = wanted.lines().filter_map(device).collect();
    for line in group::read(path)?.lines() {
        if let Some(device) = device(line).filter(|device| !kept.contains(device)) {
            group::write(path, &format!("{device} 0"))?;
        }
    }
    let mut lines = wanted.lines().filter(|line| !line.trim().is_empty());
    lines.try_for_each(|line| group::write(path, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let told = "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n";
        std::fs::write(&file, told).unwrap();
        assert_eq!(saved("memory.oom_control", told.to_owned()), "1");
        assert!(is_set(&file, "memory.oom_control", "1"));
        assert!(!is_set(&file, "memory.oom_control", "0"));
        std::fs::write(&file, "pids memory\n").unwrap();
        assert!(is_set(&file, "cgroup.subtree_control", "memory pids"));
        assert!(!is_set(&file, "cgroup.subtree_control", "memory"));
        std::fs::write(&file, "domain\n").unwrap();
        assert!(is_set(&file, "cgroup.type", "domain threaded"));
        assert!(!is_set(&file, "cgroup.type", "threaded"));
        assert!(is_set(&file, "tasks", "anything"));
    }

    #[test]
    fn lists_are_written_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        for name in ["devices.deny", "devices.allow", "cgroup.subtree_control"] {
            std::fs::write(file(name), "").unwrap();
        }
        // Plain files keep what was written last at their beginning.
        set(&file("devices.list"), "devices.list", "c 1:3 rwm\na *:* rwm").unwrap();
        assert_eq!(group::read(&file("devices.deny")).unwrap(), "a");
        assert_eq!(group::read(&file("devices.allow")).unwrap(), "a 1:3 rwm");
        std::fs::write(file("cgroup.subtree_control"), "cpu pids").unwrap();
        set(
            &file("cgroup.subtree_control"),
            "cgroup.subtree_control",
            "memory pids",
        )
        .unwrap();
        assert_eq!(
            group::read(&file("cgroup.subtree_control")).unwrap(),
            "-cpu +memory"
        );
        assert_eq!(wanted_lines("a\n\nb\n").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(wanted_lines("").collect::<Vec<_>>(), [""]);
    }
}
