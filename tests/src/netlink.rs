//! The names of the nftables tables, asked of the kernel (no `nft` needed): NFT_MSG_GETTABLE over
//! NETLINK_NETFILTER, see nfnetlink and nf_tables in the kernel's uapi headers.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETTABLE: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// All tables of this network namespace, of every protocol family.
pub(crate) fn nft_tables() -> io::Result<Vec<String>> {
    // SAFETY: socket returns a new descriptor or -1.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_NETFILTER,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = Vec::new();
    request.extend(((HEADER + GENERIC) as u32).to_ne_bytes());
    request.extend((NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE).to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([0; GENERIC]); // AF_UNSPEC: every family
    // SAFETY: the buffer is live for its whole length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut tables = Vec::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        // SAFETY: the buffer is live and writable for its whole length.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let mut rest = &buffer[..got];
        while rest.len() >= HEADER {
            let length = u32_at(rest, 0) as usize;
            let kind = u16_at(rest, 4);
            if length < HEADER || length > rest.len() {
                return Err(io::Error::other("a netlink message with a wrong length"));
            }
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(tables),
                libc::NLMSG_ERROR => {
                    let code = u32_at(rest, HEADER).cast_signed();
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => tables.extend(name(&rest[(HEADER + GENERIC).min(length)..length])),
            }
            rest = &rest[(length.next_multiple_of(4)).min(rest.len())..];
        }
    }
}

/// The name among the attributes of one table.
fn name(mut attributes: &[u8]) -> Option<String> {
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0));
        if length < 4 || length > attributes.len() {
            return None;
        }
        if u16_at(attributes, 2) & 0x3fff == NFTA_TABLE_NAME {
            let text = attributes[4..length].split(|b| *b == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}
