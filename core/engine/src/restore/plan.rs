//! Who creates whom: the order of forks that gives every process its parent, session and group.
//!
//! A session is inherited, so a process must be born while its creator is in the right one: before its
//! parent begins a session of its own, or as a sibling, created by a process of that session
//! (`CLONE_PARENT`). Leaders of sessions and groups that are gone are played by helpers, which leave
//! once the others have joined.

use std::collections::HashMap;

use super::images::{ImageSet, State, TaskImages};
use crate::error::{Error, Result};

/// What a process of the plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A process of the images, by its index there.
    Task(usize),
    /// A process of the images that is dead.
    Zombie(usize),
    /// A process that only lends its id.
    Helper,
}

/// A process to be created.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) pid: i32,
    pub(crate) role: Role,
    /// `None` for the root.
    pub(crate) parent: Option<usize>,
    /// The process that forks it; `None`: the coordinator.
    pub(crate) creator: Option<usize>,
    pub(crate) sid: i32,
    pub(crate) pgid: i32,
    /// Children to fork before it begins its own session.
    pub(crate) early: Vec<usize>,
    /// Children to fork after that.
    pub(crate) late: Vec<usize>,
    /// Siblings to create in its session.
    pub(crate) siblings: Vec<usize>,
}

impl Node {
    pub(crate) fn leads_session(&self) -> bool {
        self.sid == self.pid
    }

    pub(crate) fn leads_group(&self) -> bool {
        self.pgid == self.pid
    }
}

/// All processes to be created, the tasks first and in the order of the images.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
}

/// Session and group of the process that restores, for trees that had theirs from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside {
    pub(crate) sid: i32,
    pub(crate) pgid: i32,
    /// Whether the tree may be put into them (`--shell-job`).
    pub(crate) allowed: bool,
}

impl Plan {
    /// Plans the forks for a set of images.
    ///
    /// # Errors
    /// A session or group cannot be rebuilt.
    pub(crate) fn new(set: &ImageSet, outside: Outside) -> Result<Self> {
        let index: HashMap<i32, usize> = set.tasks.iter().enumerate().map(|(i, t)| (t.pid, i)).collect();
        let mut plan = Self {
            nodes: Vec::with_capacity(set.tasks.len()),
        };
        for (i, task) in set.tasks.iter().enumerate() {
            let role = if task.state == State::Dead {
                Role::Zombie(i)
            } else {
                Role::Task(i)
            };
            let parent = index.get(&task.ppid).copied();
            plan.nodes.push(Node {
                pid: task.pid,
                role,
                parent,
                creator: parent,
                sid: task.sid,
                pgid: task.pgid,
                early: Vec::new(),
                late: Vec::new(),
                siblings: Vec::new(),
            });
        }
        plan.take_in_outside(&set.tasks[0], &index, outside)?;
        plan.sessions(outside)?;
        plan.groups(outside)?;
        plan.check_sharing(set)?;
        plan.check_signals(set)?;
        Ok(plan)
    }

    /// Gives processes of the root's session and group, when those are from outside, the coordinator's.
    fn take_in_outside(
        &mut self,
        root: &TaskImages,
        index: &HashMap<i32, usize>,
        outside: Outside,
    ) -> Result<()> {
        let foreign_session = root.sid != root.pid && !index.contains_key(&root.sid);
        if !foreign_session {
            return Ok(());
        }
        if !outside.allowed {
            let what = format!("is in session {} of a process outside of the tree", root.sid);
            return Err(Error::refused_but(
                format!("process {}", root.pid),
                what,
                "use --shell-job",
            ));
        }
        let foreign_group = root.pgid != root.pid && !index.contains_key(&root.pgid);
        for node in &mut self.nodes {
            if node.sid == root.sid {
                node.sid = outside.sid;
            }
            if foreign_group && node.pgid == root.pgid {
                node.pgid = outside.pgid;
            }
        }
        Ok(())
    }

