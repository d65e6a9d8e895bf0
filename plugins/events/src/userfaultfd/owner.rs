//! Whose memory a userfaultfd watches, and which of them a range is registered with; see the module above.

use std::os::fd::OwnedFd;

use criu_plugin_api::message::{RemoteArg, RemoteCall, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Result};
use nix::errno::Errno;

use super::{PAGE, sys};

/// What came of the search for the memory that a userfaultfd watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// That of this process of the tree.
    Task(i32),
    /// That of a process that has ended.
    Gone,
    /// That of a process that is not of the tree.
    Outside,
}

/// Finds out for each of these, all of which have agreed on their features.
pub(super) fn find(host: &Host<'_>, tasks: &[TaskInfo], fds: &[&OwnedFd]) -> Result<Vec<Owner>> {
    let mut owners: Vec<Option<Owner>> = vec![None; fds.len()];
    if fds.is_empty() {
        return Ok(Vec::new());
    }
    let page = free_page(tasks)?;
    for (fd, owner) in fds.iter().zip(&mut owners) {
        *owner = match sys::unregister(fd, page, page + PAGE) {
            Err(Errno::EINVAL) => None,
            Err(Errno::ENOMEM | Errno::ESRCH) => Some(Owner::Gone),
            // Something is there in the memory that it watches, and in no process of the tree.
            Ok(()) => Some(Owner::Outside),
            Err(errno) => return Err(errno).context(|| "UFFDIO_UNREGISTER of a page that is not there"),
        };
    }
    for task in tasks {
        if owners.iter().all(Option::is_some) {
            break;
        }
        let with_page = WithPage::map(host, task.pid, page)?;
        for (fd, owner) in fds.iter().zip(&mut owners).filter(|(_, owner)| owner.is_none()) {
            match sys::unregister(fd, page, page + PAGE) {
                Ok(()) => *owner = Some(Owner::Task(task.pid)),
                Err(Errno::EINVAL) => {}
                Err(errno) => {
                    return Err(errno).context(|| format!("UFFDIO_UNREGISTER of a page of pid {}", task.pid));
                }
            }
        }
        with_page.unmap()?;
    }
    let outside = |owner: Option<Owner>| owner.unwrap_or(Owner::Outside);
    Ok(owners.into_iter().map(outside).collect())
}

/// Whether a range is registered with this userfaultfd, which watches the memory it is in.
pub(super) fn is_registered(fd: &OwnedFd, start: u64, end: u64, modes: u32) -> nix::Result<bool> {
    match sys::register(fd, start, end, modes) {
        Ok(()) => Ok(true),
        Err(Errno::EBUSY) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A process with a page that it cannot touch.
struct WithPage<'a> {
    host: &'a Host<'a>,
    pid: i32,
    page: u64,
}

impl<'a> WithPage<'a> {
    fn map(host: &'a Host<'a>, pid: i32, page: u64) -> Result<Self> {
        let value = |value| RemoteArg {
            value,
            ..RemoteArg::default()
        };
        host.undo_on_death(&RemoteCall {
            pid,
            nr: libc::SYS_munmap,
            args: vec![value(page), value(PAGE)],
        })?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args = [
            page,
            PAGE,
            libc::PROT_NONE.cast_unsigned().into(),
            flags.cast_unsigned().into(),
            u64::MAX,
            0,
        ];
        let at = host.remote_syscall(pid, libc::SYS_mmap, &args)?;
        if u64::try_from(at) == Ok(page) {
            return Ok(Self { host, pid, page });
        }
        let error = failed(at).map_or("it was mapped elsewhere", Errno::desc);
        Err(Error::new(format!(
            "mapping a page in pid {pid} at {page:#x}, to ask whose memory a userfaultfd watches: {error}"
        )))
    }

    fn unmap(self) -> Result<()> {
        let args = [self.page, PAGE];
        let result = self.host.remote_syscall(self.pid, libc::SYS_munmap, &args)?;
        failed(result).map_or(Ok(()), |errno| {
            Err(errno).context(|| format!("unmapping the page at {:#x} of pid {}", self.page, self.pid))
        })
    }
}

/// The errno of a call that failed.
pub(super) fn failed(result: i64) -> Option<Errno> {
    (result < 0).then(|| i32::try_from(-result).map_or(Errno::UnknownErrno, Errno::from_raw))
}

/// The middle of the largest hole that the mappings of all these tasks leave.
fn free_page(tasks: &[TaskInfo]) -> Result<u64> {
    let mut used = Vec::new();
    for task in tasks {
        let path = format!("/proc/{}/maps", task.host_pid);
        let text = std::fs::read(&path).context(|| format!("reading {path}"))?;
        used.extend(String::from_utf8_lossy(&text).lines().filter_map(range_of));
    }
    let (start, end) = largest_hole(used);
    if end - start < 3 * PAGE {
        return Err(Error::new(
            "there is no address at which no process of the tree has anything",
        ));
    }
    Ok((start + (end - start) / 2) / PAGE * PAGE)
}

/// The addresses at the begin of a line of `/proc/PID/maps`.
fn range_of(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

/// Between these ranges, and not below the place for what must not be mapped or above the highest of them.
pub(super) fn largest_hole(mut used: Vec<(u64, u64)>) -> (u64, u64) {
    const LOWEST: u64 = 1 << 20;
    /// The kernel's half begins here; `[vsyscall]` lies there.
    const HALF: u64 = 1 << 63;
    used.retain(|&(start, _)| start < HALF);
    used.sort_unstable();
    let (mut at, mut largest) = (LOWEST, (0, 0));
    for (start, end) in used {
        if start > at && start - at > largest.1 - largest.0 {
            largest = (at, start);
        }
        at = at.max(end);
    }
    largest
}
