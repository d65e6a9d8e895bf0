//! The mappings of a process, as the images have them.

use std::sync::LazyLock;

use criu_proto::images::VmaEntry;

use crate::error::{Error, Result};

/// The size of a page.
pub(crate) const PAGE: u64 = 4096;
/// The end of a user's addresses on x86-64 with four levels of page tables. Where there are five, it is the end of
/// what is mapped unless a program asks for more.
pub(crate) const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// The end of a user's addresses with five levels.
const TASK_SIZE_5_LEVELS: u64 = 0x00ff_ffff_ffff_f000;

/// Whether this machine has five levels of page tables: it maps a page beyond the reach of four.
static FIVE_LEVELS: LazyLock<bool> = LazyLock::new(|| {
    let beyond = (TASK_SIZE + PAGE) as *mut libc::c_void;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice, and its end.
    unsafe {
        let at = libc::mmap(beyond, PAGE as usize, libc::PROT_NONE, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(at, PAGE as usize);
        at as u64 > TASK_SIZE
    }
});

/// Bits of `vma_entry.status`.
pub(crate) mod status {
    pub(crate) const VSYSCALL: u32 = 1 << 2;
    pub(crate) const VDSO: u32 = 1 << 3;
    pub(crate) const FILE_PRIVATE: u32 = 1 << 6;
    pub(crate) const FILE_SHARED: u32 = 1 << 7;
    pub(crate) const ANON_SHARED: u32 = 1 << 8;
    pub(crate) const ANON_PRIVATE: u32 = 1 << 9;
    pub(crate) const VVAR: u32 = 1 << 12;
    pub(crate) const SHADOW_STACK: u32 = 1 << 15;
    pub(crate) const GUARD: u32 = 1 << 16;
    pub(crate) const UPROBES: u32 = 1 << 17;
    /// Bits that say nothing the core would have to act on: regular, stack, heap, and the mark of a
    /// file that its kind has set.
    pub(crate) const PLAIN: u32 = 1 | 1 << 1 | 1 << 5 | 1 << 14;
    /// Everything that the core restores by itself.
    pub(crate) const CORE: u32 = PLAIN
        | VSYSCALL
        | VDSO
        | FILE_PRIVATE
        | FILE_SHARED
        | ANON_SHARED
        | ANON_PRIVATE
        | VVAR
        | SHADOW_STACK
        | GUARD
        | UPROBES;
}

/// What a mapping is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Backing {
    /// Private anonymous memory.
    Anonymous,
    /// A private mapping of a file, by its id.
    PrivateFile(u32),
    /// A shared mapping of a file, by its id.
    SharedFile(u32),
    /// Shared anonymous memory, by the number of its object.
    SharedAnonymous(u64),
    /// The kernel's data for the vdso.
    Vvar,
    /// The vdso.
    Vdso,
    /// The slots of user probes, which the kernel maps when it needs them.
    Uprobes,
    /// A user shadow stack, see [`super::shadow`].
    ShadowStack,
    /// A kind puts it back at the end; the number of the status bit that says so.
    Kind(u32),
}

/// A mapping, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) protection: i32,
    pub(crate) flags: i32,
    pub(crate) backing: Backing,
    /// Bits `1 << advice` of madvise(2).
    pub(crate) advice: u64,
    /// The open flags of the file, where the image has them.
    pub(crate) open_flags: Option<u32>,
    /// As the image has it, for the kind that puts it back.
    pub(crate) entry: Option<Box<VmaEntry>>,
}

impl Vma {
    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// The file behind it.
    pub(crate) fn file_id(&self) -> Option<u32> {
        match self.backing {
            Backing::PrivateFile(id) | Backing::SharedFile(id) => Some(id),
            _ => None,
        }
    }

    /// Whether its pages are its own: filled from the pages file, and inherited by a child.
    pub(crate) fn private(&self) -> bool {
        matches!(self.backing, Backing::Anonymous | Backing::PrivateFile(_))
    }

    /// Whether a child's mapping can be this one of its parent, passed on by the fork.
    pub(crate) fn same_origin(&self, other: &Vma) -> bool {
        self.private()
            && (self.start, self.end, self.offset, self.flags, self.backing)
                == (other.start, other.end, other.offset, other.flags, other.backing)
    }

    /// Whether this mapping and the next one may have been one that mprotect(2) has split.
    pub(crate) fn is_split_from(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.private()
            && (self.backing, next.backing) == (Backing::Anonymous, Backing::Anonymous)
            && (self.flags, self.advice) == (next.flags, next.advice)
            // Neighbours that are alike in this too are kept apart by something else.
            && self.protection != next.protection
            && self.protection != libc::PROT_NONE
            && next.protection != libc::PROT_NONE
    }

