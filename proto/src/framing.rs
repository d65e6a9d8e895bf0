//! The framing of an image file: magics, then entries of a u32 length and an encoded message, some of
//! them followed by raw bytes ("payload"). All words are little-endian.
//!
//! The input is untrusted: a length is checked against [`MAX_ENTRY`] and, where the size of the file
//! is known, against what is left of it, before anything is allocated; entries are checked against
//! their schema (required fields, wire types) before they are decoded.

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use thiserror::Error;

use crate::magic::{Header, IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, ImageKind};
use crate::schema::{Described, SchemaError};

/// Longest entry that is read or written, in bytes.
pub const MAX_ENTRY: u32 = 64 << 20;

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

/// Reads one image file. It reads exactly what it is asked for: give it a buffered reader.
#[derive(Debug)]
pub struct ImageReader<R> {
    reader: R,
    file: String,
    size: Option<u64>,
    offset: u64,
    /// Entries begun.
    entries: u64,
    buffer: Vec<u8>,
}

impl<R: Read> ImageReader<R> {
    /// Starts to read the image `file` (a name for errors) of `size` bytes, and checks its magics.
    /// `size` is `None` when it cannot be known (a pipe).
    pub fn new(
        reader: R,
        file: impl Into<String>,
        size: Option<u64>,
        kind: &ImageKind,
    ) -> Result<Self, FrameError> {
        let mut image = Self {
            reader,
            file: file.into(),
            size,
            offset: 0,
            entries: 0,
            buffer: Vec::new(),
        };
        for expected in magics(kind) {
            let offset = image.offset;
            let Some(found) = image.word("magic")? else {
                return Err(image.truncated("magic", 4, 0));
            };
            if found != expected {
                let file = image.file;
                return Err(FrameError::Magic {
                    file,
                    offset,
                    found,
                    expected,
                    kind: kind.name,
                });
            }
        }
        Ok(image)
    }

    /// The next entry; `None` at the end of the file.
    pub fn next_entry<M: Described>(&mut self) -> Result<Option<M>, FrameError> {
        if !self.fill()? {
            return Ok(None);
        }
        let (entry, offset) = (self.entries - 1, self.offset - self.buffer.len() as u64);
        if let Err(source) = M::schema().check(&self.buffer) {
            return Err(FrameError::Schema {
                file: self.file.clone(),
                entry,
                offset,
                source,
            });
        }
        match M::decode(self.buffer.as_slice()) {
            Ok(message) => Ok(Some(message)),
            Err(source) => Err(FrameError::Decode {
                file: self.file.clone(),
                entry,
                offset,
                source,
            }),
        }
    }

    /// The next entry, which must be there.
    pub fn entry<M: Described>(&mut self) -> Result<M, FrameError> {
        let (entry, offset) = (self.entries, self.offset);
        self.next_entry()?.ok_or_else(|| FrameError::NoEntry {
            file: self.file.clone(),
            entry,
            offset,
        })
    }

    /// The encoded bytes of the next entry, unchecked; `None` at the end of the file.
    pub fn next_bytes(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(if self.fill()? { Some(&self.buffer) } else { None })
    }

