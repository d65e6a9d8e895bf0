//! What all steps of a dump share, and the services it offers to the kinds.
//!
//! A dump is one thread's work (only the copying of memory is shared out), so plain cells do. No
//! borrow is held across a call into a kind: a kind may call back.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use criu_images::ImageDir;
use criu_infect::Tracee;
use criu_plugin_api::message::{FileRecord, FileTarget, RemoteCall, RemoteResult, Slot, TaskInfo};
use criu_plugin_api::{Error as ApiError, Host, Result as ApiResult, Services};

use super::background::Background;
use super::blockers::Blockers;
use super::descriptions;
use super::files::Files;
use super::ids::Namespaces;
use super::landlock::Witnesses;
use super::mappings;
use super::pages::Left;
use super::parasite::Parasites;
use super::shared;
use super::stats::Stats;
use criu_proto::Described;
use criu_proto::magic::ImageKind;

use crate::error::{Context as _, Error, Result};
use crate::extra::TaskExtra;
use crate::kinds::{Kind, Kinds};
use crate::lsm::Module;
use crate::options::Options;
use crate::{proc, remote};

/// The type of entries that third-party kinds write: they are listed in the inventory.
const FD_TYPE_EXT: u32 = 16;

/// What `/proc/PID/fdinfo/FD` says of a descriptor.
struct KnownFdinfo {
    pid: i32,
    fd: i32,
    text: Vec<u8>,
}

/// Threads of a process that do not stand in its parasite; whoever stopped them owns them.
struct OtherThreads {
    threads: Weak<RefCell<Vec<Tracee>>>,
    /// Their ids as the process itself sees them, in their order.
    inside: Vec<i32>,
    /// Those that the kernel has made for its own work.
    workers: Weak<RefCell<Vec<Tracee>>>,
}

/// Descriptors of a process for which it is worth asking for every slot of its table.
const WORTH_ASKING: u64 = 128;

/// The state of one dump.
pub(crate) struct Context {
    pub(crate) opts: Options,
    pub(crate) images: ImageDir,
    pub(crate) kinds: Kinds,
    pub(crate) files: Files,
    pub(crate) namespaces: Namespaces,
    pub(crate) stats: Stats,
    /// The processes, the root first; empty before the seizure.
    pub(crate) tasks: RefCell<Vec<TaskInfo>>,
    /// What is left of the work on the memories.
    pub(crate) left: Arc<Left>,
    /// What cannot be saved.
    pub(crate) blockers: Blockers,
    /// What need not be done at once.
    pub(crate) background: RefCell<Background>,
    /// The mappings of the processes.
    pub(crate) mappings: RefCell<mappings::Stream>,
    /// The leaders of the tree.
    pub(crate) parasites: RefCell<Parasites>,
    /// The other threads of each process, by its pid.
    threads: RefCell<HashMap<i32, OtherThreads>>,
    /// The security module whose labels are saved.
    pub(crate) lsm: Option<Module>,
    /// Who tells threads that are confined from others.
    pub(crate) witnesses: Witnesses,
    /// Whether tasks are held by a means of a kind's, see [`Services::tasks_are_held`].
    pub(crate) held: Cell<bool>,
    pidfds: RefCell<HashMap<i32, Rc<OwnedFd>>>,
    /// Of the descriptor that is being dumped, if it has been read ahead.
    known_fdinfo: RefCell<Option<KnownFdinfo>>,
    sequences: RefCell<HashMap<String, u32>>,
    pages_ids: Cell<u32>,
    /// What the format has no place for.
    pub(crate) extras: RefCell<Vec<TaskExtra>>,
    shared_memory: RefCell<BTreeSet<u64>>,
    acted: RefCell<BTreeSet<String>>,
    memory_owners: RefCell<HashMap<u32, i32>>,
    table_owners: RefCell<HashMap<u32, i32>>,
    /// Places in `tasks` by pid.
    places: RefCell<HashMap<i32, usize>>,
}

