//! Brings a connection that was put together into the state that it had: ends its directions.
//!
//! Its own FIN is put into the send queue as if it had been sent; the kernel sends it again when no acknowledgement
//! comes. What the peer has said long ago, and will not say again, is said once more in its name by a packet from the
//! host to itself.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::segment::{self, ACK, FIN};
use crate::write::{windows, write};
use crate::{
    Error, Info, RepairWindow, Result, Side, State, Stream, TCP_REPAIR_WINDOW, choose, enter, leave_quietly,
    sys,
};

/// For a packet to come from the host to itself.
const DELIVERY: Duration = Duration::from_secs(5);
/// Room for the FIN of the peer, in bytes.
const ROOM: u32 = 1 << 14;

/// Brings a connection that [`crate::rebuild`] has made into its state. It stays in repair mode. What it has never sent
/// goes out here when a FIN follows. Where its peer is restored on the same host, that must have been rebuilt as well:
/// an acknowledgement may go out. Needs `CAP_NET_RAW` in states other than `ESTABLISHED`, `SYN_SENT`, `FIN_WAIT1`.
///
/// # Errors
/// The kernel's, or a packet to the socket itself did not arrive.
pub fn settle(socket: impl AsFd, local: SocketAddr, remote: SocketAddr, stream: &Stream) -> Result<()> {
    let socket = socket.as_fd();
    let fd = socket.as_raw_fd();
    let own = |flags, acknowledged| segment::Segment {
        from: remote,
        to: local,
        sequence: stream.receive.end,
        acknowledged,
        flags,
    };
    let first = stream.send.start();
    match stream.state {
        State::FinWait1 => end_sending(socket, stream)?,
        State::FinWait2 => {
            end_sending(socket, stream)?;
            own(ACK, stream.send.end.wrapping_add(1)).send()?;
            arrived(
                socket,
                State::FinWait2,
                "an acknowledgement in the name of the peer",
            )?;
        }
        State::CloseWait => hear_end(socket, stream, own(FIN | ACK, first))?,
        State::LastAck => {
            hear_end(socket, stream, own(FIN | ACK, first))?;
            end_sending(socket, stream)?;
        }
        State::Closing => {
            end_sending(socket, stream)?;
            hear_end(socket, stream, own(FIN | ACK, first))?;
        }
        _ => return Ok(()),
    }
    windows(fd, stream)?;
    choose(fd, Side::None)
}

/// Puts a FIN behind all that is to be sent.
fn end_sending(socket: BorrowedFd<'_>, stream: &Stream) -> Result<()> {
    let fd = socket.as_raw_fd();
    let unsent = stream.sent_and_unsent().1;
    let end = || sys::shutdown(fd, libc::SHUT_WR).map_err(Error::call("shutdown"));
    if unsent.is_empty() {
        choose(fd, Side::Send)?;
        return end();
    }
    // In repair mode it would count as sent.
    leave_quietly(socket)?;
    write(fd, unsent).map_err(Error::call("sending what was never sent"))?;
    end()?;
    enter(socket)
}

fn hear_end(socket: BorrowedFd<'_>, stream: &Stream, fin: segment::Segment) -> Result<()> {
    let fd = socket.as_raw_fd();
    if let Some(window) = stream.window {
        // A full queue leaves no room in the window.
        let wide = RepairWindow {
            rcv_wnd: ROOM << stream.rcv_wscale,
            rcv_wup: stream.receive.end,
            ..window
        };
        sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, wide).map_err(Error::call("TCP_REPAIR_WINDOW"))?;
    }
    fin.send()?;
    let state = if stream.state == State::Closing {
        State::Closing
    } else {
        State::CloseWait
    };
    arrived(socket, state, "a FIN in the name of the peer")
}

/// Waits until a packet has had its effect; it is on its way through the host's own queues.
fn arrived(socket: BorrowedFd<'_>, state: State, what: &'static str) -> Result<()> {
    let deadline = Instant::now() + DELIVERY;
    while Info::read(socket)?.state != state {
        if Instant::now() > deadline {
            return Err(Error::Lost(what));
        }
        std::thread::yield_now();
    }
    Ok(())
}
