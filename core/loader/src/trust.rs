//! Who could have put a plugin there: its code runs with the privileges of the caller.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Whose files are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Anyone's: the process has no privilege that its caller has not.
    Anyone,
    /// Those that root, or this user, owns and nobody else can change.
    Owner(u32),
}

/// A file or directory that others could have changed.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It cannot be looked at.
    #[error("looking at who may change {}: {source}", path.display())]
    Look {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its owner is a stranger.
    #[error("{} belongs to user {uid}, so code from there is not run with privilege (chown root {})", path.display(), path.display())]
    Owner {
        /// What.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Its mode lets others write.
    #[error("{} may be written by {who}, so code from there is not run with privilege (chmod {who_short}-w {})", path.display(), path.display())]
    Writable {
        /// What.
        path: PathBuf,
        /// By whom.
        who: String,
        /// The same for chmod(1).
        who_short: &'static str,
    },
}

impl Trust {
    /// What this process must insist on. With root's rights: files of root and of the real user; with
    /// rights that exec gave it (set-user-ID, file capabilities: `AT_SECURE` of getauxval(3)): root's
    /// alone.
    pub fn of_process() -> Self {
        // SAFETY: none of the calls takes a pointer, and none can fail.
        let (secure, effective, real) = unsafe {
            (
                libc::getauxval(libc::AT_SECURE) != 0,
                libc::geteuid(),
                libc::getuid(),
            )
        };
        match (secure, effective) {
            (true, _) => Self::Owner(0),
            (false, 0) => Self::Owner(real),
            _ => Self::Anyone,
        }
    }

    /// Checks a plugin directory (a canonical path) and all above it.
    ///
    /// # Errors
    /// One of them can be changed by others.
    pub fn directory(self, path: &Path) -> Result<(), TrustError> {
        let Self::Owner(owner) = self else { return Ok(()) };
        for (depth, part) in path
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .enumerate()
        {
            let meta = std::fs::symlink_metadata(part).map_err(|source| TrustError::Look {
                path: part.to_owned(),
                source,
            })?;
            // In a sticky directory others cannot replace what is not theirs; but they could add
            // plugins to the directory itself.
            let sticky = depth > 0 && meta.mode() & libc::S_ISVTX != 0;
            check(part, &meta, owner, sticky)?;
        }
        Ok(())
    }

    /// Checks a plugin's file.
    ///
    /// # Errors
    /// It can be changed by others.
    pub fn file(self, path: &Path, meta: &Metadata) -> Result<(), TrustError> {
        match self {
            Self::Anyone => Ok(()),
            Self::Owner(owner) => check(path, meta, owner, false),
        }
    }
}

fn check(path: &Path, meta: &Metadata, owner: u32, sticky: bool) -> Result<(), TrustError> {
    if meta.uid() != 0 && meta.uid() != owner {
        return Err(TrustError::Owner {
            path: path.to_owned(),
            uid: meta.uid(),
        });
    }
    if sticky {
        return Ok(());
    }
    if meta.mode() & libc::S_IWOTH != 0 {
        let who = "everyone".to_owned();
        return Err(TrustError::Writable {
            path: path.to_owned(),
            who,
            who_short: "o",
        });
    }
    if meta.mode() & libc::S_IWGRP != 0 && meta.gid() != 0 {
        let who = format!("group {}", meta.gid());
        return Err(TrustError::Writable {
            path: path.to_owned(),
            who,
            who_short: "g",
        });
    }
    Ok(())
}
