//! Which unix sockets are made together, and by which process.
//!
//! Those that are connected to each other or share a name are made in one call. But the kernel notes who
//! calls connect(2): when that was another process than the one that listens, it makes its socket itself,
//! and the others find it connected.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use criu_plugin_api::message::FilePlan;
use criu_proto::images::UnixSkEntry;

use super::bind::{has_path, path};
use super::plan::{Key, Plan};
use super::{ESTABLISHED, LISTEN};

/// A socket that its own process connects.
#[derive(Debug)]
pub(super) struct Detached {
    /// The id of the socket that listens.
    pub(super) listener: u32,
    /// The id of the socket that was accepted; `None` while it waits.
    pub(super) accepted: Option<u32>,
    /// What must have been opened before.
    pub(super) after: Vec<u32>,
    opener: Option<i32>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Id to the representative of its group.
    groups: BTreeMap<u32, u32>,
    /// The ids of each group, by its representative.
    members: BTreeMap<u32, Vec<u32>>,
    pub(super) detached: BTreeMap<u32, Detached>,
    /// Listening sockets to which those connect.
    pub(super) split: BTreeSet<u32>,
    openers: HashMap<u32, i32>,
}

impl Groups {
    /// Finds out.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut groups = Self::default();
        groups.detach(plan);
        groups.join(plan);
        groups.find_openers(plan);
        groups
    }

    /// The ids of all that are made together with a socket.
    pub(super) fn members(&self, id: u32) -> &[u32] {
        let group = self.groups.get(&id).and_then(|group| self.members.get(group));
        group.map_or(&[], Vec::as_slice)
    }

    /// What the core is to know.
    pub(super) fn file_plans(&self) -> Vec<FilePlan> {
        let plan = |(&id, &group): (&u32, &u32)| {
            let shared = self.members.get(&group).is_some_and(|m| m.len() > 1);
            FilePlan {
                id,
                group: shared.then_some(group.into()),
                attach: self.split.contains(&id),
                opener: self.openers.get(&id).copied(),
            }
        };
        let plain = |plan: &FilePlan| plan.group.is_none() && !plan.attach && plan.opener.is_none();
        self.groups.iter().map(plan).filter(|p| !plain(p)).collect()
    }

    fn detach(&mut self, plan: &Plan) {
        let mut accepted: HashMap<Key, Vec<&UnixSkEntry>> = HashMap::new();
        let is_pair_end = |e: &&UnixSkEntry| {
            e.state == u32::from(ESTABLISHED)
                && e.r#type.cast_signed() != libc::SOCK_DGRAM
                && !e.name.is_empty()
        };
        for entry in plan.inside().filter(is_pair_end) {
            accepted.entry(plan.key(entry)).or_default().push(entry);
        }
        // The file of a deleted name is there for a moment only.
        let listens = |e: &&UnixSkEntry| e.state == u32::from(LISTEN) && e.deleted != Some(true);
        for listener in plan.inside().filter(listens) {
            let own = plan.peer_user(listener.id).credentials.pid;
            let foreign = |pid: i32| pid != own && plan.who.lives(pid) && plan.who.lives(own);
            let ends = accepted.get(&plan.key(listener)).map_or(&[][..], Vec::as_slice);
            let mut after = Vec::new();
            for end in ends {
                let client = plan
                    .peer(end)
                    .filter(|c| c.peer == end.ino && plan.key(c) != plan.key(end));
                let Some(client) = client else { continue };
                after.push(end.id);
                let pid = plan.peer_user(end.id).credentials.pid;
                if foreign(pid) {
                    self.split.insert(listener.id);
                    let detached = Detached {
                        listener: listener.id,
                        accepted: Some(end.id),
                        after: Vec::new(),
                        opener: Some(pid),
                    };
                    self.detached.insert(client.id, detached);
                }
            }
            let waiting: Vec<(u32, i32)> = (plan.waiting_at(listener).into_iter())
                .filter_map(|(client, more)| {
                    let client = client?.id;
                    let known = more.and_then(|m| m.peer).map(|p| p.pid);
                    Some((client, known.or(plan.who.holder(client)).unwrap_or(0)))
                })
                .collect();
            if !self.split.contains(&listener.id) && !waiting.iter().any(|&(_, pid)| foreign(pid)) {
                continue;
            }
            self.split.insert(listener.id);
            for (client, pid) in waiting {
                let detached = Detached {
                    listener: listener.id,
                    accepted: None,
                    after: after.clone(),
                    opener: Some(pid).filter(|&pid| plan.who.lives(pid)),
                };
                self.detached.insert(client, detached);
                // They wait in their order.
                after.push(client);
            }
        }
    }

    fn join(&mut self, plan: &Plan) {
        let mut joined: BTreeMap<u32, u32> = plan.inside().map(|e| (e.id, e.id)).collect();
        let alone = |id: u32| self.detached.contains_key(&id) || self.split.contains(&id);
        let mut names = HashMap::new();
        for entry in plan.inside().filter(|e| !alone(e.id)) {
            if let Some(peer) = plan.peer(entry).filter(|p| !alone(p.id)) {
                join(&mut joined, entry.id, peer.id);
            }
            if !entry.name.is_empty() {
                let place = if has_path(entry) {
                    path(entry, plan.place(entry.id)).into_os_string()
                } else {
                    Default::default()
                };
                let first = *names.entry((place, entry.name.clone())).or_insert(entry.id);
                join(&mut joined, entry.id, first);
            }
        }
        // The senders of what is queued send it again.
        let senders: HashMap<&[u8], u32> = (plan.inside())
            .filter(|e| !e.name.is_empty() && !alone(e.id))
            .map(|e| (e.name.as_slice(), e.id))
            .collect();
        for (receiver, packets) in plan.queues() {
            for packet in packets.iter().filter(|p| !p.from.is_empty()) {
                let sender = senders.get(packet.from.as_slice());
                if let Some(&sender) = sender.filter(|_| joined.contains_key(&receiver)) {
                    join(&mut joined, receiver, sender);
                }
            }
        }
        self.join_circles(plan, &mut joined);
        let ids: Vec<u32> = joined.keys().copied().collect();
        for id in ids {
            let group = root(&mut joined, id);
            self.groups.insert(id, group);
            self.members.entry(group).or_default().push(id);
        }
    }

    /// Groups that travel in the queues of each other are one.
    fn join_circles(&self, plan: &Plan, joined: &mut BTreeMap<u32, u32>) {
        loop {
            let mut carries: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for (receiver, packets) in plan.queues() {
                // The queue of one that is detached is filled by those at its other end.
                let filler = self
                    .detached
                    .get(&receiver)
                    .and_then(|d| d.accepted)
                    .unwrap_or(receiver);
                for &right in packets.iter().flat_map(|p| &p.rights) {
                    if joined.contains_key(&right) && joined.contains_key(&filler) {
                        let (from, to) = (root(joined, filler), root(joined, right));
                        if from != to {
                            carries.entry(from).or_default().insert(to);
                        }
                    }
                }
            }
            let circle = carries.keys().find_map(|&start| leads_back(&carries, start));
            let Some((from, to)) = circle else { return };
            join(joined, from, to);
        }
    }

    /// Who listens makes the group, or who has made a pair of it.
    fn find_openers(&mut self, plan: &Plan) {
        for members in self.members.values() {
            let entries = || members.iter().filter_map(|&id| plan.entry(id));
            let noted = |e: &UnixSkEntry| {
                Some(plan.peer_user(e.id).credentials.pid).filter(|&pid| plan.who.lives(pid))
            };
            let used = entries().any(|e| plan.who.holder(e.id).is_some());
            let listener = entries().find(|e| e.state == u32::from(LISTEN)).and_then(noted);
            let pair = || {
                let saved = |e: &&UnixSkEntry| plan.extra(e.id).is_some_and(|x| x.peer.is_some());
                let mut all = entries()
                    .filter(|e| e.state == u32::from(ESTABLISHED))
                    .filter(saved);
                all.find_map(noted)
            };
            if let Some(opener) = listener.or_else(pair).filter(|_| used) {
                self.openers.extend(members.iter().map(|&id| (id, opener)));
            }
        }
        for (&id, detached) in &self.detached {
            match detached.opener {
                Some(pid) => self.openers.insert(id, pid),
                None => self.openers.remove(&id),
            };
        }
    }
}

