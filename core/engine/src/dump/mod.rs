//! The dump, as a list of steps.
//!
//! 1. Look at the running tree: which kinds will be needed, how much memory there is.
//! 2. Load the plugins, make room for the memory.
//! 3. Stop every task ([`crate::seize`]).
//! 4. Look at what `/proc` tells of it, and number what tasks share.
//! 5. Put the parasite into each process ([`parasite`]) and dump it: mappings, memory, descriptors, state.
//! 6. Let the kinds finish, write what is about the whole set, complete it.
//! 7. Cure, then kill, stop or resume, as asked.
//!
//! Whatever fails, the tree goes on as it was: every stopped task and every parasite is held by a value
//! whose drop undoes it.

mod background;
mod blockers;
mod context;
mod descriptions;
mod extra;
mod facts;
mod files;
mod ids;
mod landlock;
mod limits;
mod mappings;
mod memory;
mod pages;
mod parasite;
mod preflight;
mod process;
mod root;
mod scheduling;
mod seccomp;
mod shared;
mod sightings;
mod stats;
mod survey;
mod task;
mod threads;
mod vmas;

use std::rc::Rc;

use criu_images::ImageDir;
use criu_plugin_api::Stage;
use criu_plugin_api::message::TaskInfo;
use criu_proto::images::{
    InventoryEntry, PluginsEntry, PstreeEntry, TaskKobjIdsEntry, TimensEntry, Timespec,
};
use criu_proto::magic;

pub use self::blockers::Blocker;
use self::context::Context as Dump;
use self::facts::Facts;
use self::files::Files;
use self::ids::Objects;
use self::pages::Room;
use self::parasite::{Infection, Parasites};
pub use self::preflight::preflight;
use self::seccomp::Seccomp;
use self::survey::Survey;
use crate::error::{Context, Error, Result};
use crate::kinds::Kinds;
use crate::lsm::Module;
use crate::options::{FinalState, Notify, Options};
use crate::proc;
use crate::restore::plan::{Kin, Outside, Plan};
use crate::seize::{self, Process, Seized};

/// Saves the tree below `--tree` into the images directory.
///
/// # Errors
/// The first thing that failed; the tree then goes on as before, and the images directory holds no
/// inventory, by which an incomplete set is told.
pub fn dump(opts: &Options, notify: &dyn Notify) -> Result<()> {
    let root = opts.tree.ok_or_else(|| {
        Error::refused_but(
            "dump",
            "does not know which process",
            "name the root of the tree with --tree PID",
        )
    })?;
    root::check(root)?;
    crate::limits::raise_open_files();
    crate::limits::report_full_files();

    let images = ImageDir::open(&opts.images_dir)?;
    images.begin_dump()?;
    with_plugins(opts, images, root, |dump, survey| run(dump, notify, root, survey))
}

/// Steps 1 and 2: finds and loads the plugins that the tree needs, and does the work with them.
fn with_plugins(
    opts: &Options,
    images: ImageDir,
    root: i32,
    work: impl FnOnce(&Rc<Dump>, &Survey) -> Result<()>,
) -> Result<()> {
    let survey = survey::look(root)?;
    let kinds = Kinds::find(opts)?;
    let files = Files::new(images.create(&magic::FILES, 0)?);
    let dump = Dump::new(opts, images, kinds, files)?;
    dump.kinds.connect(Rc::clone(&dump) as _);
    let result = dump
        .kinds
        .load_for(&survey.queries, &survey.mappings)
        .and_then(|()| work(&dump, &survey));
    dump.kinds.disconnect();
    result
}

/// From loaded plugins to the end.
fn run(dump: &Rc<Dump>, notify: &dyn Notify, root: i32, survey: &Survey) -> Result<()> {
    // Found wrong now, not when the tree is gone.
    let work_dir = ImageDir::open(dump.opts.work_dir())?;
    told(notify, "pre-dump", root)?;
    let mut room = Room::default();
    room.reserve(dump, &survey.pids)?;
    at_stage(dump, Stage::BeforeFreeze).inspect_err(|_| cured(dump))?;

    dump.stats.freezing_began();
    let mut infection = None;
    if let Err(error) = freeze_and_dump(dump, notify, root, &mut room, &mut infection) {
        give_up(dump, notify, root, infection);
        return Err(error);
    }
    if let Some(infection) = infection {
        release(dump, notify, root, infection)?;
    }
    // The set is complete and the tree is what it was to become: this is no failure of the dump any more.
    if let Err(error) = dump.stats.write(&work_dir) {
        tracing::warn!("the statistics are not written: {error}");
    }
    if dump.opts.display_stats {
        dump.stats.print();
    }
    Ok(())
}

