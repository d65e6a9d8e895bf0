//! Saves TCP sockets, state by state.

use std::cell::RefCell;
use std::io;

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_tcp_repair::{Info, State, Stream};

use super::diag::{self, Found};
use super::dump::{Dumped, Socket};
use super::extra::Remains;
use super::held::Held;
use super::{options, state, stream};
use crate::lock::Connection;
use crate::sys;

/// Remedies of refusals.
const CLOSED: &str = "--tcp-close saves it as a closed one; or dump a moment later";

/// Saves a TCP socket.
pub(super) fn dump(host: &Host<'_>, held: &RefCell<Held>, mut socket: Socket<'_>) -> Result<Dumped> {
    let fd = socket.file.local_fd;
    let info = Info::read(sys::borrow(fd))
        .map_err(io::Error::from)
        .context(|| "TCP_INFO")?;
    socket.entry.tcp_opts = Some(options::dump_tcp(fd)?);
    if let Some(what) = foreign_state(fd) {
        return socket.refused(what, None);
    }
    if info.state != State::Listen && (info.state != State::Close || info.was_connected) {
        drop_moving_options(&mut socket)?;
    }
    match info.state {
        State::Listen => {
            if info.waiting > 0 && !host.flag("skip-in-flight")? {
                let what = format!("{} connections wait to be accepted", info.waiting);
                return socket.refused(what, Some("--skip-in-flight drops them; or dump a moment later"));
            }
            socket.entry.backlog = info.backlog;
            socket.extra.signature_keys = diag::keys(&socket.namespace, fd, socket.local)
                .context(|| "asking sock_diag for its keys")?;
            Ok(socket.image(state::LISTEN))
        }
        State::Close => unconnected(host, socket, &info),
        _ if host.flag("tcp-close")? => Ok(closed(socket)),
        State::SynSent if !host.flag("tcp-established")? && host.flag("skip-in-flight")? => {
            Ok(closed(socket))
        }
        state if state.is_movable() => {
            if host.flag("tcp-established")? {
                return connection(host, held, socket, state);
            }
            let remedy = if state == State::SynSent {
                "--tcp-established saves it with its state, --skip-in-flight or --tcp-close as a closed one"
            } else {
                "--tcp-established saves it with its state, --tcp-close as a closed one"
            };
            socket.refused(format!("a connection in state {state}"), Some(remedy))
        }
        other => socket.refused(
            format!("a connection in state {other}: not supported"),
            Some(CLOSED),
        ),
    }
}

/// What a connection finds out by itself, and what only listening sockets and clients to be have.
fn drop_moving_options(socket: &mut Socket<'_>) -> Result<()> {
    const TCP_WINDOW_CLAMP: i32 = 10;
    const OTHERS: [i32; 5] = [
        libc::TCP_MAXSEG,
        libc::TCP_QUICKACK,
        libc::TCP_FASTOPEN,
        libc::TCP_FASTOPEN_CONNECT,
        libc::TCP_FASTOPEN_KEY,
    ];
    socket.drop_options(libc::IPPROTO_TCP, &OTHERS);
    let fd = socket.file.local_fd;
    let clamp = sys::get::<u32>(fd, libc::IPPROTO_TCP, TCP_WINDOW_CLAMP).context(|| "TCP_WINDOW_CLAMP")?;
    // The kernel's own choice is about half of the buffer.
    if clamp >= socket.entry.opts.so_rcvbuf / 8 {
        socket.drop_options(libc::IPPROTO_TCP, &[TCP_WINDOW_CLAMP]);
    }
    Ok(())
}

/// State of a socket that no call can take out of the kernel.
fn foreign_state(fd: i32) -> Option<String> {
    /// Of linux/tcp.h; Linux 6.7. `ENOENT` without keys.
    const TCP_AO_INFO: i32 = 40;
    let protocol = sys::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_ULP, 16).unwrap_or_default();
    if !protocol.is_empty() {
        let name: Vec<u8> = protocol.into_iter().take_while(|&b| b != 0).collect();
        return Some(format!(
            "has the upper layer protocol {} (TCP_ULP): not supported",
            String::from_utf8_lossy(&name)
        ));
    }
    sys::get_bytes(fd, libc::IPPROTO_TCP, TCP_AO_INFO, 64)
        .is_ok()
        .then(|| "has keys of the TCP authentication option (TCP_AO): not supported".to_owned())
}

