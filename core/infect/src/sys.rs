//! The few raw calls: ptrace with its errors, and the memory of another process.

use std::ffi::c_void;

use nix::errno::Errno;

use crate::error::{Error, Result};

/// `ptrace(2)`.
///
/// # Safety
/// `addr` and `data` are what the request wants: where it writes, they point to enough memory.
pub(crate) unsafe fn ptrace(
    tid: i32,
    doing: &'static str,
    request: u32,
    addr: usize,
    data: usize,
) -> Result<i64> {
    #[cfg(test)]
    crate::tests::step();
    Errno::clear();
    // SAFETY: the caller's promise.
    let got = unsafe { libc::syscall(libc::SYS_ptrace, request as usize, tid as usize, addr, data) };
    if got >= 0 {
        return Ok(got);
    }
    match Errno::last() {
        Errno::ESRCH => Err(Error::Gone { tid }),
        errno => Err(Error::Sys { tid, doing, errno }),
    }
}

/// A thread's state: the letter in `/proc/PID/task/TID/stat`, none if it does not exist.
pub(crate) fn state(tid: i32) -> Option<char> {
    // That of the process adds up what its threads have used.
    let stat = std::fs::read_to_string(format!("/proc/{tid}/task/{tid}/stat")).ok()?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

/// Reads memory that the task itself may read: `process_vm_readv(2)`.
pub(crate) fn read_mem(tid: i32, address: u64, to: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < to.len() {
        let rest = &mut to[done..];
        let local = libc::iovec {
            iov_base: rest.as_mut_ptr().cast::<c_void>(),
            iov_len: rest.len(),
        };
        let remote = libc::iovec {
            iov_base: (address as usize + done) as *mut c_void,
            iov_len: local.iov_len,
        };
        // SAFETY: one local vector over a slice that we hold.
        let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
        if n <= 0 {
            let errno = if n == 0 { Errno::EFAULT } else { Errno::last() };
            return Err(Error::Memory {
                tid,
                doing: "reading",
                address,
                len: to.len(),
                errno,
            });
        }
        done += n as usize;
    }
    Ok(())
}

/// Writes memory that the task itself may write: `process_vm_writev(2)`.
pub(crate) fn write_mem(tid: i32, address: u64, from: &[u8]) -> Result<()> {
    #[cfg(test)]
    crate::tests::step();
    let mut done = 0;
    while done < from.len() {
        let rest = &from[done..];
        let local = libc::iovec {
            iov_base: rest.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: rest.len(),
        };
        let remote = libc::iovec {
            iov_base: (address as usize + done) as *mut c_void,
            iov_len: local.iov_len,
        };
        // SAFETY: one local vector over a slice that we hold; the call only reads it.
        let n = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
        if n <= 0 {
            let errno = if n == 0 { Errno::EFAULT } else { Errno::last() };
            return Err(Error::Memory {
                tid,
                doing: "writing",
                address,
                len: from.len(),
                errno,
            });
        }
        done += n as usize;
    }
    Ok(())
}

/// Addresses that one call takes.
const MAX_VECTORS: usize = 128;

/// Writes pieces of memory that the task itself may write, many by one call of `process_vm_writev(2)`.
pub(crate) fn write_all(tid: i32, pieces: &[(u64, Vec<u8>)]) -> Result<()> {
    for pieces in pieces.chunks(MAX_VECTORS) {
        #[cfg(test)]
        crate::tests::step();
        let local = pieces.iter().map(|(_, bytes)| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: bytes.len(),
        });
        let remote = pieces.iter().map(|(address, bytes)| libc::iovec {
            iov_base: *address as usize as *mut c_void,
            iov_len: bytes.len(),
        });
        let (local, remote): (Vec<_>, Vec<_>) = local.zip(remote).unzip();
        let count = local.len() as libc::c_ulong;
        // SAFETY: the local vectors are over slices that we hold; the call only reads them.
        let n = unsafe { libc::process_vm_writev(tid, local.as_ptr(), count, remote.as_ptr(), count, 0) };
        let mut done = usize::try_from(n).unwrap_or(0);
        for (address, bytes) in pieces {
            if done < bytes.len() {
                // From where it did not go on.
                write_mem(tid, *address, bytes)?;
            }
            done = done.saturating_sub(bytes.len());
        }
    }
    Ok(())
}

/// Reads values made of integers from the task, many by one call of `process_vm_readv(2)`.
///
/// # Safety
/// Every bit pattern is a valid `T`.
pub(crate) unsafe fn read_values<T: Copy>(tid: i32, at: &[u64]) -> Result<Vec<T>> {
    let mut values = Vec::with_capacity(at.len());
    for at in at.chunks(MAX_VECTORS) {
        let mut bytes = vec![0u8; at.len() * size_of::<T>()];
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast::<c_void>(),
            iov_len: bytes.len(),
        };
        let remote: Vec<libc::iovec> = at
            .iter()
            .map(|&address| libc::iovec {
                iov_base: address as usize as *mut c_void,
                iov_len: size_of::<T>(),
            })
            .collect();
        let count = remote.len() as libc::c_ulong;
        // SAFETY: one local vector over a vector that we hold.
        let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, remote.as_ptr(), count, 0) };
        if usize::try_from(n) == Ok(bytes.len()) {
            // SAFETY: each piece was read; any bits are valid by the caller's promise.
            let value = |piece: &[u8]| unsafe { piece.as_ptr().cast::<T>().read_unaligned() };
            values.extend(bytes.chunks_exact(size_of::<T>()).map(value));
        } else {
            for &address in at {
                // SAFETY: the caller's promise.
                values.push(unsafe { read_value(tid, address) }?);
            }
        }
    }
    Ok(values)
}

/// Reads a value made of integers from the task.
///
/// # Safety
/// Every bit pattern is a valid `T`.
pub(crate) unsafe fn read_value<T: Copy>(tid: i32, address: u64) -> Result<T> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: zeroed memory of the value's size.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
    read_mem(tid, address, bytes)?;
    // SAFETY: initialised above; any bits are valid by the caller's promise.
    Ok(unsafe { value.assume_init() })
}
