//! The contents of memory: which pages a process owns, and one copy of each into the pages file.
//!
//! Pages are found by `PAGEMAP_SCAN` (Linux 6.7; `Documentation/admin-guide/mm/pagemap.rst`), or by
//! reading `/proc/PID/pagemap` before that, and copied by process_vm_readv(2) straight into the mapped
//! pages file. Nothing is charged to the target and none of its limits apply.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::error::{Context, Error, Result};

/// The size of a base page on this architecture.
pub(crate) const PAGE: u64 = 4096;

/// Pages that differ from what a fresh mapping would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Private anonymous memory: everything that was touched, the zero page aside.
    Anonymous,
    /// A private mapping of a file: only what was written to.
    PrivateFile,
    /// Every page of the range, whatever the page tables say.
    Whole,
}

/// A range of a process whose pages are to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) content: Content,
    /// Whether the process itself may read it; else only `/proc/PID/mem` can.
    pub(crate) readable: bool,
    /// Whether another process may have some of its pages too.
    pub(crate) shared: bool,
    /// Whether it may have marks at pages that are not there (write protection of userfaultfd(2)). These look like
    /// swapped pages, but hold nothing, and reading one might wait for somebody to fill it.
    pub(crate) marked: bool,
    /// The flags of its entries in the pagemap.
    pub(crate) flags: u32,
}

/// A run of pages to be saved, or of guard pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) readable: bool,
    pub(crate) flags: u32,
}

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
    // Neighbours of one sort are scanned by one call; their runs are cut apart again only where the
    // way of reading differs.
    let mut rest = regions;
    while let Some(first) = rest.first() {
        let mut joined = *first;
        let mut taken = 1;
        for next in &rest[1..] {
            if next.start != joined.end
                || next.content != joined.content
                || next.readable != joined.readable
                || next.flags != joined.flags
                || next.marked != joined.marked
            {
                break;
            }
            joined.end = next.end;
            joined.shared |= next.shared;
            taken += 1;
        }
        rest = &rest[taken..];
        scan.scanned += (joined.end - joined.start) / PAGE;
        if joined.content == Content::Whole {
            push(&mut scan.runs, run_of(&joined, joined.start, joined.end));
            continue;
        }
        let part = joined.shared && joined.readable;
        if !part && !joined.marked {
            scanner.region(&joined, &mut scan)?;
            continue;
        }
        let before = std::mem::take(&mut scan.runs);
        scanner.region(&joined, &mut scan)?;
        let mut found = std::mem::replace(&mut scan.runs, before);
        if joined.marked {
            found = scanner.without_marks(&found)?;
        }
        if part {
            scanner.part_shared(&found, &mut scan.runs)?;
        } else {
            found.into_iter().for_each(|run| push(&mut scan.runs, run));
        }
    }
    Ok(scan)
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

#[derive(Clone, Copy, PartialEq, Eq)]
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

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
const PAGE_IS_GUARD: u64 = 1 << 8;

/// `struct pm_scan_arg` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

