//! Reads a connection that is in repair mode.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::{
    Error, OPT_TIMESTAMPS, Queue, RepairWindow, Result, Side, State, Stream, TCP_QUEUE_SEQ,
    TCP_REPAIR_WINDOW, TCP_TIMESTAMP, address, choose, sys,
};

/// Bytes written that were never sent.
const SIOCOUTQNSD: libc::Ioctl = 0x894b;

/// What `TCP_INFO` says of a socket, as far as it is of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Its state.
    pub state: State,
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
    /// The state is or was beyond the handshake.
    pub was_connected: bool,
    /// Segments are being sent again or windows asked for: the end of it would be a timeout.
    pub is_retrying: bool,
    /// Segments that have arrived.
    pub segments_in: u32,
}

impl Info {
    /// Asks for it.
    ///
    /// # Errors
    /// Not a TCP socket, or a state that is not known.
    pub fn read(socket: impl AsFd) -> Result<Self> {
        let bytes = sys::get_bytes(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, 192)
            .map_err(Error::call("TCP_INFO"))?;
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
            word.map_or(0, u32::from_ne_bytes)
        };
        let &[state, _, retransmits, probes, _, options, wscale, ..] = bytes.as_slice() else {
            return Err(Error::call("TCP_INFO")(io::ErrorKind::UnexpectedEof.into()));
        };
        // The bytes acknowledged count the SYN; the round trip of the handshake is measured.
        let was_connected = options != 0 || word(68) != 0 || word(120) != 0;
        Ok(Self {
            state: State::try_from(state)?,
            options,
            snd_wscale: wscale & 15,
            rcv_wscale: wscale >> 4,
            waiting: word(24),
            backlog: word(28),
            was_connected,
            is_retrying: retransmits != 0 || probes != 0,
            segments_in: word(140),
        })
    }
}

/// The addresses of a connected socket: its own and that of its peer.
///
/// # Errors
/// It has no peer, or none of IPv4 and IPv6.
pub fn addresses(socket: impl AsFd) -> Result<(SocketAddr, SocketAddr)> {
    let fd = socket.as_fd().as_raw_fd();
    let of = |name: io::Result<Vec<u8>>, action| {
        let name = name.map_err(Error::call(action))?;
        address::decode(&name).ok_or_else(|| Error::call(action)(io::ErrorKind::Unsupported.into()))
    };
    Ok((
        of(sys::local_name(fd), "getsockname")?,
        of(sys::peer_name(fd), "getpeername")?,
    ))
}

/// Reads all of a connection; nothing is taken out of its queues. The socket is in repair mode, no packet reaches it,
/// and its `SO_PEEK_OFF` is off.
///
/// # Errors
/// The kernel's, a state without a connection, or urgent data that the kernel does not show.
pub fn read(socket: impl AsFd) -> Result<Stream> {
    let fd = socket.as_fd().as_raw_fd();
    let info = Info::read(&socket)?;
    let state = info.state;
    if !state.is_movable() {
        return Err(Error::State(state));
    }
    let count = |request, name| {
        let count = sys::ioctl_int(fd, request).map(i32::cast_unsigned);
        count.map_err(Error::call(name))
    };
    let unread = count(libc::FIONREAD, "FIONREAD")?;
    let mut unacked = count(libc::TIOCOUTQ, "TIOCOUTQ")?;
    let mut unsent = count(SIOCOUTQNSD, "SIOCOUTQNSD")?;
    if state.end_is_pending() {
        // Both count a FIN as a byte.
        unacked = unacked.saturating_sub(1);
        unsent = unsent.saturating_sub(1);
    }
    if sys::poll(fd, libc::POLLPRI, 0).map_err(Error::call("poll"))? & libc::POLLPRI != 0 {
        return Err(Error::Urgent);
    }
    // Peeking, too, makes the kernel offer more room.
    let window = window(fd)?;
    let mut receive = queue(fd, Side::Receive, unread)?;
    let mut send = queue(fd, Side::Send, unacked)?;
    receive.end = receive.end.wrapping_sub(state.peer_has_ended().into());
    send.end = send.end.wrapping_sub(state.has_ended().into());
    choose(fd, Side::None)?;
    let mss_clamp =
        sys::get::<u32>(fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG).map_err(Error::call("TCP_MAXSEG"))?;
    let timestamp = if u32::from(info.options) & OPT_TIMESTAMPS == 0 {
        None
    } else {
        let clock = sys::get(fd, libc::IPPROTO_TCP, TCP_TIMESTAMP);
        Some(clock.map_err(Error::call("TCP_TIMESTAMP"))?)
    };
    Ok(Stream {
        state,
        receive,
        send,
        unsent: unsent.min(unacked),
        options: info.options.into(),
        snd_wscale: info.snd_wscale,
        rcv_wscale: info.rcv_wscale,
        mss_clamp,
        timestamp,
        window,
    })
}

/// `None` before Linux 4.8.
fn window(fd: i32) -> Result<Option<RepairWindow>> {
    match sys::get::<RepairWindow>(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW) {
        Ok(window) => Ok(Some(window)),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        Err(e) => Err(Error::call("TCP_REPAIR_WINDOW")(e)),
    }
}

fn queue(fd: i32, side: Side, length: u32) -> Result<Queue> {
    choose(fd, side)?;
    let end = sys::get::<u32>(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ).map_err(Error::call("TCP_QUEUE_SEQ"))?;
    let mut data = vec![0u8; length as usize];
    if length > 0 {
        let (action, queue) = match side {
            Side::Send => ("peeking into the send queue", "send"),
            _ => ("peeking into the receive queue", "receive"),
        };
        let got = sys::peek(fd, &mut data).map_err(Error::call(action))?;
        if got != data.len() {
            let announced = data.len();
            return Err(Error::Short {
                queue,
                got,
                announced,
            });
        }
    }
    Ok(Queue { end, data })
}
