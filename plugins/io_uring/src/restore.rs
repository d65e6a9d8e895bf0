//! Makes rings again.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use criu_plugin_api::message::{FilePlan, FileRecord, MappingRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result, image, restore};
use criu_proto::images::{FileEntry, VmaEntry};
use nix::errno::Errno;
use prost::Message;

use crate::advance::{Ring, Tail};
use crate::cost;
use crate::credentials::Credentials;
use crate::dump::said;
use crate::entry::{IMAGE, KNOWN, RingEntry};
use crate::layout::Layout;
use crate::place::{Process, Wanted};
use crate::registered::SLOTS;
use crate::resources;
use crate::ring::number;
use crate::sys::{self, Params, setup};
use crate::tree::Tree;

/// What the kernel allows (`IORING_MAX_FIXED_FILES`, `IORING_MAX_REG_BUFFERS`).
const MAX_FILES: usize = 1 << 20;
const MAX_BUFFERS: usize = 1 << 14;

/// The rings of a restore, by file id.
#[derive(Default)]
pub(crate) struct Restore {
    rings: RefCell<BTreeMap<u32, RingEntry>>,
    /// Their mappings, by process.
    mappings: RefCell<BTreeMap<i32, Vec<VmaEntry>>>,
    /// What starts the threads of rings on their way.
    tails: RefCell<Vec<Tail>>,
}

fn damaged(id: u32, what: impl std::fmt::Display) -> Error {
    Error::new(format!("io-uring.img: the ring of file {id}: {what}: damaged"))
}

impl Restore {
    pub(crate) fn forget(&self) {
        self.rings.borrow_mut().clear();
        self.mappings.borrow_mut().clear();
        self.tails.borrow_mut().clear();
    }

    pub(crate) fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.forget();
        let entries: Vec<RingEntry> = image::read_all(host, &IMAGE)?;
        let tree = Tree::of(host)?;
        let known: HashSet<u32> = files.iter().map(|file| file.id).collect();
        let mut rings = BTreeMap::new();
        for entry in entries {
            let id = entry.id;
            check(host, &tree, &entry)?;
            if !known.contains(&id) {
                return Err(damaged(id, "there is no such file"));
            }
            if rings.insert(id, entry).is_some() {
                return Err(damaged(id, "it is there twice"));
            }
        }
        for ring in rings.values().filter(|ring| ring.attached != 0) {
            let other = rings.get(&ring.attached);
            let fits = other.is_some_and(|other| {
                other.attached == 0 && other.pid == ring.pid && other.setup & setup::SQPOLL != 0
            });
            if !fits {
                return Err(damaged(ring.id, "the ring whose thread it shares is none"));
            }
        }
        let plan = |ring: &RingEntry| FilePlan {
            id: ring.id,
            opener: Some(ring.pid),
            ..FilePlan::default()
        };
        let plans = rings.values().map(plan).collect();
        *self.rings.borrow_mut() = rings;
        Ok(plans)
    }

    /// In the task: the ring, empty. Those for a single thread are not enabled yet: the thread that enables it is the
    /// one, and it may be made later.
    pub(crate) fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let rings = self.rings.borrow();
        let entry = rings.get(&id).ok_or_else(|| damaged(id, "it is missing"))?;
        let action = || format!("making the ring of file {id} in process {}", request.pid);
        let mut params = Params {
            flags: entry.setup | setup::CQSIZE | setup::SUBMIT_ALL,
            cq_entries: entry.cq_entries,
            sq_thread_cpu: entry.sq_cpu,
            ..Params::default()
        };
        if entry.setup & setup::DEFER_TASKRUN != 0 {
            params.flags |= setup::TASKRUN_FLAG;
        }
        if entry.setup & setup::SINGLE_ISSUER != 0 {
            params.flags |= setup::R_DISABLED;
        }
        let mut other = None;
        if entry.attached != 0 {
            let Some(with_thread) = host.opened(entry.attached)? else {
                return Ok(Progress::NotYet(format!(
                    "file {}, the ring whose thread it shares",
                    entry.attached
                )));
            };
            let fd = std::os::fd::AsRawFd::as_raw_fd(&with_thread);
            params.wq_fd = fd.cast_unsigned();
            params.flags |= setup::ATTACH_WQ;
            other = Some(with_thread);
        }
        let fd = match &entry.credentials {
            Some(credentials) => credentials.with(|| make(entry, params)),
            None => make(entry, params),
        };
        let fd = fd.context(action)?;
        drop(other);
        let saved = FileEntry::decode(&*request.file.entry)
            .map_err(|cause| Error::new(format!("reading the entry of file {id}: {cause}")))?;
        if let Some(ext) = saved.ext {
            restore::apply_owner(&fd, &ext.fown).context(action)?;
        }
        restore::apply_flags(&fd, entry.file_flags).context(action)?;
        Ok(Progress::Done(Opened::one(fd)))
    }

    /// A mapping of a ring: it is made with all others of its process.
    pub(crate) fn mapping(&self, record: &MappingRecord) -> Result<()> {
        let vma = VmaEntry::decode(record.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", record.pid)))?;
        if vma.end <= vma.start {
            return Err(Error::new("it ends before it begins: damaged"));
        }
        let mut mappings = self.mappings.borrow_mut();
        mappings.entry(record.pid).or_default().push(vma);
        Ok(())
    }

    /// The tree is there, but for the rings and their contents.
    pub(crate) fn complete(&self, host: &Host<'_>) -> Result<()> {
        let rings = self.rings.borrow();
        if rings.is_empty() {
            return Ok(());
        }
        let tree = Tree::of(host)?;
        let by_inode: HashMap<u64, &RingEntry> = rings.values().map(|ring| (ring.inode, ring)).collect();
        for (pid, vmas) in self.mappings.take() {
            map_in(host, &tree, pid, &vmas, &by_inode)
                .context(|| format!("mapping the rings of process {pid}"))?;
        }
        for entry in rings.values() {
            let fd = tree
                .number(entry.pid, entry.id)?
                .ok_or_else(|| damaged(entry.id, "its process has no descriptor of it"))?;
            let action = || format!("restoring the ring of pid {}, fd {fd}", entry.pid);
            let ring = Ring::of(host, entry, tree.host_pid(entry.pid)?, fd).context(action)?;
            let tail = ring.bring().context(action)?;
            self.tails.borrow_mut().extend(tail);
            resources::register(host, &tree, entry).context(action)?;
        }
        // Only now is every ring there that a table may have.
        for entry in rings.values() {
            resources::register_rings(host, &tree, entry)
                .context(|| format!("restoring the ring of file {}", entry.id))?;
        }
        Ok(())
    }

    /// The tasks are complete: what waits in rings with a thread of their own may be done.
    pub(crate) fn start(&self) -> Result<()> {
        for tail in self.tails.take() {
            tail.set()?;
        }
        self.rings.borrow_mut().clear();
        Ok(())
    }
}

