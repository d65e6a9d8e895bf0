//! The kernel's own pages of a process: vvar and vdso belong to the running kernel and are moved to where
//! the restored process expects them.

use criu_blobs::restore::{Move, Needed, step};
use criu_images::{Run, Source};
use criu_infect::Abi;

use super::images::Live;
use super::layout::{KernelPages, Layout};
use super::memory::World;
use super::vma::{Backing, PAGE, Vma};
use super::{pages, sys, vdso_proxy};
use crate::error::{Context, Error, Result};

/// Pages of another vdso's successor stand this far beyond the hole.
const GAP: u64 = 16 * PAGE;

/// What is to be done with them.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Before anything is unmapped: out of the way.
    pub(crate) park: Vec<Move>,
    /// After that: to their places.
    pub(crate) place: Vec<Move>,
}

/// Plans the moves for a process. `read` gives the dumped bytes at an offset of a pages file.
///
/// A vdso of another kernel stays as ordinary memory that leads to this kernel's, which then stands elsewhere.
///
/// # Errors
/// The dumped vdso cannot be replaced by the one of this kernel.
pub(crate) fn plan(
    pid: i32,
    live: &Live,
    layout: &Layout,
    world: &mut World,
    read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
) -> Result<Moves> {
    if live.abi != Abi::Native {
        return Ok(Moves::default());
    }
    let (vmas, runs) = (&live.vmas, &live.pages.runs);
    let find = |backing| vmas.iter().filter(move |vma| vma.backing == backing);
    let Some(vdso) = find(Backing::Vdso).next() else {
        return Ok(Moves::default());
    };
    let object = format!("the vdso of process {pid} at {:#x}", vdso.start);
    let Some(own) = layout.vdso else {
        return Err(Error::refused(
            object,
            "is needed, and this kernel gives none to criu",
        ));
    };
    let own_length: u64 = layout.vvar.iter().map(|pages| pages.end - pages.start).sum();
    // vvar and what follows it lie below the vdso, with no gap, in the dump as here.
    let dumped: Vec<(u64, u64)> = find(Backing::Vvar).map(|vma| (vma.start, vma.end)).collect();
    let dumped_length: u64 = dumped.iter().map(|(start, end)| end - start).sum();
    let adjacent = dumped.last().is_none_or(|last| last.1 == vdso.start);
    let same = own.end - own.start == vdso.length()
        && dumped_length == own_length
        && adjacent
        && same_content(vdso, own.start, runs, &read)?;
    if same {
        return moves(layout, world, own, vdso.start - own_length);
    }
    if let Some(thread) = live.threads.iter().find(|thread| {
        let info = thread.core.thread_info.as_ref();
        info.is_some_and(|info| (vdso.start..vdso.end).contains(&info.gpregs.ip))
    }) {
        return Err(Error::refused_but(
            object,
            format!(
                "differs from that of the running kernel, and thread {} was in the middle of it",
                thread.tid
            ),
            "restore on a machine with the kernel that it was dumped on",
        ));
    }
    tracing::debug!("{object} differs from that of the running kernel: its functions are led there");
    let bytes = content(&object, vdso, runs, &read)?;
    // Beyond the hole nobody has anything, and there is room for a stack to grow beside it.
    let target = layout.end + GAP;
    let here = sys::bytes_at(own.start, (own.end - own.start) as usize);
    let patched = vdso_proxy::redirect(&object, &bytes, here, target + own_length)?;
    let memory = Vma {
        backing: Backing::Anonymous,
        protection: libc::PROT_READ | libc::PROT_WRITE,
        flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        offset: 0,
        ..vdso.clone()
    };
    let at = world.place(layout, &memory, -1)?;
    sys::write_at(at, &patched);
    sys::protect(at, memory.length(), libc::PROT_READ | libc::PROT_EXEC).context(|| object)?;
    moves(layout, world, own, target)
}

/// The call by which the kernel maps the vdso of a program with pointers of 32 bits, where one was.
pub(crate) fn compat_call(live: &Live) -> Option<Needed> {
    const ARCH_MAP_VDSO_X32: u64 = 0x2001;
    const ARCH_MAP_VDSO_32: u64 = 0x2002;
    let (which, step) = match live.abi {
        Abi::Native => return None,
        Abi::Ia32 => (ARCH_MAP_VDSO_32, step::VDSO_32),
        Abi::X32 => (ARCH_MAP_VDSO_X32, step::VDSO_X32),
    };
    let special = |vma: &&Vma| matches!(vma.backing, Backing::Vdso | Backing::Vvar);
    let first = live.vmas.iter().find(special)?;
    Some(Needed {
        nr: libc::SYS_arch_prctl as u64,
        args: [which, first.start, 0, 0, 0, 0],
        step: step.into(),
    })
}

