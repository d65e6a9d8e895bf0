//! A process with the parasite in it.

use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use criu_blobs::PARASITE;
use criu_blobs::wire::{Call, Control, MAX_CALLS, MAX_TIMERS, ProcessInfo, Slot, TimerInfo, command};
use nix::errno::Errno;

use crate::arch::{self, Gadgets};
use crate::error::{Error, Result};
use crate::exit::{self, Context, Frames, OutsideCall, Place};
use crate::maps::Maps;
use crate::state::SigInfo;
use crate::sys;
use crate::tracee::{Resume, Stop, Tracee};

const PAGE: u64 = 4096;
/// Bytes of [`Infected::scratch`].
pub const SCRATCH_SIZE: u64 = 0x1_0000;
/// Threads that can be in the parasite at a time beside the leading one.
pub(crate) const SLOTS: u64 = 32;
/// All signals, and all but SIGTRAP: a blocked one at a breakpoint would lose its handler.
const ALL: u64 = !0;
pub(crate) const ALL_BUT_TRAP: u64 = !(1 << (libc::SIGTRAP - 1));
const SI_KERNEL: i32 = 0x80;
const O_SUSPEND_SECCOMP: i32 = 1 << 21;

/// Where everything lies in the mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) base: u64,
    pub(crate) total: u64,
    pub(crate) control: u64,
    pub(crate) slots: u64,
    pub(crate) slot_size: u64,
    stack: [u64; 2],
    scratch: u64,
}

impl Layout {
    /// `xstate` bytes are what a signal frame pushes beside its fixed part.
    fn new(base: u64, xstate: u64) -> Layout {
        let pages = |n: u64| n.next_multiple_of(PAGE);
        let control = base + pages(PARASITE.size as u64);
        let stack = control + pages(size_of::<Control>() as u64);
        let stack_end = stack + 0x8000 + pages(xstate);
        // Room for its own frames, a signal's, and its stack.
        let slot_size = 0x3000 + 2 * pages(xstate);
        let scratch = stack_end + SLOTS * slot_size;
        Layout {
            base,
            total: scratch + SCRATCH_SIZE - base,
            control,
            slots: stack_end,
            slot_size,
            stack: [stack, stack_end],
            scratch,
        }
    }

    pub(crate) fn slot(&self, index: u64) -> u64 {
        self.slots + index * self.slot_size
    }
}

/// An infection that failed; the task is as it was, if it lives.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct InfectError {
    /// The task, given back.
    pub tracee: Tracee,
    /// Why.
    #[source]
    pub error: Error,
}

/// A process with the parasite in it; its leading thread stands there and waits for commands.
///
/// Dropping it cures the process. If the tracer dies, the process cures itself: first the undo
/// table is run (see [`Infected::push_undo`]), then all is as it was.
#[derive(Debug)]
pub struct Infected {
    pub(crate) core: Option<Core>,
}

/// What [`Infected`] holds until it is cured.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) tracee: Tracee,
    pub(crate) context: Context,
    pub(crate) maps: Maps,
    pub(crate) gadgets: Gadgets,
    pub(crate) layout: Layout,
    /// `/proc/TID/mem`: also writes what the task itself may not.
    mem: File,
    place: Place,
    frames: Frames,
    /// What was where the frames are now; empty if there was nothing.
    below: Vec<u8>,
    undo: usize,
    /// SIGTRAPs that somebody sent meanwhile.
    requeue: Vec<SigInfo>,
    pub(crate) keep: bool,
    /// Slots that were in use.
    pub(crate) used_slots: usize,
}

