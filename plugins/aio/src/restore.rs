//! Makes rings again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_plugin_api::message::{MappingRecord, RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{AioRingEntry, MmEntry, VmaEntry};
use prost::Message;

use crate::dump::{errno, object};
use crate::pages;
use crate::ring::{self, EVENT, HEADER, Header};

const PAGE: u64 = 4096;
/// Places in a page behind one request.
const BATCH: u64 = (PAGE - IOCB) / 8;
/// Bytes of a `struct iocb`.
const IOCB: u64 = 64;

pub(crate) fn restore(host: &Host<'_>, record: &MappingRecord) -> Result<()> {
    let decoding = |e| Error::new(format!("decoding a mapping of pid {}: {e}", record.pid));
    let vma = VmaEntry::decode(record.vma.as_slice()).map_err(decoding)?;
    let mm = MmEntry::decode(record.mm.as_slice()).map_err(decoding)?;
    let length = vma.end.saturating_sub(vma.start);
    let action = || format!("restoring {}", object(record.pid, vma.start));
    let entry = mm.aios.iter().find(|entry| entry.id == vma.start);
    let entry = entry
        .ok_or_else(|| Error::new("mm_entry does not know it: damaged"))
        .context(action)?;
    if u64::from(entry.ring_len) != length || length > ring::MAX_LENGTH {
        let error = format!(
            "it is {} bytes long, its mapping {length}: damaged",
            entry.ring_len
        );
        return Err(Error::new(error)).context(action);
    }
    let content = pages::read(host, record.pid, vma.start, length).context(action)?;
    let saved = Header::parse(&content, length)
        .map_err(Error::new)
        .context(action)?;
    let memory = ring::memory(host, record.pid, true).context(action)?;
    Ring {
        host,
        pid: record.pid,
        memory,
    }
    .make(entry, length, saved, &content)
    .context(action)
}

/// A ring in the making.
struct Ring<'a> {
    host: &'a Host<'a>,
    pid: i32,
    memory: File,
}

