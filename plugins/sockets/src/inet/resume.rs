//! The last step of a restore: all connections exist; their packets may pass, and they go on.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use criu_plugin_api::{Context, Host, Result};

use super::held::root;
use super::options;
use super::plan::{Plan, Planned};
use crate::lock;
use crate::{extra, sockopt, sys};

/// Lets all connections of the tree go on.
pub(super) fn resume(host: &Host<'_>, plan: &mut Plan) -> Result<()> {
    let unfinished: BTreeMap<u32, &Planned> = plan
        .sockets
        .iter()
        .filter(|(_, s)| s.is_unfinished())
        .map(|(&id, s)| (id, s))
        .collect();
    if unfinished.is_empty() && !plan.sockets.values().any(Planned::was_connection) {
        return Ok(());
    }
    let sockets = collect(host, &unfinished)?;
    let each = |work: fn(RawFd, &Planned) -> Result<()>| {
        for (id, fd) in &sockets {
            if let Some(planned) = unfinished.get(id) {
                work(fd.as_raw_fd(), planned)?;
            }
        }
        Ok(())
    };
    // Nothing of this gets out yet.
    each(settle)?;
    if plan.sockets.values().any(Planned::was_connection) {
        let table = lock::lasting_table(root(host));
        lock::remove(&table).context(|| format!("removing the nf_tables table {table}"))?;
    }
    if let Some(lock) = plan.lock.take() {
        lock.release()
            .context(|| "letting the packets of the connections through")?;
    }
    each(go_on)
}

/// Copies of the sockets, out of the processes that have them.
fn collect(host: &Host<'_>, unfinished: &BTreeMap<u32, &Planned>) -> Result<Vec<(u32, OwnedFd)>> {
    let (mut sockets, mut found) = (Vec::new(), HashSet::new());
    for task in host.tasks()?.iter().filter(|t| !t.dead) {
        let mut process = None;
        for slot in host.descriptors(task.pid)? {
            if !unfinished.contains_key(&slot.file_id) || !found.insert(slot.file_id) {
                continue;
            }
            let action = || format!("copying descriptor {} of process {}", slot.fd, task.pid);
            let process: &OwnedFd = match &process {
                Some(process) => process,
                None => process.insert(sys::pidfd_open(task.host_pid).context(action)?),
            };
            sockets.push((
                slot.file_id,
                sys::pidfd_getfd(process.as_fd(), slot.fd).context(action)?,
            ));
        }
    }
    Ok(sockets)
}

/// Does all of this for one socket that no process has.
pub(super) fn complete(fd: RawFd, planned: &Planned) -> Result<()> {
    settle(fd, planned)?;
    go_on(fd, planned)
}

/// Brings a connection into its state.
fn settle(fd: RawFd, planned: &Planned) -> Result<()> {
    let Some(stream) = &planned.stream else {
        return Ok(());
    };
    criu_tcp_repair::settle(sys::borrow(fd), planned.local, planned.remote, stream)
        .map_err(std::io::Error::from)
        .context(|| {
            format!(
                "bringing the TCP connection from {} to {} into state {}",
                planned.local, planned.remote, stream.state
            )
        })?;
    // What was said in the name of the peer is not signed.
    let family = planned.entry.family.cast_signed();
    super::md5::set(fd, family, &planned.extra.signature_keys)
}

/// Lets one connection go on; a socket without one gets its options back.
fn go_on(fd: RawFd, planned: &Planned) -> Result<()> {
    let action = || {
        format!(
            "letting the TCP connection from {} to {} go on",
            planned.local, planned.remote
        )
    };
    let entry = &planned.entry;
    let Some(stream) = &planned.stream else {
        return sockopt::restore_reuse(fd, &entry.opts);
    };
    let finish = || {
        sockopt::restore_device(fd, &entry.opts)?;
        sockopt::restore_filter(fd, &entry.opts)?;
        criu_tcp_repair::resume(sys::borrow(fd), planned.remote, stream)
            .map_err(std::io::Error::from)
            .context(|| "leaving repair mode (TCP_REPAIR)")?;
        sockopt::buffers(fd, &entry.opts)?;
        sockopt::restore_reuse(fd, &entry.opts)?;
        // What the FINs of both sides do not shut down by themselves.
        if entry.shutdown.unwrap_or(0) & 1 != 0 && !stream.state.peer_has_ended() {
            sys::shutdown(fd, libc::SHUT_RD).context(|| "shutdown")?;
        }
        options::restore_sending(fd, planned.cork, planned.nodelay)?;
        extra::set_late(fd, super::dump::sort(entry), &planned.extra.options)
    };
    finish().context(action)
}
