//! Builds the arguments of the restorer, at the addresses where the restored process will see them.

use criu_blobs::restore::{
    Action, Array, Creds, Filter, MmMap, Move, PosixTimer, Range, Rlimit, SigInfo, Task, Thread,
};
use criu_blobs::wire::SigAction;
use criu_proto::images::{CredsEntry, ItimerEntry, SeccompFilter, SignalQueueEntry};

use super::extra;
use super::images::{Live, TaskImages, ThreadImages};
use super::own::Own;
use crate::error::{Error, Result};

/// The stack of a thread in the restorer, in bytes.
pub(crate) const STACK: u64 = 8 << 10;
/// Longest siginfo.
const SIGINFO: usize = 128;
/// `MAX_PID_NS_LEVEL`-like bound on what one array may hold, so that damaged images cost little.
const MAX_SIGNALS: usize = 1 << 16;

/// Bytes that are laid out for an address where they are not yet.
pub(crate) struct Arena {
    base: u64,
    bytes: Vec<u8>,
}

impl Arena {
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
        }
    }

    /// Appends values; returns where they will be.
    pub(crate) fn push<T: Copy>(&mut self, values: &[T]) -> Array {
        if values.is_empty() {
            return Array::default();
        }
        let start = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(start + size_of_val(values), 0);
        // SAFETY: the room was just made; `T` is plain data of the restorer's wire format.
        unsafe {
            let to = self.bytes.as_mut_ptr().add(start);
            std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), to, size_of_val(values));
        }
        Array {
            at: self.base + start as u64,
            count: values.len() as u64,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the engine found out on the way.
pub(crate) struct Prepared {
    pub(crate) shared: u64,
    pub(crate) park: Vec<Move>,
    pub(crate) unmap: Vec<Range>,
    pub(crate) moves: Vec<Move>,
    pub(crate) close: Vec<Range>,
    pub(crate) exe_fd: u32,
    /// Where the stacks of all threads are, the leader's first.
    pub(crate) stacks: u64,
    /// Threads that are there already, and where each waits.
    pub(crate) early: Vec<(i32, u64)>,
}

/// Lays out everything; returns where the [`Task`] is.
pub(crate) fn build(
    arena: &mut Arena,
    task: &TaskImages,
    live: &Live,
    filters: &[SeccompFilter],
    own: &Own,
    prepared: &Prepared,
) -> Result<u64> {
    let tc = &task.tc;
    let auxv: Vec<u64> = live.mm.mm_saved_auxv.clone();
    let auxv = arena.push(&auxv);
    let mut early = extra::early(&live.extra);
    early.extend(super::vdso::compat_call(live));
    let mut wire = Task {
        shared: prepared.shared,
        pid: task.pid.unsigned_abs(),
        personality: tc.personality,
        park: arena.push(&prepared.park),
        unmap: arena.push(&prepared.unmap),
        moves: arena.push(&prepared.moves),
        close: arena.push(&prepared.close),
        mm: mm_map(live, auxv, prepared.exe_fd),
        actions: arena.push(&actions(task)),
        rlimits: arena.push(&rlimits(task, own)),
        timers: arena.push(&timers(task)?),
        signals: signals(arena, task.pid, tc.signals_s.as_ref())?,
        itimers: itimers(task),
        dumpable: live.mm.dumpable.map_or(u32::MAX, i32::cast_unsigned),
        membarrier: tc.membarrier_registration_mask.unwrap_or(0),
        early: arena.push(&early),
        abi: live.abi.number(),
        late: arena.push(&extra::late(&live.extra)),
        ..Task::default()
    };
    // The task's own address, which its threads point back to, is known once they are laid out.
    let mut threads = Vec::with_capacity(live.threads.len());
    let shared = shared_filters(live, filters);
    wire.filters = chain(arena, &shared, filters)?;
    for (index, thread) in live.threads.iter().enumerate() {
        let mut wire = lay_out_thread(arena, task, thread, (filters, shared.len()), own)?;
        if let Some(more) = live.extra.threads.iter().find(|more| more.tid == thread.tid) {
            wire.calls = arena.push(&extra::thread(more));
            let attr = more
                .scheduling
                .as_ref()
                .map(|attr| arena.push(&extra::scheduling(attr)));
            wire.sched_attr = attr.map_or(0, |attr| attr.at);
        }
        wire.stack = prepared.stacks + (index as u64 + 1) * STACK;
        let early = prepared.early.iter().find(|(tid, _)| *tid == thread.tid);
        wire.early = early.map_or(0, |(_, at)| *at);
        threads.push(wire);
    }
    let place = arena.push(&[0u8; size_of::<Task>()]);
    for thread in &mut threads {
        thread.task = place.at;
    }
    wire.threads = arena.push(&threads);
    let start = (place.at - arena.base) as usize;
    // SAFETY: the room was made above; `Task` is plain data.
    unsafe {
        let to = arena.bytes.as_mut_ptr().add(start);
        std::ptr::copy_nonoverlapping((&raw const wire).cast::<u8>(), to, size_of::<Task>());
    }
    Ok(place.at)
}

fn mm_map(live: &Live, auxv: Array, exe_fd: u32) -> MmMap {
    let mm = &live.mm;
    MmMap {
        start_code: mm.mm_start_code,
        end_code: mm.mm_end_code,
        start_data: mm.mm_start_data,
        end_data: mm.mm_end_data,
        start_brk: mm.mm_start_brk,
        brk: mm.mm_brk,
        start_stack: mm.mm_start_stack,
        arg_start: mm.mm_arg_start,
        arg_end: mm.mm_arg_end,
        env_start: mm.mm_env_start,
        env_end: mm.mm_env_end,
        auxv: auxv.at,
        auxv_size: u32::try_from(auxv.count * 8).unwrap_or(0),
        exe_fd,
    }
}

fn actions(task: &TaskImages) -> Vec<Action> {
    // Signals 1 to 64, but those that have no action.
    let numbers = (1..=64u64).filter(|&n| n != libc::SIGKILL as u64 && n != libc::SIGSTOP as u64);
    let mut actions = Vec::with_capacity(62);
    for (signal, entry) in numbers.zip(&task.tc.sigactions) {
        let action = SigAction {
            handler: entry.sigaction,
            flags: entry.flags,
            restorer: entry.restorer,
            mask: entry.mask,
        };
        actions.push(Action { signal, action });
    }
    actions
}

/// Only those limits that differ from what the process has already.
fn rlimits(task: &TaskImages, own: &Own) -> Vec<Rlimit> {
    let wanted = task.tc.rlimits.iter().flat_map(|limits| &limits.rlimits);
    (0u64..)
        .zip(wanted)
        .filter(|(resource, limit)| own.rlimits.get(*resource as usize) != Some(&(limit.cur, limit.max)))
        .map(|(resource, limit)| Rlimit {
            resource,
            cur: limit.cur,
            max: limit.max,
        })
        .collect()
}

fn itimers(task: &TaskImages) -> [[i64; 4]; 3] {
    let spec = |timer: &ItimerEntry| {
        // A periodic one that has just fired begins its next period when its signal is taken, but only
        // if the kernel knows the period: it has to fire once more, into the signal that is pending.
        let fired = timer.vsec == 0 && timer.vusec == 0 && (timer.isec, timer.iusec) != (0, 0);
        let micros = if fired { 1 } else { timer.vusec };
        [timer.isec, timer.iusec, timer.vsec, micros].map(u64::cast_signed)
    };
    let timers = task.tc.timers.as_ref();
    timers.map_or([[0; 4]; 3], |timers| {
        [spec(&timers.real), spec(&timers.virt), spec(&timers.prof)]
    })
}

fn timers(task: &TaskImages) -> Result<Vec<PosixTimer>> {
    let entries = task.tc.timers.iter().flat_map(|timers| &timers.posix);
    let mut timers = Vec::new();
    for entry in entries {
        let id = i32::try_from(entry.it_id).map_err(|_| {
            Error::malformed(
                format!("core-{}.img", task.pid),
                format!("has a timer with id {}", entry.it_id),
            )
        })?;
        timers.push(PosixTimer {
            id,
            clock: entry.clock_id.cast_signed(),
            value: entry.sival_ptr,
            signal: entry.si_signo.cast_signed(),
            notify: entry.it_sigev_notify.cast_signed(),
            tid: entry.notify_thread_id.unwrap_or(0),
            pad: 0,
            spec: [entry.isec, entry.insec, entry.vsec, entry.vnsec].map(|value| value.cast_signed()),
        });
    }
    // Before Linux 6.15 ids can only be counted up to.
    timers.sort_by_key(|timer| timer.id);
    Ok(timers)
}

fn signals(arena: &mut Arena, tid: i32, queue: Option<&SignalQueueEntry>) -> Result<Array> {
    let mut signals = Vec::new();
    for entry in queue.into_iter().flat_map(|queue| &queue.signals) {
        let bytes = &entry.siginfo;
        let number = bytes
            .first_chunk::<4>()
            .map_or(0, |word| i32::from_le_bytes(*word));
        if bytes.len() > SIGINFO || !(1..=64).contains(&number) || signals.len() >= MAX_SIGNALS {
            let what = format!("has a pending signal of {} bytes, number {number}", bytes.len());
            return Err(Error::malformed(format!("core-{tid}.img"), what));
        }
        let mut info = [0u64; 16];
        for (word, chunk) in info.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(eight);
        }
        signals.push(SigInfo {
            signal: u64::from(number.unsigned_abs()),
            info,
        });
    }
    Ok(arena.push(&signals))
}

