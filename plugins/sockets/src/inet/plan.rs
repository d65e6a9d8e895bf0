//! Reads the entries of TCP and UDP sockets and the connections, before anything is created.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use criu_plugin_api::image::ImageReader;
use criu_plugin_api::message::FileRecord;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{FileEntry, InetSkEntry, TcpStreamEntry};
use criu_proto::{Message, magic};

use super::dump::connected;
use super::held::{LOCK_REMEDY, Method, root};
use super::{address, state};
use crate::extra::{self, OptionValue};
use crate::lock::{Connection, Lock, lasting_table};
use crate::tcp::{Queue, RepairWindow, Stream};

/// All sockets of the image set, by id.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) sockets: BTreeMap<u32, Planned>,
    /// Keeps packets away from the connections until they are complete.
    pub(super) lock: Option<Lock>,
}

/// A socket that is going to be made.
pub(super) struct Planned {
    pub(super) entry: InetSkEntry,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// An established TCP connection.
    pub(super) stream: Option<Stream>,
    pub(super) cork: bool,
    pub(super) nodelay: bool,
    /// Options that the entry has no field for.
    pub(super) options: Vec<OptionValue>,
}

impl Planned {
    /// Whether the dump held the packets of this socket back, also if it is not restored as it was.
    pub(super) fn was_connection(&self) -> bool {
        self.entry.proto == libc::IPPROTO_TCP.cast_unsigned()
            && u8::try_from(self.entry.state).is_ok_and(connected)
    }
}

impl Plan {
    /// Reads and checks everything, and holds the packets of the connections back.
    ///
    /// # Errors
    /// The images are damaged, or the user has not asked for connections to be restored.
    pub(super) fn read(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut plan = Self::default();
        for file in files {
            let planned =
                planned(host, file).context(|| format!("the TCP or UDP socket with id {:#x}", file.id))?;
            plan.sockets.insert(file.id, planned);
        }
        for (id, extra) in extra::read(host, &extra::INET)? {
            if let Some(planned) = plan.sockets.get_mut(&id) {
                planned.options = extra.options;
            }
        }
        let connections: Vec<Connection> = plan
            .sockets
            .values()
            .filter(|s| s.stream.is_some())
            .map(|s| Connection {
                local: s.local,
                remote: s.remote,
            })
            .collect();
        if !connections.is_empty() && Method::of(host)? == Method::Tables {
            let make = || {
                let mut lock = Lock::new(format!("{}-restore", lasting_table(root(host))))?;
                lock.add(&connections)?;
                Ok::<_, std::io::Error>(lock)
            };
            let lock = make().context(|| "holding the packets of TCP connections back by nf_tables");
            plan.lock = Some(lock.map_err(|e| e.with_remedy(LOCK_REMEDY))?);
        }
        Ok(plan)
    }
}

fn planned(host: &Host<'_>, file: &FileRecord) -> Result<Planned> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("its entry does not decode: {e}")))?
        .isk
        .ok_or_else(|| Error::new("its entry has no inet_sk_entry"))?;
    if entry.id != file.id {
        return Err(Error::new(format!("its entry has another id, {:#x}", entry.id)));
    }
    check(&entry)?;
    let family = entry.family.cast_signed();
    let scope = scope(&entry)?;
    let local = address::from_words(family, &entry.src_addr, entry.src_port, scope)?;
    let remote = address::from_words(family, &entry.dst_addr, entry.dst_port, scope)?;
    let state = u8::try_from(entry.state).unwrap_or(0);
    if entry.proto == libc::IPPROTO_TCP.cast_unsigned() && state::name(state) == state::UNKNOWN {
        return Err(Error::new(format!(
            "the TCP socket {local} is in state {}: damaged",
            entry.state
        )));
    }
    let tcp = entry.proto == libc::IPPROTO_TCP.cast_unsigned();
    if tcp && connected(state) && (local.port() == 0 || remote.port() == 0) {
        return Err(Error::new(format!(
            "a connection from {local} to {remote}: damaged"
        )));
    }
    let opts = entry.tcp_opts.unwrap_or_default();
    let (mut cork, mut nodelay) = (opts.cork == Some(true), opts.nodelay == Some(true));
    let mut stream = None;
    let closed = [state::CLOSE, state::LISTEN]
        .map(u32::from)
        .contains(&entry.state);
    if tcp && !closed && !host.flag("tcp-close")? {
        if !host.flag("tcp-established")? {
            return Err(
                Error::new(format!("an established TCP connection from {local} to {remote}"))
                    .with_remedy("--tcp-established restores it with its state, --tcp-close as a closed one"),
            );
        }
        if !connected(state) {
            return Err(Error::new(format!(
                "the TCP connection from {local} to {remote} is in state {}: not implemented yet",
                state::name(state)
            ))
            .with_remedy("--tcp-close restores it as a closed one"));
        }
        let (read, old) = read_stream(host, entry.ino, state)?;
        cork |= old.cork == Some(true);
        nodelay |= old.nodelay == Some(true);
        stream = Some(read);
    }
    Ok(Planned {
        entry,
        local,
        remote,
        stream,
        cork,
        nodelay,
        options: Vec::new(),
    })
}