/// Steps 3 to 6: from a running tree to a stopped one and its complete image set.
///
/// The stopped tree is handed out as soon as there is one: after a failure the kinds take back what
/// they did before any of its threads goes on.
fn freeze_and_dump(
    dump: &Rc<Dump>,
    notify: &dyn Notify,
    root: i32,
    room: &mut Room,
    stopped: &mut Option<Infection>,
) -> Result<()> {
    let seccomp = Seccomp::default();
    walk(dump, notify, root, room, stopped, &seccomp)?;
    dump.blockers.settle()?;
    if let Some(infection) = stopped {
        write_set(dump, infection, &seccomp)?;
        tracing::debug!("the set is complete");
    }
    told(notify, "post-dump", root)?;
    match dump.opts.final_state() {
        FinalState::Kill => at_stage(dump, Stage::Dumped),
        FinalState::Stopped | FinalState::Running => Ok(()),
    }
}

/// Steps 3 to 6 but for the completion of the set. What cannot be saved is noted, and the walk goes on without
/// it.
fn walk(
    dump: &Rc<Dump>,
    notify: &dyn Notify,
    root: i32,
    room: &mut Room,
    stopped: &mut Option<Infection>,
    seccomp: &Seccomp,
) -> Result<()> {
    let let_go = || at_stage(dump, Stage::Interrupted);
    let let_go: Option<&dyn Fn() -> Result<()>> = if dump.held.get() { Some(&let_go) } else { None };
    let mut seized = seize::seize(root, dump.opts.timeout, let_go)?;
    dump.stats.frozen();
    let tasks = seized.processes.iter().map(|process| process.tids().len());
    tracing::debug!(
        processes = seized.processes.len(),
        threads = tasks.sum::<usize>(),
        "stopped"
    );
    dump.blockers.note(check_session(dump, &seized))?;
    let facts = facts::gather(&mut seized)?;
    let ids = number(dump, &seized, &facts)?;
    check_kinship(dump, &seized, &ids)?;
    tracing::debug!("looked at in /proc");
    told(notify, "network-lock", root)?;
    at_stage(dump, Stage::Frozen)?;
    let infection = stopped.insert(Infection::of(dump, seized, facts));
    process::dump_all(dump, infection, &ids, seccomp, room)?;
    tracing::debug!("all processes are saved");
    if dump.blockers.left_out_a_process() {
        return Ok(());
    }
    finish_kinds(dump)
}

/// A tree whose root belongs to a session or group outside of it can only be saved as a shell job.
fn check_session(dump: &Dump, seized: &Seized) -> Result<()> {
    if dump.opts.shell_job {
        return Ok(());
    }
    let pids: Vec<i32> = seized.processes.iter().map(|p| p.pid).collect();
    let root = &seized.processes[0];
    for process in &seized.processes {
        let stat = &process.stat;
        // A dead leader inside the tree is fine; one outside of it cannot be made again.
        if stat.sid == root.stat.sid && !pids.contains(&stat.sid) && root.pid != stat.sid {
            return Err(Error::refused_but(
                format!("process {}", process.pid),
                format!("belongs to session {}, whose leader is not in the tree", stat.sid),
                "dump the session leader's tree, or use --shell-job",
            ));
        }
    }
    Ok(())
}

/// Refuses a tree that no forks rebuild: the restore, which makes the same plan, comes when the tree may be gone.
fn check_kinship(dump: &Dump, seized: &Seized, ids: &[TaskKobjIdsEntry]) -> Result<()> {
    let kin = |(process, ids): (&Process, &TaskKobjIdsEntry)| {
        let stat = &process.stat;
        Kin {
            pid: process.pid,
            ppid: stat.ppid,
            pgid: stat.pgid,
            sid: stat.sid,
            dead: process.leader.is_none(),
            exit_signal: extra::exit_signal(stat).unwrap_or(libc::SIGCHLD.unsigned_abs()),
            shares: (ids.vm_id != 0).then_some([ids.vm_id, ids.files_id, ids.fs_id, ids.sighand_id]),
        }
    };
    let mut kins: Vec<Kin> = seized.processes.iter().zip(ids).map(kin).collect();
    let Some(root) = kins.first_mut() else {
        return Ok(());
    };
    root.ppid = 0;
    // Whoever restores it has a session and group for those from outside.
    let outside = Outside {
        sid: root.sid,
        pgid: root.pgid,
        allowed: true,
    };
    dump.blockers.note(Plan::of(&kins, outside).map(drop))?;
    Ok(())
}

