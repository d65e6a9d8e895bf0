//! What a process would do to System V semaphores at its end: the adjustments of `SEM_UNDO`, semop(2).
//!
//! Sets of semaphores outlive their processes, and a dump leaves them. But the end of a process undoes what
//! it has done with `SEM_UNDO`: killed by a dump, a process that holds a semaphore gives it back. A restore
//! takes it again, with the same adjustment, so that values and adjustments are as they were.
//!
//! The kernel does not show adjustments. But it refuses operations that would bring one out of its range,
//! all of a call or none, and so tells each by a search, without a change: see [`Probe`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{RemoteArg, RemoteCall, TaskImage, TaskInfo};
use criu_plugin_api::{Context, Error, ErrorCode, Host, Result, Verdict};
use nix::errno::Errno;

static IMAGE: ImageKind = image::own_kind("SEM_UNDO", "sem-undo.img", 0x5345_4d55);

/// Semaphores that are looked at for one process.
const MAX_SEMAPHORES: usize = 1 << 15;
/// `SEMVMX` and `SEMAEM` of linux/sem.h: the largest value, and the largest adjustment.
const MAX_VALUE: i64 = 32767;
const SEM_UNDO: i16 = 0x1000;
const IPC_NOWAIT: i16 = 0o4000;
const KCMP_SYSVSEM: libc::c_int = 6;
/// How often a semaphore is looked at whose value changes.
const PROBES: usize = 64;
/// Operations that every kernel takes in one call.
const BATCH: usize = 32;

/// The adjustments of one process for one set.
#[derive(Clone, PartialEq, prost::Message)]
struct UndoEntry {
    /// The process.
    #[prost(int32, tag = "1")]
    pid: i32,
    /// The id of the set.
    #[prost(int32, tag = "2")]
    id: i32,
    /// Its key.
    #[prost(uint32, tag = "3")]
    key: u32,
    /// Its number of semaphores.
    #[prost(uint32, tag = "4")]
    nsems: u32,
    /// Numbers of semaphores, ascending.
    #[prost(uint32, repeated, tag = "5")]
    numbers: Vec<u32>,
    /// Their adjustments: what the end of the process adds to the value.
    #[prost(sint32, repeated, tag = "6")]
    adjustments: Vec<i32>,
}

/// The kind `sysvsem`.
#[derive(Default)]
pub(crate) struct Undo {
    /// Of a dump so far, or of a restore.
    entries: RefCell<Vec<UndoEntry>>,
}

/// A line of `/proc/sysvipc/sem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    key: u32,
    pub(crate) id: i32,
    nsems: u32,
    /// Whether any operation was ever done.
    used: bool,
}

/// One operation of semop(2), `struct sembuf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    number: u16,
    change: i16,
    flags: i16,
}

impl Undo {
    pub(crate) fn dump_task(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        if task.dead || !has_list(task.host_pid)? {
            return Ok(Verdict::NotMine);
        }
        let sets: Vec<Set> = sets()?.into_iter().filter(|set| set.used).collect();
        let count: usize = sets.iter().map(|set| set.nsems as usize).sum();
        if count == 0 {
            return Ok(Verdict::NotMine);
        }
        let object = || format!("pid {}", task.pid);
        if count > MAX_SEMAPHORES {
            let what = format!("it uses System V semaphores, and {count} of them are too many to look at");
            return Ok(Verdict::refused(object(), what));
        }
        let mut found = Vec::new();
        for set in sets {
            let adjustments = adjustments(host, task.pid, set)
                .context(|| format!("{}, System V semaphore set {}", object(), set.id))?;
            if !adjustments.is_empty() {
                found.push((set, adjustments));
            }
        }
        for &tid in task.threads.iter().skip(1) {
            if !same_list(task.host_pid, tid)? && has_list(tid)? {
                let what = format!(
                    "its thread {tid} has its own list of System V semaphore undos (a clone without CLONE_SYSVSEM)"
                );
                return Ok(Verdict::refused(object(), what));
            }
        }
        let others: BTreeSet<i32> = self.entries.borrow().iter().map(|entry| entry.pid).collect();
        for other in others {
            if !found.is_empty() && same_list(task.host_pid, host_pid(host, other)?)? {
                let what =
                    format!("it shares its System V semaphore undos with process {other} (CLONE_SYSVSEM)");
                return Ok(Verdict::refused(object(), what));
            }
        }
        for (set, adjustments) in found {
            self.keep(task.pid, set, adjustments);
        }
        Ok(Verdict::NotMine)
    }

