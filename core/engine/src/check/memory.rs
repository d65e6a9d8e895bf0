//! Probes of what is needed to save and rebuild memory.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::target::Target;
use super::{Level, Outcome, Probe};
use crate::proc::pagemap::{PAGE_IS_GUARD, PAGE_IS_PRESENT, PAGEMAP_SCAN, ScanArg};

use Level::{Experimental, Extra, Required};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        name: "map_files",
        level: Required,
        what: "files behind mappings",
        run: map_files,
    },
    Probe {
        name: "pagemap",
        level: Required,
        what: "which pages hold data",
        run: pagemap,
    },
    Probe {
        name: "mm_map",
        level: Required,
        what: "heap, stack and arguments",
        run: mm_map,
    },
    Probe {
        name: "pagemap_scan",
        level: Extra,
        what: "finding pages fast",
        run: |_| scan(0),
    },
    Probe {
        name: "pagemap_scan_guard_pages",
        level: Extra,
        what: "guard regions",
        run: |_| scan(PAGE_IS_GUARD),
    },
    Probe {
        name: "mem_dirty_track",
        level: Extra,
        what: "incremental dumps",
        run: dirty_track,
    },
    Probe {
        name: "uffd",
        level: Experimental,
        what: "memory that is loaded on demand",
        run: |_| uffd(0),
    },
    Probe {
        name: "uffd-noncoop",
        level: Experimental,
        what: "memory that is loaded on demand in trees",
        run: |_| uffd(FORK_REMAP_REMOVE_UNMAP),
    },
];

const PAGE: usize = 4096;

fn map_files(target: &Target) -> Outcome {
    let path = format!("/proc/{}/map_files", target.pid());
    let first = std::fs::read_dir(&path)
        .map_err(|error| format!("{path}: {error}"))?
        .flatten()
        .next();
    let first = first.ok_or_else(|| format!("{path} is empty"))?.path();
    // Following it needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; reading its text does not.
    File::open(&first)
        .map(drop)
        .map_err(|error| format!("{}: {error}", first.display()))
}

fn pagemap(target: &Target) -> Outcome {
    let path = format!("/proc/{}/pagemap", target.pid());
    let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut word = [0; 8];
    let at = word.as_ptr().addr() / PAGE * 8;
    file.read_exact_at(&mut word, at as u64)
        .map_err(|error| format!("{path}: {error}"))
}

fn mm_map(_: &Target) -> Outcome {
    const PR_SET_MM_MAP_SIZE: libc::c_ulong = 15;
    let mut size = 0u32;
    // SAFETY: the call writes a u32 to the address given.
    let got = unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) };
    Errno::result(got)
        .map(drop)
        .map_err(|errno| format!("PR_SET_MM_MAP_SIZE: {}", errno.desc()))
}

/// A mapping of one page, gone with this.
struct Page(std::ptr::NonNull<libc::c_void>);

impl Page {
    fn new() -> Result<Self, String> {
        let length = std::num::NonZeroUsize::new(PAGE).ok_or("no page")?;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let made = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )
        };
        made.map(Self).map_err(|errno| format!("mmap: {}", errno.desc()))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and nothing refers into it. The end of a page of one's
        // own mapping can always be unmapped.
        let _ = unsafe { munmap(self.0, PAGE) };
    }
}

/// Scans a page for this category beside the oldest one.
fn scan(category: u64) -> Outcome {
    let page = Page::new()?;
    let file = File::open("/proc/self/pagemap").map_err(|error| format!("/proc/self/pagemap: {error}"))?;
    let mut regions = [0u64; 3];
    let start = page.0.as_ptr().addr() as u64;
    let arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        start,
        end: start + PAGE as u64,
        vec: (&raw mut regions).addr() as u64,
        vec_len: 1,
        category_anyof_mask: PAGE_IS_PRESENT | category,
        return_mask: PAGE_IS_PRESENT | category,
        ..ScanArg::default()
    };
    // SAFETY: `arg` is a `struct pm_scan_arg`, whose vector has room for the one region it says.
    let got = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw const arg) };
    Errno::result(got)
        .map(drop)
        .map_err(|errno| format!("PAGEMAP_SCAN: {}", errno.desc()))
}

/// By soft-dirty bits, or by asynchronous write protection.
fn dirty_track(_: &Target) -> Outcome {
    match soft_dirty() {
        Ok(()) => Ok(()),
        Err(first) => match scan(0).and_then(|()| uffd(WP_ASYNC)) {
            Ok(()) => Ok(()),
            Err(second) => Err(format!(
                "{first}; nor is there asynchronous write protection: {second}"
            )),
        },
    }
}

/// A page that was just written to has the bit, if the kernel keeps it.
fn soft_dirty() -> Outcome {
    const SOFT_DIRTY: u64 = 1 << 55;
    let page = Page::new()?;
    // SAFETY: the mapping is writable and nobody else's.
    unsafe { page.0.cast::<u8>().as_ptr().write_volatile(1) };
    let file = File::open("/proc/self/pagemap").map_err(|error| format!("/proc/self/pagemap: {error}"))?;
    let mut word = [0; 8];
    let at = page.0.as_ptr().addr() / PAGE * 8;
    file.read_exact_at(&mut word, at as u64)
        .map_err(|error| format!("/proc/self/pagemap: {error}"))?;
    match u64::from_ne_bytes(word) & SOFT_DIRTY {
        0 => Err("the kernel keeps no soft-dirty bits".to_owned()),
        _ => Ok(()),
    }
}

/// `struct uffdio_api` of linux/userfaultfd.h.
#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFD_API: u64 = 0xaa;
const WP_ASYNC: u64 = 1 << 15;
const FORK_REMAP_REMOVE_UNMAP: u64 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6;

/// Asks for these features.
fn uffd(features: u64) -> Outcome {
    // SAFETY: takes plain numbers and returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let fd = Errno::result(fd).map_err(|errno| format!("userfaultfd: {}", errno.desc()))?;
    let fd = i32::try_from(fd).map_err(|_| "userfaultfd gave no descriptor".to_owned())?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut api = UffdioApi {
        api: UFFD_API,
        features,
        ioctls: 0,
    };
    // SAFETY: the call reads and writes a `struct uffdio_api`, which `api` is.
    let got = unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api) };
    Errno::result(got)
        .map_err(|errno| format!("UFFDIO_API with features {features:#x}: {}", errno.desc()))?;
    match features & !api.features {
        0 => Ok(()),
        lacking => Err(format!("userfaultfd lacks the features {lacking:#x}")),
    }
}
