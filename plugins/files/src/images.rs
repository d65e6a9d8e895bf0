//! The images of this plugin: those of which there are many, and whole ones with checked entries.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::Described;
use criu_proto::framing::{ImageReader, ImageWriter};
use criu_proto::magic::ImageKind;

/// Creates an image of the set.
pub(crate) fn create(host: &Host<'_>, name: &str, kind: &ImageKind) -> Result<ImageWriter<BufWriter<File>>> {
    Ok(ImageWriter::new(
        BufWriter::new(host.create_image(name)?),
        name,
        kind,
    )?)
}

/// Opens an image of the set, `None` when there is none.
pub(crate) fn open(
    host: &Host<'_>,
    name: &str,
    kind: &ImageKind,
) -> Result<Option<ImageReader<BufReader<File>>>> {
    let Some(file) = host.open_image(name)? else {
        return Ok(None);
    };
    let meta = file.metadata().context(|| format!("looking at image {name}"))?;
    let size = meta.is_file().then_some(meta.len());
    Ok(Some(ImageReader::new(BufReader::new(file), name, size, kind)?))
}

/// All entries of an image without payloads; none when the image does not exist.
pub(crate) fn entries<M: Described>(host: &Host<'_>, name: &str, kind: &ImageKind) -> Result<Vec<M>> {
    match open(host, name, kind)? {
        Some(mut image) => image
            .entries()
            .collect::<std::result::Result<_, _>>()
            .map_err(Error::from),
        None => Ok(Vec::new()),
    }
}