impl Tracee {
    /// Puts the parasite into the process of this stopped thread. All threads of the process (and
    /// other processes that share its memory) should be stopped.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for 32-bit code, a shadow stack, an active user dispatch, or seccomp
    /// that this tracer may not suspend; [`Error::Remote`] if the process cannot map memory. The
    /// task comes back with the error, unchanged.
    pub fn infect(self) -> std::result::Result<Infected, InfectError> {
        let mut tracee = self;
        let prepared = match prepare(&mut tracee) {
            Ok(prepared) => prepared,
            Err(error) => return Err(InfectError { tracee, error }),
        };
        let mut core = prepared.with(tracee);
        match core.enter() {
            Ok(()) => Ok(Infected { core: Some(core) }),
            Err(error) => {
                if let Err(second) = core.retreat() {
                    tracing::warn!(tid = core.tracee.tid(), error = %second, "undoing a failed infection");
                }
                _ = core.tracee.set_options(0);
                Err(InfectError {
                    tracee: core.tracee,
                    error,
                })
            }
        }
    }
}

/// [`Core`] without its task.
struct Prepared {
    context: Context,
    maps: Maps,
    gadgets: Gadgets,
    layout: Layout,
    mem: File,
    place: Place,
    frames: Frames,
    below: Vec<u8>,
}

impl Prepared {
    fn with(self, tracee: Tracee) -> Core {
        Core {
            tracee,
            context: self.context,
            maps: self.maps,
            gadgets: self.gadgets,
            layout: self.layout,
            mem: self.mem,
            place: self.place,
            frames: self.frames,
            below: self.below,
            undo: 0,
            requeue: Vec::new(),
            keep: false,
            used_slots: 0,
        }
    }
}

/// Checks whether the thread can be infected, and saves what has to be restored.
pub(crate) fn check(tracee: &Tracee) -> Result<Context> {
    let tid = tracee.tid();
    let unsupported = |why| Err(Error::Unsupported { tid, why });
    let mut regs = tracee.regs()?;
    if arch::is_compat(&regs) {
        return unsupported("it runs 32-bit code; only 64-bit programs are supported");
    }
    if tracee.shadow_stack() {
        return unsupported(
            "it has a user shadow stack; start it without (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off)",
        );
    }
    if tracee.user_dispatch()?.is_some_and(|d| d.mode != 0) {
        return unsupported("it redirects its system calls (PR_SET_SYSCALL_USER_DISPATCH)");
    }
    suspend_seccomp(tracee)?;
    abort_rseq(tracee, &mut regs)?;
    Ok(Context {
        regs,
        xstate: tracee.xstate()?,
        mask: tracee.sigmask()?,
    })
}

fn suspend_seccomp(tracee: &Tracee) -> Result<()> {
    let tid = tracee.tid();
    match tracee.set_options(O_SUSPEND_SECCOMP) {
        Err(Error::Sys {
            errno: Errno::EPERM | Errno::EINVAL,
            ..
        }) => {
            let path = format!("/proc/{tid}/status");
            let status = std::fs::read_to_string(&path).map_err(|e| Error::Proc {
                path: path.clone(),
                why: e.to_string(),
            })?;
            if status
                .lines()
                .any(|l| l.strip_prefix("Seccomp:").is_some_and(|m| m.trim() != "0"))
            {
                let why = "it runs under seccomp, and suspending that needs CAP_SYS_ADMIN, CONFIG_CHECKPOINT_RESTORE \
                           and a tracer that is not under seccomp itself";
                return Err(Error::Unsupported { tid, why });
            }
            Ok(())
        }
        other => other,
    }
}

/// A thread stopped inside a restartable sequence continues at its abort handler, as after any
/// preemption: running other code makes the kernel forget that it was inside.
fn abort_rseq(tracee: &Tracee, regs: &mut arch::Regs) -> Result<()> {
    let tid = tracee.tid();
    let Some(config) = tracee.rseq()?.filter(|c| c.address != 0) else {
        return Ok(());
    };
    // SAFETY: an integer.
    let section: u64 = unsafe { sys::read_value(tid, config.address + 8) }?;
    if section == 0 {
        return Ok(());
    }
    // struct rseq_cs: version and flags, start, length, abort address.
    // SAFETY: integers.
    let Ok([_, start, length, abort]) = (unsafe { sys::read_value::<[u64; 4]>(tid, section) }) else {
        return Ok(());
    };
    if arch::pc(regs).wrapping_sub(start) < length {
        arch::set_pc(regs, abort);
    }
    Ok(())
}

