//! The memory that the engine and the restorer share. Compiled into both, so it is `no_std`, and every
//! struct is `repr(C)` and made of integers alone. Addresses are those of the restored task.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::wire::SigAction;

/// The stages that all tasks pass in step. [`Shared::stage`] holds the number of the last one that is
/// over.
pub mod stage {
    /// All processes exist, and those that lead a session or a group do.
    pub const FORKED: u32 = 1;
    /// All processes are in their groups.
    pub const GROUPED: u32 = 2;
    /// All descriptors stand at their numbers.
    pub const FILES: u32 = 3;
    /// All memory is filled; from here on threads are created.
    pub const MEMORY: u32 = 4;
    /// All threads exist and have all but their credentials.
    pub const READY: u32 = 5;
    /// All threads are complete and wait to be caught.
    pub const DONE: u32 = 6;
    /// The number of stages, and one.
    pub const COUNT: usize = 7;
    /// Something failed: everyone leaves.
    pub const FAILED: u32 = 0xffff;
}

/// What the restorer was doing when something failed ([`Shared::blob_step`]).
pub mod step {
    /// Moving the kernel's own pages aside.
    pub const PARK: u32 = 1;
    /// Unmapping what is not the task's.
    pub const UNMAP: u32 = 2;
    /// Moving a mapping to its place.
    pub const MOVE: u32 = 3;
    /// `prctl(PR_SET_MM, PR_SET_MM_MAP)`.
    pub const MM: u32 = 4;
    /// `clone3` of a thread.
    pub const THREAD: u32 = 5;
    /// `rseq`.
    pub const RSEQ: u32 = 6;
    /// `sigaltstack`.
    pub const ALTSTACK: u32 = 7;
    /// `sched_setscheduler`.
    pub const SCHEDULER: u32 = 8;
    /// `setpriority`.
    pub const NICE: u32 = 9;
    /// `rt_sigaction`.
    pub const ACTION: u32 = 10;
    /// `prlimit`.
    pub const RLIMIT: u32 = 11;
    /// `setitimer`.
    pub const ITIMER: u32 = 12;
    /// `timer_create`.
    pub const TIMER_CREATE: u32 = 13;
    /// `timer_settime`.
    pub const TIMER_SET: u32 = 14;
    /// `rt_sigqueueinfo`.
    pub const QUEUE: u32 = 15;
    /// `rt_tgsigqueueinfo`.
    pub const THREAD_QUEUE: u32 = 16;
    /// `setgroups`.
    pub const GROUPS: u32 = 17;
    /// `setresgid`, `setfsgid`.
    pub const GIDS: u32 = 18;
    /// `setresuid`, `setfsuid`.
    pub const UIDS: u32 = 19;
    /// `prctl(PR_CAPBSET_DROP)`.
    pub const BOUNDING: u32 = 20;
    /// `capset`.
    pub const CAPABILITIES: u32 = 21;
    /// `prctl(PR_CAP_AMBIENT)`.
    pub const AMBIENT: u32 = 22;
    /// `prctl(PR_SET_SECUREBITS)`.
    pub const SECUREBITS: u32 = 23;
    /// `seccomp`.
    pub const SECCOMP: u32 = 24;
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    pub const NO_NEW_PRIVS: u32 = 25;
    /// `prctl(PR_SET_PDEATHSIG)`.
    pub const DEATH_SIGNAL: u32 = 26;
    /// `prctl(PR_SET_DUMPABLE)`.
    pub const DUMPABLE: u32 = 27;
    /// `prctl(PR_SET_NAME)`.
    pub const NAME: u32 = 28;
    /// `personality`.
    pub const PERSONALITY: u32 = 29;
    /// Mapping memory below 4 GiB.
    pub const LOW_MEMORY: u32 = 30;
    /// `membarrier`.
    pub const MEMBARRIER: u32 = 31;
    /// `set_robust_list`.
    pub const ROBUST_LIST: u32 = 32;

    /// `sched_setattr`.
    pub const SCHED_ATTR: u32 = 33;
    /// `prctl(PR_SET_TSC)`.
    pub const TSC: u32 = 34;
    /// `arch_prctl(ARCH_SET_CPUID)`.
    pub const CPUID: u32 = 35;
    /// `prctl(PR_MCE_KILL)`.
    pub const MCE_KILL: u32 = 36;
    /// `prctl(PR_SET_IO_FLUSHER)`.
    pub const IO_FLUSHER: u32 = 37;
    /// `prctl(PR_SET_SPECULATION_CTRL)`.
    pub const SPECULATION: u32 = 38;
    /// `prctl(PR_SET_MDWE)`.
    pub const MDWE: u32 = 39;
    /// `mlockall(MCL_FUTURE)`.
    pub const LOCK_FUTURE: u32 = 40;
    /// `arch_prctl(ARCH_ENABLE_TAGGED_ADDR)`.
    pub const TAGGED: u32 = 41;
    /// `arch_prctl(ARCH_REQ_XCOMP_PERM)`.
    pub const XCOMP_PERM: u32 = 42;
    /// `arch_prctl(ARCH_MAP_VDSO_32)`.
    pub const VDSO_32: u32 = 43;
    /// `prctl(PR_SET_TIMERSLACK)`.
    pub const TIMER_SLACK: u32 = 44;

