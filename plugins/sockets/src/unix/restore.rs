//! Makes unix sockets again, a group at a time: all that are connected to each other or share a name.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result};
use criu_proto::images::UnixSkEntry;

use super::bind::{Bound, bind};
use super::connect;
use super::plan::{Key, Plan};
use super::who::Peer;
use super::{ESTABLISHED, EXTERNAL, LISTEN};
use crate::{descriptor, extra, sockopt, sys};

/// Opens a socket and all others of its group.
pub(super) fn open(host: &Host<'_>, plan: &Plan, request: &OpenRequest) -> Result<Progress<Opened>> {
    let id = request.file.id;
    let entry = plan
        .entry(id)
        .ok_or_else(|| Error::new(format!("unix socket {id:#x} is not prepared")))?;
    if let Some(fd) = inherited(host, entry)? {
        return Ok(Progress::Done(Opened::one(fd)));
    }
    if entry.uflags & EXTERNAL != 0 {
        let fd = socket(entry)?;
        return Ok(Progress::Done(Opened::one(fd)));
    }
    let action = || {
        format!(
            "restoring unix socket {} ({})",
            entry.ino,
            super::dump::show(&entry.name)
        )
    };
    if let Some(detached) = plan.detached(id) {
        return connect::open_detached(host, plan, entry, detached, request.pid).context(action);
    }
    let members = plan.members(id);
    let Some((clients, borrowed)) = connect::borrowed(host, plan, &members)? else {
        return Ok(Progress::NotYet(
            "the other end of a connection of a unix socket".to_owned(),
        ));
    };
    let filled: Vec<&UnixSkEntry> = members.iter().chain(&clients).copied().collect();
    let Some(travelling) = travelling(host, plan, &filled, &borrowed)? else {
        return Ok(Progress::NotYet(
            "a file that travels in the queue of a unix socket".to_owned(),
        ));
    };
    let mut holders = HashMap::new();
    for member in members.iter().filter(|m| !m.name.is_empty()) {
        *holders.entry(plan.key(member)).or_default() += 1;
    }
    let mut group = Group {
        plan,
        own: request.pid,
        members,
        clients,
        travelling,
        borrowed,
        fds: BTreeMap::new(),
        names: HashMap::new(),
        holders,
    };
    group.make().context(action)?;
    let mut fds = group.fds;
    let own = fds
        .remove(&id)
        .ok_or_else(|| Error::new(format!("unix socket {id:#x} was not made")))?;
    let opened = fds
        .into_iter()
        .fold(Opened::one(own), |opened, (id, fd)| opened.with(id, fd));
    Ok(Progress::Done(opened))
}

/// Completes a listening socket to which other processes have connected.
pub(super) fn attach(host: &Host<'_>, plan: &Plan, file: &FileRecord, fd: RawFd) -> Result<Progress<()>> {
    let Some(entry) = plan.entry(file.id).filter(|e| plan.is_split(e.id)) else {
        return Ok(Progress::Done(()));
    };
    for (client, _) in plan.detached_at(file.id) {
        if host.opened(client)?.is_none() {
            let why = format!("that socket {client:#x} connects to unix socket {}", entry.ino);
            return Ok(Progress::NotYet(why));
        }
    }
    let waiting = plan.waiting_at(entry);
    let gone: Vec<_> = waiting
        .into_iter()
        .filter(|(client, _)| client.is_none())
        .collect();
    let rights: Vec<u32> = (gone.iter())
        .flat_map(|(_, waiting)| connect::early(*waiting))
        .flat_map(|packet| packet.rights.clone())
        .collect();
    let Some(travelling) = opened(host, rights)? else {
        return Ok(Progress::NotYet("a file that travels in a queue".to_owned()));
    };
    let bound = Bound::existing(entry, plan.place(entry.id));
    let own = plan.peer_user(entry.id);
    for (_, waiting) in gone {
        let client = socket(entry)?;
        let whom = connect::who_waits(waiting).unwrap_or(own);
        bound.connect_as(&client, &plan.who, own.credentials.pid, whom)?;
        connect::send_early(&client, waiting, &travelling, whom.credentials)?;
    }
    complete(plan, entry, fd, own.credentials.pid)?;
    Ok(Progress::Done(()))
}

