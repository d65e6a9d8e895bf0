//! Makes a set, and adds its targets once they are there.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use criu_plugin_api::image;
use criu_plugin_api::message::{FilePlan, FileRecord};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result};
use criu_proto::images::{EventpollFileEntry, EventpollTfdEntry, FdTypes};

use super::{EDGES, EdgeEntry, MOVED, MovedEntry, PARAMS, ParamsEntry, eventpoll, is_edge};
use crate::{entry, sys};

/// The bits of a target's events that are no events: what is left of a one-shot target that is used up.
const MODES: u32 =
    (libc::EPOLLWAKEUP | libc::EPOLLONESHOT | libc::EPOLLET | libc::EPOLLEXCLUSIVE).cast_unsigned();
const ONE_SHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();

/// What `prepare` leaves for the tasks.
#[derive(Default)]
pub(crate) struct Restore {
    /// The number and the file of a target that does not stand at its number, by set and index.
    moved: HashMap<(u32, u32), (i32, u32)>,
    /// Those of sets that have other parameters than usual, by set.
    params: HashMap<u32, ParamsEntry>,
    /// What edge-triggered targets have reported and still holds, by set, and by index.
    edges: HashMap<u32, HashMap<u32, u32>>,
}

impl Restore {
    pub(super) fn prepare(host: &Host<'_>, files: &[FileRecord]) -> Result<(Self, Vec<FilePlan>)> {
        let mut moved = HashMap::new();
        for MovedEntry {
            epoll,
            index,
            tfd,
            file,
        } in image::read_all(host, &MOVED)?
        {
            let tfd = number(tfd).map_err(|e| e.context(format_args!("{}", MOVED.file_name(0))))?;
            moved.insert((epoll, index), (tfd, file));
        }
        let params: Vec<ParamsEntry> = image::read_all(host, &PARAMS)?;
        let params = params.into_iter().map(|entry| (entry.epoll, entry)).collect();
        let mut edges: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
        for EdgeEntry { epoll, index, told } in image::read_all(host, &EDGES)? {
            let before = edges.entry(epoll).or_default().insert(index, told);
            if told & !sys::EPOLL_EVENTS != 0 || before.is_some() {
                return Err(wrong_edge(epoll, index));
            }
        }
        let restore = Self { moved, params, edges };
        if files.is_empty() {
            return Ok((restore, Vec::new()));
        }
        let holders = Holders::new(host)?;
        let mut plans = Vec::with_capacity(files.len());
        for file in files {
            let epfd = eventpoll(file)?;
            for &index in restore.edges.get(&file.id).into_iter().flat_map(HashMap::keys) {
                let target = usize::try_from(index).ok().and_then(|index| epfd.tfd.get(index));
                if !target.is_some_and(|target| is_edge(target.events)) {
                    return Err(wrong_edge(file.id, index));
                }
            }
            let mut numbers = Vec::with_capacity(epfd.tfd.len());
            for (index, target) in (0..).zip(&epfd.tfd) {
                if !restore.moved.contains_key(&(file.id, index)) {
                    numbers.push(number(target.tfd).context(|| format!("epoll {}", file.id))?);
                }
            }
            plans.push(FilePlan {
                id: file.id,
                attach: true,
                opener: holders.of(file.id, &numbers),
                ..FilePlan::default()
            });
        }
        Ok((restore, plans))
    }

    pub(super) fn open(&self, file: &FileRecord) -> Result<Progress<Opened>> {
        let epfd = eventpoll(file)?;
        let what = || format!("making epoll {}", epfd.id);
        let fd = sys::epoll_create().context(what)?;
        if let Some(params) = self.params.get(&epfd.id) {
            let budget = u16::try_from(params.busy_poll_budget).unwrap_or(u16::MAX);
            let prefer = params.prefer_busy_poll.into();
            sys::set_epoll_params(&fd, params.busy_poll_usecs, budget, prefer)
                .context(|| "setting how it polls the network (EPIOCSPARAMS)")
                .context(what)?;
        }
        let fd = entry::complete(fd, epfd.id, epfd.flags, &epfd.fown)?;
        Ok(Progress::Done(Opened::one(fd)))
    }

