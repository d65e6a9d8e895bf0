//! Makes rings again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_plugin_api::message::{MappingRecord, RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{AioRingEntry, MmEntry, VmaEntry};
use prost::{DecodeError, Message};

use crate::dump::{errno, object};
use crate::pages::Pages;
use crate::ring::{self, HEADER, Header, PAGE};

/// Places in a page behind one request.
const BATCH: u64 = (PAGE - IOCB) / 8;
/// Bytes of a `struct iocb`.
const IOCB: u64 = 64;

/// The rings of a restore.
#[derive(Default)]
pub(crate) struct Restore {
    /// The process whose turn it is: its rings come one after the other.
    process: RefCell<Option<Process>>,
}

/// What all rings of a process need.
struct Process {
    pid: i32,
    memory: File,
    pages: Pages,
    /// See [`ring::floor`].
    floor: u64,
    /// The encoded `mm_entry`, and the rings that it names, by their addresses.
    mm: Vec<u8>,
    entries: HashMap<u64, AioRingEntry>,
}

impl Process {
    fn of(host: &Host<'_>, record: &MappingRecord) -> Result<Self> {
        let mm = MmEntry::decode(record.mm.as_slice()).map_err(|e| decoding(record, &e))?;
        Ok(Self {
            pid: record.pid,
            memory: ring::memory(host, record.pid, true)?,
            pages: Pages::of(host, record.pid)?,
            floor: ring::floor(),
            mm: record.mm.clone(),
            entries: mm.aios.into_iter().map(|entry| (entry.id, entry)).collect(),
        })
    }
}

fn decoding(record: &MappingRecord, error: &DecodeError) -> Error {
    Error::new(format!("decoding a mapping of pid {}: {error}", record.pid))
}

impl Restore {
    /// A new restore begins.
    pub(crate) fn forget(&self) {
        self.process.take();
    }

    pub(crate) fn mapping(&self, host: &Host<'_>, record: &MappingRecord) -> Result<()> {
        let vma = VmaEntry::decode(record.vma.as_slice()).map_err(|e| decoding(record, &e))?;
        let action = || format!("restoring {}", object(record.pid, vma.start));
        let mut process = self.process.borrow_mut();
        let process = match process.take() {
            Some(known) if known.pid == record.pid && known.mm == record.mm => process.insert(known),
            _ => process.insert(Process::of(host, record).context(action)?),
        };
        restore(host, process, &vma).context(action)
    }
}

fn restore(host: &Host<'_>, process: &Process, vma: &VmaEntry) -> Result<()> {
    let length = vma.end.saturating_sub(vma.start);
    let entry = process.entries.get(&vma.start);
    let entry = entry.ok_or_else(|| Error::new("mm_entry does not know it: damaged"))?;
    if u64::from(entry.ring_len) != length || length > ring::MAX_LENGTH {
        let error = format!(
            "it is {} bytes long, its mapping {length}: damaged",
            entry.ring_len
        );
        return Err(Error::new(error));
    }
    let content = process.pages.read(vma.start, length)?;
    let saved = Header::parse(&content, length).map_err(Error::new)?;
    if !(1..=ring::requests_for(saved.nr)).contains(&entry.nr_req) {
        let error = format!(
            "{} requests make no ring of {length} bytes: damaged",
            entry.nr_req
        );
        return Err(Error::new(error));
    }
    Ring {
        host,
        pid: process.pid,
        memory: &process.memory,
        floor: process.floor,
    }
    .make(entry, length, saved, &content)
}

/// A ring in the making.
struct Ring<'a> {
    host: &'a Host<'a>,
    pid: i32,
    memory: &'a File,
    floor: u64,
}

