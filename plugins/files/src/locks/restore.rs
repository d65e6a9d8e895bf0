//! Takes the locks again, in the task that held them.

use criu_plugin_api::{Error, Host, Result};
use criu_proto::images::FileLockEntry;
use criu_proto::magic;

use super::{FLOCK, LEASE, OFD, POSIX};
use crate::{images, sys};

/// Reads `filelocks.img` and checks that each entry can be meant.
pub(super) fn read(host: &Host<'_>) -> Result<Vec<FileLockEntry>> {
    let name = magic::FILE_LOCKS.file_name(0);
    let entries: Vec<FileLockEntry> = images::entries(host, &name, &magic::FILE_LOCKS)?;
    for entry in &entries {
        let known = matches!(entry.flag, POSIX | FLOCK | OFD | LEASE)
            && matches!(entry.r#type.cast_signed(), libc::F_RDLCK | libc::F_WRLCK);
        let (flag, kind) = (entry.flag, entry.r#type);
        if !known || entry.fd < 0 || entry.start < 0 || entry.len < 0 {
            return Err(Error::new(format!(
                "{name}: the lock of pid {}, fd {} (flag {flag}, type {kind}, {} bytes at {}) is not supported",
                entry.pid, entry.fd, entry.len, entry.start
            )));
        }
    }
    Ok(entries)
}

/// Takes one lock, without waiting: nobody else may hold it.
pub(super) fn take(entry: &FileLockEntry) -> Result<()> {
    let is_write = entry.r#type.cast_signed() == libc::F_WRLCK;
    let taken = match entry.flag {
        FLOCK => sys::flock(entry.fd, is_write),
        LEASE => sys::set_lease(entry.fd, is_write),
        flag => sys::set_lock(entry.fd, is_write, entry.start, entry.len, flag == OFD),
    };
    taken.map_err(|errno| {
        let what = match entry.flag {
            FLOCK => "flock(2) lock",
            LEASE => "lease",
            OFD => "open file description lock",
            _ => "POSIX lock",
        };
        Error::new(format!(
            "taking the {what} of pid {}, fd {} ({} bytes at {}): {}",
            entry.pid,
            entry.fd,
            entry.len,
            entry.start,
            errno.desc()
        ))
    })
}
