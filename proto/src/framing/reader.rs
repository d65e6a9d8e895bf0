//! Reading an image file.

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use super::{FrameError, MAX_ENTRY, magics};
use crate::magic::ImageKind;
use crate::schema::Described;

/// Bytes of the length before an entry.
const LENGTH: u64 = 4;

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
        let offset = self.offset;
        let Some(bytes) = self.next_checked::<M>()? else {
            return Ok(None);
        };
        match M::decode(bytes) {
            Ok(message) => Ok(Some(message)),
            Err(source) => Err(FrameError::Decode {
                file: self.file.clone(),
                entry: self.entries - 1,
                offset: offset + LENGTH,
                source,
            }),
        }
    }

    /// The encoded bytes of the next entry, which have all that the schema of `M` asks for; `None` at the end of
    /// the file.
    pub fn next_checked<M: Described>(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let offset = self.offset;
        if !self.fill()? {
            return Ok(None);
        }
        match M::schema().check(&self.buffer) {
            Ok(()) => Ok(Some(&self.buffer)),
            Err(source) => Err(FrameError::Schema {
                file: self.file.clone(),
                entry: self.entries - 1,
                offset: offset + LENGTH,
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
        let there = self.read_full(part, &mut word)?;
        Ok(there.then(|| u32::from_le_bytes(word)))
    }

    /// Fills a buffer; false at the end of the file.
    fn read_full(&mut self, part: &'static str, into: &mut [u8]) -> Result<bool, FrameError> {
        let mut have = 0;
        while have < into.len() {
            let read = self.read_some(&mut into[have..])?;
            if read == 0 {
                break;
            }
            have += read;
        }
        if have == into.len() || have == 0 {
            return Ok(have == into.len());
        }
        self.offset -= have as u64;
        Err(self.truncated(part, into.len() as u64, have as u64))
    }

    /// Reads exactly `length` bytes into `data`, replacing what it held. What is allocated grows with
    /// what was really read when the size of the file is not known.
    fn read_part(&mut self, part: &'static str, length: u64, data: &mut Vec<u8>) -> Result<(), FrameError> {
        self.check_left(part, length)?;
        data.clear();
        let known = usize::try_from(length.min(u64::from(MAX_ENTRY))).unwrap_or(0);
        if self.size.is_some() && known as u64 == length {
            data.resize(known, 0);
            if self.read_full(part, data)? {
                return Ok(());
            }
            // It has become shorter since its size was asked for.
            return Err(self.truncated(part, length, 0));
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