    /// `arch_prctl(ARCH_MAP_VDSO_X32)`.
    pub const VDSO_X32: u32 = 45;

    /// The words for the steps, by number.
    pub const NAMES: [&str; 46] = [
        "nothing",
        "moving the vdso aside",
        "unmapping the old memory",
        "moving a mapping to its place",
        "setting the memory map (prctl PR_SET_MM_MAP)",
        "creating a thread (clone3)",
        "registering rseq",
        "setting the alternate signal stack",
        "setting the scheduler",
        "setting the nice value",
        "setting a signal action",
        "setting a resource limit",
        "setting an interval timer",
        "creating a POSIX timer",
        "arming a POSIX timer",
        "queueing a pending signal of the process",
        "queueing a pending signal of a thread",
        "setting the supplementary groups",
        "setting the group ids",
        "setting the user ids",
        "dropping a capability of the bounding set",
        "setting the capabilities",
        "setting the ambient capabilities",
        "setting the securebits",
        "installing seccomp",
        "setting no_new_privs",
        "setting the parent-death signal",
        "setting dumpable",
        "setting the name",
        "setting the personality",
        "mapping memory below 4 GiB",
        "registering membarrier",
        "setting the robust futex list",
        "setting the scheduling attributes",
        "forbidding the time-stamp counter (PR_SET_TSC)",
        "forbidding CPUID (ARCH_SET_CPUID)",
        "setting what machine checks do (PR_MCE_KILL)",
        "setting PR_SET_IO_FLUSHER",
        "setting the control of speculation",
        "denying memory that is written and executed (PR_SET_MDWE)",
        "locking future mappings (mlockall)",
        "enabling tagged addresses",
        "asking for processor state (ARCH_REQ_XCOMP_PERM)",
        "mapping the vdso of 32-bit programs (needs CONFIG_IA32_EMULATION)",
        "setting the timer slack",
        "mapping the vdso of programs of the x32 ABI (needs CONFIG_X86_X32_ABI)",
    ];
}

/// The head of the memory that all tasks and the coordinator share.
#[repr(C)]
#[derive(Debug)]
pub struct Shared {
    /// The last stage that is over; a futex. [`stage::FAILED`] after a failure.
    pub stage: AtomicU32,
    /// The pid of the coordinator, without which nothing goes on.
    pub coordinator: AtomicU32,
    /// Who has arrived at each stage; futexes.
    pub arrived: [AtomicU32; stage::COUNT],
    /// How many must.
    pub expected: [AtomicU32; stage::COUNT],
    /// Set by the first that fails, which then writes one of the two accounts below.
    pub failed: AtomicU32,
    /// 1 when the account is complete: of the restorer; 2: a text of the engine.
    pub account: AtomicU32,
    /// Thread that failed in the restorer.
    pub blob_tid: AtomicU32,
    /// What it was doing: [`step`].
    pub blob_step: AtomicU32,
    /// The errno.
    pub blob_errno: AtomicU32,
    /// Which object of the step, e.g. a signal or an address: high and low half.
    pub blob_object: [AtomicU32; 2],
}

/// A range of addresses, or of descriptors (both ends included then).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// First.
    pub start: u64,
    /// End, not included for addresses.
    pub end: u64,
}

/// A mapping to be moved.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Move {
    /// Where it is.
    pub from: u64,
    /// Where it belongs.
    pub to: u64,
    /// Its length.
    pub length: u64,
}

/// Address and number of elements of an array.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Array {
    /// Of the first element.
    pub at: u64,
    /// How many.
    pub count: u64,
}

/// `struct prctl_mm_map` of prctl(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub struct MmMap {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    pub auxv: u64,
    pub auxv_size: u32,
    pub exe_fd: u32,
}

/// A resource limit to set.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u64,
    /// Soft limit.
    pub cur: u64,
    /// Hard limit.
    pub max: u64,
}

/// A signal action to set.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Action {
    /// The signal.
    pub signal: u64,
    /// What it does.
    pub action: SigAction,
}

/// A POSIX timer to create.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct PosixTimer {
    /// The kernel's id.
    pub id: i32,
    /// `clockid_t`.
    pub clock: i32,
    /// `sigev_value`.
    pub value: u64,
    /// `sigev_signo`.
    pub signal: i32,
    /// `sigev_notify`.
    pub notify: i32,
    /// Thread of `SIGEV_THREAD_ID`.
    pub tid: i32,
    /// Zero.
    pub pad: i32,
    /// Interval s, ns, value s, ns.
    pub spec: [i64; 4],
}

