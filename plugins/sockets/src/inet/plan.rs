//! Reads the entries of the sockets and the connections, before anything is created.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use criu_plugin_api::message::FileRecord;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::Message;
use criu_proto::images::{FileEntry, InetSkEntry};
use criu_tcp_repair::{State, Stream};

use super::extra::{self, Extra};
use super::held::{LOCK_REMEDY, Method, root};
use super::protocol::Protocol;
use super::{address, stream};
use crate::descriptor::Owner;
use crate::lock::{Connection, Lock, lasting_table};

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
    pub(super) protocol: Protocol,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// An established TCP connection.
    pub(super) stream: Option<Stream>,
    /// Another socket of the set has its port: all of them must be bound before `SO_REUSEADDR` and
    /// `SO_REUSEPORT` are as they were.
    pub(super) shares: bool,
    /// The user hands another socket over (`--inherit-fd`), which is left as it is.
    pub(super) inherited: bool,
    pub(super) cork: bool,
    pub(super) nodelay: bool,
    /// What the entry has no field for.
    pub(super) extra: Extra,
    /// Who takes the port: the kernel remembers that for those who ask to share it (`SO_REUSEPORT`). Of a connection that
    /// was accepted, it is whose the listening socket is.
    pub(super) binder: Option<Owner>,
}

impl Planned {
    /// Something is to be done about it when all sockets are there.
    pub(super) fn is_unfinished(&self) -> bool {
        self.stream.is_some() || self.shares
    }

    /// Whose it is in the end, if that is not who has taken the port.
    pub(super) fn heir(&self) -> Option<Owner> {
        let owner = self.extra.owner;
        let heir = owner.or(self.binder.map(|_| Owner::ROOT));
        heir.filter(|_| owner != self.binder)
    }

    /// Whether the dump held the packets of this socket back, also if it is not restored as it was.
    pub(super) fn was_connection(&self) -> bool {
        self.protocol == Protocol::Tcp && state_of(&self.entry).is_some_and(State::is_movable)
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
                planned(host, file).context(|| format!("the internet socket with id {:#x}", file.id))?;
            plan.sockets.insert(file.id, planned);
        }
        for (id, extra) in extra::read(host)? {
            if let Some(planned) = plan.sockets.get_mut(&id) {
                planned.binder = extra.owner;
                planned.extra = extra;
            }
        }
        plan.find_shared();
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

impl Plan {
    /// Finds the sockets that have a port together with others.
    fn find_shared(&mut self) {
        let mut ports: HashMap<(Protocol, u32), u32> = HashMap::new();
        let key = |s: &Planned| (s.protocol, s.entry.src_port);
        for socket in self.sockets.values() {
            *ports.entry(key(socket)).or_default() += 1;
        }
        for socket in self.sockets.values_mut() {
            let has_port = socket.entry.src_port != 0 && !socket.protocol.is_raw() && !socket.inherited;
            socket.shares = has_port && ports.get(&key(socket)).is_some_and(|&n| n > 1);
        }
        let listens = |s: &&Planned| state_of(&s.entry) == Some(State::Listen) && s.protocol == Protocol::Tcp;
        let listening: HashMap<u32, Option<Owner>> = (self.sockets.values().filter(listens))
            .map(|s| (s.entry.src_port, s.extra.owner))
            .collect();
        for socket in self.sockets.values_mut().filter(|s| s.stream.is_some()) {
            if let Some(&owner) = listening.get(&socket.entry.src_port) {
                socket.binder = owner.map(|owner| Owner {
                    mode: Owner::ROOT.mode,
                    ..owner
                });
            }
        }
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
    let protocol = check(&entry)?;
    let family = entry.family.cast_signed();
    let scope = scope(&entry)?;
    let local = address::from_words(family, &entry.src_addr, entry.src_port, scope)?;
    let remote = address::from_words(family, &entry.dst_addr, entry.dst_port, scope)?;
    let tcp = protocol == Protocol::Tcp;
    let state = state_of(&entry).filter(|_| tcp);
    if tcp && state.is_none() {
        return Err(Error::new(format!(
            "the TCP socket {local} is in state {}: damaged",
            entry.state
        )));
    }
    if state.is_some_and(State::is_movable) && (local.port() == 0 || remote.port() == 0) {
        return Err(Error::new(format!(
            "a connection from {local} to {remote}: damaged"
        )));
    }
    let opts = entry.tcp_opts.unwrap_or_default();
    let (mut cork, mut nodelay) = (opts.cork == Some(true), opts.nodelay == Some(true));
    let mut stream = None;
    let connection = state.filter(|s| ![State::Close, State::Listen].contains(s));
    let inherited = host.inherited(&key(&entry))?.is_some();
    if let Some(state) = connection
        && !inherited
        && !host.flag("tcp-close")?
    {
        if !host.flag("tcp-established")? {
            return Err(Error::new(format!(
                "a TCP connection in state {state} from {local} to {remote}"
            ))
            .with_remedy("--tcp-established restores it with its state, --tcp-close as a closed one"));
        }
        if !state.is_movable() {
            return Err(Error::new(format!(
                "the TCP connection from {local} to {remote} is in state {state}: not supported"
            ))
            .with_remedy("--tcp-close restores it as a closed one"));
        }
        let (read, old) = stream::read(host, entry.ino, state)?;
        cork |= old.cork == Some(true);
        nodelay |= old.nodelay == Some(true);
        stream = Some(read);
    }
    Ok(Planned {
        entry,
        protocol,
        local,
        remote,
        stream,
        shares: false,
        inherited,
        cork,
        nodelay,
        extra: Extra::default(),
        binder: None,
    })
}

/// What `--inherit-fd` calls a socket.
pub(super) fn key(entry: &InetSkEntry) -> String {
    format!("socket:[{}]", entry.ino)
}

/// The state of a TCP socket.
fn state_of(entry: &InetSkEntry) -> Option<State> {
    u8::try_from(entry.state)
        .ok()
        .and_then(|s| State::try_from(s).ok())
}

fn check(entry: &InetSkEntry) -> Result<Protocol> {
    let family = entry.family.cast_signed();
    let known = Protocol::of(entry).filter(|_| [libc::AF_INET, libc::AF_INET6].contains(&family));
    let protocol = known.ok_or_else(|| {
        Error::new(format!(
            "family {family}, type {}, protocol {}: not supported",
            entry.r#type, entry.proto
        ))
    })?;
    if entry.shutdown.is_some_and(|how| !(0..=3).contains(&how)) {
        return Err(Error::new("a shutdown state that is not known"));
    }
    Ok(protocol)
}

fn scope(entry: &InetSkEntry) -> Result<u32> {
    let Some(name) = &entry.ifname else { return Ok(0) };
    let name = String::from_utf8_lossy(name.as_ref());
    nix::net::if_::if_nametoindex(name.as_ref()).context(|| format!("looking for the device {name}"))
}