fn lay_out_thread(
    arena: &mut Arena,
    task: &TaskImages,
    images: &ThreadImages,
    (filters, shared): (&[SeccompFilter], usize),
    own: &Own,
) -> Result<Thread> {
    let entry = images.thread()?;
    let info = images.core.thread_info.as_ref();
    let mut wire = Thread {
        tid: images.tid.unsigned_abs(),
        clear_tid: info.map_or(0, |info| info.clear_tid_addr),
        robust: [entry.futex_rla, u64::from(entry.futex_rla_len)],
        altstack: [0, libc::SS_DISABLE as u64, 0],
        death_signal: entry.pdeath_sig.unwrap_or(0),
        no_new_privs: entry
            .creds
            .as_ref()
            .and_then(|creds| creds.no_new_privs)
            .unwrap_or(0),
        signals: signals(arena, images.tid, entry.signals_p.as_ref())?,
        ..Thread::default()
    };
    if let Some(sas) = &entry.sas {
        wire.altstack = [sas.ss_sp, u64::from(sas.ss_flags), sas.ss_size];
    }
    if let Some(rseq) = &entry.rseq_entry {
        wire.rseq = [
            rseq.rseq_abi_pointer,
            rseq.rseq_abi_size.into(),
            rseq.signature.into(),
        ];
    }
    if let Some(policy) = entry.sched_policy {
        wire.policy = policy;
        wire.priority = entry.sched_prio.unwrap_or(0);
        wire.nice = entry.sched_nice.unwrap_or(0);
        // A priority, where there is one, is set again: whoever restores may have another.
        let same = (policy, wire.nice, wire.priority) == (own.policy, own.nice, 0);
        wire.set_schedule = u32::from(!same);
    }
    let name = entry.comm.as_deref().unwrap_or(&task.tc.comm);
    let length = name.len().min(15);
    wire.name[..length].copy_from_slice(&name[..length]);
    if let Some(wanted) = entry.creds.as_ref().filter(|creds| !own.same_creds(creds)) {
        wire.creds = creds(arena, wanted, own).at;
    }
    match entry.seccomp_mode.unwrap_or(0) {
        0 => {}
        1 => wire.seccomp = 1,
        2 => {
            wire.seccomp = 2;
            let own = &order(entry.seccomp_filter, filters)[shared..];
            wire.filters = chain(arena, own, filters)?;
        }
        other => {
            let object = format!("core-{}.img", images.tid);
            return Err(Error::malformed(object, format!("has seccomp mode {other}")));
        }
    }
    Ok(wire)
}

