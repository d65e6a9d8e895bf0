//! Saves TCP and UDP sockets.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use criu_plugin_api::image::ImageWriter;
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, restore};
use criu_proto::images::{FdTypes, FileEntry, InetSkEntry, TcpOptsEntry, TcpStreamEntry};
use criu_proto::{Message, magic};

use super::held::Held;
use super::{address, diag, multicast, options, state};
use crate::extra::{self, Extra, Sort};
use crate::lock::Connection;
use crate::netlink::Netlink;
use crate::netns::{self, Namespace};
use crate::tcp::{self, Stream};
use crate::{sockopt, sys};

/// A socket to be saved, and what every kind of it has.
struct Socket<'a> {
    file: &'a FileTarget,
    namespace: Namespace,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    entry: InetSkEntry,
}

impl Socket<'_> {
    fn object(&self) -> String {
        let remote = self.remote.map_or(String::new(), |r| format!(" to {r}"));
        let protocol = if self.is_tcp() { "TCP" } else { "UDP" };
        format!(
            "pid {} fd {}: {protocol} socket {}{remote}",
            self.file.pid, self.file.fd, self.local
        )
    }

    fn is_tcp(&self) -> bool {
        self.entry.proto == libc::IPPROTO_TCP.cast_unsigned()
    }

    fn refused<T>(&self, what: impl Into<String>, remedy: Option<&str>) -> Result<Verdict<T>> {
        let remedy = remedy.map(str::to_owned);
        Ok(Verdict::Refused(Refusal {
            object: self.object(),
            what: what.into(),
            remedy,
        }))
    }

    fn image(mut self, state: u8) -> Verdict<FileImage> {
        let hashed = if self.is_tcp() {
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
        Verdict::Entry(FileImage {
            fd_type,
            entry: file.encode_to_vec(),
            ..FileImage::default()
        })
    }
}