    /// Remembers adjustments for the image.
    pub(crate) fn keep(&self, pid: i32, set: Set, adjustments: Vec<(u32, i32)>) {
        let (numbers, adjustments) = adjustments.into_iter().unzip();
        self.entries.borrow_mut().push(UndoEntry {
            pid,
            id: set.id,
            key: set.key,
            nsems: set.nsems,
            numbers,
            adjustments,
        });
    }

    pub(crate) fn finish(&self, host: &Host<'_>) -> Result<()> {
        let entries = self.entries.take();
        if entries.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &IMAGE)?;
        for entry in &entries {
            writer.entry(entry)?;
        }
        writer.finish()?;
        Ok(())
    }

    /// Restore: reads the image and looks whether the sets are there.
    pub(crate) fn read(&self, host: &Host<'_>) -> Result<()> {
        let entries: Vec<UndoEntry> = image::read_all(host, &IMAGE)?;
        if entries.is_empty() {
            return Ok(());
        }
        let sets: BTreeMap<i32, Set> = sets()?.into_iter().map(|set| (set.id, set)).collect();
        for entry in &entries {
            check(entry, sets.get(&entry.id))
                .context(|| format!("pid {}, System V semaphore set {}", entry.pid, entry.id))?;
        }
        self.entries.replace(entries);
        Ok(())
    }

    /// The process takes again what it held.
    pub(crate) fn restore_task(&self, host: &Host<'_>, task: &TaskInfo) -> Result<()> {
        for entry in self.entries.borrow().iter().filter(|entry| entry.pid == task.pid) {
            let pairs = entry.numbers.iter().zip(&entry.adjustments);
            let mut operations = Vec::new();
            for (&number, &adjustment) in pairs {
                operations.extend(take_again(number, adjustment));
            }
            for part in operations.chunks(BATCH) {
                match semop(host, task.pid, entry.id, part)? {
                    Ok(()) => {}
                    Err(errno) => return Err(not_taken(entry, errno)),
                }
            }
        }
        Ok(())
    }
}

fn not_taken(entry: &UndoEntry, errno: Errno) -> Error {
    let what = format!(
        "pid {}: taking semaphores of System V set {} again (SEM_UNDO): ",
        entry.pid, entry.id
    );
    match errno {
        Errno::EAGAIN => Error::new(what + "another process has taken them since the dump")
            .with_remedy("have it give them back; `ipcs -s -i ID` names the last user"),
        _ => Error::new(what + errno.desc()),
    }
}

/// Whether the set is the one that it was.
fn check(entry: &UndoEntry, set: Option<&Set>) -> Result<()> {
    if entry.numbers.len() != entry.adjustments.len() || entry.numbers.iter().any(|n| *n >= entry.nsems) {
        return Err(Error::new(
            "the adjustments in sem-undo.img contradict themselves: damaged",
        ));
    }
    match set {
        Some(set) if set.key == entry.key && set.nsems == entry.nsems => Ok(()),
        Some(_) => Err(Error::new("another set has this id here")),
        None => Err(Error::new(
            "the set, of which the process holds semaphores, does not exist here",
        )),
    }
    .map_err(|error: Error| {
        error.with_remedy("sets of semaphores are not in the images: restore on the machine of the dump")
    })
}

/// Operations that lead to this adjustment.
fn take_again(number: u32, adjustment: i32) -> Vec<Operation> {
    let number = number as u16;
    let mut rest = -i64::from(adjustment);
    let mut operations = Vec::new();
    while rest != 0 {
        let change = rest.clamp(-MAX_VALUE, MAX_VALUE);
        rest -= change;
        operations.push(Operation {
            number,
            change: change as i16,
            flags: SEM_UNDO | IPC_NOWAIT,
        });
    }
    operations
}

/// All sets of the namespace of this process.
pub(crate) fn sets() -> Result<Vec<Set>> {
    parse(&std::fs::read("/proc/sysvipc/sem").context(|| "reading /proc/sysvipc/sem")?)
}

fn parse(text: &[u8]) -> Result<Vec<Set>> {
    let text = String::from_utf8_lossy(text);
    let mut sets = Vec::new();
    for line in text.lines().skip(1) {
        // key semid perms nsems uid gid cuid cgid otime ctime
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let set = || -> Option<Set> {
            Some(Set {
                // Printed as a signed number.
                key: (words.first()?.parse::<i64>().ok()? & i64::from(u32::MAX)) as u32,
                id: words.get(1)?.parse().ok()?,
                nsems: words.get(3)?.parse().ok()?,
                used: words.get(8)?.parse::<i64>().ok()? != 0,
            })
        };
        sets.push(set().ok_or_else(|| Error::new(format!("/proc/sysvipc/sem: {line:?} does not parse")))?);
    }
    Ok(sets)
}

