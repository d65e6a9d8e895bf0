//! How long it takes to bring a fresh ring to the positions of another: they are reached by requests alone.

use criu_plugin_api::{Host, Result};

use crate::entry::RingEntry;
use crate::fdinfo::FdInfo;
use crate::probe::Found;
use crate::ring::refuse;

/// Seconds, by measurement: for a request, for a call of this process, and for one in a thread of the tree.
const REQUEST: f64 = 0.1e-6;
const CALL: f64 = 0.5e-6;
const REMOTE_CALL: f64 = 40e-6;
/// What is allowed by default.
pub(crate) const LONGEST: u32 = 120;

/// How far a ring has come.
#[derive(Debug, Clone, Copy)]
struct Way {
    sq_head: u32,
    cq_tail: u32,
    /// The lesser of its sizes.
    entries: u32,
    /// Whether a thread of the tree has to make the calls.
    remote: bool,
}

impl Way {
    fn of(entry: &RingEntry) -> Self {
        Self {
            sq_head: entry.sq_head,
            cq_tail: entry.cq_tail,
            entries: entry.sq_entries.min(entry.cq_entries),
            remote: entry.issuer != 0,
        }
    }

    /// The requests that have to be made. Both positions are counted modulo 2^32.
    fn requests(self) -> u64 {
        u64::from(self.sq_head.wrapping_sub(self.cq_tail)) + u64::from(self.cq_tail)
    }

    fn calls(self) -> u64 {
        self.requests().div_ceil(self.entries.max(1).into())
    }

    fn seconds(self) -> f64 {
        self.requests() as f64 * REQUEST + self.calls() as f64 * if self.remote { REMOTE_CALL } else { CALL }
    }

    fn check(self, host: &Host<'_>) -> Result<()> {
        let longest: u32 = host.option_number("longest")?.unwrap_or(LONGEST);
        let seconds = self.seconds();
        if seconds <= f64::from(longest) {
            return Ok(());
        }
        Err(refuse(
            format!(
                "it has had {} requests (modulo 2^32), and as many have to be made to restore it, which would take \
                 about {seconds:.0} seconds",
                self.requests()
            ),
            format!(
                "allow more with --plugin-option io_uring.longest={}",
                seconds.ceil() as u64 + 1
            ),
        ))
    }
}

/// Refuses a ring that would take too long, at the dump.
pub(crate) fn check(host: &Host<'_>, found: &Found, info: &FdInfo) -> Result<()> {
    let way = Way {
        sq_head: info.cached_sq_head,
        cq_tail: info.cached_cq_tail,
        entries: info.sq_entries.min(info.cq_entries),
        remote: found.issuer.is_some(),
    };
    way.check(host)
}

/// The same, at the restore.
pub(crate) fn check_entry(host: &Host<'_>, entry: &RingEntry) -> Result<()> {
    Way::of(entry).check(host)
}

/// How many calls a thread of the tree has to make for it.
pub(crate) fn remote_calls(entry: &RingEntry) -> u64 {
    let way = Way::of(entry);
    if way.remote { way.calls() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_takes_long() {
        let way = |requests, remote| Way {
            sq_head: requests,
            cq_tail: requests,
            entries: 8,
            remote,
        };
        assert!(way(0, true).seconds() < 1e-9);
        assert!(way(1_000_000, false).seconds() < 0.5);
        assert!(way(1_000_000, true).seconds() > 2.0);
        assert!(way(u32::MAX, false).seconds() > 120.0);
        let wrapped = Way {
            sq_head: 3,
            ..way(u32::MAX, false)
        };
        assert_eq!(wrapped.requests(), (1 << 32) + 3);
    }
}
