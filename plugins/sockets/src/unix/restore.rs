//! Makes unix sockets again, a group at a time: all that are connected to each other or share a name.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::OpenRequest;
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result};
use criu_proto::images::UnixSkEntry;

use super::bind::{Bound, bind};
use super::plan::Plan;
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
    let members = plan.members(id);
    let Some(travelling) = travelling(host, plan, &members)? else {
        return Ok(Progress::NotYet(
            "a file that travels in the queue of a unix socket".to_owned(),
        ));
    };
    let mut holders = HashMap::new();
    for member in members.iter().filter(|m| !m.name.is_empty()) {
        *holders.entry(key(member)).or_default() += 1;
    }
    let mut group = Group {
        plan,
        members,
        travelling,
        fds: BTreeMap::new(),
        names: HashMap::new(),
        holders,
    };
    group.make().context(|| {
        format!(
            "restoring unix socket {} ({})",
            entry.ino,
            super::dump::show(&entry.name)
        )
    })?;
    let mut fds = group.fds;
    let own = fds
        .remove(&id)
        .ok_or_else(|| Error::new(format!("unix socket {id:#x} was not made")))?;
    let opened = fds
        .into_iter()
        .fold(Opened::one(own), |opened, (id, fd)| opened.with(id, fd));
    Ok(Progress::Done(opened))
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
    members: &[&UnixSkEntry],
) -> Result<Option<HashMap<u32, OwnedFd>>> {
    let mut files = HashMap::new();
    for packet in members.iter().flat_map(|m| plan.queue(m.id)) {
        for &right in &packet.rights {
            if files.contains_key(&right) || members.iter().any(|m| m.id == right) {
                continue;
            }
            let Some(fd) = host.opened(right)? else {
                return Ok(None);
            };
            files.insert(right, fd);
        }
    }
    Ok(Some(files))
}

