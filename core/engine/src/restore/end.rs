//! The coordinator's side of the tasks' lives: their start, their watch, and their end.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use criu_blobs::RESTORER;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::context::Restore;
use super::guard::Guard;
use super::memory::World;
use super::plan::Role;
use super::task::{self, Places};
use super::{catch, rebuild, shadow, sys, vdso};
use crate::error::{Context, Error, Result};
use crate::options::Options;

/// From this many processes on the forks are worth a preparation.
const MANY: usize = 64;
/// Memory that calls in a caught process may use for their buffers, in bytes.
const SCRATCH: u64 = 64 << 10;

/// The restorer in the coordinator's memory: every task gets it by the fork.
pub(crate) struct Restorer {
    entry: u64,
    early: u64,
    pub(crate) syscall: u64,
    pub(crate) scratch: (u64, u64),
    world: World,
}

impl Restorer {
    /// Maps it behind the shared memory.
    pub(crate) fn map(restore: &Restore) -> Result<Self> {
        let shared = restore.shared()?;
        let mut world = World {
            placed: Vec::new(),
            next: shared.end(),
        };
        let doing = || "mapping the restorer";
        let size = RESTORER.size as u64;
        let base = world.take(&restore.layout, size + SCRATCH)?;
        let length = size.next_multiple_of(criu_images::page_size());
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        sys::map_at(base, length + SCRATCH, protection, flags, -1, 0).context(doing)?;
        sys::write_at(base, &RESTORER.relocated(base));
        sys::protect(base, RESTORER.rw_start as u64, libc::PROT_READ | libc::PROT_EXEC).context(doing)?;
        world.next = base + length + SCRATCH + criu_images::page_size();
        let entry = |name: &str| {
            let offset = RESTORER.entry(name).map(|offset| base + offset as u64);
            offset.ok_or_else(|| Error::Task(format!("the restorer has no entry {name}")))
        };
        Ok(Self {
            entry: entry("restore")?,
            early: entry("early")?,
            syscall: entry("syscall")?,
            scratch: (base + length, base + length + SCRATCH),
            world,
        })
    }
}

thread_local! {
    /// What `PR_GET_CHILD_SUBREAPER` said before.
    static WAS_SUBREAPER: Cell<Option<bool>> = const { Cell::new(None) };
    /// The pid file that this restore has made.
    static PIDFILE: Cell<Option<PathBuf>> = const { Cell::new(None) };
}

/// Forks the root of the tree.
pub(crate) fn fork_root(restore: &Restore, restorer: &mut Restorer) -> Result<()> {
    become_subreaper()?;
    if restore.plan.nodes.len() >= MANY {
        gather_heap(restore.layout.heap);
    }
    let flags = if restore.opts.restore_sibling {
        libc::CLONE_PARENT
    } else {
        0
    };
    let places = Places {
        entry: restorer.entry,
        early: restorer.early,
    };
    task::fork(
        restore,
        0,
        places,
        &mut restorer.world,
        u64::from(flags.unsigned_abs()),
    )
}

/// Every fork copies the page tables of what was read of the images: huge pages make them short.
fn gather_heap((start, end): (u64, u64)) {
    const HUGE: u64 = 2 << 20;
    const MADV_COLLAPSE: i32 = 25;
    let (start, end) = (start.next_multiple_of(HUGE), end - end % HUGE);
    if start < end {
        // Linux 6.1; without it, or without huge pages to be had, forks only take longer.
        let _ = sys::advise(start, end - start, MADV_COLLAPSE);
    }
}

/// What loses its parent comes to the coordinator, which must be able to reap it.
fn become_subreaper() -> Result<()> {
    let mut was = 0i32;
    // SAFETY: the call writes one int.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut was) };
    WAS_SUBREAPER.set(Some(was != 0));
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
        .context(|| "becoming a child subreaper")
        .map(drop)
}

/// Reaps helpers that came to the coordinator, and is no subreaper any more.
pub(crate) fn stop_reaping(restore: &Restore) {
    for planned in restore
        .plan
        .nodes
        .iter()
        .filter(|planned| planned.role == Role::Helper)
    {
        // Most were reaped by their parents.
        let _ = waitpid(
            Pid::from_raw(planned.pid),
            Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL),
        );
    }
    if WAS_SUBREAPER.take() == Some(false) {
        // It was possible to switch it on.
        let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 0);
    }
}

/// Finds out whether a task has died without saying so.
pub(crate) fn look_for_dead(restore: &Restore) -> Result<()> {
    let shared = restore.shared()?;
    for (node, planned) in restore.plan.nodes.iter().enumerate() {
        let made = shared.task(node).created.load(Ordering::Acquire) == 1;
        if !made || !matches!(planned.role, Role::Task(_)) {
            continue;
        }
        if let Some(how) = death(planned.pid) {
            // It may have told why before it went.
            if shared.failed() {
                return Err(shared.failure());
            }
            return Err(Error::Task(format!(
                "process {} died while it was being restored: {how}",
                planned.pid
            )));
        }
    }
    Ok(())
}

