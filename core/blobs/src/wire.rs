//! The memory that the tracer and the parasite share. Compiled into both, so it is `no_std`, every
//! struct is `repr(C)` and made of integers alone, and every value that comes back from the target
//! must be checked like any other input: the target could have written it.

/// Commands to the parasite ([`Control::command`]).
pub mod command {
    /// Nothing is asked: a parasite that goes on without a command has lost its master and leaves.
    pub const NONE: u32 = 0;
    /// Run `calls[..call_count]` in order, results in [`super::Call::result`].
    pub const CALLS: u32 = 1;
    /// Fill [`super::Control::process`].
    pub const PROCESS: u32 = 2;
    /// Fill `timers[..timer_count]` from their ids.
    pub const TIMERS: u32 = 3;
    /// Replace each of the numbers of descriptors, [`super::Control::call_count`] `i32`s in the place of
    /// [`super::Control::calls`], by its `FD_*` flags (`-errno` where it is not open).
    pub const DESCRIPTORS: u32 = 4;
}

/// Calls that fit into one [`command::CALLS`].
pub const MAX_CALLS: usize = 64;
/// Numbers that fit into one [`command::DESCRIPTORS`].
pub const MAX_DESCRIPTORS: usize = MAX_CALLS * size_of::<Call>() / size_of::<i32>();
/// Calls that fit into the undo table as it is at first.
pub const FIRST_UNDO: usize = 1024;
/// Calls that fit into the largest undo table.
pub const MAX_UNDO: usize = FIRST_UNDO << 8;
/// Timers that fit into one [`command::TIMERS`].
pub const MAX_TIMERS: usize = 64;

/// A system call and what it returned (`-errno` on failure).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Call {
    /// System call number.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// What the kernel returned.
    pub result: i64,
}

/// A system call of the undo table, with a little memory that one of its arguments may point at.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undo {
    /// System call number.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// What an argument points at, if any does.
    pub data: [u8; 16],
}

/// Which system calls a program makes; by that of `rt_sigaction` the kernel knows what frame a handler expects.
pub mod abi {
    /// Those of 64-bit programs.
    pub const NATIVE: u32 = 0;
    /// Those of 32-bit programs, by `int 0x80` and its like.
    pub const IA32: u32 = 1;
    /// Those of programs with 64-bit registers and 32-bit pointers: numbers with [`X32_BIT`].
    pub const X32: u32 = 2;
    /// `__X32_SYSCALL_BIT` of `<asm/unistd.h>`.
    pub const X32_BIT: u64 = 0x4000_0000;
    /// `rt_sigaction` of x32, with a `struct compat_sigaction`.
    pub const X32_RT_SIGACTION: u64 = X32_BIT | 512;
    /// `set_robust_list` of x32.
    pub const X32_SET_ROBUST_LIST: u64 = X32_BIT | 530;
    /// `get_robust_list` of x32.
    pub const X32_GET_ROBUST_LIST: u64 = X32_BIT | 531;
}

/// `struct sigaction` as the kernel has it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SigAction {
    /// `SIG_DFL`, `SIG_IGN` or an address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs; bit 0 is signal 1.
    pub mask: u64,
}

impl SigAction {
    /// `struct compat_sigaction`, as programs with pointers of 32 bits have it.
    pub fn compat(&self) -> [u32; 5] {
        [
            self.handler as u32,
            self.flags as u32,
            self.restorer as u32,
            self.mask as u32,
            (self.mask >> 32) as u32,
        ]
    }
}

