//! The multicast groups that a socket has joined. The kernel does not list them: it lists the groups of
//! the host, and answers for each whether the socket is a member, and of which sources it wants to hear
//! (ip(7), `MCAST_MSFILTER`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;

use criu_plugin_api::{Context, Error, Result};

use super::address;
use super::extra::Membership;
use crate::netns::Namespace;
use crate::sys;

// Options of linux/in.h.
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_MSFILTER: i32 = 48;
/// The filter of a membership without one: hear all but none.
const MCAST_EXCLUDE: u32 = 0;
/// The size of `struct group_filter` without a source.
const FILTER_SIZE: usize = 144;
/// Where its `gf_group` begins.
const GROUP_AT: usize = 8;
const MODE_AT: usize = 136;
const COUNT_AT: usize = 140;
/// The size of `struct sockaddr_storage`, and of `struct group_req` up to the end of its group.
const STORAGE: usize = 128;
const REQUEST_SIZE: usize = GROUP_AT + STORAGE;
/// More than any system allows one membership (`igmp_max_msf`, `mld_max_msf`).
const MOST_SOURCES: u32 = 1 << 14;

/// A group at a device, by the device's index.
type Group = (u32, IpAddr);

thread_local! {
    /// The groups of a namespace, listed once in a dump: those of its processes, which are stopped, stay.
    static LISTED: RefCell<HashMap<u64, Rc<[Group]>>> = RefCell::default();
}

/// The dump is over.
pub(super) fn forget() {
    LISTED.with_borrow_mut(HashMap::clear);
}

/// The memberships of a socket.
pub(super) fn memberships(fd: RawFd, namespace: &Namespace) -> Result<Vec<Membership>> {
    let known = LISTED.with_borrow(|listed| listed.get(&namespace.ino).cloned());
    let groups = match known {
        Some(groups) => groups,
        None => {
            let groups = list(namespace).context(|| "listing the multicast groups")?;
            LISTED.with_borrow_mut(|listed| listed.insert(namespace.ino, Rc::clone(&groups)));
            groups
        }
    };
    groups
        .iter()
        .filter_map(|&group| membership(fd, group, namespace).transpose())
        .collect()
}

fn list(namespace: &Namespace) -> io::Result<Rc<[Group]>> {
    namespace.within(|| {
        // Without IPv6 its table is not there.
        let v6 = fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
        let v4 = fs::read_to_string("/proc/thread-self/net/igmp").unwrap_or_default();
        Ok(parse_v4(&v4).chain(parse_v6(&v6)).collect())
    })
}

/// Joins the groups again.
///
/// # Errors
/// A device is not there, or the kernel refuses.
pub(super) fn join(fd: RawFd, memberships: &[Membership]) -> Result<()> {
    for membership in memberships {
        let group = decoded(&membership.group)?;
        let device = &membership.device;
        let action = || format!("joining the multicast group {group} at device {device}");
        let index = nix::net::if_::if_nametoindex(device.as_str()).context(action)?;
        let mut request = filter(index, group);
        sys::set_bytes(fd, level(group), MCAST_JOIN_GROUP, &request[..REQUEST_SIZE]).context(action)?;
        if membership.mode == MCAST_EXCLUDE && membership.sources.is_empty() {
            continue;
        }
        request[MODE_AT..COUNT_AT].copy_from_slice(&membership.mode.to_ne_bytes());
        let count = membership.sources.len() as u32;
        request[COUNT_AT..FILTER_SIZE].copy_from_slice(&count.to_ne_bytes());
        for source in &membership.sources {
            request.extend(storage(decoded(source)?));
        }
        sys::set_bytes(fd, level(group), MCAST_MSFILTER, &request)
            .context(|| format!("limiting the sources of the multicast group {group}"))?;
    }
    Ok(())
}

fn level(group: IpAddr) -> i32 {
    if group.is_ipv4() {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    }
}

fn storage(ip: IpAddr) -> Vec<u8> {
    let mut bytes = address::encode(&SocketAddr::new(ip, 0));
    bytes.resize(STORAGE, 0);
    bytes
}

/// `struct group_filter` without a source.
fn filter(device: u32, group: IpAddr) -> Vec<u8> {
    let mut filter = device.to_ne_bytes().to_vec();
    filter.resize(GROUP_AT, 0);
    filter.extend(storage(group));
    filter.resize(FILTER_SIZE, 0);
    filter
}

fn decoded(octets: &[u8]) -> Result<IpAddr> {
    address::from_octets(octets).ok_or_else(|| Error::new(format!("an address of {} bytes", octets.len())))
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

/// What a socket is in a group.
fn membership(fd: RawFd, (device, group): Group, namespace: &Namespace) -> Result<Option<Membership>> {
    let mut answer = filter(device, group);
    if sys::ask(fd, level(group), MCAST_MSFILTER, &mut answer).is_err() {
        return Ok(None);
    }
    let action = || format!("reading its sources in the multicast group {group}");
    let word = |bytes: &[u8], at| crate::netlink::word(bytes, at).unwrap_or(0);
    let count = word(&answer, COUNT_AT).min(MOST_SOURCES);
    if count > 0 {
        answer = filter(device, group);
        answer[COUNT_AT..FILTER_SIZE].copy_from_slice(&count.to_ne_bytes());
        answer.resize(FILTER_SIZE + count as usize * STORAGE, 0);
        sys::ask(fd, level(group), MCAST_MSFILTER, &mut answer).context(action)?;
    }
    let sources = answer[FILTER_SIZE..].chunks_exact(STORAGE);
    let name = namespace.within(|| Ok(nix::net::if_::if_indextoname(device)));
    let name = name
        .context(action)?
        .context(|| format!("the name of device {device}"))?;
    Ok(Some(Membership {
        device: name.to_string_lossy().into_owned(),
        group: address::octets(group),
        mode: word(&answer, MODE_AT),
        sources: sources
            .filter_map(|s| address::decode(s).map(|a| address::octets(a.ip())))
            .collect(),
    }))
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
    fn memberships_are_found_and_joined_again() {
        crate::testing::in_own_network(|| {
            use std::net::UdpSocket;
            use std::os::fd::AsRawFd;
            let (member, other) = (UdpSocket::bind("0.0.0.0:0"), UdpSocket::bind("0.0.0.0:0"));
            let (member, other) = (member.unwrap(), other.unwrap());
            let group = Ipv4Addr::new(239, 77, 1, 9);
            member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
            let text = fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
            let found = parse_v4(&text).find(|(_, a)| *a == IpAddr::V4(group)).unwrap();
            let ask = |socket: &UdpSocket| {
                let mut answer = filter(found.0, found.1);
                sys::ask(socket.as_raw_fd(), libc::IPPROTO_IP, MCAST_MSFILTER, &mut answer).is_ok()
            };
            assert!(ask(&member) && !ask(&other));
            let sources = vec![vec![127, 0, 0, 1], vec![10, 0, 0, 1]];
            let membership = Membership {
                device: "lo".to_owned(),
                group: group.octets().to_vec(),
                mode: 1,
                sources,
            };
            join(other.as_raw_fd(), &[membership]).unwrap();
            assert!(ask(&other));
            let wrong = Membership {
                device: "absent0".to_owned(),
                group: group.octets().to_vec(),
                ..Membership::default()
            };
            let error = join(member.as_raw_fd(), &[wrong]).unwrap_err();
            assert!(error.message.contains("absent0"), "{error}");
        });
    }
}