/// The ring, with flags that its makers may have given it or not, and whose effects no program can tell for the worse.
fn make(entry: &RingEntry, params: Params) -> Result<std::os::fd::OwnedFd> {
    let attempt = |flags: u32| {
        let mut params = Params { flags, ..params };
        sys::make(entry.sq_entries, &mut params).map(|fd| (fd, params))
    };
    let made = if params.flags & setup::CQE32 == 0 {
        match attempt(params.flags | setup::CQE_MIXED) {
            // Older kernels do not have it.
            Err(Errno::EINVAL) => attempt(params.flags),
            other => other,
        }
    } else {
        attempt(params.flags)
    };
    let (fd, params) = match made {
        Ok(made) => made,
        Err(errno @ (Errno::EPERM | Errno::ENOSYS)) => {
            let error = Error::new(format!("io_uring_setup: {}", errno.desc()));
            return Err(error.with_remedy("/proc/sys/kernel/io_uring_disabled must allow it here"));
        }
        Err(errno) => return Err(errno).context(|| format!("io_uring_setup with flags {:#x}", params.flags)),
    };
    if (params.sq_entries, params.cq_entries) != (entry.sq_entries, entry.cq_entries) {
        return Err(Error::new(format!(
            "it came out with {} and {} places instead of {} and {}",
            params.sq_entries, params.cq_entries, entry.sq_entries, entry.cq_entries
        )));
    }
    Ok(fd)
}

/// Maps the rings of a process.
fn map_in(
    host: &Host<'_>,
    tree: &Tree<'_>,
    pid: i32,
    vmas: &[VmaEntry],
    rings: &HashMap<u64, &RingEntry>,
) -> Result<()> {
    let call = |name: &str, nr: i64, args: &[u64]| -> Result<u64> {
        let result = host.remote_syscall(pid, nr, args).context(|| name)?;
        u64::try_from(result).map_err(|_| Error::new(format!("{name}: {}", said(result))))
    };
    let mut borrowed: BTreeMap<u32, u64> = BTreeMap::new();
    let mut wanted = Vec::with_capacity(vmas.len());
    for vma in vmas {
        let ring = rings.get(&vma.shmid).ok_or_else(|| {
            let error = format!("io-uring.img has no ring with inode {}: damaged", vma.shmid);
            Error::new(error)
        })?;
        let fd = match (tree.number(pid, ring.id)?, borrowed.get(&ring.id)) {
            (Some(fd), _) => number(fd),
            (None, Some(&fd)) => fd,
            // It has closed its descriptor: it borrows one of the process that made the ring.
            (None, None) => {
                let theirs = tree
                    .number(ring.pid, ring.id)?
                    .ok_or_else(|| damaged(ring.id, "its process has no descriptor of it"))?;
                let pidfd = call("pidfd_open", libc::SYS_pidfd_open, &[number(ring.pid), 0])?;
                let fd = call("pidfd_getfd", libc::SYS_pidfd_getfd, &[pidfd, number(theirs), 0]);
                call("close", libc::SYS_close, &[pidfd])?;
                let fd = fd?;
                borrowed.insert(ring.id, fd);
                fd
            }
        };
        wanted.push(Wanted {
            start: vma.start,
            length: vma.end - vma.start,
            protection: vma.prot,
            fd,
            offset: vma.pgoff,
        });
    }
    let process = Process {
        host,
        pid,
        host_pid: tree.host_pid(pid)?,
    };
    let mapped = process.map(&wanted);
    for &fd in borrowed.values() {
        call("close", libc::SYS_close, &[fd])?;
    }
    mapped?;
    for vma in vmas {
        let advice = vma.madv.unwrap_or(0);
        for bit in (0..64).filter(|bit| advice >> bit & 1 != 0) {
            call(
                "madvise",
                libc::SYS_madvise,
                &[vma.start, vma.end - vma.start, bit],
            )?;
        }
    }
    Ok(())
}