    /// All further entries, for files whose entries have no payload. Ends after the first error.
    pub fn entries<M: Described>(&mut self) -> Entries<'_, R, M> {
        Entries {
            image: self,
            done: false,
            message: PhantomData,
        }
    }

    /// The next `length` bytes, which follow an entry as its payload.
    pub fn payload(&mut self, length: u64) -> Result<Vec<u8>, FrameError> {
        let mut data = Vec::new();
        self.read_part("payload", length, &mut data)?;
        Ok(data)
    }

    /// Copies the next `length` bytes of payload to `to`.
    pub fn copy_payload(&mut self, length: u64, to: &mut impl Write) -> Result<(), FrameError> {
        self.check_left("payload", length)?;
        let start = self.offset;
        let copied = self.copy_up_to(length, to)?;
        if copied < length {
            self.offset = start;
            return Err(self.truncated("payload", length, copied));
        }
        Ok(())
    }

    /// Copies all that is left of the file to `to`, and returns its length.
    pub fn copy_rest(&mut self, to: &mut impl Write) -> Result<u64, FrameError> {
        self.copy_up_to(u64::MAX, to)
    }

    /// Skips the next `length` bytes of payload.
    pub fn skip_payload(&mut self, length: u64) -> Result<(), FrameError> {
        self.copy_payload(length, &mut io::sink())
    }

    /// Checks that the file ends here.
    pub fn finish(mut self) -> Result<(), FrameError> {
        let offset = self.offset;
        if self.read_some(&mut [0])? == 0 {
            return Ok(());
        }
        Err(FrameError::Trailing {
            file: self.file,
            entries: self.entries,
            offset,
        })
    }

    /// Bytes left of the file, where its size is known.
    pub fn left(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(self.offset))
    }

    /// Offset in the file of what is read next, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Entries read so far.
    pub fn entries_read(&self) -> u64 {
        self.entries
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The reader, at [`ImageReader::offset`].
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Reads the next entry into the buffer; false at the end of the file.
    fn fill(&mut self) -> Result<bool, FrameError> {
        let start = self.offset;
        let Some(length) = self.word("length")? else {
            return Ok(false);
        };
        if length > MAX_ENTRY {
            let (file, entry) = (self.file.clone(), self.entries);
            return Err(FrameError::TooLong {
                file,
                entry,
                offset: start,
                length: length.into(),
            });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_part("message", length.into(), &mut buffer);
        self.buffer = buffer;
        result?;
        self.entries += 1;
        Ok(true)
    }

    /// A little-endian word; `None` at the end of the file.
    fn word(&mut self, part: &'static str) -> Result<Option<u32>, FrameError> {
        let mut word = [0u8; 4];
        let mut have = 0;
        while have < word.len() {
            let read = self.read_some(&mut word[have..])?;
            if read == 0 {
                break;
            }
            have += read;
        }
        match have {
            0 => Ok(None),
            4 => Ok(Some(u32::from_le_bytes(word))),
            _ => {
                self.offset -= have as u64;
                Err(self.truncated(part, 4, have as u64))
            }
        }
    }

    /// Reads exactly `length` bytes into `data`, replacing what it held. What is allocated grows with
    /// what was really read when the size of the file is not known.
    fn read_part(&mut self, part: &'static str, length: u64, data: &mut Vec<u8>) -> Result<(), FrameError> {
        self.check_left(part, length)?;
        data.clear();
        if self.size.is_some() {
            data.reserve_exact(usize::try_from(length.min(u64::from(MAX_ENTRY))).unwrap_or(0));
        }
        let read = (&mut self.reader).take(length).read_to_end(data);
        if let Err(source) = read {
            return Err(FrameError::Read {
                file: self.file.clone(),
                offset: self.offset,
                source,
            });
        }
        if (data.len() as u64) < length {
            return Err(self.truncated(part, length, data.len() as u64));
        }
        self.offset += length;
        Ok(())
    }

    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, FrameError> {
        loop {
            match self.reader.read(into) {
                Ok(read) => {
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(FrameError::Read {
                        file: self.file.clone(),
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
    }

    fn copy_up_to(&mut self, length: u64, to: &mut impl Write) -> Result<u64, FrameError> {
        let mut copied = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(64 << 10, 0);
        while copied < length {
            let want = usize::try_from(length - copied)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = self.read_some(&mut buffer[..want])?;
            if read == 0 {
                break;
            }
            if let Err(source) = to.write_all(&buffer[..read]) {
                let offset = self.offset - read as u64;
                return Err(FrameError::CopyOut {
                    file: self.file.clone(),
                    offset,
                    source,
                });
            }
            copied += read as u64;
        }
        self.buffer = buffer;
        Ok(copied)
    }

    fn check_left(&self, part: &'static str, needed: u64) -> Result<(), FrameError> {
        match self.left() {
            Some(left) if left < needed => Err(self.truncated(part, needed, left)),
            _ => Ok(()),
        }
    }

    fn truncated(&self, part: &'static str, needed: u64, left: u64) -> FrameError {
        // A payload belongs to the entry before it.
        let entry = if part == "payload" {
            self.entries.saturating_sub(1)
        } else {
            self.entries
        };
        FrameError::Truncated {
            file: self.file.clone(),
            entry,
            offset: self.offset,
            part,
            needed,
            left,
        }
    }
}

/// The entries of an image, see [`ImageReader::entries`].
#[derive(Debug)]
pub struct Entries<'a, R, M> {
    image: &'a mut ImageReader<R>,
    done: bool,
    message: PhantomData<fn() -> M>,
}

impl<R: Read, M: Described> Iterator for Entries<'_, R, M> {
    type Item = Result<M, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.image.next_entry().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Writes one image file: one write of the writer for each entry or payload, so give it a buffered
/// writer when there are many, and call [`ImageWriter::finish`].
#[derive(Debug)]
pub struct ImageWriter<W> {
    writer: W,
    file: String,
    offset: u64,
    entries: u64,
    buffer: Vec<u8>,
}

impl<W: Write> ImageWriter<W> {
    /// Starts to write the image `file` (a name for errors): writes its magics.
    pub fn new(writer: W, file: impl Into<String>, kind: &ImageKind) -> Result<Self, FrameError> {
        let mut image = Self {
            writer,
            file: file.into(),
            offset: 0,
            entries: 0,
            buffer: Vec::new(),
        };
        let header: Vec<u8> = magics(kind).flat_map(u32::to_le_bytes).collect();
        image.put(&header)?;
        Ok(image)
    }

    /// Writes an entry.
    pub fn entry<M: prost::Message>(&mut self, message: &M) -> Result<(), FrameError> {
        let length = self.check_length(message.encoded_len())?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&length.to_le_bytes());
        // Encoding into a Vec cannot run out of room.
        let encoded = message.encode(&mut buffer).map_err(|e| FrameError::Write {
            file: self.file.clone(),
            offset: self.offset,
            source: io::Error::other(e),
        });
        let result = encoded.and_then(|()| self.put(&buffer));
        self.buffer = buffer;
        self.entries += 1;
        result
    }

    /// Writes an entry that is already encoded.
    pub fn entry_bytes(&mut self, message: &[u8]) -> Result<(), FrameError> {
        let length = self.check_length(message.len())?;
        self.put(&length.to_le_bytes())?;
        self.put(message)?;
        self.entries += 1;
        Ok(())
    }

    /// Writes the payload that follows an entry.
    pub fn payload(&mut self, data: &[u8]) -> Result<(), FrameError> {
        self.put(data)
    }

    /// Copies `length` bytes of payload from `from`; less is an error.
    pub fn copy_payload(&mut self, length: u64, from: &mut impl Read) -> Result<(), FrameError> {
        let mut buffer = vec![0; 64 << 10];
        let mut left = length;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = match from.read(&mut buffer[..want]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            let (file, offset) = (&self.file, self.offset);
            let read = read.map_err(|source| FrameError::CopyIn {
                file: file.clone(),
                offset,
                length,
                source,
            })?;
            self.put(&buffer[..read])?;
            left -= read as u64;
        }
        Ok(())
    }

    /// Flushes, and gives the writer back.
    pub fn finish(mut self) -> Result<W, FrameError> {
        match self.writer.flush() {
            Ok(()) => Ok(self.writer),
            Err(source) => Err(FrameError::Write {
                file: self.file,
                offset: self.offset,
                source,
            }),
        }
    }

    /// Offset in the file of what is written next, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Entries written so far.
    pub fn entries_written(&self) -> u64 {
        self.entries
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn check_length(&self, length: usize) -> Result<u32, FrameError> {
        match u32::try_from(length) {
            Ok(length) if length <= MAX_ENTRY => Ok(length),
            _ => Err(FrameError::TooLong {
                file: self.file.clone(),
                entry: self.entries,
                offset: self.offset,
                length: length as u64,
            }),
        }
    }

    fn put(&mut self, data: &[u8]) -> Result<(), FrameError> {
        if let Err(source) = self.writer.write_all(data) {
            return Err(FrameError::Write {
                file: self.file.clone(),
                offset: self.offset,
                source,
            });
        }
        self.offset += data.len() as u64;
        Ok(())
    }
}

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
