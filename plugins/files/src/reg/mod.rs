//! Files with a path: regular files, directories, symbolic links, device nodes without a kind of their
//! own, and whatever is held by its path alone (`O_PATH`, working directories, executables, mappings).
//!
//! They share one entry, `reg_file_entry`. A file that has lost its path is carried in the image as a
//! *ghost*, or held by a hard link (*link remap*) when it has other names; `remap-fpath.img` ties the
//! two together.

mod build_id;
mod dead;
mod dump;
mod ghost_attrs;
mod ghost_dump;
mod ghost_restore;
mod link_remap;
pub(crate) mod name;
mod remap_restore;
mod restore;
mod settings;
mod sparse;
mod special;
#[cfg(test)]
mod tests;
mod validate;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::{FileKind, Host, Opened, Outcome, Progress, Result, Stage, StageHook, Verdict};

use dump::Dump;
use restore::Restore;

/// The kind `reg`.
#[derive(Default)]
pub struct Reg {
    dump: Rc<Shared<Dump>>,
    restore: Shared<Restore>,
}

/// What a run knows, shared by the callbacks of one kind.
#[derive(Default)]
pub(crate) struct Shared<T>(RefCell<T>);

impl<T> Shared<T> {
    /// Never held across a call of the host, which may call this kind again.
    pub(crate) fn lock(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}

impl Reg {
    /// The hook that goes with this kind: it takes back the hard links of a dump that failed.
    pub fn hook(&self) -> LinkHook {
        LinkHook {
            dump: Rc::clone(&self.dump),
        }
    }
}

impl FileKind for Reg {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        dump::dump(&self.dump, host, file)
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        dump::finish(&self.dump, host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        restore::prepare(&self.restore, host, files)?;
        Ok(Vec::new())
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        restore::open(&self.restore, host, request)
    }

    fn finish_restore(&self, _host: &Host<'_>, outcome: Outcome) -> Result<()> {
        std::mem::take(&mut *self.restore.lock()).clean_up(outcome)
    }
}

/// Removes the hard links that a failed dump has made, and forgets an earlier run.
pub struct LinkHook {
    dump: Rc<Shared<Dump>>,
}

impl StageHook for LinkHook {
    fn at(&self, _host: &Host<'_>, stage: Stage) -> Result<()> {
        match stage {
            Stage::BeforeFreeze => *self.dump.lock() = Dump::default(),
            // From here on the links belong to the image set.
            Stage::Dumped => self.dump.lock().links_made.clear(),
            Stage::BeforeThaw => return link_remap::take_back(&self.dump),
            _ => {}
        }
        Ok(())
    }
}
