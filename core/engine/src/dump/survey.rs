//! A look at the tree while it still runs: which plugins will be needed, how much memory there is.
//!
//! Nothing here is relied upon: what changes until the freeze is only found later.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::fstatat;

use super::sightings::Sightings;
use crate::error::Result;
use crate::kinds::FileQuery;
use crate::limits;
use crate::parallel;
use crate::proc;

/// A thread is worth starting for so many processes.
const WORTH: usize = 4;

/// Descriptors of a process that are looked at. Those behind them are mostly more of the same; a plugin that is
/// needed for one of another sort is started when it is met.
const DESCRIPTORS: usize = 256;
/// Processes that are looked at, spread over the tree, for the same reason.
const PROCESSES: usize = 128;
/// Bytes of a list of mappings that are looked at, for the same reason: a few hundred mappings.
const MAPPINGS: u64 = 32 << 10;

/// Descriptors that the dump has for each process, and for itself.
const PER_PROCESS: usize = 4;
const OTHERS: usize = 512;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// All processes.
    pub(crate) pids: Vec<i32>,
    /// One query for each sort of file.
    pub(crate) queries: Vec<FileQuery<'static>>,
    /// The names of mappings that are neither files on disk nor the kernel's.
    pub(crate) mappings: HashSet<Vec<u8>>,
}

/// Looks at the tree below a process.
///
/// # Errors
/// The root does not exist. Of the others, those that end meanwhile are left out.
pub(crate) fn look(root: i32) -> Result<Survey> {
    proc::Stat::read(root)?;
    let (mut pids, mut eyes) = (Vec::new(), Vec::new());
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        pids.push(pid);
        let Ok(threads) = proc::threads(pid) else { continue };
        eyes.push(eye(&threads));
        queue.extend(proc::children(pid, &threads).unwrap_or_default());
    }
    let mut survey = Survey::default();
    let mut sorts = HashSet::new();
    let sample: Vec<i32> = eyes
        .iter()
        .copied()
        .step_by(eyes.len().div_ceil(PROCESSES).max(1))
        .collect();
    // Before there is another thread.
    limits::make_room(descriptors(&sample, eyes.len()));
    for seen in parallel::map(&sample, WORTH, |&eye| of_process(eye)) {
        for (key, query) in seen.sorts {
            if sorts.insert(key) {
                survey.queries.push(query);
            }
        }
        survey.mappings.extend(seen.mappings);
    }
    survey.pids = pids;
    Ok(survey)
}

/// The thread by which a process is looked at: the first, unless others have outlived it.
fn eye(threads: &[i32]) -> i32 {
    let first = threads.first().copied().unwrap_or_default();
    let second = threads.get(1).copied();
    second
        .filter(|_| proc::read_link(&format!("/proc/{first}/exe")).is_err())
        .unwrap_or(first)
}

/// How many descriptors the dump may have at a time, by those of a sample of so many processes: most copies are held
/// for a while.
fn descriptors(sample: &[i32], processes: usize) -> usize {
    let all: u64 = sample
        .iter()
        .map(|eye| std::fs::metadata(format!("/proc/{eye}/fd")).map_or(0, |folder| folder.len()))
        .sum();
    let all = usize::try_from(all).unwrap_or(usize::MAX);
    let all = all.saturating_mul(processes) / sample.len().max(1);
    all.min(Sightings::holdable())
        .saturating_add(processes.saturating_mul(PER_PROCESS))
        .saturating_add(OTHERS)
}

/// What tells one sort of file from another.
type Sort = (u32, u64, Vec<u8>);

/// What was seen of one process.
#[derive(Default)]
struct Seen {
    sorts: HashMap<Sort, FileQuery<'static>>,
    mappings: HashSet<Vec<u8>>,
}

fn of_process(pid: i32) -> Seen {
    let mut seen = Seen::default();
    files(pid, &mut seen.sorts);
    mapping_names(pid, &mut seen.mappings);
    seen
}

fn files(pid: i32, sorts: &mut HashMap<Sort, FileQuery<'static>>) {
    let Ok(dir) = File::open(format!("/proc/{pid}/fd")) else {
        return;
    };
    for fd in numbers(pid, &dir) {
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
        if !is_path && sorts.contains_key(&(0, 0, text.clone())) && !link.starts_with(b"socket:") {
            continue;
        }
        let Ok(stat) = fstatat(&dir, name.as_str(), AtFlags::empty()) else {
            continue;
        };
        let mode = stat.st_mode & libc::S_IFMT;
        let device = mode == libc::S_IFCHR || mode == libc::S_IFBLK;
        let rdev = if device { stat.st_rdev } else { 0 };
        let key = if is_path { (mode, rdev, text) } else { (0, 0, text) };
        sorts
            .entry(key)
            .or_insert_with(|| FileQuery::seen(pid, fd, link, mode, rdev));
    }
}

/// The numbers of the first descriptors of a process, or what they probably are.
fn numbers(pid: i32, dir: &File) -> Vec<i32> {
    // The length of the folder is their number since Linux 6.2. To list the folder makes the kernel form a file for
    // each of them.
    let count = dir.metadata().map_or(0, |folder| folder.len());
    if count > DESCRIPTORS as u64 {
        return (0..DESCRIPTORS as i32).collect();
    }
    let mut numbers = proc::descriptors(pid).unwrap_or_default();
    numbers.truncate(DESCRIPTORS);
    numbers
}

fn mapping_names(pid: i32, names: &mut HashSet<Vec<u8>>) {
    let mut buffer = Vec::with_capacity(8 << 10);
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else {
        return;
    };
    if maps.take(MAPPINGS).read_to_end(&mut buffer).is_err() {
        return;
    }
    for line in buffer.split(|&b| b == b'\n') {
        // The name is the sixth column.
        let Some(at) = line.iter().position(|&b| b == b'/' || b == b'[') else {
            continue;
        };
        let name = &line[at..];
        let special = name.ends_with(b" (deleted)") || name.starts_with(b"/[") || name.starts_with(b"/dev/");
        if special && !names.contains(name) {
            names.insert(name.to_vec());
        }
    }
}
