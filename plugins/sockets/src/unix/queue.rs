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
    /// The byte that was sent last with `MSG_OOB`.
    pub(crate) urgent: bool,
}

/// What is known of a queue before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    /// Of a stream, without borders.
    pub(crate) stream: bool,
    /// The number of bytes that unix_diag counted; it tells the end of a shut-down queue from an empty packet.
    pub(crate) unread: u32,
    /// The socket has an error that was not told yet.
    pub(crate) failed: bool,
    /// A byte in it was sent with `MSG_OOB`.
    pub(crate) urgent: bool,
}

/// Memory that a read takes at first; larger packets are read again with enough room.
const ROOM: usize = 64 << 10;
const PEEK: i32 = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;

/// The contents of a queue, first come first.
///
/// # Errors
/// The socket cannot be read that way.
pub(crate) fn peek(fd: RawFd, queue: Queue) -> io::Result<Vec<Packet>> {
    let mark = if queue.urgent { Some(Mark::of(fd)?) } else { None };
    let before: i32 = sys::get(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF)?;
    let result = walk(fd, queue);
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, before)?;
    let mut packets = result?;
    if let Some(mark) = mark {
        mark.apply(&mut packets)?;
    }
    Ok(packets)
}

fn walk(fd: RawFd, queue: Queue) -> io::Result<Vec<Packet>> {
    let Queue { stream, unread, .. } = queue;
    let (mut packets, mut at) = (Vec::new(), 0usize);
    seek(fd, 0)?;
    loop {
        // A read behind the last byte would take the error away.
        if queue.failed && stream && at >= unread as usize {
            break;
        }
        let Some((data, got)) = read(fd, at, ROOM)? else {
            break;
        };
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
            urgent: false,
        });
    }
    Ok(packets)
}

/// What is known of the byte that was sent with `MSG_OOB` (Linux 5.15).
struct Mark {
    /// The byte, unless it is read among the others (`SO_OOBINLINE`).
    byte: Option<u8>,
    /// Whether nothing lies before it.
    first: bool,
}

impl Mark {
    fn of(fd: RawFd) -> io::Result<Self> {
        const SIOCATMARK: libc::Ioctl = 0x8905;
        let inline: i32 = sys::get(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE)?;
        let mut byte = [0u8; 1];
        if inline == 0 {
            sys::receive(fd, &mut byte, libc::MSG_OOB | libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
        }
        Ok(Self {
            byte: (inline == 0).then_some(byte[0]),
            first: sys::ioctl_int(fd, SIOCATMARK)? != 0,
        })
    }

    /// Makes the byte a packet of its own. A read ends before it: that is how it is found, if it is not the
    /// first. The first one that is not read among the others is not in the packets at all.
    fn apply(&self, packets: &mut Vec<Packet>) -> io::Result<()> {
        if let (true, Some(byte)) = (self.first, self.byte) {
            packets.insert(0, Packet::urgent(byte));
            return Ok(());
        }
        let at = if self.first { Some(0) } else { self.find(packets) };
        let lost = || io::Error::other("the byte sent with MSG_OOB is not where a read ends");
        let after = at.and_then(|at| packets.get_mut(at)).ok_or_else(lost)?;
        if after.data.is_empty() {
            return Err(lost());
        }
        let byte = after.data.remove(0);
        let mut urgent = Packet::urgent(byte);
        if after.data.is_empty() {
            urgent.rights.append(&mut after.rights);
            urgent.credentials = after.credentials;
            *after = urgent;
        } else if let Some(at) = at {
            urgent.credentials = after.credentials;
            packets.insert(at, urgent);
        }
        Ok(())
    }

    /// The packet that begins with the byte. Reads also end behind descriptors and where there was no more
    /// room, so those that end for no other reason come first.
    fn find(&self, packets: &[Packet]) -> Option<usize> {
        let begins = |at: &usize| match (self.byte, packets[*at].data.first()) {
            (Some(byte), Some(first)) => byte == *first,
            (None, first) => first.is_some(),
            _ => false,
        };
        let plain = |at: &usize| packets[at - 1].rights.is_empty() && packets[at - 1].data.len() != ROOM;
        let candidates = || (1..packets.len()).filter(begins);
        candidates().find(plain).or_else(|| candidates().next())
    }
}

impl Packet {
    fn urgent(byte: u8) -> Self {
        Self {
            data: vec![byte],
            rights: Vec::new(),
            from: Vec::new(),
            credentials: None,
            urgent: true,
        }
    }
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
        let queue = Queue {
            stream,
            unread,
            failed: false,
            urgent: false,
        };
        let packets = peek(fd.as_raw_fd(), queue).unwrap();
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

    #[test]
    fn an_urgent_byte_is_a_packet_of_its_own() {
        for inline in [0, 1] {
            for (before, after) in [("abc", "def"), ("", "def"), ("abc", ""), ("", "")] {
                let (a, b) = sys::socketpair(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
                sys::set(b.as_raw_fd(), libc::SOL_SOCKET, libc::SO_OOBINLINE, inline).unwrap();
                for (text, flags) in [(before, 0), ("X", libc::MSG_OOB), (after, 0)] {
                    if !text.is_empty() {
                        sys::send(a.as_raw_fd(), text.as_bytes(), None, &[], flags).unwrap();
                    }
                }
                let queue = Queue {
                    stream: true,
                    unread: 0,
                    failed: false,
                    urgent: true,
                };
                let packets = peek(b.as_raw_fd(), queue).unwrap();
                let seen: Vec<_> = packets
                    .iter()
                    .map(|p| (std::str::from_utf8(&p.data).unwrap(), p.urgent))
                    .collect();
                let mut expected = vec![(before, false), ("X", true), (after, false)];
                expected.retain(|(text, _)| !text.is_empty());
                assert_eq!(seen, expected, "inline {inline}");
            }
        }
    }
}