fn prepare(tracee: &mut Tracee) -> Result<Prepared> {
    let tid = tracee.tid();
    let context = check(tracee)?;
    let maps = Maps::read(tid)?;
    let gadgets = maps.gadgets(tid);
    if gadgets.syscall.is_none() {
        return Err(Error::Unsupported {
            tid,
            why: "no executable mapping holds a system call instruction",
        });
    }
    let size = exit::size(&context);
    let total = Layout::new(0, context.xstate.len() as u64).total;
    let base = maps.room(total).ok_or(Error::Unsupported {
        tid,
        why: "its address space is full",
    })?;
    let layout = Layout::new(base, context.xstate.len() as u64);
    let path = format!("/proc/{tid}/mem");
    let mem = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| Error::Proc {
            path,
            why: e.to_string(),
        })?;
    let unmap = OutsideCall {
        nr: libc::SYS_munmap as u64,
        args: [base, total, 0, 0, 0, 0],
    };
    let place = if gadgets.complete() {
        exit::place(&maps, &context.regs, size, true)
    } else {
        Place::Inside
    };
    let mut below = Vec::new();
    let frames = match place {
        Place::Outside(at) => exit::build(at, &context, &gadgets, unmap),
        Place::Inside => {
            tracing::warn!(
                tid,
                "the process has no code or room for its own way out: a killed tracer may harm it"
            );
            exit::build(
                layout.slots - size.next_multiple_of(64),
                &context,
                &gadgets,
                unmap,
            )
        }
    };
    if let Place::Outside(at) = place {
        below = vec![0; frames.bytes.len()];
        if mem.read_exact_at(&mut below, at).is_err() {
            below.clear();
        }
        write_all(tid, &mem, at, &frames.bytes)?;
    }
    Ok(Prepared {
        context,
        maps,
        gadgets,
        layout,
        mem,
        place,
        frames,
        below,
    })
}

/// Writes through `/proc/TID/mem`.
fn write_all(tid: i32, mem: &File, address: u64, bytes: &[u8]) -> Result<()> {
    #[cfg(test)]
    crate::tests::step();
    mem.write_all_at(bytes, address).map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        Error::Memory {
            tid,
            doing: "writing",
            address,
            len: bytes.len(),
            errno,
        }
    })
}

impl Core {
    fn protected(&self) -> bool {
        matches!(self.place, Place::Outside(_)) && self.gadgets.complete()
    }

    /// A system call by code of the target outside of the blob, from any stop; ends in an event
    /// stop. If the tracer dies, the thread goes on to the frame at `then`.
    fn outside_call(&mut self, call: OutsideCall, then: u64) -> Result<i64> {
        const DOING: &str = "making a system call in it";
        let (code, stack) = if self.protected() {
            (self.gadgets.syscall_ret.unwrap_or_default(), then)
        } else {
            (
                self.gadgets.syscall.unwrap_or_default(),
                arch::sp(&self.context.regs),
            )
        };
        self.tracee.set_regs(&arch::call_regs(
            &self.context.regs,
            code,
            stack,
            call.nr,
            call.args,
        ))?;
        self.tracee.set_sigmask(ALL)?;
        for _ in 0..2 {
            self.tracee
                .resume_until(Resume::ToSyscall, DOING, |s| s == Stop::Syscall)?;
        }
        Ok(arch::result_of(&self.tracee.regs()?))
    }

    fn checked(&mut self, name: &'static str, call: OutsideCall, then: u64) -> Result<i64> {
        let result = self.outside_call(call, then)?;
        self.result(name, result)
    }

