//! Asking for single mappings (`PROCMAP_QUERY`, Linux 6.11; `Documentation/filesystems/proc.rst`): a text of tens of
//! thousands of lines takes longer than all else that is done to a process.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::Vma;

/// A name may be a path.
const NAME: usize = 4096;

const READABLE: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const EXECUTABLE: u64 = 1 << 2;
const SHARED: u64 = 1 << 3;
const OR_NEXT: u64 = 1 << 4;

/// `struct procmap_query` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::c_ulong = 0xc068_6611;

/// `/proc/PID/maps`, to be asked.
#[derive(Debug)]
pub(super) struct Asked(File);

impl Asked {
    /// Of an open `/proc/PID/maps`; gives it back where the kernel does not answer.
    pub(super) fn new(file: File) -> Result<Self, File> {
        let asked = Self(file);
        match asked.ask(0, OR_NEXT) {
            Some(_) => Ok(asked),
            None => Err(asked.0),
        }
    }

    /// The mapping with an address.
    pub(super) fn at(&self, address: u64) -> Option<Vma> {
        self.ask(address, 0)
    }

    /// The mapping with an address, or else the next one.
    pub(super) fn from(&self, address: u64) -> Option<Vma> {
        self.ask(address, OR_NEXT)
    }

    /// All mappings with code, ascending.
    pub(super) fn code(&self) -> Vec<Vma> {
        let mut all: Vec<Vma> = Vec::new();
        let mut from = 0;
        while let Some(vma) = self.ask(from, OR_NEXT | READABLE | EXECUTABLE) {
            if vma.end <= from {
                break;
            }
            from = vma.end;
            all.push(vma);
        }
        all
    }

    /// None where there is no such mapping, or the kernel does not answer.
    fn ask(&self, address: u64, flags: u64) -> Option<Vma> {
        let mut name = [0u8; NAME];
        let mut query = Query {
            size: size_of::<Query>() as u64,
            flags,
            address,
            name_size: NAME as u32,
            name: name.as_mut_ptr() as u64,
            ..Query::default()
        };
        // SAFETY: the argument has its size in `size`, and `name` points at `name_size` bytes; both outlive the call.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), PROCMAP_QUERY, &raw mut query) } < 0 {
            return None;
        }
        let bit = |flag: u64, letter: u8| if query.vma_flags & flag != 0 { letter } else { b'-' };
        // Its zero is counted.
        let name = name
            .get(..(query.name_size as usize).saturating_sub(1))
            .unwrap_or_default();
        (query.start < query.end).then(|| Vma {
            start: query.start,
            end: query.end,
            perms: [
                bit(READABLE, b'r'),
                bit(WRITABLE, b'w'),
                bit(EXECUTABLE, b'x'),
                if query.vma_flags & SHARED != 0 { b's' } else { b'p' },
            ],
            offset: query.offset,
            file: (query.inode != 0)
                .then(|| (format!("{:02x}:{:02x}", query.major, query.minor), query.inode)),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }
}
