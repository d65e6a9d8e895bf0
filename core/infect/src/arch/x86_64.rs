//! x86-64.

mod restart;
mod wait;

use criu_blobs::wire::{COUNT_OUT, abi};

pub use restart::restarted;
pub(crate) use restart::{CODE_BEFORE, is_resumed, name_resumed};
pub(crate) use wait::{leave_wait, wait4};

/// General registers as `PTRACE_GETREGS` gives them (`struct user_regs_struct`).
pub type Regs = libc::user_regs_struct;

/// Bytes below the stack pointer that belong to the interrupted function.
pub(crate) const RED_ZONE: u64 = 128;
/// End of what user programs may map without asking for more (47 bits).
pub(crate) const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Bytes of a signal frame: return address, ucontext, siginfo.
pub(crate) const FRAME_SIZE: u64 = 448;

const CS_32BIT: u64 = 0x23;
const CS: u64 = 0x33;
const SS: u64 = 0x2b;

/// Code of the target that is useful for leaving it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gadgets {
    /// `syscall`, whatever follows.
    pub(crate) syscall: Option<u64>,
    /// `syscall; ret`.
    pub(crate) syscall_ret: Option<u64>,
    /// Code that calls `rt_sigreturn`.
    pub(crate) sigreturn: Option<u64>,
}

const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSCALL_RET: &[u8] = &[0x0f, 0x05, 0xc3];
/// `mov $15, %rax; syscall` and `mov $15, %eax; syscall`.
const SIGRETURN: [&[u8]; 2] = [
    &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05],
    &[0xb8, 15, 0, 0, 0, 0x0f, 0x05],
];
/// Longest of the patterns.
pub(crate) const LONGEST_GADGET: usize = 9;

impl Gadgets {
    /// Whether nothing is missing.
    pub(crate) fn complete(&self) -> bool {
        self.syscall.is_some() && self.syscall_ret.is_some() && self.sigreturn.is_some()
    }

    /// Notes what is in `code`, which lies at `address`, and is not known yet.
    pub(crate) fn scan(&mut self, code: &[u8], address: u64) {
        let find = |pattern: &[u8]| memchr::memmem::find(code, pattern).map(|at| address + at as u64);
        if self.syscall.is_none() {
            self.syscall = find(SYSCALL);
        }
        if self.syscall_ret.is_none() {
            self.syscall_ret = find(SYSCALL_RET);
        }
        if self.sigreturn.is_none() {
            self.sigreturn = SIGRETURN.iter().find_map(|p| find(p));
        }
    }
}

/// Which system calls a program makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Abi {
    /// Those of 64-bit programs.
    #[default]
    Native,
    /// Those of 32-bit programs (i386), which also run in a segment of their own.
    Ia32,
    /// Those of programs with 64-bit registers and pointers of 32 bits.
    X32,
}

impl Abi {
    /// That of the program whose ELF file begins with these bytes, as a thread with such registers runs it.
    pub(crate) fn of(head: &[u8; ELF_HEAD], regs: &Regs) -> Abi {
        const ELF_32: [u8; 5] = [0x7f, b'E', b'L', b'F', 1];
        const EM_X86_64: u16 = 62;
        if head[..5] != ELF_32 {
            return Abi::Native;
        }
        let machine = u16::from_le_bytes([head[18], head[19]]);
        match (is_compat(regs), machine) {
            (true, _) => Abi::Ia32,
            (false, EM_X86_64) => Abi::X32,
            (false, _) => Abi::Native,
        }
    }

    /// As the blobs name it.
    pub fn number(self) -> u32 {
        match self {
            Abi::Native => abi::NATIVE,
            Abi::Ia32 => abi::IA32,
            Abi::X32 => abi::X32,
        }
    }
}

/// Bytes of an ELF file up to its machine, which is part of them.
pub(crate) const ELF_HEAD: usize = 20;

/// Whether the registers are those of 32-bit code.
pub(crate) fn is_compat(regs: &Regs) -> bool {
    regs.cs == CS_32BIT
}

/// Registers with which `nr(args)` is called by the `syscall` at `code`, stack at `stack`.
pub(crate) fn call_regs(old: &Regs, code: u64, stack: u64, nr: u64, args: [u64; 6]) -> Regs {
    let mut r = run_regs(old, code, stack, args[0]);
    (r.rsi, r.rdx, r.r10, r.r8, r.r9) = (args[1], args[2], args[3], args[4], args[5]);
    r.rax = nr;
    r
}

/// Registers with which code at `code` starts, stack at `stack`, `arg` as its argument; no system
/// call will be restarted.
pub(crate) fn run_regs(old: &Regs, code: u64, stack: u64, arg: u64) -> Regs {
    let mut r = *old;
    r.rip = code;
    r.rsp = stack;
    r.rdi = arg;
    r.orig_rax = u64::MAX;
    r.eflags = 0x202;
    if is_compat(old) {
        (r.cs, r.ss) = (CS, SS);
    }
    r
}

/// Registers with which the `int 0x80` at `code` makes a call of 32-bit programs.
pub(crate) fn compat_call_regs(old: &Regs, code: u64, stack: u64, nr: u64, args: [u64; 4]) -> Regs {
    let mut r = run_regs(old, code, stack, 0);
    (r.rbx, r.rcx, r.rdx, r.rsi) = (args[0], args[1], args[2], args[3]);
    r.rax = nr;
    r
}

