//! Addresses of TCP and UDP as the images have them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::netlink::{Builder, Netlink, Next};
use criu_plugin_api::{Error, Result};
pub(crate) use criu_tcp_repair::address::{decode, encode};

/// The words of an address as the images have them: its bytes in memory, read as numbers.
pub(super) fn words(ip: IpAddr) -> Vec<u32> {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// The address that the words of an image mean.
pub(super) fn from_words(family: i32, words: &[u32], port: u32, scope: u32) -> Result<SocketAddr> {
    let port = u16::try_from(port).map_err(|_| Error::new(format!("port {port} is out of range")))?;
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    if family == libc::AF_INET
        && let Ok(ip) = <[u8; 4]>::try_from(bytes.as_slice())
    {
        return Ok(SocketAddrV4::new(Ipv4Addr::from(ip), port).into());
    }
    if family == libc::AF_INET6
        && let Ok(ip) = <[u8; 16]>::try_from(bytes.as_slice())
    {
        return Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into());
    }
    Err(Error::new(format!(
        "an address of {} words in family {family}",
        words.len()
    )))
}

/// The bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address of so many bytes.
pub(super) fn from_octets(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// Whether an address is one of this host's own (rtnetlink(7)).
///
/// # Errors
/// The kernel does not answer.
pub(super) fn is_local(ip: IpAddr) -> io::Result<bool> {
    let octets = octets(ip);
    let (family, bits) = match ip {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    };
    let mut request = Builder::default();
    request
        .message(
            libc::RTM_GETROUTE,
            0,
            1,
            &[family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .attribute(libc::RTA_DST, &octets);
    let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
    netlink.send(&request.finish())?;
    let mut is_local = false;
    netlink.receive(|message| {
        // An error says that no route leads there. The type is the eighth byte of an rtmsg.
        is_local = message.kind == libc::RTM_NEWROUTE && message.body.get(7) == Some(&libc::RTN_LOCAL);
        Ok(Next::Stop)
    })?;
    Ok(is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_images() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:7", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let family = i32::from(u16::from_ne_bytes(encode(&address)[..2].try_into().unwrap()));
            let scope = if let SocketAddr::V6(a) = address {
                a.scope_id()
            } else {
                0
            };
            let again = from_words(family, &words(address.ip()), address.port().into(), scope);
            assert_eq!(again.unwrap(), address);
        }
        assert_eq!(words("127.0.0.1".parse().unwrap()), [0x0100_007f]);
        assert!(from_words(libc::AF_INET, &[1, 2], 0, 0).is_err());
        assert!(from_words(libc::AF_INET, &[1], 65536, 0).is_err());
    }
}
