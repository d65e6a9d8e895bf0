//! Saves a set, and finds its targets.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::image;
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, Host, Result, Verdict};
use criu_proto::images::{EventpollFileEntry, EventpollTfdEntry, FdTypes, FileEntry};

use super::{EDGES, EdgeEntry, MOVED, MovedEntry, PARAMS, ParamsEntry, is_edge};
use crate::fdinfo::FdInfo;
use crate::{entry, sys};

/// Sets with more targets than this are looked at as a whole first: see [`standing`].
const FEW: usize = 64;

/// What a dump knows of sets so far.
#[derive(Default)]
pub(crate) struct Dump {
    moved: Vec<Moved>,
    params: Vec<ParamsEntry>,
    edges: Vec<EdgeEntry>,
    /// Where each inode number occurs in the tree; made when first needed.
    places: Option<HashMap<u64, Vec<Place>>>,
}

/// A descriptor of the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    pid: i32,
    fd: i32,
}

struct Moved {
    epoll: u32,
    index: u32,
    tfd: u32,
    place: Place,
}

impl Dump {
    pub(super) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let is_quiet = sys::ready(entry::local(file), libc::EPOLLIN.cast_unsigned())
            .context(|| entry::object(file))?
            == 0;
        let info = FdInfo::read(host, file)?;
        let mut targets = info
            .lines()
            .filter(|line| line.starts_with("tfd:"))
            .map(|line| target(line).ok_or_else(|| info.unknown("target", line)))
            .collect::<Result<Vec<_>>>()?;
        let standing = if targets.len() > FEW {
            standing(file, &targets)
        } else {
            HashSet::new()
        };
        self.params(file);
        let mut same_number: HashMap<u32, u32> = HashMap::new();
        for (index, target) in (0..).zip(&mut targets) {
            let offset = same_number.entry(target.tfd).or_default();
            let tfd = target.tfd;
            let search = Search {
                epoll: entry::local(file),
                target,
                offset: *offset,
            };
            *offset += 1;
            if standing.contains(&tfd) || search.stands_in(file)? {
                if is_quiet && let Ok(fd) = i32::try_from(tfd) {
                    self.edge(host, file.id, index, target.events, Place { pid: file.pid, fd })?;
                }
                continue;
            }
            let Some(place) = self.find(host, file.pid, &search)? else {
                let what = format!(
                    "its target of number {tfd} (inode {}) is held by nobody of the tree",
                    target.inode()
                );
                return Ok(Verdict::refused(entry::object(file), what));
            };
            if is_quiet {
                self.edge(host, file.id, index, target.events, place)?;
            }
            if place.pid == file.pid {
                target.tfd = place.fd.cast_unsigned();
            }
            self.moved.push(Moved {
                epoll: file.id,
                index,
                tfd,
                place,
            });
        }
        Ok(entry::saved(
            FdTypes::Eventpoll,
            FileEntry {
                id: file.id,
                epfd: Some(EventpollFileEntry {
                    id: file.id,
                    flags: file.flags,
                    fown: fown_decode(&file.fown)?,
                    tfd: targets,
                }),
                ..FileEntry::default()
            },
        ))
    }

    /// Notes what holds of an edge-triggered target of a set that has nothing to report.
    fn edge(&mut self, host: &Host<'_>, epoll: u32, index: u32, events: u32, place: Place) -> Result<()> {
        if !is_edge(events) {
            return Ok(());
        }
        let Place { pid, fd } = place;
        let what = || format!("looking at fd {fd} of pid {pid}, a target of epoll {epoll}");
        let target = host.target_fd(pid, fd).context(what)?;
        let told = sys::ready(&target, events).context(what)?;
        if told != 0 {
            self.edges.push(EdgeEntry { epoll, index, told });
        }
        Ok(())
    }

    /// Keeps the parameters of a set, unless they are the usual ones.
    fn params(&mut self, file: &FileTarget) {
        let params = sys::epoll_params(entry::local(file)).unwrap_or_default();
        if params != sys::EpollParams::default() {
            self.params.push(ParamsEntry {
                epoll: file.id,
                busy_poll_usecs: params.busy_poll_usecs,
                busy_poll_budget: params.busy_poll_budget.into(),
                prefer_busy_poll: params.prefer_busy_poll != 0,
            });
        }
    }

    /// Looks for a target in the whole tree, first in the process of the set.
    fn find(&mut self, host: &Host<'_>, pid: i32, search: &Search<'_>) -> Result<Option<Place>> {
        let places = match &mut self.places {
            Some(places) => places,
            none => none.insert(places(host)?),
        };
        let all = match search.target.inode {
            Some(inode) => places.get(&inode).map(Vec::as_slice).unwrap_or_default().to_vec(),
            // Before Linux 4.13 fdinfo does not say.
            None => places.values().flatten().copied().collect(),
        };
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|place| place.pid == pid);
        for place in own.into_iter().chain(others) {
            if search.is_at(place)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// All descriptors have their files: writes those of the targets that have moved.
    pub(super) fn finish(self, host: &Host<'_>) -> Result<()> {
        if !self.params.is_empty() {
            let mut image = image::create(host, &PARAMS)?;
            for entry in &self.params {
                image.entry(entry)?;
            }
            image.finish()?;
        }
        if !self.edges.is_empty() {
            let mut image = image::create(host, &EDGES)?;
            for entry in &self.edges {
                image.entry(entry)?;
            }
            image.finish()?;
        }
        if self.moved.is_empty() {
            return Ok(());
        }
        let mut tables: HashMap<i32, HashMap<i32, u32>> = HashMap::new();
        let mut image = image::create(host, &MOVED)?;
        for Moved {
            epoll,
            index,
            tfd,
            place,
        } in self.moved
        {
            let table = match tables.entry(place.pid) {
                Entry::Occupied(table) => table.into_mut(),
                Entry::Vacant(none) => {
                    let slots = host.descriptors(place.pid)?;
                    none.insert(slots.iter().map(|slot| (slot.fd, slot.file_id)).collect())
                }
            };
            let file = table.get(&place.fd).copied().ok_or_else(|| {
                Error::new(format!(
                    "target {tfd} of epoll {epoll} stands at fd {} of pid {}, which was not saved",
                    place.fd, place.pid
                ))
            })?;
            image.entry(&MovedEntry {
                epoll,
                index,
                tfd,
                file,
            })?;
        }
        image.finish()?;
        Ok(())
    }
}

