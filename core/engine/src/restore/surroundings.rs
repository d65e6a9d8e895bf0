//! What a process has beside memory and files: directories, its executable, what is said of it in `/proc`, its label.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{BorrowedFd, RawFd};

use criu_plugin_api::message::Purpose;

use super::context::Restore;
use super::images::{Live, TaskImages};
use super::{files, sys};
use crate::error::{Context, Result};
use crate::lsm;

/// What a process enters at last, when nobody who shares its directories opens anything by a path any more.
pub(super) struct Entry {
    directories: Option<Directories>,
    labels: Vec<(File, lsm::Change)>,
}

/// A root and a working directory, and whether the root is another than that of this program.
struct Directories {
    root: RawFd,
    changes_root: bool,
    cwd: RawFd,
}

impl Entry {
    pub(super) fn enter(self) -> Result<()> {
        use nix::unistd::{chroot, fchdir};
        if let Some(directories) = self.directories {
            // SAFETY: both descriptors were opened in `directories_of` and are closed below.
            let [root, cwd] =
                [directories.root, directories.cwd].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
            if directories.changes_root {
                fchdir(root).context(|| "entering the root directory")?;
                chroot(".").context(|| "changing the root directory")?;
            }
            fchdir(cwd).context(|| "entering the working directory")?;
            sys::close(directories.root);
            sys::close(directories.cwd);
        }
        for (mut file, change) in self.labels {
            file.write_all(change.text.as_bytes())
                .context(|| format!("setting the security label {} by {}", change.text, change.path))?;
        }
        Ok(())
    }
}

/// What a process has beside memory and files; returns the executable's descriptor, and what is still to be entered.
pub(super) fn surroundings(
    restore: &Restore,
    node: usize,
    task: &TaskImages,
    live: &Live,
) -> Result<(RawFd, Entry)> {
    let exe = files::open_for(restore, node, live.mm.exe_file_id, Purpose::Exe, None)
        .context(|| "opening the executable")?;
    let entry = Entry {
        directories: directories_of(restore, node, live)?,
        labels: labels_of(restore, task, live)?,
    };
    let write = |path: &str, value: &str| {
        std::fs::write(path, value).context(|| format!("writing {value} to {path}"))
    };
    if let Some(adj) = task
        .tc
        .oom_score_adj
        .filter(|&adj| adj != restore.own.oom_score_adj)
    {
        write("/proc/self/oom_score_adj", &adj.to_string())?;
    }
    if let Some(uid) = task.tc.loginuid.filter(|&uid| uid != restore.own.loginuid) {
        // May be set only once in the life of a tree, where the kernel is so configured.
        if let Err(error) = write("/proc/self/loginuid", &uid.to_string()) {
            tracing::warn!("process {}: {error}", task.pid);
        }
    }
    if task.tc.child_subreaper.unwrap_or(false) {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).context(|| "becoming a child subreaper")?;
    }
    if live.mm.thp_disabled.unwrap_or(false) {
        let flags = live.extra.thp_flags.unwrap_or(0);
        sys::prctl2(libc::PR_SET_THP_DISABLE, 1, flags.into()).context(|| "disabling huge pages")?;
    }
    Ok((exe, entry))
}

/// Opens the directories of a process, unless they are those of the process that created it.
fn directories_of(restore: &Restore, node: usize, live: &Live) -> Result<Option<Directories>> {
    let shares_fs = restore
        .creator_live(node)
        .is_some_and(|creator| creator.ids.fs_id == live.ids.fs_id);
    if shares_fs {
        return Ok(None);
    }
    let root = files::open_for(restore, node, live.fs.root_id, Purpose::Root, None)
        .context(|| "opening the root directory")?;
    let cwd = files::open_for(restore, node, live.fs.cwd_id, Purpose::Cwd, None)
        .context(|| "opening the working directory")?;
    // SAFETY: it was opened just now, and is closed when it has been entered.
    let root_fd = unsafe { BorrowedFd::borrow_raw(root) };
    let stat = nix::sys::stat::fstat(root_fd).context(|| "inspecting the root directory")?;
    if let Some(umask) = live.fs.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
    Ok(Some(Directories {
        root,
        changes_root: (stat.st_dev, stat.st_ino) != restore.own.root,
        cwd,
    }))
}

/// The labels that the threads of a process will inherit, and the files that they are set by.
fn labels_of(restore: &Restore, task: &TaskImages, live: &Live) -> Result<Vec<(File, lsm::Change)>> {
    let leader = live.threads.iter().find(|thread| thread.tid == task.pid);
    let Some(creds) = leader.and_then(|leader| leader.core.thread_core.as_ref()?.creds.as_ref()) else {
        return Ok(Vec::new());
    };
    let changes = restore.labels.before_threads("it", creds)?;
    let open = |change: lsm::Change| {
        let file = File::options().write(true).open(&change.path);
        Ok((file.context(|| format!("opening {}", change.path))?, change))
    };
    changes.into_iter().map(open).collect()
}
