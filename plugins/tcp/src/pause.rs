//! The whole of it in one process: values that undo what they stand for.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::{Result, Stream, sys};

/// A socket in repair mode. It sends nothing, also when it is closed. When this value is dropped the socket goes on as
/// if nothing had been.
#[derive(Debug)]
#[must_use = "dropping it lets the socket go on"]
pub struct Paused<F: AsFd> {
    socket: F,
    reuse: i32,
    kept: bool,
}

/// Puts a socket into repair mode.
///
/// # Errors
/// No permission, or a listening socket.
pub fn pause<F: AsFd>(socket: F) -> Result<Paused<F>> {
    let reuse = sys::get(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)
        .map_err(crate::Error::call("SO_REUSEADDR"))?;
    crate::enter(&socket)?;
    Ok(Paused {
        socket,
        reuse,
        kept: false,
    })
}

impl<F: AsFd> Paused<F> {
    /// Reads the connection; nothing is taken out of its queues.
    ///
    /// # Errors
    /// As of [`crate::read`].
    pub fn save(&self) -> Result<Stream> {
        crate::read(&self.socket)
    }

    /// Lets the socket go on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resume(mut self) -> Result<()> {
        self.kept = true;
        self.leave()
    }

    /// Leaves the socket in repair mode: closing it now tells nobody.
    pub fn keep(mut self) {
        self.kept = true;
    }

    fn leave(&self) -> Result<()> {
        let fd = self.socket.as_fd().as_raw_fd();
        crate::leave_quietly(&self.socket)?;
        sys::set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, self.reuse)
            .map_err(crate::Error::call("SO_REUSEADDR"))
    }
}

impl<F: AsFd> Drop for Paused<F> {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to hear of it.
            let _ = self.leave();
        }
    }
}

/// A connection that was put together and is silent still. Dropped, it stays silent, and closing its socket tells
/// nobody.
#[derive(Debug)]
#[must_use = "the connection is silent until it is resumed"]
pub struct Restored<'a, F: AsFd> {
    socket: F,
    remote: SocketAddr,
    stream: &'a Stream,
}

/// Makes a fresh socket the connection from `local` to `remote`, in its state and with its queues.
///
/// # Errors
/// As of [`crate::rebuild`] and [`crate::settle`].
pub fn restore<F: AsFd>(
    socket: F,
    local: SocketAddr,
    remote: SocketAddr,
    stream: &Stream,
) -> Result<Restored<'_, F>> {
    crate::rebuild(&socket, local, remote, stream)?;
    crate::settle(&socket, local, remote, stream)?;
    Ok(Restored {
        socket,
        remote,
        stream,
    })
}

impl<F: AsFd> Restored<'_, F> {
    /// Lets the connection go on; its packets may pass by now.
    ///
    /// # Errors
    /// As of [`crate::resume`].
    pub fn resume(self) -> Result<()> {
        crate::resume(&self.socket, self.remote, self.stream)
    }
}
