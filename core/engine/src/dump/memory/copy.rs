//! One copy of each page.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{PAGE, Run};
use crate::error::{Context, Result};

/// Copies runs of a process into `to`, which is exactly as long as they are together.
///
/// # Errors
/// The process is gone, or a page cannot be read; the address is named.
pub(crate) fn copy(pid: i32, runs: &[Run], to: &mut [u8]) -> Result<()> {
    let mut copier = Copier { pid, mem: None };
    let mut at = 0;
    let mut batch: Vec<libc::iovec> = Vec::with_capacity(runs.len().min(MAX_IOV));
    let mut batched = 0;
    for run in runs {
        let len = (run.end - run.start) as usize;
        if !run.readable {
            copier.flush(&mut batch, &mut to[at - batched..at])?;
            batched = 0;
            copier.peek(run.start, &mut to[at..at + len])?;
        } else {
            batch.push(libc::iovec {
                iov_base: run.start as *mut libc::c_void,
                iov_len: len,
            });
            batched += len;
        }
        at += len;
        if batch.len() == MAX_IOV {
            copier.flush(&mut batch, &mut to[at - batched..at])?;
            batched = 0;
        }
    }
    copier.flush(&mut batch, &mut to[at - batched..at])
}

/// `IOV_MAX`, see process_vm_readv(2).
const MAX_IOV: usize = 1024;
/// At most this much in one call, so that a killed dump ends soon.
const MAX_CALL: usize = 64 << 20;

struct Copier {
    pid: i32,
    mem: Option<File>,
}

impl Copier {
    /// Reads a batch of remote ranges, emptying it; `to` is as long as they are.
    fn flush(&mut self, batch: &mut Vec<libc::iovec>, to: &mut [u8]) -> Result<()> {
        let mut done = 0;
        let mut index = 0;
        while index < batch.len() {
            let local = libc::iovec {
                iov_base: to[done..].as_mut_ptr().cast(),
                iov_len: (to.len() - done).min(MAX_CALL),
            };
            // SAFETY: `local` describes writable bytes of `to`; the remote ranges are only read.
            let got = unsafe {
                libc::process_vm_readv(
                    self.pid,
                    &raw const local,
                    1,
                    batch[index..].as_ptr(),
                    (batch.len() - index) as libc::c_ulong,
                    0,
                )
            };
            if got <= 0 {
                let error = std::io::Error::last_os_error();
                let address = batch[index].iov_base as u64;
                if got == 0 || error.raw_os_error() == Some(libc::EFAULT) {
                    // Not readable this way (no access, or an odd mapping): one page the slow way.
                    let len = batch[index].iov_len.min(PAGE as usize);
                    self.peek(address, &mut to[done..done + len])?;
                    done += len;
                    advance(batch, &mut index, len);
                    continue;
                }
                return Err(error)
                    .context(|| format!("reading the memory of process {} at {address:#x}", self.pid));
            }
            done += got as usize;
            advance(batch, &mut index, got as usize);
        }
        batch.clear();
        Ok(())
    }

    /// Reads through `/proc/PID/mem`, which the protection of the mapping does not stop.
    fn peek(&mut self, address: u64, to: &mut [u8]) -> Result<()> {
        if self.mem.is_none() {
            let path = format!("/proc/{}/mem", self.pid);
            self.mem = Some(File::open(&path).context(|| format!("opening {path}"))?);
        }
        let Some(mem) = &self.mem else { return Ok(()) };
        mem.read_exact_at(to, address)
            .context(|| format!("reading the memory of process {} at {address:#x}", self.pid))
    }
}

/// Drops `len` bytes from the front of the ranges that begin at `index`.
fn advance(batch: &mut [libc::iovec], index: &mut usize, mut len: usize) {
    while len > 0 {
        let range = &mut batch[*index];
        let step = len.min(range.iov_len);
        range.iov_base = (range.iov_base as usize + step) as *mut libc::c_void;
        range.iov_len -= step;
        len -= step;
        if range.iov_len == 0 {
            *index += 1;
        }
    }
}