    fn result(&self, call: &'static str, result: i64) -> Result<i64> {
        if (-4095..0).contains(&result) {
            return Err(Error::Remote {
                tid: self.tracee.tid(),
                call,
                errno: Errno::from_raw(-result as i32),
            });
        }
        Ok(result)
    }

    /// Maps the blob, starts it, and waits until it asks for a command.
    fn enter(&mut self) -> Result<()> {
        let l = self.layout;
        let tid = self.tracee.tid();
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let prot = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let mut map = OutsideCall {
            nr: libc::SYS_mmap as u64,
            args: [l.base, l.total, prot, flags, u64::MAX, 0],
        };
        let first = self.frames.at;
        let mut got = self.outside_call(map, first)?;
        // Some do not allow memory to be written and executed (PR_SET_MDWE, security modules).
        let separate = matches!(-got as i32, libc::EACCES | libc::EPERM);
        if separate {
            map.args[2] = (libc::PROT_READ | libc::PROT_EXEC) as u64;
            got = self.outside_call(map, first)?;
        }
        if self.result("mmap", got)? as u64 != l.base {
            return Err(Error::Answer { tid, doing: "mmap" });
        }
        let entered = self.start(first, separate);
        if entered.is_err() {
            self.unmap()?;
        }
        entered
    }

    /// `separate`: what is to be written is not writable yet.
    fn start(&mut self, first: u64, separate: bool) -> Result<()> {
        let l = self.layout;
        let tid = self.tracee.tid();
        let rw = l.base + PARASITE.rw_start as u64;
        let protect = OutsideCall {
            nr: libc::SYS_mprotect as u64,
            args: [
                rw,
                l.base + l.total - rw,
                (libc::PROT_READ | libc::PROT_WRITE) as u64,
                0,
                0,
                0,
            ],
        };
        if separate {
            self.checked("mprotect", protect, first)?;
        }
        write_all(tid, &self.mem, l.base, &PARASITE.relocated(l.base))?;
        if self.place == Place::Inside {
            write_all(tid, &self.mem, self.frames.at, &self.frames.bytes)?;
        }
        let head = self.control_head();
        write_all(tid, &self.mem, l.control, &head)?;
        let entry = PARASITE.entry("init").ok_or(Error::Answer {
            tid,
            doing: "the blob's entry",
        })?;
        // Frames inside of the mapping lie at the top of the stack.
        let top = if self.place == Place::Inside {
            self.frames.at & !63
        } else {
            l.stack[1]
        };
        let regs = arch::run_regs(&self.context.regs, l.base + entry as u64, top - 64, l.control);
        // In this order: until the registers are set, the frames still restore the mask; behind
        // them a breakpoint may be met, which must not find SIGTRAP blocked.
        self.tracee.set_sigmask(ALL_BUT_TRAP)?;
        self.tracee.set_regs(&regs)?;
        self.run()
    }