impl Ring<'_> {
    fn make(&self, entry: &AioRingEntry, length: u64, saved: Header, content: &[u8]) -> Result<()> {
        let context = self.set_up(entry.nr_req)?;
        let fresh = ring::header_at(&self.memory, context, length).map_err(|_| {
            Error::new(format!(
                "io_setup for {} requests makes no ring of {length} bytes here: this machine has more processors",
                entry.nr_req
            ))
        })?;
        if saved.waiting() > 0 {
            self.complete(context, saved.waiting())?;
            let now = ring::header_at(&self.memory, context, length)?;
            if now.waiting() != saved.waiting() {
                let (have, want) = (now.waiting(), saved.waiting());
                return Err(Error::new(format!(
                    "it holds {have} events where {want} were to be put"
                )));
            }
        }
        self.bring(context, entry.id, length)?;
        // The kernel has put the stand-ins from the first place on.
        for index in 0..saved.waiting() {
            let from = saved.place(index) as usize;
            let to = entry.id + fresh.place(index);
            self.memory
                .write_all_at(&content[from..from + EVENT as usize], to)
                .context(|| format!("putting back event {index}"))?;
        }
        Ok(())
    }

    /// io_setup(2): the address of a new context.
    fn set_up(&self, requests: u32) -> Result<u64> {
        let args = vec![
            RemoteArg {
                value: requests.into(),
                ..RemoteArg::default()
            },
            RemoteArg {
                data: Some(vec![0; 8]),
                room: 8,
                ..RemoteArg::default()
            },
        ];
        let call = RemoteCall {
            pid: self.pid,
            nr: libc::SYS_io_setup,
            args,
        };
        let result = self.host.remote_call(&call).context(|| "io_setup")?;
        if result.value < 0 {
            let error = Error::new(format!(
                "io_setup for {requests} requests: {}",
                errno(result.value).desc()
            ));
            return Err(error.with_remedy("/proc/sys/fs/aio-max-nr may have to be raised"));
        }
        let context = result
            .data
            .first()
            .and_then(|bytes| bytes.as_slice().try_into().ok());
        context
            .map(u64::from_ne_bytes)
            .ok_or_else(|| Error::new("io_setup: the host did not read its result"))
    }

    /// Moves the ring to its address; the kernel takes note of that.
    fn bring(&self, from: u64, to: u64, length: u64) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let mut from = from;
        if from.abs_diff(to) < length {
            // mremap(2) does not move a mapping onto itself: it goes by a third place.
            let third = self.map(length)?;
            self.mremap(from, third, length)?;
            from = third;
        }
        self.mremap(from, to, length)
    }

    fn mremap(&self, from: u64, to: u64, length: u64) -> Result<()> {
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned().into();
        self.call("mremap", libc::SYS_mremap, &[from, length, length, flags, to])
            .map(drop)
    }

    /// Fresh memory of the task.
    fn map(&self, length: u64) -> Result<u64> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE).cast_unsigned().into();
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned().into();
        self.call(
            "mmap",
            libc::SYS_mmap,
            &[0, length, protection, flags, u64::MAX, 0],
        )
    }

    /// Has so many requests complete at once: reads of an empty file. Only so does the kernel count the
    /// events of the ring as its own.
    fn complete(&self, context: u64, count: u32) -> Result<()> {
        let name = RemoteArg {
            data: Some(b"aio\0".to_vec()),
            ..RemoteArg::default()
        };
        let flags = RemoteArg {
            value: libc::MFD_CLOEXEC.into(),
            ..RemoteArg::default()
        };
        let call = RemoteCall {
            pid: self.pid,
            nr: libc::SYS_memfd_create,
            args: vec![name, flags],
        };
        let fd = self.result("memfd_create", self.host.remote_call(&call)?.value)?;
        let scratch = self.map(PAGE)?;
        self.memory
            .write_all_at(&requests(scratch, fd), scratch)
            .context(|| "writing requests into the process")?;
        let mut left = u64::from(count);
        while left > 0 {
            let args = [context, left.min(BATCH), scratch + IOCB];
            let submitted = self.call("io_submit", libc::SYS_io_submit, &args)?;
            if submitted == 0 || submitted > left {
                return Err(Error::new(format!(
                    "io_submit took {submitted} of {left} requests"
                )));
            }
            left -= submitted;
        }
        self.call("munmap", libc::SYS_munmap, &[scratch, PAGE])?;
        self.call("close", libc::SYS_close, &[fd]).map(drop)
    }

    fn call(&self, name: &str, nr: i64, args: &[u64]) -> Result<u64> {
        let result = self.host.remote_syscall(self.pid, nr, args).context(|| name)?;
        self.result(name, result)
    }

    fn result(&self, name: &str, result: i64) -> Result<u64> {
        u64::try_from(result).map_err(|_| Error::new(format!("{name}: {}", errno(result).desc())))
    }
}

/// A page for io_submit(2): one `struct iocb` that reads a byte from `fd`, then as many pointers to it
/// as there is room for.
fn requests(page: u64, fd: u64) -> Vec<u8> {
    /// `IOCB_CMD_PREAD`.
    const PREAD: u16 = 0;
    let mut bytes = vec![0; IOCB as usize];
    bytes[16..18].copy_from_slice(&PREAD.to_ne_bytes());
    bytes[20..24].copy_from_slice(&(fd as u32).to_ne_bytes());
    // Into the part of the request that the kernel does not use; nothing will come.
    bytes[24..32].copy_from_slice(&(page + 48).to_ne_bytes());
    bytes[32..40].copy_from_slice(&1_u64.to_ne_bytes());
    for _ in 0..BATCH {
        bytes.extend_from_slice(&page.to_ne_bytes());
    }
    debug_assert!(bytes.len() as u64 <= PAGE && HEADER <= IOCB);
    bytes
}
