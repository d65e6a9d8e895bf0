//! Reads a connection that is in repair mode.

use std::io;
use std::os::fd::RawFd;

use super::{
    OPT_TIMESTAMPS, Queue, RepairWindow, Side, Stream, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW, TCP_TIMESTAMP,
    choose,
};
use crate::sys;

// States of `tcp_states.h` in which a direction has ended.
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// What `TCP_INFO` says of a socket, as far as it is of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The number of its state: 1 established, 7 closed, 10 listening.
    pub state: u8,
    /// `OPT_*` bits.
    pub options: u8,
    /// The shift of the peer's windows.
    pub snd_wscale: u8,
    /// The shift of this side's windows.
    pub rcv_wscale: u8,
    /// Listening: connections that wait to be accepted.
    pub waiting: u32,
    /// Listening: the backlog.
    pub backlog: u32,
}

impl Info {
    /// Asks for it.
    ///
    /// # Errors
    /// Not a TCP socket.
    pub fn read(fd: RawFd) -> io::Result<Self> {
        let bytes = sys::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 104)?;
        let word = |at: usize| {
            bytes
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_ne_bytes)
        };
        let (Some(waiting), Some(backlog)) = (word(24), word(28)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "TCP_INFO cut short"));
        };
        Ok(Self {
            state: bytes[0],
            options: bytes[5],
            snd_wscale: bytes[6] & 15,
            rcv_wscale: bytes[6] >> 4,
            waiting,
            backlog,
        })
    }
}

/// Reads all of a connection; nothing is taken out of its queues. The socket is in repair mode, and no
/// packet reaches it.
///
/// # Errors
/// The kernel's.
pub fn read(fd: RawFd) -> io::Result<Stream> {
    let info = Info::read(fd)?;
    let count = |request| sys::ioctl_int(fd, request).map(i32::cast_unsigned);
    let unread = count(libc::FIONREAD)?;
    let (mut unacked, mut unsent) = (count(libc::TIOCOUTQ)?, count(SIOCOUTQNSD)?);
    // Both count a FIN as a byte.
    if [FIN_WAIT1, LAST_ACK, CLOSING].contains(&info.state) {
        unacked = unacked.saturating_sub(1);
        unsent = unsent.saturating_sub(1);
    }
    let ended = [FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING].contains(&info.state);
    let peer_ended = [CLOSE_WAIT, LAST_ACK, CLOSING].contains(&info.state);
    let mut receive = queue(fd, Side::Receive, unread)?;
    let mut send = queue(fd, Side::Send, unacked)?;
    receive.end = receive.end.wrapping_sub(peer_ended.into());
    send.end = send.end.wrapping_sub(ended.into());
    choose(fd, Side::None)?;
    let mss_clamp = sys::get::<u32>(fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG)?;
    let timestamp = if u32::from(info.options) & OPT_TIMESTAMPS == 0 {
        None
    } else {
        Some(sys::get(fd, libc::IPPROTO_TCP, TCP_TIMESTAMP)?)
    };
    let window = match sys::get::<RepairWindow>(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW) {
        Ok(window) => Some(window),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => None,
        Err(e) => return Err(e),
    };
    Ok(Stream {
        receive,
        send,
        unsent: unsent.min(unacked),
        ended,
        peer_ended,
        options: info.options.into(),
        snd_wscale: info.snd_wscale,
        rcv_wscale: info.rcv_wscale,
        mss_clamp,
        timestamp,
        window,
    })
}

/// Bytes written that were never sent.
const SIOCOUTQNSD: libc::Ioctl = 0x894b;

fn queue(fd: RawFd, side: Side, length: u32) -> io::Result<Queue> {
    choose(fd, side)?;
    let end = sys::get::<u32>(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ)?;
    let mut data = vec![0u8; length as usize];
    if length > 0 {
        let got = sys::receive(fd, &mut data, libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
        if got.length != data.len() {
            return Err(io::Error::other(format!(
                "{} of {length} bytes of the {side:?} queue",
                got.length
            )));
        }
    }
    Ok(Queue { end, data })
}
