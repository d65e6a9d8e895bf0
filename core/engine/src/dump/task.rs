//! The state of a process and of its threads: `core-TID.img`, `mm-PID.img`, `fs-PID.img`.

use std::collections::HashMap;

use criu_infect::{Abi, Infected, ProcessInfo, Queue, ThreadInfo};
use criu_proto::images::core_entry::March;
use criu_proto::images::{
    CoreEntry, FsEntry, ItimerEntry, MmEntry, PosixTimerEntry, SaEntry, SignalQueueEntry, TaskCoreEntry,
    TaskKobjIdsEntry, TaskRlimitsEntry, TaskTimersEntry, ThreadCoreEntry, ThreadInfoX86, UserX86RegsEntry,
    VmaEntry,
};
use criu_proto::{Message, magic};

use super::context::Context as Dump;
use super::extra;
use super::facts::Facts;
use super::seccomp::Seccomp;
use super::threads::{self, ROBUST_LIST_HEAD, Traced, queue};
use crate::error::{Error, Result};
use crate::extra::{TaskExtra, ThreadExtra};
use crate::lsm::Module;
use crate::proc::{Stat, Status};
use crate::seize::State;

/// `task_core_entry.task_state`.
mod task_state {
    pub(super) const ALIVE: u32 = 1;
    pub(super) const DEAD: u32 = 2;
    pub(super) const STOPPED: u32 = 3;
}

/// The one set of control groups that all tasks are in, as far as the core knows; a kind that saves
/// membership overrides it.
pub(crate) const CG_SET: u32 = 1;
/// The image of a zombie: its name and how it ended.
///
/// # Errors
/// It is gone, or the image cannot be written.
pub(crate) fn dump_zombie(dump: &Dump, pid: i32, exit_code: u32, stat: &Stat) -> Result<()> {
    let status = Status::read(pid, pid, &mut Vec::new())?;
    dump.add_extra(TaskExtra {
        pid,
        exit_signal: extra::exit_signal(stat),
        dead_uid: Some(status.credentials.uids[0]).filter(|&uid| uid != 0),
        ..TaskExtra::default()
    });
    let core = CoreEntry {
        mtype: March::X8664 as i32,
        tc: Some(TaskCoreEntry {
            task_state: task_state::DEAD,
            exit_code,
            comm: status.name,
            ..TaskCoreEntry::default()
        }),
        ..CoreEntry::default()
    };
    dump.write(&magic::CORE, pid.cast_unsigned().into(), core)
}

/// A process in the middle of its dump.
pub(crate) struct Subject<'a> {
    pub(crate) pid: i32,
    pub(crate) stat: &'a Stat,
    pub(crate) state: State,
    /// Whether its leader has ended before the others.
    pub(crate) lost: bool,
    pub(crate) info: &'a ProcessInfo,
    /// Which calls its program makes.
    pub(crate) abi: Abi,
    pub(crate) facts: &'a Facts,
    /// The security module whose labels are saved.
    pub(crate) lsm: Option<Module>,
    /// Fields of `core_entry` that kinds added, by thread.
    pub(crate) fields: &'a HashMap<i32, Vec<u8>>,
}

impl Subject<'_> {
    /// Adds what kinds have to say of a thread.
    pub(crate) fn add_fields(&self, tid: i32, core: &mut CoreEntry) -> Result<()> {
        let Some(fields) = self.fields.get(&tid) else {
            return Ok(());
        };
        core.merge(fields.as_slice())
            .map_err(|e| Error::malformed(format!("what kinds added to thread {tid}"), e.to_string()))
    }
}

