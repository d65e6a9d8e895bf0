//! Addresses as system calls have them (ip(7), ipv6(7)).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6`.
pub fn encode(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(a) => {
            bytes.extend_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes.extend_from_slice(&a.port().to_be_bytes());
            bytes.extend_from_slice(&a.ip().octets());
            bytes.resize(16, 0);
        }
        SocketAddr::V6(a) => {
            bytes.extend_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend_from_slice(&a.port().to_be_bytes());
            bytes.extend_from_slice(&a.flowinfo().to_be_bytes());
            bytes.extend_from_slice(&a.ip().octets());
            bytes.extend_from_slice(&a.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// The address in a `sockaddr_in` or `sockaddr_in6`.
pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
    match family {
        libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(word(4)?), port).into()),
        libc::AF_INET6 => {
            let ip = <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?;
            let (flow, scope) = (u32::from_be_bytes(word(4)?), u32::from_ne_bytes(word(24)?));
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:7", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(&address)), Some(address));
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&encode(&"[::1]:1".parse().unwrap())[..20]), None);
    }
}