/// Looks for contradictions before anything is made.
fn check(host: &Host<'_>, tree: &Tree<'_>, entry: &RingEntry) -> Result<()> {
    let id = entry.id;
    let has = |flag: u32| entry.setup & flag != 0;
    if entry.setup & !KNOWN != 0 {
        return Err(damaged(id, format!("its flags are {:#x}", entry.setup)));
    }
    let power = |entries: u32, most: u32| entries.is_power_of_two() && entries <= most;
    if !power(entry.sq_entries, 1 << 15) || !power(entry.cq_entries, 1 << 16) {
        return Err(damaged(
            id,
            format!("it has {} and {} places", entry.sq_entries, entry.cq_entries),
        ));
    }
    let unsubmitted = entry.sq_tail.wrapping_sub(entry.sq_head);
    let unconsumed = entry.cq_tail.wrapping_sub(entry.cq_head);
    if unsubmitted > entry.sq_entries || unconsumed > entry.cq_entries {
        return Err(damaged(
            id,
            format!("{unsubmitted} requests and {unconsumed} completions wait"),
        ));
    }
    let credentials = entry.credentials.as_ref();
    if has(setup::SQPOLL) != credentials.is_some_and(Credentials::is_whole) {
        return Err(damaged(id, "its thread has no credentials, or too many"));
    }
    if has(setup::R_DISABLED) && (entry.sq_head, entry.cq_tail) != (0, 0) {
        return Err(damaged(id, "it was used before it was enabled"));
    }
    let layout = Layout::of(entry.sq_entries, entry.cq_entries, entry.setup)
        .context(|| format!("making a ring of {} places", entry.sq_entries))?;
    let lengths = (entry.cqes.len(), entry.array.len(), entry.sqes.len());
    if lengths != (layout.cqes().1, layout.array().1, layout.sqes()) {
        return Err(damaged(id, "its contents are not as long as it is"));
    }
    cost::check_entry(host, entry)?;
    check_tasks(tree, entry)
}

/// Checks what it says of processes and their descriptors.
fn check_tasks(tree: &Tree<'_>, entry: &RingEntry) -> Result<()> {
    let id = entry.id;
    let (Some(maker), Some(_)) = (tree.task(entry.pid), tree.task(entry.owner)) else {
        return Err(damaged(
            id,
            format!("there is no process {} or {}", entry.pid, entry.owner),
        ));
    };
    if entry.issuer != 0 && !maker.threads.contains(&entry.issuer) {
        return Err(damaged(
            id,
            format!("process {} has no thread {}", entry.pid, entry.issuer),
        ));
    }
    let single = entry.setup & setup::SINGLE_ISSUER != 0 && entry.setup & setup::R_DISABLED == 0;
    if single != (entry.issuer != 0) {
        return Err(damaged(id, "its flags and the thread that may use it do not fit"));
    }
    for pid in [entry.pid, entry.owner] {
        if tree.number(pid, id)?.is_none() {
            return Err(damaged(id, format!("process {pid} has no descriptor of it")));
        }
    }
    if entry.files.len() > MAX_FILES || entry.buffers.len() > MAX_BUFFERS {
        return Err(damaged(id, "more is registered than the kernel allows"));
    }
    for &fd in entry.files.iter().filter(|fd| **fd != -1) {
        if !tree.has_number(entry.owner, fd)? {
            return Err(damaged(
                id,
                format!("process {} has no descriptor {fd}", entry.owner),
            ));
        }
    }
    for place in &entry.registered {
        let known = tree
            .task(place.pid)
            .is_some_and(|task| task.threads.contains(&place.tid));
        if !known || place.slot >= SLOTS || tree.number(place.pid, id)?.is_none() {
            return Err(damaged(
                id,
                format!("thread {} cannot have registered it", place.tid),
            ));
        }
    }
    Ok(())
}
