//! Takes what is under way in a pair and puts it back at once.

use std::fs::File;
use std::os::fd::BorrowedFd;

use criu_plugin_api::{Context, Result};

use crate::images::ExtraEntry;
use crate::sys::{self, Termios};
use crate::underway::UnderWay;

/// What was found in a pair.
pub(crate) struct Found {
    /// For the readers of the master and of the slave, as the images hold it.
    pub(crate) data: [Vec<u8>; 2],
    /// What the format has no place for, of the master and of the slave.
    pub(crate) extra: [ExtraEntry; 2],
}

/// A description of a slave of its own, which does not block.
pub(crate) fn peer(master: BorrowedFd<'_>) -> nix::Result<File> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    unlocked(master, || sys::open_peer(master, flags)).map(File::from)
}

/// Does something while the slave of a master is not locked.
fn unlocked<T>(master: BorrowedFd<'_>, work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    let was_locked = sys::is_locked(master)?;
    if was_locked {
        sys::set_lock(master, false)?;
    }
    let done = work();
    if was_locked {
        sys::set_lock(master, true)?;
    }
    done
}

/// Looks into a pair, which is as before afterwards.
///
/// # Errors
/// The kernel's, or something that the images cannot express.
pub(crate) fn look_into(master: BorrowedFd<'_>, peer: &File) -> Result<Found> {
    let termios = sys::termios(master).context(|| "asking for the termios")?;
    let locked = sys::termios_locked(master).context(|| "asking which termios bits are locked")?;
    let mut found = UnderWay::default();
    sys::apart(|| take_and_put(&mut found, master, peer, &termios, locked))?;
    Ok(Found {
        data: [found.output, found.input.bytes(&termios)?],
        extra: [(found.flow[0], 0), (found.flow[1], found.status)].map(|(flow, status)| ExtraEntry {
            flow: flow.into(),
            packet_status: status.into(),
            ..ExtraEntry::default()
        }),
    })
}

fn take_and_put(
    found: &mut UnderWay,
    master: BorrowedFd<'_>,
    peer: &File,
    termios: &Termios,
    locked: Termios,
) -> Result<()> {
    let is_locked = locked != Termios::default();
    if is_locked {
        sys::lock_termios(master, Termios::default()).context(|| "unlocking the termios for a moment")?;
    }
    let taken = found.take(master, peer, termios);
    let back = found.put(master, peer, termios);
    if is_locked {
        sys::lock_termios(master, locked).context(|| "locking the termios again")?;
    }
    taken.and(back)
}
