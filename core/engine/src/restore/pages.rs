//! The contents of memory: read straight into place, in long calls, from several threads when there is
//! much; what the parent has passed on is compared first, so that it stays shared.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use criu_images::{Run, Source};
use nix::errno::Errno;

use super::memory::World;
use super::sys;
use super::vma::PAGE;
use crate::error::{Context, Error, Result};
use crate::parallel;

/// Most ranges of one call.
const MAX_RANGES: usize = 1024;
/// Most bytes of one call: the unit of work of a thread.
const BATCH: u64 = 4 << 20;
/// A thread is worth starting for so many bytes.
const PARALLEL: u64 = 4 << 20;
/// Ranges from this length on are populated by one call before they are read into.
const POPULATE: u64 = 64 << 10;
/// Bytes compared at a time.
const COMPARE: usize = 256 << 10;

/// What was done, in pages.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) compared: u64,
    pub(crate) shared: u64,
    pub(crate) restored: u64,
}

impl Counts {
    /// Adds other counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.shared += other.shared;
        self.restored += other.restored;
    }
}

/// A part of a run within one mapping.
struct Part {
    /// Index of the mapping.
    placed: usize,
    address: u64,
    length: u64,
    level: usize,
    offset: u64,
}

/// One call: consecutive bytes of a file into several ranges.
struct Batch {
    level: usize,
    offset: u64,
    length: u64,
    ranges: Vec<(u64, u64)>,
}

/// Fills all mappings that `wanted` selects and that are not filled yet.
///
/// `files` are the pages files by level; `before` is what the parent had, for mappings it passed on.
pub(crate) fn fill(
    world: &mut World,
    wanted: impl Fn(&super::memory::Placed) -> bool,
    runs: &[Run],
    files: &[RawFd],
    before: &[Run],
    threads: bool,
) -> Result<Counts> {
    world.sort();
    let selected: Vec<bool> = world
        .placed
        .iter()
        .map(|placed| !placed.filled && placed.vma.private() && wanted(placed))
        .collect();
    let parts = cut(world, &selected, runs)?;
    open_up(world, &parts)?;
    let mut counts = Counts::default();
    drop_surplus(world, &selected, runs, before)?;
    let mut fresh = Vec::new();
    for part in &parts {
        if world.placed[part.placed].inherited {
            compare(world, part, files, &mut counts)?;
        } else {
            push(&mut fresh, world.placed[part.placed].now(part.address), part);
        }
    }
    counts.restored += fresh.iter().map(|batch| batch.length / PAGE).sum::<u64>();
    read_all(&fresh, files, threads)?;
    for (placed, _) in world
        .placed
        .iter_mut()
        .zip(selected)
        .filter(|(_, selected)| *selected)
    {
        placed.filled = true;
    }
    Ok(counts)
}

/// Cuts the runs at the borders of the selected mappings.
fn cut(world: &World, selected: &[bool], runs: &[Run]) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut index = 0;
    for run in runs {
        let Source::File(extent) = run.source else {
            return Err(Error::refused(
                format!("the pages at {:#x}", run.vaddr),
                "are in no file",
            ));
        };
        while world
            .placed
            .get(index)
            .is_some_and(|placed| placed.vma.end <= run.vaddr)
        {
            index += 1;
        }
        let mut i = index;
        while let Some(placed) = world.placed.get(i).filter(|placed| placed.vma.start < run.end()) {
            let (start, end) = (run.vaddr.max(placed.vma.start), run.end().min(placed.vma.end));
            if selected[i] {
                parts.push(Part {
                    placed: i,
                    address: start,
                    length: end - start,
                    level: extent.level,
                    offset: extent.offset + (start - run.vaddr),
                });
            }
            i += 1;
        }
    }
    Ok(parts)
}

/// Makes writable what will be written.
fn open_up(world: &mut World, parts: &[Part]) -> Result<()> {
    for same in parts.chunk_by(|a, b| a.placed == b.placed) {
        if let [first, .., last] | [first @ last] = same {
            world.placed[first.placed].open_up(first.address, last.address + last.length)?;
        }
    }
    Ok(())
}

