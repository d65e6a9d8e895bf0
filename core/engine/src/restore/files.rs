//! The descriptors of a task: each file is opened once, by one task; all others fetch it from there, and
//! everything ends at its number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use criu_loader::KindId;
use criu_plugin_api::message::{FilePlan, FileRecord, OpenRequest, Purpose};
use criu_plugin_api::{Opened, Progress};
use criu_proto::images::FdinfoEntry;

use super::context::Restore;
use super::plan::Role;
use super::shared::{Failed, file_state};
use super::sys;
use crate::error::{Context, Error, Result};

/// Who opens what, known before the first fork.
#[derive(Debug, Default)]
pub(crate) struct FileTable {
    /// Of each file its place in the shared memory.
    pub(crate) slots: HashMap<u32, usize>,
    pub(crate) plans: HashMap<u32, FilePlan>,
    /// Which kind serves a file.
    pub(crate) kinds: HashMap<u32, KindId>,
    /// The members of each group.
    pub(crate) groups: HashMap<(KindId, u64), Vec<u32>>,
    /// Of each file that a descriptor refers to, the node that opens it.
    pub(crate) openers: HashMap<u32, usize>,
}

impl FileTable {
    /// Has every kind check its files and plan them, and decides who opens what.
    pub(crate) fn plan(restore: &Restore) -> Result<Self> {
        let mut table = Self {
            slots: restore.set.files.keys().copied().zip(0..).collect(),
            ..Self::default()
        };
        let mut by_type: HashMap<u32, Vec<&FileRecord>> = HashMap::new();
        for record in restore.set.files.values() {
            by_type.entry(record.fd_type).or_default().push(record);
        }
        for (kind, numbers) in restore.kinds.file_kinds() {
            let of_kind = numbers.iter().filter_map(|number| by_type.get(number)).flatten();
            let mut records: Vec<FileRecord> = of_kind.copied().cloned().collect();
            records.sort_by_key(|record| record.id);
            let plans = restore
                .kinds
                .file(kind)?
                .prepare(&restore.kinds.host(restore, kind), &records)
                .map_err(|error| {
                    error.context(format!("checking the files of {}", restore.kinds.name(kind)))
                })?;
            for record in &records {
                if restore.kinds.of(record) == Some(kind) {
                    table.kinds.insert(record.id, kind);
                }
            }
            for plan in plans {
                table.add(restore, kind, plan)?;
            }
        }
        if let Some(record) = restore
            .set
            .files
            .values()
            .find(|record| !table.kinds.contains_key(&record.id))
        {
            let object = format!("file {} of the image set", record.id);
            return Err(Error::refused_but(
                object,
                "is one that no plugin serves",
                "name the plugin's directory with --plugin-dir",
            ));
        }
        table.find_openers(restore)?;
        Ok(table)
    }

    fn add(&mut self, restore: &Restore, kind: KindId, plan: FilePlan) -> Result<()> {
        let name = restore.kinds.name(kind);
        if !self.slots.contains_key(&plan.id) {
            return Err(Error::Task(format!(
                "{name} has a plan for file {}, which is not there",
                plan.id
            )));
        }
        if let Some(other) = self.kinds.insert(plan.id, kind).filter(|other| *other != kind) {
            let what = format!("is claimed by {} and {name}", restore.kinds.name(other));
            return Err(Error::refused(format!("file {} of the image set", plan.id), what));
        }
        if let Some(group) = plan.group {
            self.groups.entry((kind, group)).or_default().push(plan.id);
        }
        self.plans.insert(plan.id, plan);
        Ok(())
    }

    /// The first task with a descriptor of a file, or of its group, opens it.
    fn find_openers(&mut self, restore: &Restore) -> Result<()> {
        for node in 0..restore.plan.nodes.len() {
            if !owns_table(restore, node)? {
                continue;
            }
            let (_, live) = restore.live(node)?;
            for entry in live.fds.iter() {
                // A group goes as a whole, so this one's is done.
                if self.openers.contains_key(&entry.id) {
                    continue;
                }
                self.openers.insert(entry.id, node);
                for member in self.group_of(entry.id) {
                    self.openers.entry(member).or_insert(node);
                }
            }
        }
        for plan in self.plans.values() {
            let Some(pid) = plan.opener else { continue };
            let node = restore.plan.nodes.iter().position(|node| node.pid == pid);
            match node.map(|node| table_owner(restore, node)) {
                Some(owner) => _ = self.openers.insert(plan.id, owner?),
                None => {
                    let what = format!("must be opened by process {pid}, which is not there");
                    return Err(Error::refused(format!("file {} of the image set", plan.id), what));
                }
            }
        }
        Ok(())
    }

