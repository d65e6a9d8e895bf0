//! Writing an image file.

use std::io::{self, Read, Write};

use super::{FrameError, MAX_ENTRY, magics};
use crate::magic::ImageKind;

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
