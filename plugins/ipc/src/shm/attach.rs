//! Attaches a segment to a caught task, at an address or as the part that was left of an attachment.

use std::fs::File;

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::VmaEntry;
use nix::errno::Errno;

use super::{PAGE, sys};

/// Attempts to find a place for the whole segment that does not overlap the one where its parts belong.
const TRIES: usize = 8;

/// One attachment: all that was left of one shmat(2), so that one shmdt(2) finds it.
pub(crate) struct Attacher<'a> {
    host: &'a Host<'a>,
    pid: i32,
    /// The pid by which `/proc` knows the process.
    host_pid: i32,
    id: i32,
    /// In the order of their addresses.
    parts: &'a [VmaEntry],
    /// Where the segment begins, or would.
    base: u64,
    /// Bytes that the whole segment takes in memory.
    whole: u64,
}

/// By what mappings of a segment are told to be parts of one attachment: the segment, where it begins and whether it
/// is only read. The kernel tells no more of it.
pub(crate) type Key = (u64, Option<u64>, bool);

/// The attachment that a mapping is of.
pub(crate) fn key(vma: &VmaEntry) -> Key {
    (vma.shmid, vma.start.checked_sub(vma.pgoff), read_only(vma))
}

fn read_only(vma: &VmaEntry) -> bool {
    vma.fdflags.unwrap_or(libc::O_RDWR.cast_unsigned()) & 3 == libc::O_RDONLY.cast_unsigned()
}

impl<'a> Attacher<'a> {
    /// The parts are of one attachment, and at least one.
    pub(crate) fn new(
        host: &'a Host<'a>,
        pid: i32,
        id: i32,
        parts: &'a [VmaEntry],
        size: u64,
    ) -> Result<Self> {
        let tasks = host.tasks()?;
        let task = tasks.iter().find(|task| task.pid == pid);
        let host_pid = task
            .map(|task| task.host_pid)
            .ok_or_else(|| Error::new(format!("process {pid} is not in the tree")))?;
        let damaged = || Error::new(format!("its mappings do not fit its {size} bytes: damaged"));
        let (mut whole, mut end) = (size.checked_next_multiple_of(PAGE).ok_or_else(damaged)?, 0);
        let mut base = None;
        for vma in parts {
            let length = vma.end.checked_sub(vma.start).ok_or_else(damaged)?;
            if vma.pgoff < end {
                return Err(damaged());
            }
            end = vma.pgoff.checked_add(length).ok_or_else(damaged)?;
            base = base.or(vma.start.checked_sub(vma.pgoff));
        }
        // Huge pages round it up further, but then it is attached as a whole.
        if parts.len() == 1 && parts[0].pgoff == 0 {
            whole = whole.max(end);
        }
        Ok(Self {
            host,
            pid,
            host_pid,
            id,
            parts,
            base: base.filter(|_| end <= whole).ok_or_else(damaged)?,
            whole,
        })
    }

    fn is_whole(&self) -> bool {
        matches!(self.parts, [vma] if vma.pgoff == 0 && vma.end - vma.start == self.whole)
    }

    /// Attaches the whole segment: at its place, or elsewhere if only parts of it were left.
    pub(crate) fn attach(&self) -> Result<u64> {
        if self.is_whole() {
            return self.attach_at(self.base);
        }
        let mut in_the_way = Vec::new();
        let found = loop {
            let at = self.attach_at(0)?;
            if at.abs_diff(self.base) >= self.whole {
                break Ok(at);
            }
            in_the_way.push(at);
            if in_the_way.len() == TRIES {
                break Err(Error::new("there is no room to attach it as a whole"));
            }
        };
        for at in in_the_way {
            self.act("shmdt", libc::SYS_shmdt, &[at])?;
        }
        found
    }

