//! Resource limits that leave no room for the parasite.

use crate::error::Result;

/// What limits the size of memory, see getrlimit(2).
const LIMITS: [(libc::__rlimit_resource_t, &str); 2] =
    [(libc::RLIMIT_AS, "RLIMIT_AS"), (libc::RLIMIT_DATA, "RLIMIT_DATA")];

/// Limits of a process that have been lifted. Dropping it puts them back: they only matter while memory is mapped.
#[derive(Debug)]
pub(crate) struct Lifted {
    pid: i32,
    before: Vec<(libc::__rlimit_resource_t, libc::rlimit64)>,
    /// Those that are set, for messages.
    pub(crate) names: Vec<&'static str>,
}

/// Lifts the limits on the memory of a process, as far as this one may.
pub(crate) fn lift(pid: i32) -> Lifted {
    let mut lifted = Lifted {
        pid,
        before: Vec::new(),
        names: Vec::new(),
    };
    for (resource, name) in LIMITS {
        let Some(limit) = exchange(pid, resource, None) else {
            continue;
        };
        if limit.rlim_cur == libc::RLIM64_INFINITY {
            continue;
        }
        lifted.names.push(name);
        // Beyond the hard limit only with CAP_SYS_RESOURCE.
        let none = libc::rlimit64 {
            rlim_cur: libc::RLIM64_INFINITY,
            rlim_max: libc::RLIM64_INFINITY,
        };
        let most = libc::rlimit64 {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        if exchange(pid, resource, Some(none))
            .or_else(|| exchange(pid, resource, Some(most)))
            .is_some()
        {
            lifted.before.push((resource, limit));
        }
    }
    lifted
}

impl Drop for Lifted {
    fn drop(&mut self) {
        for &(resource, limit) in &self.before {
            exchange(self.pid, resource, Some(limit));
        }
    }
}

/// Sets a limit of a process and returns the former one.
fn exchange(
    pid: i32,
    resource: libc::__rlimit_resource_t,
    limit: Option<libc::rlimit64>,
) -> Option<libc::rlimit64> {
    let mut before = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both point at one limit that outlives the call; the new one may be missing.
    let done = unsafe { libc::prlimit64(pid, resource, new, &raw mut before) };
    (done == 0).then_some(before)
}

/// Calls `map`, which maps memory in a process; again with its limits lifted if it reports that there is no room.
pub(crate) fn with_room(pid: i32, mut map: impl FnMut() -> Result<i64>) -> Result<(i64, Vec<&'static str>)> {
    let got = map()?;
    if got != -i64::from(libc::ENOMEM) {
        return Ok((got, Vec::new()));
    }
    let lifted = lift(pid);
    if lifted.before.is_empty() {
        return Ok((got, lifted.names.clone()));
    }
    let got = map()?;
    Ok((got, lifted.names.clone()))
}