    /// The control block up to the calls; the rest starts as zeros.
    fn control_head(&self) -> Vec<u8> {
        let l = &self.layout;
        let len = offset_of!(Control, calls);
        let mut head = vec![0u8; len];
        let mut put = |at: usize, value: u64| head[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(offset_of!(Control, stack), l.stack[0]);
        put(offset_of!(Control, stack) + 8, l.stack[1]);
        if self.protected() {
            put(offset_of!(Control, exit_frame), self.frames.at);
            put(
                offset_of!(Control, syscall_ret),
                self.gadgets.syscall_ret.unwrap_or(0),
            );
            put(
                offset_of!(Control, sigreturn),
                self.gadgets.sigreturn.unwrap_or(0),
            );
        }
        put(offset_of!(Control, last_frame), self.frames.last);
        put(offset_of!(Control, slots), l.slots);
        put(offset_of!(Control, slot_size), l.slot_size);
        put(offset_of!(Control, slot_count), SLOTS);
        head
    }

    /// Lets the leading thread run in the blob until its next breakpoint.
    fn run(&mut self) -> Result<()> {
        const DOING: &str = "running the parasite in it";
        loop {
            self.tracee.resume_until(Resume::Cont, DOING, |s| {
                s == Stop::Signal {
                    signal: libc::SIGTRAP,
                }
            })?;
            let info = self.tracee.siginfo()?;
            if code_of(&info) == SI_KERNEL {
                return Ok(());
            }
            self.requeue.push(info);
        }
    }

    /// Unmaps the blob by code outside of it, from an event or syscall stop.
    fn unmap(&mut self) -> Result<()> {
        let l = self.layout;
        let unmap = OutsideCall {
            nr: libc::SYS_munmap as u64,
            args: [l.base, l.total, 0, 0, 0, 0],
        };
        self.checked("munmap", unmap, self.frames.last).map(drop)
    }

    /// Back to the interrupted context, from an event stop; the blob is not mapped (any more).
    fn retreat(&mut self) -> Result<()> {
        self.tracee.set_sigmask(self.context.mask)?;
        self.tracee.set_xstate(&self.context.xstate)?;
        self.tracee.set_regs(&self.context.regs)?;
        if let Place::Outside(at) = self.place {
            let zeros = vec![0; self.frames.bytes.len()];
            let old = if self.below.is_empty() {
                &zeros
            } else {
                &self.below
            };
            write_all(self.tracee.tid(), &self.mem, at, old)?;
        }
        Ok(())
    }

    fn cure(&mut self) -> Result<()> {
        let l = self.layout;
        // Straight from the breakpoint: should the tracer die now, the handler gets its SIGTRAP, finds
        // the thread outside and sends it on.
        let old = l.control + offset_of!(Control, old_trap) as u64;
        let trap = libc::SIGTRAP as u64;
        let action = OutsideCall {
            nr: libc::SYS_rt_sigaction as u64,
            args: [trap, old, 0, 8, 0, 0],
        };
        // If we die now the thread goes on through the frames: unmap, restore.
        self.checked("rt_sigaction", action, self.frames.at)?;
        self.send_again()?;
        let unmap = OutsideCall {
            nr: libc::SYS_munmap as u64,
            args: [l.base, l.total, 0, 0, 0, 0],
        };
        self.checked("munmap", unmap, self.frames.last)?;
        self.retreat()?;
        self.tracee.set_options(0)
    }

    /// SIGTRAPs from elsewhere become pending again; they are blocked here.
    fn send_again(&mut self) -> Result<()> {
        if self.requeue.is_empty() {
            return Ok(());
        }
        let ids = [libc::SYS_getpid, libc::SYS_gettid];
        let mut got = [0u64; 2];
        for (id, nr) in got.iter_mut().zip(ids) {
            *id = self.checked(
                "getpid",
                OutsideCall {
                    nr: nr as u64,
                    args: [0; 6],
                },
                self.frames.at,
            )? as u64;
        }
        for info in std::mem::take(&mut self.requeue) {
            sys::write_mem(self.tracee.tid(), self.layout.scratch, &info)?;
            let args = [got[0], got[1], libc::SIGTRAP as u64, self.layout.scratch, 0, 0];
            let send = OutsideCall {
                nr: libc::SYS_rt_tgsigqueueinfo as u64,
                args,
            };
            self.checked("rt_tgsigqueueinfo", send, self.frames.at)?;
        }
        Ok(())
    }

    pub(crate) fn write_control(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        sys::write_mem(self.tracee.tid(), self.layout.control + offset as u64, bytes)
    }

    fn command(&mut self, which: u32) -> Result<()> {
        self.write_control(offset_of!(Control, command), &which.to_le_bytes())?;
        self.run()
    }
}

fn code_of(info: &SigInfo) -> i32 {
    i32::from_le_bytes([info[8], info[9], info[10], info[11]])
}

impl Infected {
    /// The leading thread. It may be asked for anything that does not change it; its registers are
    /// the parasite's, those of the program are [`Self::regs`].
    pub fn tracee(&self) -> &Tracee {
        &self.core().tracee
    }