/// Never connected, or no longer.
fn unconnected(host: &Host<'_>, mut socket: Socket<'_>, info: &Info) -> Result<Dumped> {
    let fd = socket.file.local_fd;
    let seen = sys::poll(fd, libc::POLLRDHUP, 0).context(|| "poll")?;
    // One that was connected once reads as ended.
    let ended = seen & libc::POLLRDHUP != 0;
    socket.entry.shutdown = ended.then_some(3);
    socket.remote = None;
    if !ended || host.flag("tcp-close")? {
        return Ok(socket.image(state::CLOSE));
    }
    let error = if seen & libc::POLLERR != 0 {
        let Some(error) = pending_error(info) else {
            let what =
                "has ended with an error that was not read, and that only a read could tell: not supported";
            return socket.refused(what, Some("--tcp-close drops it; or dump a moment later"));
        };
        error
    } else {
        0
    };
    let unread = sys::ioctl_int(fd, libc::FIONREAD)
        .context(|| "FIONREAD")?
        .cast_unsigned();
    let mut data = vec![0; unread as usize];
    if unread > 0 {
        let got = at_the_start(host, socket.file, || {
            sys::receive(fd, &mut data, libc::MSG_PEEK | libc::MSG_DONTWAIT).context(|| "peeking")
        })?;
        if got.length != data.len() {
            let what = "has ended with urgent data (MSG_OOB) that was not read: not supported";
            return socket.refused(what, Some("--tcp-close drops it; or dump a moment later"));
        }
    }
    if !data.is_empty() || error != 0 {
        socket.extra.remains = Some(Remains { data, error });
    }
    Ok(socket.image(state::CLOSE))
}

/// The error that waits in a socket. Asking for it would take it away.
fn pending_error(info: &Info) -> Option<i32> {
    match (info.is_retrying, info.was_connected) {
        (true, _) => None,
        (false, true) => Some(libc::ECONNRESET),
        (false, false) => (info.segments_in > 0).then_some(libc::ECONNREFUSED),
    }
}

/// A connection that is given up: the program will find it ended.
fn closed(mut socket: Socket<'_>) -> Dumped {
    socket.entry.src_port = 0;
    socket.entry.dst_port = 0;
    socket.entry.src_addr.fill(0);
    socket.entry.dst_addr.fill(0);
    socket.entry.shutdown = Some(3);
    socket.image(state::CLOSE)
}

fn connection(host: &Host<'_>, held: &RefCell<Held>, mut socket: Socket<'_>, state: State) -> Result<Dumped> {
    let fd = socket.file.local_fd;
    let found = found(&socket, state).context(|| "asking sock_diag for its state")?;
    let remote = socket
        .remote
        .or(found.remote)
        .ok_or_else(|| Error::new("a connection without a peer"))?;
    socket.set_remote(Some(remote));
    socket.extra.signature_keys.clone_from(&found.keys);
    let how = i32::from(found.shutdown);
    socket.entry.shutdown = (how != 0).then_some(how);
    let connection = Connection {
        local: socket.local,
        remote,
    };
    let reuse = socket.entry.opts.reuseaddr == Some(true);
    held.borrow_mut()
        .hold(host, socket.file, &socket.namespace, connection, reuse)?;
    let urgent = "has urgent data (MSG_OOB) that was not read: not supported";
    let read = at_the_start(host, socket.file, || Ok(criu_tcp_repair::read(sys::borrow(fd))));
    let stream = match read.context(|| "SO_PEEK_OFF")? {
        Err(criu_tcp_repair::Error::Urgent) => return socket.refused(urgent, Some(CLOSED)),
        read => read
            .map_err(io::Error::from)
            .context(|| "reading the connection (TCP_REPAIR)")?,
    };
    if hides(&stream, &found) {
        return socket.refused(urgent, Some(CLOSED));
    }
    // Packets may have come until they were held back.
    let state = stream.state;
    socket.entry.backlog = stream.send.data.len() as u32;
    stream::write(host, socket.entry.ino, &stream)?;
    Ok(socket.image(state as u8))
}

fn found(socket: &Socket<'_>, state: State) -> io::Result<Found> {
    let fd = socket.file.local_fd;
    let (namespace, tcp) = (&socket.namespace, libc::IPPROTO_TCP);
    match socket.remote {
        Some(remote) => diag::exact(namespace, tcp, fd, socket.local, remote),
        None => diag::search(namespace, tcp, fd, socket.local, state as u8),
    }
}

/// The kernel shows less of the receive queue than there is: a mark of urgent data lies before the rest.
fn hides(stream: &Stream, found: &Found) -> bool {
    let shown = stream.receive.data.len() as u32 + u32::from(stream.state.peer_has_ended());
    found.unread > shown
}

/// Has the queue read from its very start, whatever the program has set.
fn at_the_start<T>(host: &Host<'_>, file: &FileTarget, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let fd = file.local_fd;
    // Not known for TCP before Linux 6.9.
    let offset = sys::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap_or(-1);
    if offset < 0 {
        return read();
    }
    crate::undo::peek_offset(host, file);
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, -1i32).context(|| "SO_PEEK_OFF")?;
    let result = read();
    sys::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset).context(|| "SO_PEEK_OFF")?;
    result
}
