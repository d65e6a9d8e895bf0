//! The system calls of this plugin.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// Takes over the descriptor that a call returned.
fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the calls of this file that end here return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// The name by which this process reaches what is behind a descriptor, whatever its path is by now.
pub(crate) fn magic_link(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", raw(fd))
}

/// A path alone: without access to what it leads to, and without an event. open(2), `O_PATH`.
pub(crate) fn open_path(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// A group without watches. inotify_init1(2)
pub(crate) fn inotify_init() -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain numbers.
    owned(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }.into())
}

/// Watches what is behind a descriptor; the number of the watch. inotify_add_watch(2)
pub(crate) fn inotify_add_watch(group: &impl AsFd, target: &impl AsFd, mask: u32) -> nix::Result<i32> {
    let path = CString::new(magic_link(target)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::inotify_add_watch(raw(group), path.as_ptr(), mask) })
}

/// `INOTIFY_IOC_SETNEXTWD` of linux/inotify.h.
const INOTIFY_IOC_SETNEXTWD: libc::Ioctl = 0x4004_4900;

/// The next watch gets this number, or the next free one after it. Linux 4.16
pub(crate) fn set_next_wd(group: &impl AsFd, wd: i32) -> nix::Result<()> {
    // SAFETY: this request takes a plain number.
    Errno::result(unsafe { libc::ioctl(raw(group), INOTIFY_IOC_SETNEXTWD, wd) }).map(drop)
}

/// A group without marks. fanotify_init(2)
pub(crate) fn fanotify_init(flags: u32, event_flags: u32) -> nix::Result<OwnedFd> {
    // SAFETY: it takes plain numbers.
    let fd = owned(unsafe { libc::fanotify_init(flags, event_flags) }.into())?;
    set_close_on_exec(&fd)?;
    Ok(fd)
}

fn set_close_on_exec(fd: &impl AsFd) -> nix::Result<()> {
    // SAFETY: F_SETFD takes a plain number.
    Errno::result(unsafe { libc::fcntl(raw(fd), libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Adds to or takes from the mark of what is behind a descriptor. fanotify_mark(2)
pub(crate) fn fanotify_mark(group: &impl AsFd, flags: u32, mask: u64, target: &impl AsFd) -> nix::Result<()> {
    let path = CString::new(magic_link(target)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::fanotify_mark(raw(group), flags, mask, libc::AT_FDCWD, path.as_ptr()) })
        .map(drop)
}

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: effective, permitted, inheritable; one for each 32 capabilities.
type CapData = [[u32; 3]; 2];

fn capset(data: &CapData) -> nix::Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    // SAFETY: the kernel reads one header and two structures of three words each.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Does something without `CAP_SYS_ADMIN`, which comes back after it.
pub(crate) fn without_sys_admin<T>(work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    const SYS_ADMIN: u32 = 1 << 21;
    let header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut own: CapData = [[0; 3]; 2];
    // SAFETY: the kernel reads one header and writes two structures of three words each.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, own.as_mut_ptr()) })?;
    let mut less = own;
    less[0][0] &= !SYS_ADMIN;
    capset(&less)?;
    let result = work();
    capset(&own)?;
    result
}

/// How many bytes of events wait to be read. ioctl(2), `FIONREAD`
pub(crate) fn queued(group: &impl AsFd) -> nix::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    Errno::result(unsafe { libc::ioctl(raw(group), libc::FIONREAD, &raw mut bytes) })?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// `MAX_HANDLE_SZ` of linux/exportfs.h: the longest handle, in bytes.
pub(crate) const MAX_HANDLE: usize = 128;

/// `struct file_handle` of linux/fs.h with room for any.
#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    data: [u8; MAX_HANDLE],
}

/// Opens (`O_PATH`) an inode by its handle, on the file system of the working directory: a descriptor of
/// a mount would have to be opened for reading, which is an event for whoever watches it.
/// open_by_handle_at(2)
pub(crate) fn open_by_handle_here(kind: u32, data: &[u8]) -> nix::Result<OwnedFd> {
    let mut handle = RawHandle {
        bytes: u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?,
        kind: kind.cast_signed(),
        data: [0; MAX_HANDLE],
    };
    let room = handle.data.get_mut(..data.len()).ok_or(Errno::EINVAL)?;
    room.copy_from_slice(data);
    // SAFETY: the kernel reads as many bytes as the handle says, which fit.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            libc::AT_FDCWD,
            &raw mut handle,
            libc::O_PATH | libc::O_CLOEXEC,
        )
    })
}

/// `AT_HANDLE_FID` of linux/fcntl.h: a handle that tells inodes apart and need not open. Linux 6.5
const AT_HANDLE_FID: i32 = 0x200;

/// The handle of what is behind a descriptor: type and bytes. name_to_handle_at(2)
pub(crate) fn handle_of(target: &impl AsFd) -> nix::Result<(u32, Vec<u8>)> {
    let mut handle = RawHandle {
        bytes: MAX_HANDLE as u32,
        kind: 0,
        data: [0; MAX_HANDLE],
    };
    let mut mount = 0;
    // SAFETY: the path is a C string; the kernel writes at most as many bytes as the handle says it has,
    // and one int.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            raw(target),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH | AT_HANDLE_FID,
        )
    })?;
    let data = handle.data.get(..handle.bytes as usize).ok_or(Errno::EOVERFLOW)?;
    Ok((handle.kind.cast_unsigned(), data.to_vec()))
}

/// A working directory that no other thread shares, to come back to.
pub(crate) struct Home(OwnedFd);

impl Home {
    /// Takes this thread's working directory away from the others. unshare(2), `CLONE_FS`
    pub(crate) fn note() -> nix::Result<Self> {
        // SAFETY: it takes a plain number, and changes what relative paths mean for nobody else.
        Errno::result(unsafe { libc::unshare(libc::CLONE_FS) })?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(".", flags, Mode::empty()).map(Self)
    }

    /// Goes to a directory until the drop.
    pub(crate) fn leave_for(&self, directory: &impl AsFd) -> nix::Result<Away<'_>> {
        change_directory(directory)?;
        Ok(Away(self))
    }
}

/// This thread is elsewhere.
pub(crate) struct Away<'a>(&'a Home);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        // It was possible to be there.
        let _ = change_directory(&self.0.0);
    }
}

fn change_directory(directory: &impl AsFd) -> nix::Result<()> {
    // SAFETY: it takes a plain number.
    Errno::result(unsafe { libc::fchdir(raw(directory)) }).map(drop)
}

/// The kernel's own encoding of a device number, as fdinfo and the images have it.
pub(crate) fn kernel_dev(dev: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    u32::try_from((major << 20) | (minor & 0xf_ffff)).unwrap_or(u32::MAX)
}

/// What is behind a link of /proc, as a path alone.
pub(crate) fn open_link(link: &str) -> nix::Result<OwnedFd> {
    nix::fcntl::open(link, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// An inode that goes with the descriptor: nothing else leads to it.
pub(crate) fn fleeting() -> nix::Result<OwnedFd> {
    // SAFETY: the name is a C string.
    let file = owned(unsafe { libc::memfd_create(c"gone".as_ptr(), libc::MFD_CLOEXEC) }.into())?;
    // Whoever watches it is not to see the file being closed.
    open_link(&magic_link(&file))
}

/// Bytes as a path.
pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
