//! Connections of unix sockets: pairs, accepted ones, those that wait to be accepted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result};
use criu_proto::images::UnixSkEntry;

use super::LISTEN;
use super::bind::{Bound, bind};
use super::fill::{Outgoing, send_from};
use super::group::Detached;
use super::plan::Plan;
use super::restore::{Group, Listener, Name, listen, opened, socket};
use super::who::Peer;
use crate::extra::{Credentials, EarlyPacket, Waiting};
use crate::{sockopt, sys};

/// Makes a socket that this process connects to one that another has made listen.
pub(super) fn open_detached(
    host: &Host<'_>,
    plan: &Plan,
    entry: &UnixSkEntry,
    detached: &Detached,
    own: i32,
) -> Result<Progress<Opened>> {
    for &before in detached.after.iter().chain([&detached.listener]) {
        if host.opened(before)?.is_none() {
            let why = format!("socket {before:#x}, before which it cannot connect");
            return Ok(Progress::NotYet(why));
        }
    }
    let listener = plan
        .entry(detached.listener)
        .ok_or_else(|| Error::new("its listening socket is missing"))?;
    let all = plan.waiting_at(listener);
    let waiting = (all.into_iter())
        .find(|(client, _)| client.is_some_and(|c| c.id == entry.id))
        .and_then(|(_, waiting)| waiting);
    let rights = early(waiting).iter().flat_map(|p| p.rights.clone()).collect();
    let Some(travelling) = opened(host, rights)? else {
        return Ok(Progress::NotYet("a file that travels in its queue".to_owned()));
    };
    let fd = socket(entry)?;
    let _bound = bind(&fd, entry, plan.place(entry.id))?;
    let whom = match detached.accepted {
        Some(end) => plan.peer_user(end),
        None => who_waits(waiting).unwrap_or(Peer::root(own)),
    };
    let name = Bound::existing(listener, plan.place(listener.id));
    name.connect_as(&fd, &plan.who, own, whom)?;
    if detached.accepted.is_none() {
        send_early(&fd, waiting, &travelling, whom.credentials)?;
        super::restore::complete(plan, entry, fd.as_raw_fd(), own)?;
    }
    Ok(Progress::Done(Opened::one(fd)))
}

/// The other ends that other processes connect for these sockets, and copies of them and of the sockets that
/// they are connected to; `None` while one is not open yet.
#[expect(clippy::type_complexity, reason = "two results of one look")]
pub(super) fn borrowed<'a>(
    host: &Host<'_>,
    plan: &'a Plan,
    members: &[&UnixSkEntry],
) -> Result<Option<(Vec<&'a UnixSkEntry>, HashMap<u32, OwnedFd>)>> {
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for member in members {
        let Some(client) = plan.peer(member) else { continue };
        let Some(detached) = plan.detached(client.id).filter(|d| d.accepted == Some(member.id)) else {
            continue;
        };
        ids.extend([client.id, detached.listener]);
        clients.push(client);
    }
    Ok(opened(host, ids)?.map(|files| (clients, files)))
}

/// What was sent over a connection before it was accepted.
pub(super) fn early(waiting: Option<&Waiting>) -> &[EarlyPacket] {
    waiting.map_or(&[], |w| w.packets.as_slice())
}

/// Who has connected, if that was saved.
pub(super) fn who_waits(waiting: Option<&Waiting>) -> Option<Peer<'_>> {
    waiting.and_then(|w| Peer::of(w.peer, w.peer_groups.as_ref()))
}

/// Sends that again.
pub(super) fn send_early(
    fd: &OwnedFd,
    waiting: Option<&Waiting>,
    files: &HashMap<u32, OwnedFd>,
    whom: Credentials,
) -> Result<()> {
    let packets = early(waiting);
    sockopt::widen_buffers(fd.as_raw_fd(), packets.iter().map(|p| p.data.len() + 1024).sum())?;
    for packet in packets {
        let one = |id| {
            let file = files.get(id).map(AsRawFd::as_raw_fd);
            file.ok_or_else(|| Error::new(format!("file {id:#x}, which travels in it, is missing")))
        };
        let rights = packet.rights.iter().map(one).collect::<Result<Vec<_>>>()?;
        let outgoing = Outgoing {
            data: &packet.data,
            rights: &rights,
            credentials: packet.credentials.filter(|c| c.pid != 0),
            urgent: packet.urgent,
        };
        send_from(fd.as_raw_fd(), &outgoing, whom.pid).context(|| "sending what was not accepted yet")?;
    }
    Ok(())
}

