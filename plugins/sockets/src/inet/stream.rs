//! A connection in its image, `tcp-stream-INODE.img`: `tcp_stream_entry`, then the bytes of both queues.

use criu_plugin_api::image::{ImageReader, ImageWriter};
use criu_plugin_api::{Error, Host, Result};
use criu_proto::images::TcpStreamEntry;
use criu_proto::magic;
use criu_tcp_repair::{OPT_WSCALE, Queue, RepairWindow, State, Stream};

/// Writes the image. Its sequence numbers count the FINs.
///
/// # Errors
/// The file system's.
pub(super) fn write(host: &Host<'_>, ino: u32, stream: &Stream) -> Result<()> {
    let kind = &magic::TCP_STREAM;
    let name = kind.file_name(ino.into());
    let file = std::io::BufWriter::new(host.create_image(&name)?);
    let mut image = ImageWriter::new(file, name, kind)?;
    let (receive, send) = (&stream.receive, &stream.send);
    image.entry(&TcpStreamEntry {
        inq_len: receive.data.len() as u32,
        inq_seq: receive.end.wrapping_add(stream.state.peer_has_ended().into()),
        outq_len: send.data.len() as u32,
        outq_seq: send.end.wrapping_add(stream.state.has_ended().into()),
        opt_mask: stream.options,
        snd_wscale: stream.snd_wscale.into(),
        mss_clamp: stream.mss_clamp,
        rcv_wscale: (stream.options & OPT_WSCALE != 0).then_some(stream.rcv_wscale.into()),
        timestamp: stream.timestamp,
        cork: None,
        nodelay: None,
        unsq_len: Some(stream.unsent),
        snd_wl1: stream.window.map(|w| w.snd_wl1),
        snd_wnd: stream.window.map(|w| w.snd_wnd),
        max_window: stream.window.map(|w| w.max_window),
        rcv_wnd: stream.window.map(|w| w.rcv_wnd),
        rcv_wup: stream.window.map(|w| w.rcv_wup),
    })?;
    image.payload(&receive.data)?;
    image.payload(&send.data)?;
    image.finish()?;
    Ok(())
}

/// Reads the image, and the options that older sets have there.
///
/// # Errors
/// It is missing or damaged.
pub(super) fn read(host: &Host<'_>, ino: u32, state: State) -> Result<(Stream, TcpStreamEntry)> {
    let kind = &magic::TCP_STREAM;
    let name = kind.file_name(ino.into());
    let file = host
        .open_image(&name)?
        .ok_or_else(|| Error::new(format!("image {name}, which holds its connection, is missing")))?;
    let size = file.metadata().map(|m| m.len()).ok();
    let mut image = ImageReader::new(std::io::BufReader::new(file), name, size, kind)?;
    let entry: TcpStreamEntry = image.entry()?;
    let damaged =
        |why: &dyn std::fmt::Display| Error::new(format!("{} is damaged: {why}", kind.file_name(ino.into())));
    let scale = |bits: u32| u8::try_from(bits).map_err(|e| damaged(&e));
    let stream = Stream {
        state,
        receive: Queue {
            end: entry.inq_seq.wrapping_sub(state.peer_has_ended().into()),
            data: image.payload(entry.inq_len.into())?,
        },
        send: Queue {
            end: entry.outq_seq.wrapping_sub(state.has_ended().into()),
            data: image.payload(entry.outq_len.into())?,
        },
        unsent: entry.unsq_len.unwrap_or(0),
        options: entry.opt_mask,
        snd_wscale: scale(entry.snd_wscale)?,
        rcv_wscale: scale(entry.rcv_wscale.unwrap_or(0))?,
        mss_clamp: entry.mss_clamp,
        timestamp: entry.timestamp,
        window: window(&entry),
    };
    image.finish()?;
    stream.check().map_err(|e| damaged(&e))?;
    Ok((stream, entry))
}

fn window(entry: &TcpStreamEntry) -> Option<RepairWindow> {
    Some(RepairWindow {
        snd_wl1: entry.snd_wl1?,
        snd_wnd: entry.snd_wnd?,
        max_window: entry.max_window?,
        rcv_wnd: entry.rcv_wnd?,
        rcv_wup: entry.rcv_wup?,
    })
}
