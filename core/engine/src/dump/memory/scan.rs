//! Which pages a process owns.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::{Content, PAGE, Region, Run};
use crate::error::{Context, Error, Result};
use crate::proc::pagemap::{
    PAGE_IS_FILE, PAGE_IS_GUARD, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGEMAP_SCAN, ScanArg,
};

/// What a scan of a process found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Runs of pages with contents, ascending.
    pub(crate) runs: Vec<Run>,
    /// Ranges of guard pages (`MADV_GUARD_INSTALL`), ascending.
    pub(crate) guards: Vec<(u64, u64)>,
    /// Pages looked at.
    pub(crate) scanned: u64,
}

impl Scan {
    /// The length of all runs in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }
}

/// Finds the pages of a process that must be saved.
///
/// # Errors
/// The process is gone or its page map may not be read.
pub(crate) fn scan(pid: i32, regions: &[Region]) -> Result<Scan> {
    let path = format!("/proc/{pid}/pagemap");
    let pagemap = File::open(&path).context(|| format!("opening {path}"))?;
    let mut scan = Scan::default();
    let mut scanner = Scanner {
        pagemap: &pagemap,
        pid,
        method: Method::Guards,
    };
    let (guarded, saved): (Vec<Region>, Vec<Region>) = regions
        .iter()
        .partition(|region| region.content == Content::Guards);
    let mut rest = &saved[..];
    while let Some(group) = Group::first_of(rest) {
        rest = &rest[group.regions.len()..];
        scan.scanned += group
            .regions
            .iter()
            .map(|region| region.end - region.start)
            .sum::<u64>()
            / PAGE;
        let mut found = match group.content {
            Content::Whole => group.regions.iter().map(|r| run_of(r, r.start, r.end)).collect(),
            _ => scanner.group(&group, &mut scan.guards)?,
        };
        if group.marked {
            found = scanner.without_marks(&found)?;
        }
        if group.may_part {
            found = scanner.part_shared(&found)?;
        }
        found.into_iter().for_each(|run| push(&mut scan.runs, run));
    }
    let mut rest = &guarded[..];
    while let Some(group) = Group::first_of(rest) {
        rest = &rest[group.regions.len()..];
        scanner.group(&group, &mut scan.guards)?;
    }
    if !guarded.is_empty() {
        scan.guards.sort_unstable();
    }
    Ok(scan)
}

/// Regions one behind the other that are scanned by one call.
struct Group<'a> {
    regions: &'a [Region],
    content: Content,
    marked: bool,
    /// Whether its pages are to be read in different ways.
    may_part: bool,
}

impl<'a> Group<'a> {
    /// A gap that is quicker to scan than another call is made.
    const GAP: u64 = 2 << 20;

    /// The group that the regions begin with; none if there is no region.
    fn first_of(regions: &'a [Region]) -> Option<Self> {
        let first = regions.first()?;
        let may_part = |region: &Region| region.shared && region.readable && region.content != Content::Whole;
        let belongs = |[before, next]: [&Region; 2]| {
            next.content == first.content
                && next.marked == first.marked
                && may_part(next) == may_part(first)
                && (before.end..=before.end + Self::GAP).contains(&next.start)
        };
        let more = regions
            .windows(2)
            .take_while(|pair| belongs([&pair[0], &pair[1]]))
            .count();
        Some(Self {
            regions: &regions[..=more],
            content: first.content,
            marked: first.marked && first.content != Content::Whole,
            may_part: may_part(first),
        })
    }

    /// Its first address and the one after its last.
    fn range(&self) -> (u64, u64) {
        let start = self.regions.first().map_or(0, |region| region.start);
        (start, self.regions.last().map_or(start, |region| region.end))
    }
}

/// Cuts ranges, ascending, at the ends of regions, ascending as well: nothing is left of what lies between those.
struct Cutter<'a> {
    /// From the first on that may hold something of the next range.
    regions: &'a [Region],
}

impl<'a> Cutter<'a> {
    fn cut(&mut self, start: u64, end: u64, mut take: impl FnMut(&'a Region, u64, u64)) {
        while let Some((region, rest)) = self.regions.split_first() {
            if region.start >= end {
                return;
            }
            if region.end > start {
                take(region, start.max(region.start), end.min(region.end));
            }
            if region.end > end {
                return;
            }
            self.regions = rest;
        }
    }
}

fn run_of(region: &Region, start: u64, end: u64) -> Run {
    Run {
        start,
        end,
        readable: region.readable,
        flags: region.flags,
    }
}

fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.end == run.start && last.readable == run.readable && last.flags == run.flags => {
            last.end = run.end;
        }
        _ => runs.push(run),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// PAGEMAP_SCAN that knows guard pages (Linux 6.15).
    Guards,
    /// PAGEMAP_SCAN (Linux 6.7).
    Scan,
    /// Reading the entries one by one.
    Read,
}

struct Scanner<'a> {
    pagemap: &'a File,
    pid: i32,
    method: Method,
}

/// `struct page_region` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

