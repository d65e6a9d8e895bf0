//! The descriptors of a task: each file is opened once, by one task; all others fetch it from there, and
//! everything ends at its number.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use criu_loader::KindId;
use criu_plugin_api::message::{FilePlan, FileRecord, OpenRequest, Purpose};
use criu_plugin_api::{Opened, Progress};
use criu_proto::images::FdinfoEntry;
use foldhash::fast::RandomState;

use super::context::Restore;
use super::plan::Role;
use super::shared::{Failed, file_state};
use super::sys;
use crate::error::{Context, Error, Result};

/// Who opens what, known before the first fork.
#[derive(Debug, Default)]
pub(crate) struct FileTable {
    /// By the place of the file.
    files: Vec<Planned>,
    /// The members of each group, by their ids.
    groups: HashMap<(KindId, u64), Vec<u32>, RandomState>,
}

/// What is known of one file.
#[derive(Debug, Clone, Copy, Default)]
struct Planned {
    /// The kind that serves it.
    kind: Option<KindId>,
    group: Option<u64>,
    /// Whether it is to be completed once all descriptors are in place.
    attach: bool,
    /// The process that must open it, if the kind named one.
    by: Option<i32>,
    /// The node that opens it; none if no descriptor refers to it.
    opener: Option<usize>,
}

impl FileTable {
    /// Has every kind check its files and plan them, and decides who opens what.
    pub(crate) fn plan(restore: &Restore) -> Result<Self> {
        let all = restore.set.files.all();
        let mut table = Self {
            files: vec![Planned::default(); all.len()],
            ..Self::default()
        };
        let mut by_type: HashMap<u32, Vec<usize>> = HashMap::new();
        for (place, record) in all.iter().enumerate() {
            by_type.entry(record.fd_type).or_default().push(place);
        }
        for (kind, numbers) in restore.kinds.file_kinds() {
            let of_kind = numbers.iter().filter_map(|number| by_type.get(number)).flatten();
            let mut places: Vec<usize> = of_kind.copied().collect();
            places.sort_unstable();
            let records: Vec<FileRecord> = places.iter().map(|&place| all[place].clone()).collect();
            let plans = restore
                .kinds
                .file(kind)?
                .prepare(&restore.kinds.host(restore, kind), &records)
                .map_err(|error| {
                    error.context(format!("checking the files of {}", restore.kinds.name(kind)))
                })?;
            for place in places {
                if restore.kinds.of(&all[place]) == Some(kind) {
                    table.files[place].kind = Some(kind);
                }
            }
            for plan in plans {
                table.add(restore, kind, &plan)?;
            }
        }
        if let Some(place) = table.files.iter().position(|file| file.kind.is_none()) {
            let object = format!("file {} of the image set", all[place].id);
            return Err(Error::refused_but(
                object,
                "is one that no plugin serves",
                "name the plugin's directory with --plugin-dir",
            ));
        }
        table.find_openers(restore)?;
        Ok(table)
    }

    fn add(&mut self, restore: &Restore, kind: KindId, plan: &FilePlan) -> Result<()> {
        let Some(place) = restore.set.files.place(plan.id) else {
            let name = restore.kinds.name(kind);
            return Err(Error::Task(format!(
                "{name} has a plan for file {}, which is not there",
                plan.id
            )));
        };
        let file = &mut self.files[place];
        if let Some(other) = file.kind.filter(|&other| other != kind) {
            let (other, name) = (restore.kinds.name(other), restore.kinds.name(kind));
            let what = format!("is claimed by {other} and {name}");
            return Err(Error::refused(format!("file {} of the image set", plan.id), what));
        }
        *file = Planned {
            kind: Some(kind),
            group: plan.group,
            attach: plan.attach,
            by: plan.opener,
            opener: None,
        };
        if let Some(group) = plan.group {
            self.groups.entry((kind, group)).or_default().push(plan.id);
        }
        Ok(())
    }

