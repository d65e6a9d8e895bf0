//! Pairs with the numbers that they had: programs remember the names of their terminals.
//!
//! The kernel gives every new pair the lowest free number. So pairs are made until those that are wanted
//! are among them, and the others go again. That is done once, before the forks, so that tasks do not
//! take numbers from each other; the tasks get their masters from the coordinator.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::sys;

/// How long another restore may take to make its pairs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The masters that the coordinator holds for the tasks.
#[derive(Default)]
pub(crate) struct Masters {
    holder: u32,
    by_index: BTreeMap<u32, OwnedFd>,
}

impl Masters {
    /// Makes pairs of these numbers, with the masters opened through these paths.
    ///
    /// # Errors
    /// A number is taken; its holder is named.
    pub(crate) fn make(wanted: &BTreeMap<u32, PathBuf>) -> Result<Self> {
        let mut by_index = BTreeMap::new();
        let mut spare = Vec::new();
        let Some((&last, _)) = wanted.last_key_value() else {
            return Ok(Self::default());
        };
        let _turn = turn()?;
        let mut rest = wanted.iter();
        // What is made by the way need not be looked for.
        while let Some((missing, path)) = rest.clone().next() {
            if by_index.contains_key(missing) {
                rest.next();
                continue;
            }
            let doing = || format!("making the pair of terminals {missing} by {}", path.display());
            let master = sys::open_with(path, libc::O_RDWR).context(doing)?;
            let index = sys::pty_index(master.as_fd()).context(doing)?;
            if wanted.contains_key(&index) {
                sys::set_lock(master.as_fd(), false).context(doing)?;
                by_index.insert(index, master);
            } else if index > last {
                return Err(taken(*missing));
            } else {
                spare.push(master);
            }
        }
        Ok(Self {
            holder: std::process::id(),
            by_index,
        })
    }

    /// The master of a pair, in this task.
    ///
    /// # Errors
    /// The coordinator is gone.
    pub(crate) fn get(&self, index: u32) -> Result<OwnedFd> {
        let doing = || format!("getting the master of terminal {index}");
        let held = self
            .by_index
            .get(&index)
            .ok_or_else(|| Error::new("was not made").context(doing()))?;
        // By the descriptor that the fork has handed down, unless this task has closed that already.
        let number = held.as_raw_fd();
        if let Ok(copy) = sys::copy_of(number)
            && sys::pty_index(copy.as_fd()) == Ok(index)
        {
            return Ok(copy);
        }
        sys::descriptor_of(self.holder, number).context(doing)
    }

    /// The master of a pair, in the coordinator.
    ///
    /// # Errors
    /// It was not made.
    pub(crate) fn held(&self, index: u32) -> Result<BorrowedFd<'_>> {
        let held = self.by_index.get(&index);
        held.map(AsFd::as_fd)
            .ok_or_else(|| Error::new(format!("the pair of terminals {index} was not made")))
    }

    /// A copy of a descriptor that the coordinator holds, in this task.
    ///
    /// # Errors
    /// The coordinator is gone.
    pub(crate) fn fetch(&self, held: BorrowedFd<'_>) -> Result<OwnedFd> {
        sys::descriptor_of(self.holder, held.as_raw_fd()).context(|| "getting a terminal that has hung up")
    }
}

/// Waits until no other restore makes pairs: it would hold numbers for a moment that are free.
fn turn() -> Result<Option<Flock<File>>> {
    let Ok(mut directory) = File::open("/dev/pts") else {
        return Ok(None);
    };
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((again, Errno::EWOULDBLOCK)) if Instant::now() < end => {
                directory = again;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let error = format!(
                    "another restore has kept /dev/pts locked for {} s",
                    PATIENCE.as_secs()
                );
                return Err(Error::new(error));
            }
            Err((_, errno)) => return Err(errno).context(|| "locking /dev/pts"),
        }
    }
}

fn taken(index: u32) -> Error {
    let path = format!("/dev/pts/{index}");
    let holder = match holder(&path) {
        Some(pid) => format!("process {pid} has it open"),
        None => "someone has it".to_owned(),
    };
    Error::new(format!("the terminal {path} is in use: {holder}"))
        .with_remedy("end what uses it, or restore where the number is free")
}

/// A process that has a path open.
fn holder(path: &str) -> Option<u32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            links
                .filter_map(|link| std::fs::read_link(link.path()).ok())
                .any(|link| link == Path::new(path))
        })
}

/// Gives the node of a slave its owner and mode, if it is where it was.
///
/// # Errors
/// The file system's.
pub(crate) fn own_node(path: &Path, index: u32, uid: u32, gid: u32, mode: Option<u32>) -> Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if crate::device::Device::of(meta.rdev()) != Some(crate::device::Device::Slave(index)) {
        return Ok(());
    }
    if (meta.uid(), meta.gid()) != (uid, gid) {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .context(|| format!("giving {} to {uid}:{gid}", path.display()))?;
    }
    if let Some(mode) = mode
        .map(|mode| mode & 0o7777)
        .filter(|&mode| mode != meta.mode() & 0o7777)
    {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions)
            .context(|| format!("setting the mode of {} to {mode:#o}", path.display()))?;
    }
    Ok(())
}
