//! Reading `/proc`: each file once, into the fields the engine needs.
//!
//! See proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps(5) and their neighbours. What the kernel
//! writes is trusted no further than it parses: a line that does not fit is an error that names the
//! file, except where a newer kernel may have added lines.

mod maps;
pub(crate) mod pagemap;
mod stat;
mod status;

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Context, Error, Result};

#[cfg(test)]
pub(crate) use maps::parse_mappings;
pub use maps::{Mapping, VmFlags, read_mappings};
pub use stat::Stat;
pub use status::{Credentials, Status};

/// What most files fit into; the kernel hands out about a page at a time anyway.
const ROOM: usize = 8 << 10;

/// From this many threads of one process on it is worth counting the processes.
const MANY_THREADS: usize = 64;

/// Reads a whole file of `/proc` into `buffer`, which is cleared first.
///
/// # Errors
/// The file does not exist (the process may be gone) or cannot be read.
pub fn read_into(path: &str, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    buffer.reserve(ROOM);
    let file = fs::File::open(path).context(|| format!("opening {path}"))?;
    // A file of /proc has no length: behind `take` nobody asks for it.
    file.take(u64::MAX)
        .read_to_end(buffer)
        .context(|| format!("reading {path}"))?;
    Ok(())
}

/// Reads a file of `/proc` that the kernel writes in one piece: a read that leaves room has seen its end.
///
/// # Errors
/// As for [`read_into`].
fn read_piece(path: &str, buffer: &mut Vec<u8>) -> Result<()> {
    let mut file = fs::File::open(path).context(|| format!("opening {path}"))?;
    buffer.resize(ROOM, 0);
    let got = file.read(buffer).context(|| format!("reading {path}"))?;
    if got == ROOM {
        return read_into(path, buffer);
    }
    buffer.truncate(got);
    Ok(())
}

/// Reads a whole file of `/proc`.
///
/// # Errors
/// The file does not exist (the process may be gone) or cannot be read.
pub fn read(path: &str) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    read_into(path, &mut buffer)?;
    Ok(buffer)
}

/// Reads a file of `/proc` that holds one decimal number.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn read_number<T: std::str::FromStr>(path: &str) -> Result<T> {
    let mut text = Vec::new();
    read_piece(path, &mut text)?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .ok_or_else(|| Error::malformed(path, "is not a number"))
}

/// The target of a link of `/proc`, any bytes.
///
/// # Errors
/// The link does not exist or may not be read.
pub fn read_link(path: &str) -> Result<Vec<u8>> {
    let target: OsString = fs::read_link(path)
        .context(|| format!("reading the link {path}"))?
        .into();
    Ok(target.into_vec())
}

/// How many threads a process has that have not been waited for, an ended leader among them: cheaper than
/// [`threads`]. Not for a process that is gone.
pub fn thread_count(pid: i32) -> Option<usize> {
    use std::os::unix::fs::MetadataExt;
    // The folder has two links of its own.
    let links = fs::metadata(format!("/proc/{pid}/task")).ok()?.nlink();
    usize::try_from(links.checked_sub(2)?).ok()
}

/// The ids of the threads of a process, its leader first, the others ascending.
///
/// # Errors
/// The process is gone.
pub fn threads(pid: i32) -> Result<Vec<i32>> {
    let mut tids = numbered_entries(&format!("/proc/{pid}/task"))?;
    tids.sort_unstable_by_key(|&tid| (tid != pid, tid));
    Ok(tids)
}

/// Whether this is the first thread of its process, by which it has its number; also of one that is gone.
pub(crate) fn is_leader(tid: i32) -> bool {
    let Ok(status) = read(&format!("/proc/{tid}/status")) else {
        return true;
    };
    let mut lines = status.split(|&b| b == b'\n');
    let tgid = lines.find_map(|line| parse::<i32>(line.strip_prefix(b"Tgid:")?.trim_ascii()));
    tgid.is_none_or(|tgid| tgid == tid)
}

/// The numbers of the open descriptors of a process, ascending.
///
/// # Errors
/// The process is gone, or its descriptors may not be seen.
pub fn descriptors(pid: i32) -> Result<Vec<i32>> {
    let mut fds = numbered_entries(&format!("/proc/{pid}/fd"))?;
    fds.sort_unstable();
    Ok(fds)
}

/// The children of a process in the order of their birth, zombies included.
///
/// Read from `/proc/PID/task/TID/children` (CONFIG_PROC_CHILDREN) of each thread, or, where there are fewer
/// processes than threads, from what each process says of its parent.
///
/// # Errors
/// The process is gone, or the kernel lacks these files.
pub fn children(pid: i32, threads: &[i32]) -> Result<Vec<i32>> {
    if threads.len() >= MANY_THREADS {
        let all = numbered_entries("/proc")?;
        if all.len() < threads.len() {
            return Ok(children_among(pid, &all));
        }
    }
    let mut children = Vec::new();
    for tid in threads {
        let path = format!("/proc/{pid}/task/{tid}/children");
        let text = read(&path)?;
        for word in text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()) {
            children.push(parse(word).ok_or_else(|| Error::malformed(&path, "holds no list of pids"))?);
        }
    }
    Ok(children)
}

/// Those of the processes given that are children of one, the oldest first.
fn children_among(parent: i32, all: &[i32]) -> Vec<i32> {
    // One that ends meanwhile is no child any more.
    let stats = all.iter().filter_map(|&pid| Some((pid, Stat::read(pid).ok()?)));
    let mut children: Vec<(u64, i32)> = stats
        .filter(|(_, stat)| stat.ppid == parent)
        .map(|(pid, stat)| (stat.start_time, pid))
        .collect();
    children.sort_unstable();
    children.into_iter().map(|(_, pid)| pid).collect()
}

fn numbered_entries(path: &str) -> Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).context(|| format!("listing {path}"))? {
        let entry = entry.context(|| format!("listing {path}"))?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// A decimal number of ASCII bytes.
pub(crate) fn parse<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A hexadecimal number of ASCII bytes, without a prefix.
pub(crate) fn parse_hex(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 16 {
        return None;
    }
    let mut value = 0u64;
    for &byte in word {
        let digit = (byte as char).to_digit(16)?;
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_both_ways() {
        let spawn = || {
            std::process::Command::new("/bin/sleep")
                .arg("100")
                .spawn()
                .unwrap()
        };
        let mut born = [spawn(), spawn()];
        let me = std::process::id().cast_signed();
        let all = numbered_entries("/proc").unwrap();
        let among = children_among(me, &all);
        // Those of this thread: others of this program come and go.
        let listed = children(me, &[nix::unistd::gettid().as_raw()]).unwrap();
        for child in &mut born {
            let pid = child.id().cast_signed();
            assert!(among.contains(&pid) && listed.contains(&pid));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
