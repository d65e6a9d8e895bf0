//! Seccomp filters of all threads: `seccomp.img`, each filter once, with the one it was put upon.

use std::cell::RefCell;
use std::collections::HashMap;

use criu_infect::Tracee;
use criu_proto::images::{SeccompEntry, SeccompFilter};
use criu_proto::magic;

use super::context::Context as Dump;
use crate::error::{Context, Result};

/// What stands in the image of each filter, and which one a thread ends with.
#[derive(Debug, Default)]
pub(crate) struct Seccomp {
    filters: RefCell<Vec<SeccompFilter>>,
    /// A filter is the same as another if its program, its flags and everything below it are.
    known: RefCell<HashMap<Key, u32>>,
    last: RefCell<HashMap<i32, u32>>,
}

/// The filter below, the flags, the program.
type Key = (Option<u32>, u32, Vec<u8>);

const MODE_FILTER: u32 = 2;

impl Seccomp {
    /// Reads the filters of a stopped thread, whose mode is as in its status.
    ///
    /// # Errors
    /// The kernel will not tell (CONFIG_CHECKPOINT_RESTORE, CAP_SYS_ADMIN).
    pub(crate) fn read(&self, tracee: &Tracee, mode: u32) -> Result<()> {
        if mode != MODE_FILTER {
            return Ok(());
        }
        let chain = tracee
            .seccomp_filters()
            .context(|| format!("reading the seccomp filters of thread {}", tracee.tid()))?;
        let mut below = None;
        // The kernel counts from the newest; the image from the oldest.
        for filter in chain.into_iter().rev() {
            let flags = filter.flags as u32;
            let key = (below, flags, filter.program);
            let mut known = self.known.borrow_mut();
            let index = match known.get(&key) {
                Some(&index) => index,
                None => {
                    let mut filters = self.filters.borrow_mut();
                    let index = filters.len() as u32;
                    filters.push(SeccompFilter {
                        filter: key.2.clone(),
                        prev: below,
                        flags: (flags != 0).then_some(flags),
                    });
                    known.insert(key, index);
                    index
                }
            };
            below = Some(index);
        }
        if let Some(index) = below {
            self.last.borrow_mut().insert(tracee.tid(), index);
        }
        Ok(())
    }

    /// The newest filter of a thread.
    pub(crate) fn of(&self, tid: i32) -> Option<u32> {
        self.last.borrow().get(&tid).copied()
    }

    /// Writes the image; it has one entry, also without filters.
    ///
    /// # Errors
    /// Writing failed.
    pub(crate) fn write(&self, dump: &Dump) -> Result<()> {
        let entry = SeccompEntry {
            seccomp_filters: self.filters.borrow().clone(),
        };
        dump.images.write_one(&magic::SECCOMP, 0, &entry)?;
        Ok(())
    }
}
