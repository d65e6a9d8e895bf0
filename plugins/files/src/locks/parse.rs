//! The lines of `/proc/locks` and of `lock:` in `/proc/PID/fdinfo/FD`, see proc(5).

use criu_proto::images::FileLockEntry;

use super::{BREAKING, FLOCK, LEASE, OFD, POSIX};

/// A lock, as the kernel prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    /// [`POSIX`], [`FLOCK`], [`OFD`] or [`LEASE`].
    pub(super) flag: u32,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`, with [`BREAKING`] for a lease that is being broken.
    pub(super) kind: u32,
    /// The process that took it; -1 for a lock of a description.
    pub(super) pid: i32,
    pub(super) inode: u64,
    pub(super) start: i64,
    /// In bytes; 0 for "to the end, however far it grows".
    pub(super) len: i64,
}

impl Lock {
    pub(super) fn entry(&self, pid: i32, fd: i32) -> FileLockEntry {
        FileLockEntry {
            flag: self.flag,
            r#type: self.kind,
            pid,
            fd,
            start: self.start,
            len: self.len,
        }
    }
}

/// A line that is not understood: a lock of a sort that is not known here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// Parses `N: [-> ]POSIX ADVISORY WRITE PID MAJ:MIN:INODE START END`. `None` for a process that only
/// waits (`->`).
pub(super) fn line(text: &str) -> Result<Option<Lock>, Unknown> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let mut next = || words.next().ok_or(Unknown);
    let sort = next()?;
    if sort == "->" {
        return Ok(None);
    }
    let flag = match sort {
        "POSIX" => POSIX,
        "FLOCK" => FLOCK,
        "OFDLCK" => OFD,
        "LEASE" => LEASE,
        _ => return Err(Unknown),
    };
    let state = next()?;
    let mut kind = match next()? {
        "READ" => libc::F_RDLCK,
        "WRITE" => libc::F_WRLCK,
        "UNLCK" => libc::F_UNLCK,
        _ => return Err(Unknown),
    }
    .cast_unsigned();
    if flag == LEASE && state == "BREAKING" {
        kind |= BREAKING;
    }
    let pid = next()?.parse().map_err(|_| Unknown)?;
    let inode = next()?
        .rsplit(':')
        .next()
        .and_then(|i| i.parse().ok())
        .ok_or(Unknown)?;
    let start: i64 = next()?.parse().map_err(|_| Unknown)?;
    let len = match next()? {
        "EOF" => 0,
        end => {
            let end: i64 = end.parse().map_err(|_| Unknown)?;
            end.checked_sub(start)
                .and_then(|n| n.checked_add(1))
                .filter(|n| *n > 0)
                .ok_or(Unknown)?
        }
    };
    Ok(Some(Lock {
        flag,
        kind,
        pid,
        inode,
        start,
        len,
    }))
}

/// The locks of one descriptor. The error is the line that is not understood.
pub(super) fn fdinfo(text: &str) -> Result<Vec<Lock>, &str> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("lock:"));
    lines
        .filter_map(|l| line(l).map_err(|Unknown| l.trim()).transpose())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sorts_are_understood() {
        let text = "pos:\t0\nflags:\t0100002\nmnt_id:\t29\nino:\t5\n\
            lock:\t1: POSIX  ADVISORY  WRITE 1924 fe:00:821401 10 29\n\
            lock:\t2: FLOCK  ADVISORY  WRITE 1924 fe:00:821401 0 EOF\n\
            lock:\t3: OFDLCK ADVISORY  READ -1 fe:00:821401 5 5\n\
            lock:\t4: LEASE  ACTIVE    READ 1924 fe:00:821401 0 EOF\n\
            lock:\t5: LEASE  BREAKING  UNLCK 1924 fe:00:821401 0 EOF\n";
        let lock = |flag, kind, pid, start, len| Lock {
            flag,
            kind,
            pid,
            inode: 821_401,
            start,
            len,
        };
        let expected = [
            lock(POSIX, 1, 1924, 10, 20),
            lock(FLOCK, 1, 1924, 0, 0),
            lock(OFD, 0, -1, 5, 1),
            lock(LEASE, 0, 1924, 0, 0),
            lock(LEASE, 2 | BREAKING, 1924, 0, 0),
        ];
        assert_eq!(fdinfo(text), Ok(expected.to_vec()));
    }

    #[test]
    fn waiters_hold_nothing() {
        assert_eq!(line("1: -> POSIX  ADVISORY  WRITE 77 00:1f:12 0 EOF"), Ok(None));
    }

    #[test]
    fn an_unknown_sort_is_not_passed_over() {
        assert_eq!(
            fdinfo("lock:\t1: DELEG ACTIVE READ 5 0:1:2 0 EOF\n"),
            Err("1: DELEG ACTIVE READ 5 0:1:2 0 EOF")
        );
        for text in [
            "",
            "1:",
            "1: POSIX",
            "1: POSIX ADVISORY WRITE x 0:1:2 0 EOF",
            "1: POSIX ADVISORY READ 5 0:1:2 9 3",
        ] {
            assert_eq!(line(text), Err(Unknown), "{text}");
        }
    }
}