/// A socket that the user hands over in place of one whose peer is outside.
fn inherited(host: &Host<'_>, entry: &UnixSkEntry) -> Result<Option<OwnedFd>> {
    if let Some(fd) = host.inherited(&format!("socket:[{}]", entry.ino))? {
        return Ok(Some(fd));
    }
    if entry.peer != 0 {
        host.inherited(&format!("socket:[{}]", entry.peer))
    } else {
        Ok(None)
    }
}

/// The files of other kinds and groups that are in the queues; `None` while one is not open yet.
fn travelling(
    host: &Host<'_>,
    plan: &Plan,
    filled: &[&UnixSkEntry],
    borrowed: &HashMap<u32, OwnedFd>,
) -> Result<Option<HashMap<u32, OwnedFd>>> {
    let queued = filled
        .iter()
        .flat_map(|e| plan.queue(e.id))
        .flat_map(|p| &p.rights);
    let mut rights: Vec<u32> = queued.copied().collect();
    for listener in filled
        .iter()
        .filter(|e| e.state == u32::from(LISTEN) && !plan.is_split(e.id))
    {
        for (_, waiting) in plan.waiting_at(listener) {
            rights.extend(connect::early(waiting).iter().flat_map(|p| &p.rights));
        }
    }
    rights.retain(|id| !borrowed.contains_key(id) && !filled.iter().any(|e| e.id == *id));
    opened(host, rights)
}

/// Copies of files that others have opened; `None` while one is not open yet.
pub(super) fn opened(host: &Host<'_>, ids: Vec<u32>) -> Result<Option<HashMap<u32, OwnedFd>>> {
    let mut files = HashMap::new();
    for id in ids {
        if files.contains_key(&id) {
            continue;
        }
        let Some(fd) = host.opened(id)? else {
            return Ok(None);
        };
        files.insert(id, fd);
    }
    Ok(Some(files))
}

pub(super) fn socket(entry: &UnixSkEntry) -> Result<OwnedFd> {
    sys::socket(libc::AF_UNIX, entry.r#type.cast_signed(), 0).context(|| "socket(AF_UNIX)")
}

pub(super) fn datagram(entry: &UnixSkEntry) -> bool {
    entry.r#type.cast_signed() == libc::SOCK_DGRAM
}

fn established(entry: &UnixSkEntry) -> bool {
    entry.state == u32::from(ESTABLISHED)
}

/// A name in use.
pub(super) struct Name {
    pub(super) bound: Bound,
    /// Who accepts connections to it, if it listens: a socket of the group, or one made for the time
    /// being because the listening socket had been closed, or a copy of one that is made elsewhere.
    pub(super) listener: Option<Listener>,
}

pub(super) enum Listener {
    Member(u32),
    Temporary(OwnedFd),
}

pub(super) struct Group<'a> {
    pub(super) plan: &'a Plan,
    /// The task in which this runs.
    pub(super) own: i32,
    pub(super) members: Vec<&'a UnixSkEntry>,
    /// The other ends of connections, made by other processes.
    pub(super) clients: Vec<&'a UnixSkEntry>,
    pub(super) travelling: HashMap<u32, OwnedFd>,
    /// Copies of sockets that other processes have made.
    pub(super) borrowed: HashMap<u32, OwnedFd>,
    pub(super) fds: BTreeMap<u32, OwnedFd>,
    pub(super) names: HashMap<Key, Name>,
    /// How many sockets have a name.
    pub(super) holders: HashMap<Key, usize>,
}

impl<'a> Group<'a> {
    fn make(&mut self) -> Result<()> {
        let members = self.members.clone();
        self.listeners(&members)?;
        self.accept_clients()?;
        // Those that hold the far end of a connection only until the queues are full.
        let mut far = HashMap::new();
        for &entry in &members {
            self.one_way_pair(entry)?;
        }
        for &entry in members.iter().filter(|e| e.state != u32::from(LISTEN)) {
            if !self.fds.contains_key(&entry.id) {
                self.connection(entry, &mut far)?;
            }
        }
        for &entry in members.iter().filter(|e| self.is_own_peer(e)) {
            // It sends its queue itself.
            self.connect_datagram(entry)?;
        }
        let clients = self.clients.clone();
        for &entry in members.iter().chain(&clients) {
            self.fill(entry, far.get(&entry.id))
                .context(|| format!("filling the queue of unix socket {}", entry.ino))?;
        }
        self.reset(&far)?;
        drop(far);
        for &entry in &members {
            self.connect_datagram(entry)?;
        }
        for &entry in members.iter().filter(|e| e.state == u32::from(LISTEN)) {
            self.wait_to_be_accepted(entry)?;
        }
        for &entry in members
            .iter()
            .chain(&clients)
            .filter(|e| !self.plan.is_split(e.id))
        {
            complete(self.plan, entry, self.fd(entry.id)?, self.own)
                .context(|| format!("completing unix socket {}", entry.ino))?;
        }
        Ok(())
    }

