//! The memory of a process: its mappings are made at their places where those are free, aside in the
//! hole where this program still is, and what a child has in common with its parent is passed on by the
//! fork.

use std::collections::HashMap;
use std::os::fd::RawFd;

use criu_images::Run;
use nix::errno::Errno;

use super::layout::Layout;
use super::sys;
use super::vma::{Backing, PAGE, Vma};
use crate::error::{Context, Error, Result};

/// Advice that changes nothing lasting, or that is applied elsewhere.
pub(super) const MADV_GUARD_INSTALL: i32 = 102;
/// Flags of mmap(2) that a mapping is made with; locking follows once it is filled.
const MADE_WITH: i32 = !(libc::MAP_LOCKED | libc::MAP_FIXED | libc::MAP_POPULATE);

/// A mapping that exists in this process.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) vma: Vma,
    /// Where it is now.
    pub(crate) at: u64,
    /// Its protection now; `None` when it is not the same everywhere.
    protection: Option<i32>,
    /// Whether it came from the parent, with the parent's contents.
    pub(crate) inherited: bool,
    /// Whether its contents are those of this process.
    pub(crate) filled: bool,
}

impl Placed {
    pub(crate) fn in_place(&self) -> bool {
        self.at == self.vma.start
    }

    /// Where an address of the mapping is now.
    pub(crate) fn now(&self, address: u64) -> u64 {
        self.at + (address - self.vma.start)
    }

    /// Makes sure that a part can be written (and read).
    pub(crate) fn open_up(&mut self, from: u64, to: u64) -> Result<()> {
        const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;
        if self.protection.is_some_and(|now| now & BOTH == BOTH) {
            return Ok(());
        }
        let protection = self.vma.protection | BOTH;
        let (start, end) = (self.vma.start, self.vma.end);
        // The whole mapping stays one. A part alone, where the whole is more than may be promised.
        let whole = sys::protect(self.at, end - start, protection);
        let opened = match whole {
            Err(Errno::ENOMEM) if self.in_place() => sys::protect(self.now(from), to - from, protection),
            other => other,
        };
        opened.context(|| self.doing("making writable"))?;
        self.protection = None;
        Ok(())
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} the mapping {:#x}-{:#x}", self.vma.start, self.vma.end)
    }
}

/// The mappings of the restored process that exist so far, by their addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) placed: Vec<Placed>,
    /// The next free address of the hole.
    pub(crate) next: u64,
}

impl World {
    /// After a fork: keeps what the new process has in common with its creator, drops the rest.
    ///
    /// What may have been one mapping is made anew, as a whole: the kernel does not join what was split before a
    /// fork, and the program expects it to (mremap(2) takes no more than one mapping).
    pub(crate) fn inherit(&mut self, vmas: &[Vma]) -> Result<()> {
        let alone = |i: usize| {
            let next = vmas.get(i + 1).is_none_or(|next| !vmas[i].is_split_from(next));
            let before = i.checked_sub(1).map(|i| &vmas[i]);
            next && before.is_none_or(|before| !before.is_split_from(&vmas[i]))
        };
        let mut kept = Vec::with_capacity(self.placed.len());
        for mut placed in std::mem::take(&mut self.placed) {
            let same = vmas
                .binary_search_by_key(&placed.vma.start, |vma| vma.start)
                .ok()
                .filter(|&i| alone(i))
                .map(|i| &vmas[i]);
            match same.filter(|vma| vma.same_origin(&placed.vma)) {
                Some(vma) => {
                    placed.vma = vma.clone();
                    placed.inherited = true;
                    placed.filled = false;
                    kept.push(placed);
                }
                None => sys::unmap(placed.at, placed.vma.length()).context(|| placed.doing("dropping"))?,
            }
        }
        self.placed = kept;
        Ok(())
    }

    /// Makes a mapping that is not there yet; where it is now. `file` is its file, with the access it needs.
    pub(crate) fn place(&mut self, layout: &Layout, vma: &Vma, file: RawFd) -> Result<u64> {
        let flags = vma.flags & MADE_WITH;
        let flags = if file < 0 {
            flags | libc::MAP_ANONYMOUS
        } else {
            flags & !libc::MAP_ANONYMOUS
        };
        let map = |at| sys::map_at(at, vma.length(), vma.protection, flags, file, vma.offset);
        let (from, to) = layout.keep_out;
        // Address 0 can only be moved to: for mmap(2) it stands for any place.
        let free = vma.start != 0 && (vma.end <= from || vma.start >= to);
        let tried = if free { map(vma.start) } else { Err(Errno::EEXIST) };
        let at = match tried {
            Err(Errno::EEXIST) => {
                let aside = self.reserve(layout, vma)?;
                map(aside)
            }
            other => other,
        };
        let at = at.context(|| format!("mapping {:#x}-{:#x}", vma.start, vma.end))?;
        self.placed.push(Placed {
            vma: vma.clone(),
            at,
            protection: Some(vma.protection),
            inherited: false,
            filled: false,
        });
        Ok(at)
    }

