//! What an earlier dump has left in the directory.
//!
//! Most images are written only when there is something to write; one that an earlier set has left would be read as
//! part of the new set.

use std::io::Read;

use criu_proto::magic::{self, IMG_COMMON_MAGIC};

use crate::dir::INVENTORY_ASIDE;
use crate::{Error, ImageDir, Result};

impl ImageDir {
    /// Makes the directory ready for a new set: whatever is there is none any more, and its images are removed.
    /// Call it before the first image is written.
    ///
    /// What is no image stays (logs, a description that another program keeps beside the set), and so do
    /// `cpuinfo.img`, which is written on its own, the link to a parent set, which nothing of a new set refers to,
    /// and the service files.
    ///
    /// # Errors
    /// Something that is there cannot be removed, or is a directory with the name of the inventory.
    pub fn begin_dump(&self) -> Result<()> {
        self.invalidate()?;
        if !self.is_kept() {
            return Ok(());
        }
        for name in self.list()? {
            if self.is_of_a_set(&name)? {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Marks the set as incomplete: removes its inventory, and one that was being written.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn invalidate(&self) -> Result<()> {
        self.remove(&magic::INVENTORY.file_name(0))?;
        self.remove(INVENTORY_ASIDE)
    }

    /// Whether the file is an image of a set: by its name, or, if it is one of a plugin's own, by how it begins.
    fn is_of_a_set(&self, name: &str) -> Result<bool> {
        let kind = magic::kind_of(name).map(|(kind, _)| kind);
        if kind.is_some_and(|kind| kind.is_service() || *kind == magic::CPUINFO)
            || kind.is_none() && !name.ends_with(".img")
        {
            return Ok(false);
        }
        let file = match self.open_raw_if_exists(name) {
            Ok(Some(file)) => file,
            Ok(None) | Err(Error::NotAFile { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if kind.is_some() {
            return Ok(true);
        }
        let mut start = Vec::new();
        file.take(4)
            .read_to_end(&mut start)
            .map_err(|error| self.std_error("read", name, error))?;
        Ok(start == IMG_COMMON_MAGIC.to_le_bytes())
    }
}
