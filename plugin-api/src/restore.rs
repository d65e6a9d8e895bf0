//! What most kinds of files do at the end of their `open`.

use std::os::fd::{AsFd, AsRawFd};

use criu_proto::images::FownEntry;
use nix::errno::Errno;

use crate::wire::decode;
use crate::{Context, Error, Result};

/// The status flags that fcntl(F_SETFL) can change; the others belong to open(2).
pub const SETTABLE_FLAGS: u32 =
    (libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME).cast_unsigned();

/// Sets the status flags that open(2) did not: `O_APPEND`, `O_NONBLOCK`, `O_ASYNC`, `O_DIRECT`,
/// `O_NOATIME`; others in `flags` are ignored. fcntl(2), `F_SETFL`.
///
/// # Errors
/// The kernel's, e.g. `O_DIRECT` on a file system without it.
pub fn apply_flags(fd: impl AsFd, flags: u32) -> Result<()> {
    change_flags(fd, None, flags)
}

/// As [`apply_flags`]; `has` are the status flags of a descriptor where they are known: what the call that made it was
/// given.
///
/// # Errors
/// Those of [`apply_flags`].
pub fn change_flags(fd: impl AsFd, has: Option<u32>, flags: u32) -> Result<()> {
    let wanted = flags & SETTABLE_FLAGS;
    let fd = fd.as_fd().as_raw_fd();
    let has = match has {
        Some(has) => has,
        // SAFETY: F_GETFL returns a plain number.
        None => Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFL) })
            .context(|| format!("reading the flags of descriptor {fd}"))?
            .cast_unsigned(),
    };
    if has & SETTABLE_FLAGS == wanted {
        return Ok(());
    }
    // SAFETY: F_SETFL takes and returns plain numbers.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) })
        .context(|| format!("setting the flags of descriptor {fd} to {wanted:#o}"))
        .map(drop)
}

/// Sets the file offset, in bytes. lseek(2). Files that have offsets of the upper half, such as `/proc/PID/mem`, can be
/// given those too.
///
/// # Errors
/// The kernel's.
pub fn seek(fd: impl AsFd, pos: u64) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: lseek takes plain numbers.
    Errno::result(unsafe { libc::lseek(fd, pos.cast_signed(), libc::SEEK_SET) })
        .context(|| format!("setting the offset of descriptor {fd} to {pos}"))
        .map(drop)
}

/// Reads the owner that the core put into [`FileTarget::fown`](crate::message::FileTarget), for the
/// kind's own entry.
///
/// # Errors
/// It does not decode.
pub fn fown_decode(bytes: &[u8]) -> Result<FownEntry> {
    if bytes.is_empty() {
        return Ok(FownEntry::default());
    }
    decode(bytes).context(|| "reading the owner of a file")
}

/// The owner as fcntl(2) wants it.
#[repr(C)]
struct FOwnerEx {
    kind: libc::c_int,
    pid: libc::pid_t,
}

const F_SETOWN_EX: libc::c_int = 15;
const F_SETSIG: libc::c_int = 10;

/// Sets who gets the signals of the file, and which: fcntl(2), `F_SETOWN_EX` and `F_SETSIG`. Call it
/// before [`apply_flags`], which may switch `O_ASYNC` on.
///
/// The kernel notes the user who sets an owner, and later sends only what that user may send. So the
/// uids of this thread become those of the entry for the moment; it needs `CAP_SETUID` when they
/// differ from its own.
///
/// A thread (`F_OWNER_TID`) is there too: whoever knows of one that owns a file has asked for it with
/// [`Services::early_thread`](crate::Services::early_thread).
///
/// # Errors
/// The kernel's; the owner must exist.
pub fn apply_owner(fd: impl AsFd, fown: &FownEntry) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    if fown.signum != 0 {
        // SAFETY: F_SETSIG takes a plain number.
        Errno::result(unsafe { libc::fcntl(fd, F_SETSIG, fown.signum) })
            .context(|| format!("setting signal {} for descriptor {fd}", fown.signum))?;
    }
    if fown.pid == 0 {
        return Ok(());
    }
    let owner = FOwnerEx {
        kind: fown
            .pid_type
            .try_into()
            .map_err(|_| Error::new("the owner's type is out of range"))?,
        pid: fown
            .pid
            .try_into()
            .map_err(|_| Error::new("the owner's pid is out of range"))?,
    };
    as_user(fown.uid, fown.euid, || {
        // SAFETY: F_SETOWN_EX reads a `struct f_owner_ex`, which `owner` is.
        Errno::result(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) })
            .context(|| format!("making {} the owner of descriptor {fd}", fown.pid))
            .map(drop)
    })
}

