//! Brings a fresh ring to the positions of the saved one, and its contents into it.
//!
//! Programs keep the positions, which only grow, in their own memory, so the kernel's have to be the same again. Each
//! request that does nothing (`IORING_OP_NOP`) moves that of the requests by one, and that of the completions unless it
//! asks for none. The kernel looks at the program's end of the completions only now and then, and remembers how many
//! places from there on are free: as long as that end is never ahead of where it is to be at last, what the kernel
//! remembers is never more than what is free then.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Result};
use nix::errno::Errno;

use crate::cost::remote_calls;
use crate::dump::said;
use crate::entry::RingEntry;
use crate::fdinfo::FdInfo;
use crate::layout::Layout;
use crate::ring::number;
use crate::same_cpu::on_one_cpu;
use crate::sys::{self, Memory, enter, register, setup};

/// `IOSQE_CQE_SKIP_SUCCESS`
const SKIP: u8 = 1 << 6;
/// `IORING_SQ_NEED_WAKEUP`
const NEED_WAKEUP: u32 = 1 << 0;
/// From so many requests on it is worth a line in the log.
const LONG_WORK: u64 = 20_000_000;

/// From so many calls by a thread of the tree on it is worth to look for that thread and to move it.
const MANY_CALLS: u64 = 100;

/// A ring in the making.
pub(crate) struct Ring<'a> {
    host: &'a Host<'a>,
    entry: &'a RingEntry,
    /// The process that made it, as it is called here, its number there, and the ring itself.
    pid: i32,
    fd: i32,
    local: OwnedFd,
    layout: Layout,
    memory: Memory,
    requests: Memory,
}

/// The end of the requests of a ring with a thread of its own, to be set when all else is done.
pub(crate) struct Tail {
    local: OwnedFd,
    memory: Memory,
    at: u32,
    value: u32,
}

impl Tail {
    pub(crate) fn set(&self) -> Result<()> {
        self.memory
            .store(self.at, self.value)
            .context(|| "writing to the memory of a ring")?;
        let result = sys::enter_ring(&self.local, 0, 0, enter::SQ_WAKEUP);
        if result < 0 {
            return Err(Error::new(format!(
                "waking the thread of a ring: {}",
                said(result)
            )));
        }
        Ok(())
    }
}

impl<'a> Ring<'a> {
    /// The ring behind a descriptor of the process of this number here.
    pub(crate) fn of(host: &'a Host<'a>, entry: &'a RingEntry, pid: i32, fd: i32) -> Result<Self> {
        let local = sys::descriptor_of(pid, fd).context(|| "copying its descriptor")?;
        let layout = Layout::of(entry.sq_entries, entry.cq_entries, entry.setup)
            .context(|| "making a ring of its size")?;
        let memory = Memory::map(&local, sys::OFF_SQ_RING, layout.rings()).context(|| "mapping it")?;
        let requests =
            Memory::map(&local, sys::OFF_SQES, layout.sqes()).context(|| "mapping its requests")?;
        Ok(Self {
            host,
            entry,
            pid,
            fd,
            local,
            layout,
            memory,
            requests,
        })
    }

    /// All of it. What a thread of its own would begin with at once is left to be done.
    pub(crate) fn bring(self) -> Result<Option<Tail>> {
        let entry = self.entry;
        let fresh = self.info()?;
        if (fresh.cached_sq_head, fresh.cached_cq_tail, fresh.sq_tail) != (0, 0, 0) {
            return Err(Error::new("a fresh ring is not empty"));
        }
        if entry.issuer != 0 {
            let args = [number(self.fd), register::ENABLE_RINGS.into(), 0, 0];
            let result = self
                .host
                .remote_syscall(entry.issuer, libc::SYS_io_uring_register, &args)?;
            if result < 0 {
                return Err(Error::new(format!(
                    "enabling it in thread {}: {}",
                    entry.issuer,
                    said(result)
                )));
            }
        }
        if remote_calls(entry) < MANY_CALLS {
            self.advance()?;
        } else {
            on_one_cpu(self.pid, entry.issuer, || self.advance())?;
        }
        let tail_waits = entry.setup & setup::SQPOLL != 0 && entry.sq_tail != entry.sq_head;
        self.fill(tail_waits)?;
        let now = self.info()?;
        let positions = (now.cached_sq_head, now.cached_cq_tail);
        if positions != (entry.sq_head, entry.cq_tail) || now.overflow > 0 {
            return Err(Error::new(format!(
                "it came to stand at {} and {} where it was at {} and {}",
                positions.0, positions.1, entry.sq_head, entry.cq_tail
            )));
        }
        Ok(tail_waits.then(|| Tail {
            at: self.layout.params.sq.tail,
            value: entry.sq_tail,
            local: self.local,
            memory: self.memory,
        }))
    }

    fn info(&self) -> Result<FdInfo> {
        let path = format!("/proc/self/fdinfo/{}", self.local.as_raw_fd());
        let text = std::fs::read(&path).context(|| format!("reading {path}"))?;
        FdInfo::parse(&text).map_err(|what| Error::new(format!("{path}: {what}")))
    }

    fn store(&self, at: u32, value: u32) -> Result<()> {
        self.memory.store(at, value).context(|| "writing to its memory")
    }