    /// The program's general registers, to which the cure will return.
    pub fn regs(&self) -> &arch::Regs {
        &self.core().context.regs
    }

    /// The program's extended state.
    pub fn xstate(&self) -> &[u8] {
        &self.core().context.xstate
    }

    /// The program's signal mask.
    pub fn sigmask(&self) -> u64 {
        self.core().context.mask
    }

    /// The whole mapping of the parasite, to be left out when the memory is looked at.
    pub fn mapping(&self) -> Range<u64> {
        let l = self.core().layout;
        l.base..l.base + l.total
    }

    /// Memory of the target that is free for the caller's buffers; [`SCRATCH_SIZE`] bytes.
    pub fn scratch(&self) -> Range<u64> {
        let at = self.core().layout.scratch;
        at..at + SCRATCH_SIZE
    }

    /// Reads memory of the target.
    pub fn read_mem(&self, address: u64, to: &mut [u8]) -> Result<()> {
        sys::read_mem(self.tracee().tid(), address, to)
    }

    /// Writes memory of the target.
    pub fn write_mem(&self, address: u64, from: &[u8]) -> Result<()> {
        sys::write_mem(self.tracee().tid(), address, from)
    }

    /// Makes one system call in the target; returns what the kernel returned (`-errno` on failure).
    ///
    /// Calls that block wait for ever: signals are blocked. Those that change what the cure needs
    /// (registers, the mapping, `SIGTRAP`'s action) must not be made.
    pub fn syscall(&mut self, nr: i64, args: [u64; 6]) -> Result<i64> {
        let mut call = [Call {
            nr: nr as u64,
            args,
            result: 0,
        }];
        self.syscalls(&mut call)?;
        Ok(call[0].result)
    }

    /// Makes system calls in order, also after one fails; the results are in [`Call::result`].
    pub fn syscalls(&mut self, calls: &mut [Call]) -> Result<()> {
        let core = self.core_mut();
        for chunk in calls.chunks_mut(MAX_CALLS) {
            let calls_at = offset_of!(Control, calls);
            core.write_control(calls_at, bytes_of_slice(chunk))?;
            core.write_control(
                offset_of!(Control, call_count),
                &(chunk.len() as u32).to_le_bytes(),
            )?;
            core.command(command::CALLS)?;
            let mut answer = vec![0u8; size_of_val(chunk)];
            sys::read_mem(
                core.tracee.tid(),
                core.layout.control + calls_at as u64,
                &mut answer,
            )?;
            for (call, bytes) in chunk.iter_mut().zip(answer.chunks_exact(size_of::<Call>())) {
                let result = offset_of!(Call, result);
                call.result = i64::from_le_bytes(std::array::from_fn(|i| bytes[result + i]));
            }
        }
        Ok(())
    }

    /// Adds a system call that the process makes by itself, last added first, should the tracer die
    /// while it is infected. An ordinary cure does not run the table.
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond 64 calls.
    pub fn push_undo(&mut self, nr: i64, args: [u64; 6]) -> Result<()> {
        let core = self.core_mut();
        if core.undo == MAX_CALLS {
            return Err(Error::TooMany {
                what: "calls to undo",
                given: MAX_CALLS + 1,
                limit: MAX_CALLS,
            });
        }
        let call = [Call {
            nr: nr as u64,
            args,
            result: 0,
        }];
        core.write_control(
            offset_of!(Control, undo) + core.undo * size_of::<Call>(),
            bytes_of_slice(&call),
        )?;
        core.set_undo(core.undo + 1)
    }