    /// The other members of a file's group, itself included; none without a group.
    pub(crate) fn group_of(&self, id: u32) -> Vec<u32> {
        let group = self
            .plans
            .get(&id)
            .and_then(|plan| plan.group)
            .zip(self.kinds.get(&id));
        group
            .and_then(|(group, kind)| self.groups.get(&(*kind, group)))
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a mapping of this file needs the description that descriptors share.
    pub(crate) fn is_grouped(&self, id: u32) -> bool {
        self.plans.get(&id).is_some_and(|plan| plan.group.is_some())
    }
}

/// Whether a node is a living task that has a descriptor table of its own.
pub(crate) fn owns_table(restore: &Restore, node: usize) -> Result<bool> {
    if !matches!(restore.plan.nodes[node].role, Role::Task(_)) {
        return Ok(false);
    }
    Ok(table_owner(restore, node)? == node)
}

/// The task whose descriptor table a task shares: itself, or its creator's.
pub(crate) fn table_owner(restore: &Restore, node: usize) -> Result<usize> {
    let mut owner = node;
    while let (Some(creator), Some(other)) = (restore.plan.nodes[owner].creator, restore.creator_live(owner))
    {
        if other.ids.files_id != restore.live(owner)?.1.ids.files_id {
            break;
        }
        owner = creator;
    }
    Ok(owner)
}

/// What a task has open on behalf of the restore.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Descriptors beside the task's own, to be closed.
    parked: BTreeSet<RawFd>,
    /// pidfds of other openers by node.
    pidfds: HashMap<usize, RawFd>,
    /// Files that this task has opened: where they stand.
    opened: BTreeMap<u32, RawFd>,
}

/// The numbers of each file in a task's table, ascending.
type Numbers<'a> = BTreeMap<u32, Vec<&'a FdinfoEntry>>;

/// Restores the descriptor table of this task.
pub(crate) fn restore_all(restore: &Restore, node: usize) -> Result<()> {
    if !owns_table(restore, node)? {
        return Ok(());
    }
    let (task, live) = restore.live(node)?;
    let mut numbers = Numbers::new();
    let mut order = Vec::new();
    for entry in live.fds.iter() {
        let of_file = numbers.entry(entry.id).or_default();
        if of_file.is_empty() {
            order.push(entry.id);
        }
        of_file.push(entry);
    }
    // What others expect this task to open without using it itself.
    let table = restore.table()?;
    let mut extra: Vec<u32> = table
        .openers
        .iter()
        .filter(|(id, opener)| **opener == node && !numbers.contains_key(id))
        .map(|(id, _)| *id)
        .collect();
    extra.sort_unstable();
    order.extend(extra);
    let mut open_one = |id: u32| -> Result<Progress<()>> {
        if restore.held.borrow().opened.contains_key(&id) {
            return Ok(Progress::Done(()));
        }
        if table.openers.get(&id) == Some(&node) {
            open(restore, node, id, &numbers)
        } else {
            fetch_and_place(restore, id, &numbers)
        }
    };
    until_done(restore, node, &order, task.pid, "to be opened", &mut open_one)?;
    let attached: Vec<u32> = order
        .iter()
        .copied()
        .filter(|id| table.openers.get(id) == Some(&node) && table.plans.get(id).is_some_and(|p| p.attach))
        .collect();
    until_done(restore, node, &attached, task.pid, "to be completed", &mut |id| {
        attach(restore, id)
    })?;
    Ok(())
}