impl Scanner<'_> {
    fn region(&mut self, region: &Region, scan: &mut Scan) -> Result<()> {
        loop {
            let done = match self.method {
                Method::Read => self.read(region, scan).map(|()| true)?,
                _ => self.ioctl(region, scan)?,
            };
            if done {
                return Ok(());
            }
            self.method = if self.method == Method::Guards {
                Method::Scan
            } else {
                Method::Read
            };
        }
    }

    /// False when the kernel does not know this form of the call.
    fn ioctl(&self, region: &Region, scan: &mut Scan) -> Result<bool> {
        let guard = if self.method == Method::Guards {
            PAGE_IS_GUARD
        } else {
            0
        };
        let inverted = PAGE_IS_PFNZERO
            | if region.content == Content::PrivateFile {
                PAGE_IS_FILE
            } else {
                0
            };
        let mut found = [PageRegion::default(); 512];
        let mut start = region.start;
        while start < region.end {
            let mut arg = PmScanArg {
                size: std::mem::size_of::<PmScanArg>() as u64,
                start,
                end: region.end,
                vec: found.as_mut_ptr() as u64,
                vec_len: found.len() as u64,
                category_inverted: inverted,
                category_mask: inverted,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED | guard,
                return_mask: guard | PAGE_IS_PRESENT,
                ..PmScanArg::default()
            };
            // SAFETY: the argument has its size in `size`, and `vec` points at `vec_len` regions that
            // outlive the call.
            let count = unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            if count < 0 {
                let error = std::io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::EINVAL | libc::ENOTTY) => Ok(false),
                    _ => Err(error)
                        .context(|| format!("scanning {start:#x}-{:#x} of process {}", region.end, self.pid)),
                };
            }
            for page in found.iter().take(count as usize) {
                if guard != 0 && page.categories & PAGE_IS_GUARD != 0 {
                    push_guard(&mut scan.guards, page.start, page.end);
                } else {
                    push(&mut scan.runs, run_of(region, page.start, page.end));
                }
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
    fn part_shared(&self, runs: &[Run], parted: &mut Vec<Run>) -> Result<()> {
        /// The page is mapped by this process alone.
        const EXCLUSIVE: u64 = 1 << 56;
        const PRESENT: u64 = 1 << 63;
        /// Small runs that lie close to each other are looked up together.
        const TOGETHER: u64 = 64 * PAGE;
        let Some(last) = runs.last().map(|run| run.end) else {
            return Ok(());
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
                push(parted, part);
                address += PAGE;
            }
        }
        Ok(())
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
    fn read(&self, region: &Region, scan: &mut Scan) -> Result<()> {
        const HELD: u64 = 1 << 63 | 1 << 62 | 1 << 58;
        let mut buffer = vec![0u8; 64 << 10];
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
                    push_guard(&mut scan.guards, address, end);
                } else if (bit(63) || bit(62)) && !(region.content == Content::PrivateFile && bit(61)) {
                    push(&mut scan.runs, run_of(region, address, end));
                }
                address = end;
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

/// Copies runs of a process into `to`, which is exactly as long as they are together.
///
/// # Errors
/// The process is gone, or a page cannot be read; the address is named.
pub(crate) fn copy(pid: i32, runs: &[Run], to: &mut [u8]) -> Result<()> {
    let mut copier = Copier { pid, mem: None };
    let mut at = 0;
    let mut batch: Vec<libc::iovec> = Vec::with_capacity(runs.len().min(MAX_IOV));
    let mut batched = 0;
    for run in runs {
        let len = (run.end - run.start) as usize;
        if !run.readable {
            copier.flush(&mut batch, &mut to[at - batched..at])?;
            batched = 0;
            copier.peek(run.start, &mut to[at..at + len])?;
        } else {
            batch.push(libc::iovec {
                iov_base: run.start as *mut libc::c_void,
                iov_len: len,
            });
            batched += len;
        }
        at += len;
        if batch.len() == MAX_IOV {
            copier.flush(&mut batch, &mut to[at - batched..at])?;
            batched = 0;
        }
    }
    copier.flush(&mut batch, &mut to[at - batched..at])
}

/// `IOV_MAX`, see process_vm_readv(2).
const MAX_IOV: usize = 1024;
/// At most this much in one call, so that a killed dump ends soon.
const MAX_CALL: usize = 64 << 20;

struct Copier {
    pid: i32,
    mem: Option<File>,
}

impl Copier {
    /// Reads a batch of remote ranges, emptying it; `to` is as long as they are.
    fn flush(&mut self, batch: &mut Vec<libc::iovec>, to: &mut [u8]) -> Result<()> {
        let mut done = 0;
        let mut index = 0;
        while index < batch.len() {
            let local = libc::iovec {
                iov_base: to[done..].as_mut_ptr().cast(),
                iov_len: (to.len() - done).min(MAX_CALL),
            };
            // SAFETY: `local` describes writable bytes of `to`; the remote ranges are only read.
            let got = unsafe {
                libc::process_vm_readv(
                    self.pid,
                    &raw const local,
                    1,
                    batch[index..].as_ptr(),
                    (batch.len() - index) as libc::c_ulong,
                    0,
                )
            };
            if got <= 0 {
                let error = std::io::Error::last_os_error();
                let address = batch[index].iov_base as u64;
                if got == 0 || error.raw_os_error() == Some(libc::EFAULT) {
                    // Not readable this way (no access, or an odd mapping): one page the slow way.
                    let len = batch[index].iov_len.min(PAGE as usize);
                    self.peek(address, &mut to[done..done + len])?;
                    done += len;
                    advance(batch, &mut index, len);
                    continue;
                }
                return Err(error)
                    .context(|| format!("reading the memory of process {} at {address:#x}", self.pid));
            }
            done += got as usize;
            advance(batch, &mut index, got as usize);
        }
        batch.clear();
        Ok(())
    }

    /// Reads through `/proc/PID/mem`, which the protection of the mapping does not stop.
    fn peek(&mut self, address: u64, to: &mut [u8]) -> Result<()> {
        if self.mem.is_none() {
            let path = format!("/proc/{}/mem", self.pid);
            self.mem = Some(File::open(&path).context(|| format!("opening {path}"))?);
        }
        let Some(mem) = &self.mem else { return Ok(()) };
        mem.read_exact_at(to, address)
            .context(|| format!("reading the memory of process {} at {address:#x}", self.pid))
    }
}

/// Drops `len` bytes from the front of the ranges that begin at `index`.
fn advance(batch: &mut [libc::iovec], index: &mut usize, mut len: usize) {
    while len > 0 {
        let range = &mut batch[*index];
        let step = len.min(range.iov_len);
        range.iov_base = (range.iov_base as usize + step) as *mut libc::c_void;
        range.iov_len -= step;
        len -= step;
        if range.iov_len == 0 {
            *index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Area(*mut u8, usize);

    impl Area {
        fn new(pages: usize) -> Self {
            let len = pages * PAGE as usize;
            // SAFETY: a fresh anonymous mapping, placed by the kernel.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            Self(at.cast(), len)
        }
        fn page(&self, n: usize) -> u64 {
            self.0 as u64 + n as u64 * PAGE
        }
        fn fill(&self, n: usize, byte: u8) {
            // SAFETY: page `n` lies in the mapping, which is writable and nobody else's.
            unsafe { std::ptr::write_bytes(self.0.add(n * PAGE as usize), byte, PAGE as usize) };
        }
    }

    impl Drop for Area {
        fn drop(&mut self) {
            // SAFETY: the mapping was made by `new` and nothing refers to it any more.
            unsafe { libc::munmap(self.0.cast(), self.1) };
        }
    }

    fn region(area: &Area, from: usize, to: usize, readable: bool) -> Region {
        Region {
            start: area.page(from),
            end: area.page(to),
            content: Content::Anonymous,
            readable,
            shared: true,
            marked: false,
            flags: 4,
        }
    }

    fn me() -> i32 {
        std::process::id() as i32
    }

    #[test]
    fn only_touched_pages_are_found_and_copied() {
        let area = Area::new(16);
        area.fill(2, b'a');
        area.fill(3, b'b');
        area.fill(9, b'c');
        // SAFETY: reading a page of the mapping; it maps the zero page.
        let byte = unsafe { std::ptr::read_volatile(area.0.add(12 * PAGE as usize)) };
        assert_eq!(byte, 0);
        let scan = scan(me(), &[region(&area, 0, 8, true), region(&area, 8, 16, true)]).unwrap();
        let runs: Vec<_> = scan.runs.iter().map(|r| (r.start, r.end)).collect();
        assert_eq!(
            runs,
            [(area.page(2), area.page(4)), (area.page(9), area.page(10))]
        );
        let mut to = vec![0; scan.bytes() as usize];
        copy(me(), &scan.runs, &mut to).unwrap();
        assert!(to[..4096].iter().all(|&b| b == b'a') && to[4096..8192].iter().all(|&b| b == b'b'));
        assert!(to[8192..].iter().all(|&b| b == b'c'));
    }

    #[test]
    fn reading_the_page_map_finds_the_same() {
        let area = Area::new(8);
        area.fill(1, 1);
        area.fill(6, 1);
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let scanner = Scanner {
            pagemap: &pagemap,
            pid: me(),
            method: Method::Read,
        };
        let mut found = Scan::default();
        scanner.read(&region(&area, 0, 8, true), &mut found).unwrap();
        let runs: Vec<_> = found.runs.iter().map(|r| (r.start, r.end)).collect();
        assert_eq!(runs, [(area.page(1), area.page(2)), (area.page(6), area.page(7))]);
    }

    #[test]
    fn memory_without_access_is_copied_all_the_same() {
        let area = Area::new(3);
        (0..3).for_each(|n| area.fill(n, 7 + n as u8));
        // SAFETY: takes away access to a page of a mapping that nobody uses meanwhile.
        let ret = unsafe { libc::mprotect(area.0.add(4096).cast(), 4096, libc::PROT_NONE) };
        assert_eq!(ret, 0);
        for readable in [false, true] {
            let regions = [
                region(&area, 0, 1, true),
                region(&area, 1, 2, readable),
                region(&area, 2, 3, true),
            ];
            let scan = scan(me(), &regions).unwrap();
            let mut to = vec![0; scan.bytes() as usize];
            copy(me(), &scan.runs, &mut to).unwrap();
            assert_eq!((to[0], to[4096], to[8192]), (7, 8, 9));
        }
    }

    #[test]
    fn a_missing_page_is_named() {
        let area = Area::new(1);
        let run = Run {
            start: area.page(0),
            end: area.page(1),
            readable: true,
            flags: 4,
        };
        let address = format!("{:#x}", area.page(0));
        drop(area);
        // Another thread may map the hole again; then there is nothing to see.
        if let Err(error) = copy(me(), &[run], &mut vec![0; 4096]) {
            assert!(error.to_string().contains(&address), "{error}");
        }
    }
}
