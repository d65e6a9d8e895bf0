//! Step 5: the processes of a stopped tree, one after the other.

use std::collections::HashMap;

use criu_infect::{Abi, Infected};
use criu_plugin_api::Verdict;
use criu_proto::images::TaskKobjIdsEntry;

use super::context::Context as Dump;
use super::facts::Facts;
use super::pages::{self, Room, Saving};
use super::parasite::{self, Infection};
use super::seccomp::Seccomp;
use super::task::{self, Subject};
use super::{extra, mappings, threads, vmas};
use crate::error::{Context, Error, Result};
use crate::seize::State;

/// From this many threads in the tree on a thread is worth starting for what can be done beside.
const WORTH_A_THREAD: usize = 8;

/// Saves every process.
///
/// # Errors
/// The first that cannot be saved, named.
pub(crate) fn dump_all(
    dump: &Dump,
    infection: &Infection,
    ids: &[TaskKobjIdsEntry],
    seccomp: &Seccomp,
    room: &mut Room,
) -> Result<()> {
    let threads: usize = infection.processes.iter().map(|p| 1 + p.ns_tids.len()).sum();
    let worth_a_thread = threads >= WORTH_A_THREAD;
    if worth_a_thread {
        dump.background.borrow_mut().start();
    }
    let processes = &infection.processes;
    *dump.mappings.borrow_mut() = mappings::Stream::new(worth_a_thread);
    let ahead = dump.mappings.borrow().ahead();
    let mut entered = 0;
    for (index, (process, ids)) in processes.iter().zip(ids).enumerate() {
        while let Some(next) = processes.get(entered).filter(|_| entered <= index + ahead) {
            if next.is_alive() {
                dump.blockers.note_process(next.enter(dump, seccomp))?;
                dump.mappings.borrow_mut().order(next.eye);
            }
            entered += 1;
        }
        let pid = process.pid;
        let dumped = match process.state {
            State::Dead(code) => task::dump_zombie(dump, pid, code, &process.stat),
            _ => dump_one(dump, process, ids, seccomp, room),
        }
        .context(|| format!("dumping process {pid}"));
        dump.blockers.note_process(dumped)?;
        dump.forget_pidfd(pid);
    }
    dump.background.borrow_mut().finish()?;
    if dump.goes_on() {
        pages::copy_large(dump)?;
    }
    Ok(())
}