impl Context {
    pub(crate) fn new(opts: &Options, images: ImageDir, kinds: Kinds, files: Files) -> Result<Rc<Self>> {
        Ok(Rc::new(Self {
            opts: opts.clone(),
            images,
            kinds,
            files,
            namespaces: Namespaces::of_this_process()?,
            stats: Stats::default(),
            tasks: RefCell::default(),
            left: Arc::default(),
            blockers: Blockers::default(),
            background: RefCell::default(),
            mappings: RefCell::default(),
            parasites: RefCell::default(),
            threads: RefCell::default(),
            lsm: Module::active(),
            witnesses: Witnesses::default(),
            held: Cell::new(false),
            pidfds: RefCell::default(),
            known_fdinfo: RefCell::default(),
            sequences: RefCell::default(),
            pages_ids: Cell::new(0),
            extras: RefCell::default(),
            shared_memory: RefCell::default(),
            acted: RefCell::default(),
            memory_owners: RefCell::default(),
            table_owners: RefCell::default(),
            places: RefCell::default(),
        }))
    }

    /// The host as a kind sees it.
    pub(crate) fn host<'a>(&'a self, kind: &'a Kind) -> Host<'a> {
        Host::new(self, kind.plugin())
    }

    /// Whether there will be a complete set, for which memory is worth copying.
    pub(crate) fn goes_on(&self) -> bool {
        self.images.is_kept() && !self.blockers.any()
    }

