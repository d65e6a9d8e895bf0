//! The layout of a ring, `struct aio_ring` of fs/aio.c: a header of eight words of 32 bits, then events
//! of 32 bytes each. It is part of the kernel's interface: programs read it by themselves.

use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_plugin_api::{Context, Error, Host, Result};

pub(crate) const PAGE: u64 = 4096;
/// Bytes of the header, and of an event.
pub(crate) const HEADER: u64 = 32;
pub(crate) const EVENT: u64 = 32;
/// Where in the header the head lies.
pub(crate) const HEAD: u64 = 8;
const MAGIC: u32 = 0xa10a_10a1;
/// Longest ring that is believed, in bytes; the kernel's limit of events is far below it.
pub(crate) const MAX_LENGTH: u64 = 1 << 30;

/// The words of the header that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Events that the ring has room for.
    pub(crate) nr: u32,
    /// The event to be fetched next, and the place where the next one will be put.
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

impl Header {
    /// Reads and checks the header of a ring that is `length` bytes long.
    pub(crate) fn parse(bytes: &[u8], length: u64) -> std::result::Result<Self, String> {
        let word = |index: usize| -> Option<u32> {
            let part = bytes.get(index * 4..index * 4 + 4)?;
            part.try_into().ok().map(u32::from_ne_bytes)
        };
        let words = (word(1), word(2), word(3), word(4), word(6), word(7));
        let (Some(nr), Some(head), Some(tail), Some(magic), Some(incompatible), Some(header)) = words else {
            return Err("it has no header".to_owned());
        };
        if magic != MAGIC || incompatible != 0 || u64::from(header) != HEADER {
            return Err(format!(
                "its layout is not known (magic {magic:#x}, features {incompatible:#x}, header of {header} bytes)"
            ));
        }
        if length > MAX_LENGTH || capacity(length) != u64::from(nr) {
            return Err(format!(
                "it has {nr} events in {length} bytes: a part of it was unmapped"
            ));
        }
        // The program can write to the ring, so what it says is checked.
        if head >= nr || tail >= nr {
            return Err(format!("its events {head} to {tail} lie outside of its {nr}"));
        }
        Ok(Self { nr, head, tail })
    }

    /// How many events wait to be fetched.
    pub(crate) fn waiting(self) -> u32 {
        (self.tail + self.nr - self.head) % self.nr
    }
}

/// Events in a ring of so many bytes.
pub(crate) fn capacity(length: u64) -> u64 {
    length.saturating_sub(HEADER) / EVENT
}

/// What io_setup(2) must be asked for to make a ring of this capacity: it makes room for twice as many
/// and two more, and fills whole pages.
pub(crate) fn requests_for(capacity: u32) -> u32 {
    (capacity.saturating_sub(2) / 2).max(1)
}

/// The least that makes a ring of so many bytes, where the kernel makes room for `floor` requests at least. How many
/// the program asked for is not told, and makes no difference to the ring: its capacity is that of its pages. But they
/// count towards `/proc/sys/fs/aio-max-nr`, and those of the program have fitted.
pub(crate) fn least_requests(length: u64, floor: u64) -> u64 {
    let least = (capacity(length.saturating_sub(PAGE)) / 2).max(1);
    if least <= floor { 1 } else { least }
}

/// So many requests the kernel makes room for at least: four for each processor that this machine may have. 1 where it
/// does not tell.
pub(crate) fn floor() -> u64 {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    processors(&list).map_or(1, |count| count.saturating_mul(4))
}

/// How many processors a list such as `0-3,8` names, see sysfs-devices-system-cpu.
fn processors(list: &str) -> Option<u64> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim()
        .split(',')
        .map(range)
        .try_fold(0, |sum: u64, count| sum.checked_add(count?))
}

/// The memory of a task.
pub(crate) fn memory(host: &Host<'_>, pid: i32, write: bool) -> Result<File> {
    let tasks = host.tasks()?;
    let task = tasks
        .iter()
        .find(|task| task.pid == pid)
        .ok_or_else(|| Error::new(format!("process {pid} is not in the tree")))?;
    let path = format!("/proc/{}/mem", task.host_pid);
    File::options()
        .read(true)
        .write(write)
        .open(&path)
        .context(|| format!("opening {path}"))
}

/// The header of the ring at an address of a task.
pub(crate) fn header_at(memory: &File, address: u64, length: u64) -> Result<Header> {
    let mut bytes = [0; HEADER as usize];
    memory
        .read_exact_at(&mut bytes, address)
        .context(|| "reading its header")?;
    Header::parse(&bytes, length).map_err(Error::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: [u32; 8]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    #[test]
    fn a_header_is_checked() {
        let good = [0, 127, 5, 3, MAGIC, 1, 0, 32];
        let parsed = Header::parse(&header(good), 4096).unwrap();
        assert_eq!(
            parsed,
            Header {
                nr: 127,
                head: 5,
                tail: 3
            }
        );
        assert_eq!(parsed.waiting(), 125);
        for (at, value) in [(1, 126), (2, 127), (3, 500), (4, 1), (6, 1), (7, 64)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Header::parse(&header(bad), 4096).is_err(), "word {at}");
        }
        assert!(Header::parse(&header(good), 8192).is_err());
        assert!(Header::parse(&[0; 31], 4096).is_err());
    }

    #[test]
    fn processors_are_counted() {
        assert_eq!(processors("0-15\n"), Some(16));
        assert_eq!(processors("0-3,8,10-11"), Some(7));
        for bad in ["", "x", "3-1", "0-18446744073709551615", "0-9,"] {
            assert_eq!(processors(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_requests_asked_for_fill_the_same_pages() {
        for pages in 1..200 {
            let capacity = u32::try_from(capacity(pages * 4096)).unwrap();
            let events = u64::from(requests_for(capacity)) * 2 + 2;
            assert_eq!((HEADER + events * EVENT).div_ceil(4096), pages);
            let least = least_requests(pages * 4096, 1);
            assert!(least <= u64::from(requests_for(capacity)));
            let length = |requests: u64| (HEADER + (requests * 2 + 2) * EVENT).div_ceil(4096);
            assert_eq!(length(least), pages);
            assert!(least == 1 || length(least - 1) < pages);
            // What the kernel makes room for anyway need not be asked for.
            assert_eq!(least_requests(pages * 4096, least), 1);
            assert_eq!(least_requests(pages * 4096, least - 1), least);
        }
    }
}
