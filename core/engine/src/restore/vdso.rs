//! The kernel's own pages of a process: vvar and vdso belong to the running kernel and are moved to where
//! the restored process expects them.

use criu_blobs::restore::Move;
use criu_images::{Run, Source};

use super::layout::Layout;
use super::memory::World;
use super::vma::{Backing, PAGE, Vma};
use super::{pages, sys};
use crate::error::{Error, Result};

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
/// # Errors
/// The dumped vdso is not the one of this kernel.
pub(crate) fn plan(
    pid: i32,
    vmas: &[Vma],
    runs: &[Run],
    layout: &Layout,
    world: &mut World,
    read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
) -> Result<Moves> {
    let find = |backing| vmas.iter().filter(move |vma| vma.backing == backing);
    let mut moves = Moves::default();
    let Some(vdso) = find(Backing::Vdso).next() else {
        return Ok(moves);
    };
    let object = || format!("the vdso of process {pid} at {:#x}", vdso.start);
    let Some(own) = layout.vdso else {
        return Err(Error::refused(
            object(),
            "is needed, and this kernel gives none to criu",
        ));
    };
    if own.end - own.start != vdso.length() || !same_content(vdso, own.start, runs, read)? {
        return Err(Error::refused_but(
            object(),
            "differs from that of the running kernel",
            "restore on a machine with the kernel that it was dumped on",
        ));
    }
    // vvar and what follows it lie below the vdso, with no gap, in the dump as here.
    let dumped: Vec<(u64, u64)> = find(Backing::Vvar).map(|vma| (vma.start, vma.end)).collect();
    let dumped_length: u64 = dumped.iter().map(|(start, end)| end - start).sum();
    let own_length: u64 = layout.vvar.iter().map(|pages| pages.end - pages.start).sum();
    let adjacent = dumped.last().is_none_or(|last| last.1 == vdso.start);
    if dumped_length != own_length || !adjacent {
        return Err(Error::refused(
            object(),
            format!("comes with {dumped_length} bytes of data pages and this kernel has {own_length}"),
        ));
    }
    let mut target = vdso.start - own_length;
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
        let next = runs.partition_point(|run| run.vaddr <= page);
        let Some(run) = runs[..next].last().filter(|run| page < run.end()) else {
            continue;
        };
        let Source::File(extent) = run.source else {
            continue;
        };
        read(extent.level, extent.offset + (page - run.vaddr), &mut buffer)?;
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
