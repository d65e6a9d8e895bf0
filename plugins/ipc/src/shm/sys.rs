//! shmctl(2) and its relatives.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::ptr::NonNull;

use nix::errno::Errno;

/// A segment as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) key: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) cuid: u32,
    pub(crate) cgid: u32,
    /// With `SHM_DEST` and `SHM_LOCKED`.
    pub(crate) mode: u32,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) creator: i32,
    pub(crate) attachments: u64,
}

/// `IPC_STAT`; a process that may do all sees every segment of its namespace.
pub(crate) fn stat(id: i32) -> nix::Result<Segment> {
    let ds = read(id)?;
    Ok(Segment {
        key: ds.shm_perm.__key.cast_unsigned(),
        uid: ds.shm_perm.uid,
        gid: ds.shm_perm.gid,
        cuid: ds.shm_perm.cuid,
        cgid: ds.shm_perm.cgid,
        #[allow(
            clippy::useless_conversion,
            reason = "the type of mode differs between C libraries"
        )]
        mode: ds.shm_perm.mode.into(),
        size: ds.shm_segsz as u64,
        creator: ds.shm_cpid,
        attachments: ds.shm_nattch,
    })
}

fn read(id: i32) -> nix::Result<libc::shmid_ds> {
    // SAFETY: the struct is made of integers alone, for which zero is a value.
    let mut ds: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT fills the struct, which lives here.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut ds) })?;
    Ok(ds)
}

/// `IPC_SET`: owner and permissions.
pub(crate) fn set(id: i32, uid: u32, gid: u32, mode: u32) -> nix::Result<()> {
    let mut ds = read(id)?;
    (ds.shm_perm.uid, ds.shm_perm.gid) = (uid, gid);
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of mode differs between C libraries"
    )]
    {
        ds.shm_perm.mode = (mode & 0o777) as _;
    }
    // SAFETY: IPC_SET reads the struct, which lives here.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut ds) }).map(drop)
}

/// `IPC_RMID`: goes with its last attachment.
pub(crate) fn remove(id: i32) -> nix::Result<()> {
    control(id, libc::IPC_RMID)
}

/// `SHM_LOCK`: stays in memory.
pub(crate) fn lock(id: i32) -> nix::Result<()> {
    control(id, 11)
}

fn control(id: i32, command: libc::c_int) -> nix::Result<()> {
    // SAFETY: neither command reads or writes through the pointer.
    Errno::result(unsafe { libc::shmctl(id, command, std::ptr::null_mut()) }).map(drop)
}

/// shmget(2), by this process.
pub(crate) fn get(key: u32, size: u64, flags: i32) -> nix::Result<i32> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    // SAFETY: takes plain numbers.
    Errno::result(unsafe { libc::shmget(key.cast_signed(), size, flags) })
}

/// An unnamed file in memory, memfd_create(2).
pub(crate) fn memory_file() -> nix::Result<File> {
    // SAFETY: the name is a C string that lives during the call.
    let fd = Errno::result(unsafe { libc::memfd_create(c"contents".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A range of an object, mapped for writing.
pub(crate) struct Window {
    at: NonNull<libc::c_void>,
    length: usize,
}

impl Window {
    /// `length` bytes at `start` of an object.
    pub(crate) fn of(object: BorrowedFd<'_>, start: u64, length: u64) -> nix::Result<Self> {
        let offset = i64::try_from(start).map_err(|_| Errno::EFBIG)?;
        let size = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        // A page that cannot be had is an error here, not a signal at the first write.
        // SAFETY: takes plain numbers.
        Errno::result(unsafe { libc::fallocate(object.as_raw_fd(), 0, offset, size) })?;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                object.as_raw_fd(),
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let at = NonNull::new(at).ok_or(Errno::EINVAL)?;
        Ok(Self { at, length })
    }

    /// Copies bytes to an offset within it; what would lie beyond it is left out.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let count = data.len().min(self.length - offset);
        // SAFETY: `offset + count` is within the mapping, which is writable; the data lies elsewhere.
        unsafe {
            let to = self.at.as_ptr().cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(data.as_ptr(), to, count);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `of`, and nothing refers into it.
        unsafe { libc::munmap(self.at.as_ptr(), self.length) };
    }
}
