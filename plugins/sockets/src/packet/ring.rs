//! The mappings of the rings of packet sockets (`PACKET_MMAP`).

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use criu_plugin_api::message::MappingRecord;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::Message;
use criu_proto::images::VmaEntry;
use nix::errno::Errno;

/// Bits of `vma_entry.status`.
pub(super) const REGULAR: u32 = 1;
pub(super) const SOCKET: u32 = 1 << 11;

/// A descriptor of a socket that is mapped.
pub(super) struct Holder {
    /// The process that has it.
    pub(super) pid: i32,
    /// Inode of the socket.
    pub(super) ino: u64,
    /// A copy of it in this process.
    pub(super) local: OwnedFd,
}

impl Holder {
    pub(super) fn fd(&self) -> RawFd {
        self.local.as_raw_fd()
    }
}

/// Looks for a descriptor of the socket with this link, first in the process that maps it.
///
/// # Errors
/// A table could not be read.
pub(super) fn holder(host: &Host<'_>, pid: i32, link: &[u8]) -> Result<Option<Holder>> {
    let ino = std::str::from_utf8(link)
        .ok()
        .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .ok_or_else(|| Error::new("the name of the mapping has no inode"))?;
    let mut tasks = host.tasks()?;
    tasks.retain(|task| !task.dead);
    tasks.sort_by_key(|task| task.pid != pid);
    for task in tasks {
        let folder = format!("/proc/{}/fd", task.host_pid);
        for entry in fs::read_dir(&folder).context(|| format!("listing {folder}"))? {
            let entry = entry.context(|| format!("listing {folder}"))?;
            let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let leads = fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str().as_bytes() == link);
            if let Some(fd) = fd.filter(|_| leads) {
                let local = host.target_fd(task.pid, fd)?;
                let pid = task.pid;
                return Ok(Some(Holder { pid, ino, local }));
            }
        }
    }
    Ok(None)
}

/// Maps the rings of a restored socket where they were.
pub(super) fn map(host: &Host<'_>, record: &MappingRecord) -> Result<()> {
    let vma = VmaEntry::decode(record.vma.as_slice())
        .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", record.pid)))?;
    let id = u32::try_from(vma.shmid).map_err(|_| Error::new(format!("file id {}: damaged", vma.shmid)))?;
    let number = |pid| -> Result<Option<i32>> {
        let slots = host.descriptors(pid)?;
        Ok(slots.iter().find(|slot| slot.file_id == id).map(|slot| slot.fd))
    };
    if let Some(fd) = number(record.pid)? {
        return map_here(host, record.pid, &vma, fd);
    }
    for task in host.tasks()?.iter().filter(|task| !task.dead) {
        if let Some(fd) = number(task.pid)? {
            return map_borrowed(host, record.pid, &vma, (task.pid, fd));
        }
    }
    Err(Error::new(format!("no process has the socket with id {id:#x}")))
}

/// Lends the descriptor of another process to this one for the mapping.
fn map_borrowed(host: &Host<'_>, pid: i32, vma: &VmaEntry, (owner, fd): (i32, i32)) -> Result<()> {
    let call = |nr, args: &[i64], what: &str| remote(host, pid, nr, args, what);
    let process = call(libc::SYS_pidfd_open, &[owner.into(), 0], "pidfd_open")?;
    let copy = call(libc::SYS_pidfd_getfd, &[process, fd.into(), 0], "pidfd_getfd");
    call(libc::SYS_close, &[process], "close")?;
    let copy = copy?;
    let local = i32::try_from(copy).map_err(|_| Error::new("pidfd_getfd: no descriptor"))?;
    let result = map_here(host, pid, vma, local);
    call(libc::SYS_close, &[copy], "close")?;
    result
}

fn map_here(host: &Host<'_>, pid: i32, vma: &VmaEntry, fd: i32) -> Result<()> {
    let flags = vma.flags.cast_signed() & libc::MAP_LOCKED | libc::MAP_SHARED | libc::MAP_FIXED;
    let length = vma.end.saturating_sub(vma.start);
    let args = [
        vma.start.cast_signed(),
        length.cast_signed(),
        vma.prot.into(),
        flags.into(),
        fd.into(),
        0,
    ];
    remote(
        host,
        pid,
        libc::SYS_mmap,
        &args,
        "mapping the rings of a packet socket",
    )
    .map(drop)
}

fn remote(host: &Host<'_>, pid: i32, nr: i64, args: &[i64], what: &str) -> Result<i64> {
    let args: Vec<u64> = args.iter().map(|value| value.cast_unsigned()).collect();
    let result = host.remote_syscall(pid, nr, &args).context(|| what.to_owned())?;
    if (-4095..0).contains(&result) {
        let errno = Errno::from_raw(i32::try_from(-result).unwrap_or(0));
        return Err(Error::new(format!("{what}: {}", errno.desc())));
    }
    Ok(result)
}
