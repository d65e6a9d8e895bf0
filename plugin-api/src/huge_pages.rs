//! Contents of files of huge pages (hugetlbfs, memfd_create(2)), which cannot be written to by write(2): they go in by a
//! mapping.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::statfs::fstatfs;

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// The size of the pages of a file in bytes, if these are huge ones. fstatfs(2)
///
/// # Errors
/// The kernel's.
pub fn page_size(file: &File) -> nix::Result<Option<u64>> {
    let system = fstatfs(file)?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of f_type differs between architectures"
    )]
    let is_huge = system.filesystem_type().0 as i64 == HUGETLBFS_MAGIC;
    let size = u64::try_from(system.block_size()).unwrap_or(0);
    Ok((is_huge && size.is_power_of_two()).then_some(size))
}

/// Writes into a fresh file, page by page. Zeros are left out: such pages may never have been touched.
#[derive(Debug)]
pub struct Filler<'a> {
    file: &'a File,
    page: u64,
    at: u64,
    window: Option<(u64, Window)>,
}

impl<'a> Filler<'a> {
    /// From the beginning of a file on, whose pages have so many bytes, a power of two.
    pub fn new(file: &'a File, page: u64) -> Self {
        Self {
            file,
            page,
            at: 0,
            window: None,
        }
    }

    /// The next bytes go to this offset.
    pub fn seek(&mut self, to: u64) {
        self.at = to;
    }
}

impl Write for Filler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = self.at / self.page * self.page;
        let room = usize::try_from(start + self.page - self.at).unwrap_or(usize::MAX);
        let part = &bytes[..bytes.len().min(room)];
        if part.iter().any(|byte| *byte != 0) {
            let (_, window) = match self.window.take_if(|(of, _)| *of == start) {
                Some(known) => self.window.insert(known),
                None => self
                    .window
                    .insert((start, Window::of(self.file, start, self.page)?)),
            };
            window.write(self.at - start, part);
        }
        self.at += part.len() as u64;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A page of a file, mapped for writing.
#[derive(Debug)]
pub struct Window {
    at: NonNull<libc::c_void>,
    length: usize,
}

impl Window {
    /// The `length` bytes at `start` of a file, whose memory is allocated first: a page that cannot be had is an error
    /// here, not a signal at the first write.
    ///
    /// # Errors
    /// No such page is free, or it would lie beyond what files can have.
    pub fn of(file: &File, start: u64, length: u64) -> nix::Result<Self> {
        let offset = i64::try_from(start).map_err(|_| Errno::EFBIG)?;
        let size = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
        let length = usize::try_from(length)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        fallocate(file, FallocateFlags::empty(), offset, size)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let at = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, offset) }?;
        Ok(Self {
            at,
            length: length.get(),
        })
    }

    /// Copies bytes to an offset within it; what would lie beyond it is left out.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let count = data.len().min(self.length - offset);
        let from = NonNull::from(data).cast();
        // SAFETY: `offset + count` is within the mapping, which is writable and ours alone in this process.
        unsafe {
            let to = self.at.cast::<u8>().add(offset);
            to.copy_from_nonoverlapping(from, count);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `of`, and nothing refers into it.
        let unmapped = unsafe { munmap(self.at, self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
