//! Output that has been stopped, by tcflow(3) or by the stop character (`^S`).
//!
//! No call tells. Stopped output has no room although nothing of it waits for its reader; what makes it
//! go on tells how it was stopped.

use std::os::fd::BorrowedFd;

use crate::sys::{self, Termios};

/// How the output of one end of a pair stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Flow {
    /// It goes.
    Goes = 0,
    /// Suspended by tcflow(3), `TCOOFF`: only `TCOON` makes it go on.
    Suspended = 1,
    /// Stopped by the stop character: the start character makes it go on.
    Stopped = 2,
}

/// Tells how the output of this end stands, and lets it go. All that had been written must have been read.
///
/// # Errors
/// The kernel's.
pub(crate) fn release(end: BorrowedFd<'_>) -> nix::Result<Flow> {
    if sys::has_room(end)? {
        return Ok(Flow::Goes);
    }
    sys::flow(end, libc::TCOON)?;
    if sys::has_room(end)? {
        return Ok(Flow::Suspended);
    }
    // The other sort goes on after it has become the first.
    sys::flow(end, libc::TCOOFF)?;
    sys::flow(end, libc::TCOON)?;
    Ok(match sys::has_room(end)? {
        true => Flow::Stopped,
        // Somebody from outside goes on writing.
        false => Flow::Goes,
    })
}

/// Stops output the way it was stopped.
///
/// # Errors
/// The kernel's.
pub(crate) fn stop(end: BorrowedFd<'_>, flow: Flow, termios: &Termios) -> nix::Result<()> {
    let character = termios.cc[libc::VSTOP];
    match flow {
        Flow::Goes => Ok(()),
        Flow::Stopped if termios.iflag & libc::IXON != 0 && character != 0 => sys::type_byte(end, character),
        Flow::Suspended | Flow::Stopped => sys::flow(end, libc::TCOOFF),
    }
}
