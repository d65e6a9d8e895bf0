//! What ptrace tells about a stopped task without running anything in it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::arch::{NT_SHSTK, NT_XSTATE, Regs};
use crate::error::{Error, Result};
use crate::sys;
use crate::tracee::Tracee;

/// Which queue of pending signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// The thread's own.
    Thread,
    /// The process's.
    Process,
}

/// A raw `siginfo_t`.
pub type SigInfo = [u8; 128];

/// `struct ptrace_rseq_configuration`: the thread's registered rseq area (Linux 5.13).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RseqConfig {
    /// Address of `struct rseq`, 0 if none is registered.
    pub address: u64,
    /// Its size.
    pub size: u32,
    /// The abort handler's signature.
    pub signature: u32,
    /// Zero.
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}

/// `struct ptrace_sud_config`: system call user dispatch (Linux 6.4).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserDispatch {
    /// `PR_SYS_DISPATCH_OFF` (0) or `PR_SYS_DISPATCH_ON` (1).
    pub mode: u64,
    /// Address of the selector byte.
    pub selector: u64,
    /// Start of the range that is always allowed.
    pub offset: u64,
    /// Length of that range.
    pub len: u64,
}

impl UserDispatch {
    /// In the form in which it can be set. The kernel keeps an inclusive range as the complement of it, which
    /// wraps around, and takes it back only as what it was.
    fn for_setting(self) -> Self {
        const INCLUSIVE: u64 = 2;
        let wraps = self.offset != 0 && self.offset.wrapping_add(self.len) <= self.offset;
        if self.mode == 0 || !wraps {
            return self;
        }
        Self {
            mode: INCLUSIVE,
            selector: self.selector,
            offset: self.offset.wrapping_add(self.len),
            len: self.len.wrapping_neg(),
        }
    }
}

/// One seccomp filter of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompFilter {
    /// `struct sock_filter` each, as in memory.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*` (0 where the kernel does not tell, before 4.14).
    pub flags: u64,
}

const GET_RSEQ: u32 = 0x420f;
const GET_USER_DISPATCH: u32 = 0x4211;
const SET_USER_DISPATCH: u32 = 0x4210;
/// Offset of `u_debugreg` in `struct user`.
const DEBUG_REGISTERS: usize = 848;
const SECCOMP_GET_FILTER: u32 = 0x420c;
const SECCOMP_GET_METADATA: u32 = 0x420d;
const PEEK_SHARED: u32 = 1;
const PTRACE_ARCH_PRCTL: u32 = 30;

impl Tracee {
    /// The general registers.
    pub fn regs(&self) -> Result<Regs> {
        let mut regs = std::mem::MaybeUninit::<Regs>::zeroed();
        // SAFETY: the request writes one `Regs`.
        unsafe {
            self.ask(
                "reading the registers",
                libc::PTRACE_GETREGS,
                0,
                regs.as_mut_ptr(),
            )
        }?;
        // SAFETY: integers, zeroed or written.
        Ok(unsafe { regs.assume_init() })
    }

    /// Sets the general registers.
    pub fn set_regs(&self, regs: &Regs) -> Result<()> {
        let regs = std::ptr::from_ref(regs).cast_mut();
        // SAFETY: the request reads one `Regs`.
        unsafe { self.ask("setting the registers", libc::PTRACE_SETREGS, 0, regs) }.map(drop)
    }

    /// The extended state (x87, SSE, AVX, ...) in the layout of XSAVE, as long as the kernel has it.
    pub fn xstate(&self) -> Result<Vec<u8>> {
        // Of all threads alike, and known once one has been read.
        static LENGTH: AtomicUsize = AtomicUsize::new(0x2000);
        let mut room = LENGTH.load(Ordering::Relaxed);
        loop {
            let mut state = vec![0u8; room];
            let mut iov = libc::iovec {
                iov_base: state.as_mut_ptr().cast(),
                iov_len: room,
            };
            // SAFETY: the request writes into the vector at most its length, and the length.
            unsafe {
                self.ask(
                    "reading the extended state",
                    libc::PTRACE_GETREGSET,
                    NT_XSTATE,
                    &raw mut iov,
                )
            }?;
            if iov.iov_len < room {
                state.truncate(iov.iov_len);
                // A word more than it has, to see that there is no more.
                LENGTH.store(iov.iov_len + 8, Ordering::Relaxed);
                return Ok(state);
            }
            room *= 2;
        }
    }