impl Scanner<'_> {
    /// The runs of a group; its guard pages are put to those found before.
    fn group(&mut self, group: &Group<'_>, guards: &mut Vec<(u64, u64)>) -> Result<Vec<Run>> {
        let mut cutter = Cutter {
            regions: group.regions,
        };
        let mut runs = Vec::new();
        let mut take = |start, end, guard| {
            cutter.cut(start, end, |region, start, end| {
                if guard {
                    push_guard(guards, start, end);
                } else {
                    push(&mut runs, run_of(region, start, end));
                }
            });
        };
        loop {
            let done = match self.method {
                // Older kernels have no guard pages in such memory.
                Method::Scan | Method::Read if group.content == Content::Guards => true,
                Method::Read => self.read(group, &mut take).map(|()| true)?,
                _ => self.ioctl(group, &mut take)?,
            };
            if done {
                return Ok(runs);
            }
            self.method = if self.method == Method::Guards {
                Method::Scan
            } else {
                Method::Read
            };
        }
    }

    /// False when the kernel does not know this form of the call.
    fn ioctl(&self, group: &Group<'_>, take: &mut impl FnMut(u64, u64, bool)) -> Result<bool> {
        let guard = if self.method == Method::Guards {
            PAGE_IS_GUARD
        } else {
            0
        };
        let inverted = match group.content {
            Content::PrivateFile => PAGE_IS_PFNZERO | PAGE_IS_FILE,
            Content::Guards => 0,
            Content::Anonymous | Content::Whole => PAGE_IS_PFNZERO,
        };
        let wanted = match group.content {
            Content::Guards => guard,
            _ => PAGE_IS_PRESENT | PAGE_IS_SWAPPED | guard,
        };
        let mut found = [PageRegion::default(); 512];
        let (mut start, end) = group.range();
        while start < end {
            let mut arg = ScanArg {
                size: std::mem::size_of::<ScanArg>() as u64,
                start,
                end,
                vec: found.as_mut_ptr() as u64,
                vec_len: found.len() as u64,
                category_inverted: inverted,
                category_mask: inverted,
                category_anyof_mask: wanted,
                return_mask: guard | PAGE_IS_PRESENT,
                ..ScanArg::default()
            };
            // SAFETY: the argument has its size in `size`, and `vec` points at `vec_len` regions that
            // outlive the call.
            let count = unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            if count < 0 {
                let error = std::io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::EINVAL | libc::ENOTTY) => Ok(false),
                    _ => {
                        Err(error).context(|| format!("scanning {start:#x}-{end:#x} of process {}", self.pid))
                    }
                };
            }
            for page in found.iter().take(count as usize) {
                take(
                    page.start,
                    page.end,
                    guard != 0 && page.categories & PAGE_IS_GUARD != 0,
                );
            }
            if arg.walk_end <= start {
                return Err(Error::malformed(
                    format!("the page map of process {}", self.pid),
                    format!("a scan made no progress at {start:#x}"),
                ));
            }
            start = arg.walk_end;
        }
        Ok(true)
    }

    /// Parts the runs at pages that another process has too (copy-on-write after a fork): for those
    /// process_vm_readv(2) would first make the target a copy of its own. `/proc/PID/mem` does not.
    fn part_shared(&self, runs: &[Run]) -> Result<Vec<Run>> {
        /// The page is mapped by this process alone.
        const EXCLUSIVE: u64 = 1 << 56;
        const PRESENT: u64 = 1 << 63;
        /// Small runs that lie close to each other are looked up together.
        const TOGETHER: u64 = 64 * PAGE;
        let mut parted = Vec::new();
        let Some(last) = runs.last().map(|run| run.end) else {
            return Ok(parted);
        };
        let mut buffer = vec![0u8; 16 << 10];
        let (mut known, mut entries) = (0..0, Vec::new());
        for run in runs {
            let mut address = run.start;
            while address < run.end {
                if !known.contains(&address) {
                    let until = run.end.max(address + TOGETHER).min(last);
                    entries.clear();
                    entries.extend(self.entries(&mut buffer, address, until)?);
                    known = address..address + entries.len() as u64 * PAGE;
                }
                let entry = entries[((address - known.start) / PAGE) as usize];
                let own = entry & EXCLUSIVE != 0 || entry & PRESENT == 0;
                let part = Run {
                    start: address,
                    end: address + PAGE,
                    readable: run.readable && own,
                    ..*run
                };
                push(&mut parted, part);
                address += PAGE;
            }
        }
        Ok(parted)
    }

    /// Without pages that are marks and no more: swapped, to the last of the 32 areas, which is none.
    fn without_marks(&self, runs: &[Run]) -> Result<Vec<Run>> {
        const SWAPPED: u64 = 1 << 62;
        const PROTECTED: u64 = 1 << 57;
        const AREA: u64 = 31;
        /// Area and place in it; both are 0 where they may not be seen.
        const PLACE: u64 = (1 << 55) - 1;
        let mut buffer = vec![0u8; 16 << 10];
        let mut filled = Vec::new();
        for run in runs {
            let mut address = run.start;
            while address < run.end {
                for entry in self.entries(&mut buffer, address, run.end)? {
                    let (start, end) = (address, address + PAGE);
                    address = end;
                    if entry & (SWAPPED | PROTECTED) != SWAPPED | PROTECTED {
                        push(&mut filled, Run { start, end, ..*run });
                        continue;
                    }
                    if entry & PLACE == 0 {
                        return Err(Error::refused_but(
                            format!("process {}, the page at {start:#x}", self.pid),
                            "is write-protected and swapped out or never filled; which of the two may not be seen",
                            "dump it with CAP_SYS_ADMIN",
                        ));
                    }
                    if entry & AREA != AREA {
                        push(&mut filled, Run { start, end, ..*run });
                    }
                }
            }
        }
        Ok(filled)
    }

    /// As many entries of the page map as fit into the buffer.
    fn entries<'a>(
        &self,
        buffer: &'a mut [u8],
        start: u64,
        end: u64,
    ) -> Result<impl Iterator<Item = u64> + use<'a>> {
        let pages = ((end - start) / PAGE).min(buffer.len() as u64 / 8);
        let bytes = &mut buffer[..pages as usize * 8];
        self.pagemap
            .read_exact_at(bytes, start / PAGE * 8)
            .context(|| format!("reading the page map of process {} at {start:#x}", self.pid))?;
        Ok(words(bytes))
    }

    /// The entries of pagemap(5): bit 63 present, 62 swapped, 61 file or shared, 58 guard page.
    fn read(&self, group: &Group<'_>, take: &mut impl FnMut(u64, u64, bool)) -> Result<()> {
        const HELD: u64 = 1 << 63 | 1 << 62 | 1 << 58;
        let mut buffer = vec![0u8; 64 << 10];
        for region in group.regions {
            let mut address = region.start;
            while address < region.end {
                let (mut pages, mut all) = (0, 0);
                for entry in self.entries(&mut buffer, address, region.end)? {
                    pages += 1;
                    all |= entry;
                }
                // Far the most of what is reserved.
                if all & HELD == 0 {
                    address += pages * PAGE;
                    continue;
                }
                for entry in words(&buffer[..pages as usize * 8]) {
                    let bit = |n: u32| entry >> n & 1 == 1;
                    let end = address + PAGE;
                    if bit(58) {
                        take(address, end, true);
                    } else if (bit(63) || bit(62)) && !(group.content == Content::PrivateFile && bit(61)) {
                        take(address, end, false);
                    }
                    address = end;
                }
            }
        }
        Ok(())
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|entry| {
        let mut word = [0; 8];
        word.copy_from_slice(entry);
        u64::from_le_bytes(word)
    })
}

