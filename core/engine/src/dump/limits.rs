//! The resource limits of a process.

use criu_proto::images::RlimitEntry;

use crate::error::{Context, Error, Result};
use crate::proc;

/// All limits: by prlimit(2), or as text where that is not permitted (another user's process, without
/// CAP_SYS_RESOURCE).
pub(crate) fn of(pid: i32) -> Result<Vec<RlimitEntry>> {
    (0..16u32)
        .map(|resource| {
            let mut limit = libc::rlimit64 {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: prlimit64 writes one rlimit64 to `old`, which is one; nothing is set.
            let ret = unsafe {
                libc::syscall(
                    libc::SYS_prlimit64,
                    pid,
                    resource,
                    std::ptr::null::<libc::rlimit64>(),
                    &raw mut limit,
                )
            };
            if ret == 0 {
                return Ok(RlimitEntry {
                    cur: limit.rlim_cur,
                    max: limit.rlim_max,
                });
            }
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EPERM) {
                return limit_from_text(pid, resource as usize);
            }
            Err(error).context(|| format!("reading limit {resource} of process {pid}"))
        })
        .collect()
}

/// The lines of `/proc/PID/limits`, in the order of the resource numbers.
const LIMIT_NAMES: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

fn limit_from_text(pid: i32, resource: usize) -> Result<RlimitEntry> {
    let path = format!("/proc/{pid}/limits");
    let text = proc::read(&path)?;
    let find = || {
        let text = std::str::from_utf8(&text).ok()?;
        let rest = text
            .lines()
            .find_map(|line| line.strip_prefix(LIMIT_NAMES[resource]))?;
        let mut words = rest.split_whitespace();
        let mut value = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        Some(RlimitEntry {
            cur: value()?,
            max: value()?,
        })
    };
    find().ok_or_else(|| Error::malformed(&path, format!("has no line {:?}", LIMIT_NAMES[resource])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_both_ways_agree() {
        let me = std::process::id() as i32;
        for (resource, limit) in of(me).unwrap().iter().enumerate() {
            assert_eq!(&limit_from_text(me, resource).unwrap(), limit);
        }
    }
}