    /// Room in the hole for a mapping, with the same place in a huge page.
    fn reserve(&mut self, layout: &Layout, vma: &Vma) -> Result<u64> {
        const HUGE: u64 = 2 << 20;
        // The gap keeps a mapping that grows down from meeting the one below.
        let base = (self.next + PAGE).next_multiple_of(HUGE) + vma.start % HUGE;
        let end = base.checked_add(vma.length()).filter(|&end| end < layout.end);
        let Some(end) = end else {
            return Err(Error::refused(
                format!("the mapping {:#x}-{:#x}", vma.start, vma.end),
                "is larger than what is free of the address space",
            ));
        };
        self.next = end + PAGE;
        Ok(base)
    }

    /// Takes room in the hole for something else, in whole pages.
    pub(crate) fn take(&mut self, layout: &Layout, length: u64) -> Result<u64> {
        let at = self.next_free();
        let end = at + length.next_multiple_of(PAGE);
        if end >= layout.end {
            return Err(Error::refused(
                "the restorer",
                "does not fit into what is free of the address space",
            ));
        }
        self.next = end;
        Ok(at)
    }

    /// Where [`World::take`] would be.
    pub(crate) fn next_free(&self) -> u64 {
        (self.next + PAGE).next_multiple_of(PAGE)
    }

    /// The starts of all that is there.
    pub(crate) fn starts(&self) -> std::collections::HashSet<u64> {
        self.placed.iter().map(|placed| placed.vma.start).collect()
    }

    /// In the order of addresses, as filling wants it.
    pub(crate) fn sort(&mut self) {
        self.placed.sort_unstable_by_key(|placed| placed.vma.start);
    }

    /// Gives every mapping its protection, advice and locks: all contents are there, all children forked.
    pub(crate) fn finish(&mut self, guards: &[(u64, u64)], runs: &[Run]) -> Result<()> {
        self.sort();
        for placed in &mut self.placed {
            let (at, length) = (placed.at, placed.vma.length());
            if placed.protection != Some(placed.vma.protection) {
                sys::protect(at, length, placed.vma.protection).context(|| placed.doing("protecting"))?;
                placed.protection = Some(placed.vma.protection);
            }
            for &(start, end) in guards_within(guards, &placed.vma) {
                sys::advise(placed.now(start), end - start, MADV_GUARD_INSTALL)
                    .context(|| placed.doing("guarding pages of"))?;
            }
            let mut advice = placed.vma.advice;
            while advice != 0 {
                let number = advice.trailing_zeros();
                advice &= advice - 1;
                sys::advise(at, length, number.cast_signed())
                    .context(|| placed.doing(&format!("giving advice {number} for")))?;
            }
            if placed.vma.flags & libc::MAP_LOCKED != 0 {
                // A lock that waits for no first touch would have had all pages there.
                let full = super::pages::covered(runs, placed.vma.start, placed.vma.end);
                let flags = if placed.vma.private() && !full {
                    libc::MLOCK_ONFAULT
                } else {
                    0u32
                };
                sys::lock(at, length, flags).context(|| placed.doing("locking"))?;
            }
        }
        Ok(())
    }
}

/// Those guard ranges that lie in a mapping.
pub(super) fn guards_within<'a>(guards: &'a [(u64, u64)], vma: &Vma) -> &'a [(u64, u64)] {
    let first = guards.partition_point(|&(start, _)| start < vma.start);
    let last = guards.partition_point(|&(start, _)| start < vma.end);
    &guards[first..last]
}

/// The files of mappings, opened once per process and kind of access.
#[derive(Debug, Default)]
pub(crate) struct MappedFiles {
    open: HashMap<(u32, u32), RawFd>,
}

impl MappedFiles {
    /// The descriptor of a mapping's file; -1 for anonymous memory.
    pub(crate) fn get(&mut self, vma: &Vma, open: impl FnOnce(u32, u32) -> Result<RawFd>) -> Result<RawFd> {
        let Some(id) = vma.file_id() else { return Ok(-1) };
        let flags = vma.needed_open_flags();
        if let Some(&fd) = self.open.get(&(id, flags)) {
            return Ok(fd);
        }
        let fd = open(id, flags)
            .context(|| format!("opening the file of the mapping {:#x}-{:#x}", vma.start, vma.end))?;
        self.open.insert((id, flags), fd);
        Ok(fd)
    }

    /// Closes them.
    pub(crate) fn close(&mut self) {
        self.open.drain().for_each(|(_, fd)| sys::close(fd));
    }
}

/// Whether the core maps it before the restorer runs.
pub(crate) fn is_mapped_here(vma: &Vma) -> bool {
    matches!(
        vma.backing,
        Backing::Anonymous | Backing::PrivateFile(_) | Backing::SharedFile(_) | Backing::SharedAnonymous(_)
    )
}