    fn attach_at(&self, at: u64) -> Result<u64> {
        let flags = match self.parts.first() {
            Some(vma) if read_only(vma) => libc::SHM_RDONLY,
            _ => 0,
        };
        let args = [
            u64::from(self.id.cast_unsigned()),
            at,
            u64::from(flags.cast_unsigned()),
        ];
        match self.call("shmat", libc::SYS_shmat, &args) {
            Err((Errno::EACCES, _)) => {}
            other => return other.map_err(|(_, error)| error),
        }
        // The process has attached it and then lost the right to. Its owner for the moment is the user
        // of the process, who alone may use it.
        let uid = self.act("geteuid", libc::SYS_geteuid, &[])?;
        let now = sys::stat(self.id).context(|| "looking at it")?;
        sys::set(self.id, u32::try_from(uid).unwrap_or(u32::MAX), now.gid, 0o700)
            .context(|| "letting its process attach it")?;
        self.act("shmat", libc::SYS_shmat, &args)
    }

    /// The memory of the segment, by way of the attachment at an address.
    pub(crate) fn memory(&self, at: u64) -> Result<File> {
        let end = at + self.whole;
        let path = format!("/proc/{}/map_files/{at:x}-{end:x}", self.host_pid);
        let file = File::options().read(true).write(true).open(&path);
        file.context(|| format!("opening {path}"))
    }

    /// Brings the parts to their places, and gives them protection, advice and locks.
    pub(crate) fn settle(&self, at: u64) -> Result<()> {
        if !self.is_whole() {
            let mut after = 0;
            for vma in self.parts {
                let length = vma.end - vma.start;
                self.unmap(at + after, vma.pgoff - after)?;
                self.mremap(at + vma.pgoff, vma.start, length)?;
                after = vma.pgoff + length;
            }
            self.unmap(at + after, self.whole - after)?;
        }
        self.parts.iter().try_for_each(|vma| self.finish(vma))
    }

    fn finish(&self, vma: &VmaEntry) -> Result<()> {
        let (start, length) = (vma.start, vma.end - vma.start);
        let attached = if read_only(vma) {
            libc::PROT_READ
        } else {
            libc::PROT_READ | libc::PROT_WRITE
        };
        if attached.cast_unsigned() != vma.prot {
            self.act("mprotect", libc::SYS_mprotect, &[start, length, vma.prot.into()])?;
        }
        let mut advice = vma.madv.unwrap_or(0);
        while advice != 0 {
            let number = advice.trailing_zeros();
            advice &= advice - 1;
            self.act("madvise", libc::SYS_madvise, &[start, length, number.into()])?;
        }
        if vma.flags & libc::MAP_LOCKED.cast_unsigned() != 0 {
            // The way in which the core writes MLOCK_ONFAULT down, see docs/format.md.
            let on_fault = vma.flags & libc::MAP_NONBLOCK.cast_unsigned() != 0;
            let flags = if on_fault { libc::MLOCK_ONFAULT } else { 0 };
            self.act("mlock2", libc::SYS_mlock2, &[start, length, u64::from(flags)])?;
        }
        Ok(())
    }

    fn mremap(&self, from: u64, to: u64, length: u64) -> Result<()> {
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned().into();
        self.act("mremap", libc::SYS_mremap, &[from, length, length, flags, to])
            .map(drop)
    }

    fn unmap(&self, at: u64, length: u64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        self.act("munmap", libc::SYS_munmap, &[at, length]).map(drop)
    }

    fn act(&self, name: &str, nr: i64, args: &[u64]) -> Result<u64> {
        self.call(name, nr, args).map_err(|(_, error)| error)
    }

    /// A call in the task; its errno with the error.
    fn call(&self, name: &str, nr: i64, args: &[u64]) -> std::result::Result<u64, (Errno, Error)> {
        let result = self
            .host
            .remote_syscall(self.pid, nr, args)
            .map_err(|error| (Errno::UnknownErrno, error.context(name)))?;
        u64::try_from(result).map_err(|_| {
            let errno = i32::try_from(-result).map_or(Errno::UnknownErrno, Errno::from_raw);
            (errno, Error::new(format!("{name}: {}", errno.desc())))
        })
    }
}
