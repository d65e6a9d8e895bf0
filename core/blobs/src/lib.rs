//! The two programs that run inside other processes: the *parasite*, which the tracer places in a
//! stopped process to ask it about itself, and the *restorer*, which turns a task into the one of
//! an image. Both are position independent, have no libc and need no loader but this crate:
//!
//! ```
//! let blob = criu_blobs::PARASITE;
//! let base = 0x7000_0000_0000; // where the image will lie in the other process
//! let bytes = blob.relocated(base);
//! assert_eq!(bytes.len(), blob.size);
//! let start_at = base + blob.entry("init").unwrap() as u64;
//! # assert!(start_at < base + blob.size as u64);
//! ```
//!
//! The build compiles `parasite/main.rs` and `restorer/main.rs` (both on top of `rt/`) and checks
//! that nothing but relative relocations in the writable part is left. [`wire`] is the memory that
//! the tracer and a blob share; it is compiled into both.

pub mod restore;
pub mod wire;

/// A program to be copied into another process.
#[derive(Debug, Clone, Copy)]
pub struct Blob {
    /// `"parasite"` or `"restorer"`.
    pub name: &'static str,
    /// The image without the zeros at its end.
    pub image: &'static [u8],
    /// Bytes the image takes in memory, zeroed data included.
    pub size: usize,
    /// Offset (a multiple of 4096) from which the image must be writable; what is before it must
    /// be executable and is never written.
    pub rw_start: usize,
    /// Names and offsets of the entries.
    pub entries: &'static [(&'static str, usize)],
    /// `(offset, addend)`: the 8 bytes at `offset` become `base + addend`.
    pub relocs: &'static [(usize, u64)],
}

impl Blob {
    /// The offset of the entry called `name` (`entry_NAME` in the blob's source).
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.entries.iter().find(|(n, _)| *n == name).map(|(_, at)| *at)
    }

    /// The whole image (`size` bytes) as it must lie at `base` (page aligned).
    pub fn relocated(&self, base: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.size];
        bytes[..self.image.len()].copy_from_slice(self.image);
        for (offset, addend) in self.relocs {
            bytes[*offset..offset + 8].copy_from_slice(&base.wrapping_add(*addend).to_le_bytes());
        }
        bytes
    }
}

include!(concat!(env!("OUT_DIR"), "/blobs.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_code_inside_the_image() {
        for blob in [PARASITE, RESTORER] {
            assert!(!blob.entries.is_empty());
            for (name, at) in blob.entries {
                assert!(
                    *at < blob.rw_start && *at < blob.image.len(),
                    "{} {name} {at:#x}",
                    blob.name
                );
            }
        }
        assert!(PARASITE.entry("init").is_some() && PARASITE.entry("thread").is_some());
        assert!(RESTORER.entry("restore").is_some());
        assert_eq!(PARASITE.entry("none"), None);
    }

    #[test]
    fn relocations_touch_only_the_writable_part() {
        for blob in [PARASITE, RESTORER] {
            assert_eq!(blob.rw_start % 4096, 0);
            assert!(blob.rw_start <= blob.size && blob.image.len() <= blob.size);
            for (offset, addend) in blob.relocs {
                assert!(*offset >= blob.rw_start && offset + 8 <= blob.size);
                assert!(*addend <= blob.size as u64);
            }
            let (a, b) = (blob.relocated(0x10_0000), blob.relocated(0x7f00_0000_0000));
            assert_eq!(
                a[..blob.rw_start],
                b[..blob.rw_start],
                "{}: text depends on the base",
                blob.name
            );
        }
    }

    #[test]
    fn relocation_adds_the_base() {
        let blob = Blob {
            name: "made",
            image: &[1, 2],
            size: 24,
            rw_start: 0,
            entries: &[("e", 0)],
            relocs: &[(8, 0x10)],
        };
        let bytes = blob.relocated(0x7000);
        assert_eq!(bytes[..2], [1, 2]);
        assert_eq!(bytes[8..16], 0x7010u64.to_le_bytes());
        assert_eq!(bytes[16..], [0; 8]);
    }
}
