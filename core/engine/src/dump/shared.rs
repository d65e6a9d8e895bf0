//! The contents of shared memory objects: `pagemap-shmem-ID.img`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use criu_images::{PagemapWriter, PagesWriter};
use criu_proto::magic;

use super::context::Context as Dump;
use super::memory::PAGE;
use super::vmas::pagemap;
use crate::error::{Context, Error, Result};

/// Bytes read into one window.
const CHUNK: u64 = 32 << 20;

/// Saves the data of an object that is `size` bytes long; its holes are left out.
///
/// # Errors
/// Reading or writing failed.
pub(crate) fn dump(dump: &Dump, id: u64, object: &File, size: u64) -> Result<()> {
    let ranges =
        data_ranges(object, size).context(|| format!("looking for the data of shared memory {id}"))?;
    let bytes: u64 = ranges.iter().map(|(start, end)| end - start).sum();
    let pages = PagesWriter::create(&dump.images, dump.next_pages_id(), bytes)?;
    let mut map = PagemapWriter::create(&dump.images, &magic::SHMEM_PAGEMAP, id, pages.id())?;
    for (start, end) in ranges {
        let mut at = start;
        while at < end {
            let len = (end - at).min(CHUNK);
            let mut window = pages.take(len)?;
            read_padded(object, &mut window, at)
                .context(|| format!("reading shared memory {id} at {at:#x}"))?;
            window.commit()?;
            at += len;
        }
        map.run(start, (end - start) / PAGE, pagemap::PRESENT)?;
    }
    map.finish()?;
    pages.finish()?;
    dump.stats
        .counters
        .shared_scanned
        .fetch_add(size.div_ceil(PAGE), Ordering::Relaxed);
    dump.stats
        .counters
        .shared_written
        .fetch_add(bytes / PAGE, Ordering::Relaxed);
    Ok(())
}

/// The ranges that hold data, in whole pages, by SEEK_DATA and SEEK_HOLE of lseek(2).
fn data_ranges(object: &File, size: u64) -> Result<Vec<(u64, u64)>> {
    let seek = |at: u64, whence: libc::c_int| {
        // SAFETY: lseek takes plain numbers.
        let to = unsafe { libc::lseek(object.as_raw_fd(), at.cast_signed(), whence) };
        if to < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(to.cast_unsigned())
        }
    };
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(at, libc::SEEK_DATA) {
            Ok(start) => start,
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => break,
            // A file system without holes (hugetlbfs): all of it is data.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                return Ok(vec![(0, size.next_multiple_of(PAGE))]);
            }
            Err(error) => return Err(error).context(|| "seeking data"),
        };
        if start >= size {
            break;
        }
        let end = seek(start, libc::SEEK_HOLE)
            .context(|| "seeking a hole")?
            .min(size);
        if end <= start {
            return Err(Error::malformed(
                "lseek",
                format!("found no hole behind {start:#x}"),
            ));
        }
        let range = (start / PAGE * PAGE, end.next_multiple_of(PAGE));
        match ranges.last_mut() {
            Some(last) if last.1 >= range.0 => last.1 = range.1,
            _ => ranges.push(range),
        }
        at = end;
    }
    Ok(ranges)
}

/// Reads a whole window; what lies behind the end of the object is zero.
fn read_padded(object: &File, window: &mut [u8], at: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < window.len() {
        match object.read_at(&mut window[done..], at + done as u64)? {
            0 => break,
            got => done += got,
        }
    }
    window[done..].fill(0);
    Ok(())
}
