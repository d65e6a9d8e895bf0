//! The contents of memory: which pages a process owns, and one copy of each into the pages file.
//!
//! Pages are found by `PAGEMAP_SCAN` (Linux 6.7; `Documentation/admin-guide/mm/pagemap.rst`), or by
//! reading `/proc/PID/pagemap` before that, and copied by process_vm_readv(2) straight into the mapped
//! pages file. Nothing is charged to the target and none of its limits apply.

mod copy;
mod scan;

pub(crate) use self::copy::copy;
pub(crate) use self::scan::{Scan, scan};

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
    /// Memory that is saved elsewhere: only what the range has of its own, its guard pages.
    Guards,
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) struct Area(*mut u8, usize);

    impl Area {
        pub(super) fn new(pages: usize) -> Self {
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
        pub(super) fn page(&self, n: usize) -> u64 {
            self.0 as u64 + n as u64 * PAGE
        }
        pub(super) fn fill(&self, n: usize, byte: u8) {
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

    pub(super) fn region(area: &Area, from: usize, to: usize, readable: bool) -> Region {
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

    pub(super) fn me() -> i32 {
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
