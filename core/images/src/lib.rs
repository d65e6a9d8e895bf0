//! The image directory: its files, their framing, and the memory pages.
//!
//! Nothing here knows what the images describe. All access goes through one directory descriptor, so
//! that a change of root, mount namespace or working directory does not matter once it is open.

#![deny(unsafe_code, missing_docs)]

mod dir;
mod earlier;
mod error;
mod map;
mod pagemap;
mod pages;
mod reader;

pub use criu_proto::framing::{self, FrameError};
pub use criu_proto::magic::{self, ImageKind};
pub use dir::{FileReader, FileWriter, ImageDir, PARENT_LINK};
pub use error::Error;
pub use pagemap::{PagemapWriter, flags};
pub use pages::{PagesWriter, Window};
pub use reader::{Extent, MAX_PARENTS, PagemapReader, Run, Source};

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The size of a page of memory, in bytes.
#[must_use]
pub fn page_size() -> u64 {
    static SIZE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SIZE.get_or_init(|| {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten();
        // The call cannot fail on Linux; 4096 is what x86-64 has.
        size.and_then(|s| u64::try_from(s).ok()).unwrap_or(4096)
    })
}
