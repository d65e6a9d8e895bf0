//! Saves userfaultfds and what is registered with them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use criu_plugin_api::message::{FileImage, FileTarget, MappingImage, MappingTarget, TaskInfo};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, image};
use criu_proto::images::{ExtFileEntry, FdTypes, FileEntry, VmaEntry};
use prost::Message;

use super::owner::{self, Owner};
use super::pages::PageMap;
use super::sys::{FEATURES, MINOR, MISSING, WP, WP_ASYNC};
use super::{FILES, PAGE, RANGES, RangeEntry, RunEntry, UffdEntry};
use crate::entry::{self, object};
use crate::fdinfo::FdInfo;

const REMEDY: &str = "have the program close it before the dump";
/// Runs in one entry of the image.
const RUNS: usize = 1 << 16;

/// What a dump has seen.
#[derive(Default)]
pub(super) struct Dump {
    files: Vec<Saved>,
    ranges: Vec<Range>,
}

struct Saved {
    entry: UffdEntry,
    fd: OwnedFd,
    object: String,
}

/// A registered mapping.
struct Range {
    pid: i32,
    start: u64,
    end: u64,
    modes: u32,
    shared: bool,
}

impl Range {
    fn object(&self) -> String {
        format!("pid {}, mapping {:#x}-{:#x}", self.pid, self.start, self.end)
    }
}

/// What fdinfo tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Faults of which no message has been read.
    pub(super) pending: u64,
    /// What was agreed on; nothing before `UFFDIO_API`.
    pub(super) features: Option<u64>,
}

/// Reads `pending:` and the line `API: VERSION:FEATURES:IOCTLS`, in which the kernel says by the highest bit of its
/// word of features that they were agreed on.
pub(super) fn told(info: &FdInfo) -> Result<Told> {
    const AGREED: u64 = 1 << 31;
    let api = info.get("API")?;
    let mut parts = api.split(':');
    let version = parts.next();
    let features = parts.next().and_then(|text| u64::from_str_radix(text, 16).ok());
    let features = features
        .filter(|_| version == Some("aa"))
        .ok_or_else(|| info.unknown("API", api))?;
    let pending = info.get("pending")?;
    Ok(Told {
        pending: pending.parse().map_err(|_| info.unknown("pending", pending))?,
        features: (features & AGREED != 0).then_some(features & !AGREED),
    })
}

