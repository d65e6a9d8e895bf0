//! What is wrong with an image file.

use std::io;

use thiserror::Error;

use super::MAX_ENTRY;
use crate::schema::SchemaError;

/// What is wrong with an image file. `entry` counts the entries of the file from 0, `offset` is in
/// bytes from the start of the file.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The file could not be read.
    #[error("reading {file} at offset {offset}: {source}")]
    Read {
        /// File name.
        file: String,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("writing {file} at offset {offset}: {source}")]
    Write {
        /// File name.
        file: String,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is another one than its name says, or damaged at its start.
    #[error(
        "{file}: magic {found:#010x} at offset {offset}, expected {expected:#010x} ({kind}): not such an image, or damaged"
    )]
    Magic {
        /// File name.
        file: String,
        /// Where.
        offset: u64,
        /// Magic found.
        found: u32,
        /// Magic expected.
        expected: u32,
        /// Kind expected.
        kind: &'static str,
    },
    /// The file ends within a magic, a length, an entry or a payload.
    #[error(
        "{file} is truncated: entry {entry} needs {needed} bytes for its {part} at offset {offset}, {left} are left"
    )]
    Truncated {
        /// File name.
        file: String,
        /// Number of the entry.
        entry: u64,
        /// Where the part begins.
        offset: u64,
        /// `magic`, `length`, `message` or `payload`.
        part: &'static str,
        /// Bytes that the part has.
        needed: u64,
        /// Bytes that are left of the file.
        left: u64,
    },
    /// An entry is longer than [`MAX_ENTRY`].
    #[error(
        "{file}: entry {entry} at offset {offset} is {length} bytes long, over the limit of {MAX_ENTRY}: damaged"
    )]
    TooLong {
        /// File name.
        file: String,
        /// Number of the entry.
        entry: u64,
        /// Where the entry begins.
        offset: u64,
        /// Its length.
        length: u64,
    },
    /// An entry is not the message that it should be.
    #[error("{file}: entry {entry} at offset {offset}: {source}")]
    Schema {
        /// File name.
        file: String,
        /// Number of the entry.
        entry: u64,
        /// Where the message begins.
        offset: u64,
        /// What is wrong.
        source: SchemaError,
    },
    /// An entry could not be decoded.
    #[error("{file}: entry {entry} at offset {offset} cannot be decoded: {source}")]
    Decode {
        /// File name.
        file: String,
        /// Number of the entry.
        entry: u64,
        /// Where the message begins.
        offset: u64,
        /// What is wrong.
        source: prost::DecodeError,
    },
    /// The file has no (further) entry where one must be.
    #[error("{file} has no entry {entry} (it ends at offset {offset}): truncated")]
    NoEntry {
        /// File name.
        file: String,
        /// Number of the missing entry.
        entry: u64,
        /// Where the file ends.
        offset: u64,
    },
    /// The file goes on where it must end.
    #[error("{file} goes on at offset {offset} after its {entries} entries: damaged")]
    Trailing {
        /// File name.
        file: String,
        /// Entries read.
        entries: u64,
        /// Where the surplus begins.
        offset: u64,
    },
    /// Where a payload was to be copied to could not be written.
    #[error("copying a payload out of {file} at offset {offset}: {source}")]
    CopyOut {
        /// File name.
        file: String,
        /// Where in the image.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Where a payload was to be copied from could not be read, or ended early.
    #[error("copying a payload of {length} bytes into {file} at offset {offset}: {source}")]
    CopyIn {
        /// File name.
        file: String,
        /// Where in the image.
        offset: u64,
        /// Length of the payload.
        length: u64,
        /// Why.
        source: io::Error,
    },
}
