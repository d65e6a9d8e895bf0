//! The boundaries of packets, in images of our own.
//!
//! A pipe in packet mode (`O_DIRECT`, pipe(2)) gives one packet a read, and drops what the reader has no
//! room for. `pipe_data_entry` knows a number of bytes alone, so the boundaries lie beside it, in
//! `pipes-packets.img` and `fifo-packets.img`; they are written only when there are packets. A set
//! without them is restored with the bytes in one piece.
//!
//! Bytes written before packet mode was switched on are known as such when no packet follows them.
//! With one behind them they become part of it, which is what a reader with room enough saw, too.

use std::collections::HashMap;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::{Error, Host, Result};

pub(crate) static PIPE_PACKETS: ImageKind =
    image::own_kind("PIPES_PACKETS", "pipes-packets.img", 0x5049_5041);
pub(crate) static FIFO_PACKETS: ImageKind = image::own_kind("FIFO_PACKETS", "fifo-packets.img", 0x4649_5041);

/// The packets of one pipe.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PacketsEntry {
    #[prost(uint32, tag = "1")]
    pub(crate) pipe_id: u32,
    /// Their lengths in bytes, the oldest first.
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) lengths: Vec<u32>,
}

pub(crate) fn write(host: &Host<'_>, kind: &ImageKind, entries: &[PacketsEntry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, kind)?;
    for entry in entries {
        image.entry(entry)?;
    }
    image.finish()?;
    Ok(())
}

/// The lengths by pipe.
pub(crate) fn read(host: &Host<'_>, kind: &ImageKind) -> Result<HashMap<u32, Vec<u32>>> {
    let mut packets = HashMap::new();
    for PacketsEntry { pipe_id, lengths } in image::read_all(host, kind)? {
        if packets.insert(pipe_id, lengths).is_some() {
            let name = kind.file_name(0);
            return Err(Error::new(format!(
                "{name} has two entries of pipe {pipe_id}: damaged"
            )));
        }
    }
    Ok(packets)
}
