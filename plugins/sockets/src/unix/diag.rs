//! What sock_diag(7) says about unix sockets: who is connected to whom, who waits for accept(2), how
//! much lies in the queues. None of it can be had from a descriptor.

use std::collections::HashMap;
use std::io;

use crate::netlink::{self, Builder, Netlink, Next};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;

// enum unix_diag attributes of linux/unix_diag.h.
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_ICONS: u16 = 3;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// `UDIAG_SHOW_NAME | VFS | PEER | ICONS | RQLEN`.
const SHOW: u32 = 0x1f;

/// One unix socket of a network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    /// Its inode number.
    pub(crate) ino: u32,
    /// `SOCK_STREAM` and so on.
    pub(crate) kind: u8,
    /// The number of a TCP state: 1 established, 7 closed, 10 listening.
    pub(crate) state: u8,
    /// `sun_path` as it was given to bind(2); empty when unbound, begins with NUL when abstract.
    pub(crate) name: Vec<u8>,
    /// Inode and device (in the kernel's own encoding) of the file it is bound to.
    pub(crate) file: Option<(u32, u32)>,
    /// The inode of its peer; 0 when the peer is closed or not yet accepted.
    pub(crate) peer: Option<u32>,
    /// Listening: the inodes of the sockets whose connections wait to be accepted, the oldest first;
    /// 0 for one that has been closed meanwhile.
    pub(crate) waiting: Vec<u32>,
    /// Bytes to read (datagrams: of the first one); listening: connections that wait.
    pub(crate) unread: u32,
    /// Bytes of kernel memory under way to others; listening: the backlog.
    pub(crate) unsent: u32,
    /// `SHUT_*` bits: 1 reading, 2 writing.
    pub(crate) shutdown: u8,
}

/// All unix sockets of a network namespace, by inode.
#[derive(Debug, Default)]
pub(crate) struct Table {
    sockets: HashMap<u32, UnixSocket>,
    /// Connecting socket to listening socket.
    listeners: HashMap<u32, u32>,
}

impl Table {
    /// Asks the kernel, through a socket of the namespace in question.
    ///
    /// # Errors
    /// The kernel has no unix_diag, or an answer could not be read.
    pub(crate) fn collect(netlink: &Netlink) -> io::Result<Self> {
        let mut request = Vec::with_capacity(24);
        request.extend_from_slice(&[libc::AF_UNIX as u8, 0, 0, 0]);
        for value in [u32::MAX, 0, SHOW, 0, 0] {
            request.extend_from_slice(&value.to_ne_bytes());
        }
        let mut builder = Builder::default();
        builder.message(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP as u16, 1, &request);
        netlink.send(&builder.finish())?;
        let mut table = Self::default();
        netlink.receive(|message| {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => {
                    netlink::outcome(message.body)?;
                    return Ok(Next::Stop);
                }
                SOCK_DIAG_BY_FAMILY => table.add(parse(message.body)?),
                _ => {}
            }
            Ok(Next::Continue)
        })?;
        Ok(table)
    }

    /// The socket with this inode.
    pub(crate) fn get(&self, ino: u32) -> Option<&UnixSocket> {
        self.sockets.get(&ino)
    }

    /// The listening socket in whose queue the connection of this socket waits.
    pub(crate) fn listener_of(&self, connecting: u32) -> Option<u32> {
        self.listeners.get(&connecting).copied()
    }

    /// The sockets that are bound to a file.
    pub(crate) fn bound_to(&self, ino: u32, dev: u32) -> impl Iterator<Item = &UnixSocket> {
        self.sockets.values().filter(move |s| s.file == Some((ino, dev)))
    }

    fn add(&mut self, socket: UnixSocket) {
        for &connecting in socket.waiting.iter().filter(|&&i| i != 0) {
            self.listeners.insert(connecting, socket.ino);
        }
        self.sockets.insert(socket.ino, socket);
    }
}

fn parse(body: &[u8]) -> io::Result<UnixSocket> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "unix_diag answer cut short");
    if body.len() < 16 {
        return Err(short());
    }
    let mut socket = UnixSocket {
        kind: body[1],
        state: body[2],
        ino: netlink::word(body, 4).ok_or_else(short)?,
        ..UnixSocket::default()
    };
    for (kind, data) in netlink::attributes(&body[16..]) {
        let word = |at| netlink::word(data, at).ok_or_else(short);
        match kind {
            UNIX_DIAG_NAME => socket.name = data.to_vec(),
            UNIX_DIAG_VFS => socket.file = Some((word(0)?, word(4)?)),
            UNIX_DIAG_PEER => socket.peer = Some(word(0)?),
            UNIX_DIAG_ICONS => {
                socket.waiting = (0..data.len() / 4)
                    .map(|i| word(i * 4))
                    .collect::<io::Result<_>>()?;
            }
            UNIX_DIAG_RQLEN => (socket.unread, socket.unsent) = (word(0)?, word(4)?),
            UNIX_DIAG_SHUTDOWN => socket.shutdown = data.first().copied().unwrap_or(0) & 3,
            _ => {}
        }
    }
    Ok(socket)
}

/// A device number of stat(2) as `UNIX_DIAG_VFS` has it.
pub(crate) fn kernel_device(dev: u64) -> u32 {
    (libc::major(dev) << 20) | (libc::minor(dev) & 0xf_ffff)
}
