//! What is restored once a process.

use core::sync::atomic::Ordering;

use crate::report::{Report, futex_wait, futex_wake, slice};
use crate::restore::{Action, Early, Move, Needed, PosixTimer, Range, Rlimit, SigInfo, Task, Thread, step};
use crate::rt::{int80, nr};
use crate::syscall;
use crate::thread;
use crate::wire::abi;

const PR_SET_DUMPABLE: u64 = 4;
const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const PR_TIMER_CREATE_RESTORE_IDS: u64 = 77;
const MREMAP_MAYMOVE_FIXED: u64 = 3;
const SECCOMP_FILTER_FLAG_TSYNC: u64 = 1;
const ENOSYS: i64 = -38;

/// `struct clone_args` up to `set_tid_size`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Leaves nothing mapped but the task's own memory, each mapping at its place, and the restorer.
pub fn memory(task: &Task, report: Report<'_>) {
    move_all(task.park, step::PARK, report);
    // SAFETY: an array of the arguments.
    for range in unsafe { slice::<Range>(task.unmap) } {
        // SAFETY: the engine leaves the restorer, its arguments and its stacks out of these ranges.
        let result = unsafe { syscall!(nr::MUNMAP, range.start, range.end - range.start) };
        report.check(result, step::UNMAP, range.start);
    }
    move_all(task.moves, step::MOVE, report);
    // SAFETY: the structure lies in the arguments.
    let result = unsafe {
        let map = &raw const task.mm;
        syscall!(nr::PRCTL, PR_SET_MM, PR_SET_MM_MAP, map, size_of_val(&task.mm), 0)
    };
    report.check(result, step::MM, u64::from(task.mm.exe_fd));
    personality(task, report);
    make(task.early, report);
}

/// Sets the personality of this thread.
pub fn personality(task: &Task, report: Report<'_>) {
    // SAFETY: concerns this thread alone.
    let result = unsafe { syscall!(nr::PERSONALITY, task.personality) };
    report.check(result, step::PERSONALITY, u64::from(task.personality));
}

/// Makes calls that must succeed.
pub fn make(calls: crate::restore::Array, report: Report<'_>) {
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<Needed>(calls) } {
        // SAFETY: the engine answers for the calls; what they point at lies in the arguments.
        let result = unsafe { crate::rt::syscall6(one.nr, one.args) };
        report.check(result, one.step as u32, one.args[0]);
    }
}

fn move_all(moves: crate::restore::Array, what: u32, report: Report<'_>) {
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<Move>(moves) } {
        // SAFETY: source and target are the task's memory, which is not used before the end.
        let result = unsafe {
            syscall!(
                nr::MREMAP,
                one.from,
                one.length,
                one.length,
                MREMAP_MAYMOVE_FIXED,
                one.to
            )
        };
        report.check(result, what, one.to);
    }
}

/// Closes the descriptors that only the restore needed. The kernel's answer does not matter: a range
/// without an open descriptor is no failure.
pub fn close(task: &Task) {
    // SAFETY: an array of the arguments.
    for range in unsafe { slice::<Range>(task.close) } {
        // SAFETY: no descriptor of the task is in these ranges.
        unsafe { syscall!(nr::CLOSE_RANGE, range.start, range.end, 0) };
    }
}

/// Creates all threads but the leader and those that are there.
pub fn start_threads(task: &Task, report: Report<'_>) {
    // SAFETY: an array of the arguments.
    let threads = unsafe { slice::<Thread>(task.threads) };
    for thread in &threads[1..] {
        if thread.early != 0 {
            // SAFETY: the thread waits there; all of it is atomic.
            let early = unsafe { &*(thread.early as *const Early) };
            early.thread.store(&raw const *thread as u64, Ordering::Relaxed);
            early.told.store(1, Ordering::Release);
            futex_wake(&early.told);
            continue;
        }
        let tid = [thread.tid];
        // CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
        let args = CloneArgs {
            flags: 0x0005_0f00,
            stack: thread.stack - 4096,
            stack_size: 4096 - 8,
            set_tid: tid.as_ptr() as u64,
            set_tid_size: 1,
            ..CloneArgs::default()
        };
        // SAFETY: the stack belongs to this thread alone and has one page at least; its topmost word
        // becomes the argument that `entry_thread` pops.
        let result = unsafe {
            let top = (thread.stack - 8) as *mut u64;
            top.write(&raw const *thread as u64);
            clone_thread(&args)
        };
        report.check(result, step::THREAD, u64::from(thread.tid));
    }
}