/// Runs `work` with other user ids. The raw calls change this thread alone; the effective id stays in
/// the saved one, by which (and with it the capabilities) it comes back.
fn as_user(uid: u32, euid: u32, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (mut real, mut effective, mut saved) = (0_u32, 0_u32, 0_u32);
    // SAFETY: the three places are valid for writing.
    Errno::result(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })
        .context(|| "reading the own user ids")?;
    if (real, effective) == (uid, euid) {
        return work();
    }
    set_ids(uid, euid, effective)?;
    let result = work();
    set_ids(u32::MAX, effective, u32::MAX)
        .and_then(|()| set_ids(real, effective, saved))
        .context(|| "coming back from the user ids of a file's owner")?;
    result
}

fn set_ids(real: u32, effective: u32, saved: u32) -> Result<()> {
    // SAFETY: setresuid takes plain numbers, -1 for "as it is".
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) })
        .context(|| format!("taking the user ids {real}, {effective}, {saved}"))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, Write};

    use super::*;

    fn flags(file: &File) -> u32 {
        // SAFETY: F_GETFL returns a plain number.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }.cast_unsigned()
    }

    #[test]
    fn flags_and_offset_are_set() {
        let mut file = crate::testing::memory_file("flags").unwrap();
        file.write_all(b"0123456789").unwrap();
        let nonblock = libc::O_NONBLOCK.cast_unsigned();
        apply_flags(
            &file,
            nonblock | libc::O_APPEND.cast_unsigned() | libc::O_CREAT.cast_unsigned(),
        )
        .unwrap();
        assert_eq!(
            flags(&file) & SETTABLE_FLAGS,
            nonblock | libc::O_APPEND.cast_unsigned()
        );
        apply_flags(&file, 0).unwrap();
        assert_eq!(flags(&file) & SETTABLE_FLAGS, 0);
        change_flags(&file, Some(libc::O_RDWR.cast_unsigned()), nonblock).unwrap();
        assert_eq!(flags(&file) & SETTABLE_FLAGS, nonblock);
        change_flags(&file, Some(nonblock), libc::O_RDWR.cast_unsigned()).unwrap();
        assert_eq!(flags(&file) & SETTABLE_FLAGS, 0);
        seek(&file, 4).unwrap();
        assert_eq!(file.stream_position().unwrap(), 4);
        let error = seek(&file, u64::MAX).unwrap_err();
        assert!(error.message.contains("18446744073709551615"), "{error}");
    }

    #[test]
    fn the_owner_is_set_and_the_own_ids_stay() {
        let file = crate::testing::memory_file("owner").unwrap();
        // SAFETY: takes and returns plain numbers.
        let (uid, pid) = unsafe { (libc::getuid(), libc::getpid()) };
        let other = if uid == 0 { 4321 } else { uid };
        let fown = FownEntry {
            uid: other,
            euid: other,
            signum: 12,
            pid_type: 1,
            pid: pid.cast_unsigned(),
        };
        apply_owner(&file, &fown).unwrap();
        // SAFETY: F_GETOWN and F_GETSIG return plain numbers.
        unsafe {
            assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_GETOWN), pid);
            assert_eq!(libc::fcntl(file.as_raw_fd(), 11), 12);
            assert_eq!(libc::geteuid(), uid);
        }
        assert!(
            apply_owner(
                &file,
                &FownEntry {
                    pid: u32::MAX,
                    ..fown
                }
            )
            .is_err()
        );
    }
}
