//! What a guest needs of the machine, given for the time of its run and taken back afterwards.

use std::fs;
use std::sync::{Mutex, PoisonError};

/// Something a guest needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Huge pages of 2 MiB, allowed to be made on demand.
    HugePages,
}

const OVERCOMMIT: &str = "/proc/sys/vm/nr_overcommit_hugepages";

/// How many hold the huge pages, and the value to put back.
static HOLDERS: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// A need that is met until this is dropped.
#[derive(Debug)]
pub(crate) struct Met(Need);

impl Need {
    pub(crate) fn meet(self) -> Met {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.0 == 0 {
            holders.1 = fs::read_to_string(OVERCOMMIT).unwrap_or_default();
            // Where it cannot be raised the guest says that it found no huge page.
            if let Err(error) = fs::write(OVERCOMMIT, "64") {
                eprintln!("write {OVERCOMMIT}: {error}");
            }
        }
        holders.0 += 1;
        Met(self)
    }
}

impl Drop for Met {
    fn drop(&mut self) {
        let Need::HugePages = self.0;
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.0 -= 1;
        if holders.0 == 0
            && let Err(error) = fs::write(OVERCOMMIT, &holders.1)
        {
            eprintln!("put {OVERCOMMIT} back: {error}");
        }
    }
}
