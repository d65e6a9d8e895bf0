//! Puts a connection together again, but for its ended directions: see [`crate::settle`].

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::stream::RepairOption;
use crate::{
    Error, OFF, OPT_SACK, OPT_TIMESTAMPS, OPT_WSCALE, RepairWindow, Result, Side, State, Stream,
    TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_OPTIONS, TCP_REPAIR_WINDOW, TCP_TIMESTAMP, address, choose, enter,
    leave_quietly, sys,
};

// Kinds of options in a TCP header.
const TCPOPT_MSS: u32 = 2;
const TCPOPT_WINDOW: u32 = 3;
const TCPOPT_SACK_PERMITTED: u32 = 4;
const TCPOPT_TIMESTAMP: u32 = 8;

/// Put into a queue at a time; the kernel wants memory for each write in one piece.
const CHUNK: usize = 32 << 10;

/// Makes a fresh socket the connection `stream` between two addresses. It is left in repair mode, so that it sends
/// nothing before [`resume`]. The buffers must be large enough for the queues.
///
/// # Errors
/// The kernel's, with what was being done, or the connection contradicts itself.
pub fn rebuild(socket: impl AsFd, local: SocketAddr, remote: SocketAddr, stream: &Stream) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    stream.check()?;
    enter(&socket)?;
    let handshake = stream.state == State::SynSent;
    // The sequence number of the SYN comes before all data.
    let first = stream.send.start().wrapping_sub(handshake.into());
    sequence(fd, Side::Send, first)?;
    if !handshake {
        sequence(fd, Side::Receive, stream.receive.start())?;
    }
    sys::bind(fd, &address::encode(&local)).map_err(Error::call("bind"))?;
    if handshake {
        return choose(fd, Side::None);
    }
    sys::connect(fd, &address::encode(&remote)).map_err(Error::call("connect"))?;
    sys::set_all(fd, libc::IPPROTO_TCP, TCP_REPAIR_OPTIONS, &options(stream))
        .map_err(Error::call("TCP_REPAIR_OPTIONS"))?;
    if let Some(clock) = stream.timestamp {
        sys::set(fd, libc::IPPROTO_TCP, TCP_TIMESTAMP, clock).map_err(Error::call("TCP_TIMESTAMP"))?;
    }
    fill(fd, Side::Receive, &stream.receive.data)?;
    fill(fd, Side::Send, stream.sent_and_unsent().0)?;
    windows(fd, stream)?;
    choose(fd, Side::None)
}

fn sequence(fd: i32, side: Side, first: u32) -> Result<()> {
    choose(fd, side)?;
    sys::set(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ, first).map_err(Error::call("TCP_QUEUE_SEQ"))
}

/// Sets the windows as they were. As long as the FIN of the peer has not come again, it cannot be acknowledged.
pub(crate) fn windows(fd: i32, stream: &Stream) -> Result<()> {
    let Some(mut window) = stream.window else {
        return Ok(());
    };
    choose(fd, Side::Receive)?;
    let received =
        sys::get::<u32>(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ).map_err(Error::call("TCP_QUEUE_SEQ"))?;
    if window.rcv_wup.wrapping_sub(received).cast_signed() > 0 {
        window.rcv_wup = received;
    }
    window.snd_wl1 = window_update(window, received);
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, window).map_err(Error::call("TCP_REPAIR_WINDOW"))
}

/// The sequence number of the segment that has told the peer's window last. It may lie beyond this side's own window:
/// that of a segment for which there was no room. The kernel does not take such a one back; with an earlier number
/// the next segment tells the window too.
fn window_update(window: RepairWindow, received: u32) -> u32 {
    let end = received.wrapping_add(window.rcv_wnd);
    match window.snd_wl1.wrapping_sub(end).cast_signed() > 0 {
        true => end,
        false => window.snd_wl1,
    }
}

/// Lets the connection go on: leaves repair mode, upon which the kernel asks the peer for its state, and hands over
/// what had never been sent. In `SYN_SENT` it asks for the connection again, with the same sequence number.
///
/// # Errors
/// The kernel's.
pub fn resume(socket: impl AsFd, remote: SocketAddr, stream: &Stream) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    if stream.state == State::SynSent {
        leave_quietly(&socket)?;
        return ask(fd, remote);
    }
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR, OFF).map_err(Error::call("TCP_REPAIR"))?;
    if stream.state.has_ended() {
        return Ok(());
    }
    write(fd, stream.sent_and_unsent().1).map_err(Error::call("sending what was never sent"))
}

fn ask(fd: i32, remote: SocketAddr) -> Result<()> {
    let flags = sys::status_flags(fd).map_err(Error::call("F_GETFL"))?;
    sys::set_status_flags(fd, flags | libc::O_NONBLOCK).map_err(Error::call("F_SETFL"))?;
    let result = sys::connect(fd, &address::encode(&remote));
    sys::set_status_flags(fd, flags).map_err(Error::call("F_SETFL"))?;
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        result => result.map_err(Error::call("connect")),
    }
}

fn options(stream: &Stream) -> Vec<RepairOption> {
    let option = |code, value| RepairOption { code, value };
    let mut options = vec![option(TCPOPT_MSS, stream.mss_clamp)];
    if stream.options & OPT_SACK != 0 {
        options.push(option(TCPOPT_SACK_PERMITTED, 0));
    }
    if stream.options & OPT_WSCALE != 0 {
        let value = u32::from(stream.snd_wscale) | u32::from(stream.rcv_wscale) << 16;
        options.push(option(TCPOPT_WINDOW, value));
    }
    if stream.options & OPT_TIMESTAMPS != 0 {
        options.push(option(TCPOPT_TIMESTAMP, 0));
    }
    options
}

fn fill(fd: i32, side: Side, data: &[u8]) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let action = match side {
        Side::Send => "filling the send queue",
        _ => "filling the receive queue",
    };
    choose(fd, side)?;
    write(fd, data).map_err(Error::call(action))
}

/// Puts bytes into the send queue, or into that which was chosen.
pub(crate) fn write(fd: i32, mut data: &[u8]) -> std::io::Result<()> {
    while !data.is_empty() {
        let sent = sys::send(fd, &data[..data.len().min(CHUNK)])?;
        data = &data[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_told_beyond_the_own_one_is_told_at_its_end() {
        let window = |snd_wl1, rcv_wnd| RepairWindow {
            snd_wl1,
            rcv_wnd,
            ..RepairWindow::default()
        };
        assert_eq!(
            window_update(window(2_082_729_804, 0), 2_081_945_376),
            2_081_945_376
        );
        assert_eq!(window_update(window(90, 10), 100), 90);
        assert_eq!(window_update(window(110, 10), 100), 110);
        assert_eq!(window_update(window(111, 10), 100), 110);
        // Numbers wrap around.
        assert_eq!(window_update(window(5, 2), u32::MAX), 1);
        assert_eq!(window_update(window(u32::MAX, 2), 3), u32::MAX);
    }
}
