//! Reads the image set and checks all that can be checked of it before anything is created.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use criu_images::{ImageDir, PagemapReader, Run, Source, magic};
use criu_infect::Abi;
use criu_plugin_api::message::FileRecord;
use criu_proto::Message;
use criu_proto::images::{
    CoreEntry, FdinfoEntry, FileEntry, FsEntry, InventoryEntry, MmEntry, PstreeEntry, RlimitEntry, SaEntry,
    SeccompEntry, SeccompFilter, SiginfoEntry, SignalQueueEntry, TaskCoreEntry, TaskKobjIdsEntry,
    TaskRlimitsEntry, ThreadCoreEntry, VmaEntry,
};

use super::records::Records;
use super::vma::{self, Vma};
use crate::error::{Error, Result};
use crate::extra::TaskExtra;
use crate::parallel;

/// Most processes, and most threads of one, that a set may have.
const MAX_PIDS: usize = 1 << 22;
/// A thread is worth starting for the images of so many processes, or threads of one.
const WORTH: usize = 16;
/// `fdinfo_entry.flags`, as F_GETFD gives them (fcntl(2)).
const FD_CLOEXEC: u32 = libc::FD_CLOEXEC.cast_unsigned();
/// `march` of x86-64.
const MTYPE_X86_64: i32 = 1;
/// `user_x86_regs_mode`.
const MODE_NATIVE: i32 = 1;
pub(crate) const MODE_COMPAT: i32 = 2;

/// `task_state` of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It runs.
    Alive,
    /// It is a zombie.
    Dead,
    /// It is stopped by a signal.
    Stopped,
}

/// A process as the images have it.
#[derive(Debug)]
pub(crate) struct TaskImages {
    pub(crate) pid: i32,
    /// 0 for the root.
    pub(crate) ppid: i32,
    pub(crate) pgid: i32,
    pub(crate) sid: i32,
    pub(crate) state: State,
    pub(crate) tc: TaskCoreEntry,
    /// The signal that its parent is told of its end by, 0 for none.
    pub(crate) exit_signal: u32,
    /// The user that its parent is told of, if it is dead.
    pub(crate) dead_uid: u32,
    /// What only a living process has.
    pub(crate) live: Option<Live>,
}

/// What only a living process has.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) ids: TaskKobjIdsEntry,
    /// The leader first.
    pub(crate) threads: Vec<ThreadImages>,
    pub(crate) mm: MmEntry,
    pub(crate) vmas: Vec<Vma>,
    /// Ranges of guard pages.
    pub(crate) guards: Vec<(u64, u64)>,
    pub(crate) pages: Pages,
    pub(crate) fs: FsEntry,
    pub(crate) fds: Arc<Vec<FdinfoEntry>>,
    /// What the format has no place for.
    pub(crate) extra: TaskExtra,
    /// Which calls its program makes.
    pub(crate) abi: Abi,
}

impl Live {
    /// The threads that are there in the end: all but a leader that the others have outlived.
    pub(crate) fn lasting(&self) -> &[ThreadImages] {
        let first = usize::from(self.extra.lost_leader.is_some());
        self.threads.get(first..).unwrap_or_default()
    }
}

/// A thread.
#[derive(Debug)]
pub(crate) struct ThreadImages {
    pub(crate) tid: i32,
    pub(crate) core: CoreEntry,
}

impl ThreadImages {
    /// Its `thread_core_entry`, checked to be there.
    pub(crate) fn thread(&self) -> Result<&ThreadCoreEntry> {
        let missing = || Error::malformed(format!("core-{}.img", self.tid), "has no thread_core");
        self.core.thread_core.as_ref().ok_or_else(missing)
    }
}

/// Descriptor tables that have been read, by their number.
type Tables = Mutex<HashMap<u32, Arc<Vec<FdinfoEntry>>>>;

/// Where the pages of a process are.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) runs: Vec<Run>,
    pub(crate) pages_id: u32,
    /// Whether all pages are in this very set.
    pub(crate) own: bool,
}

/// The image set.
#[derive(Debug)]
pub(crate) struct ImageSet {
    pub(crate) dir: ImageDir,
    pub(crate) tasks: Vec<TaskImages>,
    pub(crate) files: Records,
    pub(crate) filters: Vec<SeccompFilter>,
    /// The plugins that the set cannot be restored without, as its inventory lists them.
    pub(crate) plugins: Vec<String>,
    /// The security module that the labels in the set are of, as the inventory has it.
    pub(crate) lsmtype: i32,
    /// Whether it was dumped with `--tcp-close`, which then holds for the restore too.
    pub(crate) tcp_close: bool,
}

