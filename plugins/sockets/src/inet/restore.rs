//! Makes TCP, UDP and raw sockets again. Connections are left in repair mode: see [`super::resume`].

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::{OpenRequest, Purpose};
use criu_plugin_api::{Context, Error, Host, Opened, Result};
use criu_tcp_repair::{Remains, Stream};

use super::plan::{self, Plan, Planned};
use super::protocol::Protocol;
use super::{address, md5, multicast, options, queue, resume, state};
use crate::{descriptor, extra, fresh, sockopt, sys};

/// Opens a socket.
pub(super) fn open(host: &Host<'_>, plan: &Plan, request: &OpenRequest) -> Result<Opened> {
    let id = request.file.id;
    let planned = plan
        .sockets
        .get(&id)
        .ok_or_else(|| Error::new(format!("the internet socket {id:#x} is not prepared")))?;
    if let Some(fd) = host.inherited(&plan::key(&planned.entry))? {
        return Ok(Opened::one(fd));
    }
    let fd = make(host, planned).context(|| {
        format!(
            "restoring the {} {} to {}",
            planned.protocol, planned.local, planned.remote
        )
    })?;
    if planned.is_unfinished() && request.purpose == Purpose::InFlight as i32 {
        // No process has it, so nobody finds it at the end.
        resume::complete(fd.as_raw_fd(), planned)?;
    }
    Ok(Opened::one(fd))
}

fn make(host: &Host<'_>, planned: &Planned) -> Result<OwnedFd> {
    let entry = &planned.entry;
    let fd = fresh::socket(super::dump::sort(entry))?;
    let raw = fd.as_raw_fd();
    if let Some(owner) = planned.binder {
        owner.apply(&fd)?;
    }
    if planned.stream.is_none() {
        sockopt::restore_device(raw, &entry.opts)?;
    }
    options::before_bind(raw, planned.protocol, entry)?;
    // IP_TOS sets the priority, which comes later.
    options::restore(raw, entry)?;
    if planned.protocol.is_raw() {
        options::restore_raw(raw, entry)?;
    }
    extra::set(raw, super::dump::sort(entry), &planned.extra.options)?;
    match &planned.stream {
        Some(stream) => connection(raw, planned, stream)?,
        None => plain(host, raw, planned)?,
    }
    descriptor::complete(&fd, entry.flags, &entry.fown, planned.heir())?;
    Ok(fd)
}

fn connection(fd: RawFd, planned: &Planned, stream: &Stream) -> Result<()> {
    sockopt::widen_buffers(fd, stream.receive.data.len().max(stream.send.data.len()))?;
    if planned.shares && planned.entry.opts.so_reuseport == Some(true) {
        // Otherwise the kernel no longer takes the port for one that is shared.
        sys::set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1i32).context(|| "setting SO_REUSEPORT")?;
    }
    criu_tcp_repair::rebuild(sys::borrow(fd), planned.local, planned.remote, stream)
        .map_err(std::io::Error::from)
        .context(|| "rebuilding the connection (TCP_REPAIR)")?;
    // Filter and device would keep away what brings it into its state: see `resume`.
    sockopt::restore_plain(fd, &planned.entry.opts)
}

fn plain(host: &Host<'_>, fd: RawFd, planned: &Planned) -> Result<()> {
    let entry = &planned.entry;
    let tcp = planned.protocol == Protocol::Tcp;
    let lost = planned.was_connection();
    sockopt::before_bind(fd, &entry.opts, tcp || planned.shares)?;
    // The port of a raw socket is its protocol.
    let port = entry.src_port != 0 && !planned.protocol.is_raw();
    if !lost && (port || entry.src_addr.iter().any(|&w| w != 0)) {
        let ended = tcp && entry.state == u32::from(state::CLOSE) && entry.shutdown == Some(3);
        match sys::bind(fd, &address::encode(&planned.local)) {
            // The port of an ended connection is no longer its own; the kernel may keep it in TIME_WAIT.
            Err(e) if ended && e.raw_os_error() == Some(libc::EADDRINUSE) => {}
            result => result.context(|| format!("binding to {}", planned.local))?,
        }
    }
    if !lost {
        md5::set(fd, entry.family.cast_signed(), &planned.extra.signature_keys)?;
    }
    if let Some(remains) = planned.extra.remains.as_ref().filter(|_| tcp && !lost) {
        leave(fd, remains)?;
    }
    if tcp && entry.state == u32::from(state::LISTEN) {
        let backlog = entry.backlog.cast_signed();
        sys::listen(fd, backlog).context(|| format!("listening at {}", planned.local))?;
    }
    if !tcp && entry.state == u32::from(state::ESTABLISHED) {
        sys::connect(fd, &address::encode(&planned.remote))
            .context(|| format!("connecting to {}", planned.remote))?;
    }
    multicast::join(fd, &planned.extra.memberships)?;
    if !tcp {
        datagrams(host, fd, planned)?;
    }
    sockopt::restore(fd, &entry.opts)?;
    sockopt::buffers(fd, &entry.opts)?;
    if !planned.shares {
        sockopt::restore_reuse(fd, &entry.opts)?;
    }
    if tcp {
        options::restore_sending(fd, planned.cork, planned.nodelay)?;
    }
    let how = if lost { Some(3) } else { entry.shutdown };
    if let Some(how) = how.filter(|&how| how != 0) {
        match sys::shutdown(fd, how - 1) {
            // Said of a socket without a connection, which is shut down all the same.
            Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => {}
            result => result.context(|| "shutdown")?,
        }
    }
    extra::set_late(fd, super::dump::sort(entry), &planned.extra.options)
}

/// Fills the queue of a datagram socket, and has it an error to tell.
fn datagrams(host: &Host<'_>, fd: RawFd, planned: &Planned) -> Result<()> {
    let (datagrams, device) = (&planned.extra.datagrams, &planned.entry.opts.so_bound_dev);
    let error = planned.extra.error;
    if datagrams.is_empty() && error.is_none() {
        return Ok(());
    }
    if device.is_some() {
        // They come by the host's own device.
        sys::set_bytes(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"").context(|| "SO_BINDTODEVICE")?;
    }
    queue::fill(host, fd, planned.protocol, planned.local, datagrams)?;
    if let Some(error) = error {
        let ends = (planned.local, planned.remote);
        queue::error::restore(host, fd, planned.protocol, ends, error);
    }
    if device.is_some() {
        sockopt::restore_device(fd, &planned.entry.opts)?;
    }
    Ok(())
}

/// Leaves what an ended connection still holds.
fn leave(fd: RawFd, remains: &super::extra::Remains) -> Result<()> {
    sockopt::widen_buffers(fd, remains.data.len())?;
    let remains = Remains {
        data: remains.data.clone(),
        error: Some(remains.error).filter(|&e| e != 0),
    };
    criu_tcp_repair::remain(sys::borrow(fd), &remains)
        .map_err(std::io::Error::from)
        .context(|| "restoring what an ended connection had left")
}
