//! The contents of a range of a task, from the page images that the core has written.

use std::os::unix::fs::FileExt;

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::framing::ImageReader;
use criu_proto::images::{PagemapEntry, PagemapHead};
use criu_proto::magic;

const PAGE: u64 = 4096;
/// Flags of a `pagemap_entry`: its pages are in the parent set, or in the pages file of this one.
const IN_PARENT: u32 = 1;
const PRESENT: u32 = 4;

/// Reads `length` bytes at `start` of process `pid`; pages without an entry are zero.
pub(crate) fn read(host: &Host<'_>, pid: i32, start: u64, length: u64) -> Result<Vec<u8>> {
    let size = usize::try_from(length).map_err(|_| Error::new(format!("{length} bytes are too many")))?;
    let id = u64::try_from(pid).map_err(|_| Error::new(format!("pid {pid} cannot be")))?;
    let name = magic::PAGEMAP.file_name(id);
    let missing = |name: &str| Error::new(format!("image {name} is missing"));
    let file = host.open_image(&name)?.ok_or_else(|| missing(&name))?;
    let file_size = file.metadata().map(|meta| meta.len()).ok();
    let mut image = ImageReader::new(std::io::BufReader::new(file), &name, file_size, &magic::PAGEMAP)?;
    let head: PagemapHead = image.entry()?;
    let pages_name = magic::PAGES.file_name(u64::from(head.pages_id));
    let pages = host
        .open_image(&pages_name)?
        .ok_or_else(|| missing(&pages_name))?;
    let mut content = vec![0; size];
    let end = start.saturating_add(length);
    let mut offset = 0_u64;
    for entry in image.entries::<PagemapEntry>() {
        let entry = entry?;
        let bytes = entry
            .nr_pages
            .unwrap_or(u64::from(entry.compat_nr_pages))
            .checked_mul(PAGE)
            .filter(|bytes| entry.vaddr.checked_add(*bytes).is_some())
            .ok_or_else(|| {
                Error::new(format!(
                    "{name}: the entry at {:#x} is too long: damaged",
                    entry.vaddr
                ))
            })?;
        let flags = entry
            .flags
            .unwrap_or(if entry.in_parent() { IN_PARENT } else { PRESENT });
        let (from, to) = (entry.vaddr.max(start), (entry.vaddr + bytes).min(end));
        if from < to {
            if flags & IN_PARENT != 0 {
                let what = "the pages of the ring are in the parent image set, which is not supported";
                return Err(Error::new(format!("{name}: {what}")));
            }
            if flags & PRESENT != 0 {
                let at = offset + (from - entry.vaddr);
                let into = &mut content[(from - start) as usize..(to - start) as usize];
                pages
                    .read_exact_at(into, at)
                    .context(|| format!("reading {pages_name} at {at}"))?;
            }
        }
        if flags & PRESENT != 0 {
            offset = offset
                .checked_add(bytes)
                .ok_or_else(|| Error::new(format!("{name}: it has too many pages: damaged")))?;
        }
    }
    Ok(content)
}
