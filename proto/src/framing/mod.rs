//! The framing of an image file: magics, then entries of a u32 length and an encoded message, some of
//! them followed by raw bytes ("payload"). All words are little-endian.
//!
//! The input is untrusted: a length is checked against [`MAX_ENTRY`] and, where the size of the file
//! is known, against what is left of it, before anything is allocated; entries are checked against
//! their schema (required fields, wire types) before they are decoded.

mod error;
mod reader;
mod writer;

pub use error::FrameError;
pub use reader::{Entries, ImageReader};
pub use writer::ImageWriter;

use crate::magic::{Header, IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, ImageKind};

/// Longest entry that is read or written, in bytes.
pub const MAX_ENTRY: u32 = 64 << 20;

/// The words before the entries of a kind.
fn magics(kind: &ImageKind) -> impl Iterator<Item = u32> {
    let first = match kind.header {
        Header::Image => Some(IMG_COMMON_MAGIC),
        Header::Service => Some(IMG_SERVICE_MAGIC),
        Header::Inventory | Header::Raw => None,
    };
    let own = (kind.header != Header::Raw).then_some(kind.magic);
    first.into_iter().chain(own)
}
