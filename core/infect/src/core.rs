//! Getting the parasite into a process and out again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use criu_blobs::PARASITE;
use criu_blobs::wire::{self, Call, Control, FIRST_UNDO, SigAction, Slot, TimerInfo, Undo};
use nix::errno::Errno;

use crate::arch::{self, Abi, Gadgets};
use crate::check::{abi_of, check};
use crate::error::{Error, Result};
use crate::exit::{self, Context, Frames, OutsideCall, Place, Shadow};
use crate::limits;
use crate::maps::{LowEnd, Maps};
use crate::state::{Queue, SigInfo};
use crate::sys;
use crate::tracee::{Resume, Stop, Tracee};
use crate::undo::UndoTable;

const PAGE: u64 = 4096;
/// Bytes of [`crate::Infected::scratch`].
pub const SCRATCH_SIZE: u64 = 0x1_0000;
/// Threads that can be in the parasite at a time beside the leading one.
pub(crate) const SLOTS: u64 = 32;
/// All signals.
const ALL: u64 = !0;
const SI_KERNEL: i32 = 0x80;

/// Where everything lies in the mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) base: u64,
    pub(crate) total: u64,
    pub(crate) control: u64,
    pub(crate) slots: u64,
    pub(crate) slot_size: u64,
    stack: [u64; 2],
    pub(crate) undo: u64,
    pub(crate) scratch: u64,
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
        let undo = stack_end + SLOTS * slot_size;
        let scratch = undo + pages((FIRST_UNDO * size_of::<Undo>()) as u64);
        Layout {
            base,
            total: scratch + SCRATCH_SIZE - base,
            control,
            slots: stack_end,
            slot_size,
            stack: [stack, stack_end],
            undo,
            scratch,
        }
    }

    pub(crate) fn slot(&self, index: u64) -> u64 {
        self.slots + index * self.slot_size
    }
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
    pub(crate) mem: File,
    place: Place,
    frames: Frames,
    /// What the main stack has left for frames of threads.
    pub(crate) main_stack: Option<LowEnd>,
    /// What was where the frames are now; empty if there was nothing.
    below: Vec<u8>,
    pub(crate) undo: UndoTable,
    /// SIGTRAPs that were pending, or that somebody sent meanwhile.
    pub(crate) held: Vec<Held>,
    /// How many of the thread's own are among those that were pending.
    own_traps: usize,
    pub(crate) keep: bool,
    /// Slots that were in use.
    pub(crate) used_slots: usize,
    /// Which calls the program makes.
    pub(crate) abi: Abi,
    planted: Option<Planted>,
    /// Processes that threads are to look at.
    pub(crate) witnesses: HashMap<i32, i32>,
}

/// A SIGTRAP that was not the parasite's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The thread that it was sent to, in the target's namespace; 0 for the leading one, `None` for the process.
    pub(crate) thread: Option<i32>,
    pub(crate) info: SigInfo,
}

/// Code for leaving that was put where zeros had been.
#[derive(Debug, Clone, Copy)]
struct Planted {
    at: u64,
    /// `int 0x80; ret` in it.
    int80: u64,
}

/// [`Core`] without its task.
pub(crate) struct Prepared {
    context: Context,
    maps: Maps,
    gadgets: Gadgets,
    layout: Layout,
    mem: File,
    place: Place,
    frames: Frames,
    main_stack: Option<LowEnd>,
    below: Vec<u8>,
    abi: Abi,
    planted: Option<Planted>,
    own_traps: usize,
}

impl Prepared {
    pub(crate) fn with(self, tracee: Tracee) -> Core {
        Core {
            tracee,
            context: self.context,
            maps: self.maps,
            gadgets: self.gadgets,
            layout: self.layout,
            mem: self.mem,
            place: self.place,
            frames: self.frames,
            main_stack: self.main_stack,
            below: self.below,
            undo: UndoTable::new(self.layout.undo),
            held: Vec::new(),
            own_traps: self.own_traps,
            keep: false,
            used_slots: 0,
            abi: self.abi,
            planted: self.planted,
            witnesses: HashMap::new(),
        }
    }
}