/// Adds a part to the batches.
fn push(batches: &mut Vec<Batch>, at: u64, part: &Part) {
    let mut done = 0;
    while done < part.length {
        let offset = part.offset + done;
        let goes_on = batches.last().is_some_and(|last| {
            last.level == part.level
                && last.offset + last.length == offset
                && last.length < BATCH
                && last.ranges.len() < MAX_RANGES
        });
        if !goes_on {
            batches.push(Batch {
                level: part.level,
                offset,
                length: 0,
                ranges: Vec::new(),
            });
        }
        let Some(last) = batches.last_mut() else { return };
        let length = (part.length - done).min(BATCH - last.length);
        match last.ranges.last_mut() {
            Some((start, before)) if *start + *before == at + done => *before += length,
            _ => last.ranges.push((at + done, length)),
        }
        last.length += length;
        done += length;
    }
}

fn read_all(batches: &[Batch], files: &[RawFd], threads: bool) -> Result<()> {
    let total: u64 = batches.iter().map(|batch| batch.length).sum();
    let worth = usize::try_from(total / PARALLEL).unwrap_or(usize::MAX);
    let threads = if threads {
        parallel::threads().min(worth)
    } else {
        1
    };
    if threads <= 1 {
        return batches.iter().try_for_each(|batch| read(batch, files));
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            read(batch, files)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Without another thread this one does it all.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut result = work();
        for other in others {
            let panicked = |_| Err(Error::Task("a thread that fills memory panicked".into()));
            result = result.and(other.join().unwrap_or_else(panicked));
        }
        result
    })
}

fn read(batch: &Batch, files: &[RawFd]) -> Result<()> {
    let doing = || format!("reading pages for {:#x}", batch.ranges.first().map_or(0, |r| r.0));
    let fd = file(files, batch.level)?;
    for &(at, length) in batch.ranges.iter().filter(|range| range.1 >= POPULATE) {
        // Before Linux 5.14 the pages are faulted in by the read itself.
        match sys::advise(at, length, libc::MADV_POPULATE_WRITE) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno).context(doing),
        }
    }
    let mut vectors: Vec<libc::iovec> = batch
        .ranges
        .iter()
        .map(|&(at, length)| libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: length as usize,
        })
        .collect();
    let (mut first, mut offset) = (0, batch.offset);
    while first < vectors.len() {
        let mut got = sys::fill(fd, offset, &vectors[first..]).context(doing)?;
        if got == 0 {
            return Err(Error::malformed(
                "a pages file",
                format!("ended at byte {offset} while it was being read"),
            ));
        }
        offset += got as u64;
        while let Some(vector) = vectors.get_mut(first).filter(|_| got > 0) {
            let step = got.min(vector.iov_len);
            vector.iov_base = vector.iov_base.wrapping_byte_add(step);
            vector.iov_len -= step;
            got -= step;
            if vector.iov_len == 0 {
                first += 1;
            }
        }
    }
    Ok(())
}

fn file(files: &[RawFd], level: usize) -> Result<RawFd> {
    let missing = || Error::malformed("the pagemap", "refers to a pages file that is not there");
    files
        .get(level)
        .copied()
        .filter(|&fd| fd >= 0)
        .ok_or_else(missing)
}

/// Reads bytes of a pages file.
pub(crate) fn read_bytes(files: &[RawFd], level: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let read = sys::fill(file(files, level)?, offset, &[vector]).context(|| "reading a pages file")?;
    if read < buffer.len() {
        return Err(Error::malformed("a pages file", "ended while it was being read"));
    }
    Ok(())
}

