//! What sock_diag(7) says about netlink sockets that their descriptors do not: whether one is connected,
//! and whether it is in the middle of a dump of the kernel's. Sockets without a port id are not listed.

use std::collections::HashMap;
use std::io;

use crate::netlink::{self, Builder, Netlink, Next};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
// linux/netlink_diag.h
const NDIAG_PROTO_ALL: u8 = 0xff;
const NDIAG_SHOW_FLAGS: u32 = 8;
const NETLINK_DIAG_FLAGS: u16 = 4;
const NDIAG_FLAG_CB_RUNNING: u32 = 1;

/// One netlink socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Socket {
    /// 7 never connected, 1 connected, 0 no longer.
    pub(super) state: u8,
    /// A dump of the kernel's has begun and is not read to its end.
    pub(super) dumping: bool,
}

/// All netlink sockets of a network namespace, by inode.
#[derive(Debug, Default)]
pub(super) struct Table {
    sockets: HashMap<u32, Socket>,
    /// The kernel has no netlink_diag.
    pub(super) missing: bool,
}

impl Table {
    /// Asks the kernel, through a socket of the namespace in question.
    ///
    /// # Errors
    /// An answer could not be read.
    pub(super) fn collect(netlink: &Netlink) -> io::Result<Self> {
        let mut request = vec![libc::AF_NETLINK as u8, NDIAG_PROTO_ALL, 0, 0];
        for value in [0, NDIAG_SHOW_FLAGS, 0, 0] {
            request.extend_from_slice(&value.to_ne_bytes());
        }
        let mut builder = Builder::default();
        builder.message(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP as u16, 1, &request);
        netlink.send(&builder.finish())?;
        let mut table = Self::default();
        let result = netlink.receive(|message| {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => {
                    netlink::outcome(message.body)?;
                    return Ok(Next::Stop);
                }
                SOCK_DIAG_BY_FAMILY => {
                    let (ino, socket) = parse(message.body)?;
                    table.sockets.insert(ino, socket);
                }
                _ => {}
            }
            Ok(Next::Continue)
        });
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => table.missing = true,
            other => other?,
        }
        Ok(table)
    }

    /// The socket with this inode, if it is listed.
    pub(super) fn get(&self, ino: u32) -> Option<Socket> {
        self.sockets.get(&ino).copied()
    }
}

/// A `struct netlink_diag_msg` and its attributes.
fn parse(body: &[u8]) -> io::Result<(u32, Socket)> {
    const LENGTH: usize = 28;
    let short = || io::Error::new(io::ErrorKind::InvalidData, "netlink_diag answer cut short");
    let head = body.get(..LENGTH).ok_or_else(short)?;
    let mut socket = Socket {
        state: head[3],
        ..Socket::default()
    };
    for (kind, data) in netlink::attributes(&body[LENGTH..]) {
        if kind == NETLINK_DIAG_FLAGS {
            socket.dumping = netlink::word(data, 0).ok_or_else(short)? & NDIAG_FLAG_CB_RUNNING != 0;
        }
    }
    Ok((netlink::word(head, 16).ok_or_else(short)?, socket))
}