/// Numbers what tasks share and tells the kinds of the tree.
fn number(dump: &Dump, seized: &Seized, facts: &[Option<Facts>]) -> Result<Vec<TaskKobjIdsEntry>> {
    let mut objects = Objects::new();
    let mut all = Vec::with_capacity(seized.processes.len());
    let mut tasks = Vec::with_capacity(seized.processes.len());
    for (process, facts) in seized.processes.iter().zip(facts) {
        let mut ids = TaskKobjIdsEntry::default();
        if let Some(facts) = facts {
            let own = dump.namespaces.ids(process.pid, &facts.namespaces);
            ids = dump.blockers.note(own)?.unwrap_or_default();
            objects.number(process.eye(), &mut ids)?;
            dump.blockers.note(check_threads(process, facts))?;
            // Before anything is put into the memory: it would be there twice.
            refuse_shared_memory(dump, process.pid, &ids)?;
        }
        tasks.push(TaskInfo {
            pid: process.pid,
            ppid: if tasks.is_empty() { 0 } else { process.stat.ppid },
            pgid: process.stat.pgid,
            sid: process.stat.sid,
            threads: process.tids(),
            files_id: ids.files_id,
            dead: process.leader.is_none(),
            host_pid: process.eye(),
        });
        all.push(ids);
    }
    dump.set_tasks(tasks);
    Ok(all)
}

/// What threads share with their process is saved of the process alone.
fn check_threads(process: &Process, facts: &Facts) -> Result<()> {
    if let Some(tid) = facts.moved_thread {
        return Err(Error::refused(
            format!("thread {tid} of process {}", process.pid),
            "lives in a net namespace of its own (unshare(2), setns(2)), which is not supported",
        ));
    }
    let mut threads = process.threads.iter();
    threads.try_for_each(|thread| Objects::check_thread(process.pid, process.eye(), thread.tid()))
}

/// Two processes in one memory (vfork(2), CLONE_VM) cannot be rebuilt from two images of it.
fn refuse_shared_memory(dump: &Dump, pid: i32, ids: &TaskKobjIdsEntry) -> Result<()> {
    if dump.memory_owner(ids.vm_id, pid) == pid {
        return Ok(());
    }
    Err(Error::refused(
        format!("process {pid}"),
        format!(
            "shares its memory with process {} (vfork or CLONE_VM), which is not supported",
            dump.memory_owner(ids.vm_id, pid)
        ),
    ))
}

/// Step 6: the kinds write what needed the whole picture.
fn finish_kinds(dump: &Dump) -> Result<()> {
    for kind in dump.kinds.loaded() {
        let host = dump.host(&kind);
        if let Some(file) = kind.as_file() {
            let finished = file.finish_dump(&host);
            dump.blockers
                .note(finished.context(|| format!("finishing kind {}", kind.name())))?;
        }
        if let Some(task) = kind.as_task() {
            let finished = task.finish_dump(&host);
            dump.blockers
                .note(finished.context(|| format!("finishing kind {}", kind.name())))?;
        }
    }
    dump.files.finish(dump)
}

/// The images about the whole set; the inventory, written last, makes it complete.
fn write_set(dump: &Dump, infection: &Infection, seccomp: &Seccomp) -> Result<()> {
    let tree: Vec<PstreeEntry> = dump.tasks.borrow().iter().map(pstree_entry).collect();
    dump.images.write_all(&magic::PSTREE, 0, &tree)?;
    seccomp.write(dump)?;
    crate::extra::write(&dump.images, &dump.extras.borrow())?;
    dump.images.write_one(&magic::TIMENS, 0, &clocks()?)?;
    let mut root_ids = dump.namespaces.of(infection.processes[0].eye)?;
    (
        root_ids.vm_id,
        root_ids.files_id,
        root_ids.fs_id,
        root_ids.sighand_id,
    ) = (1, 1, 1, 1);
    dump.images.finish_dump(&InventoryEntry {
        img_version: 2,
        fdinfo_per_id: Some(true),
        root_ids: Some(root_ids),
        ns_per_id: Some(true),
        root_cg_set: Some(task::CG_SET),
        lsmtype: Some(Module::lsmtype(dump.lsm) as i32),
        network_lock_method: Some(0),
        plugins_entry: Some(PluginsEntry {
            plugins: dump.needed_plugins(),
        }),
        dump_criu_run_id: Some(run_id()?),
        tcp_close: dump.opts.tcp_close.then_some(true),
        allow_uprobes: dump.opts.allow_uprobes.then_some(true),
        ..InventoryEntry::default()
    })?;
    Ok(())
}