impl ImageSet {
    /// Reads the set of a directory.
    ///
    /// # Errors
    /// An image is missing or damaged, or refers to what is not there.
    pub(crate) fn read(dir: ImageDir) -> Result<Self> {
        let inventory = dir.inventory()?;
        let entries: Vec<PstreeEntry> = dir.read_all(&magic::PSTREE, 0)?;
        check_tree(&entries)?;
        let files = read_files(&dir)?;
        let seccomp: Vec<SeccompEntry> = dir.read_all(&magic::SECCOMP, 0)?;
        let filters = seccomp
            .into_iter()
            .flat_map(|entry| entry.seccomp_filters)
            .collect();
        let mut set = Self {
            dir,
            tasks: Vec::new(),
            files,
            filters,
            plugins: inventory
                .plugins_entry
                .as_ref()
                .map_or_else(Vec::new, |entry| entry.plugins.clone()),
            lsmtype: inventory.lsmtype.unwrap_or_default(),
            tcp_close: inventory.tcp_close.unwrap_or_default(),
        };
        check_others(&set.dir)?;
        let tables = Tables::default();
        set.tasks = parallel::map(&entries, WORTH, |entry| set.read_task(entry, &inventory, &tables))
            .into_iter()
            .collect::<Result<_>>()?;
        let extras = crate::extra::read(&set.dir)?;
        super::extra::attach(&mut set.tasks, extras)?;
        Ok(set)
    }

    fn read_task(
        &self,
        entry: &PstreeEntry,
        inventory: &InventoryEntry,
        tables: &Tables,
    ) -> Result<TaskImages> {
        let pid = number(entry.pid)?;
        let mut leader = self.read_core(pid)?;
        let name = || format!("core-{pid}.img");
        let tc = leader
            .tc
            .take()
            .ok_or_else(|| Error::malformed(name(), "has no tc"))?;
        let state = match tc.task_state {
            1 => State::Alive,
            2 => State::Dead,
            3 => State::Stopped,
            other => return Err(Error::malformed(name(), format!("has task_state {other}"))),
        };
        let mut task = TaskImages {
            pid,
            ppid: entry.ppid.cast_signed(),
            pgid: entry.pgid.cast_signed(),
            sid: entry.sid.cast_signed(),
            state,
            tc,
            exit_signal: libc::SIGCHLD.unsigned_abs(),
            dead_uid: 0,
            live: None,
        };
        if state != State::Dead {
            task.live = Some(self.read_live(entry, leader, &mut task.tc, inventory, tables)?);
        }
        Ok(task)
    }

    fn read_core(&self, tid: i32) -> Result<CoreEntry> {
        let core: CoreEntry = self.dir.read_one(&magic::CORE, id(tid))?;
        if core.mtype != MTYPE_X86_64 {
            let what = format!("is of machine type {}, and this is x86-64", core.mtype);
            return Err(Error::refused(format!("core-{tid}.img"), what));
        }
        Ok(core)
    }

