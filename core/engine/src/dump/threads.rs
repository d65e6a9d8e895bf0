//! The state of threads: `core-TID.img`.

use criu_infect::{Abi, Queue, SigInfo, ThreadInfo, ThreadState, Tracee};
use criu_proto::images::core_entry::March;
use criu_proto::images::{
    CoreEntry, CredsEntry, RseqEntry, SiginfoEntry, SignalQueueEntry, ThreadCoreEntry, ThreadInfoX86,
    ThreadSasEntry, UserDescT, UserX86CetEntry,
};
use criu_proto::magic;

use super::context::Context as Dump;
use super::extra;
use super::landlock;
use super::scheduling::Scheduling;
use super::seccomp::Seccomp;
use super::task::{CG_SET, Subject, refuse_death_signal};
use crate::arch;
use crate::error::{Context, Error, Result};
use crate::extra::ThreadExtra;
use crate::lsm::Labels;
use crate::parallel;
use crate::proc::Status;

/// A thread is worth starting for so many threads of a process.
const WORTH: usize = 16;
/// Size of `struct robust_list_head`, see get_robust_list(2).
pub(crate) const ROBUST_LIST_HEAD: u32 = 24;
/// The same of a program with pointers of 32 bits.
const COMPAT_ROBUST_LIST_HEAD: u32 = 12;

/// Writes the `core-TID.img` of each further thread.
///
/// # Errors
/// Something of their state cannot be read or saved.
pub(crate) fn dump(
    dump: &Dump,
    subject: &Subject<'_>,
    threads: &[Tracee],
    states: &[ThreadState],
    seccomp: &Seccomp,
) -> Result<Vec<ThreadExtra>> {
    let named = |tid: i32| move || format!("dumping thread {tid} of process {}", subject.pid);
    let mut work = Vec::with_capacity(threads.len());
    let statuses = subject.facts.statuses.iter().skip(1);
    for ((tracee, state), status) in threads.iter().zip(states).zip(statuses) {
        let traced = refuse_death_signal(dump, subject, &state.info)
            .and_then(|()| Traced::of(tracee, state, status, seccomp))
            .context(named(tracee.tid()));
        if let Some(traced) = dump.blockers.note(traced)? {
            work.push((tracee.tid(), state, traced, status));
        }
    }
    let images = &dump.images;
    let save = |(tid, state, traced, status): &(i32, &ThreadState, Traced, &Status)| -> Result<ThreadExtra> {
        let (mut core, extra) = core(subject, *tid, state, traced.clone(), status)?;
        subject.add_fields(*tid, &mut core)?;
        images.write_one(&magic::CORE, tid.cast_unsigned().into(), &core)?;
        Ok(extra)
    };
    let saved = parallel::map(&work, WORTH, |one| save(one).context(named(one.0)));
    let mut extras = Vec::with_capacity(saved.len());
    for extra in saved {
        extras.extend(dump.blockers.note(extra)?);
    }
    Ok(extras)
}

/// What only its tracer can find out about a thread.
#[derive(Debug, Clone)]
pub(crate) struct Traced {
    signals: SignalQueueEntry,
    segments: Vec<UserDescT>,
    breakpoints: Option<[u64; 5]>,
    /// The seccomp filter that it ends with.
    filter: Option<u32>,
}

impl Traced {
    /// Of a stopped thread.
    ///
    /// # Errors
    /// The kernel will not tell.
    pub(crate) fn of(
        tracee: &Tracee,
        state: &ThreadState,
        status: &Status,
        seccomp: &Seccomp,
    ) -> Result<Self> {
        let tid = tracee.tid();
        Ok(Self {
            signals: queue(tracee, Queue::Thread, state.traps.clone(), status.pending)?,
            segments: arch::thread_areas(tid, state.info.thread_areas)?,
            breakpoints: tracee.breakpoints()?,
            filter: seccomp.of(tid),
        })
    }
}

