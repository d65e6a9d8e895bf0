//! The status of a master in packet mode: bits that its next read gives (`TIOCPKT`, ioctl_tty(2)).
//!
//! They can be read once, and set by nobody. So they are made again by what sets them: flushes, stops,
//! changes of the termios, all of which leave the terminal as it is.

use std::os::fd::BorrowedFd;

use crate::flow::{self, Flow};
use crate::sys::{self, Termios};

const FLUSH_READ: u8 = 1;
const FLUSH_WRITE: u8 = 2;
const STOP: u8 = 4;
const START: u8 = 8;
const NO_STOP: u8 = 16;
const DO_STOP: u8 = 32;
const IOCTL: u8 = 64;

/// `^S` and `^Q`, by which a remote terminal could stop and start by itself.
const STOP_CHARACTER: u8 = 0x13;
const START_CHARACTER: u8 = 0x11;

/// What a master is to be put into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets {
    /// The status that is pending.
    pub(crate) status: u8,
    /// Whether nothing is under way as output, and as input: only then the direction can be flushed.
    pub(crate) idle: (bool, bool),
    /// How output is stopped.
    pub(crate) flow: Flow,
}

/// Puts a master, whose slave's output goes, into packet mode. What cannot be made again is logged.
///
/// # Errors
/// The kernel's.
pub(crate) fn set(
    master: BorrowedFd<'_>,
    slave: BorrowedFd<'_>,
    packets: Packets,
    termios: &Termios,
) -> nix::Result<()> {
    let Packets { status, idle, flow } = packets;
    let (no_output, no_input) = idle;
    let was_told = flow != Flow::Goes && status & STOP == 0;
    let mut lost = 0;
    let mut wanted = status;
    if was_told && flow == Flow::Stopped {
        // The character stops only while the terminal listens to it.
        lost |= wanted & DO_STOP;
        wanted &= !DO_STOP;
    }
    let before = other_termios(wanted, termios, no_input);
    if before != *termios {
        sys::set_termios(slave, before)?;
    }
    if was_told {
        flow::stop(slave, flow, &before)?;
    }
    sys::set_packets(master, true)?;
    if before != *termios || wanted & IOCTL != 0 {
        sys::set_termios(slave, *termios)?;
    }
    if wanted & IOCTL != 0 && (before.lflag | termios.lflag) & libc::EXTPROC == 0 {
        lost |= IOCTL;
    }
    for (bit, is_idle, queue) in [
        (FLUSH_READ, no_input, libc::TCIFLUSH),
        (FLUSH_WRITE, no_output, libc::TCOFLUSH),
    ] {
        match wanted & bit != 0 {
            true if is_idle => sys::flush(slave, queue)?,
            true => lost |= bit,
            false => {}
        }
    }
    if wanted & START != 0 && flow == Flow::Goes {
        sys::flow(slave, libc::TCOOFF)?;
        sys::flow(slave, libc::TCOON)?;
    }
    if flow != Flow::Goes && !was_told {
        flow::stop(slave, flow, termios)?;
    }
    if lost != 0 {
        tracing::warn!("packet status {lost:#x} of a terminal is lost: data is under way");
    }
    Ok(())
}

/// The termios from which a change to the right ones sets the bits.
fn other_termios(status: u8, termios: &Termios, no_input: bool) -> Termios {
    let mut before = *termios;
    if status & DO_STOP != 0 {
        before.iflag &= !libc::IXON;
    }
    if status & NO_STOP != 0 {
        before.iflag |= libc::IXON;
        before.cc[libc::VSTOP] = STOP_CHARACTER;
        before.cc[libc::VSTART] = START_CHARACTER;
    }
    // A change of this bit makes lines of what has been typed so far.
    if status & IOCTL != 0 && termios.lflag & libc::EXTPROC == 0 && no_input {
        before.lflag |= libc::EXTPROC;
    }
    before
}

/// Takes the status that is pending, if there is one. The master is in packet mode.
///
/// # Errors
/// The kernel's.
pub(crate) fn take(master: BorrowedFd<'_>) -> nix::Result<u8> {
    if !sys::has_status(master)? {
        return Ok(0);
    }
    let mut status = [0; 1];
    match nix::unistd::read(master, &mut status)? {
        1 => Ok(status[0]),
        _ => Ok(0),
    }
}
