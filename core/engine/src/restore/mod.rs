//! Restores a tree of processes from an image set.
//!
//! The coordinator (this process) reads and checks everything, forks the root of the tree, and each task
//! forks its own children and rebuilds itself, in step with the others by the stages of [`shared`]. At the
//! end the coordinator catches every thread, puts the registers in place and lets go.

mod args;
mod birth;
mod catch;
mod context;
mod end;
mod extra;
mod files;
mod guard;
mod images;
mod kinds;
mod layout;
mod memory;
mod older;
mod own;
mod pages;
mod pids;
pub(crate) mod plan;
mod rebuild;
mod records;
mod registers;
mod service_fds;
mod services;
mod shadow;
mod shared;
mod stats;
mod surroundings;
mod sys;
mod task;
mod vdso;
mod vdso_proxy;
mod vma;

use std::rc::Rc;
use std::time::Instant;

use criu_blobs::restore::stage;
use criu_images::ImageDir;
use criu_infect::Abi;
use criu_plugin_api::{Outcome, Stage, TaskPoint};
use nix::unistd::{getpgrp, getsid};

use crate::arch;
use crate::error::{Context as _, Error, Result};
use crate::lsm;
use crate::options::{Notify, Options};
use context::Restore;
use files::FileTable;
use images::ImageSet;
use kinds::Kinds;
use layout::Layout;
use own::Own;
use plan::{Outside, Plan, Role};
use service_fds::ServiceFds;
use shared::SharedMemory;

/// Restores the tree of `opts.images_dir` and lets it run, or leaves nothing of it behind.
///
/// # Errors
/// What stopped the restore, the first cause last.
pub fn restore(opts: &Options, notify: &dyn Notify) -> Result<()> {
    let begun = Instant::now();
    crate::limits::raise_open_files();
    let restore = check(opts)?;
    let result = create(&restore, notify, begun);
    let finished = finish(&restore, result);
    restore.kinds.stop();
    finished?;
    end::after(opts, restore.plan.nodes[0].pid)
}

/// Reads and checks everything; nothing is created yet.
fn check(opts: &Options) -> Result<Rc<Restore>> {
    let dir = ImageDir::open(&opts.images_dir)?;
    let set = ImageSet::read(dir)?;
    tracing::debug!(processes = set.tasks.len(), "the images are read");
    let closing;
    let opts = if set.tcp_close && !opts.tcp_close {
        closing = Options {
            tcp_close: true,
            ..opts.clone()
        };
        &closing
    } else {
        opts
    };
    let here = shadow::Here::look()?;
    for task in &set.tasks {
        let x32 = task.live.as_ref().is_some_and(|live| live.abi == Abi::X32);
        if x32 && !arch::has_x32() {
            return Err(Error::refused_but(
                format!("process {}", task.pid),
                "is a program of the x32 ABI, and this kernel runs none",
                "boot a kernel that has it (CONFIG_X86_X32_ABI), with syscall.x32=y",
            ));
        }
        if let Some(live) = &task.live {
            shadow::check(task.pid, live, here)?;
        }
        for thread in task.live.iter().flat_map(|live| &live.threads) {
            if let Some(info) = &thread.core.thread_info {
                registers::check(thread.tid, &info.fpregs)?;
            }
        }
    }
    check_probes(opts, &set)?;
    let labels = plan_labels(opts, &set)?;
    let own = Own::read()?;
    let sid = getsid(None).context(|| "asking for the session")?.as_raw();
    let outside = Outside {
        sid,
        pgid: getpgrp().as_raw(),
        allowed: opts.shell_job,
    };
    let plan = Plan::new(&set, outside)?;
    let layout = Layout::find(&set)?;
    let kinds = Kinds::find(opts, &set)?;
    let limit = own.rlimits[libc::RLIMIT_NOFILE as usize].0;
    let service_fds = ServiceFds::new(opts, &set.dir, Restore::all_numbers(&set), limit)?;
    let restore = Restore::new(opts, set, plan, layout, kinds, service_fds, (own, labels));
    if let Some(services) = restore.services() {
        restore.kinds.start(services)?;
    }
    Ok(restore)
}

