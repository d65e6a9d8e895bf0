//! Reading a pagemap, with the sets that it builds on.

use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_proto::images::{PagemapEntry, PagemapHead};
use criu_proto::magic::{self, ImageKind};

use crate::{Error, ImageDir, Result, flags, page_size};

/// Parent sets that are followed at most.
pub const MAX_PARENTS: usize = 512;

/// A run of pages with one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First address, in bytes (in a shared mapping's pagemap the offset in the object).
    pub vaddr: u64,
    /// Length in pages, at least 1.
    pub nr_pages: u64,
    /// The flags in this set's pagemap: see [`flags`].
    pub flags: u32,
    /// Where the pages are.
    pub source: Source,
}

/// Where the pages of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In a pages file.
    File(Extent),
    /// In no file: they stay with the process that was dumped and are fetched on demand.
    Remote,
}

/// A place in a pages file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which set: 0 is this one, 1 its parent and so on. See [`PagemapReader::pages`].
    pub level: usize,
    /// Offset in the pages file, in bytes.
    pub offset: u64,
}

impl Run {
    /// The address after the last page. Checked not to overflow when the pagemap is read.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.vaddr + self.bytes()
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.nr_pages * page_size()
    }

    /// The part of the run between two addresses (whole pages), which must overlap it.
    fn clip(&self, from: u64, to: u64) -> Run {
        let (start, end) = (self.vaddr.max(from), self.end().min(to));
        let source = match self.source {
            Source::File(extent) => Source::File(Extent {
                offset: extent.offset + (start - self.vaddr),
                ..extent
            }),
            Source::Remote => Source::Remote,
        };
        Run {
            vaddr: start,
            nr_pages: (end - start) / page_size(),
            flags: self.flags,
            source,
        }
    }
}

/// A pagemap that was read and checked: sorted runs on page boundaries that do not overlap, all of
/// their pages there.
#[derive(Debug)]
pub struct PagemapReader {
    runs: Vec<Run>,
    levels: Vec<Level>,
}

/// One set of the chain.
#[derive(Debug)]
struct Level {
    pagemap: String,
    pages_path: String,
    pages_id: u32,
    /// None when no page is in it and it is not there.
    pages: Option<File>,
}

/// A run as one set describes it: in its own pages file, in its parent, or nowhere.
#[derive(Debug, Clone, Copy)]
struct OwnRun {
    run: Run,
    in_parent: bool,
}

impl PagemapReader {
    /// Reads the pagemap of a kind (`PAGEMAP` or `SHMEM_PAGEMAP`) and number. Pages that are in the
    /// parent set are looked up there, in the pagemap of the same name, and so on.
    pub fn open(dir: &ImageDir, kind: &ImageKind, id: u64) -> Result<Self> {
        let (first, runs) = read_level(dir, kind, id, 0)?;
        let mut sets = vec![runs];
        let mut levels = vec![first];
        let mut visited = vec![dir.identity()?];
        let mut current = dir.clone();
        while let Some(wanted) = sets.last().and_then(|runs| runs.iter().find(|r| r.in_parent)) {
            let missing = |parent: String| Error::NotInParent {
                pagemap: current.path_of(&kind.file_name(id)),
                vaddr: wanted.run.vaddr,
                parent,
            };
            let Some(parent) = current.parent()? else {
                return Err(missing(format!(
                    "(no link {})",
                    current.path_of(crate::PARENT_LINK)
                )));
            };
            let identity = parent.identity()?;
            if levels.len() > MAX_PARENTS || visited.contains(&identity) {
                return Err(Error::ParentChain {
                    dir: dir.path().display().to_string(),
                    limit: MAX_PARENTS,
                });
            }
            if !parent.exists(&kind.file_name(id))? {
                return Err(missing(parent.path_of(&kind.file_name(id))));
            }
            let (level, runs) = read_level(&parent, kind, id, levels.len())?;
            visited.push(identity);
            levels.push(level);
            sets.push(runs);
            current = parent;
        }
        Ok(Self {
            runs: resolve(&levels, sets)?,
            levels,
        })
    }

    /// The runs, ascending. A run of this set may be several here when its pages are in several files.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run with the page at `vaddr`.
    #[must_use]
    pub fn find(&self, vaddr: u64) -> Option<&Run> {
        let next = self.runs.partition_point(|run| run.vaddr <= vaddr);
        self.runs[..next].last().filter(|run| vaddr < run.end())
    }

    /// The pages file of a level; `None` for a level that has no pages.
    #[must_use]
    pub fn pages(&self, level: usize) -> Option<&File> {
        self.levels.get(level)?.pages.as_ref()
    }

    /// The number of this set's pages file.
    #[must_use]
    pub fn pages_id(&self) -> u32 {
        self.levels.first().map_or(0, |level| level.pages_id)
    }

    /// The path of a level's pages file, for messages.
    #[must_use]
    pub fn pages_path(&self, level: usize) -> &str {
        self.levels.get(level).map_or("", |level| &level.pages_path)
    }

    /// Fills `buffer` from a place in the pages files.
    pub fn read(&self, from: Extent, buffer: &mut [u8]) -> Result<()> {
        let file = self.pages(from.level).ok_or(std::io::ErrorKind::NotFound.into());
        file.and_then(|file| file.read_exact_at(buffer, from.offset))
            .map_err(|source| Error::Io {
                action: "read pages of",
                file: self.pages_path(from.level).to_owned(),
                source,
            })
    }
}