pub(super) fn socket(entry: &UnixSkEntry) -> Result<OwnedFd> {
    sys::socket(libc::AF_UNIX, entry.r#type.cast_signed(), 0).context(|| "socket(AF_UNIX)")
}

/// Both ends of a pair take each other for the user who makes it.
fn pair(entry: &UnixSkEntry, (uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd)> {
    sys::as_user(uid, gid, || {
        sys::socketpair(libc::AF_UNIX, entry.r#type.cast_signed())
    })
    .context(|| "socketpair(AF_UNIX)")
}

/// Those who connect take the socket for the user who listens.
fn listen(fd: &impl AsRawFd, backlog: i32, (uid, gid): (u32, u32)) -> Result<()> {
    sys::as_user(uid, gid, || sys::listen(fd.as_raw_fd(), backlog)).context(|| "listen")
}

fn datagram(entry: &UnixSkEntry) -> bool {
    entry.r#type.cast_signed() == libc::SOCK_DGRAM
}

fn established(entry: &UnixSkEntry) -> bool {
    entry.state == u32::from(ESTABLISHED)
}

/// A name, and whether its file had been deleted: then another socket may have the same.
pub(super) type Key = (Vec<u8>, Option<Vec<u8>>, bool);

pub(super) fn key(entry: &UnixSkEntry) -> Key {
    let directory = entry.name_dir.as_ref().map(|d| d.to_vec());
    (entry.name.clone(), directory, entry.deleted == Some(true))
}

/// A name in use.
pub(super) struct Name {
    pub(super) bound: Bound,
    /// Who accepts connections to it, if it listens: a socket of the group, or one made for the time
    /// being because the listening socket had been closed.
    listener: Option<Listener>,
}

pub(super) enum Listener {
    Member(u32),
    Temporary(OwnedFd),
}

pub(super) struct Group<'a> {
    pub(super) plan: &'a Plan,
    pub(super) members: Vec<&'a UnixSkEntry>,
    pub(super) travelling: HashMap<u32, OwnedFd>,
    fds: BTreeMap<u32, OwnedFd>,
    pub(super) names: HashMap<Key, Name>,
    /// How many sockets have a name.
    holders: HashMap<Key, usize>,
}

impl<'a> Group<'a> {
    fn make(&mut self) -> Result<()> {
        let members = self.members.clone();
        self.listeners(&members)?;
        // Those that hold the far end of a connection only until the queues are full.
        let mut far = HashMap::new();
        for &entry in members.iter().filter(|e| e.state != u32::from(LISTEN)) {
            if !self.fds.contains_key(&entry.id) {
                self.connection(entry, &mut far)?;
            }
        }
        for &entry in members.iter().filter(|e| self.is_own_peer(e)) {
            // It sends its queue itself.
            self.connect_datagram(entry)?;
        }
        for &entry in &members {
            self.fill(entry, far.get(&entry.id))
                .context(|| format!("filling the queue of unix socket {}", entry.ino))?;
        }
        drop(far);
        for &entry in &members {
            self.connect_datagram(entry)?;
            self.wait_to_be_accepted(entry)?;
        }
        for &entry in &members {
            self.complete(entry)
                .context(|| format!("completing unix socket {}", entry.ino))?;
        }
        Ok(())
    }

    pub(super) fn fd(&self, id: u32) -> Result<RawFd> {
        self.fds
            .get(&id)
            .map(AsRawFd::as_raw_fd)
            .ok_or_else(|| Error::new(format!("unix socket {id:#x} is missing")))
    }

    fn listeners(&mut self, members: &[&'a UnixSkEntry]) -> Result<()> {
        for &entry in members.iter().filter(|e| e.state == u32::from(LISTEN)) {
            let fd = socket(entry)?;
            let bound = bind(&fd, entry)?.ok_or_else(|| Error::new("a listening socket without a name"))?;
            // Room for all that wait; the backlog proper is set in the end.
            listen(&fd, i32::MAX, self.plan.peer_user(entry.id))?;
            self.names.insert(
                key(entry),
                Name {
                    bound,
                    listener: Some(Listener::Member(entry.id)),
                },
            );
            self.fds.insert(entry.id, fd);
        }
        Ok(())
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
        let lost_peer = established(entry)
            && entry.name.is_empty()
            && self.plan.peer(entry).is_none()
            && self.plan.outside(entry).is_none();
        let fd = if let Some(peer) = peer {
            let (near, other) = pair(entry, self.plan.peer_user(entry.id))?;
            self.bind_plain(&other, peer)?;
            self.fds.insert(peer.id, other);
            near
        } else if lost_peer {
            let (near, other) = pair(entry, self.plan.peer_user(entry.id))?;
            far.insert(entry.id, other);
            near
        } else {
            socket(entry)?
        };
        self.bind_plain(&fd, entry)?;
        self.fds.insert(entry.id, fd);
        Ok(())
    }

    fn bind_plain(&mut self, fd: &OwnedFd, entry: &UnixSkEntry) -> Result<()> {
        if let Some(bound) = bind(fd, entry)? {
            self.names.insert(
                key(entry),
                Name {
                    bound,
                    listener: None,
                },
            );
        }
        Ok(())
    }

    /// Which of two connected sockets was accepted: it has the name of a listening socket.
    fn roles<'e>(&self, a: &'e UnixSkEntry, b: &'e UnixSkEntry) -> (&'e UnixSkEntry, &'e UnixSkEntry) {
        let listens = |e: &UnixSkEntry| self.names.get(&key(e)).is_some_and(|n| n.listener.is_some());
        let weight = |e: &UnixSkEntry| {
            if e.name.is_empty() {
                (false, 0)
            } else {
                (listens(e), self.holders.get(&key(e)).copied().unwrap_or(0))
            }
        };
        if weight(b) > weight(a) { (b, a) } else { (a, b) }
    }

    /// The accepted end and the connecting end of a connection. An accepted socket has the name of the
    /// one that listened, which only accept(2) gives.
    fn stream_pair(
        &mut self,
        server: &UnixSkEntry,
        client: Option<&UnixSkEntry>,
    ) -> Result<(OwnedFd, OwnedFd)> {
        if server.name.is_empty() {
            let (near, other) = pair(server, self.plan.peer_user(server.id))?;
            return Ok((near, other));
        }
        if let Entry::Vacant(name) = self.names.entry(key(server)) {
            let listener = socket(server)?;
            let bound =
                bind(&listener, server)?.ok_or_else(|| Error::new("an accepted socket without a name"))?;
            let user = client.map_or((0, 0), |c| self.plan.peer_user(c.id));
            listen(&listener, i32::MAX, user)?;
            name.insert(Name {
                bound,
                listener: Some(Listener::Temporary(listener)),
            });
        }
        let other = socket(server)?;
        if let Some(client) = client {
            self.bind_plain(&other, client)?;
        }
        let name = self
            .names
            .get(&key(server))
            .ok_or_else(|| Error::new("a name is missing"))?;
        let listener = match &name.listener {
            Some(Listener::Member(id)) => self.fd(*id)?,
            Some(Listener::Temporary(fd)) => fd.as_raw_fd(),
            None => {
                return Err(Error::new(
                    "two unix sockets with one name, of which none listens",
                ));
            }
        };
        name.bound.connect_as(&other, self.plan.peer_user(server.id))?;
        // A damaged image may lead elsewhere; then nobody waits here.
        if sys::poll(listener, libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN == 0 {
            return Err(Error::new("a connection to its name went to another socket"));
        }
        let near = sys::accept(listener).context(|| "accept")?;
        Ok((near, other))
    }

    /// Whether it is a datagram socket that is connected to itself.
    fn is_own_peer(&self, entry: &UnixSkEntry) -> bool {
        datagram(entry) && self.plan.peer(entry).is_some_and(|peer| peer.id == entry.id)
    }

    /// A datagram socket that is connected one way.
    fn connect_datagram(&self, entry: &UnixSkEntry) -> Result<()> {
        if !datagram(entry) {
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
        let name = self.names.get(&key(peer)).ok_or_else(|| {
            Error::new(format!(
                "unix socket {} is connected to one without a name",
                entry.ino
            ))
        })?;
        name.bound.connect(fd)
    }

    /// A connection that the listening socket has not accepted yet.
    fn wait_to_be_accepted(&self, entry: &UnixSkEntry) -> Result<()> {
        let Some(listener) = self.plan.peer(entry).filter(|p| p.state == u32::from(LISTEN)) else {
            return Ok(());
        };
        let name = self
            .names
            .get(&key(listener))
            .ok_or_else(|| Error::new("a name is missing"))?;
        name.bound.connect(&self.fd(entry.id)?)
    }

    fn complete(&self, entry: &UnixSkEntry) -> Result<()> {
        let fd = self.fd(entry.id)?;
        if entry.state == u32::from(LISTEN) {
            listen(&fd, entry.backlog.cast_signed(), self.plan.peer_user(entry.id))?;
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
        let fd = self
            .fds
            .get(&entry.id)
            .ok_or_else(|| Error::new("a socket is missing"))?;
        extra::set(
            fd.as_raw_fd(),
            super::dump::sort(entry.r#type),
            self.plan.options(entry.id),
        )?;
        descriptor::complete(fd, entry.flags, &entry.fown)
    }
}
