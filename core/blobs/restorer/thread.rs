//! What every thread restores of itself.

use crate::creds;
use crate::process;
use crate::report::{Report, slice};
use crate::restore::{Array, Filter, SigInfo, Thread, step};
use crate::rt::{int80, nr};
use crate::syscall;
use crate::wire::abi;

/// Size of the head of the list of a program with pointers of 32 bits.
const SHORT_ROBUST_LIST: u64 = 12;
const PR_SET_PDEATHSIG: u64 = 1;
const PR_SET_NAME: u64 = 15;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const SECCOMP_SET_MODE_STRICT: u64 = 0;
const SECCOMP_SET_MODE_FILTER: u64 = 1;
const ESRCH: i64 = 3;

/// Everything but credentials and what follows from them.
pub fn first_half(me: &Thread, report: Report<'_>) {
    // SAFETY: an address of the restored memory, used by the kernel when the thread exits.
    unsafe { syscall!(nr::SET_TID_ADDRESS, me.clear_tid) };
    if me.robust[0] != 0 {
        let [head, length] = me.robust;
        // SAFETY: the task's part of the arguments, which outlives every thread here.
        let abi = unsafe { (*(me.task as *const crate::restore::Task)).abi };
        let result = match (length, abi) {
            // SAFETY: as above.
            (SHORT_ROBUST_LIST, abi::X32) => unsafe { syscall!(abi::X32_SET_ROBUST_LIST, head, length) },
            // SAFETY: as above.
            (SHORT_ROBUST_LIST, _) => unsafe {
                int80(nr::compat::SET_ROBUST_LIST, [head as u32, length as u32, 0, 0])
            },
            // SAFETY: as above.
            _ => unsafe { syscall!(nr::SET_ROBUST_LIST, head, length) },
        };
        report.check(result, step::ROBUST_LIST, me.robust[0]);
    }
    if me.rseq[0] != 0 {
        // SAFETY: the area is restored memory; the kernel writes the CPU numbers there.
        let result = unsafe { syscall!(nr::RSEQ, me.rseq[0], me.rseq[1], 0, me.rseq[2]) };
        report.check(result, step::RSEQ, me.rseq[0]);
    }
    // SAFETY: `stack_t` lies in the arguments; the present stack is not the alternate one.
    let result = unsafe { syscall!(nr::SIGALTSTACK, me.altstack.as_ptr(), 0) };
    report.check(result, step::ALTSTACK, me.altstack[0]);
    // SAFETY: the name lies in the arguments and ends with a NUL.
    let result = unsafe { syscall!(nr::PRCTL, PR_SET_NAME, me.name.as_ptr(), 0, 0, 0) };
    report.check(result, step::NAME, 0);
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<SigInfo>(me.signals) } {
        // SAFETY: the siginfo lies in the arguments. The group is that of this thread.
        let result = unsafe {
            let pid = (*(me.task as *const crate::restore::Task)).pid;
            syscall!(nr::RT_TGSIGQUEUEINFO, pid, me.tid, one.signal, one.info.as_ptr())
        };
        report.check(result, step::THREAD_QUEUE, one.signal);
    }
}

/// Scheduling, filters, credentials: after this the thread may do little more than wait. Filters come
/// before the credentials they may need; the coordinator has them suspended until it lets go.
pub fn second_half(me: &Thread, report: Report<'_>) {
    if me.sched_attr != 0 {
        // SAFETY: `struct sched_attr` lies in the arguments.
        let result = unsafe { syscall!(nr::SCHED_SETATTR, 0, me.sched_attr, 0) };
        report.check(result, step::SCHED_ATTR, 0);
        renice(me, report);
    } else if me.set_schedule != 0 {
        schedule(me, report);
    }
    process::make(me.calls, report);
    if me.seccomp == 1 {
        // SAFETY: concerns this thread alone.
        let result = unsafe { syscall!(nr::SECCOMP, SECCOMP_SET_MODE_STRICT, 0, 0) };
        report.check(result, step::SECCOMP, 0);
    }
    install(me.filters, 0, report);
    if me.creds != 0 {
        creds::restore(me.creds, report);
    }
    if me.no_new_privs != 0 {
        // SAFETY: concerns this thread alone.
        let result = unsafe { syscall!(nr::PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        report.check(result, step::NO_NEW_PRIVS, 0);
    }
    // Always: until here a task dies with the one that restores it.
    // SAFETY: concerns this thread alone.
    let result = unsafe { syscall!(nr::PRCTL, PR_SET_PDEATHSIG, me.death_signal, 0, 0, 0) };
    report.check(result, step::DEATH_SIGNAL, u64::from(me.death_signal));
}

/// Installs filters, the oldest first.
pub fn install(filters: Array, flags: u64, report: Report<'_>) {
    // SAFETY: an array of the arguments.
    for (index, filter) in unsafe { slice::<Filter>(filters) }.iter().enumerate() {
        let program = [filter.length, filter.code];
        // SAFETY: `struct sock_fprog` is on this stack, the program in the arguments.
        let result = unsafe {
            syscall!(
                nr::SECCOMP,
                SECCOMP_SET_MODE_FILTER,
                filter.flags | flags,
                program.as_ptr()
            )
        };
        // Not 0 but positive: the thread that could not take the filter over.
        let result = if result > 0 { -ESRCH } else { result };
        report.check(result, step::SECCOMP, index as u64);
    }
}

fn schedule(me: &Thread, report: Report<'_>) {
    let parameter = [me.priority];
    // SAFETY: the parameter is on this stack.
    let result = unsafe { syscall!(nr::SCHED_SETSCHEDULER, 0, me.policy, parameter.as_ptr()) };
    report.check(result, step::SCHEDULER, u64::from(me.policy));
    renice(me, report);
}

fn renice(me: &Thread, report: Report<'_>) {
    // SAFETY: concerns this thread alone.
    let result = unsafe { syscall!(nr::SETPRIORITY, 0, 0, me.nice) };
    report.check(result, step::NICE, me.nice as u64);
}
