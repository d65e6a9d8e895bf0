//! Saves TCP, UDP and raw sockets.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, restore};
use criu_proto::Message;
use criu_proto::images::{FdTypes, FileEntry, InetSkEntry, TcpOptsEntry};

use super::extra::Extra;
use super::held::Held;
use super::protocol::Protocol;
use super::{address, options, raw, state, tcp, udp};
use crate::descriptor::Owner;
use crate::extra::{self, OptionValue, Sort};
use crate::netns::{self, Namespace};
use crate::{descriptor, sockopt, sys};

/// A socket to be saved, and what every kind of it has.
pub(super) struct Socket<'a> {
    pub(super) file: &'a FileTarget,
    pub(super) protocol: Protocol,
    pub(super) namespace: Namespace,
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) entry: InetSkEntry,
    /// What has no place in the entry.
    pub(super) extra: Extra,
}

impl Socket<'_> {
    pub(super) fn object(&self) -> String {
        let remote = self.remote.map_or(String::new(), |r| format!(" to {r}"));
        format!(
            "pid {} fd {}: {} {}{remote}",
            self.file.pid, self.file.fd, self.protocol, self.local
        )
    }

    /// Sets the peer, also in the entry.
    pub(super) fn set_remote(&mut self, remote: Option<SocketAddr>) {
        self.remote = remote;
        if let Some(remote) = remote {
            self.entry.dst_port = remote.port().into();
            self.entry.dst_addr = address::words(remote.ip());
        }
    }

    pub(super) fn refused(&self, what: impl Into<String>, remedy: Option<&str>) -> Result<Dumped> {
        let remedy = remedy.map(str::to_owned);
        let refusal = Refusal {
            object: self.object(),
            what: what.into(),
            remedy,
        };
        Ok((Verdict::Refused(refusal), None))
    }

    /// Options that do not matter after all.
    pub(super) fn drop_options(&mut self, level: i32, options: &[i32]) {
        let dropped = |o: &OptionValue| o.level == level && options.contains(&o.option);
        self.extra.options.retain(|o| !dropped(o));
    }

    pub(super) fn image(mut self, state: u8) -> Dumped {
        let hashed = if self.protocol == Protocol::Tcp {
            state != state::CLOSE
        } else {
            self.local.port() != 0
        };
        self.entry.ns_id = hashed.then_some(self.namespace.id);
        self.entry.state = state.into();
        let file = FileEntry {
            r#type: FdTypes::Inetsk as i32,
            id: self.entry.id,
            isk: Some(self.entry),
            ..FileEntry::default()
        };
        let fd_type = FdTypes::Inetsk as u32;
        let image = FileImage {
            fd_type,
            entry: file.encode_to_vec(),
            ..FileImage::default()
        };
        let extra = Some(self.extra).filter(|e| !e.is_empty());
        (Verdict::Entry(image), extra)
    }
}

/// The verdict, and what has no place in the entry.
pub(super) type Dumped = (Verdict<FileImage>, Option<Extra>);

/// Saves a socket.
pub(super) fn dump(host: &Host<'_>, held: &RefCell<Held>, file: &FileTarget) -> Result<Dumped> {
    let object = format!("pid {} fd {}: socket {}", file.pid, file.fd, file.ino);
    let read = descriptor::refusal(read(host, file), &object).context(|| object)?;
    let mut socket = match read {
        Ok(socket) => socket,
        Err(refusal) => return Ok((Verdict::Refused(refusal), None)),
    };
    let object = socket.object();
    socket.extra.options = extra::options(file.local_fd, sort(&socket.entry)).context(|| object.clone())?;
    if socket.entry.opts.so_reuseport != Some(true) {
        // Of all others it tells where the last packet came by.
        socket.drop_options(libc::SOL_SOCKET, &[libc::SO_INCOMING_CPU]);
    }
    warn_of_errors(host, &socket)?;
    let result = match socket.protocol {
        Protocol::Tcp => tcp::dump(host, held, socket),
        Protocol::Udp | Protocol::UdpLite => udp::dump(host, socket),
        Protocol::Ping | Protocol::Raw(_) => raw::dump(host, socket),
    };
    result.context(|| object)
}

