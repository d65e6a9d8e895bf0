//! Netlink messages: just enough to ask sock_diag(7) and to speak to nf_tables.
//!
//! Words of the headers are in host order (netlink(7)); attributes are padded to four bytes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys;

/// So many bytes are sent in one piece whatever the limits of the system are.
const SURE_TO_FIT: usize = 32 << 10;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The type and flag bits of an attribute that is a list of attributes.
const NLA_F_NESTED: u16 = 0x8000;

/// One message under construction, or several in a row.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    start: usize,
}

impl Builder {
    /// Begins a message; `flags` beside `NLM_F_REQUEST`.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, sequence: u32, body: &[u8]) -> &mut Self {
        self.close();
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(body);
        self.pad();
        self
    }

    /// Adds an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        self.bytes
            .extend_from_slice(&((data.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        self.pad();
        self
    }

    /// Adds an attribute with a number in network order, as nf_tables has them.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an attribute with a terminated string.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut data = value.as_bytes().to_vec();
        data.push(0);
        self.attribute(kind, &data)
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The messages as they are sent.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    fn close(&mut self) {
        if self.bytes.len() > self.start {
            let length = (self.bytes.len() - self.start) as u32;
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// What is to be done after a message.
pub(crate) enum Next {
    /// Wait for more.
    Continue,
    /// That was the last one.
    Stop,
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
}

impl Netlink {
    /// Opens a socket of a protocol (`NETLINK_SOCK_DIAG`, `NETLINK_NETFILTER`) in the current network
    /// namespace.
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
        // What a dump may have under way; a failure only means the default.
        let _ = sys::set(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 1i32 << 20);
        // Errors of nf_tables quote the request otherwise.
        let _ = sys::set(fd.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1i32);
        let mut address = [0u8; 12];
        address[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
        sys::bind(fd.as_raw_fd(), &address)?;
        Ok(Self { fd })
    }

    /// Sends messages.
    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        let mut address = [0u8; 12];
        address[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
        if messages.len() > SURE_TO_FIT {
            // The kernel takes it at once or not at all; it doubles the number for its own use.
            let length = i32::try_from(messages.len()).map_err(io::Error::other)?;
            sys::set(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUFFORCE,
                length,
            )?;
        }
        sys::send(self.fd.as_raw_fd(), messages, Some(&address), &[], 0)?;
        Ok(())
    }

    /// Receives messages until `take` says stop, or an error or the end of a dump comes.
    ///
    /// When nothing is left to be read before that, the error is `WouldBlock`.
    pub(crate) fn receive(&self, mut take: impl FnMut(&Message<'_>) -> io::Result<Next>) -> io::Result<()> {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            // The kernel answers from within the send, so that nothing to read means nothing to come.
            let got = sys::receive(self.fd.as_raw_fd(), &mut buffer, libc::MSG_DONTWAIT)?;
            if got.flags & libc::MSG_TRUNC != 0 {
                return Err(io::Error::other("netlink answer of more than 64 KiB"));
            }
            let mut rest = &buffer[..got.length];
            while let Some((message, tail)) = next(rest)? {
                rest = tail;
                if let Next::Stop = take(&message)? {
                    return Ok(());
                }
            }
        }
    }
}

fn next(bytes: &[u8]) -> io::Result<Option<(Message<'_>, &[u8])>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let short = || io::Error::new(io::ErrorKind::InvalidData, "netlink message cut short");
    let length = word(bytes, 0).ok_or_else(short)? as usize;
    if length < HEADER || length > bytes.len() {
        return Err(short());
    }
    let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
    let tail = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    Ok(Some((
        Message {
            kind,
            body: &bytes[HEADER..length],
        },
        tail,
    )))
}

/// The error that an `NLMSG_ERROR` or `NLMSG_DONE` carries; `Ok` for an acknowledgement.
pub(crate) fn outcome(body: &[u8]) -> io::Result<()> {
    match word(body, 0).map(u32::cast_signed) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

/// The word at an offset, in host order.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes of a message, from the first on: their types without flags, and their data.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let data = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_messages_are_read_back() {
        let mut builder = Builder::default();
        builder.message(20, 0, 7, b"body").text(1, "name").nest(2, |b| {
            b.number(3, 0x01020304);
        });
        builder.message(21, 0, 8, b"");
        let bytes = builder.finish();
        let (first, rest) = next(&bytes).unwrap().unwrap();
        assert_eq!((first.kind, &first.body[..4]), (20, &b"body"[..]));
        let attributes: Vec<_> = attributes(&first.body[4..]).collect();
        assert_eq!(attributes[0], (1, &b"name\0"[..]));
        assert_eq!(attributes[1].0, 2);
        assert_eq!(
            super::attributes(attributes[1].1).next(),
            Some((3, &[1u8, 2, 3, 4][..]))
        );
        let (second, rest) = next(rest).unwrap().unwrap();
        assert_eq!((second.kind, rest.len()), (21, 0));
    }

    #[test]
    fn cut_messages_are_errors() {
        let mut builder = Builder::default();
        builder.message(20, 0, 7, b"body");
        let bytes = builder.finish();
        for end in 1..bytes.len() {
            assert!(next(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
