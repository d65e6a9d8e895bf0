//! Maps rings at addresses.
//!
//! mmap(2) of a ring takes no address, and mremap(2) moves none: the kernel alone chooses the place, the highest that
//! has room, as a rule. So a process maps its rings from the highest address down; where the kernel chooses another
//! place, all that could be chosen beside those of the rings are taken until the last ring is mapped.

use std::collections::{BTreeMap, HashSet};

use criu_plugin_api::message::{RemoteCall, RemoteResult};
use criu_plugin_api::{Context, Error, Host, Result};

use crate::dump::said;
use crate::ring::{number, plain};

/// Where processes have their memory (x86-64, four levels of page tables), without the lowest part, which nobody is
/// given.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 0x7fff_ffff_f000;

/// A mapping to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) protection: u32,
    pub(crate) fd: u64,
    pub(crate) offset: u64,
}

impl Wanted {
    fn range(&self) -> (u64, u64) {
        (self.start, self.start.saturating_add(self.length))
    }
}

/// A process whose rings are mapped, by both of its numbers.
#[derive(Clone, Copy)]
pub(crate) struct Process<'a> {
    pub(crate) host: &'a Host<'a>,
    pub(crate) pid: i32,
    pub(crate) host_pid: i32,
}

impl Process<'_> {
    /// Maps all of these.
    pub(crate) fn map(self, wanted: &[Wanted]) -> Result<()> {
        let mut left: BTreeMap<u64, Wanted> = wanted.iter().map(|one| (one.start, *one)).collect();
        if left.len() != wanted.len() {
            return Err(Error::new("two mappings begin at the same address: damaged"));
        }
        while let Some((&start, one)) = left.last_key_value() {
            if self.choose(one)? != start {
                let holes = self.holes(&left)?;
                return self.while_taken(&holes, || self.map_between(left));
            }
            left.remove(&start);
        }
        Ok(())
    }

    /// Maps these when nothing else is free. Below a certain address the kernel chooses the highest place, then the
    /// lowest above it: where that is shows by what it chooses.
    fn map_between(self, mut left: BTreeMap<u64, Wanted>) -> Result<()> {
        let mut next = left.last_key_value().map(|(_, one)| *one);
        while let Some(one) = next {
            let mut at = self.choose(&one)?;
            let mut done = one;
            if at != one.start
                && let Some(other) = chosen(&left, at, one.length)
            {
                done = other;
                at = self.choose(&other)?;
            }
            if at != done.start {
                done = one;
                self.map_alone(&one, &left)?;
            }
            left.remove(&done.start);
            let below = left.range(..done.start).next_back();
            next = below.or_else(|| left.first_key_value()).map(|(_, one)| *one);
        }
        Ok(())
    }

    /// Maps one when not even the places of the others are free.
    fn map_alone(self, one: &Wanted, left: &BTreeMap<u64, Wanted>) -> Result<()> {
        let others: Vec<(u64, u64)> = left
            .values()
            .filter(|other| other.start != one.start)
            .map(Wanted::range)
            .collect();
        self.while_taken(&others, || {
            if self.choose(one)? == one.start {
                return Ok(());
            }
            Err(Error::new(format!("the kernel puts {:#x} elsewhere", one.start)))
        })
    }

    /// Does something while nothing can be put into these holes.
    fn while_taken(self, holes: &[(u64, u64)], act: impl FnOnce() -> Result<()>) -> Result<()> {
        let close: Vec<RemoteCall> = holes.iter().map(|&hole| self.take(hole)).collect();
        let closed = self.host.remote_calls(&close)?;
        let done = all_taken(holes, &closed).and_then(|()| act());
        let open: Vec<RemoteCall> = holes
            .iter()
            .zip(&closed)
            .filter(|(_, result)| result.value >= 0)
            .map(|(hole, _)| plain(self.pid, libc::SYS_munmap, &[hole.0, hole.1 - hole.0]))
            .collect();
        let opened = self.host.remote_calls(&open)?;
        done?;
        match opened.iter().find(|result| result.value < 0) {
            None => Ok(()),
            Some(result) => Err(Error::new(format!("giving a hole back: {}", said(result.value)))),
        }
    }

    /// Where the kernel puts it; it stays there if that is the right place.
    fn choose(self, wanted: &Wanted) -> Result<u64> {
        let flags = number(libc::MAP_SHARED | libc::MAP_POPULATE);
        let args = [
            0,
            wanted.length,
            wanted.protection.into(),
            flags,
            wanted.fd,
            wanted.offset,
        ];
        let result = self.host.remote_syscall(self.pid, libc::SYS_mmap, &args)?;
        let at = u64::try_from(result)
            .map_err(|_| Error::new(format!("mmap for {:#x}: {}", wanted.start, said(result))))?;
        if at == wanted.start {
            return Ok(at);
        }
        let args = [at, wanted.length];
        let result = self.host.remote_syscall(self.pid, libc::SYS_munmap, &args)?;
        if result < 0 {
            return Err(Error::new(format!("munmap: {}", said(result))));
        }
        Ok(at)
    }

    fn take(self, hole: (u64, u64)) -> RemoteCall {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        let args = [hole.0, hole.1 - hole.0, 0, number(flags), u64::MAX, 0];
        plain(self.pid, libc::SYS_mmap, &args)
    }

    /// The free ranges that have room for one of these, but for their own places.
    fn holes(self, wanted: &BTreeMap<u64, Wanted>) -> Result<Vec<(u64, u64)>> {
        let path = format!("/proc/{}/maps", self.host_pid);
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
        Ok(between(taken, wanted.values()))
    }
}