/// Names a stream with a queue of errors that was not read: it can only be emptied. Those of datagrams are met later.
fn warn_of_errors(host: &Host<'_>, socket: &Socket<'_>) -> Result<()> {
    /// What fills one: time stamps and completions (asm-generic/socket.h), errors.
    const FILLING: &[(i32, i32)] = &[
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPING),
        (libc::SOL_SOCKET, 65),
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
        (libc::IPPROTO_IP, libc::IP_RECVERR),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    ];
    let fills = |o: &OptionValue| FILLING.contains(&(o.level, o.option));
    if socket.protocol == Protocol::Tcp
        && socket.extra.options.iter().any(fills)
        && sys::poll(socket.file.local_fd, 0, 0).context(|| "poll")? & libc::POLLERR != 0
    {
        descriptor::errors_lost(host, &socket.object());
    }
    Ok(())
}

/// What decides which options a socket has.
pub(super) fn sort(entry: &InetSkEntry) -> Sort {
    let [family, kind, protocol] = [entry.family, entry.r#type, entry.proto].map(u32::cast_signed);
    Sort {
        family,
        kind,
        protocol,
    }
}

fn read<'a>(host: &Host<'_>, file: &'a FileTarget) -> Result<Socket<'a>> {
    let fd = file.local_fd;
    let get = |option| sys::get::<u32>(fd, libc::SOL_SOCKET, option).context(|| "getsockopt");
    let namespace = netns::of_socket(fd, file.pid, host)?;
    let name = sys::local_name(fd).context(|| "getsockname")?;
    let local = address::decode(&name).ok_or_else(|| Error::new("an address of another family"))?;
    let remote = sys::peer_name(fd)
        .context(|| "getpeername")?
        .and_then(|n| address::decode(&n));
    let family = if local.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let (proto, kind) = (get(libc::SO_PROTOCOL)?, get(libc::SO_TYPE)?);
    let none = if local.is_ipv6() {
        IpAddr::from([0u8; 16])
    } else {
        IpAddr::from([0u8; 4])
    };
    let mut entry = InetSkEntry {
        id: file.id,
        ino: u32::try_from(file.ino).map_err(|_| Error::new("an inode number over 32 bits"))?,
        family: family.cast_unsigned(),
        r#type: kind,
        proto,
        src_port: local.port().into(),
        dst_port: remote.map_or(0, |r| r.port()).into(),
        flags: file.flags,
        src_addr: address::words(local.ip()),
        dst_addr: address::words(remote.map_or(none, |r| r.ip())),
        fown: restore::fown_decode(&file.fown)?,
        opts: sockopt::dump(fd)?,
        ip_opts: Some(options::dump_ip(fd, family)?),
        tcp_opts: Some(TcpOptsEntry::default()),
        ..InetSkEntry::default()
    };
    entry.opts.so_bound_dev = sockopt::device(fd)?;
    if family == libc::AF_INET6 {
        let only = sys::get::<i32>(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).context(|| "IPV6_V6ONLY")?;
        entry.v6only = Some(only != 0);
        entry.ifname = device(&local)?;
    }
    let protocol = Protocol::of(&entry)
        .ok_or_else(|| Error::new(format!("type {kind}, protocol {proto}: not one of this kind")))?;
    Ok(Socket {
        file,
        protocol,
        namespace,
        local,
        remote,
        entry,
        extra: Extra {
            id: file.id,
            owner: Owner::of(file),
            ..Extra::default()
        },
    })
}

/// The device that a link-local address belongs to.
fn device(address: &SocketAddr) -> Result<Option<String>> {
    let SocketAddr::V6(v6) = address else {
        return Ok(None);
    };
    if v6.scope_id() == 0 {
        return Ok(None);
    }
    let name = nix::net::if_::if_indextoname(v6.scope_id())
        .context(|| format!("the name of device {}", v6.scope_id()))?;
    Ok(Some(name.to_string_lossy().into_owned()))
}
