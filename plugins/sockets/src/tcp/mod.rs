//! Takes an established TCP connection apart, and puts it together again: `TCP_REPAIR`
//! (Linux 3.5, tcp(7); the windows Linux 4.8; leaving without a probe Linux 4.19).
//!
//! Knows nothing of images and plugins. A socket in repair mode sends nothing, also when it is closed.
//! Needs `CAP_NET_ADMIN` in the network namespace of the socket. Packets of the connection must be kept
//! away while it does not exist: the host would answer them with a reset.

mod end;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use end::{end_receiving, end_sending};
pub use read::{Info, read};
pub use write::{Unsent, finish, rebuild};

use std::io;
use std::os::fd::RawFd;

use crate::sys;

// Socket options of linux/tcp.h.
pub(crate) const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_REPAIR_OPTIONS: i32 = 22;
const TCP_TIMESTAMP: i32 = 24;
const TCP_REPAIR_WINDOW: i32 = 29;

// Values of TCP_REPAIR.
const ON: i32 = 1;
const OFF: i32 = 0;
/// Leaves repair mode without sending a window probe.
pub(crate) const OFF_NO_PROBE: i32 = -1;

// Bits of `tcpi_options`.
/// Both sides send timestamps.
pub const OPT_TIMESTAMPS: u32 = 1;
/// Both sides may acknowledge selectively.
pub const OPT_SACK: u32 = 2;
/// Windows are scaled.
pub const OPT_WSCALE: u32 = 4;

/// `struct tcp_repair_window`: sequence numbers and window sizes in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairWindow {
    /// Sequence number of the last segment that updated the send window.
    pub snd_wl1: u32,
    /// What the peer is ready to receive.
    pub snd_wnd: u32,
    /// The most the peer was ever ready to receive.
    pub max_window: u32,
    /// What this side has offered.
    pub rcv_wnd: u32,
    /// The acknowledged sequence number with that offer.
    pub rcv_wup: u32,
}

/// `struct tcp_repair_opt`: an option of the handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairOption {
    /// Its kind in a TCP header.
    pub code: u32,
    /// Its value.
    pub value: u32,
}

/// A queue of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// The sequence number behind its last byte; that of the FIN if there is one.
    pub end: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Queue {
    /// The sequence number of its first byte. Sequence numbers wrap.
    fn start(&self) -> u32 {
        self.end.wrapping_sub(self.data.len() as u32)
    }
}

/// All that makes a connection, but for its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// What has arrived and was not read yet.
    pub receive: Queue,
    /// What was written and is not acknowledged yet.
    pub send: Queue,
    /// How many of the last bytes to send have never been sent.
    pub unsent: u32,
    /// This side has ended its direction: a FIN follows what is to be sent, or has been sent.
    pub ended: bool,
    /// The peer has ended its direction: its FIN came behind what was received.
    pub peer_ended: bool,
    /// `OPT_*` bits.
    pub options: u32,
    /// The shift of the peer's windows.
    pub snd_wscale: u8,
    /// The shift of this side's windows.
    pub rcv_wscale: u8,
    /// The largest segment that the peer takes, in bytes.
    pub mss_clamp: u32,
    /// The clock of the timestamps sent.
    pub timestamp: Option<u32>,
    /// The windows.
    pub window: Option<RepairWindow>,
}

/// Enters repair mode. The kernel makes `SO_REUSEADDR` stronger meanwhile and takes it off on leaving.
///
/// # Errors
/// No permission, or a listening socket.
pub fn enter(fd: RawFd) -> io::Result<()> {
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR, ON)
}

/// Leaves repair mode as if nothing had been.
///
/// # Errors
/// The kernel's.
pub fn leave_quietly(fd: RawFd) -> io::Result<()> {
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR, OFF_NO_PROBE)
}

/// Whether the socket is in repair mode.
///
/// # Errors
/// The kernel's.
pub fn in_repair(fd: RawFd) -> io::Result<bool> {
    sys::get::<i32>(fd, libc::IPPROTO_TCP, TCP_REPAIR).map(|v| v != 0)
}

/// Which queue calls are for while in repair mode.
#[derive(Debug, Clone, Copy)]
enum Side {
    None = 0,
    Receive = 1,
    Send = 2,
}

fn choose(fd: RawFd, side: Side) -> io::Result<()> {
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, side as i32)
}
