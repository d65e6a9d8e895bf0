//! The build-id of an ELF file: the first GNU build-id among its notes, see elf(5).
//!
//! The file is anyone's: every offset and length is checked and bounded.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Longest run of notes that is read, and most program headers that are looked at.
const MAX_NOTES: u64 = 64 << 10;
const MAX_HEADERS: u64 = 256;
const PT_NOTE: u64 = 4;
const NT_GNU_BUILD_ID: u32 = 3;
const ELF_MAGIC: &[u8; 4] = b"\x7fELF";
/// Size of the smaller ELF header.
pub(crate) const MIN_SIZE: u64 = 52;

/// Whether these first bytes may be those of a little-endian ELF file.
pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(ELF_MAGIC) && head.get(5) == Some(&1)
}

/// The build-id in words of four bytes, as an image holds it; empty when there is none.
pub(crate) fn read(file: &File) -> io::Result<Vec<u32>> {
    let head = read_up_to(file, 0, 64)?;
    if !is_elf(&head) {
        return Ok(Vec::new());
    }
    Ok(notes(file, &head)?.unwrap_or_default())
}

fn notes(file: &File, head: &[u8]) -> io::Result<Option<Vec<u32>>> {
    let wide = head.get(4) == Some(&2);
    let (table, entry_size, count) = if wide {
        (word(head, 32, 8), word(head, 54, 2), word(head, 56, 2))
    } else {
        (word(head, 28, 4), word(head, 42, 2), word(head, 44, 2))
    };
    let (Some(table), Some(entry_size), Some(count)) = (table, entry_size, count) else {
        return Ok(None);
    };
    let minimum = if wide { 56 } else { 32 };
    if entry_size < minimum {
        return Ok(None);
    }
    let headers = read_up_to(file, table, count.min(MAX_HEADERS) * entry_size)?;
    for header in headers.chunks_exact(usize::try_from(entry_size).unwrap_or(usize::MAX)) {
        let (offset, size, align) = if wide {
            (word(header, 8, 8), word(header, 32, 8), word(header, 48, 8))
        } else {
            (word(header, 4, 4), word(header, 16, 4), word(header, 28, 4))
        };
        let (Some(PT_NOTE), Some(offset), Some(size)) = (word(header, 0, 4), offset, size) else {
            continue;
        };
        let notes = read_up_to(file, offset, size.min(MAX_NOTES))?;
        if let Some(id) = find(&notes, if align == Some(8) { 8 } else { 4 }) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Walks a run of notes: three words (name size, description size, type), then both, each padded.
fn find(notes: &[u8], align: usize) -> Option<Vec<u32>> {
    let mut at = 0usize;
    loop {
        let size = |i: usize| word(notes, at.checked_add(i)?, 4).and_then(|w| usize::try_from(w).ok());
        let (name_size, desc_size, kind) = (size(0)?, size(4)?, size(8)?);
        let name_at = at.checked_add(12)?;
        let desc_at = name_at.checked_add(name_size)?.checked_next_multiple_of(align)?;
        let end = desc_at.checked_add(desc_size)?;
        let name = notes.get(name_at..name_at.checked_add(name_size)?)?;
        let desc = notes.get(desc_at..end)?;
        if name == b"GNU\0" && kind == NT_GNU_BUILD_ID as usize && !desc.is_empty() {
            return Some(desc.chunks(4).map(padded).collect());
        }
        at = end.checked_next_multiple_of(align)?;
    }
}

fn padded(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u32::from_le_bytes(word)
}

/// A little-endian number of `size` (at most 8) bytes.
fn word(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(size)?)?;
    Some(part.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// At most `size` bytes from `offset`; fewer when the file ends there.
fn read_up_to(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut have = 0;
    while have < data.len() {
        match file.read_at(&mut data[have..], offset.saturating_add(have as u64)) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // An offset beyond what a file can have.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => break,
            Err(e) => return Err(e),
        }
    }
    data.truncate(have);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    /// A minimal 64-bit ELF file with one note segment.
    fn elf(note: &[u8]) -> Vec<u8> {
        let mut elf = vec![0u8; 120];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 4;
        elf[72] = 120;
        elf[96..104].copy_from_slice(&(note.len() as u64).to_le_bytes());
        elf.extend_from_slice(note);
        elf
    }

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend_from_slice(&(name.len() as u32).to_le_bytes());
        note.extend_from_slice(&(desc.len() as u32).to_le_bytes());
        note.extend_from_slice(&kind.to_le_bytes());
        note.extend_from_slice(name);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend_from_slice(desc);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    fn read_bytes(bytes: &[u8]) -> Vec<u32> {
        read(&Scratch::new().file("elf", bytes)).unwrap()
    }

    #[test]
    fn the_gnu_note_is_found_behind_others() {
        let mut notes = note(b"Other\0", 3, b"xxxxxxx");
        notes.extend(note(b"GNU\0", 1, b"abi tag."));
        notes.extend(note(b"GNU\0", 3, &[1, 0, 0, 0, 2, 0, 0, 0]));
        assert_eq!(read_bytes(&elf(&notes)), [1, 2]);
    }

    #[test]
    fn text_and_files_without_notes_have_none() {
        assert!(read_bytes(b"just text").is_empty());
        assert!(read_bytes(b"").is_empty());
        assert!(read_bytes(&elf(b"")).is_empty());
    }

    #[test]
    fn damage_of_any_byte_is_survived() {
        let good = elf(&note(b"GNU\0", 3, &[7; 20]));
        assert_eq!(read_bytes(&good).len(), 5);
        let dir = Scratch::new();
        for at in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                // Any answer will do, as long as there is one.
                let _answer = read(&dir.file("elf", &bad)).unwrap();
                bad.truncate(at);
                let _answer = read(&dir.file("elf", &bad)).unwrap();
            }
        }
    }
}