    fn read_live(
        &self,
        entry: &PstreeEntry,
        mut leader: CoreEntry,
        tc: &mut TaskCoreEntry,
        inventory: &InventoryEntry,
        tables: &Tables,
    ) -> Result<Live> {
        let (dir, pid) = (&self.dir, number(entry.pid)?);
        let ids = match leader.ids.take() {
            Some(ids) => ids,
            None => dir.read_one(&magic::IDS, id(pid))?,
        };
        refuse_namespaces(pid, &ids, inventory)?;
        self.complete(pid, tc)?;
        let leader = Mutex::new(Some(leader));
        let threads = parallel::map(&entry.threads, WORTH, |&tid| {
            let tid = number(tid)?;
            let known = if tid == pid {
                leader.lock().unwrap_or_else(PoisonError::into_inner).take()
            } else {
                None
            };
            let core = known.map_or_else(|| self.read_core(tid), Ok)?;
            self.check_thread(tid, core)
        });
        let threads = threads.into_iter().collect::<Result<_>>()?;
        let mut mm: MmEntry = dir.read_one(&magic::MM, id(pid))?;
        if mm.vmas.is_empty() {
            mm.vmas = dir.read_all::<VmaEntry>(&magic::VMAS, id(pid))?;
        }
        let vma::Mappings { vmas, guards } = vma::check(pid, &std::mem::take(&mut mm.vmas))?;
        let pages = self.read_pages(pid, &vmas)?;
        let fs: FsEntry = dir.read_one(&magic::FS, id(pid))?;
        let table = if inventory.fdinfo_per_id.unwrap_or(false) {
            ids.files_id
        } else {
            entry.pid
        };
        let tables = || tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables().get(&table).map(Arc::clone);
        let fds = match known {
            Some(fds) => fds,
            None => {
                let fds = Arc::new(self.read_fds(table)?);
                Arc::clone(tables().entry(table).or_insert(fds))
            }
        };
        if let Some(vma) = vmas
            .iter()
            .find(|vma| matches!(vma.backing, vma::Backing::SharedAnonymous(_)))
        {
            let object = format!("the mapping {:#x}-{:#x} of process {pid}", vma.start, vma.end);
            return Err(Error::refused(
                object,
                "is shared anonymous memory in the older layout, which is not supported",
            ));
        }
        let live = Live {
            ids,
            threads,
            mm,
            vmas,
            guards,
            pages,
            fs,
            fds,
            extra: TaskExtra::default(),
            abi: if tc
                .sigactions
                .iter()
                .any(|action| action.compat_sigaction.unwrap_or(false))
            {
                Abi::Ia32
            } else {
                Abi::Native
            },
        };
        self.check_references(pid, &live)?;
        Ok(live)
    }

    /// Completes what older sets keep in images of their own.
    fn complete(&self, pid: i32, tc: &mut TaskCoreEntry) -> Result<()> {
        let dir = &self.dir;
        if tc.sigactions.is_empty() {
            tc.sigactions = dir.read_all::<SaEntry>(&magic::SIGACT, id(pid))?;
        }
        // Signals 1 to 64 but SIGKILL and SIGSTOP.
        if tc.sigactions.len() != 62 {
            let what = format!("has {} signal actions instead of 62", tc.sigactions.len());
            return Err(Error::malformed(format!("core-{pid}.img"), what));
        }
        if tc.rlimits.is_none() {
            let rlimits = dir.read_all::<RlimitEntry>(&magic::RLIMIT, id(pid))?;
            tc.rlimits = Some(TaskRlimitsEntry { rlimits });
        }
        if tc.signals_s.is_none() {
            let signals = dir.read_all::<SiginfoEntry>(&magic::SIGNAL, id(pid))?;
            tc.signals_s = Some(SignalQueueEntry { signals });
        }
        Ok(())
    }

    fn check_thread(&self, tid: i32, mut core: CoreEntry) -> Result<ThreadImages> {
        let name = || format!("core-{tid}.img");
        let info = core
            .thread_info
            .as_ref()
            .ok_or_else(|| Error::malformed(name(), "has no thread_info"))?;
        let mode = info.gpregs.mode.unwrap_or(MODE_NATIVE);
        if ![MODE_NATIVE, MODE_COMPAT].contains(&mode) {
            return Err(Error::malformed(name(), format!("has registers of mode {mode}")));
        }
        // Selectors of user mode; the kernel checks the rest.
        if info.gpregs.cs & 3 != 3 || info.gpregs.ss & 3 != 3 {
            return Err(Error::malformed(
                name(),
                "has a code or stack segment that is not a user's",
            ));
        }
        let Some(thread) = core.thread_core.as_mut() else {
            return Err(Error::malformed(name(), "has no thread_core"));
        };
        if thread.signals_p.is_none() {
            let signals = self.dir.read_all::<SiginfoEntry>(&magic::PSIGNAL, id(tid))?;
            thread.signals_p = Some(SignalQueueEntry { signals });
        }
        if thread.creds.is_none() {
            thread.creds = self.dir.read_one_if_exists(&magic::CREDS, id(tid))?;
        }
        if thread.seccomp_mode == Some(2) {
            let mut next = thread.seccomp_filter;
            // A chain is at most as long as there are filters, or it goes round.
            for _ in 0..=self.filters.len() {
                let Some(index) = next else { break };
                let filter = self.filters.get(index as usize).ok_or_else(|| {
                    Error::malformed(
                        name(),
                        format!("refers to seccomp filter {index}, which is not there"),
                    )
                })?;
                next = filter.prev;
            }
            if next.is_some() {
                return Err(Error::malformed(
                    "seccomp.img",
                    "has a chain of filters that goes round",
                ));
            }
        }
        Ok(ThreadImages { tid, core })
    }