/// How a process has ended, if it has.
fn death(pid: i32) -> Option<String> {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Some("it is gone".to_owned());
    };
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if state != "Z" && state != "X" {
        return None;
    }
    let status: i32 = fields.last()?.parse().ok()?;
    Some(if libc::WIFSIGNALED(status) {
        format!("killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("exited with status {}", libc::WEXITSTATUS(status))
    })
}

/// After a failure: ends every process of the tree, and waits until they are gone; takes the pid file back.
pub(crate) fn remove_all(restore: &Restore) {
    if let Some(path) = PIDFILE.take()
        && let Err(error) = std::fs::remove_file(&path)
    {
        tracing::warn!("removing the pid file {}: {error}", path.display());
    }
    catch::kill_all(restore);
    let Some(shared) = restore.shared.get() else {
        return;
    };
    for (node, planned) in restore.plan.nodes.iter().enumerate() {
        if shared.task(node).created.load(Ordering::Acquire) == 1 {
            // One that is not (or no longer) the coordinator's child is reaped by whose it is.
            let _ = sys::wait_for(planned.pid, true);
        }
    }
}

/// Takes the restorer out of every process and gives the threads their registers.
pub(crate) fn complete(restore: &Restore) -> Result<()> {
    let hole = (restore.layout.start, restore.layout.end);
    let locked = shadow::inherited()?;
    for (node, live) in catch::processes(restore) {
        let (task, _) = restore.live(node)?;
        if let Some(caught) = restore.caught.borrow_mut().get_mut(&task.pid) {
            caught.label(live, &restore.labels)?;
            if shadow::has_stacks(live) {
                let files = rebuild::PageFiles::open(restore, task, live)?;
                caught.map_shadow_stacks(live, vdso::reader(&files.fds))?;
            }
            caught.complete(task, live, hole, locked)?;
        }
    }
    Ok(())
}

/// Lets all processes go. None runs before all that were stopped have got their signal: it might send
/// them one that makes them go on.
pub(crate) fn release(restore: &Restore) -> Result<()> {
    let mut first_error = Ok(());
    for (node, _) in catch::processes(restore) {
        let (task, _) = restore.live(node)?;
        if let Some(caught) = restore.caught.borrow().get(&task.pid) {
            let stopped = caught.stop(task, restore.opts.leave_stopped);
            first_error = first_error.and(stopped);
        }
    }
    set_free(restore)?;
    // Children first: one that traces another is not let go while that is still traced by us.
    let nodes: Vec<usize> = catch::processes(restore).map(|(node, _)| node).collect();
    for node in nodes.into_iter().rev() {
        let (task, _) = restore.live(node)?;
        let Some(caught) = restore.caught.borrow_mut().remove(&task.pid) else {
            continue;
        };
        let released = caught.release();
        first_error = first_error.and(released);
    }
    first_error
}

/// Has every process outlive this one, or none: from here on the tree is restored.
fn set_free(restore: &Restore) -> Result<()> {
    let caught = restore.caught.borrow();
    let pids: Vec<i32> = caught.keys().copied().collect();
    // The last thread of a process decides over all of it.
    let guard = (pids.len() > 1).then(|| Guard::set(&pids)).transpose()?;
    for process in caught.values() {
        process.is_complete()?;
    }
    if let Some(guard) = guard {
        guard.dismiss();
    }
    Ok(())
}

/// `--pidfile`.
pub(crate) fn write_pidfile(opts: &Options, root: i32) -> Result<()> {
    let Some(pidfile) = &opts.pidfile else {
        return Ok(());
    };
    let path = opts.work_dir().join(pidfile);
    use std::io::Write;
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| {
            PIDFILE.set(Some(path.clone()));
            write!(file, "{root}")
        })
        .context(|| format!("writing the pid file {}", path.display()))
}

/// What criu does once the tree runs: waits for it, becomes the command after `--`, or nothing.
pub(crate) fn after(opts: &Options, root: i32) -> Result<()> {
    if !opts.exec_cmd.is_empty() {
        use std::os::unix::process::CommandExt;
        let source = std::process::Command::new(&opts.exec_cmd[0])
            .args(&opts.exec_cmd[1..])
            .exec();
        let action = format!("running {}", opts.exec_cmd[0].to_string_lossy());
        return Err(Error::Io { action, source });
    }
    if !opts.restore_detached && !opts.restore_sibling {
        sys::wait_for(root, true).context(|| format!("waiting for process {root}"))?;
    }
    Ok(())
}