/// The first step of a way that leads back to where it begins.
fn leads_back(carries: &BTreeMap<u32, BTreeSet<u32>>, start: u32) -> Option<(u32, u32)> {
    let next = |id: u32| carries.get(&id).into_iter().flatten().copied();
    for first in next(start) {
        let (mut seen, mut left) = (BTreeSet::from([first]), vec![first]);
        while let Some(id) = left.pop() {
            if id == start {
                return Some((start, first));
            }
            left.extend(next(id).filter(|&id| seen.insert(id)));
        }
    }
    None
}

fn root(joined: &mut BTreeMap<u32, u32>, mut id: u32) -> u32 {
    while let Some(&next) = joined.get(&id)
        && next != id
    {
        let after = joined.get(&next).copied().unwrap_or(next);
        joined.insert(id, after);
        id = after;
    }
    id
}

fn join(joined: &mut BTreeMap<u32, u32>, a: u32, b: u32) {
    let (a, b) = (root(joined, a), root(joined, b));
    joined.insert(a.max(b), a.min(b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let carries = BTreeMap::from([
            (1, BTreeSet::from([2])),
            (2, BTreeSet::from([3, 4])),
            (4, BTreeSet::from([2])),
        ]);
        assert_eq!(leads_back(&carries, 1), None);
        assert_eq!(leads_back(&carries, 2), Some((2, 4)));
        assert_eq!(leads_back(&BTreeMap::new(), 2), None);
    }
}