/// clone3(2) with a new stack: the child goes on at [`crate::entry_thread`].
///
/// # Safety
/// `args` describe a thread with a stack whose top word is its argument.
unsafe fn clone_thread(args: &CloneArgs) -> i64 {
    let result: i64;
    // SAFETY: the parent returns as from any call; the child jumps away and never comes back here.
    unsafe {
        core::arch::asm!(
            "syscall", "test rax, rax", "jnz 2f", "jmp {entry}", "2:",
            entry = sym crate::entry_thread,
            inlateout("rax") nr::CLONE3 as i64 => result,
            in("rdi") args as *const CloneArgs, in("rsi") size_of::<CloneArgs>(),
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// What can be set while others are still being built: everything that starts no clock.
pub fn first_half(task: &Task, report: Report<'_>) {
    set_actions(task, report);
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<SigInfo>(task.signals) } {
        // SAFETY: the siginfo lies in the arguments.
        let result = unsafe { syscall!(nr::RT_SIGQUEUEINFO, task.pid, one.signal, one.info.as_ptr()) };
        report.check(result, step::QUEUE, one.signal);
    }
    // Before the limits, which may allow no further timer.
    create_timers(task, report);
    let mut mask = task.membarrier;
    while mask != 0 {
        let command = 1 << mask.trailing_zeros();
        mask &= mask - 1;
        // SAFETY: registers the process; no memory is touched.
        report.check(
            unsafe { syscall!(nr::MEMBARRIER, command, 0, 0) },
            step::MEMBARRIER,
            command as u64,
        );
    }
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<Rlimit>(task.rlimits) } {
        let limit = [one.cur, one.max];
        // SAFETY: the limit is on this stack.
        let result = unsafe { syscall!(nr::PRLIMIT64, 0, one.resource, limit.as_ptr(), 0) };
        report.check(result, step::RLIMIT, one.resource);
    }
}

/// Sets the actions by the program's own call, by which the kernel knows the sort of the handlers.
fn set_actions(task: &Task, report: Report<'_>) {
    if task.abi == abi::IA32 {
        return ia32_actions(task, report);
    }
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<Action>(task.actions) } {
        let result = if task.abi == abi::X32 {
            let action = one.action.compat();
            // SAFETY: the action lies on this stack; all signals are blocked.
            unsafe { syscall!(abi::X32_RT_SIGACTION, one.signal, action.as_ptr(), 0, 8) }
        } else {
            let action = &raw const one.action;
            // SAFETY: the action lies in the arguments; all signals are blocked.
            unsafe { syscall!(nr::RT_SIGACTION, one.signal, action, 0, 8) }
        };
        report.check(result, step::ACTION, one.signal);
    }
}

/// The actions of a 32-bit program, whose call takes addresses below 4 GiB.
fn ia32_actions(task: &Task, report: Report<'_>) {
    const READ_WRITE: u64 = 3;
    /// MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
    const LOW: u64 = 0x62;
    const PAGE: u64 = 4096;
    // SAFETY: new memory.
    let page = unsafe { syscall!(nr::MMAP, 0, PAGE, READ_WRITE, LOW, u64::MAX, 0) };
    let page = report.check(page, step::LOW_MEMORY, PAGE) as u64;
    // SAFETY: an array of the arguments.
    for one in unsafe { slice::<Action>(task.actions) } {
        // SAFETY: the page was mapped just now, and has room for an action.
        unsafe { (page as *mut [u32; 5]).write(one.action.compat()) };
        // SAFETY: the action lies there; all signals are blocked.
        let result = unsafe { int80(nr::compat::RT_SIGACTION, [one.signal as u32, page as u32, 0, 8]) };
        report.check(result, step::ACTION, one.signal);
    }
    // SAFETY: nothing is left in the page.
    unsafe { syscall!(nr::MUNMAP, page, PAGE) };
}

