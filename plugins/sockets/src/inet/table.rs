//! The tables of `/proc/net` that list sockets (proc_net(5)): to whom a socket is connected whose peer has no port,
//! which getpeername(2) does not tell.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use criu_plugin_api::{Context, Result};

use super::protocol::Protocol;
use super::state;
use crate::netns::Namespace;

/// The peers of the connected sockets, by inode.
type Peers = HashMap<u64, SocketAddr>;

thread_local! {
    /// Read once in a dump, by namespace and table: only their own processes, which are stopped, connect them.
    static READ: RefCell<HashMap<(u64, &'static str), Peers>> = RefCell::default();
}

/// To whom a socket is connected.
///
/// # Errors
/// The table cannot be read.
pub(super) fn peer(
    namespace: &Namespace,
    protocol: Protocol,
    ipv6: bool,
    ino: u64,
) -> Result<Option<SocketAddr>> {
    let table = protocol.table(ipv6);
    let key = (namespace.ino, table);
    if let Some(found) = READ.with_borrow(|read| read.get(&key).map(|peers| peers.get(&ino).copied())) {
        return Ok(found);
    }
    let path = format!("/proc/thread-self/net/{table}");
    let text = namespace
        .within(|| fs::read_to_string(&path))
        .context(|| format!("reading {path}"))?;
    let peers: Peers = text.lines().skip(1).filter_map(connected).collect();
    let found = peers.get(&ino).copied();
    READ.with_borrow_mut(|read| read.insert(key, peers));
    Ok(found)
}

/// The dump is over.
pub(super) fn forget() {
    READ.with_borrow_mut(HashMap::clear);
}

/// Inode and peer of a line, if it is that of a connected socket.
fn connected(line: &str) -> Option<(u64, SocketAddr)> {
    const PEER: usize = 2;
    const STATE: usize = 3;
    const INODE: usize = 9;
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = u8::from_str_radix(words.get(STATE)?, 16).ok()?;
    let peer = address(words.get(PEER)?)?;
    let ino = words.get(INODE)?.parse().ok()?;
    (state == state::ESTABLISHED).then_some((ino, peer))
}

/// Words of four bytes in the order of the machine, a colon, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|i| {
            let word = u32::from_str_radix(ip.get(i * 8..i * 8 + 8)?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect();
    let bytes = words?.concat();
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_sockets_are_found_in_a_table() {
        let line = "  253: 0100007F:00FD 0200007F:0000 01 00000000:00000000 00:00000000 00000000     0        0 47110 2 \
                    0000000000000000 0";
        assert_eq!(connected(line), Some((47110, "127.0.0.2:0".parse().unwrap())));
        assert_eq!(connected(&line.replace(" 01 ", " 07 ")), None);
        let six = address("00000000000000000000000001000000:0008");
        assert_eq!(six, Some("[::1]:8".parse().unwrap()));
        assert_eq!(address("0100007F"), None);
    }
}
