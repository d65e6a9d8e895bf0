//! Images of a plugin's own, in the framing that all images share.
//!
//! ```ignore
//! static KMSG: ImageKind = image::own_kind("KMSG", "kmsg.img", 0x4b4d_5347);
//!
//! let mut writer = image::create(host, &KMSG)?;
//! writer.entry(&KmsgEntry { id, at_end })?;
//! writer.finish()?;
//!
//! let entries: Vec<KmsgEntry> = image::read_all(host, &KMSG)?;
//! ```
//!
//! The magic is the plugin's choice and should not be that of another image; entries are messages that
//! derive [`prost::Message`].

use std::fs::File;
use std::io::{BufReader, BufWriter};

pub use criu_proto::framing::{FrameError, ImageReader, ImageWriter, MAX_ENTRY};
pub use criu_proto::magic::{Header, IdFormat, ImageKind, kind_of};

use crate::{Error, Host, Result};

/// The kind of an image of the plugin's own, a single file of this name.
pub const fn own_kind(name: &'static str, file: &'static str, magic: u32) -> ImageKind {
    ImageKind {
        name,
        prefix: file,
        id: IdFormat::None,
        suffix: "",
        magic,
        header: Header::Image,
    }
}

/// Creates the image `kind` of the set (the one of number 0, where a kind has many).
///
/// # Errors
/// The file system's.
pub fn create(host: &Host<'_>, kind: &ImageKind) -> Result<ImageWriter<BufWriter<File>>> {
    let name = kind.file_name(0);
    let file = host.create_image(&name)?;
    Ok(ImageWriter::new(BufWriter::new(file), name, kind)?)
}

/// Opens the image `kind` of the set; `None` when there is none.
///
/// # Errors
/// The file system's, or it is not such an image.
pub fn open(host: &Host<'_>, kind: &ImageKind) -> Result<Option<ImageReader<BufReader<File>>>> {
    let name = kind.file_name(0);
    let Some(file) = host.open_image(&name)? else {
        return Ok(None);
    };
    let size = file.metadata().map(|meta| meta.len()).ok();
    Ok(Some(ImageReader::new(BufReader::new(file), name, size, kind)?))
}

/// All entries of the image `kind`, messages of the plugin's own; none when there is no such image.
///
/// # Errors
/// The file system's, or the image is damaged.
pub fn read_all<M: prost::Message + Default>(host: &Host<'_>, kind: &ImageKind) -> Result<Vec<M>> {
    let mut entries = Vec::new();
    let Some(mut reader) = open(host, kind)? else {
        return Ok(entries);
    };
    while let Some(bytes) = reader.next_bytes()? {
        let entry = M::decode(bytes).map_err(|cause| {
            Error::new(format!(
                "entry {} of {} is damaged: {cause}",
                entries.len(),
                kind.file_name(0)
            ))
        })?;
        entries.push(entry);
    }
    Ok(entries)
}

impl From<FrameError> for Error {
    fn from(cause: FrameError) -> Self {
        // Its text carries its own cause.
        Self::new(cause.to_string())
    }
}
