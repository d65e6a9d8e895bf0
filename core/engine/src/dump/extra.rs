//! What `task-extra.img` says of a process and its threads.

use criu_infect::{ProcessInfo, ThreadInfo, ThreadState};

use super::scheduling::Scheduling;
use crate::arch;
use crate::error::{Error, Result};
use crate::extra::{DispatchExtra, RangeExtra, SpeculationExtra, TaskExtra, ThreadExtra};
use crate::proc::{Mapping, Stat, Status};

/// Flag of `PR_SET_THP_DISABLE` in what `PR_GET_THP_DISABLE` tells: the rest are its flags.
const THP_DISABLED: i64 = 1;
const SPEC_PRCTL: i64 = 1;
/// `PR_SPEC_DISABLE`, `PR_SPEC_FORCE_DISABLE`, `PR_SPEC_DISABLE_NOEXEC`.
const SPEC_RESTRICTED: i64 = 4 | 8 | 16;
/// `PR_SPEC_L1D_FLUSH`, which is off by default: here `PR_SPEC_ENABLE` is what has been asked for.
const L1D_FLUSH: usize = 2;
const SPEC_ENABLE: i64 = 2;
const TSC_ENABLE: i64 = 1;
const MCE_KILL_DEFAULT: i64 = 2;
/// Nanoseconds, of who has not asked for another; real-time tasks have none.
const TIMER_SLACK: u64 = 50_000;
/// `PF_MEMALLOC_NOIO` and `PF_LOCAL_THROTTLE`, which `PR_SET_IO_FLUSHER` sets.
const IO_FLUSHER: u32 = 0x0018_0000;

/// What a process has beside its threads and mappings.
///
/// # Errors
/// It has state that cannot be saved.
pub(crate) fn process(pid: i32, stat: &Stat, status: &Status, info: &ProcessInfo) -> Result<TaskExtra> {
    if info.ldt > 0 {
        return Err(Error::refused_but(
            format!("process {pid}"),
            "has a local descriptor table (modify_ldt), which is not supported",
            "end what emulates another system in it",
        ));
    }
    let positive = |value: i64| u32::try_from(value).ok().filter(|&value| value != 0);
    Ok(TaskExtra {
        pid,
        lost_leader: None,
        x32: false,
        exit_signal: exit_signal(stat),
        mdwe: positive(info.mdwe),
        thp_flags: positive(info.thp_disable & !THP_DISABLED).filter(|_| info.thp_disable > 0),
        memory_merge: info.memory_merge > 0,
        lock_future: None,
        // Key 0 is everyone's.
        pkeys: arch::has_protection_keys()
            .then(|| positive(info.pkeys & 0xfffe))
            .flatten(),
        tag_bits: tag_bits(status.untag_mask),
        xcomp_perm: u64::try_from(info.xcomp_perm)
            .ok()
            .map(|perm| perm & !arch::common_state())
            .filter(|&perm| perm != 0),
        ranges: Vec::new(),
        threads: Vec::new(),
        dead_uid: None,
    })
}

/// The signal that a process ends with, if it is not the usual one.
pub(crate) fn exit_signal(stat: &Stat) -> Option<u32> {
    u32::try_from(stat.exit_signal)
        .ok()
        .filter(|&signal| signal != libc::SIGCHLD.cast_unsigned())
}

/// `ARCH_ENABLE_TAGGED_ADDR` takes the number of bits that the mask leaves out.
fn tag_bits(mask: u64) -> Option<u32> {
    let bits = mask.count_zeros();
    (bits != 0).then_some(bits)
}

/// `mlockall(2)` with `MCL_FUTURE` shows in mappings that are made later, such as the parasite's.
pub(crate) fn lock_future(parasite: &Mapping) -> Option<u32> {
    if parasite.flags.has("lf") {
        Some((libc::MCL_FUTURE | libc::MCL_ONFAULT).cast_unsigned())
    } else if parasite.flags.has("lo") {
        Some(libc::MCL_FUTURE.cast_unsigned())
    } else {
        None
    }
}