/// Writes the leader's `core-PID.img`, with the fields that kinds add.
///
/// # Errors
/// Something of its state cannot be read or saved.
pub(crate) fn dump_leader(
    dump: &Dump,
    subject: &Subject<'_>,
    infected: &mut Infected,
    seccomp: &Seccomp,
) -> Result<ThreadExtra> {
    let pid = subject.pid;
    let thread = infected.leader()?;
    let status = subject
        .facts
        .statuses
        .first()
        .ok_or_else(|| Error::malformed(format!("process {pid}"), "has no status"))?;
    refuse_death_signal(dump, subject, &thread.info)?;
    let traced = Traced::of(infected.tracee(), &thread, status, seccomp)?;
    let tid = infected.tracee().tid();
    let (mut core, extra) = threads::core(subject, tid, &thread, traced, status)?;
    core.tc = Some(TaskCoreEntry {
        task_state: if matches!(subject.state, State::Stopped(_)) {
            task_state::STOPPED
        } else {
            task_state::ALIVE
        },
        exit_code: 0,
        personality: subject.facts.personality,
        flags: subject.stat.flags,
        blk_sigset: thread.sigmask,
        comm: status.name.clone(),
        timers: Some(timers(pid, subject, infected)?),
        rlimits: Some(TaskRlimitsEntry {
            rlimits: subject.facts.limits.clone(),
        }),
        signals_s: Some(queue(
            infected.tracee(),
            Queue::Process,
            infected.traps(),
            status.shared_pending,
        )?),
        loginuid: subject.facts.loginuid,
        oom_score_adj: Some(subject.facts.oom_score_adj),
        sigactions: actions(subject.info, subject.abi),
        child_subreaper: Some(checked(subject.info.child_subreaper, "PR_GET_CHILD_SUBREAPER", pid)? != 0),
        stop_signo: match subject.state {
            State::Stopped(signal) => Some(signal.cast_unsigned()),
            _ => None,
        },
        membarrier_registration_mask: u32::try_from(subject.info.membarrier)
            .ok()
            .filter(|&mask| mask != 0),
        ..TaskCoreEntry::default()
    });
    if subject.lost {
        let (tid, tc) = (infected.tracee().tid(), core.tc.take());
        let leader = lost_leader(pid, &core, tc)?;
        subject.add_fields(tid, &mut core)?;
        dump.write(&magic::CORE, tid.cast_unsigned().into(), core)?;
        core = leader;
    }
    if let Some(thread_core) = &mut core.thread_core {
        // The leader's mask stands in the task's part.
        thread_core.blk_sigset = None;
    }
    subject.add_fields(pid, &mut core)?;
    dump.write(&magic::CORE, pid.cast_unsigned().into(), core)?;
    Ok(extra)
}

/// A restored leader ends when its children are there: that would be told to them.
pub(crate) fn refuse_death_signal(dump: &Dump, subject: &Subject<'_>, info: &ThreadInfo) -> Result<()> {
    let parent = dump.task(subject.stat.ppid);
    let lost = parent.is_some_and(|parent| !parent.dead && !parent.threads.contains(&parent.pid));
    if !lost || info.pdeathsig <= 0 {
        return Ok(());
    }
    Err(Error::refused(
        format!("process {}", subject.pid),
        format!(
            "asks for a signal at the end of its parent {} (PR_SET_PDEATHSIG), which has lost its leading thread: \
             not supported together",
            subject.stat.ppid
        ),
    ))
}

/// The image of a leader that has ended before the others: of a thread's own it has its name and the credentials of the
/// first of those. Who takes it for one that lives goes on at address 0.
fn lost_leader(pid: i32, first: &CoreEntry, tc: Option<TaskCoreEntry>) -> Result<CoreEntry> {
    let name = Status::read(pid, pid, &mut Vec::new())?.name;
    let info = first.thread_info.as_ref().map(|info| ThreadInfoX86 {
        gpregs: UserX86RegsEntry {
            cs: info.gpregs.cs,
            ss: info.gpregs.ss,
            mode: info.gpregs.mode,
            ..UserX86RegsEntry::default()
        },
        fpregs: info.fpregs.clone(),
        ..ThreadInfoX86::default()
    });
    let credentials = first.thread_core.as_ref().and_then(|thread| thread.creds.clone());
    Ok(CoreEntry {
        tc: tc.map(|tc| TaskCoreEntry {
            comm: name.clone(),
            ..tc
        }),
        thread_info: info,
        thread_core: Some(ThreadCoreEntry {
            futex_rla_len: ROBUST_LIST_HEAD,
            creds: credentials,
            comm: Some(name),
            signals_p: Some(SignalQueueEntry::default()),
            cg_set: Some(CG_SET),
            ..ThreadCoreEntry::default()
        }),
        ..first.clone()
    })
}

