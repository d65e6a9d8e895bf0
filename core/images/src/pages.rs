//! Writing a pages file: room is made before the pages are there, and they are filled in place.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use criu_proto::magic;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};

use crate::map::{Part, SharedMap};
use crate::{Error, ImageDir, Result, page_size};

/// The file grows by at least this much when the estimate was too small, and by a quarter of what it
/// has when that is more.
const MIN_GROWTH: u64 = 16 << 20;
/// ... but by no more than this.
const MAX_GROWTH: u64 = 64 << 20;
/// Room is allocated in steps, so that a signal never makes the kernel undo more than one.
const ALLOCATE_STEP: u64 = 256 << 20;

/// Writes a `pages-N.img`. Room is allocated (and, where that is safe, mapped and populated) ahead;
/// [`PagesWriter::take`] hands out the next part of the file as memory. Parts are disjoint and several
/// threads may fill theirs at the same time; the order of the pages in the file is the order of the
/// calls of `take`.
///
/// On tmpfs, ext4 and XFS a part is the file's own memory. Elsewhere a write through a mapping may fail
/// for lack of room even in an allocated range (copy on write, network): there a part is a buffer that
/// [`Window::commit`] writes out, so take a few MiB at a time. Either way a full disk is an error, never
/// a signal. The size limit of a process (`RLIMIT_FSIZE`) raises `SIGXFSZ`: ignore that signal to get
/// an error in its place.
#[derive(Debug)]
pub struct PagesWriter {
    file: File,
    path: String,
    id: u32,
    /// So many threads make room.
    threads: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes handed out.
    taken: u64,
    /// Bytes handed out and committed.
    committed: u64,
    /// Bytes allocated: the size of the file.
    allocated: u64,
    /// How room is made.
    making: Making,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    /// By fallocate(2).
    Allocating,
    /// By filling the mapping: on tmpfs a page is made and cleared at once then, and by two threads.
    Populating,
}

#[derive(Debug)]
enum Mode {
    /// The file is mapped: the mapping and its offset in the file. None before the first one.
    Mapped(Option<(Arc<SharedMap>, u64)>),
    /// Parts are buffers.
    Buffered,
}

impl PagesWriter {
    /// Creates `pages-ID.img` in `dir`, with room for `estimate` bytes.
    pub fn create(dir: &ImageDir, id: u32, estimate: u64) -> Result<Self> {
        Self::create_by(usize::MAX, dir, id, estimate)
    }

    /// The same by no more than so many threads: for a caller that makes room in several files at once.
    pub fn create_by(threads: usize, dir: &ImageDir, id: u32, estimate: u64) -> Result<Self> {
        let name = magic::PAGES.file_name(id.into());
        let file = dir.create_raw(&name)?;
        let mode = if can_map(&file) {
            Mode::Mapped(None)
        } else {
            Mode::Buffered
        };
        let state = Mutex::new(State {
            taken: 0,
            committed: 0,
            allocated: 0,
            making: if is_tmpfs(&file) {
                Making::Populating
            } else {
                Making::Allocating
            },
            mode,
        });
        let writer = Self {
            file,
            path: dir.path_of(&name),
            id,
            threads,
            state,
        };
        writer.reserve(estimate)?;
        Ok(writer)
    }

    /// The number of the file, for the pagemap's head.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether parts are the file's own memory and not buffers.
    pub fn is_mapped(&self) -> bool {
        matches!(self.state().mode, Mode::Mapped(_))
    }

    /// Bytes handed out so far: the size that the file will have.
    pub fn len(&self) -> u64 {
        self.state().taken
    }

    /// Whether nothing was handed out so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes sure that there is room for `length` more bytes, rounded up to whole pages.
    pub fn reserve(&self, length: u64) -> Result<()> {
        let mut state = self.state();
        let rounded = length.checked_next_multiple_of(page_size());
        let end = rounded.and_then(|length| state.taken.checked_add(length));
        let end = end.ok_or_else(|| self.unaligned("a reservation", length))?;
        if end > state.allocated {
            self.allocate(&mut state, end)?;
        }
        let taken = state.taken;
        self.map(&mut state, taken, end)
    }