fn push_guard(guards: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    match guards.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => guards.push((start, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Area, me, region};
    use super::*;

    fn found(method: Method, regions: &[Region]) -> Vec<(u64, u64, bool)> {
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let mut scanner = Scanner {
            pagemap: &pagemap,
            pid: me(),
            method,
        };
        let (mut rest, mut all) = (regions, Vec::new());
        while let Some(group) = Group::first_of(rest) {
            rest = &rest[group.regions.len()..];
            all.extend(scanner.group(&group, &mut Vec::new()).unwrap());
        }
        all.iter().map(|run| (run.start, run.end, run.readable)).collect()
    }

    #[test]
    fn all_methods_find_the_same() {
        let area = Area::new(16);
        [1, 2, 3, 5, 6, 9, 15].iter().for_each(|&page| area.fill(page, 1));
        // Neighbours of two sorts, and gaps with pages in them.
        let mut regions = [
            region(&area, 0, 3, true),
            region(&area, 3, 5, false),
            region(&area, 6, 8, true),
            region(&area, 10, 16, true),
        ];
        let want = |from: usize, to: usize, readable| (area.page(from), area.page(to), readable);
        let wanted = [
            want(1, 3, true),
            want(3, 4, false),
            want(6, 7, true),
            want(15, 16, true),
        ];
        for shared in [true, false] {
            regions.iter_mut().for_each(|region| region.shared = shared);
            for method in [Method::Guards, Method::Scan, Method::Read] {
                assert_eq!(found(method, &regions), wanted, "{method:?}, {shared}");
            }
        }
    }

    #[test]
    fn groups_end_where_the_sort_changes_or_a_gap_is_wide() {
        let plain = |start: u64, end: u64| Region {
            start,
            end,
            content: Content::Anonymous,
            readable: true,
            shared: false,
            marked: false,
            flags: 0,
        };
        let far = 4 * PAGE + Group::GAP + PAGE;
        let regions = [
            plain(0, PAGE),
            plain(2 * PAGE, 4 * PAGE),
            plain(far, far + PAGE),
            Region {
                content: Content::PrivateFile,
                ..plain(far + PAGE, far + 2 * PAGE)
            },
            Region {
                marked: true,
                ..plain(far + 2 * PAGE, far + 3 * PAGE)
            },
        ];
        let (mut rest, mut sizes) = (&regions[..], Vec::new());
        while let Some(group) = Group::first_of(rest) {
            sizes.push(group.regions.len());
            rest = &rest[group.regions.len()..];
        }
        assert_eq!(sizes, [2, 1, 1, 1]);
    }
}