    fn read_pages(&self, pid: i32, vmas: &[Vma]) -> Result<Pages> {
        let reader = PagemapReader::open(&self.dir, &magic::PAGEMAP, id(pid))?;
        let runs = reader.runs().to_vec();
        let mut own = true;
        let mut index = 0;
        for run in &runs {
            let mut at = run.vaddr;
            while at < run.end() {
                while vmas.get(index).is_some_and(|vma| vma.end <= at) {
                    index += 1;
                }
                match vmas.get(index) {
                    Some(vma) if vma.start <= at => at = vma.end,
                    _ => {
                        let what = format!("has pages at {at:#x}, where the process has no memory");
                        return Err(Error::malformed(format!("pagemap-{pid}.img"), what));
                    }
                }
            }
            match run.source {
                Source::File(extent) => own &= extent.level == 0,
                Source::Remote => {
                    let what = "has pages that stayed with the dumped process";
                    return Err(Error::refused(format!("pagemap-{pid}.img"), what));
                }
            }
        }
        Ok(Pages {
            runs,
            pages_id: reader.pages_id(),
            own,
        })
    }

    fn read_fds(&self, table: u32) -> Result<Vec<FdinfoEntry>> {
        // It is there even for a process without descriptors.
        let mut image = self.dir.open_image(&magic::FDINFO, table.into())?;
        let mut fds = image
            .entries()
            .collect::<std::result::Result<Vec<FdinfoEntry>, _>>()
            .map_err(|error| self.dir.frame_error(error))?;
        fds.sort_by_key(|entry| entry.fd);
        for pair in fds.windows(2) {
            if pair[0].fd == pair[1].fd {
                let what = format!("has descriptor {} twice", pair[0].fd);
                return Err(Error::malformed(format!("fdinfo-{table}.img"), what));
            }
        }
        for entry in &fds {
            let (fd, fd_type, flags) = (entry.fd, entry.r#type, entry.flags);
            let wrong = match self.files.get(entry.id) {
                None => format!("refers to file {}, which files.img does not have", entry.id),
                Some(_) if fd > 0x000f_ffff => format!("has descriptor {fd}"),
                Some(file) if file.fd_type != fd_type.cast_unsigned() => {
                    format!(
                        "has descriptor {fd} of type {fd_type}, whose file is of type {}",
                        file.fd_type
                    )
                }
                Some(_) if flags & !FD_CLOEXEC != 0 => format!("has descriptor {fd} with flags {flags:#x}"),
                Some(_) => continue,
            };
            return Err(Error::malformed(format!("fdinfo-{table}.img"), wrong));
        }
        Ok(fds)
    }

    fn check_references(&self, pid: i32, live: &Live) -> Result<()> {
        let named = [
            ("mm", live.mm.exe_file_id),
            ("fs", live.fs.cwd_id),
            ("fs", live.fs.root_id),
        ];
        let mapped = live
            .vmas
            .iter()
            .filter_map(|vma| vma.file_id())
            .map(|id| ("mm", id));
        for (image, file) in named.into_iter().chain(mapped) {
            if !self.files.contains(file) {
                let what = format!("refers to file {file}, which files.img does not have");
                return Err(Error::malformed(format!("{image}-{pid}.img"), what));
            }
        }
        Ok(())
    }
}

fn id(pid: i32) -> u64 {
    u64::from(pid.unsigned_abs())
}

fn number(pid: u32) -> Result<i32> {
    let bad = || Error::malformed("pstree.img", format!("has pid {pid}"));
    i32::try_from(pid)
        .ok()
        .filter(|pid| (1..=1 << 22).contains(pid))
        .ok_or_else(bad)
}

/// Checks that the processes form one tree, parents before children, and no id is used twice.
fn check_tree(entries: &[PstreeEntry]) -> Result<()> {
    let wrong = |what: String| Err(Error::malformed("pstree.img", what));
    if entries.is_empty() || entries.len() > MAX_PIDS {
        return wrong(format!("has {} processes", entries.len()));
    }
    let mut pids = BTreeSet::new();
    let mut tids = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let pid = number(entry.pid)?;
        if (index == 0) != (entry.ppid == 0) || (index > 0 && !pids.contains(&entry.ppid)) {
            return wrong(format!(
                "has process {pid} with parent {}, which does not come before it",
                entry.ppid
            ));
        }
        if entry.sid > 1 << 22 || entry.pgid > 1 << 22 {
            return wrong(format!(
                "has process {pid} in session {} and group {}",
                entry.sid, entry.pgid
            ));
        }
        pids.insert(entry.pid);
        let mut own = false;
        for &tid in &entry.threads {
            // A zombie's only thread is given as 0.
            if tid == 0 && entry.threads.len() == 1 {
                own = tids.insert(entry.pid);
                continue;
            }
            number(tid)?;
            own |= tid == entry.pid;
            if !tids.insert(tid) {
                return wrong(format!("has thread {tid} twice"));
            }
        }
        if !own {
            return wrong(format!("has process {pid} without its own thread"));
        }
    }
    Ok(())
}

