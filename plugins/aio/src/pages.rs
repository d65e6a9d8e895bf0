//! The contents of ranges of a task, from the page images that the core has written.

use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::framing::ImageReader;
use criu_proto::images::{PagemapEntry, PagemapHead};
use criu_proto::magic;

use crate::ring::PAGE;

/// Flags of a `pagemap_entry`: its pages are in the parent set, or in the pages file of this one.
const IN_PARENT: u32 = 1;
const PRESENT: u32 = 4;

/// The pages that a set has of a process.
pub(crate) struct Pages {
    map: String,
    pages: String,
    file: File,
    runs: Vec<Run>,
}

/// Pages of a process that lie beside each other.
struct Run {
    start: u64,
    end: u64,
    flags: u32,
    /// Where in the pages file.
    at: u64,
}

impl Pages {
    /// Reads the page map of a process.
    pub(crate) fn of(host: &Host<'_>, pid: i32) -> Result<Self> {
        let id = u64::try_from(pid).map_err(|_| Error::new(format!("pid {pid} cannot be")))?;
        let map = magic::PAGEMAP.file_name(id);
        let missing = |name: &str| Error::new(format!("image {name} is missing"));
        let file = host.open_image(&map)?.ok_or_else(|| missing(&map))?;
        let file_size = file.metadata().map(|meta| meta.len()).ok();
        let mut image = ImageReader::new(std::io::BufReader::new(file), &map, file_size, &magic::PAGEMAP)?;
        let head: PagemapHead = image.entry()?;
        let pages = magic::PAGES.file_name(u64::from(head.pages_id));
        let file = host.open_image(&pages)?.ok_or_else(|| missing(&pages))?;
        let mut runs = Vec::new();
        let mut at = 0_u64;
        for entry in image.entries::<PagemapEntry>() {
            let entry = entry?;
            let (start, damaged) = (entry.vaddr, |what| {
                Error::new(format!("{map}: the entry at {:#x} {what}: damaged", entry.vaddr))
            });
            let bytes = entry
                .nr_pages
                .unwrap_or(u64::from(entry.compat_nr_pages))
                .checked_mul(PAGE)
                .ok_or_else(|| damaged("is too long"))?;
            let end = start.checked_add(bytes).ok_or_else(|| damaged("is too long"))?;
            if runs.last().is_some_and(|run: &Run| start < run.end) {
                return Err(damaged("is out of order"));
            }
            let flags = entry
                .flags
                .unwrap_or(if entry.in_parent() { IN_PARENT } else { PRESENT });
            runs.push(Run {
                start,
                end,
                flags,
                at,
            });
            if flags & PRESENT != 0 {
                at = at
                    .checked_add(bytes)
                    .ok_or_else(|| Error::new(format!("{map}: it has too many pages: damaged")))?;
            }
        }
        Ok(Self {
            map,
            pages,
            file,
            runs,
        })
    }

    /// Reads `length` bytes at `start`; pages without an entry are zero.
    pub(crate) fn read(&self, start: u64, length: u64) -> Result<Vec<u8>> {
        let size = usize::try_from(length).map_err(|_| Error::new(format!("{length} bytes are too many")))?;
        let end = start.saturating_add(length);
        let mut content = vec![0; size];
        let first = self.runs.partition_point(|run| run.end <= start);
        for run in self.runs[first..].iter().take_while(|run| run.start < end) {
            if run.flags & IN_PARENT != 0 {
                let what = "the pages of the ring are in the parent image set, which is not supported";
                return Err(Error::new(format!("{}: {what}", self.map)));
            }
            if run.flags & PRESENT != 0 {
                let (from, to) = (run.start.max(start), run.end.min(end));
                let at = run.at + (from - run.start);
                let into = &mut content[(from - start) as usize..(to - start) as usize];
                self.file
                    .read_exact_at(into, at)
                    .context(|| format!("reading {} at {at}", self.pages))?;
            }
        }
        Ok(content)
    }
}