fn host_pid(host: &Host<'_>, pid: i32) -> Result<i32> {
    let tasks = host.tasks()?;
    let task = tasks.iter().find(|task| task.pid == pid);
    Ok(task.map_or(pid, |task| task.host_pid))
}

/// Whether a process has a list of undos at all: whether it differs from a thread that has none.
fn has_list(tid: i32) -> Result<bool> {
    // A thread gets one as soon as it makes another, as it may have done at any time since the last look.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_SYSVSEM)
        .context(|| "giving up the list of semaphore undos of this thread")?;
    Ok(!same_list(nix::unistd::gettid().as_raw(), tid)?)
}

/// Whether two have the same list, or both none: kcmp(2).
fn same_list(one: i32, other: i32) -> Result<bool> {
    // SAFETY: this type of comparison takes plain numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_SYSVSEM, 0, 0) };
    match Errno::result(order) {
        Ok(order) => Ok(order == 0),
        // A kernel without System V IPC.
        Err(Errno::EOPNOTSUPP) => Ok(true),
        Err(errno) => Err(errno).context(|| format!("comparing the semaphore undos of {one} and {other}")),
    }
}

/// Adjustments that are not 0, of the semaphores of a set.
pub(crate) fn adjustments(host: &Host<'_>, pid: i32, set: Set) -> Result<Vec<(u32, i32)>> {
    let mut found = Vec::new();
    for number in 0..set.nsems {
        match adjustment(host, pid, set.id, number)? {
            Found::Value(0) => {}
            Found::Value(adjustment) => found.push((number, adjustment)),
            Found::Nothing => break,
            Found::Unclear => {
                let error = Error::new(format!(
                    "semaphore {number} changes all the time while it is looked at: other processes use the set"
                ));
                return Err(Error {
                    code: ErrorCode::Refused,
                    ..error
                }
                .with_remedy("dump again, or stop the other processes"));
            }
        }
    }
    Ok(found)
}

/// What a probe tells.
enum Found {
    Value(i32),
    /// The semaphore is gone, or not the process's to change, so that it has no adjustment.
    Nothing,
    /// The answers contradict each other.
    Unclear,
}

/// The adjustment of one semaphore. Its value may change meanwhile, which a probe notices.
fn adjustment(host: &Host<'_>, pid: i32, id: i32, number: u32) -> Result<Found> {
    for _ in 0..PROBES {
        let value = match value_of(id, number) {
            Ok(value) => value,
            Err(Errno::EINVAL | Errno::EIDRM) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno).context(|| format!("reading semaphore {number}")),
        };
        let probe = Probe {
            host,
            pid,
            id,
            number: number as u16,
            upward: i64::from(value) <= MAX_VALUE / 2,
        };
        match probe.adjustment()? {
            Found::Unclear => {}
            found => return Ok(found),
        }
    }
    Ok(Found::Unclear)
}

/// `GETVAL` of semctl(2).
fn value_of(id: i32, number: u32) -> nix::Result<i32> {
    // SAFETY: GETVAL takes plain numbers.
    Errno::result(unsafe { libc::semctl(id, number.cast_signed(), libc::GETVAL) })
}

/// A semaphore of which a process may have an adjustment.
///
/// Pairs of operations that leave the value as it is move the adjustment: `+k` without and `-k` with
/// `SEM_UNDO` raise it. Behind them stand two operations that can never both succeed, so nothing is ever
/// done. The call fails with `ERANGE` if the pairs bring the adjustment above its largest value, and with
/// `EAGAIN` if they do not.
struct Probe<'a> {
    host: &'a Host<'a>,
    pid: i32,
    id: i32,
    number: u16,
    /// The value is small: raise it first. Otherwise lower it first.
    upward: bool,
}

