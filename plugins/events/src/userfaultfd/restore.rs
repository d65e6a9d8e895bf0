//! Makes userfaultfds again: each in the process whose memory it watches, and what is registered with them at the
//! end, when all memory is in place.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;

use criu_plugin_api::message::{FilePlan, FileRecord, OpenRequest, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result, image};
use nix::errno::Errno;

use super::owner::failed;
use super::pages::{PageMap, surplus};
use super::sys::{self, FEATURES, MINOR, MISSING, WP};
use super::{FILES, FILLED, PAGE, PROTECTED, RANGES, RangeEntry, RunEntry, UffdEntry, ZERO};
use crate::entry;

/// Attempts to have missing pages missing, while the kernel may join what is there to large pages.
const TRIES: usize = 8;

/// What a restore is to make.
#[derive(Default)]
pub(super) struct Restore {
    files: BTreeMap<u32, UffdEntry>,
    ranges: Vec<RangeEntry>,
}

impl Restore {
    /// Reads and checks the images.
    pub(super) fn read(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut restore = Self::default();
        let tasks = host.tasks()?;
        let alive: HashSet<i32> = tasks
            .iter()
            .filter(|task| !task.dead)
            .map(|task| task.pid)
            .collect();
        let known: HashSet<u32> = files.iter().map(|file| file.id).collect();
        for entry in image::read_all::<UffdEntry>(host, &FILES)? {
            let id = entry.id;
            let damaged = |what: &str| Error::new(format!("userfaultfd.img, file {id}: {what}"));
            if !known.contains(&id) {
                return Err(damaged("the set has no such file"));
            }
            if !alive.contains(&entry.pid) {
                return Err(damaged(&format!("the set has no process {}", entry.pid)));
            }
            if restore.files.insert(id, entry).is_some() {
                return Err(damaged("it is there twice"));
            }
        }
        restore.ranges = image::read_all(host, &RANGES)?;
        for range in &restore.ranges {
            let known = restore
                .files
                .get(&range.id)
                .is_some_and(|file| file.features.is_some());
            check(range, known).map_err(|what| {
                let (start, end) = (range.start, range.end);
                Error::new(format!(
                    "userfaultfd-ranges.img, range {start:#x}-{end:#x}: {what}"
                ))
            })?;
        }
        let wanted = restore.files.values().filter_map(|file| file.features);
        let wanted = wanted.fold(0, |all, features| all | features);
        if !restore.files.is_empty() {
            has_features(wanted)?;
        }
        Ok(restore)
    }

    pub(super) fn plans(&self) -> Vec<FilePlan> {
        let plan = |file: &UffdEntry| FilePlan {
            id: file.id,
            opener: Some(file.pid),
            ..FilePlan::default()
        };
        self.files.values().map(plan).collect()
    }

    pub(super) fn open(&self, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let file = self.files.get(&id);
        let file = file.ok_or_else(|| Error::new(format!("file {id} was not prepared")))?;
        if request.pid != file.pid {
            return Err(Error::new(format!(
                "userfaultfd {id} watches the memory of pid {}, but is opened by pid {}",
                file.pid, request.pid
            )));
        }
        let fown = entry::of(&request.file, |entry| entry.ext)?.fown;
        let fd = make()?;
        if let Some(features) = file.features {
            sys::api(&fd, features)
                .context(|| format!("userfaultfd {id}: UFFDIO_API with the features {features:#x}"))?;
        }
        let fd = entry::complete(fd, id, file.flags, &fown)?;
        Ok(Progress::Done(Opened::one(fd)))
    }

    /// All memory is in place, and the tasks stand still.
    pub(super) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        let tasks = host.tasks()?;
        let places = places(host, &tasks)?;
        let mut fds: BTreeMap<u32, (OwnedFd, PageMap)> = BTreeMap::new();
        for range in &self.ranges {
            let Some(file) = self.files.get(&range.id) else {
                continue;
            };
            let (start, end) = (range.start, range.end);
            let what = || {
                format!(
                    "pid {}, registering {start:#x}-{end:#x} with a userfaultfd",
                    file.pid
                )
            };
            let (fd, pagemap) = match fds.entry(range.id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(vacant) => {
                    let task = tasks.iter().find(|task| task.pid == file.pid);
                    let pagemap = PageMap::open(task.map_or(file.pid, |task| task.host_pid))?;
                    vacant.insert((descriptor(&places, range.id).context(what)?, pagemap))
                }
            };
            let registering = Registering {
                host,
                pid: file.pid,
                fd,
                pagemap,
                range,
            };
            registering.run().context(what)?;
        }
        Ok(())
    }
}

/// Makes a fresh one.
fn make() -> Result<OwnedFd> {
    sys::userfaultfd().map_err(|errno| {
        let error = Error::new(format!("userfaultfd: {}", errno.desc()));
        match errno {
            Errno::EPERM => {
                error.with_remedy("it takes CAP_SYS_PTRACE, or 1 in /proc/sys/vm/unprivileged_userfaultfd")
            }
            Errno::ENOSYS => error.with_remedy("a kernel built with CONFIG_USERFAULTFD is needed"),
            _ => error,
        }
    })
}

