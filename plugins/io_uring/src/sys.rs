//! The system calls of io_uring(7), and memory of rings. Numbers are those of linux/io_uring.h.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

/// Flags of io_uring_setup(2).
pub(crate) mod setup {
    pub(crate) const IOPOLL: u32 = 1 << 0;
    pub(crate) const SQPOLL: u32 = 1 << 1;
    pub(crate) const SQ_AFF: u32 = 1 << 2;
    pub(crate) const CQSIZE: u32 = 1 << 3;
    pub(crate) const ATTACH_WQ: u32 = 1 << 5;
    pub(crate) const R_DISABLED: u32 = 1 << 6;
    pub(crate) const SUBMIT_ALL: u32 = 1 << 7;
    pub(crate) const TASKRUN_FLAG: u32 = 1 << 9;
    pub(crate) const SQE128: u32 = 1 << 10;
    pub(crate) const CQE32: u32 = 1 << 11;
    pub(crate) const SINGLE_ISSUER: u32 = 1 << 12;
    pub(crate) const DEFER_TASKRUN: u32 = 1 << 13;
    pub(crate) const NO_SQARRAY: u32 = 1 << 16;
    /// Since Linux 6.18.
    pub(crate) const CQE_MIXED: u32 = 1 << 18;
}

/// Operations of io_uring_register(2).
pub(crate) mod register {
    pub(crate) const BUFFERS: u32 = 0;
    pub(crate) const FILES: u32 = 2;
    pub(crate) const EVENTFD: u32 = 4;
    pub(crate) const PROBE: u32 = 8;
    pub(crate) const RESTRICTIONS: u32 = 11;
    pub(crate) const ENABLE_RINGS: u32 = 12;
    pub(crate) const RING_FDS: u32 = 20;
    pub(crate) const PBUF_STATUS: u32 = 26;
    pub(crate) const NAPI: u32 = 27;
    pub(crate) const RESIZE_RINGS: u32 = 33;
    pub(crate) const MEM_REGION: u32 = 34;
}

/// Flags of io_uring_enter(2).
pub(crate) mod enter {
    pub(crate) const GETEVENTS: u32 = 1 << 0;
    pub(crate) const SQ_WAKEUP: u32 = 1 << 1;
    pub(crate) const EXT_ARG: u32 = 1 << 3;
    pub(crate) const REGISTERED_RING: u32 = 1 << 4;
}

/// Offsets of mmap(2).
pub(crate) const OFF_SQ_RING: u64 = 0;
pub(crate) const OFF_CQ_RING: u64 = 0x0800_0000;
pub(crate) const OFF_SQES: u64 = 0x1000_0000;

/// An address at which nothing is: what reads its argument there answers `EFAULT`.
pub(crate) const NOWHERE: u64 = 8;

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Params {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) flags: u32,
    pub(crate) sq_thread_cpu: u32,
    pub(crate) sq_thread_idle: u32,
    pub(crate) features: u32,
    pub(crate) wq_fd: u32,
    pub(crate) reserved: [u32; 3],
    pub(crate) sq: SqOffsets,
    pub(crate) cq: CqOffsets,
}

/// `struct io_sqring_offsets`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) flags: u32,
    pub(crate) dropped: u32,
    pub(crate) array: u32,
    reserved: u32,
    user_addr: u64,
}

/// `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) overflow: u32,
    pub(crate) cqes: u32,
    pub(crate) flags: u32,
    reserved: u32,
    user_addr: u64,
}

/// io_uring_setup(2). The descriptor is closed on exec.
pub(crate) fn make(entries: u32, params: &mut Params) -> nix::Result<OwnedFd> {
    // SAFETY: the call reads and fills the struct, which lives here and is as long as the kernel's.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut *params) };
    owned(fd)
}

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// io_uring_enter(2) without an argument: its result, or the negative errno.
pub(crate) fn enter_ring(ring: impl AsFd, submit: u32, complete: u32, flags: u32) -> i64 {
    let fd = ring.as_fd().as_raw_fd();
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: the kernel is given no address; what requests of the ring point at is up to who wrote them.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, submit, complete, flags, none, 0) };
    raw(result)
}

/// io_uring_register(2) with an argument at an address where nothing is: the negative errno.
pub(crate) fn register_nowhere(ring: impl AsFd, operation: u32, count: u32) -> i64 {
    let fd = ring.as_fd().as_raw_fd();
    // SAFETY: nothing is mapped at the address, so that the kernel neither reads nor writes there.
    raw(unsafe { libc::syscall(libc::SYS_io_uring_register, fd, operation, NOWHERE, count) })
}

