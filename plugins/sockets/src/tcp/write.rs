//! Puts a connection together again.

use std::io;
use std::os::fd::RawFd;

use super::{
    OFF, OPT_SACK, OPT_TIMESTAMPS, OPT_WSCALE, RepairOption, Side, Stream, TCP_QUEUE_SEQ, TCP_REPAIR,
    TCP_REPAIR_OPTIONS, TCP_REPAIR_WINDOW, TCP_TIMESTAMP, choose, enter,
};
use crate::sys;

// Kinds of options in a TCP header.
const TCPOPT_MSS: u32 = 2;
const TCPOPT_WINDOW: u32 = 3;
const TCPOPT_SACK_PERMITTED: u32 = 4;
const TCPOPT_TIMESTAMP: u32 = 8;

/// Put into a queue at a time; the kernel wants memory for each write in one piece.
const CHUNK: usize = 32 << 10;

/// What [`finish`] has to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsent {
    /// The bytes.
    pub data: Vec<u8>,
}

/// Makes the fresh socket `fd` the connection `stream` between two encoded addresses. It is left in
/// repair mode, so that it sends nothing before [`finish`]. The buffers must be large enough for the
/// queues.
///
/// # Errors
/// The kernel's, with what was being done.
pub fn rebuild(fd: RawFd, local: &[u8], remote: &[u8], stream: &Stream) -> io::Result<()> {
    let step = |what: &'static str| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    enter(fd).map_err(step("TCP_REPAIR"))?;
    for (side, queue) in [(Side::Send, &stream.send), (Side::Receive, &stream.receive)] {
        choose(fd, side).map_err(step("TCP_REPAIR_QUEUE"))?;
        sys::set(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ, queue.start()).map_err(step("TCP_QUEUE_SEQ"))?;
    }
    sys::bind(fd, local).map_err(step("bind"))?;
    sys::connect(fd, remote).map_err(step("connect"))?;
    sys::set_all(fd, libc::IPPROTO_TCP, TCP_REPAIR_OPTIONS, &options(stream))
        .map_err(step("TCP_REPAIR_OPTIONS"))?;
    if let Some(clock) = stream.timestamp {
        sys::set(fd, libc::IPPROTO_TCP, TCP_TIMESTAMP, clock).map_err(step("TCP_TIMESTAMP"))?;
    }
    fill(fd, Side::Receive, &stream.receive.data).map_err(step("filling the receive queue"))?;
    let sent = stream.send.data.len() - unsent_bytes(stream);
    fill(fd, Side::Send, &stream.send.data[..sent]).map_err(step("filling the send queue"))?;
    if let Some(mut window) = stream.window {
        // The FIN of the peer has not come yet, in the eyes of the new socket.
        if stream.peer_ended && window.rcv_wup == stream.receive.end.wrapping_add(1) {
            window.rcv_wup = stream.receive.end;
        }
        sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, window).map_err(step("TCP_REPAIR_WINDOW"))?;
    }
    choose(fd, Side::None).map_err(step("TCP_REPAIR_QUEUE"))
}

fn unsent_bytes(stream: &Stream) -> usize {
    stream.send.data.len().min(stream.unsent as usize)
}

impl Unsent {
    /// What [`rebuild`] left out of a connection.
    pub fn of(stream: &Stream) -> Self {
        let sent = stream.send.data.len() - unsent_bytes(stream);
        Self {
            data: stream.send.data[sent..].to_vec(),
        }
    }
}

/// Lets the connection go on: leaves repair mode, upon which the kernel asks the peer for its state,
/// and hands over what had never been sent.
///
/// # Errors
/// The kernel's.
pub fn finish(fd: RawFd, unsent: &Unsent) -> io::Result<()> {
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR, OFF)?;
    write(fd, &unsent.data)
}

fn options(stream: &Stream) -> Vec<RepairOption> {
    let mut options = vec![RepairOption {
        code: TCPOPT_MSS,
        value: stream.mss_clamp,
    }];
    if stream.options & OPT_SACK != 0 {
        options.push(RepairOption {
            code: TCPOPT_SACK_PERMITTED,
            value: 0,
        });
    }
    if stream.options & OPT_WSCALE != 0 {
        let value = u32::from(stream.snd_wscale) | u32::from(stream.rcv_wscale) << 16;
        options.push(RepairOption {
            code: TCPOPT_WINDOW,
            value,
        });
    }
    if stream.options & OPT_TIMESTAMPS != 0 {
        options.push(RepairOption {
            code: TCPOPT_TIMESTAMP,
            value: 0,
        });
    }
    options
}

fn fill(fd: RawFd, side: Side, data: &[u8]) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    choose(fd, side)?;
    write(fd, data)
}

fn write(fd: RawFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let sent = sys::send(fd, &data[..data.len().min(CHUNK)], None, &[], libc::MSG_DONTWAIT)?;
        data = &data[sent..];
    }
    Ok(())
}