/// A target that is looked for.
struct Search<'a> {
    epoll: BorrowedFd<'a>,
    target: &'a EventpollTfdEntry,
    /// How many of the set's targets before it have the same number.
    offset: u32,
}

impl Search<'_> {
    /// Whether it stands at its number in the process of the set.
    fn stands_in(&self, file: &FileTarget) -> Result<bool> {
        if file.fd < 0 {
            // A set on its way through a socket is in no table.
            return Ok(false);
        }
        let Ok(fd) = i32::try_from(self.target.tfd) else {
            return Ok(false);
        };
        self.is_at(Place { pid: file.pid, fd })
    }

    fn is_at(&self, place: Place) -> Result<bool> {
        let Place { pid, fd } = place;
        sys::is_target(pid, fd, self.epoll, self.target.tfd, self.offset).context(|| {
            format!(
                "comparing fd {fd} of pid {pid} with target {} of an epoll set (kcmp)",
                self.target.tfd
            )
        })
    }
}

/// Those targets of a large set that stand at their numbers in its process. kcmp(2), which tells the others,
/// takes the longer the more targets there are. Numbers that occur twice in the set are left to it, and
/// whatever cannot be tried here.
fn standing(file: &FileTarget, targets: &[EventpollTfdEntry]) -> HashSet<u32> {
    let mut times: HashMap<u32, u32> = HashMap::new();
    for target in targets {
        *times.entry(target.tfd).or_default() += 1;
    }
    if file.fd < 0 {
        return HashSet::new();
    }
    let numbers: Vec<i32> = times
        .iter()
        .filter(|&(_, &times)| times == 1)
        .filter_map(|(&tfd, _)| i32::try_from(tfd).ok())
        .collect();
    let stand = sys::stand_at_numbers(file.pid, entry::local(file), &numbers).unwrap_or_else(|errno| {
        tracing::debug!("looking at many targets at once: {}", errno.desc());
        vec![false; numbers.len()]
    });
    let both = numbers.iter().zip(stand);
    both.filter(|(_, stands)| *stands)
        .map(|(number, _)| number.cast_unsigned())
        .collect()
}

/// All descriptors of the tree, by inode number.
fn places(host: &Host<'_>) -> Result<HashMap<u64, Vec<Place>>> {
    let mut places: HashMap<u64, Vec<Place>> = HashMap::new();
    let mut tables = HashSet::new();
    for task in host.tasks()? {
        if task.dead || !tables.insert(task.files_id) {
            continue;
        }
        let path = format!("/proc/{}/fd", task.host_pid);
        let what = || format!("reading {path}");
        for found in std::fs::read_dir(&path).context(what)? {
            let found = found.context(what)?;
            let number = found.file_name().to_str().and_then(|name| name.parse().ok());
            // A descriptor of our own may have gone since.
            if let (Some(fd), Ok(meta)) = (number, std::fs::metadata(found.path())) {
                let place = Place {
                    pid: task.host_pid,
                    fd,
                };
                places.entry(meta.ino()).or_default().push(place);
            }
        }
    }
    Ok(places)
}

/// Reads a line `tfd: N events: X data: X pos:N ino:X sdev:X`.
fn target(line: &str) -> Option<EventpollTfdEntry> {
    let mut entry = EventpollTfdEntry::default();
    let mut seen = 0;
    let mut words = line.split([' ', ':']).filter(|word| !word.is_empty());
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name {
            "tfd" => entry.tfd = value.parse().ok()?,
            "events" => entry.events = u32::from_str_radix(value, 16).ok()?,
            "data" => entry.data = u64::from_str_radix(value, 16).ok()?,
            "pos" => entry.pos = Some(value.parse::<i64>().ok()?.cast_unsigned()),
            "ino" => entry.inode = Some(u64::from_str_radix(value, 16).ok()?),
            "sdev" => entry.dev = Some(u32::from_str_radix(value, 16).ok()?),
            _ => continue,
        }
        seen += usize::from(matches!(name, "tfd" | "events" | "data"));
    }
    (seen == 3).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fdinfo_are_read() {
        let line = "tfd:        5 events: 80000019 data:       1100000005  pos:0 ino:40e sdev:10";
        let expected = EventpollTfdEntry {
            id: 0,
            tfd: 5,
            events: 0x8000_0019,
            data: 0x11_0000_0005,
            dev: Some(16),
            inode: Some(1038),
            pos: Some(0),
        };
        assert_eq!(target(line), Some(expected));
        let old = target("tfd:       12 events:       19 data: ffffffffffffffff").unwrap();
        assert_eq!((old.tfd, old.data, old.inode), (12, u64::MAX, None));
        for bad in ["tfd: x", "tfd: 5 events: 19", "tfd: 5 events: 19 data:", "tfd:"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }
}