    /// Sets the extended state, as [`Self::xstate`] gave it.
    pub fn set_xstate(&self, state: &[u8]) -> Result<()> {
        let mut iov = libc::iovec {
            iov_base: state.as_ptr().cast_mut().cast(),
            iov_len: state.len(),
        };
        // SAFETY: the request reads the vector.
        unsafe {
            self.ask(
                "setting the extended state",
                libc::PTRACE_SETREGSET,
                NT_XSTATE,
                &raw mut iov,
            )
        }
        .map(drop)
    }

    /// The blocked signals; bit 0 is signal 1.
    pub fn sigmask(&self) -> Result<u64> {
        let mut mask = 0u64;
        // SAFETY: the request writes 8 bytes.
        unsafe {
            self.ask(
                "reading the signal mask",
                libc::PTRACE_GETSIGMASK,
                8,
                &raw mut mask,
            )
        }?;
        Ok(mask)
    }

    /// Sets the blocked signals.
    pub fn set_sigmask(&self, mask: u64) -> Result<()> {
        let mut mask = mask;
        // SAFETY: the request reads 8 bytes.
        unsafe {
            self.ask(
                "setting the signal mask",
                libc::PTRACE_SETSIGMASK,
                8,
                &raw mut mask,
            )
        }
        .map(drop)
    }

    /// The siginfo of the current [`crate::Stop::Signal`].
    pub fn siginfo(&self) -> Result<SigInfo> {
        let mut info = [0u8; 128];
        // SAFETY: the request writes one siginfo.
        unsafe { self.ask("reading a siginfo", libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr()) }?;
        Ok(info)
    }

    /// The pending signals of one queue, oldest first. They stay pending.
    pub fn pending(&self, queue: Queue) -> Result<Vec<SigInfo>> {
        const CHUNK: usize = 32;
        #[repr(C)]
        struct Args {
            off: u64,
            flags: u32,
            nr: i32,
        }
        let mut all: Vec<SigInfo> = Vec::new();
        loop {
            let mut chunk = [[0u8; 128]; CHUNK];
            let args = Args {
                off: all.len() as u64,
                flags: if queue == Queue::Process { PEEK_SHARED } else { 0 },
                nr: CHUNK as i32,
            };
            // SAFETY: the request reads `args` and writes at most `nr` siginfos.
            let n = unsafe {
                self.ask(
                    "reading the pending signals",
                    libc::PTRACE_PEEKSIGINFO,
                    &raw const args as usize,
                    chunk.as_mut_ptr(),
                )
            }? as usize;
            all.extend_from_slice(&chunk[..n.min(CHUNK)]);
            if n < CHUNK {
                return Ok(all);
            }
        }
    }

    /// The thread's rseq registration; `None` if the kernel cannot tell.
    pub fn rseq(&self) -> Result<Option<RseqConfig>> {
        let mut config = RseqConfig::default();
        let size = size_of::<RseqConfig>();
        // SAFETY: the request writes at most `size` bytes.
        optional(unsafe { self.ask("reading the rseq registration", GET_RSEQ, size, &raw mut config) })
            .map(|known| known.map(|_| config))
    }

    /// The thread's system call user dispatch; `None` if the kernel cannot tell.
    pub fn user_dispatch(&self) -> Result<Option<UserDispatch>> {
        let mut config = UserDispatch::default();
        let size = size_of::<UserDispatch>();
        // SAFETY: the request writes at most `size` bytes.
        optional(unsafe {
            self.ask(
                "reading the user dispatch",
                GET_USER_DISPATCH,
                size,
                &raw mut config,
            )
        })
        .map(|known| known.map(|_| config))
    }