fn check(entry: &InetSkEntry) -> Result<()> {
    let (family, kind) = (entry.family.cast_signed(), entry.r#type.cast_signed());
    let known = match entry.proto.cast_signed() {
        libc::IPPROTO_TCP => kind == libc::SOCK_STREAM,
        libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE => kind == libc::SOCK_DGRAM,
        _ => false,
    };
    if !known || ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return Err(Error::new(format!(
            "family {family}, type {kind}, protocol {} is neither TCP nor UDP: not implemented yet",
            entry.proto
        )));
    }
    if entry.shutdown.is_some_and(|how| !(0..=3).contains(&how)) {
        return Err(Error::new("a shutdown state that is not known"));
    }
    Ok(())
}

fn scope(entry: &InetSkEntry) -> Result<u32> {
    let Some(name) = &entry.ifname else { return Ok(0) };
    let name = String::from_utf8_lossy(name.as_ref());
    nix::net::if_::if_nametoindex(name.as_ref()).context(|| format!("looking for the device {name}"))
}

fn read_stream(host: &Host<'_>, ino: u32, state: u8) -> Result<(Stream, TcpStreamEntry)> {
    let kind = &magic::TCP_STREAM;
    let name = kind.file_name(ino.into());
    let file = host
        .open_image(&name)?
        .ok_or_else(|| Error::new(format!("image {name}, which holds its connection, is missing")))?;
    let size = file.metadata().map(|m| m.len()).ok();
    let mut image = ImageReader::new(std::io::BufReader::new(file), name, size, kind)?;
    let entry: TcpStreamEntry = image.entry()?;
    let ended = ![state::ESTABLISHED, state::CLOSE_WAIT].contains(&state);
    let peer_ended = [state::CLOSE_WAIT, state::LAST_ACK, state::CLOSING].contains(&state);
    let receive = Queue {
        end: entry.inq_seq.wrapping_sub(peer_ended.into()),
        data: image.payload(entry.inq_len.into())?,
    };
    let send = Queue {
        end: entry.outq_seq.wrapping_sub(ended.into()),
        data: image.payload(entry.outq_len.into())?,
    };
    let unsent = entry.unsq_len.unwrap_or(0);
    if unsent > entry.outq_len || entry.snd_wscale > 14 || entry.rcv_wscale.is_some_and(|s| s > 14) {
        return Err(Error::new(format!("{} is damaged: {entry:?}", image.file())));
    }
    image.finish()?;
    let window = match (
        entry.snd_wl1,
        entry.snd_wnd,
        entry.max_window,
        entry.rcv_wnd,
        entry.rcv_wup,
    ) {
        (Some(snd_wl1), Some(snd_wnd), Some(max_window), Some(rcv_wnd), Some(rcv_wup)) => {
            Some(RepairWindow {
                snd_wl1,
                snd_wnd,
                max_window,
                rcv_wnd,
                rcv_wup,
            })
        }
        _ => None,
    };
    let stream = Stream {
        receive,
        send,
        unsent,
        ended,
        peer_ended,
        options: entry.opt_mask,
        snd_wscale: entry.snd_wscale as u8,
        rcv_wscale: entry.rcv_wscale.unwrap_or(0) as u8,
        mss_clamp: entry.mss_clamp,
        timestamp: entry.timestamp,
        window,
    };
    Ok((stream, entry))
}