fn dump_one(
    dump: &Dump,
    process: &parasite::Process,
    ids: &TaskKobjIdsEntry,
    seccomp: &Seccomp,
    room: &mut Room,
) -> Result<()> {
    let pid = process.pid;
    if dump.parasites.borrow().is_refused(pid) {
        return Ok(());
    }
    let facts = process
        .facts
        .as_ref()
        .ok_or_else(|| Error::malformed(format!("process {pid}"), "was not looked at"))?;
    let (info, parasite, abi) = {
        let mut parasites = dump.parasites.borrow_mut();
        let infected = parasites.of(pid)?;
        (infected.process_info()?, infected.mapping(), infected.abi())
    };
    let status = facts.statuses.first().cloned().unwrap_or_default();
    if dump.table_owner(ids.files_id, pid) == pid {
        dump.files
            .dump_table(dump, pid, process.parent, ids.files_id, status.descriptor_room)?;
    }
    tracing::debug!(pid, "descriptors are saved");
    task::dump_fs(dump, pid, ids, status.umask)?;
    let fields = dump_task_kinds(dump, pid)?;
    tracing::debug!(pid, "the kinds have looked at the task");

    let mut extra = extra::process(pid, &process.stat, &status, &info)?;
    extra.lost_leader = process.lost;
    extra.x32 = abi == Abi::X32;
    let subject = Subject {
        pid,
        stat: &process.stat,
        state: process.state,
        lost: process.lost.is_some(),
        info: &info,
        abi,
        facts,
        lsm: dump.lsm,
        fields: &fields,
    };
    let shadow_pointers: Vec<u64> = {
        let mut parasites = dump.parasites.borrow_mut();
        let infected = parasites.of(pid)?;
        set_witnesses(dump, process, facts, infected)?;
        extra
            .threads
            .push(task::dump_leader(dump, &subject, infected, seccomp)?);
        tracing::debug!(pid, "the leading thread is saved");
        let mut threads = process.threads.borrow_mut();
        let states = infected.threads(&mut threads, &process.ns_tids)?;
        tracing::debug!(
            pid,
            threads = states.len(),
            "the other threads have told about themselves"
        );
        extra
            .threads
            .extend(threads::dump(dump, &subject, &threads, &states, seccomp)?);
        let others = states.iter().filter_map(|state| state.shadow);
        infected
            .shadow_stack_pointer()
            .into_iter()
            .chain(others)
            .collect()
    };

    tracing::debug!(pid, "threads are saved");
    let mut mappings = dump.mappings.borrow_mut().take(process.eye)?;
    extra.lock_future = mappings
        .iter()
        .find(|m| m.start == parasite.start)
        .and_then(extra::lock_future);
    // It may be in two parts, see `PR_SET_MDWE`.
    mappings.retain(|m| m.end <= parasite.start || parasite.end <= m.start);
    let mut vmas = vmas::collect(dump, pid, &mappings, &shadow_pointers)?;
    extra.ranges = std::mem::take(&mut vmas.extras);
    let exe = dump.files.executable(dump, pid, &mappings);
    let exe = dump.blockers.note(exe)?.map_or(0, |exe| exe.id);
    let mm = task::mm_entry(&subject, exe, vmas.entries, &vmas.mm_fields)?;
    if dump.goes_on() {
        let saving = Saving::new(dump, room, (pid, process.eye), vmas.regions, mm);
        dump.background.borrow_mut().put(move || saving.run())?;
    }
    dump.add_extra(extra);
    tracing::debug!(pid, mappings = mappings.len(), "mappings are saved");
    Ok(())
}

/// Has every thread look at a process by which it is found out whether it is confined.
fn set_witnesses(
    dump: &Dump,
    process: &parasite::Process,
    facts: &Facts,
    infected: &mut Infected,
) -> Result<()> {
    let threads = process.threads.borrow();
    let tids = std::iter::once((process.eye, 0)).chain(
        threads
            .iter()
            .map(criu_infect::Tracee::tid)
            .zip(process.ns_tids.iter().copied()),
    );
    for ((tid, inside), status) in tids.zip(&facts.statuses) {
        let witness = dump
            .witnesses
            .of(dump.lsm, process.pid, tid, &status.credentials)?;
        if let Some(witness) = witness {
            infected.set_witness(inside, witness);
        }
    }
    Ok(())
}

fn of_task(pid: i32) -> String {
    format!("dumping process {pid}")
}

/// What kinds add to the `core_entry` of each thread, by its id.
fn dump_task_kinds(dump: &Dump, pid: i32) -> Result<HashMap<i32, Vec<u8>>> {
    let task = dump.task(pid).map(|task| task.clone()).unwrap_or_default();
    let mut fields: HashMap<i32, Vec<u8>> = HashMap::new();
    for kind in dump.kinds.tasks() {
        let verdict = kind.task()?.dump(&dump.host(&kind), &task).map_err(Error::Plugin);
        let Some(verdict) = dump.blockers.note(verdict.context(|| of_task(pid)))? else {
            continue;
        };
        match verdict {
            Verdict::Entry(image) => {
                fields.entry(pid).or_default().extend(image.core_fields);
                for thread in image.threads {
                    fields.entry(thread.tid).or_default().extend(thread.core_fields);
                }
            }
            Verdict::NotMine => {}
            Verdict::Refused(refusal) => {
                let refused: Result<()> = Err(criu_plugin_api::Error::from(refusal).into());
                dump.blockers.note(refused.context(|| of_task(pid)))?;
            }
        }
    }
    Ok(fields)
}
