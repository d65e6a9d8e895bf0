//! The options of IP, TCP and UDP (ip(7), ipv6(7), tcp(7)).

use std::io;
use std::os::fd::RawFd;

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::{InetSkEntry, IpOptsEntry, IpOptsRawEntry, TcpOptsEntry};

use super::protocol::Protocol;
use crate::sys;

fn number(fd: RawFd, level: i32, option: i32) -> io::Result<u32> {
    sys::get::<i32>(fd, level, option).map(i32::cast_unsigned)
}

/// The numbers of the same options in both versions.
struct Options {
    level: i32,
    freebind: i32,
    pktinfo: i32,
    tos: i32,
    /// IPv6 takes it from the route unless it was set.
    ttl: Option<i32>,
}

static V4: Options = Options {
    level: libc::IPPROTO_IP,
    freebind: libc::IP_FREEBIND,
    pktinfo: libc::IP_PKTINFO,
    tos: libc::IP_TOS,
    ttl: Some(libc::IP_TTL),
};

static V6: Options = Options {
    level: libc::IPPROTO_IPV6,
    freebind: libc::IPV6_FREEBIND,
    pktinfo: libc::IPV6_RECVPKTINFO,
    tos: libc::IPV6_TCLASS,
    ttl: None,
};

fn of(family: i32) -> &'static Options {
    if family == libc::AF_INET6 { &V6 } else { &V4 }
}

/// Reads `ip_opts`.
///
/// # Errors
/// An option could not be read.
pub(super) fn dump_ip(fd: RawFd, family: i32) -> Result<IpOptsEntry> {
    let names = of(family);
    let read = || {
        let flag = |option| number(fd, names.level, option).map(|v| (v != 0).then_some(true));
        Ok::<_, io::Error>(IpOptsEntry {
            freebind: flag(names.freebind)?,
            pktinfo: flag(names.pktinfo)?,
            tos: Some(number(fd, names.level, names.tos)?).filter(|&tos| tos != 0),
            ttl: names
                .ttl
                .map(|option| number(fd, names.level, option))
                .transpose()?,
            raw: None,
        })
    };
    read().context(|| "reading the IP options")
}

/// Reads `tcp_opts`.
///
/// # Errors
/// An option could not be read.
pub(super) fn dump_tcp(fd: RawFd) -> Result<TcpOptsEntry> {
    let read = || {
        let get = |option| number(fd, libc::IPPROTO_TCP, option);
        let flag = |option| get(option).map(|v| (v != 0).then_some(true));
        Ok::<_, io::Error>(TcpOptsEntry {
            cork: flag(libc::TCP_CORK)?,
            nodelay: flag(libc::TCP_NODELAY)?,
            keepcnt: Some(get(libc::TCP_KEEPCNT)?),
            keepidle: Some(get(libc::TCP_KEEPIDLE)?),
            keepintvl: Some(get(libc::TCP_KEEPINTVL)?),
        })
    };
    read().context(|| "reading the TCP options")
}

/// The options of a raw socket, by the numbers of the kernel (linux/in.h, linux/in6.h, linux/icmp.h).
mod raw {
    pub(super) const IP_HDRINCL: i32 = 3;
    pub(super) const IP_NODEFRAG: i32 = 22;
    pub(super) const IP_CHECKSUM: i32 = 23;
    pub(super) const IPV6_HDRINCL: i32 = 36;
    /// At level `SOL_RAW` for ICMP, `IPPROTO_ICMPV6` for its successor.
    pub(super) const ICMP_FILTER: i32 = 1;
}

/// Level and length, in words, of the filter of ICMP messages, for those that have one.
fn icmp_filter(entry: &InetSkEntry) -> Option<(i32, usize)> {
    match (entry.family.cast_signed(), entry.proto.cast_signed()) {
        (libc::AF_INET, libc::IPPROTO_ICMP) => Some((libc::SOL_RAW, 1)),
        (libc::AF_INET6, libc::IPPROTO_ICMPV6) => Some((libc::IPPROTO_ICMPV6, 8)),
        _ => None,
    }
}

/// Reads the options of a raw socket. Where in its packets IPv6 puts a checksum (`IPV6_CHECKSUM`) has no field.
///
/// # Errors
/// An option could not be read.
pub(super) fn dump_raw(fd: RawFd, entry: &InetSkEntry) -> Result<IpOptsRawEntry> {
    let read = || {
        let flag = |level, option| number(fd, level, option).map(|v| Some(v != 0));
        let mut raw = IpOptsRawEntry::default();
        if entry.family.cast_signed() == libc::AF_INET6 {
            raw.hdrincl = flag(libc::IPPROTO_IPV6, raw::IPV6_HDRINCL)?;
        } else {
            raw.hdrincl = flag(libc::IPPROTO_IP, raw::IP_HDRINCL)?;
            raw.nodefrag = flag(libc::IPPROTO_IP, raw::IP_NODEFRAG)?;
            raw.checksum = flag(libc::IPPROTO_IP, raw::IP_CHECKSUM)?;
        }
        if let Some((level, words)) = icmp_filter(entry) {
            let bytes = sys::get_bytes(fd, level, raw::ICMP_FILTER, words * 4)?;
            let words = bytes.chunks_exact(4);
            raw.icmpv_filter = words
                .map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
        }
        Ok::<_, io::Error>(raw)
    };
    read().context(|| "reading the options of a raw socket")
}

