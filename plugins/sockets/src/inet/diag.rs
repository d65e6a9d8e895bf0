//! What sock_diag(7) alone says of a connected UDP socket: in which directions it is shut down.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use crate::netlink::{self, Builder, Netlink, Next};
use crate::sys;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const INET_DIAG_SHUTDOWN: u16 = 8;
/// The length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// The `SHUT_*` bits (1 reading, 2 writing) of a connected socket.
///
/// # Errors
/// The kernel does not find it.
pub(super) fn shutdown(
    netlink: &Netlink,
    fd: RawFd,
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<u8> {
    let cookie: u64 = sys::get(fd, libc::SOL_SOCKET, libc::SO_COOKIE)?;
    // Kernels before 5.9 took the addresses the other way round; the cookie tells when that is wrong.
    ask(netlink, protocol, local, remote, cookie).or_else(|_| ask(netlink, protocol, remote, local, cookie))
}

fn ask(
    netlink: &Netlink,
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
    cookie: u64,
) -> io::Result<u8> {
    let family = if source.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut request = vec![family as u8, protocol, 1 << (INET_DIAG_SHUTDOWN - 1), 0];
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&source.port().to_be_bytes());
    request.extend_from_slice(&destination.port().to_be_bytes());
    for side in [source, destination] {
        let mut bytes = match side.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes.resize(16, 0);
        request.extend_from_slice(&bytes);
    }
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(&(cookie as u32).to_ne_bytes());
    request.extend_from_slice(&((cookie >> 32) as u32).to_ne_bytes());
    let mut builder = Builder::default();
    builder.message(SOCK_DIAG_BY_FAMILY, 0, 1, &request);
    netlink.send(&builder.finish())?;
    let mut shutdown = 0;
    netlink.receive(|message| {
        match message.kind {
            NLMSG_ERROR => netlink::outcome(message.body)?,
            SOCK_DIAG_BY_FAMILY => {
                let found = netlink::attributes(message.body.get(MESSAGE..).unwrap_or(&[]))
                    .find(|(kind, _)| *kind == INET_DIAG_SHUTDOWN);
                shutdown = found.and_then(|(_, data)| data.first().copied()).unwrap_or(0) & 3;
            }
            _ => return Ok(Next::Continue),
        }
        Ok(Next::Stop)
    })?;
    Ok(shutdown)
}