    pub(super) fn attach(&self, host: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        let epfd = eventpoll(file)?;
        // SAFETY: the host passes a descriptor of the set, open for the call.
        let epoll = unsafe { BorrowedFd::borrow_raw(fd) };
        // All of them are at hand before any is added: what has been added stays when this has to wait.
        let mut elsewhere = HashMap::new();
        for (index, _) in (0..).zip(&epfd.tfd) {
            if let Some(&(tfd, file)) = self.moved.get(&(epfd.id, index)) {
                let Some(target) = host.opened(file)? else {
                    return Ok(Progress::NotYet(format!(
                        "file {file}, a target of epoll {}",
                        epfd.id
                    )));
                };
                elsewhere.insert(index, (tfd, target));
            }
        }
        // Those that have been reported first: while the set has nothing else to report, an event can only be theirs.
        let told = self.told(&epfd);
        let mut is_quiet = true;
        for turn in [Turn::UsedUp, Turn::Told, Turn::Other] {
            for (index, target) in (0..).zip(&epfd.tfd) {
                let told = told.get(&index).copied();
                if Turn::of(target, told) != turn {
                    continue;
                }
                // What has something new to report is in the way of the others.
                let told = told.filter(|_| is_quiet);
                is_quiet &= match elsewhere.remove(&index) {
                    Some((tfd, other)) => add_as(epoll, other, tfd, target, told),
                    None => add(epoll, number(target.tfd)?, target, told),
                }
                .context(|| format!("restoring epoll {} (fd {fd})", epfd.id))?;
            }
        }
        Ok(Progress::Done(()))
    }

    /// What targets of a set have reported, by index. Not of those whose events could not be told from another's: they
    /// report once more.
    fn told(&self, epfd: &EventpollFileEntry) -> HashMap<u32, u32> {
        let Some(edges) = self.edges.get(&epfd.id) else {
            return HashMap::new();
        };
        let mut times: HashMap<u64, u32> = HashMap::new();
        for target in &epfd.tfd {
            *times.entry(target.data).or_default() += 1;
        }
        let indexed = (0..).zip(&epfd.tfd);
        indexed
            .filter(|(_, target)| times[&target.data] == 1)
            .filter_map(|(index, _)| Some((index, *edges.get(&index)?)))
            .collect()
    }
}

fn number(tfd: u32) -> Result<i32> {
    i32::try_from(tfd).map_err(|_| Error::new(format!("its target {tfd} is no descriptor: damaged")))
}

fn is_used_up(target: &EventpollTfdEntry) -> bool {
    target.events & ONE_SHOT != 0 && target.events & !MODES == 0
}

fn wrong_edge(epoll: u32, index: u32) -> Error {
    let file = EDGES.file_name(0);
    Error::new(format!(
        "{file}: target {index} of epoll {epoll} cannot be: damaged"
    ))
}

/// When a target is added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    UsedUp,
    Told,
    Other,
}

impl Turn {
    fn of(target: &EventpollTfdEntry, told: Option<u32>) -> Self {
        match told {
            _ if is_used_up(target) => Self::UsedUp,
            Some(_) => Self::Told,
            None => Self::Other,
        }
    }
}