    /// Writes an image of one entry, in the background.
    ///
    /// # Errors
    /// This image, or what was put into the background before, cannot be written.
    pub(crate) fn write<M: Described + Send + 'static>(
        &self,
        kind: &'static ImageKind,
        id: u64,
        message: M,
    ) -> Result<()> {
        let images = self.images.clone();
        self.background
            .borrow_mut()
            .put(move || Ok(images.write_one(kind, id, &message)?))
    }

    /// The number of the next pages file.
    pub(crate) fn next_pages_id(&self) -> u32 {
        self.pages_ids.set(self.pages_ids.get() + 1);
        self.pages_ids.get()
    }

    /// Remembers what a process has beside what the format holds, if anything.
    pub(crate) fn add_extra(&self, mut extra: TaskExtra) {
        extra.threads.retain(|thread| !thread.is_plain());
        let plain = TaskExtra {
            pid: extra.pid,
            ..TaskExtra::default()
        };
        if extra != plain {
            self.extras.borrow_mut().push(extra);
        }
    }

    /// Remembers that the image set needs this plugin.
    pub(crate) fn plugin_acted(&self, kind: &Kind, fd_type: u32) {
        if fd_type == FD_TYPE_EXT {
            self.acted.borrow_mut().insert(kind.plugin().to_owned());
        }
    }

    /// The plugins that the image set needs beside those that any reader of the format has.
    pub(crate) fn needed_plugins(&self) -> Vec<String> {
        self.acted.borrow().iter().cloned().collect()
    }

    /// A copy of a descriptor of a target, by pidfd_getfd(2) (Linux 5.6).
    ///
    /// # Errors
    /// No such process or descriptor, or no permission to trace the process.
    pub(crate) fn target_descriptor(&self, pid: i32, fd: i32) -> Result<OwnedFd> {
        let pidfd = self.pidfd(pid)?;
        descriptions::copy_of(&pidfd, fd).context(|| format!("copying descriptor {fd} of process {pid}"))
    }

    /// The numbers of the open descriptors of a process, ascending, with their `FD_*` flags: these belong to its
    /// table, not to what a copy shares, so it is asked itself. `room` is the size of the table.
    ///
    /// # Errors
    /// The process has no parasite, or its descriptors may not be seen.
    pub(crate) fn descriptors(&self, pid: i32, room: u64) -> Result<Vec<(i32, u32)>> {
        // Listing them makes the kernel form a file for each, which takes longer than asking for every slot of a
        // table that is not mostly empty. The length of the folder is their number since Linux 6.2.
        let eye = self.eye(pid);
        let folder = format!("/proc/{eye}/fd");
        let count = fs::metadata(&folder)
            .context(|| format!("looking at {folder}"))?
            .len();
        if count >= WORTH_ASKING
            && room / 4 <= count
            && let Ok(room) = i32::try_from(room)
        {
            let slots: Vec<i32> = (0..room).collect();
            let all = self.descriptor_flags(pid, &slots)?;
            let found: Vec<(i32, u32)> = slots
                .into_iter()
                .zip(all)
                .filter_map(|(fd, flags)| Some((fd, flags?)))
                .collect();
            if found.len() as u64 == count {
                return Ok(found);
            }
        }
        let numbers = proc::descriptors(eye)?;
        let all = self.descriptor_flags(pid, &numbers)?;
        let each = numbers.into_iter().zip(all).map(|(fd, flags)| {
            let missing = || Error::malformed(format!("descriptor {fd} of process {pid}"), "is not open");
            Ok((fd, flags.ok_or_else(missing)?))
        });
        each.collect()
    }

    /// The `FD_*` flags of descriptors of a process; nothing of those that are not open.
    fn descriptor_flags(&self, pid: i32, fds: &[i32]) -> Result<Vec<Option<u32>>> {
        let mut flags = fds.to_vec();
        self.parasites
            .borrow_mut()
            .of(pid)?
            .descriptor_flags(&mut flags)?;
        Ok(flags.into_iter().map(|flags| u32::try_from(flags).ok()).collect())
    }

    /// Keeps what `/proc/PID/fdinfo/FD` says of the descriptor whose turn it is.
    pub(crate) fn fdinfo_known(&self, pid: i32, fd: i32, text: Option<Vec<u8>>) {
        *self.known_fdinfo.borrow_mut() = text.map(|text| KnownFdinfo { pid, fd, text });
    }

    /// The thread by whose number a process of the tree is looked at, see
    /// [`seize::Process::eye`](crate::seize::Process::eye).
    pub(crate) fn eye(&self, pid: i32) -> i32 {
        self.task(pid).map_or(pid, |task| task.host_pid)
    }

    /// The process that is looked at by a thread.
    fn pid(&self, eye: i32) -> i32 {
        self.task(eye).map_or(eye, |task| task.pid)
    }

    /// A pidfd of a process of the tree.
    pub(crate) fn pidfd(&self, pid: i32) -> Result<Rc<OwnedFd>> {
        if let Some(pidfd) = self.pidfds.borrow().get(&pid) {
            return Ok(Rc::clone(pidfd));
        }
        // The files are those of a thread that lives (Linux 6.9).
        let eye = self.eye(pid);
        let flags = if eye == pid { 0 } else { libc::PIDFD_THREAD };
        // SAFETY: pidfd_open takes plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, eye, flags) };
        if fd < 0 {
            let error = Error::last_os(format!("opening a pidfd of process {pid}"));
            let old =
                matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EINVAL));
            if eye != pid && old {
                let what = "its first thread has ended, and this kernel does not give the files of the others \
                            (PIDFD_THREAD, Linux 6.9)";
                return Err(Error::refused(format!("process {pid}"), what));
            }
            return Err(error);
        }
        // SAFETY: the call returned a new descriptor, which nobody else knows.
        let pidfd = Rc::new(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        self.pidfds.borrow_mut().insert(pid, Rc::clone(&pidfd));
        Ok(pidfd)
    }

    /// The process that was dumped with this memory first; `pid` if there was none.
    pub(crate) fn memory_owner(&self, vm_id: u32, pid: i32) -> i32 {
        *self.memory_owners.borrow_mut().entry(vm_id).or_insert(pid)
    }

    /// The process for which this descriptor table is walked first; `pid` if there was none.
    pub(crate) fn table_owner(&self, files_id: u32, pid: i32) -> i32 {
        *self.table_owners.borrow_mut().entry(files_id).or_insert(pid)
    }

    /// The process for which the table of `pid` was walked: the first of those that share it.
    fn walked(&self, pid: i32) -> i32 {
        self.task(pid).map_or(pid, |task| {
            let owners = self.table_owners.borrow();
            owners.get(&task.files_id).copied().unwrap_or(task.pid)
        })
    }

    /// Remembers the processes, the root first.
    pub(crate) fn set_tasks(&self, tasks: Vec<TaskInfo>) {
        *self.places.borrow_mut() = tasks
            .iter()
            .enumerate()
            // Kinds that look at a process know it by the other number.
            .flat_map(|(at, task)| [(task.pid, at), (task.host_pid, at)])
            .collect();
        *self.tasks.borrow_mut() = tasks;
    }

    /// Takes note of the threads of a process beside the one that stands in the parasite.
    pub(crate) fn know_threads(
        &self,
        pid: i32,
        threads: &Rc<RefCell<Vec<Tracee>>>,
        inside: &[i32],
        workers: &Rc<RefCell<Vec<Tracee>>>,
    ) {
        let known = OtherThreads {
            threads: Rc::downgrade(threads),
            inside: inside.to_vec(),
            workers: Rc::downgrade(workers),
        };
        self.threads.borrow_mut().insert(pid, known);
    }

    /// The process that a thread belongs to, if it is not the one that stands in the parasite there.
    fn process_of_thread(&self, tid: i32) -> Option<i32> {
        if self.places.borrow().contains_key(&tid) {
            return None;
        }
        let tasks = self.tasks.borrow();
        let task = tasks.iter().find(|task| task.threads.contains(&tid))?;
        Some(task.pid)
    }

    /// Lets the kernel's own threads of a process go on, or has them stand still again.
    fn workers(&self, pid: i32, go: bool) -> Result<()> {
        let known = self.threads.borrow();
        let workers = known
            .get(&self.pid(pid))
            .and_then(|known| known.workers.upgrade());
        let workers = workers.ok_or_else(|| Error::malformed(format!("process {pid}"), "has no threads"))?;
        let mut workers = workers.borrow_mut();
        if go {
            // One that has ended meanwhile is no loss.
            workers.retain(|worker| !matches!(worker.go(), Err(criu_infect::Error::Gone { .. })));
            return Ok(());
        }
        let mut result = Ok(());
        workers.retain_mut(|worker| match worker.stand_still() {
            Err(criu_infect::Error::Gone { .. } | criu_infect::Error::Died { .. }) => false,
            Err(error) => {
                let action = || format!("stopping thread {} of process {pid}", worker.tid());
                result = Err(error).context(action);
                true
            }
            Ok(()) => true,
        });
        result
    }

    /// Makes calls in one thread, in order.
    fn calls_in(&self, tid: i32, calls: &[RemoteCall]) -> Result<Vec<RemoteResult>> {
        let thread_of = self.process_of_thread(tid);
        let pid = thread_of.unwrap_or_else(|| self.pid(tid));
        let lost = |what: &str| Error::malformed(format!("process {pid}"), what);
        if calls.iter().any(remote::may_map) {
            self.mappings.borrow_mut().settle(self.eye(pid));
        }
        let mut parasites = self.parasites.borrow_mut();
        let target = parasites.of(pid)?;
        if thread_of.is_none() {
            return remote::calls(target, None, calls);
        }
        let known = self.threads.borrow();
        let known = known.get(&pid).ok_or_else(|| lost("has no threads"))?;
        let threads = known.threads.upgrade().ok_or_else(|| lost("was let go"))?;
        let mut threads = threads.borrow_mut();
        let mut both = threads.iter_mut().zip(&known.inside);
        let (thread, &inside) = both
            .find(|(thread, _)| thread.tid() == tid)
            .ok_or_else(|| lost("has lost a thread"))?;
        remote::calls(target, Some((thread, inside)), calls)
    }

    /// A process of the tree.
    pub(crate) fn task(&self, pid: i32) -> Option<Ref<'_, TaskInfo>> {
        let place = *self.places.borrow().get(&pid)?;
        Ref::filter_map(self.tasks.borrow(), |tasks| tasks.get(place)).ok()
    }

    /// Drops the pidfd of a process whose turn is over, so that a large tree does not use up the
    /// descriptors.
    pub(crate) fn forget_pidfd(&self, pid: i32) {
        self.pidfds.borrow_mut().remove(&pid);
    }
}