    /// What a thread blocks while it runs for us: all but SIGTRAP, since a blocked one at a breakpoint would lose its
    /// handler. Where the kernel does not tell of user dispatch, SIGSYS is let through too: a call that is sent back to a
    /// thread which blocks it resets its action.
    pub(crate) fn mask_inside(&self) -> u64 {
        const TRAP: u64 = 1 << (libc::SIGTRAP - 1);
        const SYS: u64 = 1 << (libc::SIGSYS - 1);
        // The same for all threads.
        static TOLD: AtomicU8 = AtomicU8::new(UNKNOWN);
        const UNKNOWN: u8 = 2;
        let told = match TOLD.load(Ordering::Relaxed) {
            UNKNOWN => self.user_dispatch().map_or(true, |config| {
                TOLD.store(config.is_some().into(), Ordering::Relaxed);
                config.is_some()
            }),
            known => known != 0,
        };
        if told { !TRAP } else { !(TRAP | SYS) }
    }

    /// Switches system call user dispatch off, where it is on: code that is not the program's makes calls.
    pub(crate) fn suspend_dispatch(&self, config: Option<UserDispatch>) -> Result<()> {
        config.map_or(Ok(()), |_| self.set_user_dispatch(&UserDispatch::default()))
    }

    /// Puts back what [`Self::suspend_dispatch`] switched off.
    pub(crate) fn resume_dispatch(&self, config: Option<UserDispatch>) -> Result<()> {
        config.map_or(Ok(()), |config| self.set_user_dispatch(&config))
    }

    /// Sets the thread's system call user dispatch, as [`Self::user_dispatch`] gave it.
    ///
    /// # Errors
    /// The kernel cannot (before 6.4), or the values make no sense.
    pub fn set_user_dispatch(&self, config: &UserDispatch) -> Result<()> {
        let mut config = config.for_setting();
        let size = size_of::<UserDispatch>();
        // SAFETY: the request reads `size` bytes.
        unsafe {
            self.ask(
                "setting the user dispatch",
                SET_USER_DISPATCH,
                size,
                &raw mut config,
            )
        }
        .map(drop)
    }

    /// The hardware breakpoints that a debugger has left with the thread: debug registers 0 to 3 and 7; `None`
    /// if none is armed.
    ///
    /// # Errors
    /// The thread is not stopped.
    pub fn breakpoints(&self) -> Result<Option<[u64; 5]>> {
        let read = |number: usize| -> Result<u64> {
            let mut word = 0u64;
            // SAFETY: the request writes one word.
            unsafe {
                self.ask(
                    "reading a debug register",
                    libc::PTRACE_PEEKUSER,
                    DEBUG_REGISTERS + number * 8,
                    &raw mut word,
                )
            }?;
            Ok(word)
        };
        let control = read(7)?;
        if control & 0xff == 0 {
            return Ok(None);
        }
        Ok(Some([read(0)?, read(1)?, read(2)?, read(3)?, control]))
    }

    /// Arms hardware breakpoints, as [`Self::breakpoints`] gave them.
    ///
    /// # Errors
    /// The kernel takes none at these addresses.
    pub fn set_breakpoints(&self, registers: &[u64; 5]) -> Result<()> {
        for (number, value) in [0, 1, 2, 3, 7].into_iter().zip(registers) {
            // The value of the request stands where others have a pointer.
            let value = *value as usize;
            self.request(
                "setting a debug register",
                libc::PTRACE_POKEUSER,
                DEBUG_REGISTERS + number * 8,
                value,
            )?;
        }
        Ok(())
    }

    /// The shadow stack pointer of a thread whose user shadow stack is on (Linux 6.6), see
    /// Documentation/arch/x86/shstk.rst.
    pub fn shadow_stack_pointer(&self) -> Option<u64> {
        /// The kernel has no such thing, which it says by `EINVAL`; of a thread without one it says `ENODEV`.
        static UNKNOWN: AtomicBool = AtomicBool::new(false);
        if UNKNOWN.load(Ordering::Relaxed) {
            return None;
        }
        let mut ssp = 0u64;
        let mut iov = libc::iovec {
            iov_base: (&raw mut ssp).cast(),
            iov_len: 8,
        };
        // SAFETY: the request writes at most 8 bytes into the vector.
        let asked = unsafe {
            self.ask(
                "reading the shadow stack",
                libc::PTRACE_GETREGSET,
                NT_SHSTK,
                &raw mut iov,
            )
        };
        let unknown = matches!(
            asked,
            Err(Error::Sys {
                errno: Errno::EINVAL,
                ..
            })
        );
        UNKNOWN.fetch_or(unknown, Ordering::Relaxed);
        asked.is_ok().then_some(ssp)
    }

