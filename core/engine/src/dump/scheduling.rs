//! How a thread is scheduled: what the format holds, and what it does not.

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::extra::SchedulingExtra;

/// As `thread_core_entry` has it.
pub(crate) struct Scheduling {
    pub(crate) policy: u32,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    /// Everything, where the three are not enough.
    pub(crate) extra: Option<SchedulingExtra>,
}

/// `struct sched_attr`, see sched_setattr(2).
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

const SCHED_OTHER: u32 = 0;
/// SCHED_FIFO and SCHED_RR.
const REALTIME: [u32; 2] = [1, 2];
const SCHED_DEADLINE: u32 = 6;
const SCHED_EXT: u32 = 7;
const SCHED_FLAG_RESET_ON_FORK: u64 = 1;
const SCHED_FLAG_UTIL_CLAMP: u64 = 0x60;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;
/// The whole capacity of a processor.
const FULL: u32 = 1024;

impl Scheduling {
    /// Reads it of a thread; 0 is this one.
    ///
    /// # Errors
    /// The thread is gone, or its policy cannot be saved.
    pub(crate) fn of(tid: i32) -> Result<Self> {
        let attr = read(tid)?;
        if attr.policy == SCHED_EXT {
            return Err(Error::refused_but(
                format!("thread {tid}"),
                "is scheduled by a BPF program (SCHED_EXT), which is not supported",
                "give it another policy first, see chrt(1)",
            ));
        }
        let realtime = REALTIME.contains(&attr.policy);
        let deadline = attr.policy == SCHED_DEADLINE;
        // The nice value of a real-time thread is its own again when it is none any more.
        let nice = if realtime || deadline {
            nice_of(tid)
        } else {
            attr.nice
        };
        let slice = !realtime
            && !deadline
            && attr.runtime != 0
            && default_slice().is_some_and(|default| default != attr.runtime);
        let clamps =
            attr.util_max != 0 && (attr.util_min, attr.util_max) != (if realtime { FULL } else { 0 }, FULL);
        let extra = (deadline || slice || clamps).then_some(SchedulingExtra {
            policy: attr.policy,
            flags: attr.flags & !SCHED_FLAG_UTIL_CLAMP | if clamps { SCHED_FLAG_UTIL_CLAMP } else { 0 },
            nice: attr.nice,
            priority: attr.priority,
            runtime: if realtime { 0 } else { attr.runtime },
            deadline: attr.deadline,
            period: attr.period,
            util_min: if clamps { attr.util_min } else { 0 },
            util_max: if clamps { attr.util_max } else { 0 },
        });
        // As sched_getscheduler(2) tells it, and sched_setscheduler(2) takes it.
        let reset = if attr.flags & SCHED_FLAG_RESET_ON_FORK != 0 {
            SCHED_RESET_ON_FORK
        } else {
            0
        };
        Ok(Self {
            // Who does not know the rest cannot set this policy either.
            policy: if deadline { SCHED_OTHER } else { attr.policy } | reset,
            nice,
            priority: attr.priority,
            extra,
        })
    }
}

/// The nice value of a thread that is there: a failure and the value -1 look the same.
fn nice_of(tid: i32) -> i32 {
    // SAFETY: plain numbers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, tid.cast_unsigned()) }
}

fn read(tid: i32) -> Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: sched_getattr writes at most `size` bytes to the struct given.
    let ret = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size, 0) };
    if ret < 0 {
        return Err(Error::last_os(format!("reading the scheduling of thread {tid}")));
    }
    Ok(attr)
}

/// The time slice of a thread that has asked for none (Linux 6.12): that of this one.
fn default_slice() -> Option<u64> {
    static SLICE: OnceLock<Option<u64>> = OnceLock::new();
    *SLICE.get_or_init(|| {
        let own = read(0).ok()?;
        (!REALTIME.contains(&own.policy) && own.policy != SCHED_DEADLINE).then_some(own.runtime)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduling_of_this_thread() {
        let scheduling = Scheduling::of(0).unwrap();
        assert_eq!((scheduling.policy, scheduling.priority), (0, 0));
        assert_eq!(scheduling.extra, None);
    }
}
