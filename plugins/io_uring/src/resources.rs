//! Registers again what was registered with a ring: files, buffers, and the ring itself with threads.

use criu_plugin_api::message::{RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::Pid;

use crate::dump::said;
use crate::entry::RingEntry;
use crate::ring::{number, plain};
use crate::sys::register;
use crate::tree::Tree;

/// Files and buffers.
pub(crate) fn register(host: &Host<'_>, tree: &Tree<'_>, entry: &RingEntry) -> Result<()> {
    if !entry.files.is_empty() {
        let table: Vec<u8> = entry.files.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        give(host, tree, entry, register::FILES, &table).context(|| "registering its files")?;
    }
    if !entry.buffers.is_empty() {
        let words = entry
            .buffers
            .iter()
            .flat_map(|buffer| [buffer.address, buffer.length]);
        let table: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        give(host, tree, entry, register::BUFFERS, &table).context(|| "registering its buffers")?;
    }
    Ok(())
}

/// io_uring_register(2) of a table, which is put into the memory of the process for the moment.
fn give(host: &Host<'_>, tree: &Tree<'_>, entry: &RingEntry, operation: u32, table: &[u8]) -> Result<()> {
    let count = match operation {
        register::FILES => entry.files.len(),
        _ => entry.buffers.len(),
    };
    let by = if entry.issuer == 0 {
        entry.owner
    } else {
        entry.issuer
    };
    let fd = tree
        .number(entry.owner, entry.id)?
        .ok_or_else(|| Error::new("it has no descriptor there"))?;
    let call = |name: &str, nr: i64, args: &[u64]| -> Result<u64> {
        let result = host.remote_syscall(by, nr, args).context(|| name)?;
        u64::try_from(result).map_err(|_| Error::new(format!("{name}: {}", said(result))))
    };
    let length = (table.len() as u64).next_multiple_of(4096);
    let protection = number(libc::PROT_READ | libc::PROT_WRITE);
    let flags = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let args = [0, length, protection, flags, u64::MAX, 0];
    let at = call("mmap", libc::SYS_mmap, &args)?;
    let there = RemoteIoVec {
        base: at as usize,
        len: table.len(),
    };
    let pid = Pid::from_raw(tree.host_pid(entry.owner)?);
    let written = process_vm_writev(pid, &[std::io::IoSlice::new(table)], &[there])
        .context(|| format!("writing to the memory of process {pid}"))?;
    if written != table.len() {
        return Err(Error::new("the memory of the process takes only a part"));
    }
    let args = [number(fd), operation.into(), at, count as u64];
    let registered = call("io_uring_register", libc::SYS_io_uring_register, &args);
    call("munmap", libc::SYS_munmap, &[at, length])?;
    registered.map(drop)
}

/// The ring in the tables of threads.
pub(crate) fn register_rings(host: &Host<'_>, tree: &Tree<'_>, entry: &RingEntry) -> Result<()> {
    for place in &entry.registered {
        let fd = tree
            .number(place.pid, entry.id)?
            .ok_or_else(|| Error::new(format!("process {} has no descriptor of it", place.pid)))?;
        // `struct io_uring_rsrc_update`: the place, and the descriptor as 64 bits.
        let mut update = place.slot.to_ne_bytes().to_vec();
        update.extend([0; 4]);
        update.extend(number(fd).to_ne_bytes());
        let operation = register::RING_FDS.into();
        let mut call: RemoteCall = plain(place.tid, libc::SYS_io_uring_register, &[number(fd), operation]);
        call.args.push(RemoteArg {
            data: Some(update),
            ..RemoteArg::default()
        });
        call.args.push(RemoteArg {
            value: 1,
            ..RemoteArg::default()
        });
        let result = host.remote_call(&call)?.value;
        if result != 1 {
            return Err(Error::new(format!(
                "registering it in thread {} at {}: {}",
                place.tid,
                place.slot,
                said(result)
            )));
        }
    }
    Ok(())
}