/// Asks the kernel whether it has all features.
fn has_features(wanted: u64) -> Result<()> {
    let here = sys::api(&make()?, 0).context(|| "asking for the features of userfaultfd")?;
    let lacking = wanted & !here;
    if lacking == 0 {
        return Ok(());
    }
    let named = FEATURES.iter().enumerate();
    let names: Vec<&str> = named
        .filter(|(bit, _)| lacking >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    let error = Error::new(format!(
        "the userfaultfds of the set need features that this kernel does not have: {} ({lacking:#x})",
        names.join(", ")
    ));
    Err(error.with_remedy("restore on a kernel that has them, as that of the dump has"))
}

/// What is wrong with a range, if something is.
pub(super) fn check(range: &RangeEntry, known: bool) -> std::result::Result<(), String> {
    /// More than any process has.
    const LIMIT: u64 = 1 << 62;
    let sound = |start: u64, end: u64| {
        start < end && start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE) && end < LIMIT
    };
    if !known {
        return Err(format!("file {} is no userfaultfd that watches ranges", range.id));
    }
    if !sound(range.start, range.end) {
        return Err("it is no range of pages".to_owned());
    }
    if range.modes == 0 || range.modes & !(MISSING | WP | MINOR) != 0 {
        return Err(format!("the modes {:#x} are not known", range.modes));
    }
    let mut at = range.start;
    for run in &range.runs {
        let state = run.state & !PROTECTED;
        let known = matches!(state, 0 | ZERO | FILLED) && run.state != 0;
        let protects = run.state & PROTECTED == 0 || range.modes & WP != 0;
        if !sound(run.start, run.end) || run.start < at || run.end > range.end || !known || !protects {
            return Err(format!(
                "its pages {:#x}-{:#x} of state {:#x} cannot be",
                run.start, run.end, run.state
            ));
        }
        at = run.end;
    }
    Ok(())
}

/// A copy of the descriptor of a file, of any task that has it.
fn descriptor(places: &HashMap<u32, Place>, id: u32) -> Result<OwnedFd> {
    let place = places.get(&id);
    let place = place.ok_or_else(|| Error::new(format!("no process has file {id} open: damaged")))?;
    sys::descriptor_of(place.host_pid, place.fd)
        .context(|| format!("copying descriptor {} of pid {}", place.fd, place.pid))
}

/// Where a file is open.
struct Place {
    pid: i32,
    host_pid: i32,
    fd: i32,
}

/// Of each file the first place where it is open.
fn places(host: &Host<'_>, tasks: &[TaskInfo]) -> Result<HashMap<u32, Place>> {
    let mut places = HashMap::new();
    for task in tasks.iter().filter(|task| !task.dead) {
        for slot in host.descriptors(task.pid)? {
            places.entry(slot.file_id).or_insert(Place {
                pid: task.pid,
                host_pid: task.host_pid,
                fd: slot.fd,
            });
        }
    }
    Ok(places)
}

/// One range on its way.
struct Registering<'a> {
    host: &'a Host<'a>,
    pid: i32,
    fd: &'a OwnedFd,
    pagemap: &'a PageMap,
    range: &'a RangeEntry,
}

impl Registering<'_> {
    fn run(&self) -> Result<()> {
        let range = self.range;
        let leaves_missing = range.modes & MISSING != 0 && !range.shared;
        let mut left = TRIES;
        loop {
            if leaves_missing {
                self.give_back()?;
            }
            sys::register(self.fd, range.start, range.end, range.modes).context(|| "UFFDIO_REGISTER")?;
            // From here on the kernel joins nothing there to large pages.
            if !leaves_missing || self.surplus(FILLED)?.is_empty() {
                break;
            }
            sys::unregister(self.fd, range.start, range.end).context(|| "UFFDIO_UNREGISTER")?;
            left -= 1;
            if left == 0 {
                let error = Error::new("pages that were missing keep coming to be there");
                return Err(error.with_remedy(
                    "write `madvise` into /sys/kernel/mm/transparent_hugepage/enabled for the restore",
                ));
            }
        }
        range.runs.iter().try_for_each(|run| self.bring(run))
    }

    /// Pages that are there and were not.
    fn surplus(&self, states: u32) -> Result<Vec<(u64, u64)>> {
        let now = self.pagemap.runs(self.range.start, self.range.end, false)?;
        Ok(surplus(&now, &self.range.runs, states))
    }

    /// Empties what came to be there by large pages.
    fn give_back(&self) -> Result<()> {
        /// `MADV_DONTNEED_LOCKED` (Linux 5.18): locked memory too.
        const DONTNEED: u64 = 24;
        for (start, end) in self.surplus(FILLED)? {
            let args = [start, end - start, DONTNEED];
            let result = self.host.remote_syscall(self.pid, libc::SYS_madvise, &args)?;
            if let Some(errno) = failed(result) {
                return Err(errno).context(|| format!("madvise of {start:#x}-{end:#x}"));
            }
        }
        Ok(())
    }

    fn bring(&self, run: &RunEntry) -> Result<()> {
        let &RunEntry { start, end, state } = run;
        let what = |call: &str| format!("{call} of {start:#x}-{end:#x}");
        let protected = state & PROTECTED != 0;
        if state & ZERO != 0 && !self.range.shared && (self.range.modes & MISSING != 0 || protected) {
            sys::zero(self.fd, start, end).context(|| what("UFFDIO_ZEROPAGE"))?;
        }
        if state & FILLED != 0 && self.range.shared && self.range.modes & MINOR != 0 {
            sys::map_present(self.fd, start, end).context(|| what("UFFDIO_CONTINUE"))?;
        }
        if protected {
            sys::write_protect(self.fd, start, end).context(|| what("UFFDIO_WRITEPROTECT"))?;
        }
        Ok(())
    }
}