/// Checks that the kernel has put the vdso of such a program where it was, and that it is the same.
///
/// # Errors
/// It is not, or an image cannot be read.
pub(crate) fn check_compat(
    pid: i32,
    live: &Live,
    read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let vdso = live.vmas.iter().find(|vma| vma.backing == Backing::Vdso);
    let Some(vdso) = vdso.filter(|_| live.abi != Abi::Native) else {
        return Ok(());
    };
    let object = format!("the vdso of process {pid} at {:#x}", vdso.start);
    let dumped = content(&object, vdso, &live.pages.runs, read)?;
    let maps = crate::proc::read(&format!("/proc/{pid}/maps"))?;
    let there = format!("{:08x}-{:08x} r-xp", vdso.start, vdso.end);
    let in_place = String::from_utf8_lossy(&maps)
        .lines()
        .any(|line| line.starts_with(&there) && line.ends_with("[vdso]"));
    let mut here = vec![0; dumped.len()];
    let from = nix::sys::uio::RemoteIoVec {
        base: vdso.start as usize,
        len: here.len(),
    };
    let same = in_place
        && nix::sys::uio::process_vm_readv(
            nix::unistd::Pid::from_raw(pid),
            &mut [std::io::IoSliceMut::new(&mut here)],
            &[from],
        ) == Ok(dumped.len())
        && same_code(&here, &dumped);
    if same {
        return Ok(());
    }
    Err(Error::refused_but(
        object,
        "differs from that of the running kernel, which for programs with pointers of 32 bits is not supported",
        "restore on a machine with the kernel that it was dumped on",
    ))
}

/// Whether these are the same but for the last bytes, which nobody uses: there a dump has code of its own for as
/// long as it has the process.
fn same_code(here: &[u8], dumped: &[u8]) -> bool {
    const END: usize = 16;
    let used = here.len().saturating_sub(END);
    let free = here[used..].iter().all(|&byte| byte == 0);
    here == dumped || (free && here.len() == dumped.len() && here[..used] == dumped[..used])
}

/// Moves of this kernel's pages to `target`.
fn moves(layout: &Layout, world: &mut World, own: KernelPages, mut target: u64) -> Result<Moves> {
    let mut moves = Moves::default();
    for pages in layout.vvar.iter().chain(std::iter::once(&own)) {
        let length = pages.end - pages.start;
        let parked = world.take(layout, length)?;
        moves.park.push(Move {
            from: pages.start,
            to: parked,
            length,
        });
        moves.place.push(Move {
            from: parked,
            to: target,
            length,
        });
        target += length;
    }
    Ok(moves)
}

/// All bytes of the dumped vdso.
fn content(
    object: &str,
    vdso: &Vma,
    runs: &[Run],
    read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; vdso.length() as usize];
    for (page, room) in (vdso.start..vdso.end)
        .step_by(PAGE as usize)
        .zip(bytes.chunks_mut(PAGE as usize))
    {
        let Some((level, offset)) = place_of(runs, page) else {
            return Err(Error::malformed(
                object,
                "differs from that of the running kernel, and is not wholly in the images",
            ));
        };
        read(level, offset, room)?;
    }
    Ok(bytes)
}

/// Where a page stands in the pages files: the level, and the offset.
fn place_of(runs: &[Run], page: u64) -> Option<(usize, u64)> {
    let next = runs.partition_point(|run| run.vaddr <= page);
    let run = runs[..next].last().filter(|run| page < run.end())?;
    match run.source {
        Source::File(extent) => Some((extent.level, extent.offset + (page - run.vaddr))),
        Source::Remote => None,
    }
}

/// Whether the dumped bytes are those of the vdso here.
fn same_content(
    vdso: &Vma,
    own: u64,
    runs: &[Run],
    read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
) -> Result<bool> {
    let mut buffer = vec![0; PAGE as usize];
    for (page, offset) in (vdso.start..vdso.end)
        .step_by(PAGE as usize)
        .zip((0u64..).step_by(PAGE as usize))
    {
        let Some((level, at)) = place_of(runs, page) else {
            continue;
        };
        read(level, at, &mut buffer)?;
        if sys::bytes_at(own + offset, PAGE as usize) != buffer {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads dumped bytes from the pages files by level.
pub(crate) fn reader(files: &[std::os::fd::RawFd]) -> impl Fn(usize, u64, &mut [u8]) -> Result<()> {
    move |level, offset, buffer| pages::read_bytes(files, level, offset, buffer)
}