fn pstree_entry(task: &TaskInfo) -> PstreeEntry {
    PstreeEntry {
        pid: task.pid.cast_unsigned(),
        ppid: task.ppid.cast_unsigned(),
        pgid: task.pgid.cast_unsigned(),
        sid: task.sid.cast_unsigned(),
        // A zombie has no thread left to be made again. A leader that others have outlived is made, and ends.
        threads: if task.dead {
            vec![0]
        } else {
            let lost = (!task.threads.contains(&task.pid)).then_some(task.pid);
            let threads = lost.iter().chain(&task.threads);
            threads.map(|t| t.cast_unsigned()).collect()
        },
    }
}

/// The clocks that a time namespace can shift, as they stood at the dump.
fn clocks() -> Result<TimensEntry> {
    let read = |clock: libc::clockid_t| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: clock_gettime writes one timespec to the address given, which is one.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } < 0 {
            return Err(Error::last_os(format!("reading clock {clock}")));
        }
        Ok(Timespec {
            tv_sec: time.tv_sec.cast_unsigned(),
            tv_nsec: time.tv_nsec.cast_unsigned(),
        })
    };
    Ok(TimensEntry {
        monotonic: read(libc::CLOCK_MONOTONIC)?,
        boottime: read(libc::CLOCK_BOOTTIME)?,
    })
}

/// A fresh random UUID, by which the images of one run are told.
fn run_id() -> Result<String> {
    let text = proc::read("/proc/sys/kernel/random/uuid")?;
    Ok(String::from_utf8_lossy(text.trim_ascii()).into_owned())
}

/// Step 7.
fn release(dump: &Dump, notify: &dyn Notify, root: i32, infection: Infection) -> Result<()> {
    let state = dump.opts.final_state();
    if state == FinalState::Kill {
        infection.kill(dump)?;
        tracing::debug!("the tree is gone");
        dump.stats.thawed();
        cured(dump);
        return Ok(());
    }
    at_stage(dump, Stage::BeforeThaw)?;
    told(notify, "network-unlock", root)?;
    let tree = infection.cure(dump);
    cured(dump);
    tree.release(state == FinalState::Stopped)?;
    tracing::debug!("the tree goes on");
    dump.stats.thawed();
    Ok(())
}

/// Tells the kinds that nothing of the dump is left in the tree.
fn cured(dump: &Dump) {
    if let Err(error) = at_stage(dump, Stage::Cured) {
        tracing::warn!("after the dump: {error}");
    }
}

/// After a failure: the kinds undo what they did to the tree, then it is let go.
fn give_up(dump: &Dump, notify: &dyn Notify, root: i32, infection: Option<Infection>) {
    if let Err(error) = at_stage(dump, Stage::BeforeThaw) {
        tracing::warn!("undoing after a failure: {error}");
    }
    if let Err(error) = told(notify, "network-unlock", root) {
        tracing::warn!("undoing after a failure: {error}");
    }
    // Whatever is still being read of the tree or written of it is of no use any more.
    if let Err(second) = dump.background.borrow_mut().finish() {
        tracing::debug!("{second}");
    }
    let tree = infection.map(|infection| infection.cure(dump));
    *dump.parasites.borrow_mut() = Parasites::default();
    cured(dump);
    if let Some(Err(error)) = tree.map(|tree| tree.release(false)) {
        tracing::warn!("undoing after a failure: {error}");
    }
    dump.stats.thawed();
    // A set that was complete before the failure is not one that may be restored beside the tree.
    if let Err(error) = dump.images.invalidate() {
        tracing::warn!("undoing after a failure: {error}");
    }
}

fn at_stage(dump: &Dump, stage: Stage) -> Result<()> {
    for kind in dump.kinds.hooks(stage) {
        kind.hook()?
            .at(&dump.host(&kind), stage)
            .context(|| format!("kind {} at stage {stage:?}", kind.name()))?;
    }
    Ok(())
}

fn told(notify: &dyn Notify, action: &str, root: i32) -> Result<()> {
    notify.notify(action, Some(root)).map_err(|why| Error::Notify {
        action: action.to_owned(),
        why,
    })
}
