//! Seccomp filters of all threads: `seccomp.img`, each filter once, with the one it was put upon.

use std::cell::RefCell;
use std::collections::HashMap;

use criu_infect::Tracee;
use criu_proto::images::{SeccompEntry, SeccompFilter};
use criu_proto::magic;

use super::context::Context as Dump;
use crate::error::{Context, Error, Result};

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

/// Whether a program returns `SECCOMP_RET_USER_NOTIF` anywhere. Its instructions have 8 bytes: the code, two
/// jumps, a constant.
fn has_supervisor(program: &[u8]) -> bool {
    const RETURN_CONSTANT: u16 = 0x06;
    const ACTION: u32 = 0xffff_0000;
    program.chunks_exact(8).any(|one| {
        let code = u16::from_le_bytes([one[0], one[1]]);
        let constant = u32::from_le_bytes([one[4], one[5], one[6], one[7]]);
        code == RETURN_CONSTANT && constant & ACTION == libc::SECCOMP_RET_USER_NOTIF
    })
}

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
        if chain.iter().any(|filter| has_supervisor(&filter.program)) {
            return Err(Error::refused_but(
                format!("thread {}", tracee.tid()),
                "has a seccomp filter that leaves system calls to a supervisor (SECCOMP_RET_USER_NOTIF), which is not supported",
                "start it without the supervisor",
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_seen_in_the_program() {
        let allow = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];
        let notify = [0x06, 0, 0, 0, 1, 0, 0xc0, 0x7f];
        // The same constant in a load is no return.
        let load = [0x20, 0, 0, 0, 0, 0, 0xc0, 0x7f];
        assert!(!has_supervisor(&[load, allow].concat()));
        assert!(has_supervisor(&[load, notify, allow].concat()));
    }
}