/// Reads one set's pagemap and opens its pages file.
fn read_level(dir: &ImageDir, kind: &ImageKind, id: u64, level: usize) -> Result<(Level, Vec<OwnRun>)> {
    let mut image = dir.open_image(kind, id)?;
    let pagemap = dir.path_of(image.file());
    let head: PagemapHead = image.entry().map_err(|e| dir.frame_error(e))?;
    let mut runs: Vec<OwnRun> = Vec::new();
    let (mut after, mut offset) = (0, 0);
    for entry in image.entries::<PagemapEntry>() {
        let entry = entry.map_err(|e| dir.frame_error(e))?;
        let own = check_entry(&entry, after, Extent { level, offset }).map_err(|what| Error::Pagemap {
            file: pagemap.clone(),
            run: runs.len() as u64,
            vaddr: entry.vaddr,
            nr_pages: nr_pages(&entry),
            what,
        })?;
        after = own.run.end();
        if let (Source::File(_), false) = (own.run.source, own.in_parent) {
            // Cannot overflow: the runs are disjoint parts of a 64-bit address space.
            offset += own.run.bytes();
        }
        runs.push(own);
    }
    let pages_name = magic::PAGES.file_name(head.pages_id.into());
    let pages_path = dir.path_of(&pages_name);
    let pages = dir.open_raw_if_exists(&pages_name)?;
    let found = match &pages {
        Some(file) => file
            .metadata()
            .map_err(|e| dir.std_error("inspect", &pages_name, e))?
            .len(),
        None if offset == 0 => 0,
        None => dir.open_raw(&pages_name)?.metadata().map_or(0, |data| data.len()),
    };
    if found != offset {
        return Err(Error::PagesSize {
            pagemap,
            pages: pages_path,
            expected: offset,
            found,
        });
    }
    Ok((
        Level {
            pagemap,
            pages_path,
            pages_id: head.pages_id,
            pages,
        },
        runs,
    ))
}

/// `nr_pages` came later than `compat_nr_pages`.
fn nr_pages(entry: &PagemapEntry) -> u64 {
    entry.nr_pages.unwrap_or(entry.compat_nr_pages.into())
}

fn check_entry(entry: &PagemapEntry, after: u64, place: Extent) -> std::result::Result<OwnRun, &'static str> {
    let (vaddr, nr_pages) = (entry.vaddr, nr_pages(entry));
    if !vaddr.is_multiple_of(page_size()) {
        return Err("its address is not on a page boundary");
    }
    if nr_pages == 0 {
        return Err("it is empty");
    }
    let length = nr_pages.checked_mul(page_size());
    if length.and_then(|length| vaddr.checked_add(length)).is_none() {
        return Err("it goes beyond the address space");
    }
    if vaddr < after {
        return Err("it begins before the end of the run before it");
    }
    // Before there were flags, a page was in the parent or present.
    let flags = entry.flags.unwrap_or(if entry.in_parent() {
        flags::PARENT
    } else {
        flags::PRESENT
    });
    let (in_parent, source) = match flags & (flags::PARENT | flags::PRESENT) {
        flags::PARENT => (true, Source::Remote),
        flags::PRESENT => (false, Source::File(place)),
        0 if flags & flags::LAZY != 0 => (false, Source::Remote),
        0 => return Err("its flags say that its pages are nowhere"),
        _ => return Err("its flags say that its pages are both in this set and in the parent"),
    };
    Ok(OwnRun {
        run: Run {
            vaddr,
            nr_pages,
            flags,
            source,
        },
        in_parent,
    })
}

/// Replaces runs in a parent by where their pages really are, from the oldest set to this one.
fn resolve(levels: &[Level], mut sets: Vec<Vec<OwnRun>>) -> Result<Vec<Run>> {
    let mut resolved: Vec<Run> = Vec::new();
    for level in (0..levels.len()).rev() {
        let own = sets.pop().unwrap_or_default();
        let mut runs = Vec::with_capacity(own.len());
        for OwnRun { run, in_parent } in own {
            if !in_parent {
                runs.push(run);
                continue;
            }
            look_up(&resolved, &run, &mut runs).map_err(|vaddr| Error::NotInParent {
                pagemap: levels[level].pagemap.clone(),
                vaddr,
                parent: levels
                    .get(level + 1)
                    .map_or_else(String::new, |parent| parent.pagemap.clone()),
            })?;
        }
        resolved = runs;
    }
    Ok(resolved)
}

/// Adds the parts of the parent's runs that make up `run`; the first address that is in none otherwise.
fn look_up(parent: &[Run], run: &Run, runs: &mut Vec<Run>) -> std::result::Result<(), u64> {
    let mut at = run.vaddr;
    let first = parent.partition_point(|p| p.end() <= run.vaddr);
    for found in &parent[first..] {
        if found.vaddr > at || at >= run.end() {
            break;
        }
        let part = Run {
            flags: run.flags,
            ..found.clip(at, run.end())
        };
        at = part.end();
        runs.push(part);
    }
    if at < run.end() { Err(at) } else { Ok(()) }
}
