//! What the kinds of this plugin need of the kernel, for `criu check`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, FeatureProbe, Host, Presence, Result};
use nix::errno::Errno;

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: [
        "feature:sk_ns", "feature:sk_unix_file", "feature:sockopt_buf_lock", "feature:ipv6_freebind",
        "feature:net_diag_raw", "feature:nsid", "feature:nftables", "feature:network_lock_nftables",
        "feature:tcp_half_closed", "feature:has_ipt_legacy",
        "feature:link_nsid", "feature:newifindex", "feature:tun_ns",
    ],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "sk_ns" => sk_ns(),
            "sk_unix_file" => sk_unix_file(),
            "sockopt_buf_lock" => option(libc::AF_INET, libc::SOCK_STREAM, libc::SOL_SOCKET, SO_BUF_LOCK),
            "ipv6_freebind" => option(
                libc::AF_INET6,
                libc::SOCK_DGRAM,
                libc::IPPROTO_IPV6,
                IPV6_FREEBIND,
            ),
            "net_diag_raw" => diag_raw(),
            "nsid" => nsid(),
            "nftables" | "network_lock_nftables" => nftables(),
            "tcp_half_closed" => tcp_repair(),
            "has_ipt_legacy" => Ok(absent(
                "the network is locked by nf_tables, without the iptables program",
            )),
            "tun_ns" => tun_ns(),
            later @ ("link_nsid" | "newifindex") => Ok(absent(format!("not implemented yet: {later}"))),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

const SO_BUF_LOCK: libc::c_int = 72;
const IPV6_FREEBIND: libc::c_int = 78;

fn absent(why: impl Into<String>) -> Presence {
    Presence::Absent(why.into())
}

fn presence(what: &str, result: nix::Result<()>) -> Presence {
    match result {
        Ok(()) => Presence::Present,
        Err(errno) => absent(format!("{what}: {}", errno.desc())),
    }
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> nix::Result<OwnedFd> {
    // SAFETY: takes plain numbers and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An ioctl without an argument that gives a descriptor.
fn ioctl_for_fd(socket: &OwnedFd, request: libc::Ioctl) -> nix::Result<()> {
    // SAFETY: the request takes no argument and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), request) })?;
    // SAFETY: the descriptor is new and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn sk_ns() -> Result<Presence> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).context(|| "making a unix socket")?;
    Ok(presence("SIOCGSKNS", ioctl_for_fd(&socket, SIOCGSKNS)))
}

/// Whether a network device of a program tells its namespace (Linux 4.21).
fn tun_ns() -> Result<Presence> {
    let path = "/dev/net/tun";
    let tun = match std::fs::File::options().read(true).write(true).open(path) {
        Ok(tun) => OwnedFd::from(tun),
        Err(error) => return Ok(absent(format!("opening {path}: {error}"))),
    };
    Ok(presence("SIOCGSKNS", ioctl_for_fd(&tun, SIOCGSKNS)))
}

const SIOCGSKNS: libc::Ioctl = 0x894c;

/// A socket without a name has no file, which is another error than not knowing the request.
fn sk_unix_file() -> Result<Presence> {
    const SIOCUNIXFILE: libc::Ioctl = 0x89e0;
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).context(|| "making a unix socket")?;
    Ok(match ioctl_for_fd(&socket, SIOCUNIXFILE) {
        Err(Errno::ENOENT) => Presence::Present,
        other => presence("SIOCUNIXFILE", other),
    })
}

fn option(family: libc::c_int, kind: libc::c_int, level: libc::c_int, name: libc::c_int) -> Result<Presence> {
    let socket = match socket(family, kind, 0) {
        Ok(socket) => socket,
        Err(errno) => return Ok(absent(format!("making a socket: {}", errno.desc()))),
    };
    Ok(presence("asking for the option", get(&socket, level, name, 4)))
}

/// getsockopt(2), for the error alone; `length` in bytes, at most 64.
fn get(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, length: libc::socklen_t) -> nix::Result<()> {
    let mut room = [0u8; 64];
    let mut length = length.min(64);
    // SAFETY: `room` has at least `length` bytes.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            room.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(got).map(drop)
}

/// The states of a connection that is closed on one side are restored through the window.
fn tcp_repair() -> Result<Presence> {
    const REPAIR: libc::c_int = 19;
    const REPAIR_WINDOW: libc::c_int = 29;
    const WINDOW_SIZE: libc::socklen_t = 20;
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0).context(|| "making a TCP socket")?;
    let on: libc::c_int = 1;
    // SAFETY: the option reads an int, which `on` is.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            REPAIR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Ok(match Errno::result(set) {
        Ok(_) => presence(
            "TCP_REPAIR_WINDOW",
            get(&socket, libc::IPPROTO_TCP, REPAIR_WINDOW, WINDOW_SIZE),
        ),
        Err(errno) => absent(format!("TCP_REPAIR: {}", errno.desc())),
    })
}

