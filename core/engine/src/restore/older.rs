//! The older layout of the files: each kind's in an image of its own. The entries are put into the
//! message that the newer layout has, by the numbers of the schema alone.

use std::collections::BTreeSet;

use criu_images::{ImageDir, magic};
use criu_plugin_api::message::FileRecord;

use super::records::Records;
use crate::error::{Error, Result};

/// Kinds of images whose entries follow each other without anything between them, and that this core may
/// have no reason to read.
pub(crate) const PLAIN: [&str; 8] = [
    "TIMENS", "CGROUP", "SECCOMP", "PSTREE", "UTSNS", "PIDNS", "APPARMOR", "CPUINFO",
];

/// The files of the older images, of each id the first; none that is among `known`.
pub(crate) fn read_files(dir: &ImageDir, known: &Records) -> Result<Vec<FileRecord>> {
    let mut ids = BTreeSet::new();
    let mut files = Vec::new();
    for (kind, fd_type, field) in magic::FILES_BY_TYPE {
        let Some(mut image) = dir.open_image_if_exists(kind, 0)? else {
            continue;
        };
        while let Some(entry) = image.next_bytes().map_err(|e| dir.frame_error(e))? {
            let id = leading_id(entry)
                .ok_or_else(|| Error::malformed(kind.file_name(0), "has an entry without an id"))?;
            // A newer set keeps what only its kind reads in images of the same names.
            if known.contains(id) || !ids.insert(id) {
                continue;
            }
            let entry = wrap(fd_type, id, field, entry);
            files.push(FileRecord { id, fd_type, entry });
        }
    }
    Ok(files)
}

/// Field 1 of all these messages is the id, written first.
fn leading_id(entry: &[u8]) -> Option<u32> {
    let (&key, mut rest) = entry.split_first()?;
    (key == 1 << 3).then_some(())?;
    prost::encoding::decode_varint(&mut rest)
        .ok()
        .and_then(|id| u32::try_from(id).ok())
}

/// `file_entry{type, id, FIELD: entry}`.
fn wrap(fd_type: u32, id: u32, field: u32, entry: &[u8]) -> Vec<u8> {
    use prost::encoding::{WireType, encode_key, encode_varint};
    let mut out = Vec::with_capacity(entry.len() + 16);
    for (number, value) in [(1, fd_type), (2, id)] {
        encode_key(number, WireType::Varint, &mut out);
        encode_varint(value.into(), &mut out);
    }
    encode_key(field, WireType::LengthDelimited, &mut out);
    encode_varint(entry.len() as u64, &mut out);
    out.extend_from_slice(entry);
    out
}