impl Ring<'_> {
    fn make(&self, entry: &AioRingEntry, length: u64, saved: Header, content: &[u8]) -> Result<()> {
        let requests = ring::least_requests(length, self.floor);
        let context = self.set_up(requests)?;
        let fresh = ring::header_at(self.memory, context, length).map_err(|_| {
            Error::new(format!(
                "io_setup for {requests} requests makes no ring of {length} bytes here: this machine has more processors",
            ))
        })?;
        if fresh.head != 0 || fresh.tail != 0 {
            return Err(Error::new("a fresh ring is not empty"));
        }
        self.advance(context, length, saved)?;
        self.bring(context, entry.id, length)?;
        // Only the number of the context, the first word, is another one now.
        let events = &content[HEADER as usize..];
        self.memory
            .write_all_at(events, entry.id + HEADER)
            .context(|| "putting its events back")?;
        let now = ring::header_at(self.memory, entry.id, length)?;
        if now == saved {
            return Ok(());
        }
        Err(Error::new(format!(
            "it came to stand at {} to {} where it was at {} to {}",
            now.head, now.tail, saved.head, saved.tail
        )))
    }

    /// Brings an empty ring to where the saved one stood. The kernel keeps its own count of the tail, so
    /// that many requests have to complete: up to the head they are fetched at once, the rest stay as
    /// the events that waited.
    fn advance(&self, context: u64, length: u64, saved: Header) -> Result<()> {
        if saved.tail == 0 && saved.head == 0 {
            return Ok(());
        }
        let requests = Requests::make(self)?;
        let most = u64::from(ring::requests_for(saved.nr)).min(BATCH);
        let mut fetched = 0;
        while fetched < u64::from(saved.head) {
            fetched += requests.submit(context, (u64::from(saved.head) - fetched).min(most))?;
            // A program may fetch events by moving the head on.
            let now = ring::header_at(self.memory, context, length)?;
            self.set_head(context, now.tail)?;
        }
        let mut waiting = 0;
        while waiting < u64::from(saved.waiting()) {
            waiting += requests.submit(context, (u64::from(saved.waiting()) - waiting).min(BATCH))?;
        }
        requests.remove()
    }

    fn set_head(&self, context: u64, head: u32) -> Result<()> {
        self.memory
            .write_all_at(&head.to_ne_bytes(), context + ring::HEAD)
            .context(|| "moving its head")
    }

    /// io_setup(2): the address of a new context.
    fn set_up(&self, requests: u64) -> Result<u64> {
        let args = vec![
            RemoteArg {
                value: requests,
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

    fn call(&self, name: &str, nr: i64, args: &[u64]) -> Result<u64> {
        let result = self.host.remote_syscall(self.pid, nr, args).context(|| name)?;
        self.result(name, result)
    }

    fn result(&self, name: &str, result: i64) -> Result<u64> {
        u64::try_from(result).map_err(|_| Error::new(format!("{name}: {}", errno(result).desc())))
    }
}

/// Requests in the task that complete at once: reads of an empty file.
struct Requests<'a> {
    ring: &'a Ring<'a>,
    fd: u64,
    page: u64,
}

impl<'a> Requests<'a> {
    fn make(ring: &'a Ring<'a>) -> Result<Self> {
        let name = RemoteArg {
            data: Some(b"aio\0".to_vec()),
            ..RemoteArg::default()
        };
        let flags = RemoteArg {
            value: libc::MFD_CLOEXEC.into(),
            ..RemoteArg::default()
        };
        let call = RemoteCall {
            pid: ring.pid,
            nr: libc::SYS_memfd_create,
            args: vec![name, flags],
        };
        let fd = ring.result("memfd_create", ring.host.remote_call(&call)?.value)?;
        let page = ring.map(PAGE)?;
        let what = || "writing requests into the process";
        ring.memory
            .write_all_at(&requests(page, fd), page)
            .context(what)?;
        Ok(Self { ring, fd, page })
    }

    /// io_submit(2) of so many; how many were taken.
    fn submit(&self, context: u64, count: u64) -> Result<u64> {
        match self.ring.call(
            "io_submit",
            libc::SYS_io_submit,
            &[context, count, self.page + IOCB],
        )? {
            taken if (1..=count).contains(&taken) => Ok(taken),
            taken => Err(Error::new(format!("io_submit took {taken} of {count} requests"))),
        }
    }

    fn remove(self) -> Result<()> {
        self.ring.call("munmap", libc::SYS_munmap, &[self.page, PAGE])?;
        self.ring.call("close", libc::SYS_close, &[self.fd]).map(drop)
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
