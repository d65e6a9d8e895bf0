//! The resources that the user has declared to be outside of the tree (`--external`).

use std::collections::HashSet;

use criu_plugin_api::{Error, Host, Result};

/// The sockets named by `--external unix[INODE]`.
#[derive(Debug, Default)]
pub(crate) struct External {
    inodes: HashSet<u32>,
}

impl External {
    /// Reads the setting.
    ///
    /// # Errors
    /// A `unix[...]` without a number.
    pub(crate) fn read(host: &Host<'_>) -> Result<Self> {
        let mut inodes = HashSet::new();
        for value in host.settings("external")? {
            let Some(inside) = value.strip_prefix("unix[") else {
                continue;
            };
            let number = inside.split_once(']').and_then(|(n, _)| n.trim().parse().ok());
            inodes.insert(number.ok_or_else(|| Error::new(format!("--external {value}: not unix[INODE]")))?);
        }
        Ok(Self { inodes })
    }

    /// Whether the unix socket with this inode is one of them.
    pub(crate) fn unix(&self, ino: u32) -> bool {
        self.inodes.contains(&ino)
    }
}