/// `rt_sigaction` of 32-bit programs.
pub(crate) const COMPAT_RT_SIGACTION: u64 = 174;
/// End of what programs with pointers of 32 bits may map.
pub(crate) const COMPAT_TASK_SIZE: u64 = 0xffff_e000;

/// Code for leaving a program that has no such of its own, or not all: `syscall; ret`, then a call of `rt_sigreturn`,
/// then `int 0x80; ret`.
pub(crate) const PLANTED: [u8; 16] = [
    0x0f, 0x05, 0xc3, 0xb8, 15, 0, 0, 0, 0x0f, 0x05, 0xcd, 0x80, 0xc3, 0, 0, 0,
];

/// The gadgets in [`PLANTED`] at an address; beside them, where its `int 0x80` is.
pub(crate) fn planted(at: u64) -> (Gadgets, u64) {
    let gadgets = Gadgets {
        syscall: Some(at),
        syscall_ret: Some(at),
        sigreturn: Some(at + 3),
    };
    (gadgets, at + 10)
}

/// A system call's result.
pub(crate) fn result_of(regs: &Regs) -> i64 {
    regs.rax as i64
}

/// Where the task executes.
pub(crate) fn pc(regs: &Regs) -> u64 {
    regs.rip
}

/// Moves execution to `address`.
pub(crate) fn set_pc(regs: &mut Regs, address: u64) {
    regs.rip = address;
}

/// Where C libraries keep a thread's own data: that of 64-bit code and that of 32-bit code.
pub(crate) fn thread_pointers(regs: &Regs) -> [u64; 2] {
    [regs.fs_base, regs.gs_base]
}

/// The stack pointer.
pub(crate) fn sp(regs: &Regs) -> u64 {
    regs.rsp
}

/// `rt_sigreturn` does not restart interrupted calls as the end of a ptrace stop does, and drops the kernel's note for
/// that: returns the registers that lead to the same.
pub(crate) fn after_restart(regs: &Regs) -> Regs {
    Regs {
        orig_rax: if regs.orig_rax.cast_signed() < 0 {
            regs.orig_rax
        } else {
            u64::MAX
        },
        ..restarted(regs)
    }
}

/// A signal frame (`struct rt_sigframe`) that `rt_sigreturn` turns into `regs` and `mask`.
/// `code` is its first word: the code that calls `rt_sigreturn`, for a `ret` that comes upon the
/// frame. `xstate` is the address of [`xstate_in_frame`]'s bytes, or 0 for none.
pub(crate) fn frame(regs: &Regs, mask: u64, code: u64, xstate: u64) -> Vec<u8> {
    let mut words = [0u64; FRAME_SIZE as usize / 8];
    words[0] = code;
    words[1] = FRAME_FLAGS;
    words[4] = NO_STACK;
    let r = regs;
    let context = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax,
        r.rcx, r.rsp, r.rip, r.eflags,
    ];
    words[6..24].copy_from_slice(&context);
    words[24] = CS | SS << 48;
    if r.ss != 0 {
        words[24] = (r.cs & 0xffff) | (r.ss & 0xffff) << 48;
    }
    words[29] = xstate;
    words[38] = mask;
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Whether memory begins with a frame that [`frame`] has made: the kernel's own have other values there.
pub(crate) fn is_frame(bytes: &[u8]) -> bool {
    let word = |i: usize| {
        bytes
            .get(i * 8..i * 8 + 8)
            .map(|b| u64::from_le_bytes(std::array::from_fn(|i| b[i])))
    };
    (word(1), word(2), word(4)) == (Some(FRAME_FLAGS), Some(0), Some(NO_STACK))
}

/// The first argument of the call that a thread makes once it has returned through such a frame.
pub(crate) fn first_argument(frame: &[u8]) -> Option<u64> {
    const RDI: usize = 14 * 8;
    let word = frame.get(RDI..RDI + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const FRAME_FLAGS: u64 = 1 | 2 | 4;
/// `ss_flags` that nobody knows: the alternate stack stays as it is.
const NO_STACK: u64 = 0xff;

/// Alignment of the extended state in a signal frame.
pub(crate) const XSTATE_ALIGN: u64 = 64;

/// The extended state of `NT_X86_XSTATE` as a signal frame carries it.
pub(crate) fn xstate_in_frame(xstate: &[u8]) -> Vec<u8> {
    let mut out = xstate.to_vec();
    let size = out.len() as u32;
    if out.len() < 512 + 64 {
        return out;
    }
    let features: [u8; 8] = std::array::from_fn(|i| out[464 + i]);
    let software = &mut out[464..512];
    software.fill(0);
    software[0..4].copy_from_slice(&0x4650_5853u32.to_le_bytes());
    software[4..8].copy_from_slice(&(size + 4).to_le_bytes());
    software[8..16].copy_from_slice(&features);
    software[16..20].copy_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&0x4650_5845u32.to_le_bytes());
    out
}

/// Register set numbers of `PTRACE_GETREGSET`.
pub(crate) const NT_XSTATE: usize = 0x202;
/// User shadow stack.
pub(crate) const NT_SHSTK: usize = 0x204;

/// Arguments of the futex call that counts a thread out, in `left` (`unused` is a word nobody waits on).
pub(crate) fn count_out(left: u64, unused: u64) -> [u64; 6] {
    let op = (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as u64;
    [unused, op, 0, 1, left, COUNT_OUT]
}
