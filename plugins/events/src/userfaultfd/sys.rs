//! The system calls of userfaultfds, ioctl_userfaultfd(2).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::PAGE;
use crate::sys::{owned, raw};

/// `UFFD_API`.
const API: u64 = 0xaa;
/// Ioctls of linux/userfaultfd.h.
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00;
const UFFDIO_UNREGISTER: libc::Ioctl = 0x8010_aa01;
const UFFDIO_ZEROPAGE: libc::Ioctl = 0xc020_aa04;
const UFFDIO_WRITEPROTECT: libc::Ioctl = 0xc018_aa06;
const UFFDIO_CONTINUE: libc::Ioctl = 0xc020_aa07;

/// `UFFDIO_REGISTER_MODE_*`.
pub(super) const MISSING: u32 = 1;
pub(super) const WP: u32 = 1 << 1;
pub(super) const MINOR: u32 = 1 << 2;

/// Names of the features, by bit: `UFFD_FEATURE_*`.
pub(super) const FEATURES: [&str; 17] = [
    "PAGEFAULT_FLAG_WP",
    "EVENT_FORK",
    "EVENT_REMAP",
    "EVENT_REMOVE",
    "MISSING_HUGETLBFS",
    "MISSING_SHMEM",
    "EVENT_UNMAP",
    "SIGBUS",
    "THREAD_ID",
    "MINOR_HUGETLBFS",
    "MINOR_SHMEM",
    "EXACT_ADDRESS",
    "WP_HUGETLBFS_SHMEM",
    "WP_UNPOPULATED",
    "POISON",
    "WP_ASYNC",
    "MOVE",
];
/// `UFFD_FEATURE_WP_ASYNC`.
pub(super) const WP_ASYNC: u64 = 1 << 15;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`, `struct uffdio_zeropage` and `struct uffdio_continue`: a range, a mode, a result.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
    mode: u64,
    result: i64,
}

/// A fresh userfaultfd of the memory of this process. userfaultfd(2)
pub(super) fn userfaultfd() -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain flags and returns a new descriptor.
    owned(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) })
}

/// Agrees on features; returns those that the kernel has. `UFFDIO_API`
pub(super) fn api(fd: impl AsFd, features: u64) -> nix::Result<u64> {
    let mut api = Api {
        api: API,
        features,
        ioctls: 0,
    };
    // SAFETY: the kernel reads and writes one `struct uffdio_api`.
    Errno::result(unsafe { libc::ioctl(raw(&fd), UFFDIO_API, &raw mut api) })?;
    Ok(api.features)
}

/// `UFFDIO_REGISTER`
pub(super) fn register(fd: impl AsFd, start: u64, end: u64, modes: u32) -> nix::Result<()> {
    let mut range = Range {
        start,
        len: end - start,
        mode: modes.into(),
        result: 0,
    };
    // SAFETY: the kernel reads and writes one `struct uffdio_register`, which has this layout.
    Errno::result(unsafe { libc::ioctl(raw(&fd), UFFDIO_REGISTER, &raw mut range) }).map(drop)
}

/// `UFFDIO_UNREGISTER`
pub(super) fn unregister(fd: impl AsFd, start: u64, end: u64) -> nix::Result<()> {
    let range = [start, end - start];
    // SAFETY: the kernel reads one `struct uffdio_range`, two such numbers.
    Errno::result(unsafe { libc::ioctl(raw(&fd), UFFDIO_UNREGISTER, &raw const range) }).map(drop)
}

/// Write-protects a range. `UFFDIO_WRITEPROTECT`
pub(super) fn write_protect(fd: impl AsFd, start: u64, end: u64) -> nix::Result<()> {
    /// `UFFDIO_WRITEPROTECT_MODE_WP`.
    const MODE_WP: u64 = 1;
    let range = [start, end - start, MODE_WP];
    loop {
        // SAFETY: the kernel reads one `struct uffdio_writeprotect`, three such numbers.
        match Errno::result(unsafe { libc::ioctl(raw(&fd), UFFDIO_WRITEPROTECT, &raw const range) }) {
            // The mappings of the process were being changed.
            Err(Errno::EAGAIN) => {}
            other => return other.map(drop),
        }
    }
}

/// Maps the page of zeros where nothing is. `UFFDIO_ZEROPAGE`
pub(super) fn zero(fd: impl AsFd, start: u64, end: u64) -> nix::Result<()> {
    fill(fd, UFFDIO_ZEROPAGE, start, end)
}

/// Maps pages that shared memory has, where none is mapped. `UFFDIO_CONTINUE`
pub(super) fn map_present(fd: impl AsFd, start: u64, end: u64) -> nix::Result<()> {
    fill(fd, UFFDIO_CONTINUE, start, end)
}

fn fill(fd: impl AsFd, request: libc::Ioctl, mut start: u64, end: u64) -> nix::Result<()> {
    while start < end {
        let mut range = Range {
            start,
            len: end - start,
            mode: 0,
            result: 0,
        };
        // SAFETY: the kernel reads and writes one `struct uffdio_zeropage` or `uffdio_continue`, which have this
        // layout; it fills pages that were missing, of memory that its process has registered.
        let done = Errno::result(unsafe { libc::ioctl(raw(&fd), request, &raw mut range) });
        // Bytes that were filled, or an error.
        let filled = u64::try_from(range.result).unwrap_or(0) / PAGE * PAGE;
        match done {
            Ok(_) => return Ok(()),
            Err(Errno::EAGAIN) => start += filled,
            Err(Errno::EEXIST) => start += if filled == 0 { PAGE } else { filled },
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610;
/// Categories of pages, linux/fs.h.
pub(super) const WRITTEN: u64 = 1 << 1;
pub(super) const PRESENT: u64 = 1 << 3;
pub(super) const SWAPPED: u64 = 1 << 4;
pub(super) const PFNZERO: u64 = 1 << 5;

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
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

/// Pages that are there or swapped out, with the four categories above; how far it came. `PAGEMAP_SCAN` (Linux 6.7)
pub(super) fn scan(pagemap: &File, start: u64, end: u64, found: &mut Vec<Region>) -> nix::Result<u64> {
    let mut regions = [Region::default(); 512];
    let mut arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_anyof_mask: PRESENT | SWAPPED,
        return_mask: WRITTEN | PRESENT | SWAPPED | PFNZERO,
        ..ScanArg::default()
    };
    // SAFETY: the argument has its size in `size`, and `vec` points at `vec_len` regions that outlive the call.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
    let count = usize::try_from(Errno::result(count)?).unwrap_or(0);
    found.extend(regions.iter().take(count));
    Ok(arg.walk_end)
}

/// A copy of a descriptor of another process. pidfd_getfd(2)
pub(super) fn descriptor_of(pid: i32, fd: i32) -> nix::Result<OwnedFd> {
    let pidfd = crate::sys::pidfd_open(pid, 0)?;
    // SAFETY: it takes plain numbers and returns a new descriptor.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw(&pidfd), fd, 0) })
}
