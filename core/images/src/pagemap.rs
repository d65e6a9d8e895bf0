//! Writing a pagemap: which pages of an address space are where.

use criu_proto::images::{PagemapEntry, PagemapHead};
use criu_proto::magic::ImageKind;

use crate::dir::FileWriter;
use crate::{Error, ImageDir, Result, page_size};

/// The flags of a run of pages.
pub mod flags {
    /// The pages are in the parent set.
    pub const PARENT: u32 = 1;
    /// The pages may be restored lazily.
    pub const LAZY: u32 = 2;
    /// The pages are in the pages file of this set.
    pub const PRESENT: u32 = 4;
}

/// Writes a `pagemap-*.img`: runs in ascending order, neighbours with equal flags joined.
#[derive(Debug)]
pub struct PagemapWriter {
    image: FileWriter,
    dir: ImageDir,
    /// The run that may still grow: address, pages, flags.
    last: Option<(u64, u64, u32)>,
    present: u64,
}

impl PagemapWriter {
    /// Creates the pagemap of a kind (`PAGEMAP` or `SHMEM_PAGEMAP`) and number, whose present pages are
    /// in `pages-PAGES_ID.img`.
    pub fn create(dir: &ImageDir, kind: &ImageKind, id: u64, pages_id: u32) -> Result<Self> {
        let mut image = dir.create(kind, id)?;
        image
            .entry(&PagemapHead { pages_id })
            .map_err(|e| dir.frame_error(e))?;
        Ok(Self {
            image,
            dir: dir.clone(),
            last: None,
            present: 0,
        })
    }

    /// Adds a run of `nr_pages` pages at `vaddr` (bytes; in a shared mapping's pagemap the offset in
    /// the object). Runs with [`flags::PRESENT`] must come in the order of their pages in the pages
    /// file, and all runs in ascending order.
    pub fn run(&mut self, vaddr: u64, nr_pages: u64, flags: u32) -> Result<()> {
        let after = self
            .last
            .map_or(0, |(start, pages, _)| start + pages * page_size());
        let length = nr_pages.checked_mul(page_size());
        let fits = length.is_some_and(|length| vaddr.checked_add(length).is_some());
        if nr_pages == 0 || !vaddr.is_multiple_of(page_size()) || vaddr < after || !fits {
            let file = self.dir.path_of(self.image.file());
            return Err(Error::Run {
                file,
                vaddr,
                nr_pages,
                after,
            });
        }
        if flags & flags::PRESENT != 0 {
            self.present += nr_pages;
        }
        match &mut self.last {
            Some((_, pages, last_flags)) if vaddr == after && *last_flags == flags => *pages += nr_pages,
            _ => {
                self.flush()?;
                self.last = Some((vaddr, nr_pages, flags));
            }
        }
        Ok(())
    }

    /// Pages added so far that are in the pages file.
    pub fn present_pages(&self) -> u64 {
        self.present
    }

    /// Writes what is left. Dropped without this the pagemap is not complete.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.image.finish().map(drop).map_err(|e| self.dir.frame_error(e))
    }

    fn flush(&mut self) -> Result<()> {
        let Some((vaddr, nr_pages, flags)) = self.last else {
            return Ok(());
        };
        let entry = PagemapEntry {
            vaddr,
            // As CRIU 4.2 does. Read where nr_pages is not known (CRIU 3.17); it could not hold every number.
            compat_nr_pages: 0,
            in_parent: None,
            flags: Some(flags),
            nr_pages: Some(nr_pages),
        };
        self.image.entry(&entry).map_err(|e| self.dir.frame_error(e))
    }
}