/// What every thread has.
///
/// # Errors
/// Something of its state cannot be read or saved.
pub(crate) fn core(
    subject: &Subject<'_>,
    tid: i32,
    state: &ThreadState,
    traced: Traced,
    status: &Status,
) -> Result<(CoreEntry, ThreadExtra)> {
    let pid = subject.pid;
    landlock::check(pid, tid, &state.info)?;
    let mut scheduling = Scheduling::of(tid)?;
    let robust_list = robust_list(tid, subject.abi)?;
    let io_flusher = extra::io_flusher(pid, tid, &state.info)?;
    let extra = extra::thread(
        tid,
        state,
        status,
        &mut scheduling,
        io_flusher,
        traced.breakpoints,
    );
    let mut vector = arch::vector_registers(tid, &state.xstate)?;
    if let (Some(ssp), Some(xsave)) = (state.shadow, &mut vector.xsave) {
        let cet = status.shadow_stack;
        xsave.cet = Some(UserX86CetEntry { cet, ssp });
    }
    let info = &state.info;
    let thread = ThreadCoreEntry {
        futex_rla: robust_list,
        futex_rla_len: match subject.abi {
            Abi::Native => ROBUST_LIST_HEAD,
            Abi::Ia32 | Abi::X32 => COMPAT_ROBUST_LIST_HEAD,
        },
        sched_nice: Some(scheduling.nice),
        sched_policy: Some(scheduling.policy),
        sched_prio: (scheduling.priority != 0).then_some(scheduling.priority),
        blk_sigset: Some(state.sigmask),
        sas: Some(ThreadSasEntry {
            ss_sp: info.altstack[0],
            ss_flags: info.altstack[1] as u32,
            ss_size: info.altstack[2],
        }),
        pdeath_sig: u32::try_from(info.pdeathsig).ok().filter(|&signal| signal != 0),
        signals_p: Some(traced.signals),
        creds: Some(credentials(status, info, Labels::of(subject.lsm, pid, tid)?)),
        seccomp_mode: (status.seccomp != 0).then_some(status.seccomp.cast_signed()),
        seccomp_filter: traced.filter,
        comm: Some(status.name.clone()),
        rseq_entry: rseq(state),
        cg_set: Some(CG_SET),
        ..ThreadCoreEntry::default()
    };
    let core = CoreEntry {
        mtype: March::X8664 as i32,
        thread_info: Some(ThreadInfoX86 {
            clear_tid_addr: info.tid_address,
            gpregs: arch::general_registers(&state.regs),
            fpregs: vector,
            tls: traced.segments,
        }),
        thread_core: Some(thread),
        ..CoreEntry::default()
    };
    Ok((core, extra))
}

fn rseq(state: &ThreadState) -> Option<RseqEntry> {
    let (config, section) = state.rseq?;
    Some(RseqEntry {
        rseq_abi_pointer: config.address,
        rseq_abi_size: config.size,
        signature: config.signature,
        // A thread that stands in a critical section is sent to its abort handler by the restore, for which the
        // section must be known.
        rseq_cs_pointer: (section != 0).then_some(section),
    })
}

fn credentials(status: &Status, info: &ThreadInfo, labels: Labels) -> CredsEntry {
    let creds = &status.credentials;
    let halves = |set: u64| vec![set as u32, (set >> 32) as u32];
    CredsEntry {
        uid: creds.uids[0],
        euid: creds.uids[1],
        suid: creds.uids[2],
        fsuid: creds.uids[3],
        gid: creds.gids[0],
        egid: creds.gids[1],
        sgid: creds.gids[2],
        fsgid: creds.gids[3],
        cap_inh: halves(creds.cap_inh),
        cap_prm: halves(creds.cap_prm),
        cap_eff: halves(creds.cap_eff),
        cap_bnd: halves(creds.cap_bnd),
        cap_amb: halves(creds.cap_amb),
        secbits: info.securebits as u32,
        groups: creds.groups.clone(),
        no_new_privs: creds.no_new_privs.then_some(1),
        lsm_profile: labels.profile,
        lsm_sockcreate: labels.sockcreate,
        ..CredsEntry::default()
    }
}

/// The pending signals of a queue, with those `held` that the parasite was given. Of one that was sent when the sender had no more room for it
/// (`RLIMIT_SIGPENDING`) the kernel knows the number alone, and hands it out as sent by nobody.
pub(crate) fn queue(
    tracee: &Tracee,
    which: Queue,
    held: Vec<SigInfo>,
    mask: u64,
) -> Result<SignalQueueEntry> {
    let mut signals = held;
    signals.extend(tracee.pending(which)?);
    let known = signals.iter().fold(0u64, |known, info| {
        known | 1 << (u32::from(info[0]).saturating_sub(1) & 63)
    });
    for signal in (1..=64u8).filter(|signal| (mask & !known) >> (signal - 1) & 1 == 1) {
        let mut info = [0; 128];
        info[0] = signal;
        signals.push(info);
    }
    let signals = signals
        .iter()
        .map(|info| SiginfoEntry {
            siginfo: info.to_vec(),
        })
        .collect();
    Ok(SignalQueueEntry { signals })
}

fn robust_list(tid: i32, abi: Abi) -> Result<u64> {
    match abi {
        Abi::Native => {}
        Abi::Ia32 => return arch::compat_robust_list(tid),
        Abi::X32 => return arch::x32_robust_list(tid),
    }
    let (mut head, mut len) = (0u64, 0usize);
    // SAFETY: get_robust_list writes a pointer and a size to the two addresses given.
    let ret = unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) };
    if ret < 0 {
        return Err(Error::last_os(format!(
            "reading the robust futex list of thread {tid}"
        )));
    }
    Ok(head)
}