pub(crate) fn prepare(tracee: &mut Tracee) -> Result<Prepared> {
    let tid = tracee.tid();
    let context = check(tracee)?;
    let own_traps = tracee
        .pending(Queue::Thread)?
        .iter()
        .filter(|info| i32::from(info[0]) == libc::SIGTRAP)
        .count();
    let maps = Maps::read(tid)?;
    let path = format!("/proc/{tid}/mem");
    let mem = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| Error::Proc {
            path,
            why: e.to_string(),
        })?;
    let abi = abi_of(tid, &context.regs);
    let (gadgets, planted) = match abi {
        Abi::Native => (maps.gadgets(tid), None),
        // Its own code makes other calls.
        Abi::Ia32 | Abi::X32 => match maps.end_of_vdso(&arch::PLANTED, &mem) {
            Some(at) => {
                let (gadgets, int80) = arch::planted(at);
                (gadgets, Some(Planted { at, int80 }))
            }
            None if abi == Abi::X32 => (maps.gadgets(tid), None),
            None => {
                return Err(Error::Unsupported {
                    tid,
                    why: "it is a 32-bit program without a vdso (vdso32=0)",
                });
            }
        },
    };
    if gadgets.syscall.is_none() {
        return Err(Error::Unsupported {
            tid,
            why: "no executable mapping holds a system call instruction",
        });
    }
    check_shadow(tid, &context, &maps)?;
    let size = exit::size(&context);
    let total = Layout::new(0, context.xstate.len() as u64).total;
    let limit = if abi == Abi::Native {
        arch::TASK_SIZE
    } else {
        arch::COMPAT_TASK_SIZE
    };
    let base = maps.room(tid, total, limit)?.ok_or(Error::Unsupported {
        tid,
        why: "its address space is full",
    })?;
    let layout = Layout::new(base, context.xstate.len() as u64);
    let unmap = OutsideCall {
        nr: libc::SYS_munmap as u64,
        args: [base, total, 0, 0, 0, 0],
    };
    let mut main_stack = maps.main_stack(tid, arch::sp(&context.regs));
    let place = if gadgets.complete() {
        exit::place(tid, &maps, &context.regs, size, &mut main_stack)
    } else {
        Place::Inside
    };
    let mut below = Vec::new();
    let frames = match place.outside() {
        Some(at) => exit::build(at, &context, &gadgets, unmap),
        None => {
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
    if let Some(at) = place.outside() {
        below = vec![0; frames.bytes.len()];
        if mem.read_exact_at(&mut below, at).is_err() {
            below.clear();
        }
        write_all(tid, &mem, at, &frames.bytes)?;
    }
    if let Some(planted) = planted {
        write_all(tid, &mem, planted.at, &arch::PLANTED)?;
    }
    if let Some(shadow) = frames.shadow {
        write_all(tid, &mem, shadow.first(), &shadow.bytes())?;
    }
    Ok(Prepared {
        context,
        maps,
        gadgets,
        layout,
        mem,
        place,
        frames,
        main_stack,
        below,
        abi,
        planted,
        own_traps,
    })
}

/// Checks that there is room for the way out below the shadow stack pointer of a thread that has one.
pub(crate) fn check_shadow(tid: i32, context: &Context, maps: &Maps) -> Result<()> {
    let full = context
        .shadow
        .is_some_and(|ssp| !maps.has_shadow_room(ssp, Shadow::ROOM));
    if full {
        let why = "its user shadow stack is full, or its pointer is not in one";
        return Err(Error::Unsupported { tid, why });
    }
    Ok(())
}

/// Writes through `/proc/TID/mem`, by which a stack grows, and which takes writes to shadow stacks.
pub(crate) fn write_all(tid: i32, mem: &File, address: u64, bytes: &[u8]) -> Result<()> {
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
        self.place != Place::Inside && self.gadgets.complete()
    }

    /// A system call by code of the target outside of the blob, from any stop; ends in an event
    /// stop. If the tracer dies, the thread goes on to the frame at `then`.
    fn outside_call(&mut self, call: OutsideCall, then: u64) -> Result<i64> {
        let (code, stack) = if self.protected() {
            (self.gadgets.syscall_ret.unwrap_or_default(), then)
        } else {
            (
                self.gadgets.syscall.unwrap_or_default(),
                arch::sp(&self.context.regs),
            )
        };
        let regs = arch::call_regs(&self.context.regs, code, stack, call.nr, call.args);
        let shadow = if self.protected() {
            self.frames.shadow_at(then)
        } else {
            self.context.shadow
        };
        self.move_shadow(shadow)?;
        self.make_call(&regs)
    }

    /// Moves the shadow stack pointer, if there is one. Between this and the registers that belong to it a thread cannot
    /// go on by itself: the kernel has no call that sets both.
    fn move_shadow(&self, to: Option<u64>) -> Result<()> {
        to.map_or(Ok(()), |to| self.tracee.set_shadow_stack_pointer(to))
    }

    /// Lets the thread make the call that its registers are set up for.
    fn make_call(&mut self, regs: &arch::Regs) -> Result<i64> {
        const DOING: &str = "making a system call in it";
        self.tracee.set_regs(regs)?;
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

    pub(crate) fn result(&self, call: &'static str, result: i64) -> Result<i64> {
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
    pub(crate) fn enter(&mut self) -> Result<()> {
        let l = self.layout;
        let tid = self.tracee.tid();
        self.tracee.suspend_dispatch(self.context.dispatch)?;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let prot = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let mut map = OutsideCall {
            nr: libc::SYS_mmap as u64,
            args: [l.base, l.total, prot, flags, u64::MAX, 0],
        };
        let first = self.frames.at;
        let (mut got, limits) = limits::with_room(tid, || self.outside_call(map, first))?;
        // Some do not allow memory to be written and executed (PR_SET_MDWE, security modules).
        let separate = matches!(-got as i32, libc::EACCES | libc::EPERM);
        if separate {
            map.args[2] = (libc::PROT_READ | libc::PROT_EXEC) as u64;
            got = self.outside_call(map, first)?;
        }
        if got == -i64::from(libc::ENOMEM) && !limits.is_empty() {
            let limits = limits.join(", ");
            return Err(Error::Limited { tid, limits });
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
        self.tracee.set_sigmask(self.tracee.mask_inside())?;
        self.move_shadow(self.frames.shadow.map(|shadow| shadow.first()))?;
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
        if let Some(shadow) = self.frames.shadow {
            put(offset_of!(Control, exit_pair), shadow.first());
            put(offset_of!(Control, last_pair), shadow.last());
        }
        put(offset_of!(Control, slots), l.slots);
        put(offset_of!(Control, slot_size), l.slot_size);
        put(offset_of!(Control, slot_count), SLOTS);
        put(offset_of!(Control, undo), l.undo);
        put(offset_of!(Control, abi), self.abi.number().into());
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
            if is_breakpoint(&info) {
                return Ok(());
            }
            // A thread is given its own signals first.
            let own = self.held.iter().filter(|held| held.thread == Some(0)).count() < self.own_traps;
            self.held.push(Held {
                thread: own.then_some(0),
                info,
            });
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
    pub(crate) fn retreat(&mut self) -> Result<()> {
        self.tracee.set_sigmask(self.context.mask)?;
        self.tracee.set_xstate(&self.context.xstate)?;
        self.move_shadow(self.context.shadow)?;
        self.tracee.set_regs(&self.context.regs)?;
        self.tracee.resume_dispatch(self.context.dispatch)?;
        if let Some(planted) = self.planted {
            let zeros = [0; arch::PLANTED.len()];
            write_all(self.tracee.tid(), &self.mem, planted.at, &zeros)?;
        }
        if let Some(at) = self.place.outside() {
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

    pub(crate) fn cure(&mut self) -> Result<()> {
        let l = self.layout;
        self.drop_undo_mapping()?;
        self.tracee.halt()?;
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
        self.restore_action_by_its_call()?;
        self.send_again()?;
        let unmap = OutsideCall {
            nr: libc::SYS_munmap as u64,
            args: [l.base, l.total, 0, 0, 0, 0],
        };
        self.checked("munmap", unmap, self.frames.last)?;
        self.retreat()?;
        self.tracee.set_options(0)
    }

    /// Of a program that makes other calls: the action of SIGTRAP once more, by its own call, by which the kernel
    /// knows what sort of a handler it is.
    fn restore_action_by_its_call(&mut self) -> Result<()> {
        if self.abi == Abi::Native {
            return Ok(());
        }
        let tid = self.tracee.tid();
        let at = self.layout.control + offset_of!(Control, old_trap) as u64;
        // SAFETY: integers.
        let old: SigAction = unsafe { sys::read_value(tid, at) }?;
        let scratch = self.layout.scratch;
        let bytes: Vec<u8> = old.compat().iter().flat_map(|word| word.to_le_bytes()).collect();
        sys::write_mem(tid, scratch, &bytes)?;
        let args = [libc::SIGTRAP as u64, scratch, 0, 8];
        let result = match self.planted {
            // The kernel has no shadow stacks for such programs.
            Some(planted) if self.abi == Abi::Ia32 => {
                let nr = arch::COMPAT_RT_SIGACTION;
                let regs =
                    arch::compat_call_regs(&self.context.regs, planted.int80, self.frames.at, nr, args);
                self.make_call(&regs)?
            }
            _ => {
                let call = OutsideCall {
                    nr: wire::abi::X32_RT_SIGACTION,
                    args: [args[0], args[1], args[2], args[3], 0, 0],
                };
                self.outside_call(call, self.frames.at)?
            }
        };
        self.result("rt_sigaction", result).map(drop)
    }

    /// SIGTRAPs from elsewhere become pending again; they are blocked here.
    fn send_again(&mut self) -> Result<()> {
        if self.held.is_empty() {
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
        for held in std::mem::take(&mut self.held) {
            let (trap, info) = (libc::SIGTRAP as u64, self.layout.scratch);
            sys::write_mem(self.tracee.tid(), info, &held.info)?;
            let (nr, args) = match held.thread {
                None => (libc::SYS_rt_sigqueueinfo, [got[0], trap, info, 0, 0, 0]),
                Some(0) => (libc::SYS_rt_tgsigqueueinfo, [got[0], got[1], trap, info, 0, 0]),
                Some(tid) => (
                    libc::SYS_rt_tgsigqueueinfo,
                    [got[0], tid as u64, trap, info, 0, 0],
                ),
            };
            let send = OutsideCall { nr: nr as u64, args };
            self.checked("rt_tgsigqueueinfo", send, self.frames.at)?;
        }
        Ok(())
    }

    pub(crate) fn write_control(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        sys::write_mem(self.tracee.tid(), self.layout.control + offset as u64, bytes)
    }

    pub(crate) fn command(&mut self, which: u32) -> Result<()> {
        self.write_control(offset_of!(Control, command), &which.to_le_bytes())?;
        self.run()
    }
}

/// Whether a SIGTRAP comes from a breakpoint, such as the parasite's.
pub(crate) fn is_breakpoint(info: &SigInfo) -> bool {
    i32::from_le_bytes([info[8], info[9], info[10], info[11]]) == SI_KERNEL
}

/// Bytes of the wire's structs, which are made of integers without padding.
pub(crate) fn bytes_of_slice<T: Wire>(values: &[T]) -> &[u8] {
    // SAFETY: `Wire` is implemented only for what has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// Integers, and structs of 8-byte integers (or pairs of 4-byte ones): no padding.
pub(crate) trait Wire: Copy {}
impl Wire for i32 {}
impl Wire for Call {}
impl Wire for Undo {}
impl Wire for TimerInfo {}
impl Wire for Slot {}
