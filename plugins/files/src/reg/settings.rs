//! The options of the core that concern files, read once a run.

use std::collections::HashSet;

use criu_plugin_api::{Error, Host, Result};

/// The largest ghost file when `--ghost-limit` does not say otherwise, in bytes.
const GHOST_LIMIT: u64 = 1 << 20;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Whether build-ids are saved and compared (`--file-validation buildid`, the default).
    pub(crate) build_id: bool,
    /// The largest content of a deleted file that is carried along, in bytes.
    pub(crate) ghost_limit: u64,
    /// Whether holes are found by FIEMAP.
    pub(crate) ghost_fiemap: bool,
    pub(crate) link_remap: bool,
    pub(crate) evasive_devices: bool,
    pub(crate) file_locks: bool,
    /// Restore: whether a changed permission is no error.
    pub(crate) skip_rwx: bool,
    /// Dump: the `file[MNT:INODE]` keys of `--external`.
    pub(crate) external: HashSet<String>,
    /// Restore: whether any descriptor is handed over with `--inherit-fd`.
    pub(crate) inherits: bool,
}

impl Settings {
    pub(crate) fn read(host: &Host<'_>) -> Result<Self> {
        let validation = host.setting("file-validation")?;
        let build_id = match validation.as_deref() {
            None | Some("buildid" | "build-id") => true,
            Some("filesize") => false,
            Some(other) => return Err(Error::new(format!("unknown file validation method {other:?}"))),
        };
        let ghost_limit = match host.setting("ghost-limit")? {
            Some(text) => text
                .parse()
                .map_err(|_| Error::new(format!("ghost limit {text:?} is not a number of bytes")))?,
            None => GHOST_LIMIT,
        };
        let external = host
            .settings("external")?
            .into_iter()
            .filter(|k| k.starts_with("file["))
            .collect();
        Ok(Self {
            build_id,
            ghost_limit,
            ghost_fiemap: host.flag("ghost-fiemap")?,
            link_remap: host.flag("link-remap")?,
            evasive_devices: host.flag("evasive-devices")?,
            file_locks: host.flag("file-locks")?,
            skip_rwx: host.flag("skip-file-rwx-check")?,
            external,
            inherits: !host.settings("inherit-fd")?.is_empty(),
        })
    }
}
