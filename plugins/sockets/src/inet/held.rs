//! The connections that a dump holds: their packets are dropped, and they are in repair mode.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Host, Result};

use crate::lock::{self, Connection, Lock};
use crate::netns::Namespace;
use crate::{sys, undo};

use super::diag;

/// How the packets are held back (`--network-lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// By nf_tables; also where iptables was asked for, which would need its program.
    Tables,
    /// Not at all.
    Skip,
}

impl Method {
    pub(super) fn of(host: &Host<'_>) -> Result<Self> {
        Ok(match host.setting("network-lock")?.as_deref() {
            Some("skip") => Self::Skip,
            _ => Self::Tables,
        })
    }
}

/// Everything that is to be undone.
#[derive(Default)]
pub(super) struct Held {
    locks: HashMap<u64, (Namespace, Lock)>,
    /// The connections whose packets are held back.
    locked: HashSet<Connection>,
    sockets: Vec<Socket>,
    /// The name of the lasting tables, once they are there.
    lasting: Option<String>,
}

struct Socket {
    pid: i32,
    fd: i32,
    /// Where it has no number in the tree.
    copy: Option<OwnedFd>,
    /// Repair mode takes `SO_REUSEADDR` off.
    reuse: bool,
}

/// What is done about a failed lock.
pub(super) const LOCK_REMEDY: &str =
    "--network-lock skip goes on without; then make sure that no packet arrives until the restore";

impl Held {
    /// Holds a connection: first its packets, then itself.
    ///
    /// # Errors
    /// The kernel's; what was done by then is undone by [`Held::release`].
    pub(super) fn hold(
        &mut self,
        host: &Host<'_>,
        file: &FileTarget,
        namespace: &Namespace,
        connection: Connection,
        reuse: bool,
    ) -> Result<()> {
        if Method::of(host)? == Method::Tables {
            self.lock(host, namespace, connection)
                .context(|| "holding its packets back by nf_tables")
                .map_err(|e| e.with_remedy(LOCK_REMEDY))?;
        }
        // The last one handed over is the first to be run.
        if reuse {
            undo::set_option(host, file, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        }
        undo::set_option(
            host,
            file,
            libc::IPPROTO_TCP,
            criu_tcp_repair::TCP_REPAIR,
            criu_tcp_repair::OFF_NO_PROBE,
        );
        let copy = if file.fd < 0 {
            Some(sys::dup(file.local_fd).context(|| "dup")?)
        } else {
            None
        };
        self.sockets.push(Socket {
            pid: file.pid,
            fd: file.fd,
            copy,
            reuse,
        });
        criu_tcp_repair::enter(sys::borrow(file.local_fd))
            .map_err(io::Error::from)
            .context(|| "entering repair mode (TCP_REPAIR)")
    }

    /// Holds the packets of a connection back. The first one of a namespace takes all that the tree has there along:
    /// for nf_tables a change is dear, and an element more is cheap.
    fn lock(&mut self, host: &Host<'_>, namespace: &Namespace, connection: Connection) -> io::Result<()> {
        let mut more = Vec::new();
        let (_, lock) = match self.locks.entry(namespace.ino) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let inodes = sockets_of_tree(host);
                let all = diag::connections(namespace)?;
                more.extend(
                    all.into_iter()
                        .filter(|(ino, _)| inodes.contains(ino))
                        .map(|(_, c)| c.canonical()),
                );
                let table = format!("{}-dump", lock::lasting_table(root(host)));
                host.log(
                    3,
                    "sockets",
                    &format!("holding packets back by the nf_tables table {table}"),
                );
                let lock = namespace.within(|| Lock::new(table))?;
                entry.insert((namespace.try_clone()?, lock))
            }
        };
        more.push(connection.canonical());
        // Both ends of one may be in the tree, and it may have been taken along.
        more.retain(|c| self.locked.insert(*c));
        if more.is_empty() {
            return Ok(());
        }
        lock.add(&more)
    }

    /// The images are complete. A tree that is about to be killed must leave its lock behind: there is
    /// nobody to answer the packets until the restore.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn dumped(&mut self, host: &Host<'_>) -> Result<()> {
        if self.sockets.is_empty() {
            return Ok(());
        }
        if host.flag("leave-running")? || host.flag("leave-stopped")? {
            return self.release(host);
        }
        let result = self.make_lasting(host);
        if result.is_err() {
            // Nobody asks for it any more at this point.
            self.release(host)?;
        }
        result
    }

    fn make_lasting(&mut self, host: &Host<'_>) -> Result<()> {
        let table = lock::lasting_table(root(host));
        self.lasting = Some(table.clone());
        for (namespace, lock) in self.locks.values() {
            namespace
                .within(|| lock.make_lasting(&table))
                .context(|| format!("making the nf_tables table {table}"))
                .map_err(|e| e.with_remedy(LOCK_REMEDY))?;
        }
        Ok(())
    }

    /// The tree goes on: all is as it was before the dump.
    ///
    /// # Errors
    /// The first of what could not be undone; all the rest is.
    pub(super) fn release(&mut self, host: &Host<'_>) -> Result<()> {
        let mut first = Ok(());
        for socket in self.sockets.drain(..) {
            let result = socket.release(host).context(|| {
                format!(
                    "taking fd {} of process {} out of repair mode",
                    socket.fd, socket.pid
                )
            });
            first = first.and(result);
        }
        if let Some(table) = self.lasting.take() {
            for (namespace, _) in self.locks.values() {
                let result = namespace
                    .within(|| lock::remove(&table))
                    .context(|| format!("removing table {table}"));
                first = first.and(result);
            }
        }
        self.locked.clear();
        for (_, (_, lock)) in self.locks.drain() {
            first = first.and(lock.release().context(|| "letting the packets through again"));
        }
        first
    }
}

impl Socket {
    fn release(&self, host: &Host<'_>) -> Result<()> {
        let fetched;
        let fd: RawFd = match &self.copy {
            Some(copy) => copy.as_raw_fd(),
            None => {
                fetched = File::from(host.target_fd(self.pid, self.fd)?);
                fetched.as_raw_fd()
            }
        };
        if !criu_tcp_repair::in_repair(sys::borrow(fd))
            .map_err(io::Error::from)
            .context(|| "TCP_REPAIR")?
        {
            return Ok(());
        }
        criu_tcp_repair::leave_quietly(sys::borrow(fd))
            .map_err(io::Error::from)
            .context(|| "TCP_REPAIR")?;
        sys::set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, i32::from(self.reuse)).context(|| "SO_REUSEADDR")
    }
}

/// The inodes of the sockets to which the tasks of the tree have descriptors. What cannot be read is left out: its
/// connections are locked one by one.
fn sockets_of_tree(host: &Host<'_>) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    let mut tables = HashSet::new();
    for task in host.tasks().unwrap_or_default() {
        if task.dead || !tables.insert(task.files_id) {
            continue;
        }
        let Ok(list) = fs::read_dir(format!("/proc/{}/fd", task.host_pid)) else {
            continue;
        };
        let links = list
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        inodes.extend(links.filter_map(|link| {
            let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            number.parse::<u64>().ok()
        }));
    }
    inodes
}

/// The pid of the root of the tree; the name of the lock has it.
pub(super) fn root(host: &Host<'_>) -> i32 {
    host.tasks()
        .ok()
        .and_then(|tasks| tasks.first().map(|t| t.pid))
        .unwrap_or(0)
}
