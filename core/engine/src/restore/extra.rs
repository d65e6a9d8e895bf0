//! Puts back what `task-extra.img` says of a process.

use std::collections::HashMap;

use criu_blobs::restore::{Needed, step};
use criu_infect::Abi;

use super::images::TaskImages;
use super::memory::World;
use super::sys;
use super::vma::Backing;
use crate::arch;
use crate::error::{Context, Error, Result};
use crate::extra::{SchedulingExtra, TASK_EXTRA, TaskExtra, ThreadExtra};

const ARCH_SET_CPUID: u64 = 0x1012;
const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
const ARCH_ENABLE_TAGGED_ADDR: u64 = 0x4002;
const PR_SET_TSC: u64 = 26;
const PR_SET_TIMERSLACK: u64 = 29;
const PR_MCE_KILL: u64 = 33;
const PR_MCE_KILL_SET: u64 = 1;
const PR_GET_SPECULATION_CTRL: i32 = 52;
const PR_SET_SPECULATION_CTRL: u64 = 53;
const PR_SPEC_PRCTL: i64 = 1;
const PR_SET_IO_FLUSHER: u64 = 57;
const PR_SET_MDWE: u64 = 65;
const PR_SET_MEMORY_MERGE: i32 = 67;
const MAX_KEY: u32 = 16;

/// Gives each process what the image says of it.
///
/// # Errors
/// The image speaks of what is not there.
pub(crate) fn attach(tasks: &mut [TaskImages], extras: Vec<TaskExtra>) -> Result<()> {
    if extras.is_empty() {
        return Ok(());
    }
    let wrong = |what: String| Err(Error::malformed(TASK_EXTRA.file_name(0), what));
    let places: HashMap<i32, usize> = tasks.iter().enumerate().map(|(i, task)| (task.pid, i)).collect();
    for extra in extras {
        let pid = extra.pid;
        let Some(&place) = places.get(&pid) else {
            return wrong(format!("has process {pid}, which pstree.img does not have"));
        };
        let task = &mut tasks[place];
        if let Some(signal) = extra.exit_signal {
            if signal > 64 {
                return wrong(format!("has signal {signal} as the end of process {pid}"));
            }
            task.exit_signal = signal;
        }
        task.dead_uid = extra.dead_uid.unwrap_or_default();
        let Some(live) = &mut task.live else { continue };
        if extra.x32 {
            if live.abi != Abi::Native {
                return wrong(format!("has process {pid} as of x32, whose actions are of ia32"));
            }
            live.abi = Abi::X32;
        }
        if let Some(status) = extra.lost_leader
            && (live.threads.len() < 2 || live.threads[0].tid != pid || status & 0xff != 0)
        {
            return wrong(format!(
                "has process {pid} without its leader, ended by {status:#x}"
            ));
        }
        for thread in &extra.threads {
            if !live.threads.iter().any(|there| there.tid == thread.tid) {
                return wrong(format!(
                    "has thread {} of process {pid}, which is not there",
                    thread.tid
                ));
            }
            if ![0, 5].contains(&thread.breakpoints.len()) {
                return wrong(format!(
                    "has {} debug registers of thread {}",
                    thread.breakpoints.len(),
                    thread.tid
                ));
            }
        }
        for range in &extra.ranges {
            let found = live.vmas.binary_search_by_key(&range.start, |vma| vma.start);
            let vma = found
                .ok()
                .map(|i| &live.vmas[i])
                .filter(|vma| vma.end == range.end);
            let Some(vma) = vma else {
                return wrong(format!(
                    "has {:#x}-{:#x} of process {pid}, which is no mapping",
                    range.start, range.end
                ));
            };
            let key = range.pkey;
            if key >= MAX_KEY || (key != 0 && matches!(vma.backing, Backing::Kind(_))) {
                return wrong(format!(
                    "has protection key {key} for {:#x}-{:#x} of process {pid}",
                    range.start, range.end
                ));
            }
        }
        live.extra = extra;
    }
    Ok(())
}

/// What mappings have beside, once all are there and filled.
///
/// # Errors
/// The kernel has no such keys.
pub(crate) fn memory(world: &World, extra: &TaskExtra) -> Result<()> {
    if let Some(keys) = extra.pkeys {
        take_keys(extra.pid, keys)?;
    }
    if extra.memory_merge {
        sys::prctl(PR_SET_MEMORY_MERGE, 1).context(|| "merging equal pages (PR_SET_MEMORY_MERGE)")?;
        for placed in &world.placed {
            if placed.vma.advice >> libc::MADV_MERGEABLE & 1 == 0 {
                // One that cannot be merged has nothing to be undone.
                let _ = sys::advise(placed.at, placed.vma.length(), libc::MADV_UNMERGEABLE);
            }
        }
    }
    for range in &extra.ranges {
        let Ok(index) = world
            .placed
            .binary_search_by_key(&range.start, |placed| placed.vma.start)
        else {
            continue;
        };
        let placed = &world.placed[index];
        let doing = |what: &str| format!("{what} the mapping {:#x}-{:#x}", range.start, range.end);
        if let Some(name) = &range.name
            && let Err(error) = sys::name_memory(placed.at, placed.vma.length(), name)
        {
            // A name is for who looks at the process; this kernel has none.
            tracing::warn!("{}: {error}", doing("naming"));
        }
        if range.pkey != 0 {
            sys::protect_with_key(placed.at, placed.vma.length(), placed.vma.protection, range.pkey)
                .context(|| doing("giving a protection key to"))?;
        }
    }
    Ok(())
}