    /// The open flags with which its file is needed.
    pub(crate) fn needed_open_flags(&self) -> u32 {
        const ACCESS: u32 = 3;
        const KEPT: u32 = ACCESS | libc::O_LARGEFILE.cast_unsigned();
        let derived = match self.backing {
            Backing::SharedFile(_) if self.protection & libc::PROT_WRITE != 0 => libc::O_RDWR,
            _ => libc::O_RDONLY,
        };
        // Nothing of the open file but its access mode is left in a mapping.
        self.open_flags
            .map_or(derived.cast_unsigned(), |flags| flags & KEPT)
    }
}

/// The mappings of a process.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    /// In the order of their addresses.
    pub(crate) vmas: Vec<Vma>,
    /// Ranges of guard pages (`MADV_GUARD_INSTALL`) within them.
    pub(crate) guards: Vec<(u64, u64)>,
}

/// Checks the mappings of a process, all but the one that the kernel gives to every process.
pub(crate) fn check(pid: i32, entries: &[VmaEntry]) -> Result<Mappings> {
    let mut mappings = Mappings::default();
    let mut last = 0;
    for entry in entries {
        if entry.status & status::VSYSCALL != 0 {
            continue;
        }
        let wrong = |what: String| {
            Error::malformed(
                format!("mm-{pid}.img, mapping {:#x}-{:#x}", entry.start, entry.end),
                what,
            )
        };
        check_range(entry).map_err(wrong)?;
        if entry.status & (status::CORE & !status::PLAIN) == status::GUARD {
            if !mappings
                .vmas
                .last()
                .is_some_and(|vma| vma.start <= entry.start && entry.end <= vma.end)
            {
                return Err(wrong("guards what is not mapped".to_owned()));
            }
            mappings.guards.push((entry.start, entry.end));
            continue;
        }
        let vma = convert(entry).map_err(wrong)?;
        if vma.start < last {
            return Err(wrong("is out of order".to_owned()));
        }
        last = vma.end;
        mappings.vmas.push(vma);
    }
    Ok(mappings)
}

fn check_range(entry: &VmaEntry) -> std::result::Result<(), String> {
    let aligned = entry.start.is_multiple_of(PAGE) && entry.end.is_multiple_of(PAGE);
    if !aligned || entry.start >= entry.end || entry.end > TASK_SIZE_5_LEVELS {
        return Err("is no range of pages of a process".to_owned());
    }
    if entry.end > TASK_SIZE && !*FIVE_LEVELS {
        return Err("lies beyond the four levels of page tables that this machine has".to_owned());
    }
    Ok(())
}

fn convert(entry: &VmaEntry) -> std::result::Result<Vma, String> {
    if entry.prot & !7 != 0 {
        return Err(format!("has protection {:#x}", entry.prot));
    }
    let file = |what: &str| {
        u32::try_from(entry.shmid).map_err(|_| format!("has file id {} of a {what} mapping", entry.shmid))
    };
    let backing = match entry.status {
        s if s & !status::CORE != 0 => Backing::Kind((s & !status::CORE).trailing_zeros()),
        s if s & status::UPROBES != 0 => Backing::Uprobes,
        s if s & status::SHADOW_STACK != 0 => Backing::ShadowStack,
        s if s & status::VDSO != 0 => Backing::Vdso,
        s if s & status::VVAR != 0 => Backing::Vvar,
        s if s & status::FILE_PRIVATE != 0 => Backing::PrivateFile(file("private")?),
        s if s & status::FILE_SHARED != 0 => Backing::SharedFile(file("shared")?),
        s if s & status::ANON_SHARED != 0 => Backing::SharedAnonymous(entry.shmid),
        s if s & status::ANON_PRIVATE != 0 => Backing::Anonymous,
        s => return Err(format!("has status {s:#x}, which says nothing of what it is")),
    };
    if !entry.pgoff.is_multiple_of(PAGE) {
        return Err(format!(
            "begins at {:#x} of its file, which is no page",
            entry.pgoff
        ));
    }
    Ok(Vma {
        start: entry.start,
        end: entry.end,
        offset: entry.pgoff,
        protection: entry.prot.cast_signed(),
        flags: entry.flags.cast_signed(),
        backing,
        advice: entry.madv.unwrap_or(0),
        open_flags: entry.fdflags,
        entry: matches!(backing, Backing::Kind(_)).then(|| Box::new(*entry)),
    })
}