/// How every thread comes by the label of a security module that it had.
fn plan_labels(opts: &Options, set: &ImageSet) -> Result<lsm::Plan> {
    if opts.lsm_mount_context.is_some() {
        tracing::warn!("--lsm-mount-context is for mounts, and none is restored");
    }
    let plan = lsm::Plan::new(set.lsmtype, opts.lsm_profile.as_deref())?;
    for task in &set.tasks {
        for thread in task.live.iter().flat_map(|live| &live.threads) {
            if let Some(creds) = &thread.thread()?.creds {
                plan.wanted(&format!("process {}", task.pid), creds)?;
            }
        }
    }
    Ok(plan)
}

/// Code that was probed stops at breakpoints that the restored process is expected to meet probes at.
fn check_probes(opts: &Options, set: &ImageSet) -> Result<()> {
    let probed = set.tasks.iter().find(|task| {
        let vmas = task.live.iter().flat_map(|live| &live.vmas);
        vmas.into_iter().any(|vma| vma.backing == vma::Backing::Uprobes)
    });
    match probed {
        Some(task) if !opts.allow_uprobes => Err(Error::refused_but(
            format!("process {}", task.pid),
            "had user probes ([uprobes]), which are not part of the images",
            "set the same probes, and use --allow-uprobes as the dump did",
        )),
        _ => Ok(()),
    }
}

/// The steps that create the tree.
fn create(restore: &Rc<Restore>, notify: &dyn Notify, begun: Instant) -> Result<()> {
    let root = restore.plan.nodes[0].pid;
    tell(notify, "pre-restore", None)?;
    restore.kinds.hooks(&**restore, Stage::BeforeRestore)?;
    let table = restore.service_fds.while_kinds_prepare(|| {
        let table = FileTable::plan(restore)?;
        prepare_tasks(restore)?;
        Ok(table)
    })?;
    let shared = set_up_shared(restore, table)?;
    pids::await_free(restore)?;
    tracing::debug!("everything is prepared");

    let mut places = end::Restorer::map(restore)?;
    let look = || end::look_for_dead(restore);
    end::fork_root(restore, &mut places)?;
    shared.await_arrival(stage::FORKED, None, look)?;
    tracing::debug!("all processes are there");
    let forking = begun.elapsed();
    tell(notify, "setup-namespaces", Some(root))?;
    tell(notify, "post-setup-namespaces", Some(root))?;

    shared.await_arrival(stage::READY, None, look)?;
    tracing::debug!("files, memory and threads are there");
    tell(notify, "post-restore", Some(root))?;
    let seized = catch::suspend_filters(restore)?;
    shared.release(stage::READY);
    shared.await_arrival(stage::DONE, None, look)?;
    catch::catch_all(restore, seized, places.syscall, |_| places.scratch)?;
    tracing::debug!("all threads are caught");

    check_vdsos(restore)?;
    restore_mappings(restore)?;
    restore_caught(restore)?;
    restore.kinds.hooks(&**restore, Stage::BeforeResume)?;
    tell(notify, "network-unlock", Some(root))?;
    finish_files(restore, Outcome::Success)?;
    end::complete(restore)?;
    tracing::debug!("registers are set");
    end::write_pidfile(&restore.opts, root)?;
    stats::write(&restore.opts, shared, forking, begun.elapsed())?;
    tell(notify, "pre-resume", Some(root))?;
    restore.kinds.hooks(&**restore, Stage::Complete)?;
    end::release(restore)?;
    tracing::debug!("the tree runs");
    if let Err(error) = restore.kinds.hooks(&**restore, Stage::Resumed) {
        tracing::warn!("{error}");
    }
    tell(notify, "post-resume", Some(root))
}

fn tell(notify: &dyn Notify, action: &str, pid: Option<i32>) -> Result<()> {
    notify.notify(action, pid).map_err(|why| Error::Notify {
        action: action.to_owned(),
        why,
    })
}

/// Makes the memory that all tasks share.
fn set_up_shared(restore: &Restore, table: FileTable) -> Result<&SharedMemory> {
    let files = restore.set.files.len();
    let shared = SharedMemory::map(restore.layout.start, restore.plan.nodes.len(), files)?;
    let all = restore.plan.count(|_| true);
    let tasks = restore.plan.count(|role| matches!(role, Role::Task(_)));
    let helpers = restore.plan.count(|role| role == Role::Helper);
    let threads = catch::processes(restore)
        .map(|(_, live)| live.threads.len())
        .sum::<usize>();
    let threads = u32::try_from(threads).unwrap_or(u32::MAX);
    for (number, count) in [
        (stage::FORKED, all),
        (stage::GROUPED, all),
        (stage::FILES, tasks + helpers),
        (stage::MEMORY, tasks),
        (stage::READY, threads),
        (stage::DONE, threads),
    ] {
        shared.shared().expected[number as usize].store(count, std::sync::atomic::Ordering::Relaxed);
    }
    shared.expect_files(tasks);
    // Both are set once, here.
    let _ = restore.table.set(table);
    Ok(restore.shared.get_or_init(|| shared))
}

