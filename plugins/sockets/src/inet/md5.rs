//! The keys with which TCP signs its segments (`TCP_MD5SIG_EXT`, tcp(7), RFC 2385). sock_diag(7) tells them to who has
//! `CAP_NET_ADMIN`, of connections and of sockets that listen; those of others are told nobody, and lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use criu_plugin_api::{Context, Error, Result};

use super::address;
use super::extra::SignatureKey;
use crate::netlink::word;
use crate::sys;

const TCP_MD5SIG_EXT: i32 = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
/// The longest key.
const LONGEST: usize = 80;
/// The size of `struct tcp_diag_md5sig`, and where its address and its key begin.
const TOLD: usize = 100;
const ADDRESS_AT: usize = 4;
const KEY_AT: usize = 20;
/// The size of the address in `struct tcp_md5sig`.
const STORAGE: usize = 128;

/// Reads an attribute `INET_DIAG_MD5SIG`: `struct tcp_diag_md5sig` for each key.
pub(super) fn decode(attribute: &[u8]) -> Vec<SignatureKey> {
    attribute.chunks_exact(TOLD).filter_map(one).collect()
}

fn one(told: &[u8]) -> Option<SignatureKey> {
    let head = word(told, 0)?.to_ne_bytes();
    let (family, prefix) = (i32::from(head[0]), head[1]);
    let length = usize::from(u16::from_ne_bytes([head[2], head[3]]));
    let address = if family == libc::AF_INET { 4 } else { 16 };
    Some(SignatureKey {
        address: told.get(ADDRESS_AT..ADDRESS_AT + address)?.to_vec(),
        prefix: prefix.into(),
        key: told.get(KEY_AT..KEY_AT + length)?.to_vec(),
    })
}

/// Sets the keys of a socket of this family.
///
/// # Errors
/// The kernel refuses one, or the image is damaged.
pub(super) fn set(fd: RawFd, family: i32, keys: &[SignatureKey]) -> Result<()> {
    for key in keys {
        let request = request(family, key).ok_or_else(|| {
            Error::new(format!(
                "a key of {} bytes for an address of {} bytes with a prefix of {} bits: damaged",
                key.key.len(),
                key.address.len(),
                key.prefix
            ))
        })?;
        sys::set_bytes(fd, libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &request)
            .context(|| "setting a key of TCP MD5 signatures (TCP_MD5SIG)")?;
    }
    Ok(())
}

/// `struct tcp_md5sig`.
fn request(family: i32, key: &SignatureKey) -> Option<Vec<u8>> {
    let peer: IpAddr = match <[u8; 4]>::try_from(key.address.as_slice()) {
        // A socket of IPv6 names hosts of IPv4 in its own way.
        Ok(four) if family == libc::AF_INET6 => Ipv4Addr::from(four).to_ipv6_mapped().into(),
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(key.address.as_slice()).ok()?).into(),
    };
    let mut request = address::encode(&SocketAddr::new(peer, 0));
    request.resize(STORAGE, 0);
    request.extend([TCP_MD5SIG_FLAG_PREFIX, u8::try_from(key.prefix).ok()?]);
    request.extend(u16::try_from(key.key.len()).ok()?.to_ne_bytes());
    request.extend([0; 4]);
    request.extend_from_slice(&key.key);
    let length = STORAGE + 8 + LONGEST;
    if request.len() > length {
        return None;
    }
    request.resize(length, 0);
    Some(request)
}