/// The actions of all signals but SIGKILL and SIGSTOP, which have none.
fn actions(info: &ProcessInfo, abi: Abi) -> Vec<SaEntry> {
    (1..=64)
        .zip(&info.actions)
        .filter(|(signal, _)| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
        .map(|(_, action)| SaEntry {
            sigaction: action.handler,
            flags: action.flags,
            restorer: action.restorer,
            mask: action.mask,
            compat_sigaction: Some(abi == Abi::Ia32),
            mask_extended: None,
        })
        .collect()
}

fn timers(pid: i32, subject: &Subject<'_>, infected: &mut Infected) -> Result<TaskTimersEntry> {
    let info = subject.info;
    let interval = |which: usize| -> ItimerEntry {
        let [isec, iusec, vsec, vusec] = info.itimers[which].map(i64::cast_unsigned);
        ItimerEntry {
            isec,
            iusec,
            vsec,
            vusec,
        }
    };
    Ok(TaskTimersEntry {
        real: interval(0),
        virt: interval(1),
        prof: interval(2),
        posix: posix_timers(pid, &subject.facts.timers, infected)?,
    })
}

/// The POSIX timers: what they are from `/proc/PID/timers` (CONFIG_CHECKPOINT_RESTORE), how they stand
/// from the process itself.
fn posix_timers(pid: i32, text: &[u8], infected: &mut Infected) -> Result<Vec<PosixTimerEntry>> {
    let mut timers = parse_timers(text)
        .ok_or_else(|| Error::malformed(format!("/proc/{pid}/timers"), "does not parse"))?;
    if timers.is_empty() {
        return Ok(timers);
    }
    let ids: Vec<i32> = timers.iter().map(|timer| timer.it_id.cast_signed()).collect();
    for (timer, state) in timers.iter_mut().zip(infected.timers(&ids)?) {
        checked(state.error, "timer_gettime", pid)?;
        let [isec, insec, vsec, vnsec] = state.spec.map(i64::cast_unsigned);
        (timer.isec, timer.insec, timer.vsec, timer.vnsec) = (isec, insec, vsec, vnsec);
        timer.overrun = u32::try_from(state.overrun).unwrap_or(0);
    }
    Ok(timers)
}

fn parse_timers(text: &[u8]) -> Option<Vec<PosixTimerEntry>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut timers: Vec<PosixTimerEntry> = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once(": ")?;
        if key == "ID" {
            timers.push(PosixTimerEntry {
                it_id: value.parse().ok()?,
                ..PosixTimerEntry::default()
            });
            continue;
        }
        let timer = timers.last_mut()?;
        match key {
            "signal" => {
                let (signal, pointer) = value.split_once('/')?;
                timer.si_signo = signal.parse().ok()?;
                timer.sival_ptr = u64::from_str_radix(pointer, 16).ok()?;
            }
            "notify" => {
                let (how, whom) = value.split_once('/')?;
                let (target, id) = whom.split_once('.')?;
                timer.it_sigev_notify = match how {
                    "signal" => libc::SIGEV_SIGNAL,
                    "none" => libc::SIGEV_NONE,
                    "thread" => libc::SIGEV_THREAD,
                    _ => return None,
                }
                .cast_unsigned();
                if target == "tid" {
                    timer.it_sigev_notify |= libc::SIGEV_THREAD_ID.cast_unsigned();
                    timer.notify_thread_id = Some(id.parse().ok()?);
                }
            }
            "ClockID" => timer.clock_id = value.parse::<i32>().ok()?.cast_unsigned(),
            _ => {}
        }
    }
    Some(timers)
}