/// A siginfo as the kernel has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SigInfo {
    /// The signal.
    pub signal: u64,
    /// `siginfo_t`.
    pub info: [u64; 16],
}

/// Credentials of a thread.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Creds {
    /// Real, effective, saved, file system.
    pub uids: [u32; 4],
    /// Real, effective, saved, file system.
    pub gids: [u32; 4],
    /// Supplementary groups, `u32`.
    pub groups: Array,
    /// Low and high word of each.
    pub inheritable: [u32; 2],
    /// Low and high word.
    pub permitted: [u32; 2],
    /// Low and high word.
    pub effective: [u32; 2],
    /// Bits to drop from the bounding set.
    pub drop: [u32; 2],
    /// Low and high word.
    pub ambient: [u32; 2],
    /// `SECBIT_*`.
    pub securebits: u32,
    /// Zero.
    pub pad: u32,
}

/// A seccomp filter: `struct sock_fprog` and the flags it is installed with.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Number of instructions (16 bits count).
    pub length: u64,
    /// Address of the instructions.
    pub code: u64,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// A system call that must succeed.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needed {
    /// Its number.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Which of [`step`] it is.
    pub step: u64,
}

/// What a thread restores of itself.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Thread {
    /// Its [`Task`].
    pub task: u64,
    /// The top of its stack in the restorer.
    pub stack: u64,
    /// Its thread id.
    pub tid: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// Static priority.
    pub priority: u32,
    /// Nice value.
    pub nice: i32,
    /// Whether policy, priority and nice value are to be set.
    pub set_schedule: u32,
    /// `pdeath_signal`, 0 for none.
    pub death_signal: u32,
    /// 1 to set it.
    pub no_new_privs: u32,
    /// 0 none, 1 strict, 2 filters.
    pub seccomp: u32,
    /// Address for `set_tid_address`.
    pub clear_tid: u64,
    /// Robust list head, and its length; 0 for none.
    pub robust: [u64; 2],
    /// Address, length and signature of `rseq`; address 0 for none.
    pub rseq: [u64; 3],
    /// `stack_t`: base, flags, size.
    pub altstack: [u64; 3],
    /// Name, NUL-terminated.
    pub name: [u8; 16],
    /// Pending signals, [`SigInfo`].
    pub signals: Array,
    /// Address of its [`Creds`], 0 when those it has are right.
    pub creds: u64,
    /// [`Filter`]s, the oldest first, upon those of [`Task::filters`].
    pub filters: Array,
    /// Address of its `struct sched_attr`, 0 when policy, priority and nice value say all.
    pub sched_attr: u64,
    /// Further calls, [`Needed`], before filters and credentials.
    pub calls: Array,
    /// Address of its [`Early`] where it is there already; 0 when it is to be made.
    pub early: u64,
}

/// Where a thread waits that had to be there before the restorer runs. It lies at the beginning of its stack.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Early {
    /// 1 once `thread` is set; a futex.
    pub told: AtomicU32,
    /// 1 once the thread waits here, and needs nothing of who made it any more; a futex.
    pub there: AtomicU32,
    /// Address of its [`Thread`].
    pub thread: AtomicU64,
}

/// What a process restores of itself.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Task {
    /// Address of [`Shared`].
    pub shared: u64,
    /// `pid`, as in the image.
    pub pid: u32,
    /// `personality(2)`.
    pub personality: u32,
    /// Moves before anything is unmapped.
    pub park: Array,
    /// [`Range`]s to unmap.
    pub unmap: Array,
    /// Moves after that.
    pub moves: Array,
    /// [`Range`]s of descriptors to close, ends included.
    pub close: Array,
    /// Descriptor tables are shared: closing is not this task's.
    pub mm: MmMap,
    /// [`Action`]s.
    pub actions: Array,
    /// [`Rlimit`]s.
    pub rlimits: Array,
    /// [`PosixTimer`]s.
    pub timers: Array,
    /// Pending signals of the process, [`SigInfo`].
    pub signals: Array,
    /// Real, virtual, profiling: interval s, µs, value s, µs.
    pub itimers: [[i64; 4]; 3],
    /// `PR_SET_DUMPABLE`: 0, 1, or anything else for "leave".
    pub dumpable: u32,
    /// Commands for `membarrier(2)`, a mask.
    pub membarrier: u32,
    /// [`Thread`]s, the leader first.
    pub threads: Array,
    /// Threads (without the leader) that have their credentials; a futex.
    pub clothed: AtomicU32,
    /// 1 once the filters that all threads share are there; a futex.
    pub shared_filters: AtomicU32,
    /// Which calls the program makes: [`crate::wire::abi`].
    pub abi: u32,
    /// Zero.
    pub pad: u32,
    /// [`Filter`]s that all threads share, the oldest first.
    pub filters: Array,
    /// Calls before there are threads, [`Needed`].
    pub early: Array,
    /// Calls of the leader once all is mapped, [`Needed`].
    pub late: Array,
}
