//! The network namespace of a socket: its number in the images, and a way to ask it questions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::{Context, Error, Host, Result};

use crate::sys;

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// The inode of the namespace.
    pub(crate) ino: u64,
    /// Its number in the images.
    pub(crate) id: u32,
    handle: OwnedFd,
}

/// The namespace of a socket, which must be that of the process that holds it: the images have no
/// place for a socket of yet another one.
///
/// # Errors
/// It is another one, or could not be found out.
pub(crate) fn of_socket(fd: i32, pid: i32, host: &Host<'_>) -> Result<Namespace> {
    let handle = sys::namespace_of(fd).context(|| "finding its network namespace (SIOCGSKNS)")?;
    let (ino, handle) = identify(handle).context(|| "fstat of its network namespace")?;
    let (own, id) = of_process(pid, host)?;
    if own != ino {
        let what = format!(
            "lives in the network namespace net:[{ino}], and process {pid} in net:[{own}]: not supported"
        );
        return Err(Error::refused(what).with_remedy("let a process of that namespace alone hold it"));
    }
    Ok(Namespace { ino, id, handle })
}

thread_local! {
    static KNOWN: RefCell<HashMap<i32, (u64, u32)>> = RefCell::default();
}

/// Inode and number of the namespace of a process, looked up once in a run.
fn of_process(pid: i32, host: &Host<'_>) -> Result<(u64, u32)> {
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&pid).copied()) {
        return Ok(known);
    }
    let host_pid = host_pid(host, pid)?;
    let ino = std::fs::metadata(format!("/proc/{host_pid}/ns/net"))
        .context(|| format!("the network namespace of process {pid}"))?
        .ino();
    let found = (ino, host.namespace_id(pid, "net")?);
    KNOWN.with_borrow_mut(|known| known.insert(pid, found));
    Ok(found)
}

/// The run is over: the pids will mean other processes.
pub(crate) fn forget() {
    KNOWN.with_borrow_mut(HashMap::clear);
}

fn identify(handle: OwnedFd) -> io::Result<(u64, OwnedFd)> {
    let file = File::from(handle);
    Ok((file.metadata()?.ino(), file.into()))
}

/// The pid of a task of the tree in the eyes of this process.
///
/// # Errors
/// The tree is not known.
pub(crate) fn host_pid(host: &Host<'_>, pid: i32) -> Result<i32> {
    let task = host.tasks()?.into_iter().find(|t| t.pid == pid);
    Ok(task.map_or(pid, |t| t.host_pid))
}

impl Namespace {
    /// The same once more.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let handle = self.handle.try_clone()?;
        Ok(Self { handle, ..*self })
    }

    /// Runs `work`, which opens sockets, inside the namespace.
    ///
    /// # Errors
    /// Those of `work`, or the namespace could not be entered or left.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = File::open("/proc/thread-self/ns/net")?;
        if home.metadata()?.ino() == self.ino {
            return work();
        }
        sys::enter_net(self.handle.as_fd())?;
        let result = work();
        sys::enter_net(home.as_fd())?;
        result
    }
}