/// Sets the options of a raw socket.
///
/// # Errors
/// An option could not be set, or a filter of a wrong length.
pub(super) fn restore_raw(fd: RawFd, entry: &InetSkEntry) -> Result<()> {
    let Some(raw) = entry.ip_opts.as_ref().and_then(|o| o.raw.as_ref()) else {
        return Ok(());
    };
    let ipv6 = entry.family.cast_signed() == libc::AF_INET6;
    let set = |level, option, name: &str, value: Option<bool>| match value {
        Some(on) => sys::set(fd, level, option, i32::from(on)).context(|| format!("setting {name} to {on}")),
        None => Ok(()),
    };
    if ipv6 {
        set(libc::IPPROTO_IPV6, raw::IPV6_HDRINCL, "IPV6_HDRINCL", raw.hdrincl)?;
    } else {
        set(libc::IPPROTO_IP, raw::IP_HDRINCL, "IP_HDRINCL", raw.hdrincl)?;
        set(libc::IPPROTO_IP, raw::IP_NODEFRAG, "IP_NODEFRAG", raw.nodefrag)?;
        set(libc::IPPROTO_IP, raw::IP_CHECKSUM, "IP_CHECKSUM", raw.checksum)?;
    }
    if raw.icmpv_filter.is_empty() {
        return Ok(());
    }
    let (level, _) = icmp_filter(entry)
        .filter(|(_, words)| *words == raw.icmpv_filter.len())
        .ok_or_else(|| {
            let words = raw.icmpv_filter.len();
            Error::new(format!("a filter of ICMP messages of {words} words: damaged"))
        })?;
    sys::set_all(fd, level, raw::ICMP_FILTER, &raw.icmpv_filter)
        .context(|| "setting the filter of ICMP messages (ICMP_FILTER, ICMP6_FILTER)")
}

/// Sets what matters for bind(2).
///
/// # Errors
/// An option could not be set.
pub(super) fn before_bind(fd: RawFd, protocol: Protocol, entry: &InetSkEntry) -> Result<()> {
    let family = entry.family.cast_signed();
    // A raw socket has its protocol for a port, and so counts as bound.
    let settable = family == libc::AF_INET6 && !protocol.is_raw();
    if let Some(only) = entry.v6only.filter(|_| settable) {
        sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(only))
            .context(|| "setting IPV6_V6ONLY")?;
    }
    let names = of(family);
    if entry.ip_opts.as_ref().and_then(|o| o.freebind) == Some(true) {
        sys::set(fd, names.level, names.freebind, 1i32).context(|| "setting IP_FREEBIND")?;
    }
    Ok(())
}

/// Sets the other options of IP, and the times of TCP keepalive.
///
/// # Errors
/// An option could not be set.
pub(super) fn restore(fd: RawFd, entry: &InetSkEntry) -> Result<()> {
    let names = of(entry.family.cast_signed());
    let ip = entry.ip_opts.clone().unwrap_or_default();
    let set = |level, option, name: &str, value: Option<u32>| match value {
        Some(value) => sys::set(fd, level, option, value).context(|| format!("setting {name} to {value}")),
        None => Ok(()),
    };
    set(
        names.level,
        names.pktinfo,
        "IP_PKTINFO",
        ip.pktinfo.filter(|&on| on).map(u32::from),
    )?;
    set(names.level, names.tos, "IP_TOS", ip.tos)?;
    if let Some(ttl) = names.ttl {
        set(names.level, ttl, "IP_TTL", ip.ttl.filter(|&ttl| ttl != 0))?;
    }
    if Protocol::of(entry) != Some(Protocol::Tcp) {
        return Ok(());
    }
    let tcp = entry.tcp_opts.unwrap_or_default();
    // Sets of older versions have these beside the options of all sockets.
    let old = &entry.opts;
    set(
        libc::IPPROTO_TCP,
        libc::TCP_KEEPCNT,
        "TCP_KEEPCNT",
        tcp.keepcnt.or(old.tcp_keepcnt),
    )?;
    set(
        libc::IPPROTO_TCP,
        libc::TCP_KEEPIDLE,
        "TCP_KEEPIDLE",
        tcp.keepidle.or(old.tcp_keepidle),
    )?;
    set(
        libc::IPPROTO_TCP,
        libc::TCP_KEEPINTVL,
        "TCP_KEEPINTVL",
        tcp.keepintvl.or(old.tcp_keepintvl),
    )
}

/// Sets the options of TCP that make it send.
///
/// # Errors
/// An option could not be set.
pub(super) fn restore_sending(fd: RawFd, cork: bool, nodelay: bool) -> Result<()> {
    if nodelay {
        sys::set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1i32).context(|| "setting TCP_NODELAY")?;
    }
    if cork {
        sys::set(fd, libc::IPPROTO_TCP, libc::TCP_CORK, 1i32).context(|| "setting TCP_CORK")?;
    }
    Ok(())
}
