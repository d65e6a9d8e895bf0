//! Which readers of a FIFO have seen its last writer go, in an image of our own.
//!
//! A reader that did not wait for a writer when it opened the FIFO polls no hang-up (`POLLHUP`) until one has come and
//! gone. The format cannot tell the two apart, so the files of those that poll one are listed in `fifo-hangup.img`.
//! Without it, a FIFO that nobody writes to and that holds nothing is taken as one that no writer has come to yet.

use std::collections::HashSet;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::{Host, Result};

static HANGUPS: ImageKind = image::own_kind("FIFO_HANGUP", "fifo-hangup.img", 0x4649_4855);

/// A reader that polls a hang-up.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct HangupEntry {
    /// Its file id.
    #[prost(uint32, tag = "1")]
    id: u32,
}

pub(crate) fn write(host: &Host<'_>, ids: &[u32]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, &HANGUPS)?;
    for &id in ids {
        image.entry(&HangupEntry { id })?;
    }
    image.finish()?;
    Ok(())
}

/// The file ids; `None` without the image.
pub(crate) fn read(host: &Host<'_>) -> Result<Option<HashSet<u32>>> {
    let entries: Vec<HangupEntry> = image::read_all(host, &HANGUPS)?;
    Ok((!entries.is_empty()).then(|| entries.iter().map(|entry| entry.id).collect()))
}