/// Sends one request and looks at the first answer.
fn ask(protocol: libc::c_int, kind: u16, flags: libc::c_int, body: &[u8]) -> nix::Result<()> {
    const HEADER: usize = 16;
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    // `struct nlmsghdr`: length, type, flags, sequence, port.
    let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::EMSGSIZE)?;
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).map_err(|_| Errno::EINVAL)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    // SAFETY: the buffer has the length given.
    Errno::result(unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) })?;
    let mut answer = [0u8; 4096];
    // The kernel has answered before send(2) returns: no need to wait.
    // SAFETY: the buffer has the length given.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    let got = usize::try_from(Errno::result(got)?).unwrap_or(0);
    let (Some(kind), Some(code)) = (answer[..got].get(4..6), answer[..got].get(HEADER..HEADER + 4)) else {
        return Err(Errno::EBADMSG);
    };
    // The end of a dump carries its error, as an error itself does.
    if ![libc::NLMSG_ERROR, libc::NLMSG_DONE].contains(&i32::from(u16::from_ne_bytes([kind[0], kind[1]]))) {
        return Ok(());
    }
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(()),
        negative => Err(Errno::from_raw(negative.wrapping_neg())),
    }
}

/// `struct inet_diag_req_v2` for all raw sockets.
fn diag_raw() -> Result<Presence> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let mut request = [0u8; 56];
    request[0] = libc::AF_INET as u8;
    request[1] = libc::IPPROTO_RAW as u8;
    request[4..8].fill(0xff);
    let dump = libc::NLM_F_DUMP;
    Ok(presence(
        "diagnosis of raw sockets",
        ask(libc::NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, dump, &request),
    ))
}

/// Asks for the number of the network namespace of this process.
fn nsid() -> Result<Presence> {
    const RTM_GETNSID: u16 = 90;
    const NETNSA_PID: u16 = 2;
    // `struct rtgenmsg`, padded, and one attribute.
    let mut request = vec![0u8; 4];
    request.extend(8u16.to_ne_bytes());
    request.extend(NETNSA_PID.to_ne_bytes());
    request.extend(std::process::id().to_ne_bytes());
    Ok(presence(
        "RTM_GETNSID",
        ask(libc::NETLINK_ROUTE, RTM_GETNSID, 0, &request),
    ))
}

/// Asks for the generation of the tables.
fn nftables() -> Result<Presence> {
    const GET_GENERATION: u16 = 16;
    let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES).unwrap_or(10) << 8 | GET_GENERATION;
    Ok(presence(
        "nf_tables",
        ask(libc::NETLINK_NETFILTER, kind, 0, &[0; 4]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_supported_kernel_has_is_found() {
        for probe in [sk_ns(), sk_unix_file(), nsid()] {
            assert_eq!(probe.unwrap(), Presence::Present);
        }
    }

    #[test]
    fn an_option_that_does_not_exist_is_absent() {
        let probe = option(libc::AF_INET, libc::SOCK_STREAM, libc::SOL_SOCKET, 4242);
        assert!(
            matches!(probe.unwrap(), Presence::Absent(why) if why.starts_with("asking for the option: "))
        );
    }
}