impl<'a> Group<'a> {
    pub(super) fn listeners(&mut self, members: &[&'a UnixSkEntry]) -> Result<()> {
        for &entry in members.iter().filter(|e| e.state == u32::from(LISTEN)) {
            let fd = socket(entry)?;
            let bound = bind(&fd, entry, self.plan.place(entry.id))?
                .ok_or_else(|| Error::new("a listening socket without a name"))?;
            // Room for all that wait; the backlog proper is set in the end.
            let whom = self.plan.peer_user(entry.id);
            listen(self.plan, self.own, fd.as_raw_fd(), i32::MAX, whom)?;
            let listener = Some(Listener::Member(entry.id));
            self.names.insert(self.plan.key(entry), Name { bound, listener });
            self.fds.insert(entry.id, fd);
        }
        Ok(())
    }

    /// Accepts the connections that other processes have made. Which is whose, a byte tells.
    pub(super) fn accept_clients(&mut self) -> Result<()> {
        let clients = self.clients.clone();
        let mut left: Vec<(&UnixSkEntry, u32, u32)> = Vec::new();
        for client in clients {
            let detached = self.plan.detached(client.id);
            let ends = detached.and_then(|d| Some((d.accepted?, d.listener)));
            let (end, listener) = ends.ok_or_else(|| Error::new("a connection without its other end"))?;
            left.push((client, end, listener));
        }
        for (_, _, id) in left.clone() {
            let listener = self.fd(id)?;
            self.name_of_listener(id)?;
            let near = sys::accept(listener).context(|| "accept")?;
            sys::send(near.as_raw_fd(), b"?", None, &[], libc::MSG_DONTWAIT)
                .context(|| "asking who it is")?;
            let mut found = None;
            for (at, (client, ..)) in left.iter().enumerate() {
                if sys::ioctl_int(self.fd(client.id)?, libc::FIONREAD).context(|| "FIONREAD")? > 0 {
                    found = Some(at);
                }
            }
            let at = found.ok_or_else(|| Error::new("a connection of somebody else was accepted"))?;
            let (client, end, _) = left.swap_remove(at);
            let mut byte = [0u8; 1];
            sys::receive(self.fd(client.id)?, &mut byte, libc::MSG_DONTWAIT)
                .context(|| "reading its answer")?;
            self.fds.insert(end, near);
        }
        Ok(())
    }

    /// Notes the name of a listening socket that another group has made.
    fn name_of_listener(&mut self, id: u32) -> Result<()> {
        let Some(entry) = self.plan.entry(id) else {
            return Ok(());
        };
        let copy = sys::dup(self.fd(id)?).context(|| "copying a listening socket")?;
        self.names.entry(self.plan.key(entry)).or_insert_with(|| Name {
            bound: Bound::existing(entry, self.plan.place(id)),
            listener: Some(Listener::Temporary(copy)),
        });
        Ok(())
    }

    /// Both ends of a pair take each other for the process and the user who make it.
    pub(super) fn pair(&self, entry: &UnixSkEntry) -> Result<(OwnedFd, OwnedFd)> {
        let kind = entry.r#type.cast_signed();
        let whom = self.plan.peer_user(entry.id);
        let make = || {
            if !self.plan.who.stands_in(self.own, whom.credentials.pid) {
                return whom.make(|| sys::socketpair(libc::AF_UNIX, kind));
            }
            let (near, other) = sys::socketpair(libc::AF_UNIX, kind)?;
            // The child's take the places of these two.
            self.plan.who.act(self.own, whom, || {
                let (a, b) = sys::socketpair(libc::AF_UNIX, kind)?;
                sys::duplicate_to(a.as_raw_fd(), near.as_raw_fd())?;
                sys::duplicate_to(b.as_raw_fd(), other.as_raw_fd())
            })?;
            Ok((near, other))
        };
        make().context(|| "socketpair(AF_UNIX)")
    }

    /// Which of two connected sockets was accepted: it has the name of a listening socket.
    pub(super) fn roles<'e>(
        &self,
        a: &'e UnixSkEntry,
        b: &'e UnixSkEntry,
    ) -> (&'e UnixSkEntry, &'e UnixSkEntry) {
        let weight = |e: &UnixSkEntry| {
            if e.name.is_empty() {
                return (false, 0);
            }
            let key = self.plan.key(e);
            let listens = self.names.get(&key).is_some_and(|n| n.listener.is_some());
            (listens, self.holders.get(&key).copied().unwrap_or(0))
        };
        if weight(b) > weight(a) { (b, a) } else { (a, b) }
    }

    /// The accepted end and the connecting end of a connection. An accepted socket has the name of the
    /// one that listened, which only accept(2) gives.
    pub(super) fn stream_pair(
        &mut self,
        server: &UnixSkEntry,
        client: Option<&UnixSkEntry>,
    ) -> Result<(OwnedFd, OwnedFd)> {
        if server.name.is_empty() {
            return self.pair(server);
        }
        let key = self.plan.key(server);
        if let Entry::Vacant(name) = self.names.entry(key.clone()) {
            let listener = socket(server)?;
            let bound = bind(&listener, server, self.plan.place(server.id))?
                .ok_or_else(|| Error::new("an accepted socket without a name"))?;
            let whom = client.map_or(Peer::root(0), |c| self.plan.peer_user(c.id));
            listen(self.plan, self.own, listener.as_raw_fd(), i32::MAX, whom)?;
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
            .get(&key)
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
        name.bound
            .connect_as(&other, &self.plan.who, self.own, self.plan.peer_user(server.id))?;
        // A damaged image may lead elsewhere; then nobody waits here.
        if sys::poll(listener, libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN == 0 {
            return Err(Error::new("a connection to its name went to another socket"));
        }
        let near = sys::accept(listener).context(|| "accept")?;
        Ok((near, other))
    }

    /// The connections that a listening socket has not accepted yet.
    pub(super) fn wait_to_be_accepted(&self, listener: &UnixSkEntry) -> Result<()> {
        if self.plan.is_split(listener.id) {
            return Ok(());
        }
        let name = self
            .names
            .get(&self.plan.key(listener))
            .ok_or_else(|| Error::new("a name is missing"))?;
        for (client, waiting) in self.plan.waiting_at(listener) {
            let whom = who_waits(waiting).unwrap_or(Peer::root(self.own));
            let fd = match client {
                Some(client) => sys::dup(self.fd(client.id)?).context(|| "copying a socket")?,
                None => socket(listener)?,
            };
            name.bound.connect_as(&fd, &self.plan.who, self.own, whom)?;
            let mut files = HashMap::new();
            for &id in early(waiting).iter().flat_map(|p| &p.rights) {
                let file = self.right(id)?;
                files.insert(id, sys::dup(file).context(|| "copying a file")?);
            }
            send_early(&fd, waiting, &files, whom.credentials)?;
        }
        Ok(())
    }
}
