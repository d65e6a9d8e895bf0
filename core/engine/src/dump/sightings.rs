//! Where open file descriptions of the tree were seen: each is dumped once, however many descriptors refer to it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsRawFd, OwnedFd};

use foldhash::fast::RandomState;

use super::files::Known;
use crate::error::{Error, Result};

/// Descriptors that are left for everything else when copies are held.
const KEPT_FREE: usize = 1024;

/// Descriptions that agree in this may be the same one; only then is the kernel asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Likeness {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) flags: u32,
    pub(crate) pos: u64,
    pub(crate) kernel_id: Option<u64>,
}

/// Where a description was seen: enough for kcmp(2).
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) pid: i32,
    pub(crate) fd: i32,
    /// A copy of our own: of a description that has no number in any target, and of others as long as there
    /// is room, since the kernel compares within one process several times as fast.
    pub(crate) held: Option<OwnedFd>,
    pub(crate) file: Known,
}

impl Sighting {
    /// How it stands to a description that is open in this process.
    fn compare(&self, me: i32, local: i32) -> Result<Ordering> {
        match &self.held {
            Some(held) => kcmp_file(me, held.as_raw_fd(), me, local),
            None => kcmp_file(self.pid, self.fd, me, local),
        }
    }
}

/// Descriptions of one likeness, in the order that kcmp(2) imposes. Most have nothing like them.
#[derive(Debug)]
struct Alike {
    first: Sighting,
    others: Vec<Sighting>,
}

impl Alike {
    fn insert(&mut self, place: usize, sighting: Sighting) {
        match place.checked_sub(1) {
            Some(place) => self.others.insert(place, sighting),
            None => {
                let second = std::mem::replace(&mut self.first, sighting);
                self.others.insert(0, second);
            }
        }
    }

    fn len(&self) -> usize {
        self.others.len() + 1
    }

    fn at(&self, place: usize) -> &Sighting {
        place
            .checked_sub(1)
            .map_or(&self.first, |place| &self.others[place])
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sightings {
    /// This process.
    me: i32,
    alike: HashMap<Likeness, Alike, RandomState>,
    count: usize,
    /// How many more copies may be held.
    holdable: usize,
}

impl Sightings {
    pub(crate) fn new() -> Self {
        Self {
            me: std::process::id().cast_signed(),
            alike: HashMap::default(),
            count: 0,
            holdable: Self::holdable(),
        }
    }

    /// How many copies are held at most.
    pub(crate) fn holdable() -> usize {
        crate::limits::open_files().saturating_sub(KEPT_FREE) / 2
    }

    /// This process, in which copies are held.
    pub(crate) fn me(&self) -> i32 {
        self.me
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.alike.reserve(more);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether there is room for a copy of one more, which is then taken.
    pub(crate) fn holds_another(&mut self) -> bool {
        let more = self.holdable > 0;
        self.holdable -= usize::from(more);
        more
    }

    /// The known file behind a description, or where its sighting belongs.
    ///
    /// # Errors
    /// The kernel will not compare (CONFIG_KCMP, ptrace permission).
    pub(crate) fn search(
        &self,
        like: &Likeness,
        local: &OwnedFd,
    ) -> Result<std::result::Result<Known, usize>> {
        let Some(alike) = self.alike.get(like) else {
            return Ok(Err(0));
        };
        // No comparison is made twice: each is a call of the kernel.
        let (mut from, mut to) = (0, alike.len());
        while from < to {
            let middle = from.midpoint(to);
            let sighting = alike.at(middle);
            match sighting.compare(self.me, local.as_raw_fd())? {
                Ordering::Equal => return Ok(Ok(sighting.file)),
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
            }
        }
        Ok(Err(from))
    }

    /// Adds one at the place that [`Self::search`] has told.
    pub(crate) fn insert(&mut self, like: Likeness, place: usize, sighting: Sighting) {
        self.count += 1;
        match self.alike.entry(like) {
            Entry::Occupied(mut alike) => alike.get_mut().insert(place, sighting),
            Entry::Vacant(none) => {
                none.insert(Alike {
                    first: sighting,
                    others: Vec::new(),
                });
            }
        }
    }

    /// Lets go of all copies.
    pub(crate) fn let_go(&mut self) {
        let held = std::mem::take(&mut self.alike);
        // Closing many takes its time; without a thread to be had that is done here.
        _ = std::thread::Builder::new()
            .name("closing".to_owned())
            .spawn(move || drop(held));
    }
}

/// Orders two descriptions by kcmp(2); equal means the same one.
pub(crate) fn kcmp_file(pid1: i32, fd1: i32, pid2: i32, fd2: i32) -> Result<Ordering> {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: kcmp only compares; it takes no pointers with KCMP_FILE.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid1,
            pid2,
            KCMP_FILE,
            fd1 as libc::c_ulong,
            fd2 as libc::c_ulong,
        )
    };
    match order {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => Err(Error::last_os(format!(
            "comparing descriptor {fd1} of process {pid1} with descriptor {fd2} of process {pid2}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_kernel_tells_descriptions_apart() {
        let me = std::process::id() as i32;
        let a = File::open("/dev/null").unwrap();
        let b = a.try_clone().unwrap();
        let c = File::open("/dev/null").unwrap();
        let order = |x: &File, y: &File| kcmp_file(me, x.as_raw_fd(), me, y.as_raw_fd()).unwrap();
        assert_eq!(order(&a, &b), Ordering::Equal);
        assert_ne!(order(&a, &c), Ordering::Equal);
        assert_eq!(order(&a, &c), order(&c, &a).reverse());
    }
}
