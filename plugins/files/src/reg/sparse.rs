//! Where the data of a sparse file lies.

use std::fs::File;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::sys;

/// A run of data, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The runs of data of a file of `size` bytes, by extent map when asked for and possible, otherwise by
/// `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
pub(super) fn chunks(file: &File, size: u64, by_fiemap: bool) -> nix::Result<Vec<Chunk>> {
    if by_fiemap {
        match sys::fiemap(file) {
            Ok(extents) => return Ok(clip(&extents, size)),
            Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EBADR) => {}
            Err(errno) => return Err(errno),
        }
    }
    by_seeking(file, size)
}

fn by_seeking(file: &File, size: u64) -> nix::Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = |n: u64| i64::try_from(n).map_err(|_| Errno::EFBIG);
        let start = match lseek(file, offset(at)?, Whence::SeekData) {
            Ok(start) => start.unsigned_abs(),
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno),
        };
        if start >= size {
            break;
        }
        let end = lseek(file, offset(start)?, Whence::SeekHole)?
            .unsigned_abs()
            .min(size);
        if end <= start {
            return Err(Errno::EIO);
        }
        chunks.push(Chunk {
            offset: start,
            length: end - start,
        });
        at = end;
    }
    Ok(chunks)
}

/// Cuts extents at the end of the file and joins neighbours.
fn clip(extents: &[(u64, u64)], size: u64) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for &(offset, length) in extents {
        let end = offset.saturating_add(length).min(size);
        if offset >= end {
            continue;
        }
        match chunks.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length = end - last.offset,
            _ => chunks.push(Chunk {
                offset,
                length: end - offset,
            }),
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::os::unix::fs::FileExt;

    #[test]
    fn extents_are_cut_and_joined() {
        let chunk = |offset, length| Chunk { offset, length };
        assert_eq!(
            clip(&[(0, 4096), (4096, 4096), (16384, 4096)], 17000),
            [chunk(0, 8192), chunk(16384, 616)]
        );
        assert!(clip(&[(8192, 4096)], 5000).is_empty());
    }

    #[test]
    fn both_ways_cover_all_data() {
        let dir = Scratch::new();
        let file = dir.file("sparse", b"");
        let size = 9 << 20;
        file.set_len(size).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"middle", 4 << 20).unwrap();
        for by_fiemap in [false, true] {
            let chunks = chunks(&file, size, by_fiemap).unwrap();
            let holds = |at: u64| chunks.iter().any(|c| c.offset <= at && at < c.offset + c.length);
            assert!(holds(0) && holds((4 << 20) + 5), "{chunks:?}");
            assert!(chunks.iter().all(|c| c.offset + c.length <= size));
        }
    }
}