/// Allocates these keys and no others.
fn take_keys(pid: i32, keys: u32) -> Result<()> {
    let mut taken = 1u32;
    while let Some(key) = sys::take_key().filter(|&key| key < MAX_KEY) {
        taken |= 1 << key;
    }
    // One that is not to be had is taken already: the kernel's own, of mappings that may only be executed.
    if keys & !taken != 0 && !arch::has_protection_keys() {
        return Err(Error::refused_but(
            format!("process {pid}"),
            format!("uses protection keys that this machine lacks (mask {keys:#x})"),
            "restore on a machine with protection keys",
        ));
    }
    for key in (1..MAX_KEY).filter(|key| taken >> key & 1 == 1 && keys >> key & 1 == 0) {
        sys::give_key_back(key);
    }
    Ok(())
}

fn call(nr: i64, args: &[u64], step: u32) -> Needed {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Needed {
        nr: nr.cast_unsigned(),
        args: all,
        step: step.into(),
    }
}

/// Calls of a process before it has threads.
pub(crate) fn early(extra: &TaskExtra) -> Vec<Needed> {
    let arch = |args: &[u64], step| call(libc::SYS_arch_prctl, args, step);
    let tags = extra
        .tag_bits
        .map(|bits| arch(&[ARCH_ENABLE_TAGGED_ADDR, bits.into()], step::TAGGED));
    let perm = extra.xcomp_perm.unwrap_or(0);
    let bits = (0..64u64).filter(|bit| perm >> bit & 1 == 1);
    tags.into_iter()
        .chain(bits.map(|bit| arch(&[ARCH_REQ_XCOMP_PERM, bit], step::XCOMP_PERM)))
        .collect()
}

/// Calls of a process once all is mapped.
pub(crate) fn late(extra: &TaskExtra) -> Vec<Needed> {
    let mdwe = extra
        .mdwe
        .map(|flags| call(libc::SYS_prctl, &[PR_SET_MDWE, flags.into()], step::MDWE));
    let lock = extra
        .lock_future
        .map(|flags| call(libc::SYS_mlockall, &[flags.into()], step::LOCK_FUTURE));
    mdwe.into_iter().chain(lock).collect()
}

/// Calls of a thread.
pub(crate) fn thread(extra: &ThreadExtra) -> Vec<Needed> {
    let prctl = |args: &[u64], step| call(libc::SYS_prctl, args, step);
    let mut calls = Vec::new();
    if let Some(slack) = extra.timer_slack {
        calls.push(prctl(&[PR_SET_TIMERSLACK, slack], step::TIMER_SLACK));
    }
    if let Some(policy) = extra.mce_kill {
        calls.push(prctl(
            &[PR_MCE_KILL, PR_MCE_KILL_SET, policy.into()],
            step::MCE_KILL,
        ));
    }
    if extra.io_flusher {
        calls.push(prctl(&[PR_SET_IO_FLUSHER, 1], step::IO_FLUSHER));
    }
    for control in &extra.speculation {
        // A processor that cannot be controlled (any more) is one that need not be.
        let here = sys::prctl(PR_GET_SPECULATION_CTRL, control.which.into()).unwrap_or(0);
        if here & PR_SPEC_PRCTL != 0 {
            let args = [
                PR_SET_SPECULATION_CTRL,
                control.which.into(),
                control.control.into(),
            ];
            calls.push(prctl(&args, step::SPECULATION));
        }
    }
    if let Some(tsc) = extra.tsc {
        calls.push(prctl(&[PR_SET_TSC, tsc.into()], step::TSC));
    }
    if extra.cpuid_faults {
        calls.push(call(libc::SYS_arch_prctl, &[ARCH_SET_CPUID, 0], step::CPUID));
    }
    calls
}

/// `struct sched_attr` of a thread, in words.
pub(crate) fn scheduling(extra: &SchedulingExtra) -> [u64; 7] {
    const SIZE: u64 = 56;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    [
        SIZE | u64::from(extra.policy) << 32,
        extra.flags,
        pair(extra.nice.cast_unsigned(), extra.priority),
        extra.runtime,
        extra.deadline,
        extra.period,
        pair(extra.util_min, extra.util_max),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extra::SpeculationExtra;

    #[test]
    fn attributes_as_the_kernel_wants_them() {
        let words = scheduling(&SchedulingExtra {
            policy: 6,
            flags: 1,
            nice: -1,
            priority: 2,
            runtime: 3,
            deadline: 4,
            period: 5,
            util_min: 6,
            util_max: 7,
        });
        assert_eq!(words, [56 | 6 << 32, 1, 0x2_ffff_ffff, 3, 4, 5, 6 | 7 << 32]);
    }

    #[test]
    fn a_plain_process_needs_no_calls() {
        let extra = TaskExtra::default();
        assert_eq!((early(&extra), late(&extra)), (Vec::new(), Vec::new()));
        assert_eq!(thread(&ThreadExtra::default()), []);
        let unknown = ThreadExtra {
            speculation: vec![SpeculationExtra {
                which: 77,
                control: 4,
            }],
            ..ThreadExtra::default()
        };
        assert_eq!(thread(&unknown), []);
    }

    #[test]
    fn what_is_not_there_is_found_out() {
        let extra = TaskExtra {
            pid: 5,
            ..TaskExtra::default()
        };
        assert!(attach(&mut [], vec![extra]).is_err());
    }
}