impl Dump {
    pub(super) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let told = told(&FdInfo::read(host, file)?)?;
        let unknown = told.features.unwrap_or(0) >> FEATURES.len();
        if unknown != 0 {
            let what = format!(
                "is a userfaultfd with features that are not known: {:#x}",
                unknown << FEATURES.len()
            );
            return Ok(Verdict::refused_but(object(file), what, REMEDY));
        }
        let fd = entry::copy(entry::local(file))?;
        // Of one that blocks the kernel does not tell; but who waits for an event to be read cannot be frozen.
        let nonblock = file.flags & libc::O_NONBLOCK.cast_unsigned() != 0;
        if nonblock && told.pending == 0 && told.features.is_some() {
            let unread = crate::sys::readable_within(&fd, 0)
                .context(|| format!("{}: asking for messages", object(file)))?;
            if unread {
                return Ok(Verdict::refused_but(
                    object(file),
                    "is a userfaultfd with an unread event (fork, remap, remove or unmap), which cannot be made again",
                    "dump again when its reader has read it",
                ));
            }
        }
        self.files.push(Saved {
            entry: UffdEntry {
                id: file.id,
                pid: 0,
                flags: file.flags,
                features: told.features,
            },
            fd,
            object: object(file),
        });
        Ok(entry::saved(
            FdTypes::Ext,
            FileEntry {
                id: file.id,
                ext: Some(ExtFileEntry {
                    id: file.id,
                    fown: fown_decode(&file.fown)?,
                }),
                ..FileEntry::default()
            },
        ))
    }

    pub(super) fn mapping(&mut self, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        let vma = VmaEntry::decode(mapping.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", mapping.pid)))?;
        let shared = vma.flags & libc::MAP_SHARED.cast_unsigned() != 0;
        let has = |flag: &str, mode| {
            if mapping.flags.iter().any(|known| known == flag) {
                mode
            } else {
                0
            }
        };
        let range = Range {
            pid: mapping.pid,
            start: vma.start,
            end: vma.end,
            modes: has("um", MISSING) | has("uw", WP) | has("ui", MINOR),
            shared,
        };
        let obstacle = if mapping.page_size != PAGE {
            Some("huge pages")
        } else if !shared && mapping.name.starts_with(b"/") {
            Some("a private mapping of a file")
        } else {
            None
        };
        if let Some(what) = obstacle {
            return Ok(Verdict::refused_but(
                range.object(),
                format!(
                    "is registered with a userfaultfd, and is {what}: what is there and what is missing cannot be restored"
                ),
                "have the program unregister it (UFFDIO_UNREGISTER) before the dump",
            ));
        }
        self.ranges.push(range);
        Ok(Verdict::Entry(MappingImage::default()))
    }

    /// All has been seen.
    pub(super) fn finish(mut self, host: &Host<'_>) -> Result<()> {
        if self.files.is_empty() && self.ranges.is_empty() {
            return Ok(());
        }
        let mut tasks = host.tasks()?;
        tasks.retain(|task| !task.dead);
        self.find_owners(host, &tasks)?;
        for saved in &self.files {
            alone_in_its_table(&tasks, saved)?;
        }
        let mut files = image::create(host, &FILES)?;
        for saved in &self.files {
            files.entry(&saved.entry)?;
        }
        files.finish()?;
        if self.ranges.is_empty() {
            return Ok(());
        }
        let mut ranges = image::create(host, &RANGES)?;
        for range in &self.ranges {
            let id = self.registered_with(range)?;
            let eye = tasks.iter().find(|task| task.pid == range.pid);
            let eye = eye.map_or(range.pid, |task| task.host_pid);
            let runs = PageMap::open(eye)?.runs(range.start, range.end, range.modes & WP != 0)?;
            for entry in parts(id, range, runs) {
                ranges.entry(&entry)?;
            }
        }
        ranges.finish()?;
        Ok(())
    }

    /// Finds out whose memory each watches.
    fn find_owners(&mut self, host: &Host<'_>, tasks: &[TaskInfo]) -> Result<()> {
        let mut holders: BTreeMap<u32, BTreeSet<i32>> = BTreeMap::new();
        for task in tasks {
            for slot in host.descriptors(task.pid)? {
                holders.entry(slot.file_id).or_default().insert(task.pid);
            }
        }
        let agreed = self.files.iter().filter(|saved| saved.entry.features.is_some());
        let fds: Vec<&OwnedFd> = agreed.map(|saved| &saved.fd).collect();
        let mut owners = owner::find(host, tasks, &fds)?.into_iter();
        for saved in &mut self.files {
            let Some(holders) = holders.get(&saved.entry.id) else {
                let what =
                    "is a userfaultfd that no process of the tree has open: it is on its way in a socket";
                return Err(refusal(&saved.object, what, "dump again when it has arrived"));
            };
            if saved.entry.features.is_none() {
                let mut all = holders.iter();
                let (Some(only), None) = (all.next(), all.next()) else {
                    let what = "is a userfaultfd without UFFDIO_API that several processes have open: \
                                whose memory it watches cannot be asked";
                    return Err(refusal(&saved.object, what, REMEDY));
                };
                saved.entry.pid = *only;
                continue;
            }
            let what = match owners.next() {
                Some(Owner::Task(pid)) => {
                    saved.entry.pid = pid;
                    continue;
                }
                Some(Owner::Gone) => {
                    "is a userfaultfd that watches the memory of a process that has ended or has started another program"
                }
                _ => "is a userfaultfd that watches the memory of a process outside of the tree",
            };
            return Err(refusal(&saved.object, what, REMEDY));
        }
        Ok(())
    }

    /// The file id of the userfaultfd that a range is registered with.
    fn registered_with(&self, range: &Range) -> Result<u32> {
        for saved in &self.files {
            let Some(features) = saved.entry.features.filter(|_| saved.entry.pid == range.pid) else {
                continue;
            };
            let registered = owner::is_registered(&saved.fd, range.start, range.end, range.modes);
            if !registered.context(|| format!("{}: asking {}", range.object(), saved.object))? {
                continue;
            }
            if range.shared && features & WP_ASYNC != 0 {
                let what = "is shared and registered with a userfaultfd of the feature WP_ASYNC: \
                            what is there and what is not cannot be restored";
                return Err(refusal(&range.object(), what, "have the program unregister it"));
            }
            return Ok(saved.entry.id);
        }
        Err(refusal(
            &range.object(),
            "is registered with a userfaultfd that no process of the tree has open",
            "dump the process that handles its faults as part of the tree, or have it end first",
        ))
    }
}

/// The entries of a range: more than one, where there are many runs.
pub(super) fn parts_of(range: RangeEntry, most: usize) -> Vec<RangeEntry> {
    let mut parts = Vec::new();
    let (mut start, mut rest) = (range.start, range.runs.as_slice());
    loop {
        let (runs, more) = rest.split_at(rest.len().min(most));
        let end = more.first().map_or(range.end, |next| next.start);
        parts.push(RangeEntry {
            start,
            end,
            runs: runs.to_vec(),
            ..range
        });
        if more.is_empty() {
            return parts;
        }
        (start, rest) = (end, more);
    }
}

fn parts(id: u32, range: &Range, runs: Vec<RunEntry>) -> Vec<RangeEntry> {
    let &Range {
        start,
        end,
        modes,
        shared,
        ..
    } = range;
    let whole = RangeEntry {
        id,
        start,
        end,
        modes,
        shared,
        runs,
    };
    parts_of(whole, RUNS)
}

/// A task that shares a descriptor table with one before it has its files opened by that.
fn alone_in_its_table(tasks: &[TaskInfo], saved: &Saved) -> Result<()> {
    let Some(at) = tasks.iter().position(|task| task.pid == saved.entry.pid) else {
        return Ok(());
    };
    let owner = &tasks[at];
    let Some(other) = tasks[..at].iter().find(|task| task.files_id == owner.files_id) else {
        return Ok(());
    };
    let what = format!(
        "is a userfaultfd that watches the memory of pid {}, which shares its descriptors with pid {}: it can only be \
         made by the first of them",
        owner.pid, other.pid
    );
    Err(refusal(&saved.object, what, REMEDY))
}

fn refusal(object: &str, what: impl Into<String>, remedy: &str) -> Error {
    Error::from(Refusal {
        object: object.to_owned(),
        what: what.into(),
        remedy: Some(remedy.to_owned()),
    })
}