/// The parasite's process-wide answers. Fields that are the result of a call are `-errno` if it
/// failed (`-EINVAL` where the kernel does not know the call).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProcessInfo {
    /// Action of signal `i + 1`; `SIGTRAP` is the one found before the infection.
    pub actions: [SigAction; 64],
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`: interval s, µs, value s, µs.
    pub itimers: [[i64; 4]; 3],
    /// `PR_GET_DUMPABLE`.
    pub dumpable: i64,
    /// `PR_GET_CHILD_SUBREAPER`: 0 or 1.
    pub child_subreaper: i64,
    /// `PR_GET_THP_DISABLE`.
    pub thp_disable: i64,
    /// `PR_GET_MEMORY_MERGE` (Linux 6.4).
    pub memory_merge: i64,
    /// `brk(0)`.
    pub brk: i64,
    /// `MEMBARRIER_CMD_GET_REGISTRATIONS` (Linux 6.3).
    pub membarrier: i64,
    /// `PR_GET_MDWE` (Linux 6.3).
    pub mdwe: i64,
    /// Protection keys that `pkey_alloc` does not give: bit n is key n. Where the processor has none, all
    /// bits.
    pub pkeys: i64,
    /// `ARCH_GET_XCOMP_PERM` (Linux 5.16).
    pub xcomp_perm: i64,
    /// Bytes of the local descriptor table, at most 16.
    pub ldt: i64,
    /// First failure of a call that has no reason to fail (0: none).
    pub error: i64,
}

/// One thread's answers.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadInfo {
    /// `sigaltstack`: base, flags, size. `SS_ONSTACK` is never set (the parasite has a stack of its own).
    pub altstack: [u64; 3],
    /// `PR_GET_TID_ADDRESS`: the address given to `set_tid_address`.
    pub tid_address: u64,
    /// `PR_GET_PDEATHSIG`.
    pub pdeathsig: i64,
    /// `PR_GET_SECUREBITS`.
    pub securebits: i64,
    /// `PR_GET_NO_NEW_PRIVS`.
    pub no_new_privs: i64,
    /// `PR_GET_TIMERSLACK`, ns.
    pub timerslack: i64,
    /// `PR_GET_TSC`: 1, or 2 if reading the time-stamp counter raises `SIGSEGV`.
    pub tsc: i64,
    /// `ARCH_GET_CPUID`: 0 if CPUID raises `SIGSEGV`; `-errno` where the processor cannot do that.
    pub cpuid: i64,
    /// `PR_MCE_KILL_GET`.
    pub mce_kill: i64,
    /// `PR_GET_IO_FLUSHER`; `-EPERM` without `CAP_SYS_RESOURCE`.
    pub io_flusher: i64,
    /// `PR_GET_SPECULATION_CTRL` of store bypass, indirect branches and the L1D flush.
    pub speculation: [i64; 3],
    /// Which of the thread-local segments of the GDT (set_thread_area(2)) are in use, from bit 0 on.
    pub thread_areas: u64,
    /// Asked: a process to look at, or 0. Answered: 0, or `-errno` of `kcmp` on it: whether this thread could trace it.
    pub witness: i64,
    /// First failure of a call that has no reason to fail (0: none).
    pub error: i64,
}

/// A POSIX timer: asked by id, answered with its state.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerInfo {
    /// The kernel's timer id.
    pub id: i64,
    /// `timer_gettime`: interval s, ns, value s, ns.
    pub spec: [i64; 4],
    /// `timer_getoverrun`.
    pub overrun: i64,
    /// 0, or `-errno` of `timer_gettime`.
    pub error: i64,
}

/// State of a [`Slot`].
pub mod slot {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// A thread is, or is about to be, or was just now, in the parasite.
    pub const TAKEN: u32 = 1;
    /// The leading thread has asked, by a SIGTRAP, whether it is still there.
    pub const ASKED: u32 = 2;
    /// The thread is on its way out and will count itself out.
    pub const LEAVING: u32 = 3;
    /// It was seen asleep outside of the parasite: it is not waited for.
    pub const OUTSIDE: u32 = 4;
}

/// The operation of `FUTEX_WAKE_OP` by which a thread counts itself out, in [`Control::left`]: add one and wake, which is
/// `FUTEX_OP(ADD, 1, CMP_GE, 0)`.
pub const COUNT_OUT: u64 = 1 << 28 | 5 << 24 | 1 << 12;

/// What one thread needs in the parasite; its stack ends where the next slot begins.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Slot {
    /// One of [`slot`].
    pub state: u32,
    /// Thread id in the target's pid namespace, or 0.
    pub tid: u32,
    /// The thread's own signal mask.
    pub mask: u64,
    /// First signal frame of the way out.
    pub exit_frame: u64,
    /// Its words on the thread's shadow stack, if it has one: the address that its first word has, and a token.
    pub exit_pair: u64,
    /// Address of calls to run, and how many they are; none: fill [`Self::info`].
    pub calls: u64,
    /// See [`Self::calls`].
    pub call_count: u64,
    /// The answers.
    pub info: ThreadInfo,
}

/// The parasite's control block.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Control {
    /// One of [`command`].
    pub command: u32,
    /// 0, or `-errno` of the set-up.
    pub status: i32,
    /// Stack of the leading thread, low and high end.
    pub stack: [u64; 2],
    /// Signal frame from which the way out begins: it unmaps the parasite, then [`Self::last_frame`].
    /// 0 if the target has no code for it.
    pub exit_frame: u64,
    /// Its words on the shadow stack, see [`Slot::exit_pair`].
    pub exit_pair: u64,
    /// Those of [`Self::last_frame`].
    pub last_pair: u64,
    /// Signal frame that restores the interrupted context.
    pub last_frame: u64,
    /// Address of `syscall; ret` outside of the parasite, or 0.
    pub syscall_ret: u64,
    /// Address of code outside of the parasite that calls `rt_sigreturn`, or 0.
    pub sigreturn: u64,
    /// How many threads of the [`Slot`]s that are not free have left since the master was lost; a futex. The master
    /// counts nothing: it may be killed between any two words that it writes.
    pub left: u32,
    /// Not 0: the mapping has to stay when the master is lost.
    pub keep: u32,
    /// Address of the first [`Slot`].
    pub slots: u64,
    /// Bytes from slot to slot.
    pub slot_size: u64,
    /// Number of slots.
    pub slot_count: u64,
    /// Address of the first [`Undo`]; they are run, last first, when the master is lost.
    pub undo: u64,
    /// Address and length of the mapping that the table has grown into; it goes when the table has been run.
    pub undo_mapping: [u64; 2],
    /// Action of `SIGTRAP` before the infection.
    pub old_trap: SigAction,
    /// Valid entries of [`Self::calls`], or the numbers in their place.
    pub call_count: u32,
    /// Valid entries of the undo table.
    pub undo_count: u32,
    /// Valid entries of [`Self::timers`].
    pub timer_count: u32,
    /// Zero.
    pub pad: u32,
    /// Which calls the program makes: [`abi`].
    pub abi: u32,
    /// Zero.
    pub pad2: u32,
    /// Calls to run; or numbers, see [`command::DESCRIPTORS`].
    pub calls: [Call; MAX_CALLS],
    /// Timers asked for.
    pub timers: [TimerInfo; MAX_TIMERS],
    /// Answers.
    pub process: ProcessInfo,
}
