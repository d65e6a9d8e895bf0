//! A file that lost the path under which it was opened but has other names: a hard link beside the
//! lost path holds it until it has been restored.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result, Verdict};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::lstat;
use nix::unistd::linkat;

use super::Shared;
use super::dump::Dump;
use super::name;
use crate::sys;

/// Most names that are tried.
const MAX_TRIES: u32 = 1 << 20;

/// Links the file beside its lost path, once an inode, and returns the id of the link's own entry.
pub(super) fn keep(
    shared: &Shared<Dump>,
    host: &Host<'_>,
    file: &FileTarget,
    path: &Path,
) -> Result<Verdict<u32>> {
    let inode = (file.dev, file.ino);
    if let Some(&id) = shared.lock().links.get(&inode) {
        return Ok(Verdict::Entry(id));
    }
    if !Dump::settings(shared, host)?.link_remap {
        return Ok(Verdict::refused_but(
            name::object(file),
            "it has lost this name but not its others, so its content cannot be carried along",
            "--link-remap keeps it by a hard link beside its old path",
        ));
    }
    let link = make(shared, host, file, path)?;
    let held = sys::open_with(&link, libc::O_PATH | libc::O_NOFOLLOW)
        .context(|| format!("opening the link {} that was just made", link.display()))?;
    let id = host
        .dump_file(file.pid, &held.as_fd())
        .context(|| format!("saving the link {}", link.display()))?;
    shared.lock().links.insert(inode, id);
    Ok(Verdict::Entry(id))
}

fn make(shared: &Shared<Dump>, host: &Host<'_>, file: &FileTarget, path: &Path) -> Result<PathBuf> {
    let from = format!("/proc/self/fd/{}", file.local_fd);
    let mut folder = path.parent().unwrap_or(Path::new("/"));
    for _ in 0..MAX_TRIES {
        let link = folder.join(format!("link_remap.{}", host.next_id("link_remap")?));
        match linkat(
            AT_FDCWD,
            from.as_str(),
            AT_FDCWD,
            &link,
            AtFlags::AT_SYMLINK_FOLLOW,
        ) {
            Ok(()) => {
                shared.lock().links_made.push(link.clone());
                return Ok(link);
            }
            Err(Errno::EEXIST) => {}
            // The directory is gone as well: the next one above it will do, on the same file system.
            Err(Errno::ENOENT)
                if folder.parent().is_some() && matches!(lstat(folder), Err(Errno::ENOENT)) =>
            {
                folder = folder.parent().unwrap_or(Path::new("/"));
            }
            other => other.context(|| format!("linking {} as {}", name::object(file), link.display()))?,
        }
    }
    let what = format!("all names link_remap.N are taken in {}", folder.display());
    Err(Error::new(format!("linking {}: {what}", name::object(file))))
}

/// Removes the links of a dump that failed.
pub(super) fn take_back(shared: &Shared<Dump>) -> Result<()> {
    let links = std::mem::take(&mut shared.lock().links_made);
    let mut result = Ok(());
    for link in links {
        if let Err(e) = std::fs::remove_file(&link) {
            result = Err(Error::new(format!("removing the link {}: {e}", link.display())));
        }
    }
    result
}
