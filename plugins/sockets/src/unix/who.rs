//! In whose name a unix socket is made: the kernel notes the process and the user who call socketpair(2),
//! listen(2) or connect(2), and tells them to the peer (`SO_PEERCRED`).

use std::collections::{BTreeSet, HashMap};
use std::io;

use criu_plugin_api::{Host, Result};

use crate::extra::{Credentials, Groups};
use crate::sys;

/// Whom a socket is made as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) credentials: Credentials,
    /// Supplementary groups; without them, those of the task that makes it.
    pub(super) groups: Option<&'a [u32]>,
}

impl<'a> Peer<'a> {
    /// What was saved, if it was.
    pub(super) fn of(credentials: Option<Credentials>, groups: Option<&'a Groups>) -> Option<Self> {
        let groups = groups.map(|groups| groups.ids.as_slice());
        credentials.map(|credentials| Self { credentials, groups })
    }

    /// Root as this process.
    pub(super) fn root(pid: i32) -> Self {
        Self {
            credentials: Credentials {
                pid,
                ..Credentials::default()
            },
            groups: None,
        }
    }

    /// Makes a call as this user and in these groups.
    ///
    /// # Errors
    /// Those of the call, or this task may not be that user.
    pub(super) fn make<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Credentials { uid, gid, .. } = self.credentials;
        sys::with_groups(self.groups, || sys::as_user(uid, gid, call))
    }
}

/// The processes of the tree.
#[derive(Debug, Default)]
pub(super) struct Who {
    living: BTreeSet<i32>,
    /// Of each file the first process that has it.
    holders: HashMap<u32, i32>,
}

impl Who {
    /// Looks at the tree.
    ///
    /// # Errors
    /// The host does not know it.
    pub(super) fn read(host: &Host<'_>) -> Result<Self> {
        let mut who = Self::default();
        for task in host.tasks()?.iter().filter(|task| !task.dead) {
            who.living.insert(task.pid);
            for slot in host.descriptors(task.pid)? {
                who.holders.entry(slot.file_id).or_insert(task.pid);
            }
        }
        Ok(who)
    }

    /// Whether a process with this pid is restored.
    pub(super) fn lives(&self, pid: i32) -> bool {
        self.living.contains(&pid)
    }

    /// The first process that has a file.
    pub(super) fn holder(&self, id: u32) -> Option<i32> {
        self.holders.get(&id).copied()
    }

    /// Whether a child has to stand in for this process.
    pub(super) fn stands_in(&self, own: i32, pid: i32) -> bool {
        pid > 0 && pid != own && !self.lives(pid)
    }

    /// Makes a call as this user of this process, the restoring task being `own`. A process that is gone is
    /// stood in for by a child with its pid. Another one that lives cannot be: then the pid is that of this
    /// task. Nor can one outside of the tree that has the pid now.
    pub(super) fn act(
        &self,
        own: i32,
        as_whom: Peer<'_>,
        call: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let pid = as_whom.credentials.pid;
        let here = || as_whom.make(&call);
        if !self.stands_in(own, pid) {
            return here();
        }
        match sys::as_process(pid, here) {
            Ok(result) => result,
            Err(error) => {
                tracing::debug!("no process can stand in for {pid}: {error}");
                here()
            }
        }
    }
}
