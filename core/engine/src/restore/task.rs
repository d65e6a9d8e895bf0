//! The life of a restored process from its fork to the restorer, as a list of steps.

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use criu_blobs::restore::{Move, Range, stage};
use criu_plugin_api::{Progress, TaskPoint};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, getppid};

use super::args::{self, Arena, Prepared, STACK};
use super::birth::{be_born, die, ignore_ends, start_early_threads, wait_for_the_dead};
use super::context::Restore;
use super::images::{Live, TaskImages};
use super::memory::World;
use super::plan::Role;
use super::rebuild::{prepare_inheritance, rebuild_memory};
use super::shared::Failed;
use super::surroundings::surroundings;
use super::vma::{PAGE, TASK_SIZE};
use super::{files, pages, sys, vdso};
use crate::error::{Context, Error, Result};

/// Where the parts of the restore are that every process has at the same address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The entry of the restorer.
    pub(crate) entry: u64,
    /// The entry of a thread that is there before.
    pub(crate) early: u64,
}

/// Forks a process of the plan. Returns in the parent only.
pub(crate) fn fork(
    restore: &Restore,
    node: usize,
    places: Places,
    world: &mut World,
    flags: u64,
) -> Result<()> {
    let planned = &restore.plan.nodes[node];
    let exit_signal = restore.plan.exit_signal(&restore.set, node);
    let parent = getpid();
    let in_parent = sys::fork_with_pid(planned.pid, flags, exit_signal).map_err(|errno| match errno {
        Errno::EEXIST => Error::refused_but(
            format!("pid {}", planned.pid),
            "is in use by a process, a session or a group",
            "end what uses it, or restore in a pid namespace of its own",
        ),
        errno => Error::Io {
            action: format!("creating process {}", planned.pid),
            source: errno.into(),
        },
    })?;
    let slot = restore.shared()?.task(node);
    slot.created.store(1, Ordering::Release);
    if in_parent {
        return Ok(());
    }
    // A log at a number that some task uses would be written into that task's file.
    let silent = (!restore.service_fds.log)
        .then(|| tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default()));
    let lived = catch_unwind(AssertUnwindSafe(|| {
        follow(restore, node, parent, flags)?;
        live(restore, node, places, world)
    }));
    drop(silent);
    let error = match lived {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error.to_string(),
        Err(_) => "criu itself panicked; its standard error says where".to_owned(),
    };
    if let Ok(shared) = restore.shared() {
        shared.fail(&format!("process {}: {error}", restore.plan.nodes[node].pid));
    }
    sys::exit(1)
}

/// Has this process end with its parent, at last the coordinator, without whom nothing would become of it.
fn follow(restore: &Restore, node: usize, creator: Pid, flags: u64) -> Result<()> {
    let planned = &restore.plan.nodes[node];
    let parent = match planned.parent.filter(|_| planned.orphaned) {
        None => creator,
        Some(parent) => {
            await_end(creator)?;
            Pid::from_raw(restore.plan.nodes[parent].pid)
        }
    };
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).context(|| "setting the parent-death signal")?;
    // The parent may have gone before; a sibling of the coordinator has another one, and looks for it when it waits.
    if flags == 0 && getppid() != parent {
        return Err(files::elsewhere());
    }
    Ok(())
}

/// Waits until the parent, which ends at once, is gone, and this process has another.
fn await_end(parent: Pid) -> Result<()> {
    let waiting = || format!("waiting for the end of process {parent}");
    match sys::pidfd_open(parent.as_raw()) {
        Ok(pidfd) => {
            // The number may be another's by now.
            let ended = if getppid() == parent {
                sys::await_end(pidfd)
            } else {
                Ok(())
            };
            sys::close(pidfd);
            ended.context(waiting)
        }
        Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(waiting),
    }
}

/// What never comes back.
pub(super) enum Never {}

fn live(restore: &Restore, node: usize, places: Places, world: &mut World) -> Result<Never> {
    restore.me.set(Some(node));
    tracing::debug!("process {} is there", restore.plan.nodes[node].pid);
    restore.held.take();
    if restore.plan.nodes[node].creator.is_none() {
        restore.service_fds.close_others();
    }
    match restore.plan.nodes[node].role {
        Role::Task(index) => {
            let task = &restore.set.tasks[index];
            let Some(live) = task.live.as_ref() else {
                return Err(Error::Task("it is not alive in the images".to_owned()));
            };
            live_task(restore, node, places, world, task, live)
        }
        Role::Zombie(index) => {
            be_born(restore, node, places, world)?;
            passed(restore, node, stage::GROUPED)?;
            let task = &restore.set.tasks[index];
            sys::set_name(&String::from_utf8_lossy(&task.tc.comm));
            die(task.tc.exit_code, task.dead_uid)
        }
        Role::Helper => {
            be_born(restore, node, places, world)?;
            passed(restore, node, stage::GROUPED)?;
            passed(restore, node, stage::FILES)?;
            sys::exit(0)
        }
    }
}

