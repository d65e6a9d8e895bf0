//! Takes the locks again, in the task that held them.
//!
//! That is done at its very end, from outside: as long as the task still closes descriptors through
//! which its mappings were made, each close(2) would drop its POSIX locks on that file, and each open(2)
//! would break a lease.

use std::os::unix::fs::MetadataExt;

use criu_plugin_api::message::{RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::FileLockEntry;
use criu_proto::magic;
use nix::errno::Errno;

use super::{BREAKING, FLOCK, LEASE, OFD, POSIX, lease, parse};
use crate::images;

/// Reads `filelocks.img` and checks that each entry can be meant.
pub(super) fn read(host: &Host<'_>) -> Result<Vec<FileLockEntry>> {
    let name = magic::FILE_LOCKS.file_name(0);
    let entries: Vec<FileLockEntry> = images::entries(host, &name, &magic::FILE_LOCKS)?;
    for entry in &entries {
        let kind = (entry.r#type & !BREAKING).cast_signed();
        let known = if entry.r#type & BREAKING != 0 {
            entry.flag == LEASE && matches!(kind, libc::F_RDLCK | libc::F_UNLCK)
        } else {
            matches!(entry.flag, POSIX | FLOCK | OFD | LEASE) && matches!(kind, libc::F_RDLCK | libc::F_WRLCK)
        };
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
pub(super) fn take(host: &Host<'_>, entry: &FileLockEntry) -> Result<()> {
    if entry.flag == LEASE {
        let action = || format!("taking the lease of pid {}, fd {}", entry.pid, entry.fd);
        return lease::take(host, entry).context(action);
    }
    let is_write = entry.r#type.cast_signed() == libc::F_WRLCK;
    let (what, nr, args) = match entry.flag {
        FLOCK => {
            let operation = if is_write { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
            (
                "flock(2) lock",
                libc::SYS_flock,
                vec![number(entry.fd), number(operation)],
            )
        }
        flag => {
            let (what, command) = if flag == OFD {
                ("open file description lock", libc::F_OFD_SETLK)
            } else {
                ("POSIX lock", libc::F_SETLK)
            };
            let lock = RemoteArg {
                data: Some(flock(entry)),
                ..RemoteArg::default()
            };
            (
                what,
                libc::SYS_fcntl,
                vec![number(entry.fd), number(command), lock],
            )
        }
    };
    let action = || {
        format!(
            "taking the {what} of pid {}, fd {}, {}",
            entry.pid,
            entry.fd,
            range(entry)
        )
    };
    let call = RemoteCall {
        pid: entry.pid,
        nr,
        args,
    };
    let result = host.remote_call(&call).context(action)?;
    match success(result.value) {
        Err(error) if is_held(result.value) => Err(error.context(action()).with_remedy(holders(host, entry))),
        result => result.context(action),
    }
}

/// Whether a call has failed because somebody else holds a lock.
fn is_held(result: i64) -> bool {
    [libc::EAGAIN, libc::EACCES]
        .map(|errno| -i64::from(errno))
        .contains(&result)
}

/// Who holds the locks on the file of an entry now, for messages.
fn holders(host: &Host<'_>, entry: &FileLockEntry) -> String {
    let find = || -> Option<Vec<String>> {
        let tasks = host.tasks().ok()?;
        let pid = tasks.iter().find(|task| task.pid == entry.pid)?.host_pid;
        let inode = std::fs::metadata(format!("/proc/{pid}/fd/{}", entry.fd))
            .ok()?
            .ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let locks = locks.lines().filter_map(|line| parse::line(line).ok().flatten());
        let theirs = locks.filter(|lock| lock.inode == inode && lock.pid > 0 && lock.pid != pid);
        let mut pids: Vec<String> = theirs.map(|lock| lock.pid.to_string()).collect();
        pids.dedup();
        Some(pids)
    };
    match find() {
        Some(pids) if !pids.is_empty() => {
            format!("process {} holds a lock on this file: end it", pids.join(", "))
        }
        _ => "somebody else holds a lock on this file: have it given up".to_owned(),
    }
}

/// The errno in the result of a call.
pub(super) fn success(result: i64) -> Result<()> {
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => Err(Error::new(Errno::from_raw(errno).desc())),
        _ => Ok(()),
    }
}

pub(super) fn number(value: i32) -> RemoteArg {
    RemoteArg {
        value: i64::from(value).cast_unsigned(),
        ..RemoteArg::default()
    }
}

/// `struct flock` of a 64-bit task: type and whence (16 bits each), start and length (64 bits each, on
/// their boundary), pid (must be 0 for `F_OFD_SETLK`).
fn flock(entry: &FileLockEntry) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    let kind = entry.r#type as u16;
    bytes[0..2].copy_from_slice(&kind.to_ne_bytes());
    bytes[2..4].copy_from_slice(&(libc::SEEK_SET as u16).to_ne_bytes());
    bytes[8..16].copy_from_slice(&entry.start.to_ne_bytes());
    bytes[16..24].copy_from_slice(&entry.len.to_ne_bytes());
    bytes
}

fn range(entry: &FileLockEntry) -> String {
    match (entry.start, entry.len) {
        (0, 0) => "the whole file".to_owned(),
        (start, 0) => format!("from byte {start}"),
        (start, len) => format!("{len} bytes at {start}"),
    }
}
