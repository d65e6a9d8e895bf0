//! Saves UDP sockets.

use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Host, Result};

use super::dump::{Dumped, Socket};
use super::protocol::Protocol;
use super::{diag, multicast, queue, state};
use crate::sys;

/// For datagrams to leave a device.
const LEAVING: Duration = Duration::from_millis(100);

/// Saves a UDP or UDP-Lite socket.
pub(super) fn dump(host: &Host<'_>, mut socket: Socket<'_>) -> Result<Dumped> {
    let fd = socket.file.local_fd;
    if socket.protocol == Protocol::Udp
        && let Some(what) = encapsulation(fd)
    {
        return socket.refused(what, None);
    }
    if !has_sent(fd)? {
        let what = "holds back a datagram (UDP_CORK, MSG_MORE), or cannot get rid of it: not supported";
        return socket.refused(what, Some("dump a moment later"));
    }
    socket.extra.memberships = multicast::memberships(fd, &socket.namespace)?;
    queue::save(host, &mut socket)?;
    let how = shutdown(&socket)?;
    socket.entry.shutdown = (how != 0).then_some(how.into());
    let state = if socket.remote.is_some() {
        state::ESTABLISHED
    } else {
        state::CLOSE
    };
    Ok(socket.image(state))
}

/// A protocol of the kernel's own that takes over packets, other than ESP, which is set like any option.
fn encapsulation(fd: i32) -> Option<String> {
    /// Of linux/udp.h.
    const UDP_ENCAP: i32 = 100;
    const UDP_ENCAP_ESPINUDP: i32 = 2;
    let kind = sys::get::<i32>(fd, libc::IPPROTO_UDP, UDP_ENCAP).unwrap_or(0);
    let foreign = ![0, UDP_ENCAP_ESPINUDP].contains(&kind);
    foreign.then(|| format!("carries another protocol for the kernel (UDP_ENCAP {kind}): not supported"))
}

/// All that was written has left the socket.
pub(super) fn has_sent(fd: i32) -> Result<bool> {
    let deadline = Instant::now() + LEAVING;
    while sys::ioctl_int(fd, libc::TIOCOUTQ).context(|| "TIOCOUTQ")? != 0 {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::yield_now();
    }
    Ok(true)
}

/// The `SHUT_*` bits. Of a socket without a peer they can be set, too, though shutdown(2) says that they cannot.
fn shutdown(socket: &Socket<'_>) -> Result<u8> {
    let (fd, protocol) = (socket.file.local_fd, socket.entry.proto.cast_signed());
    let remote = socket.remote.unwrap_or(diag::nobody(socket.local));
    match diag::exact(&socket.namespace, protocol, fd, socket.local, remote) {
        Ok(found) => Ok(found.shutdown),
        Err(e) if socket.remote.is_some() => Err(e).context(|| "asking sock_diag for its state"),
        Err(_) => seen_shutdown(fd),
    }
}

/// What poll(2) shows of it: all but a socket that only writing is shut down of.
pub(super) fn seen_shutdown(fd: i32) -> Result<u8> {
    let seen = sys::poll(fd, libc::POLLRDHUP, 0).context(|| "poll")?;
    let writing = u8::from(seen & libc::POLLHUP != 0) << 1;
    Ok(u8::from(seen & libc::POLLRDHUP != 0) | writing)
}