/// The numbers of the filters of a thread, the oldest first, as they must be installed.
fn order(last: Option<u32>, filters: &[SeccompFilter]) -> Vec<u32> {
    let mut order = Vec::new();
    let mut next = last;
    // `images` has checked that the chain ends.
    while let Some(index) = next {
        order.push(index);
        next = filters.get(index as usize).and_then(|filter| filter.prev);
    }
    order.reverse();
    order
}

/// The filters that all threads of a process have in common, the oldest first.
fn shared_filters(live: &Live, filters: &[SeccompFilter]) -> Vec<u32> {
    let mut shared: Option<Vec<u32>> = None;
    if live.threads.len() < 2 {
        return Vec::new();
    }
    for thread in &live.threads {
        let entry = thread.core.thread_core.as_ref();
        let Some(entry) = entry.filter(|entry| entry.seccomp_mode == Some(2)) else {
            return Vec::new();
        };
        let own = order(entry.seccomp_filter, filters);
        let common = shared.as_ref().map_or(own.len(), |shared| {
            shared.iter().zip(&own).take_while(|(a, b)| a == b).count()
        });
        shared = Some(own[..common].to_vec());
    }
    shared.unwrap_or_default()
}

fn chain(arena: &mut Arena, order: &[u32], filters: &[SeccompFilter]) -> Result<Array> {
    let mut chain = Vec::new();
    for filter in order.iter().filter_map(|&index| filters.get(index as usize)) {
        if filter.filter.len() % 8 != 0 || filter.filter.is_empty() || filter.filter.len() > 4096 * 8 {
            let what = format!("has a filter of {} bytes", filter.filter.len());
            return Err(Error::malformed("seccomp.img", what));
        }
        let code = arena.push(&filter.filter);
        chain.push(Filter {
            length: filter.filter.len() as u64 / 8,
            code: code.at,
            flags: u64::from(filter.flags.unwrap_or(0)),
        });
    }
    Ok(arena.push(&chain))
}

fn creds(arena: &mut Arena, wanted: &CredsEntry, own: &Own) -> Array {
    let words = |words: &[u32]| {
        [
            words.first().copied().unwrap_or(0),
            words.get(1).copied().unwrap_or(0),
        ]
    };
    let bounding = words(&wanted.cap_bnd);
    let wire = Creds {
        uids: [wanted.uid, wanted.euid, wanted.suid, wanted.fsuid],
        gids: [wanted.gid, wanted.egid, wanted.sgid, wanted.fsgid],
        groups: arena.push(&wanted.groups),
        inheritable: words(&wanted.cap_inh),
        permitted: words(&wanted.cap_prm),
        effective: words(&wanted.cap_eff),
        drop: [own.bounding[0] & !bounding[0], own.bounding[1] & !bounding[1]],
        ambient: words(&wanted.cap_amb),
        securebits: wanted.secbits,
        pad: 0,
    };
    arena.push(&[wire])
}