    /// Hands out the next `length` bytes of the file, a whole number of pages. They are to be filled
    /// completely, then committed.
    pub fn take(&self, length: u64) -> Result<Window<'_>> {
        let mut state = self.state();
        let offset = state.taken;
        let end = offset.checked_add(length);
        let (Some(end), Ok(size)) = (end, usize::try_from(length)) else {
            return Err(self.unaligned("a window", length));
        };
        if length == 0 || !length.is_multiple_of(page_size()) {
            return Err(self.unaligned("a window", length));
        }
        if end > state.allocated {
            self.grow(&mut state, end)?;
        }
        self.map(&mut state, offset, end)?;
        let memory = match &state.mode {
            Mode::Mapped(Some((map, base))) => {
                let start = usize::try_from(offset - base).map_err(|_| self.unaligned("a window", length))?;
                Memory::Mapped(
                    Part::new(Arc::clone(map), start, size)
                        .ok_or_else(|| self.unaligned("a window", length))?,
                )
            }
            _ => Memory::Buffer(self.buffer(size)?),
        };
        state.taken = end;
        Ok(Window {
            writer: self,
            offset,
            memory,
        })
    }

    /// Gives back the room that was not used, and the file. All parts must have been committed.
    pub fn finish(self) -> Result<File> {
        self.complete()?;
        Ok(self.file)
    }

    /// As [`finish`](Self::finish), but what is mapped stays so until the writer is dropped: taking down
    /// a large mapping takes its time. Nothing more may be taken.
    pub fn complete(&self) -> Result<()> {
        let mut state = self.state();
        if state.committed != state.taken {
            let missing = state.taken - state.committed;
            return Err(Error::Unfilled {
                file: self.path.clone(),
                missing,
            });
        }
        // Of what is mapped beyond the end no part was handed out: nobody can touch it.
        if state.allocated != state.taken || matches!(state.mode, Mode::Buffered) {
            self.file.set_len(state.taken).map_err(|source| Error::Io {
                action: "cut to size",
                file: self.path.clone(),
                source,
            })?;
            state.allocated = state.taken;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete or not made: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allocates up to `end`, and more in the hope that it saves further calls.
    fn grow(&self, state: &mut State, end: u64) -> Result<()> {
        let more = (state.allocated / 4).clamp(MIN_GROWTH, MAX_GROWTH);
        let more = more.next_multiple_of(page_size());
        let wanted = state.allocated.saturating_add(more);
        if wanted > end && self.allocate(state, wanted).is_ok() {
            return Ok(());
        }
        self.allocate(state, end)
    }

    fn allocate(&self, state: &mut State, end: u64) -> Result<()> {
        if matches!(state.mode, Mode::Buffered) {
            // Room is only known to be there once it is written to; the size follows the writes.
            state.allocated = end;
            return Ok(());
        }
        // Not all file systems take back what they gave before they ran out, so ask first.
        if self
            .available()
            .is_some_and(|available| available < end - state.allocated)
        {
            return Err(self.no_room(Errno::ENOSPC.into(), end));
        }
        if state.making == Making::Populating {
            if let Err(source) = self.file.set_len(end) {
                return Err(self.no_room(source, end));
            }
            state.allocated = end;
            return Ok(());
        }
        self.fallocate(state, end)
    }

    fn fallocate(&self, state: &mut State, end: u64) -> Result<()> {
        let before = state.allocated;
        while state.allocated < end {
            let step = (end - state.allocated).min(ALLOCATE_STEP);
            let (Ok(offset), Ok(length)) = (i64::try_from(state.allocated), i64::try_from(step)) else {
                return Err(self.unaligned("a size", end));
            };
            match fallocate(&self.file, FallocateFlags::empty(), offset, length) {
                Ok(()) => state.allocated += step,
                Err(Errno::EINTR) => {}
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                    tracing::debug!(
                        file = self.path,
                        "no fallocate here: pages are written from buffers"
                    );
                    state.mode = Mode::Buffered;
                    state.allocated = end;
                }
                Err(e) => {
                    let error = self.no_room(e.into(), end);
                    // Nothing beyond `before` is mapped yet. If this fails too, only room is lost.
                    if self.file.set_len(before).is_ok() {
                        state.allocated = before;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the current mapping covers `from` to `to`, which are allocated.
    fn map(&self, state: &mut State, from: u64, to: u64) -> Result<()> {
        let Mode::Mapped(current) = &mut state.mode else {
            return Ok(());
        };
        let covered = |(map, base): &(Arc<SharedMap>, u64)| *base <= from && to <= base + map.len() as u64;
        if from == to || current.as_ref().is_some_and(covered) {
            return Ok(());
        }
        let allocated = state.making == Making::Allocating;
        let length = usize::try_from(state.allocated - from).map_err(|_| Errno::EOVERFLOW);
        match length.and_then(|length| SharedMap::new(&self.file, from, length, allocated, self.threads)) {
            // Windows into the mapping before keep it alive for as long as they need it.
            Ok(map) => *current = Some((Arc::new(map), from)),
            // Not filled: fallocate says why, or does it.
            Err(_) if !allocated => {
                let end = state.allocated;
                state.making = Making::Allocating;
                state.allocated = from;
                // If not all of it, then what is needed.
                self.fallocate(state, end)
                    .or_else(|_| self.fallocate(state, to))?;
                return self.map(state, from, to);
            }
            // Whatever is wrong, a write will either work or say it better.
            Err(error) => {
                tracing::debug!(file = self.path, %error, "cannot map: pages are written from buffers");
                state.mode = Mode::Buffered;
            }
        }
        Ok(())
    }

    fn buffer(&self, size: usize) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(size).is_err() {
            let source = io::ErrorKind::OutOfMemory.into();
            return Err(Error::Io {
                action: "make a buffer for",
                file: self.path.clone(),
                source,
            });
        }
        buffer.resize(size, 0);
        Ok(buffer)
    }

    /// Free bytes of the file system; `None` when it does not say (an unlimited tmpfs has no blocks).
    fn available(&self) -> Option<u64> {
        let fs = fstatfs(&self.file).ok().filter(|fs| fs.blocks() > 0)?;
        Some(
            fs.blocks_available()
                .saturating_mul(u64::try_from(fs.block_size()).ok()?),
        )
    }

    fn no_room(&self, source: io::Error, size: u64) -> Error {
        if matches!(
            source.raw_os_error(),
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
        ) {
            let available = self.available().unwrap_or(0);
            return Error::NoSpace {
                file: self.path.clone(),
                size,
                available,
                source,
            };
        }
        Error::Io {
            action: "make room in",
            file: self.path.clone(),
            source,
        }
    }

    fn unaligned(&self, what: &'static str, value: u64) -> Error {
        Error::Unaligned {
            what,
            value,
            file: self.path.clone(),
        }
    }
}

/// Whether an allocated block of the file's file system takes a write through a mapping for certain.
fn can_map(file: &File) -> bool {
    let known = [TMPFS_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC];
    fstatfs(file).is_ok_and(|fs| known.contains(&fs.filesystem_type()))
}

fn is_tmpfs(file: &File) -> bool {
    fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
}

/// A part of a pages file, to be filled by whoever holds it.
#[derive(Debug)]
pub struct Window<'a> {
    writer: &'a PagesWriter,
    offset: u64,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Mapped(Part),
    Buffer(Vec<u8>),
}

impl Window<'_> {
    /// Where the part lies in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Says that the part is filled. A part that is dropped without this makes
    /// [`PagesWriter::finish`] fail.
    pub fn commit(self) -> Result<()> {
        let length = self.len() as u64;
        if let Memory::Buffer(data) = &self.memory {
            let written = self.writer.file.write_all_at(data, self.offset);
            written.map_err(|e| self.writer.no_room(e, self.offset + length))?;
        }
        self.writer.state().committed += length;
        Ok(())
    }
}

impl Deref for Window<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Mapped(part) => part,
            Memory::Buffer(data) => data,
        }
    }
}

impl DerefMut for Window<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Mapped(part) => part,
            Memory::Buffer(data) => data,
        }
    }
}