fn api(error: impl Into<Error>) -> ApiError {
    match error.into() {
        Error::Plugin(error) => error,
        error => ApiError::new(error.to_string()),
    }
}

fn restore_only<T>(service: &str) -> ApiResult<T> {
    Err(ApiError::unsupported(format_args!(
        "service {service} during a dump"
    )))
}

impl Services for Context {
    fn log(&self, level: u32, target: &str, text: &str) {
        crate::kinds::log(level, target, text);
    }

    fn settings(&self, name: &str) -> ApiResult<Vec<String>> {
        crate::kinds::settings(&self.opts, name)
    }

    fn plugin_option(&self, plugin: &str, name: &str) -> ApiResult<Option<String>> {
        self.kinds.plugin_option(plugin, name)
    }

    fn progress(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn image(&self, name: &str, create: bool) -> ApiResult<Option<RawFd>> {
        if create {
            return self
                .images
                .create_raw(name)
                .map(|file| Some(file.into_raw_fd()))
                .map_err(api);
        }
        Ok(self
            .images
            .open_raw_if_exists(name)
            .map_err(api)?
            .map(IntoRawFd::into_raw_fd))
    }

    fn tasks(&self) -> ApiResult<Vec<TaskInfo>> {
        Ok(self.tasks.borrow().clone())
    }

    fn descriptors(&self, pid: i32) -> ApiResult<Vec<Slot>> {
        Ok(self.files.table(self.walked(pid)).unwrap_or_default())
    }

    fn namespace_id(&self, pid: i32, kind: &str) -> ApiResult<u32> {
        self.namespaces.id(self.eye(pid), kind).map_err(api)
    }

    fn target_fd(&self, pid: i32, fd: i32) -> ApiResult<RawFd> {
        self.target_descriptor(pid, fd)
            .map(IntoRawFd::into_raw_fd)
            .map_err(api)
    }

    fn fdinfo(&self, pid: i32, fd: i32) -> ApiResult<Vec<u8>> {
        if let Some(known) = &*self.known_fdinfo.borrow()
            && (known.pid, known.fd) == (pid, fd)
        {
            return Ok(known.text.clone());
        }
        proc::read(&format!("/proc/{}/fdinfo/{fd}", self.eye(pid))).map_err(api)
    }

    fn dump_file(&self, pid: i32, local_fd: i32) -> ApiResult<u32> {
        // SAFETY: by the contract of Services a descriptor passed in is open for the call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(local_fd) };
        let copy = borrowed
            .try_clone_to_owned()
            .map_err(|e| ApiError::new(format!("copying descriptor {local_fd}: {e}")))?;
        self.files
            .in_flight(self, pid, copy)
            .map(|file| file.id)
            .map_err(api)
    }

    fn dump_path(&self, file: &FileTarget) -> ApiResult<u32> {
        self.files.path_of(self, file).map(|file| file.id).map_err(api)
    }

    fn file_at(&self, pid: i32, fd: i32) -> ApiResult<Option<u32>> {
        Ok(self.files.at(self.walked(pid), fd))
    }

    fn next_id(&self, sequence: &str) -> ApiResult<u32> {
        let mut sequences = self.sequences.borrow_mut();
        let next = sequences.entry(sequence.to_owned()).or_insert(0);
        *next += 1;
        Ok(*next)
    }

    fn dump_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> ApiResult<()> {
        if !self.shared_memory.borrow_mut().insert(id) {
            return Ok(());
        }
        // SAFETY: by the contract of Services a descriptor passed in is open for the call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(local_fd) };
        let copy: File = borrowed
            .try_clone_to_owned()
            .map_err(|e| ApiError::new(format!("copying descriptor {local_fd}: {e}")))?
            .into();
        shared::dump(self, id, &copy, size).map_err(api)
    }

    fn restore_shared_memory(&self, _: u64, _: i32, _: u64) -> ApiResult<()> {
        restore_only("restore_shared_memory")
    }

    fn remote_call(&self, call: &RemoteCall) -> ApiResult<RemoteResult> {
        let results = self.calls_in(call.pid, std::slice::from_ref(call)).map_err(api)?;
        let result = results.into_iter().next();
        result.ok_or_else(|| ApiError::new(format!("process {} gave no result", call.pid)))
    }

    fn remote_calls(&self, calls: &[RemoteCall]) -> ApiResult<Vec<RemoteResult>> {
        let mut results = Vec::with_capacity(calls.len());
        for same in calls.chunk_by(|one, next| one.pid == next.pid) {
            results.extend(self.calls_in(same[0].pid, same).map_err(api)?);
        }
        Ok(results)
    }

    fn undo_on_death(&self, call: &RemoteCall) -> ApiResult<()> {
        let mut parasites = self.parasites.borrow_mut();
        let target = parasites.of(self.pid(call.pid)).map_err(api)?;
        if target.undo_is_full() {
            self.mappings.borrow_mut().settle(self.eye(self.pid(call.pid)));
        }
        remote::push_undo(target, call).map_err(api)
    }

    fn file(&self, _: u32) -> ApiResult<FileRecord> {
        restore_only("file")
    }

    fn opened(&self, _: u32) -> ApiResult<Option<RawFd>> {
        restore_only("opened")
    }

    fn open_path(&self, _: u32, _: Option<u32>) -> ApiResult<RawFd> {
        restore_only("open_path")
    }

    fn inherited(&self, _: &str) -> ApiResult<Option<RawFd>> {
        restore_only("inherited")
    }

    fn let_workers(&self, pid: i32, go: bool) -> ApiResult<()> {
        self.workers(pid, go).map_err(api)
    }

    fn tasks_are_held(&self) -> ApiResult<()> {
        self.held.set(true);
        Ok(())
    }
}
