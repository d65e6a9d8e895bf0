//! Saves raw sockets (raw(7), ipv6(7)) and those of ICMP echo (icmp(7)).
//!
//! Packets that were not read yet are dropped, and the log says so. They cannot be peeked at behind the first
//! (`SO_PEEK_OFF` is not theirs), and could not be given back: a packet of this host's own to a raw socket would come to
//! all others of the protocol as well, and the kernel would answer it.

use criu_plugin_api::{Context, Host, Result};

use super::dump::{Dumped, Socket};
use super::{multicast, options, queue, state, table, udp};
use crate::sys;

/// Saves a socket.
pub(super) fn dump(host: &Host<'_>, mut socket: Socket<'_>) -> Result<Dumped> {
    let fd = socket.file.local_fd;
    if socket.protocol.is_raw() {
        if !udp::has_sent(fd)? {
            let what = "holds back a packet (MSG_MORE), or cannot get rid of it: not supported";
            return socket.refused(what, Some("dump a moment later"));
        }
        let raw = options::dump_raw(fd, &socket.entry)?;
        socket.entry.ip_opts.get_or_insert_default().raw = Some(raw);
    }
    if socket.remote.is_none() {
        // One without a port: getpeername(2) does not tell it.
        let ipv6 = socket.local.is_ipv6();
        let remote = table::peer(&socket.namespace, socket.protocol, ipv6, socket.file.ino)?;
        socket.set_remote(remote);
    }
    socket.extra.memberships = multicast::memberships(fd, &socket.namespace)?;
    let seen = sys::poll(fd, libc::POLLIN, 0).context(|| "poll")?;
    if seen & libc::POLLIN != 0 {
        queue::dropped(host, &socket.object());
    }
    if seen & libc::POLLERR != 0 {
        // A message of ICMP that brings it again would be heard by all others of the protocol.
        queue::error_lost(host, &socket.object());
    }
    let how = udp::seen_shutdown(fd)?;
    socket.entry.shutdown = (how != 0).then_some(how.into());
    let state = if socket.remote.is_some() {
        state::ESTABLISHED
    } else {
        state::CLOSE
    };
    Ok(socket.image(state))
}