/// Whose place it is that the kernel has chosen for a length: it begins at its beginning, or ends at its end.
fn chosen(left: &BTreeMap<u64, Wanted>, at: u64, length: u64) -> Option<Wanted> {
    let begins = left.get(&at);
    let end = at.checked_add(length)?;
    let ends = || {
        let below = left.range(..end).next_back();
        below.map(|(_, one)| one).filter(|one| one.range().1 == end)
    };
    begins.or_else(ends).copied()
}

/// Whether all holes could be closed.
fn all_taken(holes: &[(u64, u64)], closed: &[RemoteResult]) -> Result<()> {
    if closed.len() != holes.len() {
        return Err(Error::new("the host gave too few results"));
    }
    let mut results = holes.iter().zip(closed);
    match results.find(|(_, result)| result.value < 0) {
        None => Ok(()),
        Some((hole, result)) => {
            let error = format!(
                "taking {:#x}-{:#x} for a moment: {}",
                hole.0,
                hole.1,
                said(result.value)
            );
            Err(Error::new(error).with_remedy("a limit on its address space may be in the way (RLIMIT_AS)"))
        }
    }
}

/// What is free between ranges and wanted places, if it has room for one of those, or touches one and makes room with
/// it.
fn between<'a>(
    mut taken: Vec<(u64, u64)>,
    wanted: impl Iterator<Item = &'a Wanted> + Clone,
) -> Vec<(u64, u64)> {
    let Some(least) = wanted.clone().map(|one| one.length).min() else {
        return Vec::new();
    };
    let places: HashSet<(u64, u64)> = wanted.map(Wanted::range).collect();
    taken.extend(&places);
    taken.sort_unstable();
    let mut free = Vec::new();
    let mut from = LOWEST;
    let mut behind_place = false;
    for &(begin, end) in taken.iter().chain([&(HIGHEST, u64::MAX)]) {
        let to = begin.min(HIGHEST);
        let touches = behind_place || places.contains(&(begin, end));
        if to > from && (to - from >= least || touches) {
            free.push((from, to));
        }
        if end > from {
            from = end;
            behind_place = places.contains(&(begin, end));
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: u64, length: u64) -> Wanted {
        Wanted {
            start,
            length,
            protection: 0,
            fd: 0,
            offset: 0,
        }
    }

    #[test]
    fn holes_have_room() {
        let taken = [
            (0x40_0000, 0x50_0000),
            (0x50_1000, 0x60_0000),
            (0x60_5000, 0x60_6000),
            (HIGHEST - 0x1000, HIGHEST),
            (0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000),
        ];
        let wanted = place(0x60_1000, 0x2000);
        let expected = [
            (LOWEST, 0x40_0000),
            (0x60_0000, 0x60_1000),
            (0x60_3000, 0x60_5000),
            (0x60_6000, HIGHEST - 0x1000),
        ];
        assert_eq!(between(taken.to_vec(), [wanted].iter()), expected);
        // The least of them decides.
        let wanted = [wanted, place(0x60_4000, 0x1000)];
        let expected = [
            (LOWEST, 0x40_0000),
            (0x50_0000, 0x50_1000),
            (0x60_0000, 0x60_1000),
            (0x60_3000, 0x60_4000),
            (0x60_6000, HIGHEST - 0x1000),
        ];
        assert_eq!(between(taken.to_vec(), wanted.iter()), expected);
        // Two pages at 0x4fe000, and the only page behind them.
        let taken = vec![(0x50_1000, HIGHEST)];
        let expected = [(LOWEST, 0x4f_e000), (0x50_0000, 0x50_1000)];
        assert_eq!(between(taken, [place(0x4f_e000, 0x2000)].iter()), expected);
        assert!(between(vec![(0, u64::MAX)], [place(0, 1)].iter()).is_empty());
        assert!(between(Vec::new(), [].iter()).is_empty());
    }

    /// A process whose free places are given, with a kernel that chooses as Linux does: the highest place below an
    /// address, or else the lowest at all.
    fn kernel(free: Vec<(u64, u64)>, base: u64) -> impl FnMut(&RemoteCall) -> i64 {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        move |call: &RemoteCall| {
            let value = |at: usize| call.args.get(at).map_or(0, |arg| arg.value);
            let (start, length) = (value(0), value(1));
            if call.nr == libc::SYS_munmap {
                let before = taken.len();
                taken.retain(|range| *range != (start, start + length));
                return if taken.len() < before {
                    0
                } else {
                    -i64::from(libc::EINVAL)
                };
            }
            let fits = |at: u64| {
                let inside = free.iter().any(|hole| hole.0 <= at && at + length <= hole.1);
                inside && taken.iter().all(|range| at + length <= range.0 || range.1 <= at)
            };
            let pages = || (0x100..0x140).map(|page| page * 0x1000);
            let place = match start {
                0 => pages()
                    .rev()
                    .find(|&at| at + length <= base && fits(at))
                    .or_else(|| pages().find(|&at| fits(at))),
                start => fits(start).then_some(start),
            };
            let Some(place) = place else {
                return -i64::from(libc::ENOMEM);
            };
            taken.push((place, place + length));
            i64::try_from(place).unwrap_or(-1)
        }
    }

    #[test]
    fn all_come_to_their_places() {
        let wanted = |places: &[(u64, u64)]| -> Vec<Wanted> {
            places
                .iter()
                .map(|&(start, length)| place(start, length))
                .collect()
        };
        let cases = [
            wanted(&[(0x10_a000, 0x1000), (0x10_b000, 0x1000), (0x10_c000, 0x1000)]),
            wanted(&[(0x10_a000, 0x2000), (0x10_c000, 0x1000), (0x10_d000, 0x3000)]),
            wanted(&[
                (0x10_a000, 0x3000),
                (0x11_4000, 0x1000),
                (0x11_6000, 0x2000),
                (0x11_8000, 0x1000),
            ]),
        ];
        let free = vec![
            (0x10_5000, 0x10_6000),
            (0x10_8000, 0x11_a000),
            (0x12_0000, 0x12_4000),
        ];
        for wanted in cases {
            for base in [
                0, 0x10_7000, 0x10_b000, 0x10_c000, 0x11_6000, 0x11_8000, 0x13_0000,
            ] {
                let holes = between(complement(&free), wanted.iter());
                let mut kernel = kernel(free.clone(), base);
                for hole in &holes {
                    let args = [hole.0, hole.1 - hole.0];
                    assert!(kernel(&plain(1, libc::SYS_mmap, &args)) >= 0, "{hole:x?}");
                }
                let kernel = std::cell::RefCell::new(kernel);
                let mut host = criu_plugin_api::testing::MockHost::new();
                host.remote = Some(Box::new(move |call: &RemoteCall| {
                    Ok(RemoteResult {
                        value: (kernel.borrow_mut())(call),
                        ..RemoteResult::default()
                    })
                }));
                let process = Process {
                    host: &Host::new(&host, "io_uring"),
                    pid: 1,
                    host_pid: 1,
                };
                let left = wanted.iter().map(|one| (one.start, *one)).collect();
                process
                    .map_between(left)
                    .unwrap_or_else(|error| panic!("{base:#x}: {error}"));
            }
        }
    }

    fn complement(free: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut from = 0;
        let mut taken = Vec::new();
        for hole in free {
            taken.push((from, hole.0));
            from = hole.1;
        }
        taken.push((from, u64::MAX));
        taken
    }
}