/// What a mapping of the process's own has.
pub(crate) fn range(mapping: &Mapping) -> Option<RangeExtra> {
    let given = |prefix: &[u8]| mapping.name.strip_prefix(prefix);
    let name = given(b"[anon:")
        .or_else(|| given(b"[anon_shmem:"))
        .and_then(|name| name.strip_suffix(b"]"));
    let sealed = mapping.flags.has("sl");
    // What may only be executed has a key that the kernel gives by itself, and nobody else may.
    let execute_only = mapping.prot == libc::PROT_EXEC.cast_unsigned();
    let pkey = if execute_only { 0 } else { mapping.pkey };
    (sealed || pkey != 0 || name.is_some()).then(|| RangeExtra {
        start: mapping.start,
        end: mapping.end,
        sealed,
        pkey,
        name: name.map(<[u8]>::to_vec),
    })
}

/// What a thread has.
pub(crate) fn thread(
    tid: i32,
    state: &ThreadState,
    status: &Status,
    scheduling: &mut Scheduling,
    io_flusher: bool,
    breakpoints: Option<[u64; 5]>,
) -> ThreadExtra {
    let info = &state.info;
    ThreadExtra {
        tid,
        scheduling: scheduling.extra.take(),
        dispatch: state.dispatch.map(|dispatch| DispatchExtra {
            mode: dispatch.mode,
            selector: dispatch.selector,
            offset: dispatch.offset,
            len: dispatch.len,
        }),
        tsc: u32::try_from(info.tsc)
            .ok()
            .filter(|&tsc| i64::from(tsc) != TSC_ENABLE),
        cpuid_faults: info.cpuid == 0,
        mce_kill: u32::try_from(info.mce_kill)
            .ok()
            .filter(|&policy| i64::from(policy) != MCE_KILL_DEFAULT),
        io_flusher,
        speculation: speculation(info),
        breakpoints: breakpoints.map(|all| all.to_vec()).unwrap_or_default(),
        shadow_stack_locked: status.shadow_stack_locked,
        timer_slack: u64::try_from(info.timerslack)
            .ok()
            .filter(|&slack| slack != TIMER_SLACK && slack != 0),
    }
}

/// Whether a thread has asked for `PR_SET_IO_FLUSHER`: without the right to ask, the flags of the kernel tell.
///
/// # Errors
/// The thread is gone.
pub(crate) fn io_flusher(pid: i32, tid: i32, info: &ThreadInfo) -> Result<bool> {
    if info.io_flusher >= 0 {
        return Ok(info.io_flusher == 1);
    }
    if info.io_flusher != i64::from(-libc::EPERM) {
        return Ok(false);
    }
    let flags = Stat::read_thread(pid, tid)?.flags;
    Ok(flags & IO_FLUSHER == IO_FLUSHER)
}

fn speculation(info: &ThreadInfo) -> Vec<SpeculationExtra> {
    (0..)
        .zip(info.speculation)
        .filter(|&(which, control)| {
            let set = if which == L1D_FLUSH {
                SPEC_ENABLE
            } else {
                SPEC_RESTRICTED
            };
            control > 0 && control & SPEC_PRCTL != 0 && control & set != 0
        })
        .map(|(which, control)| SpeculationExtra {
            which: which as u32,
            control: (control & !SPEC_PRCTL) as u32,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_tagged_addresses() {
        assert_eq!(tag_bits(u64::MAX), None);
        assert_eq!(tag_bits(!(0x3f << 57)), Some(6));
    }

    #[test]
    fn speculation_that_was_restricted() {
        let info = ThreadInfo {
            speculation: [1 | 4, 1 | 2, -19],
            ..ThreadInfo::default()
        };
        let found = speculation(&info);
        assert_eq!(found, [SpeculationExtra { which: 0, control: 4 }]);
    }

    #[test]
    fn the_usual_signal_is_not_said() {
        let of = |exit_signal| {
            super::exit_signal(&Stat {
                exit_signal,
                ..Stat::default()
            })
        };
        assert_eq!(
            (of(libc::SIGCHLD), of(0), of(10), of(-1)),
            (None, Some(0), Some(10), None)
        );
    }
}