    pub(super) fn fd(&self, id: u32) -> Result<RawFd> {
        self.fds
            .get(&id)
            .or_else(|| self.borrowed.get(&id))
            .map(AsRawFd::as_raw_fd)
            .ok_or_else(|| Error::new(format!("unix socket {id:#x} is missing")))
    }

    /// Makes a socket that does not listen, with its peer if that is one of the tree.
    fn connection(&mut self, entry: &'a UnixSkEntry, far: &mut HashMap<u32, OwnedFd>) -> Result<()> {
        let peer = self
            .plan
            .peer(entry)
            .filter(|p| p.peer == entry.ino && p.id != entry.id);
        if datagram(entry) {
            return self.datagram(entry, peer, far);
        }
        match peer {
            Some(peer) => {
                let (server, client) = self.roles(entry, peer);
                let (near, other) = self.stream_pair(server, Some(client))?;
                self.fds.insert(server.id, near);
                self.fds.insert(client.id, other);
            }
            None if self.plan.peer(entry).is_none() && established(entry) => {
                let (near, other) = self.stream_pair(entry, None)?;
                self.fds.insert(entry.id, near);
                far.insert(entry.id, other);
            }
            // Not connected, or its connection waits to be accepted.
            None => {
                let fd = socket(entry)?;
                self.bind_plain(&fd, entry)?;
                self.fds.insert(entry.id, fd);
            }
        }
        Ok(())
    }

    fn datagram(
        &mut self,
        entry: &'a UnixSkEntry,
        peer: Option<&'a UnixSkEntry>,
        far: &mut HashMap<u32, OwnedFd>,
    ) -> Result<()> {
        // Being connected to makes a datagram socket established too: only one without a name must have
        // had a peer of its own.
        let no_peer = self.plan.peer(entry).is_none() && self.plan.outside(entry).is_none();
        let lost_peer = no_peer
            && (established(entry) && entry.name.is_empty()
                || self.plan.extra(entry.id).is_some_and(|e| e.lost_peer));
        let fd = if let Some(peer) = peer {
            let (near, other) = self.pair(entry)?;
            self.bind_plain(&other, peer)?;
            self.fds.insert(peer.id, other);
            near
        } else if lost_peer {
            let (near, other) = self.pair(entry)?;
            far.insert(entry.id, other);
            near
        } else {
            socket(entry)?
        };
        self.bind_plain(&fd, entry)?;
        self.fds.insert(entry.id, fd);
        Ok(())
    }

    pub(super) fn bind_plain(&mut self, fd: &OwnedFd, entry: &UnixSkEntry) -> Result<()> {
        if let Some(bound) = bind(fd, entry, self.plan.place(entry.id))? {
            self.names.insert(
                self.plan.key(entry),
                Name {
                    bound,
                    listener: None,
                },
            );
        }
        Ok(())
    }

