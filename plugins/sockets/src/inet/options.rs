//! The options of IP, TCP and UDP (ip(7), ipv6(7), tcp(7)).

use std::io;
use std::os::fd::RawFd;

use criu_plugin_api::{Context, Result};
use criu_proto::images::{InetSkEntry, IpOptsEntry, TcpOptsEntry};

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

/// Sets what matters for bind(2).
///
/// # Errors
/// An option could not be set.
pub(super) fn before_bind(fd: RawFd, entry: &InetSkEntry) -> Result<()> {
    let family = entry.family.cast_signed();
    if let Some(only) = entry.v6only.filter(|_| family == libc::AF_INET6) {
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
    if entry.proto != libc::IPPROTO_TCP.cast_unsigned() {
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
