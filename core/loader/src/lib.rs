//! Finds plugins, checks them, decides which kind serves what, and starts those that a run needs.
//!
//! Everything up to the start comes from the notes in the files: [`Loader::find`] runs no code of any
//! plugin. The kinds that it hands out start their plugin when they are first called, or before, by
//! [`Loader::load`].
#![deny(missing_docs)]

mod channel;
mod elf;
mod error;
mod loader;
mod options;
mod search;
pub mod shipped;
mod table;
mod trust;
pub mod unsupported;

pub use elf::{FileNotes, read_notes};
pub use error::{Claimant, LoadError, Refused, RefusedBecause};
pub use loader::{KindId, KindInfo, Loader, Origin, PluginInfo};
pub use options::{GivenOption, PluginOptions};
pub use search::{PACK_MANIFEST, Pack, SearchPath};
pub use table::{ClaimTable, FileQuery};
pub use trust::{Trust, TrustError};
