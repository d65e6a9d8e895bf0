//! What can go wrong with an image directory.

use std::io;

use criu_proto::framing::FrameError;
use thiserror::Error;

/// What can go wrong with an image directory. `file` is a path with the directory.
#[derive(Debug, Error)]
pub enum Error {
    /// An image file is damaged, of another kind, or could not be read or written.
    #[error("in {dir}: {source}")]
    Frame {
        /// The image directory.
        dir: String,
        /// What is wrong, with the file's name.
        source: FrameError,
    },
    /// A system call on a file of the set failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The set has no inventory, which is written last.
    #[error(
        "the image set in {dir} is incomplete (it has no inventory.img): the dump that wrote it did not finish, or this is not an image directory"
    )]
    Incomplete {
        /// The directory.
        dir: String,
    },
    /// The images are of another layout.
    #[error("the images in {dir} are of version {found}; versions 1.1 (2 in the inventory) are understood")]
    Version {
        /// The directory.
        dir: String,
        /// Version in the inventory.
        found: u32,
    },
    /// An image name that is no plain file name.
    #[error("{name:?} is no name of an image file: it must be a plain file name without a slash")]
    Name {
        /// The name.
        name: String,
    },
    /// Something of the set is not a regular file.
    #[error("{file} is not a regular file")]
    NotAFile {
        /// The file.
        file: String,
    },
    /// No room for the pages.
    #[error(
        "no room for {size} bytes in {file} ({available} bytes are free there): free some, or dump to another file system: {source}"
    )]
    NoSpace {
        /// The pages file.
        file: String,
        /// Size that was asked for, in bytes.
        size: u64,
        /// Free bytes of the file system, as far as it tells.
        available: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A size or an offset that is not a whole number of pages, or out of bounds.
    #[error("{what} of {value} in {file} is not a whole number of pages within bounds")]
    Unaligned {
        /// What was given.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The file.
        file: String,
    },
    /// Parts of a pages file were taken but never filled.
    #[error("{missing} bytes of {file} were left unfilled")]
    Unfilled {
        /// The pages file.
        file: String,
        /// Bytes not filled.
        missing: u64,
    },
    /// A run of pages does not go on after the one before it.
    #[error(
        "{file}: the run at {vaddr:#x} of {nr_pages} pages is unaligned, empty, too long, or begins before {after:#x}"
    )]
    Run {
        /// The pagemap.
        file: String,
        /// Address of the run.
        vaddr: u64,
        /// Length in pages.
        nr_pages: u64,
        /// End of the run before it.
        after: u64,
    },
    /// A pagemap is damaged.
    #[error("{file} is damaged: run {run} at {vaddr:#x}, {nr_pages} pages: {what}")]
    Pagemap {
        /// The pagemap.
        file: String,
        /// Number of the run, from 0.
        run: u64,
        /// Its address.
        vaddr: u64,
        /// Its length in pages.
        nr_pages: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The pages file has not the size that the pagemap says.
    #[error(
        "{pages} is {found} bytes long, but {pagemap} describes {expected} bytes of pages in it: the set is truncated or damaged"
    )]
    PagesSize {
        /// The pagemap.
        pagemap: String,
        /// The pages file.
        pages: String,
        /// Size by the pagemap, in bytes.
        expected: u64,
        /// Size of the file, in bytes.
        found: u64,
    },
    /// A page is said to be in the parent set, but is not.
    #[error(
        "{pagemap}: the page at {vaddr:#x} should be in the parent set, but {parent} does not have it: the parent set is not the one this set was made against, or damaged"
    )]
    NotInParent {
        /// The pagemap.
        pagemap: String,
        /// The address.
        vaddr: u64,
        /// The pagemap of the parent set, or where it should be.
        parent: String,
    },
    /// The chain of parents does not end.
    #[error("the chain of parent sets of {dir} is a loop or longer than {limit}")]
    ParentChain {
        /// The directory.
        dir: String,
        /// Sets that are followed at most.
        limit: usize,
    },
}