/// Saves a socket: its entry, and what has no place in that.
pub(super) fn dump(
    host: &Host<'_>,
    held: &RefCell<Held>,
    file: &FileTarget,
) -> Result<(Verdict<FileImage>, Option<Extra>)> {
    let socket = read(host, file).context(|| format!("pid {} fd {}", file.pid, file.fd))?;
    let object = socket.object();
    let options = extra::options(file.local_fd, sort(&socket.entry)).context(|| object.clone())?;
    let extra = Extra {
        id: file.id,
        options,
        ..Extra::default()
    };
    let result = if socket.is_tcp() {
        dump_tcp(host, held, socket)
    } else {
        dump_udp(host, socket)
    };
    let verdict = result.context(|| object)?;
    Ok((verdict, Some(extra).filter(|e| !e.options.is_empty())))
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
    Ok(Socket {
        file,
        namespace,
        local,
        remote,
        entry,
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

fn dump_udp(host: &Host<'_>, mut socket: Socket<'_>) -> Result<Verdict<FileImage>> {
    const UDP_CORK: i32 = 1;
    let fd = socket.file.local_fd;
    let corked = sys::get::<i32>(fd, socket.entry.proto.cast_signed(), UDP_CORK).context(|| "UDP_CORK")?;
    if corked != 0 {
        return socket.refused("holds back a datagram (UDP_CORK): not supported", None);
    }
    if let Some(group) = multicast::joined(fd, &socket.namespace)? {
        return socket.refused(
            format!("is a member of the multicast group {group}: not supported"),
            None,
        );
    }
    if sys::poll(fd, libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN != 0 {
        host.log(
            2,
            "sockets",
            &format!(
                "{}: datagrams that were not read yet are dropped",
                socket.object()
            ),
        );
    }
    let Some(remote) = socket.remote else {
        return Ok(socket.image(state::CLOSE));
    };
    let protocol = socket.entry.proto as u8;
    let how = socket
        .namespace
        .within(|| {
            diag::shutdown(
                &Netlink::open(libc::NETLINK_SOCK_DIAG)?,
                fd,
                protocol,
                socket.local,
                remote,
            )
        })
        .context(|| "asking sock_diag for its state")?;
    socket.entry.shutdown = (how != 0).then_some(how.into());
    Ok(socket.image(state::ESTABLISHED))
}

fn dump_tcp(host: &Host<'_>, held: &RefCell<Held>, mut socket: Socket<'_>) -> Result<Verdict<FileImage>> {
    let fd = socket.file.local_fd;
    let info = tcp::Info::read(fd).context(|| "TCP_INFO")?;
    socket.entry.tcp_opts = Some(options::dump_tcp(fd)?);
    if !sys::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_ULP, 16)
        .unwrap_or_default()
        .is_empty()
    {
        return socket.refused(
            "has an upper layer protocol (TCP_ULP, e.g. TLS in the kernel): not supported",
            None,
        );
    }
    match info.state {
        state::LISTEN => {
            if info.waiting > 0 && !host.flag("skip-in-flight")? {
                let what = format!("{} connections wait to be accepted", info.waiting);
                return socket.refused(what, Some("--skip-in-flight drops them; or dump a moment later"));
            }
            socket.entry.backlog = info.backlog;
            Ok(socket.image(state::LISTEN))
        }
        state::CLOSE => {
            // One that was connected once reads as ended.
            let ended = sys::poll(fd, libc::POLLRDHUP, 0).context(|| "poll")? & libc::POLLRDHUP != 0;
            socket.entry.shutdown = ended.then_some(3);
            let unread = if ended {
                sys::ioctl_int(fd, libc::FIONREAD).context(|| "FIONREAD")?
            } else {
                0
            };
            if unread > 0 && !host.flag("tcp-close")? {
                let what = format!("has ended with {unread} bytes that were not read: not supported");
                return socket.refused(what, Some("--tcp-close drops them; or dump a moment later"));
            }
            socket.remote = None;
            Ok(socket.image(state::CLOSE))
        }
        _ if host.flag("tcp-close")? => Ok(closed(socket)),
        state if connected(state) && !host.flag("tcp-established")? => socket.refused(
            format!("a connection in state {}", state::name(state)),
            Some("--tcp-established saves it with its state, --tcp-close as a closed one"),
        ),
        state if connected(state) => connection(host, held, socket, state),
        other => socket.refused(
            format!(
                "a connection in state {}: not implemented yet",
                state::name(other)
            ),
            Some("--tcp-close saves it as a closed one; or dump a moment later"),
        ),
    }
}

/// The states between the handshake and the end of both directions.
pub(super) fn connected(state: u8) -> bool {
    use state::{CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
    [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING].contains(&state)
}

/// A connection that is given up: the program will find it ended.
fn closed(mut socket: Socket<'_>) -> Verdict<FileImage> {
    socket.entry.src_port = 0;
    socket.entry.dst_port = 0;
    socket.entry.src_addr.fill(0);
    socket.entry.dst_addr.fill(0);
    socket.entry.shutdown = Some(3);
    socket.image(state::CLOSE)
}

fn connection(
    host: &Host<'_>,
    held: &RefCell<Held>,
    mut socket: Socket<'_>,
    state: u8,
) -> Result<Verdict<FileImage>> {
    let fd = socket.file.local_fd;
    let remote = socket
        .remote
        .ok_or_else(|| Error::new("established, but without a peer"))?;
    let ended = sys::poll(fd, libc::POLLRDHUP, 0).context(|| "poll")? & libc::POLLRDHUP != 0;
    let sends = [state::ESTABLISHED, state::CLOSE_WAIT].contains(&state);
    let how = i32::from(ended) | i32::from(!sends) << 1;
    socket.entry.shutdown = (how != 0).then_some(how);
    let connection = Connection {
        local: socket.local,
        remote,
    };
    let reuse = socket.entry.opts.reuseaddr == Some(true);
    let namespace = netns::of_socket(fd, socket.file.pid, host)?;
    held.borrow_mut()
        .hold(host, socket.file, namespace, connection, reuse)?;
    let stream = peek(host, socket.file).context(|| "reading the connection (TCP_REPAIR)")?;
    socket.entry.backlog = stream.send.data.len() as u32;
    write(host, socket.entry.ino, &stream)?;
    Ok(socket.image(state))
}

/// Reads the connection from the very start of its queue, whatever the program has set.
fn peek(host: &Host<'_>, file: &FileTarget) -> Result<Stream> {
    let fd = file.local_fd;
    // Not known for TCP before Linux 6.9.
    let offset = sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap_or(-1);
    if offset < 0 {
        return tcp::read(fd).context(|| "peeking");
    }
    crate::undo::peek_offset(host, file);
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, -1i32).context(|| "SO_PEEK_OFF")?;
    let stream = tcp::read(fd).context(|| "peeking");
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset).context(|| "SO_PEEK_OFF")?;
    stream
}

fn write(host: &Host<'_>, ino: u32, stream: &Stream) -> Result<()> {
    let kind = &magic::TCP_STREAM;
    let name = kind.file_name(ino.into());
    let file = std::io::BufWriter::new(host.create_image(&name)?);
    let mut image = ImageWriter::new(file, name, kind)?;
    image.entry(&TcpStreamEntry {
        inq_len: stream.receive.data.len() as u32,
        inq_seq: stream.receive.end.wrapping_add(stream.peer_ended.into()),
        outq_len: stream.send.data.len() as u32,
        outq_seq: stream.send.end.wrapping_add(stream.ended.into()),
        opt_mask: stream.options,
        snd_wscale: stream.snd_wscale.into(),
        mss_clamp: stream.mss_clamp,
        rcv_wscale: (stream.options & tcp::OPT_WSCALE != 0).then_some(stream.rcv_wscale.into()),
        timestamp: stream.timestamp,
        cork: None,
        nodelay: None,
        unsq_len: Some(stream.unsent),
        snd_wl1: stream.window.map(|w| w.snd_wl1),
        snd_wnd: stream.window.map(|w| w.snd_wnd),
        max_window: stream.window.map(|w| w.max_window),
        rcv_wnd: stream.window.map(|w| w.rcv_wnd),
        rcv_wup: stream.window.map(|w| w.rcv_wup),
    })?;
    image.payload(&stream.receive.data)?;
    image.payload(&stream.send.data)?;
    image.finish()?;
    Ok(())
}
