//! A group as a directory with files: reading, writing, owners.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::CgroupPerms;

/// Files of groups are short lists; nothing larger is read.
const MOST: u64 = 1 << 20;

/// What a file says, without its last newline.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// Writes a text to a file by one call of write(2), as the kernel wants it.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    // An empty text would be no call at all.
    let text = if text.is_empty() { "\n" } else { text };
    file.write_all(text.as_bytes())
}

/// The value of a key in a flat keyed file such as `cgroup.events`.
pub(crate) fn keyed(path: &Path, key: &str) -> Option<String> {
    let text = read(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

/// Owner and mode; the mode with the type of the file, as stat(2) gives it.
pub(crate) fn perms(path: &Path) -> std::io::Result<CgroupPerms> {
    let meta = fs::symlink_metadata(path)?;
    Ok(CgroupPerms {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

/// Sets owner and mode where they differ.
pub(crate) fn set_perms(path: &Path, wanted: &CgroupPerms) -> Result<()> {
    let object = || format!("the owner and mode of {}", path.display());
    let now = perms(path).context(object)?;
    if (now.uid, now.gid) != (wanted.uid, wanted.gid) {
        std::os::unix::fs::chown(path, Some(wanted.uid), Some(wanted.gid)).context(object)?;
    }
    let mode = wanted.mode & 0o7777;
    if now.mode & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).context(object)?;
    }
    Ok(())
}

/// The names of the groups inside, sorted.
pub(crate) fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("listing the groups in {}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).context(doing)? {
        let entry = entry.context(doing)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(PathBuf::from(entry.file_name()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The processes in a group and in those below it; those that this pid namespace does not see are left out.
pub(crate) fn processes(path: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let mut queue = vec![path.to_owned()];
    while let Some(group) = queue.pop() {
        let file = group.join("cgroup.procs");
        match fs::read_to_string(&file) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            // A threaded group has none of its own (EOPNOTSUPP); one that is gone has none at all.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) if error.kind() == ErrorKind::NotFound && group != path => continue,
            Err(error) => return Err(Error::new(format!("reading {}: {error}", file.display()))),
        }
        match children(&group) {
            Ok(names) => queue.extend(names.iter().map(|name| group.join(name))),
            Err(_) if group != path && !group.exists() => {}
            Err(error) => return Err(error),
        }
    }
    pids.retain(|&pid| pid > 0);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_without_their_newline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "populated 1\nfrozen 0\n").unwrap();
        assert_eq!(read(&file).unwrap(), "populated 1\nfrozen 0");
        assert_eq!(keyed(&file, "frozen").as_deref(), Some("0"));
        assert_eq!(keyed(&file, "none"), None);
        write(&file, "").unwrap();
        assert!(read(&file).unwrap().starts_with('\n'));
    }

    #[test]
    fn owners_and_modes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        let wanted = CgroupPerms {
            mode: 0o100_640,
            uid: 7,
            gid: 8,
        };
        set_perms(&file, &wanted).unwrap();
        assert_eq!(perms(&file).unwrap(), wanted);
    }

    #[test]
    fn processes_below_count() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        for (group, text) in [("", "3\n0\n"), ("a", ""), ("a/b", "9\n3\n")] {
            fs::write(dir.path().join(group).join("cgroup.procs"), text).unwrap();
        }
        assert_eq!(processes(dir.path()).unwrap(), [3, 9]);
    }
}
