//! The table of calls that a process makes by itself should its tracer die while it is infected.

use std::mem::offset_of;

use criu_blobs::wire::{Call, Control, FIRST_UNDO, MAX_UNDO, Undo};

use crate::core::{Core, bytes_of_slice};
use crate::error::{Error, Result};
use crate::infected::Infected;
use crate::sys;

/// What is in the table, and where it lies.
#[derive(Debug)]
pub(crate) struct UndoTable {
    at: u64,
    /// So many entries fit.
    room: usize,
    entries: Vec<Entry>,
    /// Address and length of the mapping that it has grown into; zeros while it lies in the parasite's.
    mapping: [u64; 2],
}

/// An entry, with the argument that is to be the address of its data.
#[derive(Debug, Clone, Copy)]
struct Entry {
    undo: Undo,
    points: Option<usize>,
}

impl UndoTable {
    pub(crate) fn new(at: u64) -> Self {
        Self {
            at,
            room: FIRST_UNDO,
            entries: Vec::new(),
            mapping: [0; 2],
        }
    }

    fn address(&self, index: usize) -> u64 {
        self.at + (index * size_of::<Undo>()) as u64
    }

    /// An entry as it is to stand at its place.
    fn at_place(&self, index: usize) -> Undo {
        let Entry { mut undo, points } = self.entries[index];
        if let Some(arg) = points.and_then(|at| undo.args.get_mut(at)) {
            *arg = self.address(index) + offset_of!(Undo, data) as u64;
        }
        undo
    }
}

impl Infected {
    /// Adds a system call that the process makes by itself, last added first, should the tracer die
    /// while it is infected. An ordinary cure does not run the table. With `data`, the argument of
    /// that index becomes the address of a copy of the bytes, at most 16.
    ///
    /// The table grows beyond 1024 calls into a mapping of its own, see [`Self::undo_is_full`].
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond 262,144 calls, 16 bytes or six arguments; there is no memory for a larger table.
    pub fn push_undo(&mut self, nr: i64, args: [u64; 6], data: Option<(usize, &[u8])>) -> Result<()> {
        let too_many = |what, given, limit| Error::TooMany { what, given, limit };
        let mut undo = Undo {
            nr: nr as u64,
            args,
            ..Undo::default()
        };
        if let Some((index, bytes)) = data {
            let room = undo.data.len();
            let copy = undo.data.get_mut(..bytes.len());
            copy.ok_or_else(|| too_many("bytes of a call to undo", bytes.len(), room))?
                .copy_from_slice(bytes);
            if index >= undo.args.len() {
                return Err(too_many(
                    "arguments of a call to undo",
                    index + 1,
                    undo.args.len(),
                ));
            }
        }
        if self.undo_is_full() {
            self.grow_undo()?;
        }
        let core = self.core_mut();
        let index = core.undo.entries.len();
        core.undo.entries.push(Entry {
            undo,
            points: data.map(|(index, _)| index),
        });
        let (at, entry) = (core.undo.address(index), core.undo.at_place(index));
        let written = sys::write_mem(core.tracee.tid(), at, bytes_of_slice(&[entry]));
        let told = written.and_then(|()| core.tell_undo_count());
        if told.is_err() {
            core.undo.entries.pop();
        }
        told
    }

    /// Takes the call added last away again: it has been made, or is not needed any more.
    pub fn pop_undo(&mut self) -> Result<()> {
        let core = self.core_mut();
        core.undo.entries.pop();
        core.tell_undo_count()
    }

    /// Whether the next [`Self::push_undo`] maps memory in the process.
    pub fn undo_is_full(&self) -> bool {
        let undo = &self.core().undo;
        undo.entries.len() == undo.room
    }

    /// Moves the table into a larger mapping. Both are complete while it changes.
    fn grow_undo(&mut self) -> Result<()> {
        let room = self.core().undo.room * 16;
        if room > MAX_UNDO {
            return Err(Error::TooMany {
                what: "calls to undo",
                given: MAX_UNDO + 1,
                limit: MAX_UNDO,
            });
        }
        let length = (room * size_of::<Undo>()) as u64;
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let args = [0, length, protection as u64, flags as u64, u64::MAX, 0];
        let at = self.syscall(libc::SYS_mmap, args)?;
        let core = self.core_mut();
        let at = core.result("mapping a larger table of calls to undo", at)? as u64;
        let old = std::mem::replace(&mut core.undo.mapping, [at, length]);
        (core.undo.at, core.undo.room) = (at, room);
        let moved: Vec<Undo> = (0..core.undo.entries.len())
            .map(|index| core.undo.at_place(index))
            .collect();
        sys::write_mem(core.tracee.tid(), at, bytes_of_slice(&moved))?;
        core.tell_undo_place()?;
        self.core_mut().unmap_table(old)
    }
}

impl Core {
    fn tell_undo_count(&self) -> Result<()> {
        let count = self.undo.entries.len() as u32;
        self.write_control(offset_of!(Control, undo_count), &count.to_le_bytes())
    }

    /// Where the table lies and what mapping it lies in stand side by side.
    fn tell_undo_place(&self) -> Result<()> {
        let [at, length] = self.undo.mapping;
        let words: Vec<u8> = [self.undo.at, at, length]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        self.write_control(offset_of!(Control, undo), &words)
    }

    /// Takes the mapping of a table that has grown away: it will not be run any more.
    pub(crate) fn drop_undo_mapping(&mut self) -> Result<()> {
        let mapping = self.undo.mapping;
        if mapping[1] == 0 {
            return Ok(());
        }
        self.undo = UndoTable::new(self.layout.undo);
        self.tell_undo_count()?;
        self.tell_undo_place()?;
        self.unmap_table(mapping)
    }

    fn unmap_table(&mut self, [at, length]: [u64; 2]) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mut call = [Call {
            nr: libc::SYS_munmap as u64,
            args: [at, length, 0, 0, 0, 0],
            result: 0,
        }];
        self.run_calls(&mut call)?;
        self.result("unmapping a table of calls to undo", call[0].result)
            .map(drop)
    }
}
