//! The descriptors that the restore itself needs in every task, at numbers that no task will use.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use criu_images::ImageDir;

use super::sys;
use crate::error::{Context, Error, Result};
use crate::options::Options;

/// The descriptors.
#[derive(Debug)]
pub(crate) struct ServiceFds {
    /// The image directory.
    pub(crate) dir: ImageDir,
    /// Those of `--inherit-fd`, by key.
    pub(crate) inherited: Vec<(String, RawFd)>,
    /// Whether the log is written to one of these.
    pub(crate) log: bool,
    /// All of them, ascending.
    all: RefCell<BTreeSet<RawFd>>,
    /// Numbers that tasks use.
    taken: BTreeSet<RawFd>,
    limit: RawFd,
}

impl ServiceFds {
    /// Moves what is needed out of the way of `taken`.
    pub(crate) fn new(opts: &Options, dir: &ImageDir, taken: BTreeSet<RawFd>, limit: u64) -> Result<Self> {
        let limit = RawFd::try_from(limit).unwrap_or(RawFd::MAX);
        let mut fds = Self {
            dir: dir.clone(),
            inherited: Vec::new(),
            log: false,
            all: RefCell::default(),
            taken,
            limit,
        };
        let number = fds.move_away(std::os::fd::AsFd::as_fd(dir).as_raw_fd())?;
        // SAFETY: the descriptor was made just now and is nobody else's.
        fds.dir = ImageDir::from_fd(unsafe { OwnedFd::from_raw_fd(number) })?;
        for inherit in &opts.inherit_fd {
            let number = fds
                .move_away(inherit.fd)
                .context(|| format!("taking over descriptor {} for {}", inherit.fd, inherit.key))?;
            fds.inherited.push((inherit.key.clone(), number));
        }
        if let Some(log) = opts.log_fd.filter(|fd| !fds.taken.contains(fd)) {
            fds.all.borrow_mut().insert(log);
            fds.log = true;
        }
        Ok(fds)
    }

    fn move_away(&mut self, fd: RawFd) -> Result<RawFd> {
        let number = self.copy(fd)?;
        self.all.borrow_mut().insert(number);
        Ok(number)
    }

    /// A copy of a descriptor at a number that no task uses.
    pub(crate) fn copy(&self, fd: RawFd) -> Result<RawFd> {
        // Low numbers keep the tables small: they are copied with every fork.
        let mut lowest = self.taken.last().map_or(3, |last| last + 1).max(64);
        if lowest >= self.limit {
            lowest = self
                .taken
                .iter()
                .zip(0..)
                .find(|(taken, n)| **taken != *n)
                .map_or(0, |(_, n)| n);
        }
        loop {
            let number =
                sys::duplicate(fd, lowest, true).context(|| format!("duplicating descriptor {fd}"))?;
            if !self.taken.contains(&number) {
                return Ok(number);
            }
            sys::close(number);
            lowest = number + 1;
            while self.taken.contains(&lowest) {
                lowest += 1;
            }
            if lowest >= self.limit {
                let what = "needs a descriptor number that no task uses, and there is none below the limit";
                return Err(Error::refused_but(
                    "the restore",
                    what,
                    "raise the limit of open files (ulimit -Hn)",
                ));
            }
        }
    }

    /// Whether some task uses a number.
    pub(crate) fn is_taken(&self, fd: RawFd) -> bool {
        self.taken.contains(&fd)
    }

    /// Has kinds make their preparations: descriptors that they keep get numbers that no task uses, and
    /// stay open in the tasks.
    pub(crate) fn while_kinds_prepare<T>(&self, prepare: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = open_numbers()?;
        let some = std::os::fd::AsFd::as_fd(&self.dir).as_raw_fd();
        let mut placeholders = Vec::new();
        for &number in self.taken.iter().filter(|number| !before.contains(number)) {
            sys::duplicate_to(some, number, true).context(|| format!("keeping descriptor {number} free"))?;
            placeholders.push(number);
        }
        let prepared = prepare();
        for run in placeholders.chunk_by(|one, next| one + 1 == *next) {
            sys::close_range(run[0].cast_unsigned(), run[run.len() - 1].cast_unsigned());
        }
        let prepared = prepared?;
        let kept = open_numbers()?
            .into_iter()
            .filter(|number| !before.contains(number));
        self.all.borrow_mut().extend(kept);
        Ok(prepared)
    }

    /// Closes everything else: what this program had open itself.
    pub(crate) fn close_others(&self) {
        let mut first = 0u32;
        for fd in self.all.borrow().iter() {
            let fd = fd.cast_unsigned();
            if fd > first {
                sys::close_range(first, fd - 1);
            }
            first = fd + 1;
        }
        sys::close_range(first, u32::MAX);
    }
}

/// The descriptors that this process has open.
fn open_numbers() -> Result<BTreeSet<RawFd>> {
    let doing = || "listing the descriptors of criu itself";
    let mut numbers = BTreeSet::new();
    let list = std::fs::read_dir("/proc/self/fd").context(doing)?;
    for entry in list {
        let name = entry.context(doing)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // The listing itself had one of them, which is closed by now.
    numbers.retain(|&fd| sys::is_open(fd));
    Ok(numbers)
}