/// Checks what the kernel has given to 32-bit programs.
fn check_vdsos(restore: &Restore) -> Result<()> {
    for (node, live) in catch::processes(restore) {
        if live.abi != Abi::Native {
            let (task, _) = restore.live(node)?;
            let files = rebuild::PageFiles::open(restore, task, live)?;
            vdso::check_compat(task.pid, live, vdso::reader(&files.fds))?;
        }
    }
    Ok(())
}

/// Has the kinds put back mappings that the core cannot.
fn restore_mappings(restore: &Restore) -> Result<()> {
    use criu_proto::Message;
    for (node, live) in catch::processes(restore) {
        let pid = restore.plan.nodes[node].pid;
        let mut mm = None;
        for vma in &live.vmas {
            let vma::Backing::Kind(bit) = vma.backing else {
                continue;
            };
            let Some((id, kind)) = restore.kinds.mapping(bit) else {
                continue;
            };
            let record = criu_plugin_api::message::MappingRecord {
                pid,
                vma: vma
                    .entry
                    .as_ref()
                    .map(|entry| entry.encode_to_vec())
                    .unwrap_or_default(),
                mm: mm.get_or_insert_with(|| live.mm.encode_to_vec()).clone(),
            };
            let what = || {
                format!(
                    "restoring the mapping {:#x}-{:#x} of process {pid}",
                    vma.start, vma.end
                )
            };
            kind.restore(&restore.kinds.host(restore, id), &record)
                .map_err(|error| error.context(format!("{} with {}", what(), restore.kinds.name(id))))?;
            for &(start, end) in memory::guards_within(&live.guards, vma) {
                let mut caught = restore.caught.borrow_mut();
                let process = caught
                    .get_mut(&pid)
                    .ok_or_else(|| Error::Task(format!("process {pid} is not caught")))?;
                process
                    .advise((start, end), memory::MADV_GUARD_INSTALL)
                    .context(what)?;
            }
        }
    }
    Ok(())
}

/// Has the kinds of task state act on the caught tasks.
fn restore_caught(restore: &Restore) -> Result<()> {
    for (id, kind) in restore.kinds.tasks() {
        for info in restore.infos.iter().filter(|info| !info.dead) {
            let progress = kind
                .restore(&restore.kinds.host(restore, id), info, TaskPoint::Caught)
                .map_err(|error| error.context(restore.kinds.name(id)))?;
            if let criu_plugin_api::Progress::NotYet(why) = progress {
                let what = format!("waits for {why}, and nothing can happen any more");
                return Err(Error::refused(format!("process {}", info.pid), what));
            }
        }
    }
    Ok(())
}

/// Has the kinds of state of tasks check what they will put back.
fn prepare_tasks(restore: &Restore) -> Result<()> {
    for (id, kind) in restore.kinds.tasks() {
        kind.prepare(&restore.kinds.host(restore, id))
            .map_err(|error| error.context(restore.kinds.name(id)))?;
    }
    Ok(())
}

/// Tells the kinds of files how it ends: all tasks stand still, or are gone. All are told; the first
/// failure is returned.
fn finish_files(restore: &Restore, outcome: Outcome) -> Result<()> {
    let mut result = Ok(());
    for (id, _) in restore.kinds.file_kinds() {
        let done = restore
            .kinds
            .file(id)
            .and_then(|kind| Ok(kind.finish_restore(&restore.kinds.host(restore, id), outcome)?));
        if let Err(error) = done {
            let name = restore.kinds.name(id);
            tracing::error!("finishing the restore with {name}: {error}");
            result = result.and(Err(error));
        }
    }
    result
}

/// After a failure removes every process and has the kinds clean up.
fn finish(restore: &Restore, result: Result<()>) -> Result<()> {
    if result.is_err() {
        end::remove_all(restore);
        // Reported there; the first cause is what the user must hear of.
        let _ = finish_files(restore, Outcome::Failure);
    }
    if result.is_err()
        && let Err(error) = restore.kinds.hooks(restore, Stage::RestoreFailed)
    {
        tracing::warn!("{error}");
    }
    end::stop_reaping(restore);
    result
}
