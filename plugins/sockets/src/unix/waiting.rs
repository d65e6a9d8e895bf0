//! Connections that wait to be accepted, at the dump.
//!
//! Only accept(2) gives hold of the far end of such a connection, and what lies in its queue can be read
//! from there alone. So when something was sent, or the other end is closed already, the connections are
//! accepted in place of the program, as the very last act of a dump that ends the program anyway.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Refusal, Result};

use super::Unix;
use super::diag::UnixSocket;
use super::dump::{Dumped, in_image, peer_groups, save_rights};
use super::peers::owner;
use super::queue::{self, Queue};
use crate::extra::{Credentials, EarlyPacket, Extra, Waiting};
use crate::sys;

impl Unix {
    /// Writes down which connections wait at each listening socket, in their order.
    pub(super) fn save_waiting(&self, host: &Host<'_>, dumped: &HashMap<u32, Dumped>) -> Result<()> {
        let mut accept = Vec::new();
        for (ino, this) in dumped {
            let Some(listener) = &this.listener else { continue };
            let Some(socket) = self.known(this.namespace, *ino) else {
                continue;
            };
            match self.look_at_waiting(host, dumped, this, &socket)? {
                Some(what) => accept.push((this, listener, what)),
                None if socket.waiting.len() > 1 => {
                    let order = socket.waiting.iter().map(|&client| Waiting {
                        client,
                        ..Waiting::default()
                    });
                    self.add_waiting(this.id, order.collect());
                }
                None => {}
            }
        }
        // Nothing is taken out before all are known to be taken.
        for option in ["leave-running", "leave-stopped"] {
            if let Some((this, _, what)) = accept.first()
                && host.flag(option)?
            {
                return Err(Refusal {
                    object: this.object.clone(),
                    what: format!("{what}, which only a dump that ends the process can save"),
                    remedy: Some(format!(
                        "leave --{option} out; or --skip-in-flight drops it; or dump a moment later"
                    )),
                }
                .into());
            }
        }
        for (this, listener, _) in accept {
            let Some(socket) = self.known(this.namespace, this.ino) else {
                continue;
            };
            let all = accept_all(host, this, listener, &socket)
                .context(|| format!("{}: accepting what waits there", this.object))?;
            self.add_waiting(this.id, all);
        }
        Ok(())
    }

    fn known(&self, namespace: u64, ino: u32) -> Option<UnixSocket> {
        self.seen().tables.get(&namespace)?.get(ino).cloned()
    }

    /// Why the connections that wait at a socket have to be accepted, if they have.
    fn look_at_waiting(
        &self,
        host: &Host<'_>,
        dumped: &HashMap<u32, Dumped>,
        this: &Dumped,
        socket: &UnixSocket,
    ) -> Result<Option<&'static str>> {
        if host.flag("skip-in-flight")? {
            return Ok(None);
        }
        let mut why = None;
        for &client in &socket.waiting {
            if client == 0 {
                why = Some("a connection waits to be accepted whose other end is closed");
            } else if !dumped.contains_key(&client) {
                return Err(Refusal {
                    object: this.object.clone(),
                    what: format!(
                        "a connection waits to be accepted; its other end {client} {}",
                        owner(client)
                    ),
                    remedy: Some("--skip-in-flight drops such connections".to_owned()),
                }
                .into());
            } else if self.known(this.namespace, client).is_some_and(|c| c.unsent > 0) {
                why = Some("data was sent over a connection that waits to be accepted");
            }
        }
        Ok(why)
    }

    fn add_waiting(&self, id: u32, waiting: Vec<Waiting>) {
        let mut seen = self.seen();
        if let Some(extra) = seen.extras.iter_mut().find(|extra| extra.id == id) {
            extra.waiting = waiting;
            return;
        }
        seen.extras.push(Extra {
            id,
            waiting,
            ..Extra::default()
        });
    }
}

fn accept_all(
    host: &Host<'_>,
    this: &Dumped,
    listener: &OwnedFd,
    socket: &UnixSocket,
) -> Result<Vec<Waiting>> {
    let mut all = Vec::new();
    for &client in &socket.waiting {
        if sys::poll(listener.as_raw_fd(), libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN == 0 {
            return Err(Error::new("a connection has gone away meanwhile"));
        }
        let near = sys::accept(listener.as_raw_fd()).context(|| "accept")?;
        let (pid, uid, gid) = sys::peer_credentials(near.as_raw_fd()).context(|| "SO_PEERCRED")?;
        all.push(Waiting {
            client,
            packets: read(host, this.pid, socket, &near)?,
            peer: Some(in_image(host, Credentials { pid, uid, gid })?),
            peer_groups: peer_groups(near.as_raw_fd())?,
        });
    }
    Ok(all)
}

/// What lies in the queue of a connection.
fn read(host: &Host<'_>, pid: i32, socket: &UnixSocket, near: &OwnedFd) -> Result<Vec<EarlyPacket>> {
    let fd = near.as_raw_fd();
    let stream = i32::from(socket.kind) == libc::SOCK_STREAM;
    // It has the options of the listening socket, by which reads stop where the senders differ.
    let unread = sys::ioctl_int(fd, libc::FIONREAD).context(|| "FIONREAD")?;
    let found = sys::poll(fd, libc::POLLPRI, 0).context(|| "poll")?;
    let queue = Queue {
        stream,
        unread: unread.cast_unsigned(),
        failed: false,
        urgent: stream && found & libc::POLLPRI != 0,
    };
    let mut packets = Vec::new();
    for packet in queue::peek(fd, queue).context(|| "peeking (SO_PEEK_OFF)")? {
        let rights = save_rights(host, pid, &packet)?;
        let credentials = packet.credentials.map(|c| in_image(host, c)).transpose()?;
        packets.push(EarlyPacket {
            data: packet.data,
            rights,
            credentials,
            urgent: packet.urgent,
        });
    }
    Ok(packets)
}
