//! Takes a TCP connection apart, and puts it together again in another socket, in another process or on another
//! host, without its peer noticing: `TCP_REPAIR` (Linux 3.5, tcp(7); the windows Linux 4.8; leaving without a probe
//! Linux 4.19). Knows nothing of checkpoints.
//!
//! ```no_run
//! # fn main() -> criu_tcp_repair::Result<()> {
//! # let old = std::net::TcpStream::connect("192.0.2.1:80").unwrap();
//! # let new = std::net::TcpStream::connect("192.0.2.1:80").unwrap();
//! let paused = criu_tcp_repair::pause(&old)?;
//! let (local, remote) = criu_tcp_repair::addresses(&old)?;
//! let stream = paused.save()?;
//! paused.keep(); // closed in repair mode, it goes without a word to its peer
//! drop(old);
//! // ... perhaps elsewhere; `new` is a fresh socket of the same family:
//! criu_tcp_repair::restore(new, local, remote, &stream)?.resume()?;
//! # Ok(())
//! # }
//! ```
//!
//! - Needs `CAP_NET_ADMIN` in the network namespace of the socket; ended directions also need `CAP_NET_RAW`.
//! - While a connection does not exist its packets **must be kept away**, by a firewall for example: the host would
//!   answer them with a reset. The packets that this crate sends itself, to the socket that it restores, bear the mark
//!   [`MARK`], and are to pass.
//! - The caller restores the options of the socket that are not part of a connection. Buffers must be large enough
//!   for the queues. A classic filter, if any, is attached last: it could drop the packets of this crate.
//! - [`pause`] and [`restore`] are made of the steps below them, for callers that do them in several processes:
//!   [`enter`], [`read`]; [`rebuild`], [`settle`], [`resume`].
//!
//! What is not kept: urgent data that was not read (an error where it shows), ECN, segments that arrived out of order
//! (the peer sends them again), and the measurements of congestion control.

pub mod address;
mod ended;
mod error;
mod pause;
mod read;
mod segment;
mod settle;
mod state;
mod stream;
mod sys;
mod write;

pub use ended::{Remains, remain};
pub use error::{Error, Result};
pub use pause::{Paused, Restored, pause, restore};
pub use read::{Info, addresses, read};
pub use segment::{MARK, checksum};
pub use settle::settle;
pub use state::State;
pub use stream::{OPT_ECN, OPT_SACK, OPT_TIMESTAMPS, OPT_WSCALE, Queue, RepairWindow, Stream};
pub use write::{rebuild, resume};

use std::os::fd::{AsFd, AsRawFd};

// Socket options of linux/tcp.h.
/// The option of repair mode.
pub const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_REPAIR_OPTIONS: i32 = 22;
const TCP_TIMESTAMP: i32 = 24;
const TCP_REPAIR_WINDOW: i32 = 29;

// Values of TCP_REPAIR.
const ON: i32 = 1;
const OFF: i32 = 0;
/// The value of [`TCP_REPAIR`] that leaves repair mode without sending a window probe.
pub const OFF_NO_PROBE: i32 = -1;

/// Enters repair mode. The kernel makes `SO_REUSEADDR` stronger meanwhile and takes it off on leaving.
///
/// # Errors
/// No permission, or a listening socket.
pub fn enter(socket: impl AsFd) -> Result<()> {
    sys::set(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, TCP_REPAIR, ON).map_err(Error::call("TCP_REPAIR"))
}

/// Leaves repair mode as if nothing had been; `SO_REUSEADDR` is the caller's to set again.
///
/// # Errors
/// The kernel's.
pub fn leave_quietly(socket: impl AsFd) -> Result<()> {
    sys::set(
        socket.as_fd().as_raw_fd(),
        libc::IPPROTO_TCP,
        TCP_REPAIR,
        OFF_NO_PROBE,
    )
    .map_err(Error::call("TCP_REPAIR"))
}

/// Whether the socket is in repair mode.
///
/// # Errors
/// The kernel's.
pub fn in_repair(socket: impl AsFd) -> Result<bool> {
    let value = sys::get::<i32>(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, TCP_REPAIR);
    value.map(|v| v != 0).map_err(Error::call("TCP_REPAIR"))
}

/// Which queue calls are for while in repair mode.
#[derive(Debug, Clone, Copy)]
enum Side {
    None = 0,
    Receive = 1,
    Send = 2,
}

fn choose(fd: i32, side: Side) -> Result<()> {
    sys::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, side as i32).map_err(Error::call("TCP_REPAIR_QUEUE"))
}
