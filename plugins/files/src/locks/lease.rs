//! Leases, `F_SETLEASE` of fcntl(2), also those that are being broken.

use std::os::unix::fs::OpenOptionsExt;

use criu_plugin_api::message::{RemoteArg, RemoteCall, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::FileLockEntry;

use super::BREAKING;
use super::restore::{number, success};

const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;

/// Takes a lease again; one that was being broken is broken again, silently: the signal of the first
/// time was sent, and is restored with the signals of the task if it is still pending.
pub(super) fn take(host: &Host<'_>, entry: &FileLockEntry) -> Result<()> {
    let kind = (entry.r#type & !BREAKING).cast_signed();
    if entry.r#type & BREAKING == 0 {
        return fcntl(host, entry, libc::F_SETLEASE, number(kind)).map(drop);
    }
    let description = Description::of(host, entry)?;
    // A lease that becomes one for reading was one for writing. One that is to go was either; only one
    // for writing can be had with a writable descriptor.
    let is_write = kind == libc::F_RDLCK || description.writable;
    let before = if is_write { libc::F_WRLCK } else { libc::F_RDLCK };
    fcntl(host, entry, libc::F_SETLEASE, number(before))?;
    let owner = fcntl(
        host,
        entry,
        F_GETOWN_EX,
        RemoteArg {
            room: 8,
            ..RemoteArg::default()
        },
    )?;
    fcntl(host, entry, libc::F_SETOWN, number(0))?;
    description.break_lease(kind)?;
    fcntl(
        host,
        entry,
        F_SETOWN_EX,
        RemoteArg {
            data: Some(owner),
            ..RemoteArg::default()
        },
    )
    .map(drop)
}

/// fcntl(2) in the task; what it wrote into its argument.
fn fcntl(host: &Host<'_>, entry: &FileLockEntry, command: i32, arg: RemoteArg) -> Result<Vec<u8>> {
    let args = vec![number(entry.fd), number(command), arg];
    let call = RemoteCall {
        pid: entry.pid,
        nr: libc::SYS_fcntl,
        args,
    };
    let result = host.remote_call(&call)?;
    success(result.value).context(|| format!("fcntl command {command}"))?;
    Ok(result.data.into_iter().next().unwrap_or_default())
}

/// The file of a lease, as it stands open in the task.
struct Description {
    path: String,
    writable: bool,
}

impl Description {
    fn of(host: &Host<'_>, entry: &FileLockEntry) -> Result<Self> {
        let tasks = host.tasks()?;
        let task: &TaskInfo = tasks
            .iter()
            .find(|task| task.pid == entry.pid)
            .ok_or_else(|| Error::new(format!("process {} is not in the tree", entry.pid)))?;
        let (pid, fd) = (task.host_pid, entry.fd);
        let info = format!("/proc/{pid}/fdinfo/{fd}");
        let text = std::fs::read_to_string(&info).context(|| format!("reading {info}"))?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
        let flags = flags.ok_or_else(|| Error::new(format!("{info} does not say the flags")))?;
        Ok(Self {
            path: format!("/proc/{pid}/fd/{fd}"),
            writable: flags & libc::O_ACCMODE != libc::O_RDONLY,
        })
    }

    /// Begins to break the lease, to become `kind`: by an open(2) that does not wait for the end of it.
    fn break_lease(&self, kind: i32) -> Result<()> {
        let mut options = std::fs::File::options();
        options
            .read(true)
            .write(kind == libc::F_UNLCK)
            .custom_flags(libc::O_NONBLOCK);
        match options.open(&self.path) {
            Err(e) if e.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(()),
            Err(e) => Err(Error::new(format!("breaking it by opening {}: {e}", self.path))),
            Ok(_) => Err(Error::new("opening its file did not break it")),
        }
    }
}