impl Probe<'_> {
    fn adjustment(&self) -> Result<Found> {
        // By how much the adjustment must be moved to be out of range: 1 to 65,536, and 32,768 for 0.
        let Some(mut out) = self.is_out(32768)? else {
            return Ok(Found::Nothing);
        };
        let (mut low, mut high) = if out { (0, 32768) } else { (32768, 65537) };
        if out && self.is_out(32767)? == Some(false) {
            low = 32767;
        }
        // Within `low` it is in range, by `high` out of it.
        while high - low > 1 {
            let middle = (low + high) / 2;
            out = self.is_out(middle)?.unwrap_or(false);
            if out { high = middle } else { low = middle }
        }
        if self.is_out(high)? != Some(true) || (low > 0 && self.is_out(low)? != Some(false)) {
            return Ok(Found::Unclear);
        }
        let distance = high as i32;
        Ok(Found::Value(if self.upward {
            32768 - distance
        } else {
            distance - 32769
        }))
    }

    /// Whether the adjustment, moved so far, is out of its range.
    fn is_out(&self, by: i64) -> Result<Option<bool>> {
        match semop(self.host, self.pid, self.id, &self.operations(by))? {
            Err(Errno::ERANGE) => Ok(Some(true)),
            Err(Errno::EAGAIN) => Ok(Some(false)),
            Err(Errno::EACCES | Errno::EPERM | Errno::EIDRM | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno).context(|| format!("probing semaphore {}", self.number)),
            Ok(()) => Err(Error::new(format!(
                "probing semaphore {}: what cannot succeed has succeeded",
                self.number
            ))),
        }
    }

    fn operations(&self, by: i64) -> Vec<Operation> {
        /// By so much the value can be moved for a moment, whatever it is.
        const STEP: i64 = 8192;
        let operation = |change: i64, flags: i16| Operation {
            number: self.number,
            change: change as i16,
            flags: flags | IPC_NOWAIT,
        };
        let mut operations = Vec::new();
        let mut rest = by;
        while rest > 0 {
            let step = rest.min(STEP);
            rest -= step;
            let step = if self.upward { step } else { -step };
            operations.push(operation(step, 0));
            operations.push(operation(-step, SEM_UNDO));
        }
        operations.push(operation(-MAX_VALUE, 0));
        operations.push(operation(-MAX_VALUE, 0));
        operations
    }
}

/// semop(2) in a task.
fn semop(
    host: &Host<'_>,
    pid: i32,
    id: i32,
    operations: &[Operation],
) -> Result<std::result::Result<(), Errno>> {
    let mut data = Vec::with_capacity(operations.len() * 6);
    for operation in operations {
        data.extend_from_slice(&operation.number.to_ne_bytes());
        data.extend_from_slice(&operation.change.to_ne_bytes());
        data.extend_from_slice(&operation.flags.to_ne_bytes());
    }
    let plain = |value: u64| RemoteArg {
        value,
        ..RemoteArg::default()
    };
    let args = vec![
        plain(u64::from(id.cast_unsigned())),
        RemoteArg {
            data: Some(data),
            ..RemoteArg::default()
        },
        plain(operations.len() as u64),
    ];
    let nr = libc::SYS_semop;
    let value = host.remote_call(&RemoteCall { pid, nr, args })?.value;
    Ok(match value {
        0.. => Ok(()),
        failed => Err(i32::try_from(-failed).map_or(Errno::UnknownErrno, Errno::from_raw)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_parsed() {
        let text = b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n\
             \x20-16777216     32769   600          3     0     0     0     0 1795660336 1795660336\n\
             \x20      777         0   600          1     0     0     0     0          0 1795660336\n";
        let sets = parse(text).unwrap();
        assert_eq!(sets[0].key, 0xff00_0000);
        assert_eq!((sets[0].id, sets[0].nsems, sets[0].used), (32769, 3, true));
        assert_eq!((sets[1].key, sets[1].used), (777, false));
        assert!(parse(b"\nfoo 1 2 3\n").is_err());
    }

    #[test]
    fn an_adjustment_is_taken_again() {
        let op = |change| Operation {
            number: 3,
            change,
            flags: SEM_UNDO | IPC_NOWAIT,
        };
        assert_eq!(take_again(3, 1), [op(-1)]);
        assert_eq!(take_again(3, -7), [op(7)]);
        assert_eq!(take_again(3, -32768), [op(32767), op(1)]);
    }

    #[test]
    fn a_damaged_image_is_refused() {
        let set = Set {
            key: 5,
            id: 1,
            nsems: 2,
            used: true,
        };
        let good = UndoEntry {
            pid: 1,
            id: 1,
            key: 5,
            nsems: 2,
            numbers: vec![0, 1],
            adjustments: vec![1, -1],
        };
        assert_eq!(check(&good, Some(&set)), Ok(()));
        let mut bad = good.clone();
        bad.adjustments.pop();
        assert!(check(&bad, Some(&set)).unwrap_err().message.contains("damaged"));
        assert!(
            check(&good, None)
                .unwrap_err()
                .message
                .contains("does not exist here")
        );
        bad = UndoEntry { key: 6, ..good };
        assert!(
            check(&bad, Some(&set))
                .unwrap_err()
                .message
                .contains("another set")
        );
    }
}
