//! The system calls of this plugin that need `unsafe`, and small wrappers around others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use criu_plugin_api::inode;
use criu_plugin_api::message::{FileTarget, Purpose};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The descriptor of a file to be dumped, for as long as its target is at hand.
pub(crate) fn local(file: &FileTarget) -> BorrowedFd<'_> {
    // SAFETY: the host keeps `local_fd` open during the call in which it lends the target, and a
    // target is never kept beyond that call.
    unsafe { BorrowedFd::borrow_raw(file.local_fd) }
}

/// Opens a path with exactly these flags and `O_CLOEXEC`.
pub(crate) fn open_with<P: AsRef<Path>>(path: P, flags: i32) -> nix::Result<OwnedFd> {
    open(
        path.as_ref(),
        OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// A copy of a descriptor of another process: the same description. pidfd_getfd(2).
pub(crate) fn fetch(pid: i32, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_open takes plain numbers and returns a new descriptor, which belongs to nobody else.
    let pidfd = unsafe { new_descriptor(libc::syscall(libc::SYS_pidfd_open, pid, 0)) }?;
    // SAFETY: the same holds of pidfd_getfd.
    unsafe { new_descriptor(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0)) }
}

/// # Safety
/// A result that is not negative is a new descriptor that belongs to nobody.
unsafe fn new_descriptor(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: by the contract of this function.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A description of its own, for reading, of the file behind a descriptor: also when that one was
/// opened for writing only, is an `O_PATH` one, or its file has lost all names. It never blocks, and leaves
/// the time of the last access alone where that is allowed.
pub(crate) fn reopen_for_reading(fd: BorrowedFd<'_>) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = match open_with(&path, flags | libc::O_NOATIME) {
        Err(Errno::EPERM) => open_with(&path, flags),
        other => other,
    };
    Ok(File::from(opened?))
}

/// Whether the description of a target may be read from as it is.
pub(crate) fn is_readable(file: &FileTarget) -> bool {
    let flags = file.flags.cast_signed();
    let by_descriptor = matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight);
    by_descriptor && flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_WRONLY
}

/// pread(2).
pub(crate) fn read_at(fd: BorrowedFd<'_>, into: &mut [u8], offset: i64) -> nix::Result<usize> {
    nix::sys::uio::pread(fd, into, offset)
}

const F_GET_RW_HINT: libc::c_int = 1035;
const F_SET_RW_HINT: libc::c_int = 1036;

/// The hint of an inode about the life of its data. fcntl(2), `F_GET_RW_HINT`, Linux 4.13
pub(crate) fn write_hint(file: impl AsFd) -> nix::Result<u64> {
    let mut hint = 0_u64;
    // SAFETY: F_GET_RW_HINT writes one u64, to a place that is valid for it.
    Errno::result(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), F_GET_RW_HINT, &raw mut hint) })?;
    Ok(hint)
}

/// Sets it, `F_SET_RW_HINT`.
pub(crate) fn set_write_hint(file: impl AsFd, hint: u64) -> nix::Result<()> {
    // SAFETY: F_SET_RW_HINT reads one u64.
    Errno::result(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), F_SET_RW_HINT, &raw const hint) }).map(drop)
}

const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// Whether a loop device is taken down when nobody has it open any more. loop(4)
pub(crate) fn goes_with_last_user(device: BorrowedFd<'_>) -> bool {
    // struct loop_info64 of linux/loop.h: five u64, then numbers of 32 bits, lo_flags the fourth of them.
    let mut info = [0_u32; 58];
    // SAFETY: the ioctl writes a struct loop_info64 of 232 bytes, for which there is room.
    let known =
        Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, info.as_mut_ptr()) });
    known.is_ok() && info[13] & LO_FLAGS_AUTOCLEAR != 0
}

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL` of linux/fs.h.
pub(crate) const PROTECTED: u32 = 0x10 | 0x20;

/// Opens a file that has become immutable or append-only since it was opened for more than that allows:
/// takes that off it for the moment. ioctl_iflags(2)
pub(crate) fn open_protected(path: &Path, flags: i32) -> nix::Result<OwnedFd> {
    let holder = open_with(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)?;
    let attributes = inode::flags(&holder).unwrap_or(0);
    if attributes & PROTECTED == 0 {
        return Err(Errno::EPERM);
    }
    inode::set_flags(&holder, attributes & !PROTECTED)?;
    let opened = open_with(path, flags);
    inode::set_flags(&holder, attributes)?;
    opened
}

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const FIEMAP_BATCH: usize = 128;

/// `struct fiemap` with room for a batch of extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; FIEMAP_BATCH],
}

const FS_IOC_FIEMAP: libc::Ioctl = 0xc020_660b;
const FIEMAP_FLAG_SYNC: u32 = 1;
const FIEMAP_EXTENT_LAST: u32 = 1;
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;

/// The extents of a file that hold data (offset and length in bytes), by `FS_IOC_FIEMAP`.
pub(crate) fn fiemap(file: &File) -> nix::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        let mut map = Fiemap {
            start,
            length: u64::MAX - start,
            flags: FIEMAP_FLAG_SYNC,
            mapped_extents: 0,
            extent_count: FIEMAP_BATCH as u32,
            reserved: 0,
            extents: [FiemapExtent::default(); FIEMAP_BATCH],
        };
        // SAFETY: `map` has the layout of `struct fiemap` and room for `extent_count` extents, and the
        // kernel writes no more than that.
        Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) })?;
        let mapped = usize::try_from(map.mapped_extents).unwrap_or(0).min(FIEMAP_BATCH);
        for extent in &map.extents[..mapped] {
            let end = extent.logical.saturating_add(extent.length);
            if end <= start {
                return Err(Errno::EIO);
            }
            if extent.flags & FIEMAP_EXTENT_UNWRITTEN == 0 {
                found.push((extent.logical, extent.length));
            }
            if extent.flags & FIEMAP_EXTENT_LAST != 0 {
                return Ok(found);
            }
            start = end;
        }
        if mapped == 0 {
            return Ok(found);
        }
    }
}