    fn load(&self, at: u32) -> Result<u32> {
        self.memory.load(at).context(|| "reading its memory")
    }

    /// Has the kernel count.
    fn advance(&self) -> Result<()> {
        let entry = self.entry;
        let silent = u64::from(entry.sq_head.wrapping_sub(entry.cq_tail));
        let all = silent + u64::from(entry.cq_tail);
        if all == 0 {
            return self.set_cq_head(0);
        }
        if all >= LONG_WORK {
            let text = format!(
                "making {all} requests to restore the ring of pid {}, fd {}",
                entry.pid, self.fd
            );
            self.host.progress(&text);
        }
        let array: Vec<u8> = match self.layout.array() {
            (_, 0) => Vec::new(),
            _ => (0..entry.sq_entries).flat_map(u32::to_ne_bytes).collect(),
        };
        let writing = || "writing requests";
        self.memory
            .write(self.layout.array().0, &array)
            .context(writing)?;
        let mut tail = 0;
        if silent > 0 {
            self.requests.write(0, &self.nops(SKIP)).context(writing)?;
            self.set_cq_head(0)?;
            self.submit_all(silent, &mut tail, |_| Ok(entry.sq_entries))?;
        }
        self.requests.write(0, &self.nops(0)).context(writing)?;
        let room = |done: u32| {
            let head = self
                .set_cq_head(done)
                .and_then(|()| self.load(self.layout.params.cq.head))?;
            Ok(entry.cq_entries.saturating_sub(done.wrapping_sub(head)))
        };
        self.submit_all(entry.cq_tail.into(), &mut tail, room)?;
        self.set_cq_head(entry.cq_tail)
    }

    /// As many requests as there can be at once, to do nothing.
    fn nops(&self, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; self.layout.sqes()];
        for request in bytes.chunks_exact_mut(self.layout.sqe) {
            request[1] = flags;
        }
        bytes
    }

    /// The completions up to `done` are fetched, but for those that are to stay.
    fn set_cq_head(&self, done: u32) -> Result<()> {
        let last = self.entry.cq_head;
        let beyond = done.wrapping_sub(last).cast_signed() > 0;
        self.store(self.layout.params.cq.head, if beyond { last } else { done })
    }

    /// Submits so many requests, as many at a time as there is room for.
    fn submit_all(&self, count: u64, tail: &mut u32, room: impl Fn(u32) -> Result<u32>) -> Result<()> {
        let mut done = 0;
        while done < count {
            let most = room(done as u32)?.min(self.entry.sq_entries);
            let now = u32::try_from(count - done).unwrap_or(u32::MAX).min(most);
            if now == 0 {
                return Err(Error::new("its completions leave no room: damaged"));
            }
            *tail = tail.wrapping_add(now);
            self.submit(now, *tail)?;
            done += u64::from(now);
        }
        Ok(())
    }

    fn submit(&self, count: u32, tail: u32) -> Result<()> {
        self.store(self.layout.params.sq.tail, tail)?;
        if self.entry.setup & setup::SQPOLL != 0 {
            return self.await_thread(tail);
        }
        let result = match self.entry.issuer {
            0 => sys::enter_ring(self.local.as_fd(), count, 0, 0),
            issuer => {
                let args = [number(self.fd), count.into(), 0, 0, 0, 0];
                self.host
                    .remote_syscall(issuer, libc::SYS_io_uring_enter, &args)?
            }
        };
        if result == i64::from(count) {
            return Ok(());
        }
        let what = if result < 0 {
            said(result).to_owned()
        } else {
            format!("{result} were taken")
        };
        Err(Error::new(format!("submitting {count} requests: {what}")))
    }

    /// Waits until the thread of the ring has taken all requests.
    fn await_thread(&self, tail: u32) -> Result<()> {
        while self.load(self.layout.params.sq.head)? != tail {
            let asleep = self.load(self.layout.params.sq.flags)? & NEED_WAKEUP != 0;
            let flags = if asleep { enter::SQ_WAKEUP } else { 0 };
            let result = sys::enter_ring(self.local.as_fd(), 0, 0, flags);
            if let Some(errno) = sys::errno(result).filter(|errno| *errno != Errno::EINTR) {
                return Err(Error::new(format!("waking its thread: {}", errno.desc())));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What was in it. The flags are the kernel's own.
    fn fill(&self, tail_waits: bool) -> Result<()> {
        let (entry, params) = (self.entry, &self.layout.params);
        let writing = || "writing its contents";
        let (cqes, _) = self.layout.cqes();
        let (array, _) = self.layout.array();
        self.memory.write(cqes, &entry.cqes).context(writing)?;
        self.memory.write(array, &entry.array).context(writing)?;
        self.requests.write(0, &entry.sqes).context(writing)?;
        self.store(params.sq.dropped, entry.dropped)?;
        self.store(params.cq.overflow, entry.lost)?;
        self.store(params.cq.flags, entry.cq_flags)?;
        self.store(params.cq.head, entry.cq_head)?;
        if !tail_waits {
            self.store(params.sq.tail, entry.sq_tail)?;
        }
        Ok(())
    }
}
