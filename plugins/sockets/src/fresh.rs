//! Fresh sockets of any sort. Those of ICMP echo are only for the groups of `net.ipv4.ping_group_range` (icmp(7)),
//! whoever asks.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use criu_plugin_api::{Context, Result};

use crate::extra::Sort;
use crate::sys;

const RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

/// Makes a socket. One of ICMP echo is made as a member of a group that may, if there is one.
///
/// # Errors
/// The kernel's.
pub(crate) fn socket(sort: Sort) -> Result<OwnedFd> {
    let make = || sys::socket(sort.family, sort.kind, sort.protocol);
    let denied = match make() {
        Err(e) if is_ping(sort) && e.raw_os_error() == Some(libc::EACCES) => e,
        result => return result.context(|| "socket"),
    };
    let group = fs::read_to_string(RANGE).ok().and_then(|text| group(&text));
    let made = match group {
        Some(group) => sys::as_user(nix::unistd::geteuid().as_raw(), group, make),
        None => Err(denied),
    };
    made.context(|| "making a socket of ICMP echo")
        .map_err(|e| e.with_remedy("let group 0 make them: sysctl net.ipv4.ping_group_range='0 2147483647'"))
}

/// A socket with the options that a fresh one of the sort has. Where it may not be made, a raw one of its protocol has
/// the same.
///
/// # Errors
/// The kernel's.
pub(crate) fn like(sort: Sort) -> io::Result<OwnedFd> {
    let made = sys::socket(sort.family, sort.kind, sort.protocol);
    match made {
        Err(e) if is_ping(sort) && e.raw_os_error() == Some(libc::EACCES) => {
            sys::socket(sort.family, libc::SOCK_RAW, sort.protocol)
        }
        made => made,
    }
}

fn is_ping(sort: Sort) -> bool {
    sort.kind == libc::SOCK_DGRAM
        && [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&sort.protocol)
        && [libc::AF_INET, libc::AF_INET6].contains(&sort.family)
}

/// The first group of a range that is not empty.
fn group(range: &str) -> Option<u32> {
    let mut words = range.split_whitespace().map(str::parse::<u32>);
    let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
    (first <= last).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_may_is_found() {
        assert_eq!(group("1\t0\n"), None);
        assert_eq!(group("0\t2147483647\n"), Some(0));
        assert_eq!(group("1000 1001"), Some(1000));
        assert_eq!(group("1000"), None);
    }

    #[test]
    fn echo_sockets_are_made_as_a_member_of_a_group() {
        crate::testing::in_own_network(|| {
            let sort = Sort {
                family: libc::AF_INET,
                kind: libc::SOCK_DGRAM,
                protocol: libc::IPPROTO_ICMP,
            };
            fs::write(RANGE, "1 0").unwrap();
            let error = socket(sort).unwrap_err();
            assert!(error.remedy.unwrap().contains("ping_group_range"));
            like(sort).unwrap();
            fs::write(RANGE, "4711 4712").unwrap();
            socket(sort).unwrap();
            assert_eq!(nix::unistd::getegid().as_raw(), 0);
        });
    }
}
