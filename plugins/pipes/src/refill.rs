//! Puts the contents of pipes back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};

use criu_plugin_api::image::{self, ImageKind, ImageReader};
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::PipeDataEntry;
use nix::errno::Errno;

use crate::{packets, sys};

/// The largest packet: a page (pipe(2), `PIPE_BUF`); 64 KiB is the largest page of any architecture.
const MAX_PACKET: u32 = 64 << 10;

/// What was in a pipe.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    bytes: Vec<u8>,
    /// The size of its buffer in bytes.
    size: Option<u32>,
    /// How the bytes are cut into packets; empty when they are not.
    packets: Vec<u32>,
}

/// Reads the contents of all pipes of a kind, by their ids.
pub(crate) fn read(host: &Host<'_>, data: &ImageKind, cuts: &ImageKind) -> Result<HashMap<u32, Contents>> {
    let mut all = HashMap::new();
    let mut packets = packets::read(host, cuts)?;
    if let Some(mut image) = image::open(host, data)? {
        while let Some(entry) = image.next_entry::<PipeDataEntry>()? {
            let contents = one(
                &mut image,
                &entry,
                packets.remove(&entry.pipe_id).unwrap_or_default(),
            )
            .context(|| {
                format!(
                    "reading the contents of pipe {} from {}",
                    entry.pipe_id,
                    image.file()
                )
            })?;
            if all.insert(entry.pipe_id, contents).is_some() {
                return Err(Error::new(format!(
                    "{} has two entries of pipe {}: damaged",
                    image.file(),
                    entry.pipe_id
                )));
            }
        }
    }
    match packets.keys().next() {
        Some(id) => Err(Error::new(format!(
            "{} has packets of pipe {id}, but {} does not have that pipe: damaged",
            cuts.file_name(0),
            data.file_name(0)
        ))),
        None => Ok(all),
    }
}

fn one(
    image: &mut ImageReader<BufReader<File>>,
    entry: &PipeDataEntry,
    packets: Vec<u32>,
) -> Result<Contents> {
    let bytes = image.payload(entry.bytes.into())?;
    let sum: u64 = packets.iter().map(|&length| u64::from(length)).sum();
    let wrong = packets.iter().any(|&length| length == 0 || length > MAX_PACKET);
    if !packets.is_empty() && (wrong || sum != u64::from(entry.bytes)) {
        return Err(Error::new(format!(
            "its {} bytes are said to be packets of {sum} bytes in all: damaged",
            entry.bytes
        )));
    }
    Ok(Contents {
        bytes,
        size: entry.size,
        packets,
    })
}

impl Contents {
    /// Whether there is nothing in the pipe.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sets the size of an empty pipe and writes the bytes into it. `pipe` is a description that
    /// nobody else uses, non-blocking, to write to; its packet mode is changed.
    pub(crate) fn refill(&self, pipe: &File) -> Result<()> {
        self.resize(pipe)?;
        if self.packets.is_empty() {
            return put(pipe, &self.bytes);
        }
        sys::packet_mode(pipe).context(|| "switching packet mode on")?;
        let mut rest = self.bytes.as_slice();
        for &length in &self.packets {
            let (packet, after) = rest
                .split_at_checked(usize::try_from(length).unwrap_or(usize::MAX))
                .ok_or_else(|| Error::new("its packets are longer than its contents"))?;
            put(pipe, packet)?;
            rest = after;
        }
        Ok(())
    }

    /// Sets the size of the buffer alone.
    pub(crate) fn resize(&self, pipe: &File) -> Result<()> {
        let now = sys::size(pipe).context(|| "asking for its size")?;
        // A slot filled by splice(2) can hold more than a page, a written one cannot.
        let held = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let wanted = self.size.unwrap_or(now).max(held);
        if wanted == now {
            return Ok(());
        }
        let result = sys::set_size(pipe, wanted);
        let denied = result == Err(Errno::EPERM);
        result
            .context(|| format!("setting its size to {wanted} bytes"))
            .map_err(|error| {
                if denied {
                    error.with_remedy(format!(
                        "raise /proc/sys/fs/pipe-max-size to {wanted}, or restore with CAP_SYS_RESOURCE"
                    ))
                } else {
                    error
                }
            })
    }
}

/// Writes all of it, which the pipe must have room for.
fn put(mut pipe: &File, bytes: &[u8]) -> Result<()> {
    let length = bytes.len();
    pipe.write_all(bytes).map_err(|cause| {
        let why = if cause.kind() == ErrorKind::WouldBlock {
            "it does not fit".to_owned()
        } else {
            cause.to_string()
        };
        Error::new(format!("writing {length} bytes into it: {why}"))
    })
}