/// Writes only those pages that differ from what the parent passed on.
fn compare(world: &World, part: &Part, files: &[RawFd], counts: &mut Counts) -> Result<()> {
    let at = world.placed[part.placed].now(part.address);
    let mut buffer = vec![0u8; COMPARE.min(part.length as usize)];
    let mut done = 0;
    while done < part.length {
        let length = ((part.length - done) as usize).min(buffer.len());
        let chunk = &mut buffer[..length];
        read_bytes(files, part.level, part.offset + done, chunk)?;
        for (i, page) in chunk.chunks_exact(PAGE as usize).enumerate() {
            let place = at + done + i as u64 * PAGE;
            counts.compared += 1;
            if sys::bytes_at(place, PAGE as usize) == page {
                counts.shared += 1;
            } else {
                sys::write_at(place, page);
                counts.restored += 1;
            }
        }
        done += length as u64;
    }
    Ok(())
}

/// Takes pages that the parent has and this process has not out of what the parent passed on.
fn drop_surplus(world: &World, selected: &[bool], runs: &[Run], before: &[Run]) -> Result<()> {
    let inherited = world
        .placed
        .iter()
        .zip(selected)
        .filter(|(placed, selected)| **selected && placed.inherited);
    for (placed, _) in inherited {
        let (start, end) = (placed.vma.start, placed.vma.end);
        for (from, to) in difference(within(before, start, end), within(runs, start, end)) {
            sys::advise(placed.now(from), to - from, libc::MADV_DONTNEED)
                .context(|| format!("dropping the parent's pages at {from:#x}"))?;
        }
    }
    Ok(())
}

/// The parts of runs within a range.
fn within(runs: &[Run], start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let first = runs.partition_point(|run| run.end() <= start);
    runs[first..]
        .iter()
        .take_while(move |run| run.vaddr < end)
        .map(move |run| (run.vaddr.max(start), run.end().min(end)))
}

/// Whether a range is covered by runs.
pub(crate) fn covered(runs: &[Run], start: u64, end: u64) -> bool {
    difference(std::iter::once((start, end)), within(runs, start, end)).is_empty()
}

/// What is in `a` and not in `b`; both ascending.
fn difference(a: impl Iterator<Item = (u64, u64)>, b: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut b = b.peekable();
    let mut out = Vec::new();
    for (mut start, end) in a {
        while start < end {
            while b.next_if(|&(_, to)| to <= start).is_some() {}
            match b.peek() {
                Some(&(from, _)) if from > start => {
                    out.push((start, end.min(from)));
                    start = end.min(from);
                }
                Some(&(_, to)) => start = to,
                None => {
                    out.push((start, end));
                    break;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_of_ranges() {
        let d = |a: &[(u64, u64)], b: &[(u64, u64)]| difference(a.iter().copied(), b.iter().copied());
        assert_eq!(d(&[(0, 10)], &[(2, 4), (6, 7)]), [(0, 2), (4, 6), (7, 10)]);
        assert_eq!(d(&[(0, 10), (12, 20)], &[(5, 15)]), [(0, 5), (15, 20)]);
        assert_eq!(d(&[(0, 10)], &[]), [(0, 10)]);
        assert_eq!(d(&[(3, 5)], &[(0, 10)]), []);
    }

    #[test]
    fn small_runs_become_one_call() {
        let mut batches = Vec::new();
        for i in 0..100 {
            let part = Part {
                placed: 0,
                address: i * 2 * PAGE,
                length: PAGE,
                level: 0,
                offset: i * PAGE,
            };
            push(&mut batches, 0x10_0000 + part.address, &part);
        }
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].ranges.len(), 100);
        assert_eq!(batches[0].length, 100 * PAGE);
    }

    #[test]
    fn a_long_run_becomes_several_batches() {
        let mut batches = Vec::new();
        let part = Part {
            placed: 0,
            address: 0,
            length: 3 * BATCH + PAGE,
            level: 0,
            offset: 0,
        };
        push(&mut batches, 0x10_0000, &part);
        assert_eq!(
            batches.iter().map(|b| b.length).collect::<Vec<_>>(),
            [BATCH, BATCH, BATCH, PAGE]
        );
        assert_eq!(batches[3].ranges, [(0x10_0000 + 3 * BATCH, PAGE)]);
    }
}
