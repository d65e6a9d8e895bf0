//! The system calls of this plugin that need `unsafe`, and small wrappers around others.

use std::ffi::CString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use criu_plugin_api::message::FileTarget;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
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

/// A page of an object, mapped for writing.
pub(crate) struct Window {
    at: NonNull<libc::c_void>,
    length: usize,
}

impl Window {
    /// The `length` bytes at `start` of an object, whose memory is allocated first: a page that cannot
    /// be had is an error here, not a signal at the first write.
    pub(crate) fn of(object: &File, start: u64, length: u64) -> nix::Result<Self> {
        let offset = i64::try_from(start).map_err(|_| Errno::EFBIG)?;
        let size = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
        let length = usize::try_from(length)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        fallocate(object, FallocateFlags::empty(), offset, size)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let at = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, object, offset) }?;
        Ok(Self {
            at,
            length: length.get(),
        })
    }

    /// Copies bytes to an offset within it; what would lie beyond it is left out.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let count = data.len().min(self.length - offset);
        let from = NonNull::from(data).cast();
        // SAFETY: `offset + count` is within the mapping, which is writable and ours alone in this
        // process.
        unsafe {
            let to = self.at.cast::<u8>().add(offset);
            to.copy_from_nonoverlapping(from, count);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `of`, and nothing refers into it.
        let unmapped = unsafe { munmap(self.at, self.length) };
        debug_assert!(unmapped.is_ok());
    }
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

/// The names of the extended attributes of a file, each with a NUL behind it. flistxattr(2)
pub(crate) fn list_attributes(file: impl AsFd) -> nix::Result<Vec<u8>> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most as much as is asked for.
    grown(|buffer| unsafe { libc::flistxattr(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// The value of an extended attribute. fgetxattr(2)
pub(crate) fn attribute(file: impl AsFd, name: &[u8]) -> nix::Result<Vec<u8>> {
    let (fd, name) = (file.as_fd().as_raw_fd(), c_text(name)?);
    grown(|buffer| {
        let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the name ends in NUL, and the kernel writes at most as much as is asked for.
        unsafe { libc::fgetxattr(fd, name.as_ptr(), at, length) }
    })
}

/// Sets an extended attribute. fsetxattr(2)
pub(crate) fn set_attribute(file: impl AsFd, name: &[u8], value: &[u8]) -> nix::Result<()> {
    let (fd, name) = (file.as_fd().as_raw_fd(), c_text(name)?);
    // SAFETY: the name ends in NUL; the kernel reads as much of the value as there is.
    Errno::result(unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
        .map(drop)
}

/// Calls with a buffer that is as large as the call with an empty one says.
fn grown(mut call: impl FnMut(&mut [u8]) -> isize) -> nix::Result<Vec<u8>> {
    loop {
        let size = usize::try_from(Errno::result(call(&mut []))?).unwrap_or(0);
        let mut buffer = vec![0; size];
        if size == 0 {
            return Ok(buffer);
        }
        match Errno::result(call(&mut buffer)) {
            Ok(size) => {
                buffer.truncate(usize::try_from(size).unwrap_or(0));
                return Ok(buffer);
            }
            // It has grown in between.
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn c_text(text: &[u8]) -> nix::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

const FS_IOC_GETFLAGS: libc::Ioctl = 0x8008_6601;
const FS_IOC_SETFLAGS: libc::Ioctl = 0x4008_6602;

/// The flags of an inode. ioctl_iflags(2), Linux 6.0 for memory objects
pub(crate) fn inode_flags(file: impl AsFd) -> nix::Result<u32> {
    let mut flags = 0_u32;
    // SAFETY: FS_IOC_GETFLAGS writes an int, to a place that is valid for it.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_GETFLAGS, &raw mut flags) })?;
    Ok(flags)
}

/// Sets them.
pub(crate) fn set_inode_flags(file: impl AsFd, flags: u32) -> nix::Result<()> {
    // SAFETY: FS_IOC_SETFLAGS reads an int.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_SETFLAGS, &raw const flags) })
        .map(drop)
}
