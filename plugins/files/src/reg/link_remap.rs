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

/// Links the file beside its lost path, once an inode, and returns the id of the link's own entry; `None` when it turns
/// out that it has no other name.
pub(super) fn keep(
    shared: &Shared<Dump>,
    host: &Host<'_>,
    file: &FileTarget,
    path: &Path,
) -> Result<Option<Verdict<u32>>> {
    let inode = (file.dev, file.ino);
    if let Some(&id) = shared.lock().links.get(&inode) {
        return Ok(Some(Verdict::Entry(id)));
    }
    if !Dump::settings(shared, host)?.link_remap {
        // An overlay tells how many names its lower layer has.
        if name::is_on_overlay(file) && make(shared, host, file, path)?.is_none() {
            return Ok(None);
        }
        take_back(shared)?;
        return Ok(Some(Verdict::refused_but(
            name::object(file),
            "it has lost this name but not its others, so its content cannot be carried along",
            "--link-remap keeps it by a hard link beside its old path",
        )));
    }
    let Some(link) = make(shared, host, file, path)? else {
        return Ok(None);
    };
    let held = sys::open_with(&link, libc::O_PATH | libc::O_NOFOLLOW)
        .context(|| format!("opening the link {} that was just made", link.display()))?;
    let id = host
        .dump_file(file.pid, &held.as_fd())
        .context(|| format!("saving the link {}", link.display()))?;
    shared.lock().links.insert(inode, id);
    Ok(Some(Verdict::Entry(id)))
}

/// Makes the link; `None` when the file has no name any more, whatever the count says.
fn make(shared: &Shared<Dump>, host: &Host<'_>, file: &FileTarget, path: &Path) -> Result<Option<PathBuf>> {
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
                return Ok(Some(link));
            }
            Err(Errno::EEXIST) => {}
            // The directory is gone as well: the next one above it will do, on the same file system.
            Err(Errno::ENOENT | Errno::ENOTDIR)
                if folder.parent().is_some()
                    && !lstat(folder).is_ok_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR) =>
            {
                folder = folder.parent().unwrap_or(Path::new("/"));
            }
            Err(Errno::ENOENT) => return Ok(None),
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