/// What the core reads of a `file_entry`: the rest is for its kind.
#[derive(Clone, PartialEq, prost::Message)]
struct FileHead {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(uint32, tag = "2")]
    id: u32,
}

/// Reads the files of all kinds: `files.img`, and the images that older sets have instead.
fn read_files(dir: &ImageDir) -> Result<Records> {
    let twice = |id: u32| Error::malformed("files.img", format!("has file {id} twice"));
    let mut files = Vec::new();
    let mut image = dir.open_image_if_exists(&magic::FILES, 0)?;
    if let Some(image) = &mut image {
        while let Some(entry) = image
            .next_checked::<FileEntry>()
            .map_err(|error| dir.frame_error(error))?
        {
            let head = FileHead::decode(entry).map_err(|why| {
                Error::malformed("files.img", format!("has an entry that is damaged: {why}"))
            })?;
            files.push(FileRecord {
                id: head.id,
                fd_type: head.r#type.cast_unsigned(),
                entry: entry.to_vec(),
            });
        }
    }
    let files = Records::new(files).map_err(twice)?;
    let older = super::older::read_files(dir, &files)?;
    if older.is_empty() {
        return Ok(files);
    }
    Records::new([files.into_all(), older].concat()).map_err(twice)
}

/// Checks the framing of those images that nobody may come to read in this restore: damage anywhere is
/// damage of the set.
fn check_others(dir: &ImageDir) -> Result<()> {
    /// What the core reads of every process.
    const READ: [&str; 7] = ["CORE", "IDS", "MM", "PAGEMAP", "FS", "FDINFO", "FILES"];
    for name in dir.list()? {
        let Some((kind, _)) = magic::kind_of(&name) else {
            continue;
        };
        if kind.header != magic::Header::Image || READ.contains(&kind.name) {
            continue;
        }
        let mut image = dir.open_named(kind, &name)?;
        // Raw data follows the entries of some kinds: those are read by whoever knows its length.
        if super::older::PLAIN.contains(&kind.name) {
            while image
                .next_bytes()
                .map_err(|error| dir.frame_error(error))?
                .is_some()
            {}
        }
    }
    Ok(())
}

/// A task whose namespace was not that of the program which dumped it.
fn refuse_namespaces(pid: i32, ids: &TaskKobjIdsEntry, inventory: &InventoryEntry) -> Result<()> {
    let Some(root) = &inventory.root_ids else {
        return Ok(());
    };
    let pairs = [
        ("pid", ids.pid_ns_id, root.pid_ns_id),
        ("net", ids.net_ns_id, root.net_ns_id),
        ("ipc", ids.ipc_ns_id, root.ipc_ns_id),
        ("uts", ids.uts_ns_id, root.uts_ns_id),
        ("mnt", ids.mnt_ns_id, root.mnt_ns_id),
        ("user", ids.user_ns_id, root.user_ns_id),
        ("cgroup", ids.cgroup_ns_id, root.cgroup_ns_id),
        ("time", ids.time_ns_id, root.time_ns_id),
    ];
    match pairs.iter().find(|(_, own, root)| own.is_some() && own != root) {
        Some((kind, ..)) => Err(Error::refused(
            format!("process {pid}"),
            format!("lived in a {kind} namespace of its own, which is not implemented yet"),
        )),
        None => Ok(()),
    }
}
