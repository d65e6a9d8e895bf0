//! What a process has beside memory and files: directories, its executable, what is said of it in `/proc`, its label.

use std::os::fd::RawFd;

use criu_plugin_api::message::Purpose;

use super::context::Restore;
use super::images::{Live, TaskImages};
use super::{files, sys};
use crate::error::{Context, Result};

/// Directories and what a process has beside memory and files; returns the executable's descriptor.
pub(super) fn surroundings(restore: &Restore, node: usize, task: &TaskImages, live: &Live) -> Result<RawFd> {
    use nix::unistd::{chroot, fchdir};
    use std::os::fd::BorrowedFd;
    let exe = files::open_for(restore, node, live.mm.exe_file_id, Purpose::Exe, None)
        .context(|| "opening the executable")?;
    let shares_fs = restore
        .creator_live(node)
        .is_some_and(|creator| creator.ids.fs_id == live.ids.fs_id);
    if !shares_fs {
        let root = files::open_for(restore, node, live.fs.root_id, Purpose::Root, None)
            .context(|| "opening the root directory")?;
        let cwd = files::open_for(restore, node, live.fs.cwd_id, Purpose::Cwd, None)
            .context(|| "opening the working directory")?;
        // SAFETY: both descriptors were opened just now and are closed below.
        let (root_fd, cwd_fd) = unsafe { (BorrowedFd::borrow_raw(root), BorrowedFd::borrow_raw(cwd)) };
        let stat = nix::sys::stat::fstat(root_fd).context(|| "inspecting the root directory")?;
        if (stat.st_dev, stat.st_ino) != restore.own.root {
            fchdir(root_fd).context(|| "entering the root directory")?;
            chroot(".").context(|| "changing the root directory")?;
        }
        fchdir(cwd_fd).context(|| "entering the working directory")?;
        sys::close(root);
        sys::close(cwd);
        if let Some(umask) = live.fs.umask {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
        }
    }
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
    Ok(exe)
}

/// Gives the process the label that its threads will inherit.
pub(super) fn label(restore: &Restore, task: &TaskImages, live: &Live) -> Result<()> {
    let leader = live.threads.iter().find(|thread| thread.tid == task.pid);
    let Some(creds) = leader.and_then(|leader| leader.core.thread_core.as_ref()?.creds.as_ref()) else {
        return Ok(());
    };
    for change in restore.labels.before_threads("it", creds)? {
        std::fs::write(&change.path, &change.text)
            .context(|| format!("setting the security label {} by {}", change.text, change.path))?;
    }
    Ok(())
}