    /// Moves the shadow stack pointer of such a thread.
    pub fn set_shadow_stack_pointer(&self, ssp: u64) -> Result<()> {
        let mut ssp = ssp;
        let mut iov = libc::iovec {
            iov_base: (&raw mut ssp).cast(),
            iov_len: 8,
        };
        // SAFETY: the request reads 8 bytes from the vector.
        unsafe {
            self.ask(
                "setting the shadow stack pointer",
                libc::PTRACE_SETREGSET,
                NT_SHSTK,
                &raw mut iov,
            )
        }
        .map(drop)
    }

    /// Has the features of the user shadow stack (a mask of `ARCH_SHSTK_*`) stay as they are for the thread, or lets it
    /// change them again (for which the kernel needs `CONFIG_CHECKPOINT_RESTORE`).
    pub fn lock_shadow_stack(&self, features: u64, lock: bool) -> Result<()> {
        const ARCH_SHSTK_LOCK: usize = 0x5003;
        const ARCH_SHSTK_UNLOCK: usize = 0x5004;
        let (doing, which) = if lock {
            ("locking the features of its shadow stack", ARCH_SHSTK_LOCK)
        } else {
            ("unlocking the features of its shadow stack", ARCH_SHSTK_UNLOCK)
        };
        // SAFETY: the request takes the two numbers, the option as data.
        unsafe { sys::ptrace(self.tid(), doing, PTRACE_ARCH_PRCTL, features as usize, which) }.map(drop)
    }

    /// The seccomp filters of a task in filter mode, the one installed last first; empty without.
    /// Needs `CAP_SYS_ADMIN` and a kernel with `CONFIG_CHECKPOINT_RESTORE`.
    pub fn seccomp_filters(&self) -> Result<Vec<SeccompFilter>> {
        let mut filters = Vec::new();
        loop {
            let index = filters.len();
            let none = std::ptr::null_mut::<u8>();
            // SAFETY: without a buffer the request only tells the number of instructions.
            let count = match unsafe { self.ask("reading a seccomp filter", SECCOMP_GET_FILTER, index, none) }
            {
                // No filter of that number, or not in filter mode.
                Err(Error::Sys {
                    errno: Errno::ENOENT | Errno::EINVAL,
                    ..
                }) => return Ok(filters),
                other => other? as usize,
            };
            let mut program = vec![0u8; count * 8];
            // SAFETY: room for all instructions; the filter cannot change while the task stands.
            unsafe {
                self.ask(
                    "reading a seccomp filter",
                    SECCOMP_GET_FILTER,
                    index,
                    program.as_mut_ptr(),
                )
            }?;
            let mut metadata = [index as u64, 0];
            // SAFETY: the request reads and writes 16 bytes.
            optional(unsafe {
                self.ask(
                    "reading a seccomp filter's flags",
                    SECCOMP_GET_METADATA,
                    16,
                    metadata.as_mut_ptr(),
                )
            })?;
            filters.push(SeccompFilter {
                program,
                flags: metadata[1],
            });
        }
    }

    /// # Safety
    /// As [`sys::ptrace`].
    unsafe fn ask<T>(&self, doing: &'static str, request: u32, addr: usize, data: *mut T) -> Result<i64> {
        // SAFETY: the caller's promise.
        unsafe { sys::ptrace(self.tid(), doing, request, addr, data as usize) }
    }
}

/// `None` where the kernel does not know the request.
fn optional(asked: Result<i64>) -> Result<Option<i64>> {
    match asked {
        Ok(n) => Ok(Some(n)),
        Err(Error::Sys {
            errno: Errno::EIO | Errno::EINVAL | Errno::ENODEV,
            ..
        }) => Ok(None),
        Err(e) => Err(e),
    }
}