/// `struct sigevent`.
#[repr(C)]
struct SigEvent {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    pad: [i32; 11],
}

fn create_timers(task: &Task, report: Report<'_>) {
    // SAFETY: an array of the arguments.
    let timers = unsafe { slice::<PosixTimer>(task.timers) };
    if timers.is_empty() {
        return;
    }
    // Linux 6.15 takes the id that is wanted; before, ids count up.
    // SAFETY: concerns this task alone.
    let by_id = unsafe { syscall!(nr::PRCTL, PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) } == 0;
    for timer in timers {
        create_timer(timer, by_id, report);
    }
    if by_id {
        // SAFETY: as above.
        unsafe { syscall!(nr::PRCTL, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0) };
    }
}

fn create_timer(timer: &PosixTimer, by_id: bool, report: Report<'_>) {
    let event = SigEvent {
        value: timer.value,
        signal: timer.signal,
        notify: timer.notify,
        tid: timer.tid,
        pad: [0; 11],
    };
    loop {
        let mut id: i32 = timer.id;
        // SAFETY: both structures are on this stack.
        let result = unsafe { syscall!(nr::TIMER_CREATE, timer.clock, &raw const event, &raw mut id) };
        report.check(result, step::TIMER_CREATE, timer.id as u64);
        if id == timer.id {
            return;
        }
        // SAFETY: the timer was made just now and is not armed.
        unsafe { syscall!(nr::TIMER_DELETE, id) };
        if by_id || id > timer.id {
            report.fail(ENOSYS, step::TIMER_CREATE, timer.id as u64);
        }
    }
}

/// What starts a clock: last, and after everyone is ready.
pub fn second_half(task: &Task, report: Report<'_>) {
    make(task.late, report);
    for (which, spec) in task.itimers.iter().enumerate() {
        if spec[2] != 0 || spec[3] != 0 {
            // SAFETY: the specification lies in the arguments.
            let result = unsafe { syscall!(nr::SETITIMER, which, spec.as_ptr(), 0) };
            report.check(result, step::ITIMER, which as u64);
        }
    }
    // SAFETY: an array of the arguments.
    for timer in unsafe { slice::<PosixTimer>(task.timers) } {
        if timer.spec[2] != 0 || timer.spec[3] != 0 {
            // SAFETY: the specification lies in the arguments.
            let result = unsafe { syscall!(nr::TIMER_SETTIME, timer.id, 0, timer.spec.as_ptr(), 0) };
            report.check(result, step::TIMER_SET, timer.id as u64);
        }
    }
}

/// Puts the filters that all threads share upon all of them at once: so they are one object, as
/// `SECCOMP_FILTER_FLAG_TSYNC` will want it again.
pub fn share_filters(task: &Task, report: Report<'_>) {
    if task.filters.count == 0 {
        return;
    }
    thread::install(task.filters, SECCOMP_FILTER_FLAG_TSYNC, report);
    task.shared_filters.store(1, Ordering::Release);
    futex_wake(&task.shared_filters);
}

/// Waits for [`share_filters`] of the leader.
pub fn await_filters(task: &Task) {
    while task.filters.count != 0 && task.shared_filters.load(Ordering::Acquire) == 0 {
        futex_wait(&task.shared_filters, 0);
    }
}

/// Says that a thread other than the leader has its credentials.
pub fn thread_clothed(task: &Task) {
    if task.clothed.fetch_add(1, Ordering::AcqRel) + 2 == task.threads.count as u32 {
        futex_wake(&task.clothed);
    }
}

/// What a change of credentials by any thread would undo.
pub fn finish(task: &Task, report: Report<'_>) {
    if task.dumpable > 1 {
        return;
    }
    let others = task.threads.count as u32 - 1;
    loop {
        let clothed = task.clothed.load(Ordering::Acquire);
        if clothed >= others {
            break;
        }
        futex_wait(&task.clothed, clothed);
    }
    // SAFETY: concerns this task alone.
    let result = unsafe { syscall!(nr::PRCTL, PR_SET_DUMPABLE, task.dumpable, 0, 0, 0) };
    report.check(result, step::DUMPABLE, u64::from(task.dumpable));
}
