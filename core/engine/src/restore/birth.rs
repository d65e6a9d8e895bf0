//! The birth of a process: its session and group, its children, the threads that are there early; and its end, if it
//! is a zombie.

use criu_blobs::restore::stage;
use nix::errno::Errno;

use super::args::STACK;
use super::context::Restore;
use super::images::Live;
use super::memory::World;
use super::plan::Role;
use super::sys;
use super::task::{Never, Places, fork, passed};
use crate::error::{Context, Error, Result};

/// Forks children, begins the session or group that this process leads, and joins the group that another leads.
pub(super) fn be_born(restore: &Restore, node: usize, places: Places, world: &mut World) -> Result<()> {
    let planned = &restore.plan.nodes[node];
    if planned.takes_orphans {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).context(|| "becoming a child subreaper for a while")?;
    }
    for &child in &planned.early {
        fork(restore, child, places, world, shared_with(restore, child)?)?;
    }
    if planned.leads_session() {
        nix::unistd::setsid().context(|| "beginning a session")?;
        lead_session(restore, node)?;
    } else if planned.leads_group() {
        set_group(0)?;
    }
    for &child in &planned.late {
        fork(restore, child, places, world, shared_with(restore, child)?)?;
    }
    for &sibling in &planned.siblings {
        let parent = u64::from(libc::CLONE_PARENT.unsigned_abs());
        fork(
            restore,
            sibling,
            places,
            world,
            parent | shared_with(restore, sibling)?,
        )?;
    }
    for &orphan in &planned.orphans {
        orphan_one(restore, orphan, places, world)?;
    }
    passed(restore, node, stage::FORKED)?;
    if planned.takes_orphans {
        // Whether it was one is restored later.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 0).context(|| "being a child subreaper no more")?;
    }
    if !planned.leads_group() && nix::unistd::getpgrp().as_raw() != planned.pgid {
        set_group(planned.pgid)?;
    }
    Ok(())
}

/// Forks a process through one that ends at once, so that it comes to its parent further up.
fn orphan_one(restore: &Restore, orphan: usize, places: Places, world: &mut World) -> Result<()> {
    let doing = || format!("creating process {}", restore.plan.nodes[orphan].pid);
    let between = fork_between(restore).context(doing)?;
    let Some(between) = between else {
        // In between: it ends whether it has forked or not.
        sys::exit(match fork(restore, orphan, places, world, 0) {
            Ok(()) => 0,
            Err(error) => {
                restore.shared()?.fail(&error.to_string());
                1
            }
        });
    };
    sys::wait_for(between, true).context(doing)
}

/// Forks a process with an id that nobody of the tree has; `None` in that process.
fn fork_between(restore: &Restore) -> std::result::Result<Option<i32>, Errno> {
    let taken = super::pids::wanted(restore);
    let mut free = super::pids::from_the_top().filter(|pid| taken.binary_search(pid).is_err());
    loop {
        let pid = free.next().ok_or(Errno::EAGAIN)?;
        match sys::fork_with_pid(pid, 0, 0) {
            Err(Errno::EEXIST) => {}
            Ok(true) => return Ok(Some(pid)),
            Ok(false) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Starts the threads that files refer to; returns where each waits for the restorer.
pub(super) fn start_early_threads(
    restore: &Restore,
    places: Places,
    world: &mut World,
    live: &Live,
) -> Result<Vec<(i32, u64)>> {
    let wanted = restore.early_threads.borrow();
    let mut early = Vec::new();
    for thread in live.threads.iter().filter(|thread| wanted.contains(&thread.tid)) {
        let doing = || format!("creating thread {}", thread.tid);
        let at = world.take(&restore.layout, STACK)?;
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        sys::map_at(at, STACK, protection, flags, -1, 0).context(doing)?;
        sys::start_thread(thread.tid, places.early, (at, at + STACK), at).context(doing)?;
        early.push((thread.tid, at));
    }
    for &(_, at) in &early {
        sys::await_early(at);
    }
    Ok(early)
}

/// Has the kinds give a new session what its processes will inherit.
fn lead_session(restore: &Restore, node: usize) -> Result<()> {
    let Role::Task(index) = restore.plan.nodes[node].role else {
        return Ok(());
    };
    for (id, _) in restore.kinds.file_kinds() {
        let host = restore.kinds.host(restore, id);
        let done = restore.kinds.file(id)?.lead_session(&host, &restore.infos[index]);
        done.map_err(|error| error.context(restore.kinds.name(id)))?;
    }
    Ok(())
}

fn set_group(group: i32) -> Result<()> {
    let zero = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(zero, nix::unistd::Pid::from_raw(group))
        .context(|| format!("joining process group {group}"))
}

/// What a process shares with its creator, as flags of clone3(2).
fn shared_with(restore: &Restore, child: usize) -> Result<u64> {
    let (Some(creator), Ok((_, live))) = (restore.creator_live(child), restore.live(child)) else {
        return Ok(0);
    };
    let mut flags = 0;
    if live.ids.files_id == creator.ids.files_id {
        flags |= libc::CLONE_FILES;
    }
    if live.ids.fs_id == creator.ids.fs_id {
        flags |= libc::CLONE_FS;
    }
    Ok(u64::from(flags.unsigned_abs()))
}

/// Ends this process the way a wait status says, as a user whom its parent is told of.
pub(super) fn die(status: u32, user: u32) -> Result<Never> {
    let status = status.cast_signed();
    // SAFETY: plain numbers, this process, which has no other thread.
    if user != 0 && unsafe { libc::setresuid(user, user, user) } != 0 {
        return Err(Errno::last()).context(|| format!("becoming user {user}"));
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        // No core file of a process that never was, nor a program that is given one (core(5)): those ask for no limit.
        sys::prctl(libc::PR_SET_DUMPABLE, 0).context(|| "having no core dumped")?;
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the limit outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        sys::default_signal(signal);
        // SAFETY: plain numbers, this process.
        unsafe { libc::kill(libc::getpid(), signal) };
        return Err(Error::Task(format!(
            "signal {signal}, which it must die of, did not end it"
        )));
    }
    sys::exit(libc::WEXITSTATUS(status))
}

/// Zombies must be dead, and helpers gone, before their parent's signal actions are there.
pub(super) fn wait_for_the_dead(restore: &Restore, node: usize) -> Result<()> {
    for planned in restore
        .plan
        .nodes
        .iter()
        .filter(|planned| planned.parent == Some(node))
    {
        let reap = match planned.role {
            Role::Task(_) => continue,
            Role::Zombie(_) => false,
            Role::Helper => true,
        };
        sys::wait_for(planned.pid, reap)
            .context(|| format!("waiting for the end of process {}", planned.pid))?;
    }
    Ok(())
}

/// The death of a zombie that is told by another signal than SIGCHLD must not end its parent, which has no
/// actions of its own yet.
pub(super) fn ignore_ends(restore: &Restore, node: usize) {
    for child in 0..restore.plan.nodes.len() {
        let planned = &restore.plan.nodes[child];
        if planned.parent != Some(node) || !matches!(planned.role, Role::Zombie(_)) {
            continue;
        }
        let signal = restore.plan.exit_signal(&restore.set, child).cast_signed();
        if signal != 0 && signal != libc::SIGCHLD {
            sys::ignore_signal(signal);
        }
    }
}