/// A result of a call that the parasite made.
fn checked(value: i64, call: &str, pid: i32) -> Result<i64> {
    if value >= 0 {
        return Ok(value);
    }
    let source = std::io::Error::from_raw_os_error(i32::try_from(-value).unwrap_or(libc::EINVAL));
    Err(Error::Io {
        action: format!("asking process {pid} by {call}"),
        source,
    })
}

/// What is to be written as `mm-PID.img`, the guard ranges aside.
///
/// # Errors
/// The process could not tell, or what kinds added does not fit.
pub(crate) fn mm_entry(
    subject: &Subject<'_>,
    exe: u32,
    entries: Vec<VmaEntry>,
    kinds_fields: &[u8],
) -> Result<MmEntry> {
    let (pid, stat) = (subject.pid, subject.stat);
    let mut words: Vec<u64> = subject
        .facts
        .auxv
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(std::array::from_fn(|i| bytes[i])))
        .collect();
    // The end marker is not part of the image.
    while words.len() >= 2 && words[words.len() - 2] == 0 {
        words.truncate(words.len() - 2);
    }
    let mut mm = MmEntry {
        mm_start_code: stat.start_code,
        mm_end_code: stat.end_code,
        mm_start_data: stat.start_data,
        mm_end_data: stat.end_data,
        mm_start_stack: stat.start_stack,
        mm_start_brk: stat.start_brk,
        mm_brk: checked(subject.info.brk, "brk", pid)?.cast_unsigned(),
        mm_arg_start: stat.arg_start,
        mm_arg_end: stat.arg_end,
        mm_env_start: stat.env_start,
        mm_env_end: stat.env_end,
        exe_file_id: exe,
        mm_saved_auxv: words,
        vmas: entries,
        dumpable: Some(i32::try_from(checked(subject.info.dumpable, "PR_GET_DUMPABLE", pid)?).unwrap_or(0)),
        aios: Vec::new(),
        thp_disabled: Some(subject.info.thp_disable > 0),
    };
    mm.merge(kinds_fields).map_err(|e| {
        Error::malformed(
            format!("what kinds added to the memory of process {pid}"),
            e.to_string(),
        )
    })?;
    Ok(mm)
}

/// Writes `fs-PID.img` and `ids-PID.img`.
///
/// # Errors
/// A directory cannot be saved, or an image cannot be written.
pub(crate) fn dump_fs(dump: &Dump, pid: i32, ids: &TaskKobjIdsEntry, umask: u32) -> Result<()> {
    use criu_plugin_api::message::Purpose;
    let eye = dump.eye(pid);
    let cwd = dump
        .files
        .path(dump, pid, &format!("/proc/{eye}/cwd"), Purpose::Cwd);
    let root = dump
        .files
        .path(dump, pid, &format!("/proc/{eye}/root"), Purpose::Root);
    let (Some(cwd), Some(root)) = (dump.blockers.note(cwd)?, dump.blockers.note(root)?) else {
        return Ok(());
    };
    let fs = FsEntry {
        cwd_id: cwd.id,
        root_id: root.id,
        umask: Some(umask),
    };
    dump.write(&magic::FS, pid.cast_unsigned().into(), fs)?;
    dump.write(&magic::IDS, pid.cast_unsigned().into(), *ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_timers() {
        let text = b"ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/tid.2634\nClockID: 0\n\
            ID: 7\nsignal: 12/0\nnotify: none/pid.2634\nClockID: -6\n";
        let timers = parse_timers(text).unwrap();
        assert_eq!(
            (timers[0].it_id, timers[0].si_signo, timers[0].sival_ptr),
            (1, 60, 0x7fff_86e4_52a8)
        );
        assert_eq!(
            (timers[0].it_sigev_notify, timers[0].notify_thread_id),
            (4, Some(2634))
        );
        assert_eq!((timers[1].it_sigev_notify, timers[1].notify_thread_id), (1, None));
        assert_eq!(timers[1].clock_id.cast_signed(), -6);
        assert!(parse_timers(b"signal: 1/2\n").is_none());
        assert_eq!(parse_timers(b"").unwrap(), []);
    }
}
