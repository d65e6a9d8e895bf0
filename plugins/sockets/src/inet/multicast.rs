//! Finds out which multicast groups a socket has joined. The kernel does not list them: it lists the
//! groups of the host, and answers for each whether the socket is a member (ip(7), `MCAST_MSFILTER`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use criu_plugin_api::{Context, Result};

use super::address;
use crate::netns::Namespace;
use crate::sys;

/// `MCAST_MSFILTER` of linux/in.h.
const MCAST_MSFILTER: i32 = 48;
/// The size of `struct group_filter` without a source.
const FILTER_SIZE: usize = 144;
/// Where its `gf_group` begins.
const GROUP_AT: usize = 8;

/// A group at a device, by the device's index.
type Group = (u32, IpAddr);

/// The first multicast group that the socket is a member of.
pub(super) fn joined(fd: RawFd, namespace: &Namespace) -> Result<Option<IpAddr>> {
    let groups = namespace.within(|| {
        // Without IPv6 its table is not there.
        let v6 = fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
        let v4 = fs::read_to_string("/proc/thread-self/net/igmp").unwrap_or_default();
        Ok(parse_v4(&v4).chain(parse_v6(&v6)).collect::<Vec<Group>>())
    });
    let groups = groups.context(|| "listing the multicast groups")?;
    Ok(groups
        .into_iter()
        .find(|group| is_member(fd, *group))
        .map(|(_, address)| address))
}

/// The table `/proc/net/igmp`: the line of a device, then one for each group.
fn parse_v4(text: &str) -> impl Iterator<Item = Group> {
    let mut device = 0;
    text.lines().skip(1).filter_map(move |line| {
        let word = line.split_whitespace().next()?;
        if !line.starts_with(char::is_whitespace) {
            device = word.parse().ok()?;
            return None;
        }
        let group = u32::from_str_radix(word, 16).ok()?;
        Some((device, IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()))))
    })
}

/// The table `/proc/net/igmp6`: index, name, address.
fn parse_v6(text: &str) -> impl Iterator<Item = Group> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let device = words.next()?.parse().ok()?;
        let group = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        Some((device, IpAddr::V6(Ipv6Addr::from(group))))
    })
}

fn is_member(fd: RawFd, (device, group): Group) -> bool {
    let mut filter = vec![0u8; FILTER_SIZE];
    filter[..4].copy_from_slice(&device.to_ne_bytes());
    let address = address::encode(&SocketAddr::new(group, 0));
    filter[GROUP_AT..GROUP_AT + address.len()].copy_from_slice(&address);
    let level = if group.is_ipv4() {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    };
    sys::ask(fd, level, MCAST_MSFILTER, &mut filter).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_groups_are_read() {
        let v4 = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                  1\tlo        :     2      V3\n\t\t\t\t030201EF     1 0:00000000\t\t0\n\
                  \t\t\t\t010000E0     1 0:00000000\t\t0\n7\teth0      :     0      V3\n";
        let groups: Vec<Group> = parse_v4(v4).collect();
        let expected = [
            (1, "239.1.2.3".parse().unwrap()),
            (1, "224.0.0.1".parse().unwrap()),
        ];
        assert_eq!(groups, expected);
        let v6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n";
        assert_eq!(
            parse_v6(v6).collect::<Vec<_>>(),
            [(1, "ff02::1".parse().unwrap())]
        );
    }

    #[test]
    fn a_member_is_told_from_the_others() {
        use std::net::UdpSocket;
        use std::os::fd::AsRawFd;
        let (member, other) = (UdpSocket::bind("0.0.0.0:0"), UdpSocket::bind("0.0.0.0:0"));
        let (member, other) = (member.unwrap(), other.unwrap());
        let group = Ipv4Addr::new(239, 77, 1, 9);
        member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        let text = fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
        let found = parse_v4(&text).find(|(_, a)| *a == IpAddr::V4(group)).unwrap();
        assert!(is_member(member.as_raw_fd(), found));
        assert!(!is_member(other.as_raw_fd(), found));
    }
}
