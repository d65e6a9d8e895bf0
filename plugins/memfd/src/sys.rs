//! The system calls of this plugin that need `unsafe`, and small wrappers around others.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use criu_plugin_api::message::FileTarget;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use nix::sys::stat::Mode;

/// The descriptor of a file to be dumped, for as long as its target is at hand.
pub(crate) fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

/// Another description of the object behind a descriptor of this process, or of process `pid`.
pub(crate) fn reopen(pid: Option<u32>, fd: i32, flags: i32) -> nix::Result<OwnedFd> {
    let path = match pid {
        Some(pid) => format!("/proc/{pid}/fd/{fd}"),
        None => format!("/proc/self/fd/{fd}"),
    };
    open(&path, flags)
}

/// open(2) with `O_CLOEXEC`.
pub(crate) fn open(path: &str, flags: i32) -> nix::Result<OwnedFd> {
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// A page of an object, mapped so that the object lasts: neither readable nor writable, private, so that it is in the
/// way of no seal, and not handed down to children. It is to be released.
pub(crate) struct Hold {
    at: NonNull<libc::c_void>,
}

/// The length of the mapping.
const PAGE: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(page) => page,
    None => unreachable!(),
};

impl Hold {
    /// Maps the first page; there need not be one.
    pub(crate) fn of(object: &File) -> nix::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let at = unsafe { mmap(None, PAGE, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE, object, 0) }?;
        let hold = Self { at };
        // SAFETY: the mapping is ours, and nothing refers into it.
        match unsafe { madvise(at, PAGE.get(), MmapAdvise::MADV_DONTFORK) } {
            Ok(()) => Ok(hold),
            Err(errno) => hold.release().and(Err(errno)),
        }
    }

    /// Where it can be opened, in the process with this pid.
    pub(crate) fn path(&self, pid: Option<u32>) -> String {
        let start = self.at.as_ptr() as usize;
        let end = start + PAGE.get();
        match pid {
            Some(pid) => format!("/proc/{pid}/map_files/{start:x}-{end:x}"),
            None => format!("/proc/self/map_files/{start:x}-{end:x}"),
        }
    }

    /// Unmaps it, in the process that has mapped it: in others something else may be there by now.
    pub(crate) fn release(self) -> nix::Result<()> {
        // SAFETY: the mapping was made in `of`, and nothing refers into it.
        unsafe { munmap(self.at, PAGE.get()) }
    }
}

/// memfd_create(2); the name is any bytes but NUL.
pub(crate) fn memfd_create(name: &[u8], flags: u32) -> nix::Result<File> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is a C string that lives during the call.
    let fd = Errno::result(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A descriptor of the object behind a new shared anonymous mapping of `size` bytes; `huge` is the
/// binary logarithm of the size of its pages when these are huge. The mapping itself goes again.
pub(crate) fn shared_anonymous(size: u64, huge: Option<u32>) -> nix::Result<File> {
    let length = usize::try_from(size)
        .ok()
        .and_then(NonZeroUsize::new)
        .ok_or(Errno::EINVAL)?;
    let pages = huge.map_or(0, |log| {
        libc::MAP_HUGETLB | (log << libc::MAP_HUGE_SHIFT).cast_signed()
    });
    let flags = MapFlags::MAP_SHARED | MapFlags::from_bits_retain(pages);
    // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
    let map =
        |flags| unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) };
    let at = match map(flags) {
        // It was larger than what may be promised, so nothing was: a reservation of a sparse heap.
        Err(Errno::ENOMEM) if huge.is_none() => map(flags | MapFlags::MAP_NORESERVE),
        other => other,
    }?;
    let start = at.as_ptr() as usize;
    let page = huge.map_or(4096, |log| 1 << log);
    let end = start + length.get().next_multiple_of(page);
    let path = format!("/proc/self/map_files/{start:x}-{end:x}");
    let opened = open(&path, libc::O_RDWR);
    // SAFETY: this mapping was made above, and nothing refers into it.
    unsafe { munmap(at, end - start) }?;
    opened.map(File::from)
}

const F_ADD_SEALS: libc::c_int = 1033;
const F_GET_SEALS: libc::c_int = 1034;

/// `F_GET_SEALS` of fcntl(2).
pub(crate) fn seals(fd: BorrowedFd<'_>) -> nix::Result<u32> {
    // SAFETY: the command takes and returns plain numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_GET_SEALS) }).map(i32::cast_unsigned)
}

/// `F_ADD_SEALS` of fcntl(2).
pub(crate) fn add_seals(file: &File, seals: u32) -> nix::Result<()> {
    // SAFETY: the command takes and returns plain numbers.
    Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), F_ADD_SEALS, seals) }).map(drop)
}