/// The steps of a living task.
fn live_task(
    restore: &Restore,
    node: usize,
    places: Places,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
) -> Result<Never> {
    let mut counts = pages::Counts::default();
    at_point(restore, node, TaskPoint::Born)?;
    ignore_ends(restore, node);
    prepare_inheritance(restore, node, world, live, &mut counts)?;
    be_born(restore, node, places, world)?;
    let early = start_early_threads(restore, places, world, live)?;
    passed(restore, node, stage::GROUPED)?;
    at_point(restore, node, TaskPoint::BeforeFiles)?;
    files::restore_all(restore, node)?;
    at_point(restore, node, TaskPoint::AfterFiles)?;
    restore.shared()?.files_finished();
    passed(restore, node, stage::FILES)?;
    files::close_parked(restore);
    wait_for_the_dead(restore, node)?;
    let moves = rebuild_memory(restore, node, world, task, live, &mut counts)?;
    restore.shared()?.count(counts);
    let (exe, entry) = surroundings(restore, node, task, live)?;
    let args = arguments(restore, node, world, task, live, (moves, early), exe)?;
    sys::unregister_rseq().context(|| "taking leave of rseq")?;
    passed(restore, node, stage::MEMORY)?;
    entry.enter()?;
    sys::block_signals();
    sys::jump(places.entry, args.task, args.stack)
}

/// Arrives at the end of a stage and waits for everyone.
pub(super) fn passed(restore: &Restore, node: usize, number: u32) -> Result<()> {
    restore
        .shared()?
        .pass(node, number)
        .map_err(|Failed| files::elsewhere())
}

/// Has the kinds of task state act.
pub(super) fn at_point(restore: &Restore, node: usize, point: TaskPoint) -> Result<()> {
    let Role::Task(index) = restore.plan.nodes[node].role else {
        return Ok(());
    };
    let info = &restore.infos[index];
    for (id, kind) in restore.kinds.tasks() {
        loop {
            let seen = restore.shared()?.progress();
            let host = restore.kinds.host(restore, id);
            let name = || restore.kinds.name(id);
            match kind
                .restore(&host, info, point)
                .map_err(|error| error.context(name()))?
            {
                Progress::Done(()) => break,
                Progress::NotYet(why) => {
                    let why = format!("process {}: {} waits for {why}", info.pid, name());
                    restore
                        .shared()?
                        .await_progress(node, seen, &why)
                        .map_err(|Failed| files::elsewhere())?;
                }
            }
        }
        if point == TaskPoint::AfterFiles {
            restore.shared()?.made_progress();
        }
    }
    Ok(())
}

/// Where the restorer finds what it needs.
struct Arguments {
    task: u64,
    stack: u64,
}

/// Lays out the restorer's arguments and stacks in the hole.
fn arguments(
    restore: &Restore,
    node: usize,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
    (moves, early): (vdso::Moves, Vec<(i32, u64)>),
    exe: RawFd,
) -> Result<Arguments> {
    let private = |world: &mut World, length: u64| -> Result<u64> {
        let at = world.take(&restore.layout, length)?;
        let length = length.next_multiple_of(PAGE);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        sys::map_at(at, length, protection, flags, -1, 0).context(|| "mapping the restorer's arguments")
    };
    let stacks = private(world, live.threads.len() as u64 * STACK)?;
    let aside = world.placed.iter().filter(|placed| !placed.in_place());
    let mut all_moves: Vec<Move> = aside
        .map(|placed| Move {
            from: placed.at,
            to: placed.vma.start,
            length: placed.vma.length(),
        })
        .collect();
    all_moves.extend(&moves.place);
    let mut prepared = Prepared {
        shared: restore.shared()?.address(),
        park: moves.park,
        unmap: Vec::new(),
        moves: all_moves,
        close: if files::owns_table(restore, node)? {
            to_close(live)
        } else {
            Vec::new()
        },
        exe_fd: exe.cast_unsigned(),
        stacks,
        early,
    };
    // The hole is kept whole: the coordinator unmaps it at the end.
    prepared.unmap = to_unmap(world, (restore.layout.start, restore.layout.end));
    let at = world.next_free();
    let mut arena = Arena::new(at);
    let wire = args::build(
        &mut arena,
        task,
        live,
        &restore.set.filters,
        &restore.own,
        &prepared,
    )?;
    let mapped = private(world, arena.bytes().len() as u64)?;
    if mapped != at {
        return Err(Error::Task(
            "the restorer's arguments are not where they were laid out for".to_owned(),
        ));
    }
    sys::write_at(at, arena.bytes());
    Ok(Arguments {
        task: wire,
        stack: stacks + STACK,
    })
}

/// Everything but the mappings that stand at their places, and the hole.
fn to_unmap(world: &World, hole: (u64, u64)) -> Vec<Range> {
    let mut keep: Vec<(u64, u64)> = world
        .placed
        .iter()
        .filter(|placed| placed.in_place())
        .map(|placed| (placed.vma.start, placed.vma.end))
        .collect();
    keep.push(hole);
    keep.sort_unstable();
    let mut ranges = Vec::new();
    let mut after = 0;
    for (start, end) in keep {
        if start > after {
            ranges.push(Range {
                start: after,
                end: start,
            });
        }
        after = end;
    }
    if after < TASK_SIZE {
        ranges.push(Range {
            start: after,
            end: TASK_SIZE,
        });
    }
    ranges
}

/// All descriptor numbers that are not the task's.
fn to_close(live: &Live) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut after = 0;
    for entry in live.fds.iter() {
        let fd = u64::from(entry.fd);
        if fd > after {
            ranges.push(Range {
                start: after,
                end: fd - 1,
            });
        }
        after = fd + 1;
    }
    ranges.push(Range {
        start: after,
        end: u64::from(u32::MAX),
    });
    ranges
}