    /// The first task with a descriptor of a file, or of its group, opens it.
    fn find_openers(&mut self, restore: &Restore) -> Result<()> {
        let place = |id: u32| place(restore, id);
        for node in 0..restore.plan.nodes.len() {
            if !owns_table(restore, node)? {
                continue;
            }
            let (_, live) = restore.live(node)?;
            for entry in live.fds.iter() {
                let file = &mut self.files[place(entry.id)?];
                // A group goes as a whole, so this one's is done.
                if file.opener.is_some() {
                    continue;
                }
                file.opener = Some(node);
                let Some(key) = file.kind.zip(file.group) else {
                    continue;
                };
                for &member in self.groups.get(&key).into_iter().flatten() {
                    self.files[place(member)?].opener.get_or_insert(node);
                }
            }
        }
        let nodes: HashMap<i32, usize> = (restore.plan.nodes.iter().map(|node| node.pid))
            .zip(0..)
            .collect();
        for at in 0..self.files.len() {
            let Some(pid) = self.files[at].by else { continue };
            match nodes.get(&pid).map(|&node| table_owner(restore, node)) {
                Some(owner) => self.files[at].opener = Some(owner?),
                None => {
                    let object = format!("file {} of the image set", restore.set.files.all()[at].id);
                    let what = format!("must be opened by process {pid}, which is not there");
                    return Err(Error::refused(object, what));
                }
            }
        }
        Ok(())
    }
}

/// The place of a file in all tables.
fn place(restore: &Restore, id: u32) -> Result<usize> {
    let place = restore.set.files.place(id);
    place.ok_or_else(|| Error::malformed("files.img", format!("has no file {id}")))
}

fn planned(restore: &Restore, id: u32) -> Result<Planned> {
    Ok(restore.table()?.files[place(restore, id)?])
}

/// Whether a file is one of a group: a mapping of it needs the description that descriptors share.
pub(crate) fn is_grouped(restore: &Restore, id: u32) -> Result<bool> {
    Ok(planned(restore, id)?.group.is_some())
}

/// Whether some descriptor refers to a file.
pub(crate) fn has_descriptor(restore: &Restore, id: u32) -> Result<bool> {
    Ok(planned(restore, id)?.opener.is_some())
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
    opened: HashMap<u32, RawFd, RandomState>,
}

/// The numbers of each file in a task's table.
#[derive(Default)]
struct Numbers<'a>(Vec<(u32, &'a FdinfoEntry)>);

impl<'a> Numbers<'a> {
    /// Of a table in the order of its numbers.
    fn of_table(fds: &'a [FdinfoEntry]) -> Self {
        let mut all: Vec<_> = fds.iter().map(|entry| (entry.id, entry)).collect();
        all.sort_by_key(|(id, _)| *id);
        Self(all)
    }

    /// Those of one file, ascending.
    fn of(&self, id: u32) -> impl Iterator<Item = &'a FdinfoEntry> {
        let first = self.0.partition_point(|(other, _)| *other < id);
        let here = self.0[first..].iter().take_while(move |(other, _)| *other == id);
        here.map(|(_, entry)| *entry)
    }

    fn has(&self, id: u32) -> bool {
        self.of(id).next().is_some()
    }

    /// Whether this is the number at which a file is to stand first.
    fn is_right(&self, id: u32, fd: RawFd) -> bool {
        self.of(id)
            .next()
            .is_some_and(|entry| entry.fd.cast_signed() == fd)
    }

    /// The files, in the order of their first numbers.
    fn files(&self) -> Vec<u32> {
        let mut firsts = self.0.clone();
        firsts.dedup_by_key(|(id, _)| *id);
        firsts.sort_by_key(|(_, entry)| entry.fd);
        firsts.into_iter().map(|(id, _)| id).collect()
    }
}

