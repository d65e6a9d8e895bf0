//! The stages of a checkpoint and of a restore.
//!
//! [`dump()`] and [`restore()`] each read as a list of steps in one place (`dump/mod.rs`,
//! `restore/mod.rs`). The engine keeps the process tree, memory, registers, signals, credentials, the
//! descriptor *tables* and the order of work; whatever stands behind a descriptor or hangs on a task
//! is served by kinds, which come from plugins through [`criu_plugin_api`].

pub mod check;
pub mod options;
pub mod proc;

mod arch;
mod dump;
mod error;
mod extra;
mod kinds;
mod limits;
mod lsm;
mod parallel;
mod remote;
mod restore;
mod seize;

pub use check::check;
pub use dump::{Blocker, dump, preflight};
pub use error::{Error, Result};
pub use restore::restore;