    /// The socket that a datagram socket is connected to without being its peer, and which has no name:
    /// the other end of a socketpair(2) that has been connected elsewhere since.
    fn unnamed_target(&self, entry: &UnixSkEntry) -> Option<&'a UnixSkEntry> {
        let peer = self.plan.peer(entry).filter(|_| datagram(entry))?;
        (peer.name.is_empty() && peer.peer != entry.ino && peer.id != entry.id).then_some(peer)
    }

    fn one_way_pair(&mut self, entry: &'a UnixSkEntry) -> Result<()> {
        let Some(target) = self.unnamed_target(entry) else {
            return Ok(());
        };
        if self.fds.contains_key(&target.id) || self.fds.contains_key(&entry.id) {
            return Err(Error::new(format!(
                "two unix sockets are connected to {}, which has no name: damaged",
                target.ino
            )));
        }
        let (near, other) = self.pair(entry)?;
        if self.plan.extra(entry.id).is_some_and(|e| e.error.is_some()) {
            // It had sent what its peer has not read before it left.
            sys::send(near.as_raw_fd(), b"x", None, &[], libc::MSG_DONTWAIT).context(|| "sending")?;
        }
        sys::disconnect(other.as_raw_fd()).context(|| "disconnecting")?;
        self.bind_plain(&near, entry)?;
        self.fds.insert(entry.id, near);
        self.fds.insert(target.id, other);
        Ok(())
    }

    /// Who is connected to a socket without a name, one way.
    pub(super) fn source(&self, entry: &UnixSkEntry) -> Option<u32> {
        let leads = |m: &&&UnixSkEntry| self.unnamed_target(m).is_some_and(|t| t.id == entry.id);
        self.members.iter().find(leads).map(|m| m.id)
    }

    /// A connection whose peer left without having read all ends in an error.
    fn reset(&self, far: &HashMap<u32, OwnedFd>) -> Result<()> {
        for id in far.keys() {
            let Some(entry) = self.plan.entry(*id).filter(|e| !datagram(e)) else {
                continue;
            };
            if self.plan.extra(*id).is_some_and(|e| e.error.is_some()) {
                sys::send(self.fd(*id)?, b"x", None, &[], libc::MSG_DONTWAIT)
                    .context(|| format!("resetting the connection of unix socket {}", entry.ino))?;
            }
        }
        Ok(())
    }

    /// Whether it is a datagram socket that is connected to itself.
    fn is_own_peer(&self, entry: &UnixSkEntry) -> bool {
        datagram(entry) && self.plan.peer(entry).is_some_and(|peer| peer.id == entry.id)
    }

    /// A datagram socket that is connected one way.
    fn connect_datagram(&self, entry: &UnixSkEntry) -> Result<()> {
        if !datagram(entry) || self.unnamed_target(entry).is_some() {
            return Ok(());
        }
        let fd = &self.fd(entry.id)?;
        if let Some(outside) = self.plan.outside(entry) {
            return Bound::elsewhere(outside).connect(fd).map_err(|e| {
                e.context(format!("unix socket {}", entry.ino))
                    .with_remedy("start the service that is bound there")
            });
        }
        let Some(peer) = self.plan.peer(entry) else {
            return Ok(());
        };
        if peer.peer == entry.ino && peer.id != entry.id {
            return Ok(());
        }
        let name = self.names.get(&self.plan.key(peer)).ok_or_else(|| {
            Error::new(format!(
                "unix socket {} is connected to one without a name",
                entry.ino
            ))
        })?;
        name.bound.connect(fd)
    }
}

/// What comes last: the backlog, ended directions, options, flags.
pub(super) fn complete(plan: &Plan, entry: &UnixSkEntry, fd: RawFd, own: i32) -> Result<()> {
    if entry.state == u32::from(LISTEN) {
        listen(
            plan,
            own,
            fd,
            entry.backlog.cast_signed(),
            plan.peer_user(entry.id),
        )?;
    }
    if let Some(how) = entry.shutdown.filter(|&how| how != 0) {
        match sys::shutdown(fd, how - 1) {
            // A datagram socket that lost its peer; there is nothing to shut down any more.
            Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => {}
            result => result.context(|| "shutdown")?,
        }
    }
    sockopt::restore(fd, &entry.opts)?;
    sockopt::buffers(fd, &entry.opts)?;
    sockopt::restore_reuse(fd, &entry.opts)?;
    let extra = plan.extra(entry.id);
    let options = extra.map_or(&[][..], |e| e.options.as_slice());
    extra::set(fd, super::dump::sort(entry.r#type), options)?;
    let owner = extra.and_then(|e| e.owner);
    descriptor::complete(sys::borrow(fd), entry.flags, &entry.fown, owner)
}

/// Those who connect take the socket for the process and the user who listen.
pub(super) fn listen(plan: &Plan, own: i32, fd: RawFd, backlog: i32, whom: Peer<'_>) -> Result<()> {
    plan.who
        .act(own, whom, || sys::listen(fd, backlog))
        .context(|| "listen")
}