/// Adds what stands at a number, with what it has reported already; whether the set has nothing to report for it.
fn add(epoll: BorrowedFd<'_>, tfd: i32, target: &EventpollTfdEntry, told: Option<u32>) -> Result<bool> {
    let what = || format!("adding its target {tfd} with events {:#x}", target.events);
    if !is_used_up(target) {
        sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, tfd, target.events, target.data).context(what)?;
        let Some(told) = told else {
            return Ok(false);
        };
        return match sys::epoll_take(epoll).context(what)? {
            Some((events, data)) if events & !told != 0 || data != target.data => {
                // That is new, and comes again when the target is added anew: some cannot be changed (EPOLLEXCLUSIVE).
                sys::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, tfd, 0, 0).context(what)?;
                sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, tfd, target.events, target.data).context(what)?;
                Ok(false)
            }
            _ => Ok(true),
        };
    }
    // The kernel gets it there by reporting an event; let it be any.
    let any = libc::EPOLLIN
        | libc::EPOLLPRI
        | libc::EPOLLOUT
        | libc::EPOLLRDNORM
        | libc::EPOLLRDBAND
        | libc::EPOLLWRNORM
        | libc::EPOLLWRBAND
        | libc::EPOLLRDHUP;
    let events = target.events | any.cast_unsigned();
    sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, tfd, events, target.data).context(what)?;
    if sys::epoll_take(epoll).context(what)?.is_none() {
        sys::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, tfd, target.events, target.data).context(what)?;
    }
    Ok(true)
}

/// Adds a description under a number at which something else may stand. In this process that stays there
/// all the time, since other tasks may fetch it: the description is put there in a copy of the table.
fn add_as(
    epoll: BorrowedFd<'_>,
    other: OwnedFd,
    tfd: i32,
    target: &EventpollTfdEntry,
    told: Option<u32>,
) -> Result<bool> {
    let what = || format!("adding a target under the number {tfd}");
    let epoll = beside(entry::copy(epoll)?, tfd)?;
    let mut added = Err(Error::new("the process that was to do it has failed"));
    sys::in_a_copy_of_the_table(|| {
        let placed = if other.as_raw_fd() == tfd {
            Ok(())
        } else {
            sys::dup_to(&other, tfd)
        };
        added = placed
            .context(|| "putting it there")
            .and_then(|()| add(epoll.as_fd(), tfd, target, told));
    })
    .context(what)?;
    added.context(what)
}

/// The same descriptor at another number than this.
fn beside(fd: OwnedFd, number: i32) -> Result<OwnedFd> {
    // While it stands at the number, its copy cannot.
    if fd.as_raw_fd() == number {
        entry::copy(&fd)
    } else {
        Ok(fd)
    }
}

/// Who holds the sets, and what else stands in the tables.
struct Holders {
    /// The tasks that hold a set, the first of the tree first.
    of_set: HashMap<u32, Vec<usize>>,
    tasks: Vec<(i32, HashSet<i32>)>,
}

impl Holders {
    fn new(host: &Host<'_>) -> Result<Self> {
        let mut holders = Self {
            of_set: HashMap::new(),
            tasks: Vec::new(),
        };
        let mut tables = HashSet::new();
        for task in host.tasks()? {
            if task.dead || !tables.insert(task.files_id) {
                continue;
            }
            let slots = host.descriptors(task.pid)?;
            let mut holds = false;
            for slot in slots
                .iter()
                .filter(|slot| slot.fd_type == FdTypes::Eventpoll as u32)
            {
                let at = holders.of_set.entry(slot.file_id).or_default();
                if at.last() != Some(&holders.tasks.len()) {
                    at.push(holders.tasks.len());
                }
                holds = true;
            }
            if holds {
                let numbers = slots.iter().map(|slot| slot.fd).collect();
                holders.tasks.push((task.pid, numbers));
            }
        }
        Ok(holders)
    }

    /// The first task with the set that has something at each of the numbers: the set was saved in the
    /// name of the first task it was found in, and the numbers are those of its table.
    fn of(&self, set: u32, numbers: &[i32]) -> Option<i32> {
        let tasks = self.of_set.get(&set)?;
        let fits = tasks
            .iter()
            .find(|&&at| numbers.iter().all(|number| self.tasks[at].1.contains(number)));
        fits.or(tasks.first()).map(|&at| self.tasks[at].0)
    }
}