/// `IORING_REGISTER_PBUF_STATUS`: the negative errno, or 0.
pub(crate) fn buffer_group(ring: impl AsFd, group: u16) -> i64 {
    let mut status = group_status(group);
    let fd = ring.as_fd().as_raw_fd();
    // SAFETY: the kernel reads and writes one `struct io_uring_buf_status`, which is as long as the bytes.
    raw(unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            register::PBUF_STATUS,
            status.as_mut_ptr(),
            1,
        )
    })
}

/// `struct io_uring_buf_status` of a group.
pub(crate) fn group_status(group: u16) -> [u8; 40] {
    let mut status = [0; 40];
    status[..2].copy_from_slice(&group.to_le_bytes());
    status
}

fn raw(result: libc::c_long) -> i64 {
    if result < 0 {
        -i64::from(Errno::last_raw())
    } else {
        result
    }
}

/// The errno of a raw result, `None` if it is none.
pub(crate) fn errno(result: i64) -> Option<Errno> {
    let negative = i32::try_from(result).ok().filter(|value| *value < 0)?;
    Some(Errno::from_raw(-negative))
}

/// A copy of a descriptor of another process, pidfd_getfd(2).
pub(crate) fn descriptor_of(pid: i32, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes plain numbers.
    let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// Waits until a ring has completions or so many milliseconds have passed, poll(2).
pub(crate) fn await_ring(ring: BorrowedFd<'_>, milliseconds: u16) -> nix::Result<()> {
    use nix::poll::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(ring, PollFlags::POLLIN)];
    match poll(&mut fds, milliseconds) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Part of a ring's memory, mapped into this process.
#[derive(Debug)]
pub(crate) struct Memory {
    at: *mut libc::c_void,
    length: usize,
}

impl Memory {
    /// Maps `length` bytes of a ring from an offset on. The caller looks only where the ring has memory.
    pub(crate) fn map(ring: impl AsFd, offset: u64, length: usize) -> nix::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
        );
        let offset = offset.try_into().map_err(|_| Errno::EINVAL)?;
        let fd = ring.as_fd().as_raw_fd();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { at, length })
    }

    /// Whether a page of it is there: rings are shorter than what can be mapped of them.
    pub(crate) fn has(&self, at: usize) -> bool {
        let mut byte = [0_u8];
        at < self.length && self.read(at, &mut byte).is_ok()
    }

    /// Copies bytes out of it, by way of the kernel, which says so where there are none.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) -> nix::Result<()> {
        use nix::sys::uio::{RemoteIoVec, process_vm_readv};
        if to.is_empty() {
            return Ok(());
        }
        if at.checked_add(to.len()).is_none_or(|end| end > self.length) {
            return Err(Errno::EFAULT);
        }
        let there = RemoteIoVec {
            base: self.at as usize + at,
            len: to.len(),
        };
        let (own, length) = (nix::unistd::getpid(), to.len());
        let read = process_vm_readv(own, &mut [std::io::IoSliceMut::new(to)], &[there])?;
        if read == length {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies bytes into it.
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> nix::Result<()> {
        use nix::sys::uio::{RemoteIoVec, process_vm_writev};
        if from.is_empty() {
            return Ok(());
        }
        if at.checked_add(from.len()).is_none_or(|end| end > self.length) {
            return Err(Errno::EFAULT);
        }
        let there = RemoteIoVec {
            base: self.at as usize + at,
            len: from.len(),
        };
        let own = nix::unistd::getpid();
        let written = process_vm_writev(own, &[std::io::IoSlice::new(from)], &[there])?;
        if written == from.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// A word in the first page, which every ring has.
    pub(crate) fn word(&self, at: u32) -> nix::Result<&AtomicU32> {
        let at = at as usize;
        if !at.is_multiple_of(4) || at + 4 > self.length.min(4096) {
            return Err(Errno::EFAULT);
        }
        // SAFETY: aligned, within the first page of this mapping, which lives as long as `self`; the kernel and the
        // program change such words by atomic operations.
        Ok(unsafe { AtomicU32::from_ptr(self.at.cast::<u8>().add(at).cast()) })
    }

    pub(crate) fn load(&self, at: u32) -> nix::Result<u32> {
        Ok(self.word(at)?.load(Ordering::Acquire))
    }

    pub(crate) fn store(&self, at: u32, value: u32) -> nix::Result<()> {
        self.word(at)?.store(value, Ordering::Release);
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it outlives the value.
        unsafe { libc::munmap(self.at, self.length) };
    }
}
