//! Puts the memory of a process together: what it inherits from its creator, its mappings, their contents.

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use criu_images::{PagemapReader, Run, magic};
use criu_plugin_api::message::Purpose;

use super::context::Restore;
use super::images::{Live, TaskImages};
use super::memory::{self, MappedFiles, World};
use super::vma::Vma;
use super::{extra, files, pages, sys, vdso};
use crate::error::{Context, Error, Result};

/// The pages files of this task by level, open.
pub(crate) struct PageFiles {
    pub(crate) fds: Vec<RawFd>,
    /// Keeps those of other levels open.
    _reader: Option<PagemapReader>,
    own: Option<RawFd>,
}

impl PageFiles {
    pub(crate) fn open(restore: &Restore, task: &TaskImages, live: &Live) -> Result<Self> {
        if live.pages.runs.is_empty() {
            return Ok(Self {
                fds: Vec::new(),
                _reader: None,
                own: None,
            });
        }
        let dir = &restore.service_fds.dir;
        if live.pages.own {
            let name = magic::PAGES.file_name(live.pages.pages_id.into());
            let fd = dir.open_raw(&name)?.into_raw_fd();
            return Ok(Self {
                fds: vec![fd],
                _reader: None,
                own: Some(fd),
            });
        }
        let reader = PagemapReader::open(dir, &magic::PAGEMAP, task.pid.unsigned_abs().into())?;
        let levels = live.pages.runs.iter().filter_map(|run| match run.source {
            criu_images::Source::File(extent) => Some(extent.level),
            criu_images::Source::Remote => None,
        });
        let count = levels.max().map_or(0, |level| level + 1);
        let fds = (0..count)
            .map(|level| reader.pages(level).map_or(-1, AsRawFd::as_raw_fd))
            .collect();
        Ok(Self {
            fds,
            _reader: Some(reader),
            own: None,
        })
    }
}

impl Drop for PageFiles {
    fn drop(&mut self) {
        if let Some(fd) = self.own {
            sys::close(fd);
        }
    }
}

/// What the creator had in memory, which this process was forked with.
fn before(restore: &Restore, node: usize) -> &[Run] {
    restore
        .creator_live(node)
        .map_or(&[], |creator| &creator.pages.runs)
}

/// Takes over what the creator passed on, and makes ready what is to be passed on to children: all before
/// they are forked.
pub(super) fn prepare_inheritance(
    restore: &Restore,
    node: usize,
    world: &mut World,
    live: &Live,
    counts: &mut pages::Counts,
) -> Result<()> {
    world.inherit(&live.vmas)?;
    let planned = &restore.plan.nodes[node];
    let children = planned.early.iter().chain(&planned.late).chain(&planned.siblings);
    let mut passed_on = std::collections::HashSet::new();
    for child in children.filter_map(|&child| restore.live(child).ok().map(|(_, live)| live)) {
        let mut theirs = child.vmas.iter().peekable();
        for mine in live.vmas.iter().filter(|vma| vma.private()) {
            while theirs.next_if(|vma| vma.start < mine.start).is_some() {}
            if theirs.peek().is_some_and(|vma| vma.same_origin(mine)) {
                passed_on.insert(mine.start);
            }
        }
    }
    passed_on.retain(|start| {
        let found = live.vmas.binary_search_by_key(start, |vma| vma.start).ok();
        let is_grouped = |id: u32| files::is_grouped(restore, id).unwrap_or(true);
        found.is_some_and(|i| live.vmas[i].file_id().is_none_or(|id| !is_grouped(id)))
    });
    if passed_on.is_empty() {
        return Ok(());
    }
    let (task, _) = restore.live(node)?;
    let mut opened = MappedFiles::default();
    let there = world.starts();
    for vma in live
        .vmas
        .iter()
        .filter(|vma| passed_on.contains(&vma.start) && !there.contains(&vma.start))
    {
        let file = opened.get(vma, |id, flags| mapping_file(restore, node, id, flags))?;
        world.place(&restore.layout, vma, file)?;
    }
    opened.close();
    let files = PageFiles::open(restore, task, live)?;
    let wanted = |placed: &memory::Placed| passed_on.contains(&placed.vma.start);
    counts.add(pages::fill(
        world,
        wanted,
        &live.pages.runs,
        &files.fds,
        before(restore, node),
        false,
    )?);
    Ok(())
}

/// Makes and fills everything that is not there yet; returns what the restorer has to move.
pub(super) fn rebuild_memory(
    restore: &Restore,
    node: usize,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
    counts: &mut pages::Counts,
) -> Result<vdso::Moves> {
    let mut opened = MappedFiles::default();
    let there = world.starts();
    let missing = |vma: &&Vma| memory::is_mapped_here(vma) && !there.contains(&vma.start);
    for vma in live.vmas.iter().filter(missing) {
        let file = opened.get(vma, |id, flags| mapping_file(restore, node, id, flags))?;
        world.place(&restore.layout, vma, file)?;
    }
    opened.close();
    let files = PageFiles::open(restore, task, live)?;
    counts.add(pages::fill(
        world,
        |_| true,
        &live.pages.runs,
        &files.fds,
        before(restore, node),
        true,
    )?);
    world.finish(&live.guards, &live.pages.runs)?;
    extra::memory(world, &live.extra)?;
    let reader = vdso::reader(&files.fds);
    vdso::plan(task.pid, live, &restore.layout, world, reader)
}

/// The descriptor of a mapping's file with the access the mapping needs.
fn mapping_file(restore: &Restore, node: usize, id: u32, flags: u32) -> Result<RawFd> {
    if !files::is_grouped(restore, id)? || !files::has_descriptor(restore, id)? {
        return files::open_for(restore, node, id, Purpose::Mapping, Some(flags));
    }
    // The description that descriptors share, opened anew with another access.
    let shared = files::fetch(restore, id)?
        .ok_or_else(|| Error::Task(format!("file {id} is not open yet, and a mapping needs it")))?;
    let path = format!("/proc/self/fd/{shared}");
    let opened = nix::fcntl::open(
        path.as_str(),
        nix::fcntl::OFlag::from_bits_retain(flags.cast_signed()) | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    );
    sys::close(shared);
    opened
        .map(IntoRawFd::into_raw_fd)
        .context(|| format!("opening file {id} anew for a mapping"))
}