/// Restores the descriptor table of this task.
pub(crate) fn restore_all(restore: &Restore, node: usize) -> Result<()> {
    if !owns_table(restore, node)? {
        return Ok(());
    }
    let (task, live) = restore.live(node)?;
    let numbers = Numbers::of_table(&live.fds);
    let mut order = numbers.files();
    // What others expect this task to open without using it itself.
    let table = restore.table()?;
    let expected = restore.set.files.all().iter().zip(&table.files);
    let expected = expected.filter(|(record, file)| file.opener == Some(node) && !numbers.has(record.id));
    order.extend(expected.map(|(record, _)| record.id));
    let mut open_one = |id: u32| -> Result<Progress<()>> {
        if restore.held.borrow().opened.contains_key(&id) {
            return Ok(Progress::Done(()));
        }
        if planned(restore, id)?.opener == Some(node) {
            open(restore, node, id, &numbers)
        } else {
            fetch_and_place(restore, id, &numbers)
        }
    };
    until_done(restore, node, &order, task.pid, "to be opened", &mut open_one)?;
    order.retain(|&id| planned(restore, id).is_ok_and(|file| file.opener == Some(node) && file.attach));
    until_done(restore, node, &order, task.pid, "to be completed", &mut |id| {
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
    let purpose = if numbers.has(id) {
        Purpose::Descriptor
    } else {
        Purpose::InFlight
    };
    let Opened { mut fd, mut also } = match open_by_kind(restore, node, id, purpose, None)? {
        Progress::Done(opened) => opened,
        Progress::NotYet(why) => return Ok(Progress::NotYet(why)),
    };
    // First everything out of the way that stands on a number meant for something else.
    fd = out_of_the_way(restore, id, fd, numbers)?;
    for other in &mut also {
        other.fd = out_of_the_way(restore, other.id, other.fd, numbers)?;
    }
    put(restore, id, fd, numbers, true)?;
    for other in also {
        put(restore, other.id, other.fd, numbers, true)?;
    }
    // Fetching one that is open helps nobody else; opening does.
    restore.shared()?.made_progress();
    Ok(Progress::Done(()))
}

/// A descriptor of a file, moved if it stands on a number that is meant for another.
fn out_of_the_way(restore: &Restore, id: u32, fd: RawFd, numbers: &Numbers<'_>) -> Result<RawFd> {
    if numbers.is_right(id, fd) || !restore.service_fds.is_taken(fd) {
        return Ok(fd);
    }
    let aside = restore.service_fds.copy(fd)?;
    sys::close(fd);
    Ok(aside)
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
    let kind = kind_of(restore, id)?;
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

fn kind_of(restore: &Restore, id: u32) -> Result<KindId> {
    let kind = planned(restore, id)?.kind;
    kind.ok_or_else(|| Error::Task(format!("nobody serves file {id}")))
}

/// Puts a descriptor at all its numbers, or aside if it has none here.
fn put(restore: &Restore, id: u32, fd: RawFd, numbers: &Numbers<'_>, publish: bool) -> Result<()> {
    let mut first = None;
    let mut stays = false;
    for entry in numbers.of(id) {
        let (number, cloexec) = (entry.fd.cast_signed(), entry.flags & 1 != 0);
        let doing = || format!("putting file {id} at descriptor {number}");
        if number == fd {
            stays = true;
            sys::set_cloexec(fd, cloexec).context(doing)?;
        } else {
            sys::duplicate_to(fd, number, cloexec).context(doing)?;
        }
        first.get_or_insert(number);
    }
    let at = match first {
        Some(number) => {
            if !stays {
                sys::close(fd);
            }
            number
        }
        None => {
            let aside = out_of_the_way(restore, id, fd, numbers)?;
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
    Ok(restore.shared()?.file(place(restore, id)?))
}

fn fetch_and_place(restore: &Restore, id: u32, numbers: &Numbers<'_>) -> Result<Progress<()>> {
    match fetch(restore, id)? {
        Some(fd) => {
            let fd = out_of_the_way(restore, id, fd, numbers)?;
            put(restore, id, fd, numbers, false).map(Progress::Done)
        }
        None => {
            let opener = planned(restore, id)?.opener;
            let pid = opener.map_or(0, |node| restore.plan.nodes[node].pid);
            Ok(Progress::NotYet(format!("process {pid} to open it")))
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
    let planned = planned(restore, id)?.opener;
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
    let progress = open(restore, node, id, &Numbers::default())?;
    if matches!(progress, Progress::NotYet(_)) {
        slot.owner.store(0, Ordering::Release);
        return Ok(false);
    }
    Ok(true)
}

fn attach(restore: &Restore, id: u32) -> Result<Progress<()>> {
    let kind = kind_of(restore, id)?;
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
