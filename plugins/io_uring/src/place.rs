//! Maps a ring at an address.
//!
//! mmap(2) of a ring takes no address, and mremap(2) moves none: the kernel alone chooses the place. So all places that
//! it could choose instead are taken for a moment.

use criu_plugin_api::message::RemoteCall;
use criu_plugin_api::{Context, Error, Host, Result};

use crate::dump::said;
use crate::ring::{number, plain};

/// Where processes have their memory (x86-64, four levels of page tables), without the lowest part, which nobody is
/// given.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 0x7fff_ffff_f000;

/// A mapping to be made.
pub(crate) struct Wanted {
    /// The process, by both of its numbers.
    pub(crate) pid: i32,
    pub(crate) host_pid: i32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) protection: u32,
    pub(crate) fd: u64,
    pub(crate) offset: u64,
}

impl Wanted {
    pub(crate) fn map(&self, host: &Host<'_>) -> Result<()> {
        if self.try_with(host, &[])? {
            return Ok(());
        }
        let holes = holes(self.host_pid, self.start, self.length)?;
        // The kernel looks from above, as a rule.
        let above = holes.partition_point(|hole| hole.0 < self.start);
        if self.try_with(host, &holes[above..])? || self.try_with(host, &holes)? {
            return Ok(());
        }
        Err(Error::new("the kernel puts it elsewhere"))
    }

    /// Lets the kernel choose while these holes are closed; whether it has chosen the right place.
    fn try_with(&self, host: &Host<'_>, holes: &[(u64, u64)]) -> Result<bool> {
        let close: Vec<RemoteCall> = holes.iter().map(|&hole| self.take(hole)).collect();
        let closed = host.remote_calls(&close)?;
        let failed = closed.iter().position(|result| result.value < 0);
        let mapped = match failed.and_then(|at| Some((holes.get(at)?, closed.get(at)?))) {
            None => self.choose(host),
            Some((hole, result)) => {
                let error = format!(
                    "taking {:#x}-{:#x} for a moment: {}",
                    hole.0,
                    hole.1,
                    said(result.value)
                );
                Err(Error::new(error)
                    .with_remedy("a limit on its address space may be in the way (RLIMIT_AS)"))
            }
        };
        let open: Vec<RemoteCall> = holes
            .iter()
            .zip(&closed)
            .filter(|(_, result)| result.value >= 0)
            .map(|(hole, _)| plain(self.pid, libc::SYS_munmap, &[hole.0, hole.1 - hole.0]))
            .collect();
        for result in host.remote_calls(&open)? {
            if result.value < 0 {
                return Err(Error::new(format!("giving a hole back: {}", said(result.value))));
            }
        }
        let at = mapped?;
        if at == self.start {
            return Ok(true);
        }
        let result = host.remote_syscall(self.pid, libc::SYS_munmap, &[at, self.length])?;
        if result < 0 {
            return Err(Error::new(format!("munmap: {}", said(result))));
        }
        Ok(false)
    }

    fn choose(&self, host: &Host<'_>) -> Result<u64> {
        let flags = number(libc::MAP_SHARED | libc::MAP_POPULATE);
        let args = [
            0,
            self.length,
            self.protection.into(),
            flags,
            self.fd,
            self.offset,
        ];
        let result = host.remote_syscall(self.pid, libc::SYS_mmap, &args)?;
        u64::try_from(result).map_err(|_| Error::new(format!("mmap: {}", said(result))))
    }

    fn take(&self, hole: (u64, u64)) -> RemoteCall {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        let args = [hole.0, hole.1 - hole.0, 0, number(flags), u64::MAX, 0];
        plain(self.pid, libc::SYS_mmap, &args)
    }
}

/// The free ranges that have room for a length, but for the place at `start` itself.
fn holes(pid: i32, start: u64, length: u64) -> Result<Vec<(u64, u64)>> {
    let path = format!("/proc/{pid}/maps");
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    let mut taken = Vec::new();
    for line in text.lines() {
        let range = line.split(' ').next().and_then(|range| {
            let (from, to) = range.split_once('-')?;
            Some((
                u64::from_str_radix(from, 16).ok()?,
                u64::from_str_radix(to, 16).ok()?,
            ))
        });
        taken.push(range.ok_or_else(|| Error::new(format!("{path}: `{line}` is no mapping")))?);
    }
    taken.push((start, start.saturating_add(length)));
    taken.sort_unstable();
    Ok(between(&taken, start, length))
}

/// What is free between ranges in order, if it has room, or touches what begins at `start` and makes room with it.
fn between(taken: &[(u64, u64)], start: u64, length: u64) -> Vec<(u64, u64)> {
    let mut free = Vec::new();
    let mut from = LOWEST;
    for &(begin, end) in taken.iter().chain([&(HIGHEST, u64::MAX)]) {
        let to = begin.min(HIGHEST);
        let touches = to == start || Some(from) == start.checked_add(length);
        if to > from && (to - from >= length || touches) {
            free.push((from, to));
        }
        from = from.max(end);
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_have_room() {
        let taken = [
            (0x40_0000, 0x50_0000),
            (0x50_1000, 0x60_0000),
            (0x60_3000, 0x60_4000),
            (HIGHEST - 0x1000, HIGHEST),
            (0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000),
        ];
        let expected = [
            (LOWEST, 0x40_0000),
            (0x60_0000, 0x60_3000),
            (0x60_4000, HIGHEST - 0x1000),
        ];
        assert_eq!(between(&taken, 0, 0x2000), expected);
        // Two pages at 0x4fe000, and the only page behind them.
        let beside = [(0x4f_e000, 0x50_0000), (0x50_1000, HIGHEST)];
        assert_eq!(
            between(&beside, 0x4f_e000, 0x2000),
            [(LOWEST, 0x4f_e000), (0x50_0000, 0x50_1000)]
        );
        assert_eq!(between(&[], 0, 1), [(LOWEST, HIGHEST)]);
        assert!(between(&[(0, u64::MAX)], 0, 1).is_empty());
    }
}
