//! Makes a memory object anew.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};

use criu_plugin_api::huge_pages::Filler;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::MemfdInodeEntry;
use nix::errno::Errno;

use crate::sys;

/// The names of objects behind shared anonymous mappings, without and with huge pages.
pub(crate) const ANONYMOUS: &[u8] = b"/dev/zero";
pub(crate) const ANONYMOUS_HUGE: &[u8] = b"/anon_hugepage";

/// Bytes of contents that are looked at together; no page is smaller than a part of it.
const CHUNK: usize = 64 << 10;
/// Asks for an executable object where the kernel would by default not make one. Linux 6.3.
const MFD_EXEC: u32 = 0x10;

/// The seals of an object that allows for no more.
pub(crate) const SEAL_SEAL: u32 = libc::F_SEAL_SEAL as u32;
/// Nobody may write.
pub(crate) const SEAL_WRITE: u32 = libc::F_SEAL_WRITE as u32;

/// Makes the object, with owner, mode and contents. Its seals come when everybody has it.
pub(crate) fn make(host: &Host<'_>, entry: &MemfdInodeEntry) -> Result<File> {
    let name = String::from_utf8_lossy(&entry.name).into_owned();
    build(host, entry).context(|| format!("making the memory object {name:?} of {} bytes", entry.size))
}

fn build(host: &Host<'_>, entry: &MemfdInodeEntry) -> Result<File> {
    let huge = entry.hugetlb_flag.map(huge_log).transpose()?;
    let object = create(entry, huge)?;
    if object.metadata().context(|| "asking for its size")?.len() != entry.size {
        object.set_len(entry.size).context(|| "setting its size")?;
    }
    match huge {
        Some(log) => fill_huge(host, entry, &object, 1 << log)?,
        None => host.restore_shared_memory(u64::from(entry.shmid), object.as_raw_fd(), entry.size)?,
    }
    let now = object.metadata().context(|| "asking for its owner")?;
    if (now.uid(), now.gid()) != (entry.uid, entry.gid) {
        fchown(object.as_fd(), Some(entry.uid), Some(entry.gid))
            .context(|| format!("giving it to {}:{}", entry.uid, entry.gid))?;
    }
    if let Some(mode) = entry.mode
        && (now.mode() ^ mode) & 0o7777 != 0
    {
        let mode = mode & 0o7777;
        object
            .set_permissions(Permissions::from_mode(mode))
            .context(|| format!("setting mode {mode:o}"))?;
    }
    Ok(object)
}

/// Fills an object of huge pages. It cannot be written to by write(2), so its contents go by an ordinary
/// object and a mapping; pages of zeros alone are left out, as they may never have been touched.
fn fill_huge(host: &Host<'_>, entry: &MemfdInodeEntry, object: &File, page: u64) -> Result<()> {
    let plain = sys::memfd_create(b"contents", libc::MFD_CLOEXEC).context(|| "memfd_create")?;
    plain
        .set_len(entry.size)
        .context(|| "setting the size of its contents")?;
    host.restore_shared_memory(u64::from(entry.shmid), plain.as_raw_fd(), entry.size)?;
    let mut buffer = vec![0; CHUNK];
    let mut filler = Filler::new(object, page);
    let mut at = 0;
    while at < entry.size {
        let length = usize::try_from(entry.size - at).unwrap_or(CHUNK).min(CHUNK);
        let data = &mut buffer[..length];
        plain
            .read_exact_at(data, at)
            .context(|| format!("reading its contents at {at:#x}"))?;
        filler.write_all(data).context(|| {
            let start = at / page * page;
            format!("getting a page of {page} bytes for its contents at {start:#x}")
        })?;
        at += length as u64;
    }
    Ok(())
}

fn create(entry: &MemfdInodeEntry, huge: Option<u32>) -> Result<File> {
    if entry.size > 0 && (entry.name == ANONYMOUS || entry.name == ANONYMOUS_HUGE) {
        match sys::shared_anonymous(entry.size, huge) {
            Ok(object) => return Ok(object),
            // Without CAP_CHECKPOINT_RESTORE /proc/self/map_files is closed; a memfd does the same work.
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(|| "mapping shared anonymous memory"),
        }
    }
    let mut flags = libc::MFD_CLOEXEC;
    if let Some(log) = huge {
        flags |= libc::MFD_HUGETLB | log << libc::MFD_HUGE_SHIFT;
    }
    if entry.seals != SEAL_SEAL {
        flags |= libc::MFD_ALLOW_SEALING;
    }
    let made = match sys::memfd_create(&entry.name, flags | MFD_EXEC) {
        Err(Errno::EINVAL) => sys::memfd_create(&entry.name, flags),
        other => other,
    };
    made.context(|| "memfd_create")
}

/// The binary logarithm of the size of huge pages.
fn huge_log(flag: u32) -> Result<u32> {
    match flag >> libc::MFD_HUGE_SHIFT {
        log @ 16..=40 => Ok(log),
        log => Err(Error::new(format!(
            "pages of 2^{log} bytes in the flag {flag:#x} cannot be: damaged"
        ))),
    }
}
