//! Addresses and routes of an interface as rtnetlink(7) tells them. What a dump of theirs says is also what sets
//! them: so they are kept as they are, but for the number of the interface.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct rtmsg`.
const ROUTE: usize = 12;
const RTA_OIF: u16 = 4;
const RTPROT_KERNEL: u8 = 2;
/// More than an interface has.
const MOST: usize = 1 << 20;

fn socket() -> nix::Result<OwnedFd> {
    // SAFETY: takes plain numbers.
    let fd = Errno::result(unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    })?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, message: &[u8]) -> nix::Result<()> {
    // SAFETY: the message has as many bytes as are said.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    Errno::result(sent).map(drop)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: the buffer has as many bytes as are said.
    let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    Errno::result(got).map(|got| usize::try_from(got).unwrap_or(0).min(buffer.len()))
}

fn header(kind: u16, flags: u16, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&((HEADER + length) as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&1_u32.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The messages that `buffer` begins with, each with its header.
fn messages(buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        let message = rest.get(..length).filter(|_| length >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// Where in a message about a route the number of its interface stands.
fn interface_of_route(message: &[u8]) -> Option<usize> {
    let mut at = HEADER + ROUTE;
    while let Some(length) = u16_at(message, at) {
        let length = usize::from(length);
        if length < 4 {
            return None;
        }
        if u16_at(message, at + 2)? == RTA_OIF {
            return Some(at + 4);
        }
        at += length.next_multiple_of(4);
    }
    None
}

/// Where in a message the number of its interface stands; `None` for what is no setting of a user.
fn interface(message: &[u8]) -> Option<usize> {
    match u16_at(message, 4)? {
        RTM_NEWADDR => Some(HEADER + 4),
        RTM_NEWROUTE => {
            let (table, protocol) = (*message.get(HEADER + 4)?, *message.get(HEADER + 5)?);
            let is_local = table == libc::RT_TABLE_LOCAL;
            // The kernel makes those by itself as it is given the address.
            interface_of_route(message).filter(|_| !is_local && protocol != RTPROT_KERNEL)
        }
        _ => None,
    }
}

/// The addresses and routes of an interface.
pub(crate) fn read(index: u32) -> nix::Result<Vec<Vec<u8>>> {
    let socket = socket()?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    for kind in [RTM_GETADDR, RTM_GETROUTE] {
        let mut request = header(kind, NLM_F_REQUEST | NLM_F_DUMP, ROUTE);
        request.resize(HEADER + ROUTE, 0);
        send(&socket, &request)?;
        'dump: loop {
            let got = receive(&socket, &mut buffer)?;
            if got == 0 || found.len() > MOST {
                return Err(Errno::EBADMSG);
            }
            for message in messages(&buffer[..got]) {
                match u16_at(message, 4) {
                    Some(NLMSG_DONE) => break 'dump,
                    Some(NLMSG_ERROR) => return Err(error(message)),
                    _ => {}
                }
                if interface(message).and_then(|at| u32_at(message, at)) == Some(index) {
                    found.push(message.to_vec());
                }
            }
        }
    }
    Ok(found)
}

fn error(message: &[u8]) -> Errno {
    let code = u32_at(message, HEADER).map_or(0, u32::cast_signed);
    Errno::from_raw(-code)
}

/// Sets what a message says, for interface `to` where it says `from`.
pub(crate) fn set(message: &[u8], from: u32, to: u32) -> nix::Result<()> {
    let mut message = message.to_vec();
    let at = interface(&message).filter(|&at| u32_at(&message, at) == Some(from));
    let length = u32_at(&message, 0).map(|length| length as usize);
    let (Some(at), Some(kind), true) = (at, u16_at(&message, 4), length == Some(message.len())) else {
        return Err(Errno::EBADMSG);
    };
    message[at..at + 4].copy_from_slice(&to.to_ne_bytes());
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let head = header(kind, flags, message.len() - HEADER);
    message[..HEADER].copy_from_slice(&head);
    let socket = socket()?;
    send(&socket, &message)?;
    let mut buffer = vec![0; 4096];
    let got = receive(&socket, &mut buffer)?;
    let answer = messages(&buffer[..got]).find(|message| u16_at(message, 4) == Some(NLMSG_ERROR));
    match answer.map(|answer| u32_at(answer, HEADER)) {
        Some(Some(0)) => Ok(()),
        Some(Some(code)) => Err(Errno::from_raw(-code.cast_signed())),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_messages_are_refused() {
        assert_eq!(set(&[], 1, 2), Err(Errno::EBADMSG));
        let mut message = header(RTM_NEWROUTE, 0, ROUTE + 4);
        message.extend_from_slice(&[0; ROUTE]);
        // An attribute without a length.
        message.extend_from_slice(&[0; 4]);
        assert_eq!(set(&message, 1, 2), Err(Errno::EBADMSG));
        let address = header(RTM_NEWADDR, 0, 0);
        assert_eq!(set(&address, 1, 2), Err(Errno::EBADMSG));
        assert_eq!(messages(&[3, 0, 0, 0, 1]).count(), 0);
    }

    #[test]
    fn loopback_has_its_address() {
        let found = read(1).unwrap();
        assert!(
            found
                .iter()
                .any(|message| u16_at(message, 4) == Some(RTM_NEWADDR))
        );
    }
}
