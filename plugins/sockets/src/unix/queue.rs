//! Looks into the receive queue of a unix socket without taking anything out.
//!
//! `SO_PEEK_OFF` (socket(7)) gives a socket a position in its queue from which `MSG_PEEK` reads. It is
//! visible to the owner of the socket, so it is put back.
//!
//! A read of a stream ends behind the message that has descriptors. Where that message begins cannot be
//! seen: a peek goes on to it even when it wants no more bytes (Linux 6.18). So the descriptors are
//! taken to belong to the first byte of that read.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use crate::extra::Credentials;
use crate::sys::{self, Received};

/// What one read of the receiver would have given.
pub(crate) struct Packet {
    /// The bytes.
    pub(crate) data: Vec<u8>,
    /// The descriptors that travel with them.
    pub(crate) rights: Vec<OwnedFd>,
    /// The name of the sender (`sun_path`); empty for none.
    pub(crate) from: Vec<u8>,
    /// The credentials that travel with them, if the receiver asks for them.
    pub(crate) credentials: Option<Credentials>,
}

/// Memory that a read takes at first; larger packets are read again with enough room.
const ROOM: usize = 64 << 10;
const PEEK: i32 = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;

/// The contents of the queue of a datagram (`stream` false) or stream socket, first come first.
///
/// `unread` is the number of bytes that unix_diag counted; it tells the end of a shut-down queue from
/// an empty packet.
///
/// # Errors
/// The socket cannot be read that way.
pub(crate) fn peek(fd: RawFd, stream: bool, unread: u32) -> io::Result<Vec<Packet>> {
    let before: i32 = sys::get(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF)?;
    let result = walk(fd, stream, unread);
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, before)?;
    result
}

fn walk(fd: RawFd, stream: bool, unread: u32) -> io::Result<Vec<Packet>> {
    let (mut packets, mut at) = (Vec::new(), 0usize);
    seek(fd, 0)?;
    while let Some((data, got)) = read(fd, at, ROOM)? {
        // The end of a stream, or a sequence of packets that its peer has closed, reads as empty; an
        // empty datagram is followed by EAGAIN like any other.
        if data.is_empty() && (stream || at >= unread as usize && end_of_packets(fd)?) {
            break;
        }
        at += data.len();
        packets.push(Packet {
            data,
            rights: got.rights,
            from: got.from.get(2..).unwrap_or(&[]).to_vec(),
            credentials: got.credentials.map(|c| Credentials {
                pid: c.pid,
                uid: c.uid,
                gid: c.gid,
            }),
        });
    }
    Ok(packets)
}

fn seek(fd: RawFd, at: usize) -> io::Result<()> {
    let at = i32::try_from(at).map_err(|_| io::Error::other("more than 2 GiB in the queue of a socket"))?;
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, at)
}

/// The packet at the position, which moves behind it; `None` when there is none.
fn read(fd: RawFd, at: usize, room: usize) -> io::Result<Option<(Vec<u8>, Received)>> {
    let mut data = vec![0u8; room];
    loop {
        let got = match sys::receive(fd, &mut data, PEEK) {
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // Told once, by whoever reads first; the queue lies behind it.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(e) => return Err(e),
        };
        if got.length > data.len() {
            seek(fd, at)?;
            data.resize(got.length, 0);
            continue;
        }
        data.truncate(got.length);
        return Ok(Some((data, got)));
    }
}

/// Whether nothing but the end follows: a closed sequence of packets reads as empty for ever.
fn end_of_packets(fd: RawFd) -> io::Result<bool> {
    Ok(sys::poll(fd, libc::POLLRDHUP, 0)? & libc::POLLRDHUP != 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn contents(fd: &OwnedFd, stream: bool, unread: u32) -> Vec<(Vec<u8>, usize)> {
        let packets = peek(fd.as_raw_fd(), stream, unread).unwrap();
        packets.into_iter().map(|p| (p.data, p.rights.len())).collect()
    }

    #[test]
    fn a_stream_is_read_whole_and_left_whole() {
        let (a, b) = sys::socketpair(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
        assert_eq!(contents(&b, true, 0), []);
        let text = vec![b'x'; 100_000];
        assert_eq!(sys::send(a.as_raw_fd(), &text, None, &[], 0).unwrap(), text.len());
        for _ in 0..2 {
            let seen: Vec<u8> = contents(&b, true, 100_000)
                .into_iter()
                .flat_map(|p| p.0)
                .collect();
            assert_eq!(seen, text);
        }
        let before: i32 = sys::get(b.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap();
        assert_eq!(before, -1);
        let mut buffer = vec![0; 200_000];
        assert_eq!(
            sys::receive(b.as_raw_fd(), &mut buffer, 0).unwrap().length,
            text.len()
        );
    }

    #[test]
    fn descriptors_end_a_read() {
        let (a, b) = sys::socketpair(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
        let fd = a.as_raw_fd();
        sys::send(fd, b"before, ", None, &[], 0).unwrap();
        sys::send(fd, b"with two", None, &[fd, b.as_raw_fd()], 0).unwrap();
        sys::send(fd, b", after, ", None, &[], 0).unwrap();
        sys::send(fd, b"with one", None, &[fd], 0).unwrap();
        let expected = vec![
            (b"before, with two".to_vec(), 2),
            (b", after, with one".to_vec(), 1),
        ];
        assert_eq!(contents(&b, true, 33), expected);
        assert_eq!(contents(&b, true, 33), expected);
    }

    #[test]
    fn packets_keep_their_borders() {
        for kind in [libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            let (a, b) = sys::socketpair(libc::AF_UNIX, kind).unwrap();
            let long = vec![b'l'; 90_000];
            for text in [&b"one"[..], b"", &long, b"last"] {
                sys::send(a.as_raw_fd(), text, None, &[], 0).unwrap();
            }
            let expected: Vec<_> = [&b"one"[..], b"", &long, b"last"]
                .iter()
                .map(|t| (t.to_vec(), 0))
                .collect();
            assert_eq!(contents(&b, false, 90_007), expected);
        }
    }

    #[test]
    fn the_end_of_a_closed_sequence_is_no_packet() {
        let (a, b) = sys::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET).unwrap();
        sys::send(a.as_raw_fd(), b"one", None, &[], 0).unwrap();
        drop(a);
        assert_eq!(contents(&b, false, 3), vec![(b"one".to_vec(), 0)]);
    }
}
