//! Saves UDP sockets.

use criu_plugin_api::{Context, Host, Result};

use super::dump::{Dumped, Socket};
use super::{diag, multicast, state};
use crate::sys;

/// Saves a UDP or UDP-Lite socket.
pub(super) fn dump(host: &Host<'_>, mut socket: Socket<'_>) -> Result<Dumped> {
    const UDP_CORK: i32 = 1;
    let fd = socket.file.local_fd;
    let protocol = socket.entry.proto.cast_signed();
    let corked = sys::get::<i32>(fd, protocol, UDP_CORK).context(|| "UDP_CORK")?;
    if corked != 0 {
        return socket.refused("holds back a datagram (UDP_CORK): not supported", None);
    }
    if let Some(group) = multicast::joined(fd, &socket.namespace)? {
        return socket.refused(
            format!("is a member of the multicast group {group}: not supported"),
            None,
        );
    }
    if sys::poll(fd, libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN != 0 {
        host.log(
            2,
            "sockets",
            &format!(
                "{}: datagrams that were not read yet are dropped",
                socket.object()
            ),
        );
    }
    let Some(remote) = socket.remote else {
        return Ok(socket.image(state::CLOSE));
    };
    let found = socket
        .namespace
        .within(|| diag::exact(protocol, fd, socket.local, remote))
        .context(|| "asking sock_diag for its state")?;
    socket.entry.shutdown = (found.shutdown != 0).then_some(found.shutdown.into());
    Ok(socket.image(state::ESTABLISHED))
}
