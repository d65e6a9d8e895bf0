//! All that the author of a criu plugin needs.
//!
//! A plugin is a shared object that serves *kinds* of kernel resources. A kind implements one of the
//! extension points ([`FileKind`], [`MappingKind`], [`TaskKind`], [`StageHook`]), declares as data what
//! it claims, and registers itself with [`register!`]; the plugin exports itself once with
//! [`export_plugin!`].
#![allow(non_local_definitions, reason = "sabi_trait of abi_stable 0.11 expands to such impls")]
#![deny(missing_docs)]

mod error;
mod host;
mod kinds;
pub mod message;

pub use error::{Context, Error, ErrorCode, Refusal, Result, Verdict};
pub use host::{Fd, Host, Services};
pub use kinds::{
    FileKind, MappingKind, Opened, Outcome, Progress, Stage, StageHook, TaskKind, TaskPoint,
};
