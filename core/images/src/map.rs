//! A shared, writable mapping of a file, of which disjoint parts are handed out. The one module of the
//! crate with unsafe code.
#![allow(unsafe_code, reason = "mmap, and the windows into it")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes populated by one call, so that a signal is not kept waiting for long and threads end at about the same time.
const POPULATE_STEP: usize = 4 << 20;

/// A thread is worth starting for so much.
const WORTH_SHARING: usize = 8 * POPULATE_STEP;
/// More threads than this get into each other's way.
const MAX_THREADS: usize = 8;

/// A shared, writable mapping of a part of a file.
#[derive(Debug)]
pub(crate) struct SharedMap {
    address: NonNull<u8>,
    length: NonZeroUsize,
    /// End of the last part handed out.
    claimed: AtomicUsize,
}

// SAFETY: the mapping belongs to no thread; its bytes are reached only through `Part`s, and no two of
// them overlap.
unsafe impl Send for SharedMap {}
// SAFETY: as for Send; the only field that changes is atomic.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// Maps `length` bytes of `file` at `offset` (both whole pages) and fills the mapping with the
    /// file's pages. Whatever the file system cannot back is an error here (`EFAULT`, `ENOMEM`) and
    /// not a signal later, as long as the blocks stay allocated; without `allocated` filling the mapping
    /// is what allocates them. No more than so many `threads` work on it.
    pub(crate) fn new(
        file: &File,
        offset: u64,
        length: usize,
        allocated: bool,
        threads: usize,
    ) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses a free address; nothing existing is replaced.
        let address = unsafe {
            mmap(
                None,
                length,
                protection,
                MapFlags::MAP_SHARED,
                file.as_fd(),
                offset,
            )?
        };
        let map = Self {
            address: address.cast(),
            length,
            claimed: AtomicUsize::new(0),
        };
        match map.populate(threads) {
            // A kernel before 5.14, or a security policy: the pages are then faulted in one by one.
            Err(Errno::EINVAL | Errno::EPERM) if allocated => Ok(map),
            populated => populated.map(|()| map),
        }
    }

    /// By several threads where there is much to do: most of it is clearing pages.
    fn populate(&self, most: usize) -> Result<(), Errno> {
        let length = self.length.get();
        if length < 2 * WORTH_SHARING || most <= 1 {
            return self.populate_part(0, length);
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.min(length / WORTH_SHARING).min(MAX_THREADS).min(most);
        let next = AtomicUsize::new(0);
        let work = || loop {
            let from = next.fetch_add(POPULATE_STEP, AcqRel);
            if from >= length {
                return Ok(());
            }
            self.populate_part(from, length.min(from + POPULATE_STEP))?;
        };
        std::thread::scope(|scope| {
            // Without another thread one does it all.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut result = work();
            for other in others {
                result = result.and(other.join().unwrap_or(Err(Errno::EFAULT)));
            }
            result
        })
    }

    fn populate_part(&self, from: usize, to: usize) -> Result<(), Errno> {
        let mut done = from;
        while done < to {
            let step = POPULATE_STEP.min(to - done);
            // SAFETY: the range lies within our mapping; populating changes no byte.
            let result = unsafe {
                let start = self.address.as_ptr().add(done);
                libc::madvise(start.cast(), step, libc::MADV_POPULATE_WRITE)
            };
            match Errno::result(result) {
                Ok(_) => done += step,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.length.get()
    }

    /// Takes the next bytes of the mapping, up to `end`: succeeds for each range at most once, as the
    /// ranges handed out ascend.
    fn claim(&self, start: usize, end: usize) -> bool {
        let claim = |claimed: usize| (start >= claimed).then_some(end);
        start <= end && end <= self.length.get() && self.claimed.fetch_update(AcqRel, Acquire, claim).is_ok()
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and all slices of it borrowed from `self`.
        let result = unsafe { munmap(self.address.cast(), self.length.get()) };
        debug_assert!(result.is_ok(), "munmap of our own mapping");
    }
}

/// A part of a mapping that nobody else has.
#[derive(Debug)]
pub(crate) struct Part {
    map: Arc<SharedMap>,
    start: usize,
    length: usize,
}

impl Part {
    /// The part from `start`, `length` bytes long. `None` when it does not lie within the mapping, or
    /// not after all parts made before.
    pub(crate) fn new(map: Arc<SharedMap>, start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        map.claim(start, end).then_some(Self { map, start, length })
    }
}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `claim` gave the range to this part alone and checked that it lies within the
        // mapping, which lives as long as `map`. The file keeps its blocks: only `finish` cuts it,
        // when no part is left.
        unsafe { std::slice::from_raw_parts(self.map.address.as_ptr().add(self.start), self.length) }
    }
}

impl DerefMut for Part {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.map.address.as_ptr().add(self.start), self.length) }
    }
}