    /// Finds a creator in the right session for every process, children before parents.
    fn sessions(&mut self, outside: Outside) -> Result<()> {
        let tasks = self.nodes.len();
        let mut children = vec![Vec::new(); tasks];
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(parent) = node.parent {
                children[parent].push(i);
            }
        }
        // The session a process must be born in, if that matters.
        let mut birth: Vec<Option<i32>> = vec![None; tasks];
        for parent in (0..tasks).rev() {
            let node = &self.nodes[parent];
            birth[parent] = (!node.leads_session()).then_some(node.sid);
            for child in std::mem::take(&mut children[parent]) {
                self.place_child(parent, child, &mut birth)?;
            }
        }
        match birth.first().copied().flatten() {
            Some(sid) if sid != outside.sid => {
                let what = format!("must begin in session {sid}, which nobody of the tree leads");
                Err(Error::refused(format!("process {}", self.nodes[0].pid), what))
            }
            _ => Ok(()),
        }
    }

    fn place_child(&mut self, parent: usize, child: usize, birth: &mut Vec<Option<i32>>) -> Result<()> {
        let Some(sid) = birth[child].filter(|&sid| sid != self.nodes[parent].sid) else {
            self.nodes[parent].late.push(child);
            return Ok(());
        };
        // A sibling that leads the session, alive or not.
        let leader = self.nodes.iter().position(|node| node.pid == sid);
        if let Some(leader) = leader {
            let node = &self.nodes[leader];
            if leader != child && node.parent == Some(parent) && node.leads_session() {
                self.adopt(leader, child);
                return Ok(());
            }
        } else if parent == 0 || birth[parent].is_some_and(|own| own != sid) {
            // Nobody leads it any more: a helper does for as long as it takes.
            let helper = self.helper(sid, sid, sid, Some(parent));
            birth.push(None);
            self.nodes[parent].late.push(helper);
            self.adopt(helper, child);
            return Ok(());
        }
        if self.nodes[parent].leads_session() && birth[parent].is_none_or(|own| own == sid) && parent != 0 {
            birth[parent] = Some(sid);
            self.nodes[parent].early.push(child);
            return Ok(());
        }
        let what = format!(
            "is in session {sid}, into which its parent {} cannot bring it",
            self.nodes[parent].pid
        );
        Err(Error::refused(format!("process {}", self.nodes[child].pid), what))
    }

    fn adopt(&mut self, creator: usize, child: usize) {
        self.nodes[child].creator = Some(creator);
        self.nodes[creator].siblings.push(child);
    }

    fn helper(&mut self, pid: i32, sid: i32, pgid: i32, parent: Option<usize>) -> usize {
        self.nodes.push(Node {
            pid,
            role: Role::Helper,
            parent,
            creator: parent,
            sid,
            pgid,
            early: Vec::new(),
            late: Vec::new(),
            siblings: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// Adds helpers for groups whose leader is gone.
    fn groups(&mut self, outside: Outside) -> Result<()> {
        let mut leaders: HashMap<i32, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (node.pid, i))
            .collect();
        for member in 0..self.nodes.len() {
            let (pgid, sid) = (self.nodes[member].pgid, self.nodes[member].sid);
            if pgid == outside.pgid && sid == outside.sid {
                continue;
            }
            if pgid == 0 {
                return Err(Error::malformed(
                    "pstree.img",
                    format!("has process {} in group 0", self.nodes[member].pid),
                ));
            }
            match leaders.get(&pgid) {
                Some(&leader) if self.nodes[leader].sid == sid => {}
                Some(_) => {
                    let what = format!("is in group {pgid}, whose leader is in another session");
                    return Err(Error::refused(
                        format!("process {}", self.nodes[member].pid),
                        what,
                    ));
                }
                None => {
                    let helper = self.helper(pgid, sid, pgid, Some(member));
                    self.nodes[member].late.push(helper);
                    leaders.insert(pgid, helper);
                }
            }
        }
        Ok(())
    }

    /// What processes share must be what a fork can share.
    fn check_sharing(&self, set: &ImageSet) -> Result<()> {
        let mut owners: [HashMap<u32, usize>; 4] = Default::default();
        let names = [
            "its memory",
            "its descriptor table",
            "its directories",
            "its signal actions",
        ];
        for (i, task) in set.tasks.iter().enumerate() {
            let Some(live) = &task.live else { continue };
            let ids = [
                live.ids.vm_id,
                live.ids.files_id,
                live.ids.fs_id,
                live.ids.sighand_id,
            ];
            for (which, id) in ids.into_iter().enumerate() {
                let Some(&owner) = owners[which].get(&id) else {
                    owners[which].insert(id, i);
                    continue;
                };
                let creator = self.nodes[i]
                    .creator
                    .and_then(|creator| match self.nodes[creator].role {
                        Role::Task(index) => set.tasks[index].live.as_ref(),
                        _ => None,
                    });
                let from_creator = creator.is_some_and(|live| {
                    [
                        live.ids.vm_id,
                        live.ids.files_id,
                        live.ids.fs_id,
                        live.ids.sighand_id,
                    ][which]
                        == id
                });
                if !from_creator || which == 0 || which == 3 {
                    let what = format!(
                        "shares {} with process {}, which is not supported",
                        names[which], set.tasks[owner].pid
                    );
                    return Err(Error::refused(format!("process {}", task.pid), what));
                }
            }
        }
        Ok(())
    }

    /// A process that a sibling creates takes the signal of its end over from that one.
    fn check_signals(&self, set: &ImageSet) -> Result<()> {
        let signal = |node: &Node| match node.role {
            Role::Task(index) | Role::Zombie(index) => set.tasks[index].exit_signal,
            Role::Helper => libc::SIGCHLD.unsigned_abs(),
        };
        for node in self.nodes.iter().filter(|node| node.creator != node.parent) {
            let Some(creator) = node.creator.map(|creator| &self.nodes[creator]) else {
                continue;
            };
            let (wanted, given) = (signal(node), signal(creator));
            if wanted != given {
                let what = format!(
                    "ends with signal {wanted}, and is to be created by process {}, which ends with {given}",
                    creator.pid
                );
                return Err(Error::refused(format!("process {}", node.pid), what));
            }
        }
        Ok(())
    }

    /// The signal that the end of a process is told by. The root is the child of whoever restores it.
    pub(crate) fn exit_signal(&self, set: &ImageSet, node: usize) -> u32 {
        match self.nodes[node].role {
            Role::Task(index) | Role::Zombie(index) if node != 0 => set.tasks[index].exit_signal,
            _ => libc::SIGCHLD.unsigned_abs(),
        }
    }

    /// How many processes of a kind there are.
    pub(crate) fn count(&self, which: impl Fn(Role) -> bool) -> u32 {
        u32::try_from(self.nodes.iter().filter(|node| which(node.role)).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Outside = Outside {
        sid: 7,
        pgid: 7,
        allowed: false,
    };

    fn plan(tasks: &[(i32, i32, i32, i32)], outside: Outside) -> Result<Plan> {
        let tasks = tasks
            .iter()
            .map(|&(pid, ppid, pgid, sid)| TaskImages {
                pid,
                ppid,
                pgid,
                sid,
                state: State::Alive,
                tc: Default::default(),
                exit_signal: 17,
                live: None,
            })
            .collect();
        let dir = criu_images::ImageDir::open("/").unwrap();
        let set = ImageSet {
            dir,
            tasks,
            files: Default::default(),
            filters: Vec::new(),
            plugins: Vec::new(),
            lsmtype: 0,
        };
        Plan::new(&set, outside)
    }

    #[test]
    fn a_child_of_the_old_session_is_born_before_the_new_one_begins() {
        let p = plan(&[(10, 0, 10, 10), (11, 10, 11, 11), (12, 11, 12, 10)], NOBODY).unwrap();
        assert_eq!(p.nodes[1].early, [2]);
        assert!(p.nodes[1].late.is_empty());
        assert_eq!(p.nodes.len(), 3);
    }

    #[test]
    fn a_dead_session_leader_is_played_by_a_helper() {
        let p = plan(&[(10, 0, 10, 10), (12, 10, 11, 11)], NOBODY).unwrap();
        assert_eq!((p.nodes[2].pid, p.nodes[2].role), (11, Role::Helper));
        assert_eq!(p.nodes[2].siblings, [1]);
        assert_eq!(p.nodes[1].creator, Some(2));
        assert_eq!(p.nodes[0].late, [2]);
    }

    #[test]
    fn a_living_sibling_creates_those_of_its_session() {
        let p = plan(&[(10, 0, 10, 10), (11, 10, 11, 11), (12, 10, 12, 11)], NOBODY).unwrap();
        assert_eq!(p.nodes[1].siblings, [2]);
        assert_eq!(p.nodes[0].late, [1]);
    }

    #[test]
    fn a_dead_group_leader_is_played_by_a_helper() {
        let p = plan(&[(10, 0, 10, 10), (11, 10, 99, 10), (12, 10, 99, 10)], NOBODY).unwrap();
        assert_eq!((p.nodes[3].pid, p.nodes[3].parent), (99, Some(1)));
        assert_eq!(p.nodes.len(), 4);
    }

    #[test]
    fn a_session_from_outside_needs_the_option() {
        let tree = [(10, 0, 10, 5), (11, 10, 10, 5)];
        assert!(plan(&tree, NOBODY).is_err());
        let p = plan(
            &tree,
            Outside {
                allowed: true,
                ..NOBODY
            },
        )
        .unwrap();
        assert_eq!((p.nodes[1].sid, p.nodes[1].pgid), (7, 10));
    }

    #[test]
    fn a_session_nobody_can_bring_is_refused() {
        // 12 is in the session of its own child.
        assert!(
            plan(
                &[
                    (10, 0, 10, 10),
                    (11, 10, 11, 10),
                    (12, 11, 13, 13),
                    (13, 12, 13, 13)
                ],
                NOBODY
            )
            .is_err()
        );
    }
}
