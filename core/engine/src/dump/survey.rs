//! A look at the tree while it still runs: which plugins will be needed, how much memory there is.
//!
//! Nothing here is relied upon: what changes until the freeze is only found later.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::fstatat;

use crate::error::Result;
use crate::kinds::FileQuery;
use crate::proc;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// All processes.
    pub(crate) pids: Vec<i32>,
    /// One query for each sort of file.
    pub(crate) queries: Vec<FileQuery>,
    /// The names of mappings that are neither files on disk nor the kernel's.
    pub(crate) mappings: HashSet<Vec<u8>>,
}

/// Looks at the tree below a process.
///
/// # Errors
/// The root does not exist. Of the others, those that end meanwhile are left out.
pub(crate) fn look(root: i32) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut sorts = HashSet::new();
    proc::Stat::read(root)?;
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        survey.pids.push(pid);
        let Ok(threads) = proc::threads(pid) else { continue };
        queue.extend(proc::children(pid, &threads).unwrap_or_default());
        files(pid, &mut sorts, &mut survey.queries);
        mapping_names(pid, &mut survey);
    }
    Ok(survey)
}

fn files(pid: i32, sorts: &mut HashSet<(u32, u64, Vec<u8>)>, queries: &mut Vec<FileQuery>) {
    let Ok(dir) = File::open(format!("/proc/{pid}/fd")) else {
        return;
    };
    for fd in proc::descriptors(pid).unwrap_or_default() {
        let name = fd.to_string();
        let Ok(link) = readlinkat(&dir, name.as_str()) else {
            continue;
        };
        let link = link.into_vec();
        let is_path = link.starts_with(b"/");
        // One of a sort is enough: for paths the type tells, for the rest the text before the inode.
        let text = if is_path {
            if link.ends_with(b" (deleted)") {
                link.clone()
            } else {
                Vec::new()
            }
        } else {
            link.iter().copied().take_while(|b| !b.is_ascii_digit()).collect()
        };
        if !is_path && sorts.contains(&(0, 0, text.clone())) && !link.starts_with(b"socket:") {
            continue;
        }
        let Ok(stat) = fstatat(&dir, name.as_str(), AtFlags::empty()) else {
            continue;
        };
        let mode = stat.st_mode & libc::S_IFMT;
        let device = mode == libc::S_IFCHR || mode == libc::S_IFBLK;
        let rdev = if device { stat.st_rdev } else { 0 };
        let key = if is_path { (mode, rdev, text) } else { (0, 0, text) };
        if sorts.insert(key) {
            queries.push(FileQuery::seen(pid, fd, link, mode, rdev));
        }
    }
}

fn mapping_names(pid: i32, survey: &mut Survey) {
    let mut buffer = Vec::new();
    if proc::read_into(&format!("/proc/{pid}/maps"), &mut buffer).is_err() {
        return;
    }
    for line in buffer.split(|&b| b == b'\n') {
        // The name is the sixth column.
        let Some(at) = line.iter().position(|&b| b == b'/' || b == b'[') else {
            continue;
        };
        let name = &line[at..];
        let special = name.ends_with(b" (deleted)") || name.starts_with(b"/[") || name.starts_with(b"/dev/");
        if special && !survey.mappings.contains(name) {
            survey.mappings.insert(name.to_vec());
        }
    }
}