    /// Takes the call added last away again: it has been made, or is not needed any more.
    pub fn pop_undo(&mut self) -> Result<()> {
        let core = self.core_mut();
        core.set_undo(core.undo.saturating_sub(1))
    }

    /// Asks for the process-wide state. A field that is a call's result is `-errno` where it failed.
    pub fn process_info(&mut self) -> Result<Box<ProcessInfo>> {
        let core = self.core_mut();
        core.command(command::PROCESS)?;
        let at = core.layout.control + offset_of!(Control, process) as u64;
        // SAFETY: integers.
        let info = Box::new(unsafe { sys::read_value::<ProcessInfo>(core.tracee.tid(), at) }?);
        core.result("a query of the process", info.error)?;
        Ok(info)
    }

    /// Asks for the state of POSIX timers, by the kernel's ids.
    pub fn timers(&mut self, ids: &[i32]) -> Result<Vec<TimerInfo>> {
        let core = self.core_mut();
        let mut all = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(MAX_TIMERS) {
            let asked: Vec<_> = chunk
                .iter()
                .map(|id| TimerInfo {
                    id: i64::from(*id),
                    ..TimerInfo::default()
                })
                .collect();
            core.write_control(offset_of!(Control, timers), bytes_of_slice(&asked))?;
            core.write_control(
                offset_of!(Control, timer_count),
                &(chunk.len() as u32).to_le_bytes(),
            )?;
            core.command(command::TIMERS)?;
            let at = core.layout.control + offset_of!(Control, timers) as u64;
            // SAFETY: integers.
            let answers = unsafe { sys::read_value::<[TimerInfo; MAX_TIMERS]>(core.tracee.tid(), at) }?;
            all.extend_from_slice(&answers[..chunk.len()]);
        }
        Ok(all)
    }

    /// Removes the parasite and restores registers, extended state and signal mask. The thread
    /// stays stopped; [`Tracee::detach`] lets it go on, with an interrupted system call restarted.
    ///
    /// # Errors
    /// [`Error::Died`] and the like; the task is then in an unknown state and detached from.
    pub fn cure(mut self) -> Result<Tracee> {
        let Some(mut core) = self.core.take() else {
            unreachable!("held until here")
        };
        core.cure()?;
        Ok(core.tracee)
    }

    /// Forgets the parasite of a process that has been killed, see [`Tracee::bury`].
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn bury(mut self) -> Result<()> {
        let Some(core) = self.core.take() else {
            unreachable!("held until here")
        };
        core.tracee.bury()
    }

    #[expect(
        clippy::expect_used,
        reason = "taken only by cure and drop, which consume the value"
    )]
    pub(crate) fn core(&self) -> &Core {
        self.core.as_ref().expect("held until the cure")
    }

    #[expect(
        clippy::expect_used,
        reason = "taken only by cure and drop, which consume the value"
    )]
    pub(crate) fn core_mut(&mut self) -> &mut Core {
        self.core.as_mut().expect("held until the cure")
    }
}

impl Core {
    fn set_undo(&mut self, count: usize) -> Result<()> {
        self.write_control(offset_of!(Control, undo_count), &(count as u32).to_le_bytes())?;
        self.undo = count;
        Ok(())
    }
}

impl Drop for Infected {
    fn drop(&mut self) {
        if let Some(mut core) = self.core.take()
            && let Err(error) = core.cure()
        {
            tracing::warn!(tid = core.tracee.tid(), %error, "curing a dropped process");
        }
    }
}

/// Bytes of the wire's structs, which are made of integers without padding.
pub(crate) fn bytes_of_slice<T: Wire>(values: &[T]) -> &[u8] {
    // SAFETY: `Wire` is implemented only for structs without padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// Structs of 8-byte integers (or pairs of 4-byte ones): no padding.
pub(crate) trait Wire: Copy {}
impl Wire for Call {}
impl Wire for TimerInfo {}
impl Wire for Slot {}
