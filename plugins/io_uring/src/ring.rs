//! A ring of a stopped tree: how it is looked at, and by whom.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use criu_plugin_api::message::{FileTarget, RemoteArg, RemoteCall, TaskInfo};
use criu_plugin_api::{Context, Error, ErrorCode, Host, Result};
use nix::errno::Errno;

use crate::fdinfo::FdInfo;
use crate::picture::Picture;
use crate::sys::{self, Memory};

/// What `/proc/PID/fd` and `/proc/PID/maps` call a ring.
pub(crate) const NAME: &[u8] = b"anon_inode:[io_uring]";

/// The refusal of a ring; whoever calls knows which.
pub(crate) fn refuse(what: impl Into<String>, remedy: impl Into<String>) -> Error {
    let error = Error {
        code: ErrorCode::Refused,
        ..Error::new(what)
    };
    error.with_remedy(remedy)
}

/// A mapping of a ring.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) pid: i32,
    pub(crate) inode: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
}

/// A process with a descriptor of the ring.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) task: Rc<TaskInfo>,
    pub(crate) fd: i32,
}

/// Who asks the kernel about a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// This process will do.
    Anyone,
    /// A thread of the tree, with the number of the ring in its table.
    Thread { tid: i32, fd: i32 },
}

/// A ring.
pub(crate) struct Ring {
    pub(crate) pid: i32,
    pub(crate) fd: i32,
    pub(crate) inode: u64,
    pub(crate) local: OwnedFd,
    /// The beginning of its memory.
    pub(crate) head: Memory,
    pub(crate) users: Vec<User>,
}

impl Ring {
    /// # Errors
    /// It cannot be looked at, or is one without memory of the kernel's, which is refused.
    pub(crate) fn of(picture: &Picture, file: &FileTarget) -> Result<Self> {
        // SAFETY: the host keeps `local_fd` open during the call of `dump`, of which this is a part.
        let local = unsafe { BorrowedFd::borrow_raw(file.local_fd) };
        let local = local.try_clone_to_owned().context(|| "copying its descriptor")?;
        let head = match Memory::map(&local, sys::OFF_SQ_RING, 4096) {
            Ok(head) => head,
            // The kernels differ in the answer.
            Err(Errno::EINVAL | Errno::ENOMEM) => {
                return Err(refuse(
                    "it lies in memory of the program's own (IORING_SETUP_NO_MMAP), and the kernel does not tell where",
                    "have the program make it without this flag",
                ));
            }
            Err(errno) => return Err(errno).context(|| "mapping it"),
        };
        Ok(Self {
            pid: file.pid,
            fd: file.fd,
            inode: file.ino,
            local,
            head,
            users: picture.users(file.ino).to_vec(),
        })
    }

    /// What the kernel tells of it now.
    pub(crate) fn info(&self) -> Result<FdInfo> {
        let path = format!("/proc/self/fdinfo/{}", self.local.as_raw_fd());
        let text = fs::read(&path).context(|| format!("reading {path}"))?;
        FdInfo::parse(&text).map_err(|what| Error::new(format!("{path}: {what}")))
    }

    /// io_uring_register(2) with each of these operations and counts, the argument at an address where nothing is.
    pub(crate) fn register_nowhere(
        &self,
        host: &Host<'_>,
        by: Caller,
        each: &[(u32, u32)],
    ) -> Result<Vec<Errno>> {
        let results: Vec<i64> = match by {
            Caller::Anyone => each
                .iter()
                .map(|&(operation, count)| sys::register_nowhere(&self.local, operation, count))
                .collect(),
            Caller::Thread { tid, fd } => {
                let calls: Vec<RemoteCall> = each
                    .iter()
                    .map(|&(operation, count)| {
                        let args = [number(fd), operation.into(), sys::NOWHERE, count.into()];
                        plain(tid, libc::SYS_io_uring_register, &args)
                    })
                    .collect();
                let results = host.remote_calls(&calls)?;
                results.iter().map(|result| result.value).collect()
            }
        };
        if results.len() != each.len() {
            return Err(Error::new("the host gave too few results"));
        }
        Ok(results
            .into_iter()
            .map(|result| sys::errno(result).unwrap_or(Errno::UnknownErrno))
            .collect())
    }

    /// Sets a word of it for a moment. Should criu be killed in it, a process of the tree that has the ring mapped
    /// sets it back.
    pub(crate) fn change(
        &self,
        host: &Host<'_>,
        mapped: &[Mapped],
        at: u32,
        value: u32,
    ) -> Result<Changed<'_>> {
        let was = self.head.load(at).context(|| "reading its memory")?;
        let there = mapped.iter().find_map(|mapping| {
            let at = mapping.start.checked_add(at.into())?;
            let fits =
                mapping.inode == self.inode && mapping.offset != sys::OFF_SQES && at + 4 <= mapping.end;
            fits.then_some((mapping.pid, at))
        });
        if let Some((pid, address)) = there {
            for bit in (0..32).filter(|bit| (was ^ value) >> bit & 1 != 0) {
                let undo = set_bit(pid, address, bit, was >> bit & 1 != 0);
                host.undo_on_death(&undo)
                    .context(|| "arranging for a killed dump")?;
            }
        }
        self.head.store(at, value).context(|| "writing to its memory")?;
        Ok(Changed {
            memory: &self.head,
            at,
            was,
        })
    }
}

/// A word that is set back when this is dropped.
pub(crate) struct Changed<'a> {
    memory: &'a Memory,
    at: u32,
    was: u32,
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        // It was written at the same place before.
        _ = self.memory.store(self.at, self.was);
    }
}

/// futex(2) that sets or clears a bit and does nothing else; made twice it does no more than once.
fn set_bit(pid: i32, address: u64, bit: u32, set: bool) -> RemoteCall {
    const WAKE_OP_PRIVATE: u64 = 5 | 128;
    /// `FUTEX_OP_OR` and `FUTEX_OP_ANDN`, their argument the number of a bit.
    const OR: u64 = 2 | 8;
    const ANDN: u64 = 3 | 8;
    let operation = if set { OR } else { ANDN };
    let operation = operation << 28 | u64::from(bit) << 12;
    let args = [address, WAKE_OP_PRIVATE, 0, 0, address, operation];
    plain(pid, libc::SYS_futex, &args)
}

/// A call with plain arguments.
pub(crate) fn plain(pid: i32, nr: i64, args: &[u64]) -> RemoteCall {
    let args = args
        .iter()
        .map(|&value| RemoteArg {
            value,
            ..RemoteArg::default()
        })
        .collect();
    RemoteCall { pid, nr, args }
}

/// A descriptor as an argument.
pub(crate) fn number(fd: i32) -> u64 {
    i64::from(fd).cast_unsigned()
}

/// A field of `/proc/PID/task/TID/status`, or of the calling thread's.
pub(crate) fn status_field(path: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(path).context(|| format!("reading {path}"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| Error::new(format!("{path} has no field {name}")))
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.local.as_fd()
    }
}