/// Tries `work` on all files until it is done on each, waiting for others in between.
fn until_done(
    restore: &Restore,
    node: usize,
    files: &[u32],
    pid: i32,
    what: &str,
    work: &mut dyn FnMut(u32) -> Result<Progress<()>>,
) -> Result<()> {
    let shared = restore.shared()?;
    let mut left: Vec<u32> = files.to_vec();
    loop {
        let seen = shared.progress();
        let mut waits = Vec::new();
        let mut still = Vec::new();
        for &id in &left {
            match work(id)? {
                Progress::Done(()) => {}
                Progress::NotYet(why) => {
                    still.push(id);
                    waits.push(format!("file {id} waits {what}: {why}"));
                }
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        if still.len() == left.len() {
            let why = format!("process {pid}: {}", waits.join(", "));
            shared
                .await_progress(node, seen, &why)
                .map_err(|Failed| elsewhere())?;
        }
        left = still;
    }
}

/// The error of a task that leaves because another has failed.
pub(crate) fn elsewhere() -> Error {
    Error::Task("the restore failed elsewhere".to_owned())
}

fn open(restore: &Restore, node: usize, id: u32, numbers: &Numbers<'_>) -> Result<Progress<()>> {
    let purpose = if numbers.contains_key(&id) {
        Purpose::Descriptor
    } else {
        Purpose::InFlight
    };
    let opened = match open_by_kind(restore, node, id, purpose, None)? {
        Progress::Done(opened) => opened,
        Progress::NotYet(why) => return Ok(Progress::NotYet(why)),
    };
    let all = std::iter::once((id, opened.fd)).chain(opened.also.iter().map(|also| (also.id, also.fd)));
    // First everything out of the way that stands on a number meant for something else.
    let mut moved = Vec::new();
    for (id, fd) in all {
        let right = numbers
            .get(&id)
            .is_some_and(|entries| entries[0].fd.cast_signed() == fd);
        let fd = if !right && restore.service_fds.is_taken(fd) {
            let aside = restore.service_fds.copy(fd)?;
            sys::close(fd);
            aside
        } else {
            fd
        };
        moved.push((id, fd));
    }
    for (id, fd) in moved {
        place(restore, id, fd, numbers, true)?;
    }
    // Fetching one that is open helps nobody else; opening does.
    restore.shared()?.made_progress();
    Ok(Progress::Done(()))
}

/// Has the kind of a file open it.
pub(crate) fn open_by_kind(
    restore: &Restore,
    node: usize,
    id: u32,
    purpose: Purpose,
    flags: Option<u32>,
) -> Result<Progress<Opened>> {
    let record = restore.record(id)?;
    let kind = *restore
        .table()?
        .kinds
        .get(&id)
        .ok_or_else(|| Error::Task(format!("nobody serves file {id}")))?;
    let request = OpenRequest {
        file: record.clone(),
        pid: restore.plan.nodes[node].pid,
        purpose: purpose as i32,
        flags,
    };
    let host = restore.kinds.host(restore, kind);
    restore.kinds.file(kind)?.open(&host, &request).map_err(|error| {
        Error::Plugin(error.context(format!("opening file {id} with {}", restore.kinds.name(kind))))
    })
}

/// Puts a descriptor at all its numbers, or aside if it has none here.
fn place(restore: &Restore, id: u32, fd: RawFd, numbers: &Numbers<'_>, publish: bool) -> Result<()> {
    let at = match numbers.get(&id) {
        Some(entries) => {
            for entry in entries.iter() {
                let (number, cloexec) = (entry.fd.cast_signed(), entry.flags & 1 != 0);
                let doing = || format!("putting file {id} at descriptor {number}");
                if number == fd {
                    sys::set_cloexec(fd, cloexec).context(doing)?;
                } else {
                    sys::duplicate_to(fd, number, cloexec).context(doing)?;
                }
            }
            if entries.iter().all(|entry| entry.fd.cast_signed() != fd) {
                sys::close(fd);
            }
            entries[0].fd.cast_signed()
        }
        None => {
            let aside = if restore.service_fds.is_taken(fd) {
                let aside = restore.service_fds.copy(fd)?;
                sys::close(fd);
                aside
            } else {
                fd
            };
            restore.held.borrow_mut().parked.insert(aside);
            aside
        }
    };
    restore.held.borrow_mut().opened.insert(id, at);
    if publish {
        let slot = slot(restore, id)?;
        slot.fd.store(at.cast_unsigned(), Ordering::Relaxed);
        slot.state.store(file_state::OPEN, Ordering::Release);
    }
    Ok(())
}

fn slot(restore: &Restore, id: u32) -> Result<&super::shared::FileSlot> {
    let index = restore.table()?.slots.get(&id).copied();
    let index = index.ok_or_else(|| Error::Task(format!("file {id} has no place")))?;
    Ok(restore.shared()?.file(index))
}

fn fetch_and_place(restore: &Restore, id: u32, numbers: &Numbers<'_>) -> Result<Progress<()>> {
    match fetch(restore, id)? {
        Some(fd) => {
            let right = numbers
                .get(&id)
                .is_some_and(|entries| entries[0].fd.cast_signed() == fd);
            let fd = if !right && restore.service_fds.is_taken(fd) {
                let aside = restore.service_fds.copy(fd)?;
                sys::close(fd);
                aside
            } else {
                fd
            };
            place(restore, id, fd, numbers, false).map(Progress::Done)
        }
        None => {
            let opener = restore
                .table()?
                .openers
                .get(&id)
                .map(|&node| restore.plan.nodes[node].pid);
            Ok(Progress::NotYet(format!(
                "process {} to open it",
                opener.unwrap_or(0)
            )))
        }
    }
}

/// A fresh copy of a file that some task has opened; `None` while none has.
pub(crate) fn fetch(restore: &Restore, id: u32) -> Result<Option<RawFd>> {
    let mine = restore.held.borrow().opened.get(&id).copied();
    if let Some(fd) = mine {
        return sys::duplicate(fd, 0, true)
            .map(Some)
            .context(|| format!("duplicating file {id}"));
    }
    let slot = slot(restore, id)?;
    let planned = restore.table()?.openers.get(&id).copied();
    if planned.is_none() && open_in_flight(restore, id, slot)? {
        return fetch(restore, id);
    }
    if slot.state.load(Ordering::Acquire) != file_state::OPEN {
        return Ok(None);
    }
    let number = slot.fd.load(Ordering::Relaxed).cast_signed();
    let opener = planned.unwrap_or_else(|| slot.owner.load(Ordering::Acquire) as usize - 1);
    let pid = restore.plan.nodes[opener].pid;
    let known = restore.held.borrow().pidfds.get(&opener).copied();
    let pidfd = match known {
        Some(pidfd) => pidfd,
        None => {
            let pidfd = sys::pidfd_open(pid).context(|| format!("opening a pidfd of process {pid}"))?;
            let aside = restore.service_fds.copy(pidfd);
            sys::close(pidfd);
            let aside = aside?;
            let mut held = restore.held.borrow_mut();
            held.parked.insert(aside);
            held.pidfds.insert(opener, aside);
            aside
        }
    };
    let fd = sys::pidfd_getfd(pidfd, number)
        .context(|| format!("fetching file {id}, descriptor {number} of process {pid}"))?;
    Ok(Some(fd))
}

/// Opens a file that no descriptor refers to (it travels in a queue): whoever asks first does. Whether
/// this task now has it.
fn open_in_flight(restore: &Restore, id: u32, slot: &super::shared::FileSlot) -> Result<bool> {
    let Some(node) = restore.me.get() else {
        return Ok(false);
    };
    let mine = u32::try_from(node + 1).unwrap_or(u32::MAX);
    if slot
        .owner
        .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        return Ok(false);
    }
    let progress = open(restore, node, id, &Numbers::new())?;
    if matches!(progress, Progress::NotYet(_)) {
        slot.owner.store(0, Ordering::Release);
        return Ok(false);
    }
    Ok(true)
}

fn attach(restore: &Restore, id: u32) -> Result<Progress<()>> {
    let table = restore.table()?;
    let kind = table.kinds[&id];
    let fd = restore.held.borrow().opened.get(&id).copied();
    let fd = fd.ok_or_else(|| Error::Task(format!("file {id} is not open")))?;
    let host = restore.kinds.host(restore, kind);
    let done = restore
        .kinds
        .file(kind)?
        .attach(&host, restore.record(id)?, fd)
        .map_err(|error| {
            Error::Plugin(error.context(format!("completing file {id} with {}", restore.kinds.name(kind))))
        })?;
    if matches!(done, Progress::Done(())) {
        restore.shared()?.made_progress();
    }
    Ok(done)
}

/// Closes what was only needed to get the descriptors: all tasks have theirs.
pub(crate) fn close_parked(restore: &Restore) {
    let mut held = restore.held.borrow_mut();
    std::mem::take(&mut held.parked).into_iter().for_each(sys::close);
    held.pidfds.clear();
}

/// The descriptor of a mapping's file, of a directory or an executable.
pub(crate) fn open_for(
    restore: &Restore,
    node: usize,
    id: u32,
    purpose: Purpose,
    flags: Option<u32>,
) -> Result<RawFd> {
    match open_by_kind(restore, node, id, purpose, flags)? {
        Progress::Done(opened) => {
            opened.also.iter().for_each(|also| sys::close(also.fd));
            Ok(opened.fd)
        }
        Progress::NotYet(why) => Err(Error::Task(format!(
            "file {id} cannot be opened: it waits for {why}"
        ))),
    }
}
