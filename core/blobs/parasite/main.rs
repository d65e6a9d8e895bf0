//! The parasite: runs in a stopped process, answers the tracer's questions about it, and, should
//! the tracer die, undoes what was done and lets the process go on as if nothing had been.
//!
//! Between two commands the leading thread stands at a breakpoint. Its SIGTRAP goes to the tracer;
//! without one it goes to [`on_trap`]. Code behind a breakpoint looks for a command and, finding
//! none, leaves too: so there is no moment at which the tracer's death could leave a thread here.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

#[path = "../rt/mod.rs"]
mod rt;
#[path = "../src/wire.rs"]
#[allow(dead_code, reason = "the tracer uses the rest")]
mod wire;

use rt::nr;
use wire::{Control, MAX_UNDO, ProcessInfo, SigAction, Slot, ThreadInfo, Undo, abi, command};

const SIGTRAP: u64 = 5;
const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_ONSTACK: u64 = 0x0800_0000;
const FUTEX_WAIT_PRIVATE: u64 = 128;
const FUTEX_WAKE_PRIVATE: u64 = 1 | 128;
const FUTEX_WAKE_OP_PRIVATE: u64 = 5 | 128;
const ETIMEDOUT: i64 = 110;
const SI_TKILL: i32 = -6;

static CONTROL: AtomicPtr<Control> = AtomicPtr::new(core::ptr::null_mut());

/// Entry of the leading thread: rdi is the address of its [`Control`], rsp the top of its stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_init() -> ! {
    naked_asm!("cld", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

/// Entry of any other thread: rdi is the address of its [`Slot`], rsp the top of its stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_thread() -> ! {
    naked_asm!("cld", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2", main = sym thread)
}

/// SIGTRAP handler: hands (signal, siginfo, ucontext, address of the frame, that of its words on the shadow stack) on. On the stack of
/// the interrupted code, while that is the blob's: a thread may have been using its alternate one.
#[unsafe(naked)]
extern "C" fn trap_entry() {
    naked_asm!(
        "cld", "mov rcx, rsp", "xor r8d, r8d", "rdsspq r8", "and rsp, -16", "xor ebp, ebp", "call {f}", "ud2",
        f = sym on_trap
    )
}

/// Where [`trap_entry`] would return to if the process has no code of its own for it.
#[unsafe(naked)]
extern "C" fn own_restorer() {
    naked_asm!("mov eax, 15", "syscall", "ud2")
}

extern "C" fn main(control: *mut Control) -> ! {
    // SAFETY: the tracer wrote a complete control block before it let the thread run here, and
    // writes again only while the thread stands at a breakpoint; so there is one user at a time.
    let c = unsafe { &mut *control };
    CONTROL.store(control, Ordering::SeqCst);
    // SAFETY: room for a whole action.
    let asked = unsafe { syscall!(nr::RT_SIGACTION, SIGTRAP, 0, addr_of_mut!(c.old_trap), 8) };
    if asked < 0 || handle_traps(c, 0) < 0 {
        give_up(c);
    }
    loop {
        rt::breakpoint();
        // SAFETY: `control` is valid; volatile because the tracer writes it during the breakpoint.
        let asked = unsafe { addr_of!((*control).command).read_volatile() };
        match asked {
            command::CALLS => run_calls(c),
            command::PROCESS => process_info(&mut c.process, &c.old_trap),
            command::TIMERS => timers(c),
            command::DESCRIPTORS => descriptors(c),
            _ => leave(c),
        }
        // SAFETY: as above.
        unsafe { addr_of_mut!((*control).command).write_volatile(command::NONE) };
    }
}

/// Installs the handler of SIGTRAP, with these flags beside its own.
fn handle_traps(c: &Control, flags: u64) -> i64 {
    let action = SigAction {
        handler: trap_entry as *const () as u64,
        flags: SA_SIGINFO | SA_RESTORER | SA_RESTART | flags,
        restorer: if c.sigreturn != 0 { c.sigreturn } else { own_restorer as *const () as u64 },
        mask: !0,
    };
    // SAFETY: a whole action.
    unsafe { syscall!(nr::RT_SIGACTION, SIGTRAP, addr_of!(action), 0, 8) }
}

fn run_calls(c: &mut Control) {
    let n = (c.call_count as usize).min(c.calls.len());
    for call in &mut c.calls[..n] {
        // SAFETY: the tracer answers for what it asks.
        call.result = unsafe { rt::syscall6(call.nr, call.args) };
    }
}

fn descriptors(c: &mut Control) {
    const F_GETFD: u64 = 1;
    let n = (c.call_count as usize).min(wire::MAX_DESCRIPTORS);
    // SAFETY: so many numbers fit into the place of the calls, whose alignment is greater; nobody else is at it.
    let numbers = unsafe { core::slice::from_raw_parts_mut(c.calls.as_mut_ptr().cast::<i32>(), n) };
    for number in numbers {
        // SAFETY: F_GETFD takes no argument.
        *number = unsafe { syscall!(nr::FCNTL, *number as u32, F_GETFD, 0) } as i32;
    }
}

fn note(error: &mut i64, result: i64) -> i64 {
    if result < 0 && *error == 0 {
        *error = result;
    }
    result
}

fn process_info(p: &mut ProcessInfo, old_trap: &SigAction) {
    p.error = 0;
    for (i, action) in p.actions.iter_mut().enumerate() {
        let signal = i as u64 + 1;
        match signal {
            9 | 19 => *action = SigAction::default(),
            SIGTRAP => *action = *old_trap,
            // SAFETY: reads the action into a whole one.
            _ => _ = note(&mut p.error, unsafe { syscall!(nr::RT_SIGACTION, signal, 0, action as *mut _, 8) }),
        }
    }
    for (which, timer) in p.itimers.iter_mut().enumerate() {
        // SAFETY: four integers are what getitimer writes.
        note(&mut p.error, unsafe { syscall!(nr::GETITIMER, which, timer.as_mut_ptr()) });
    }
    // SAFETY: these calls read a value of the process and write nothing but what they are given.
    unsafe {
        p.dumpable = syscall!(nr::PRCTL, 3);
        let mut subreaper = 0i32;
        p.child_subreaper = match syscall!(nr::PRCTL, 37, addr_of_mut!(subreaper)) {
            0 => i64::from(subreaper),
            failed => failed,
        };
        p.thp_disable = syscall!(nr::PRCTL, 42);
        p.memory_merge = syscall!(nr::PRCTL, 68);
        p.brk = syscall!(nr::BRK, 0);
        p.membarrier = membarrier();
        p.mdwe = syscall!(nr::PRCTL, 66);
        let mut perm = 0u64;
        p.xcomp_perm = match syscall!(nr::ARCH_PRCTL, 0x1022, addr_of_mut!(perm)) {
            0 => perm as i64,
            failed => failed,
        };
        let mut entries = [0u64; 2];
        // The result has 32 bits.
        p.ldt = i64::from(syscall!(nr::MODIFY_LDT, 0, entries.as_mut_ptr(), 16) as i32);
    }
    p.pkeys = pkeys();
}

/// For which expedited barriers the process is registered, as commands of `membarrier(2)`.
fn membarrier() -> i64 {
    const GET_REGISTRATIONS: u64 = 1 << 9;
    const REGISTER_GLOBAL: i64 = 1 << 2;
    // SAFETY: asks, and touches no memory.
    let known = unsafe { syscall!(nr::MEMBARRIER, GET_REGISTRATIONS, 0, 0) };
    if known >= 0 {
        return known;
    }
    // Before Linux 6.3 one has to try. That of barriers of all processes cannot be tried, and to have it does no harm.
    let mut found = REGISTER_GLOBAL;
    for barrier in [1 << 3, 1 << 5, 1 << 7] {
        // SAFETY: a barrier, or an error where the process is not registered for it.
        if unsafe { syscall!(nr::MEMBARRIER, barrier, 0, 0) } == 0 {
            found |= barrier << 1;
        }
    }
    found
}

/// Which protection keys are in use: those that cannot be had. The keys taken to find out are given back
/// before anyone else can look.
fn pkeys() -> i64 {
    const KEYS: u64 = 0xffff;
    let mut taken = 0u64;
    loop {
        // SAFETY: takes a key; the right to it that this thread gains is overwritten by its registers.
        let key = unsafe { syscall!(nr::PKEY_ALLOC, 0, 0) };
        if !(0..64).contains(&key) {
            break;
        }
        taken |= 1 << key;
    }
    let mut rest = taken;
    while rest != 0 {
        // SAFETY: gives back a key that no memory has.
        unsafe { syscall!(nr::PKEY_FREE, rest.trailing_zeros()) };
        rest &= rest - 1;
    }
    (KEYS & !taken) as i64
}

fn timers(c: &mut Control) {
    let n = (c.timer_count as usize).min(c.timers.len());
    for t in &mut c.timers[..n] {
        // SAFETY: four integers are what timer_gettime writes.
        unsafe {
            t.error = syscall!(nr::TIMER_GETTIME, t.id, t.spec.as_mut_ptr());
            t.overrun = syscall!(nr::TIMER_GETOVERRUN, t.id);
        }
    }
}

/// The first of the three thread-local segments of the GDT.
const GDT_TLS_MIN: u32 = 12;

fn thread_info(t: &mut ThreadInfo) {
    t.error = 0;
    // SAFETY: each call writes one whole field of its own type.
    unsafe {
        note(&mut t.error, syscall!(nr::SIGALTSTACK, 0, t.altstack.as_mut_ptr()));
        t.altstack[1] &= 0xffff_ffff;
        note(&mut t.error, syscall!(nr::PRCTL, 40, addr_of_mut!(t.tid_address)));
        let mut signal = 0i32;
        note(&mut t.error, syscall!(nr::PRCTL, 2, addr_of_mut!(signal)));
        t.pdeathsig = i64::from(signal);
        t.securebits = note(&mut t.error, syscall!(nr::PRCTL, 27));
        t.no_new_privs = note(&mut t.error, syscall!(nr::PRCTL, 39));
        t.timerslack = syscall!(nr::PRCTL, 30);
        let mut tsc = 0i32;
        t.tsc = match syscall!(nr::PRCTL, 25, addr_of_mut!(tsc)) {
            0 => i64::from(tsc),
            failed => failed,
        };
        t.cpuid = syscall!(nr::ARCH_PRCTL, 0x1011);
        t.mce_kill = syscall!(nr::PRCTL, 34);
        t.io_flusher = syscall!(nr::PRCTL, 58);
        for (which, control) in t.speculation.iter_mut().enumerate() {
            *control = syscall!(nr::PRCTL, 52, which);
        }
        t.thread_areas = (0..3).filter(|n| rt::is_segment(GDT_TLS_MIN + n)).fold(0, |set, n| set | 1 << n);
        if t.witness > 0 {
            const KCMP_VM: u64 = 1;
            t.witness = syscall!(nr::KCMP, t.witness, t.witness, KCMP_VM, 0, 0);
        }
    }
}

extern "C" fn thread(slot: *mut Slot) -> ! {
    // SAFETY: the slot is this thread's alone.
    let s = unsafe { &mut *slot };
    // The tracer sets this mask too, but it may have died before; a breakpoint with SIGTRAP blocked
    // would kill the process.
    let all_but_trap = !(1u64 << (SIGTRAP - 1));
    // SAFETY: reads 8 bytes; the frames of the way out restore the mask.
    unsafe { syscall!(nr::RT_SIGPROCMASK, 2, addr_of!(all_but_trap), 0, 8) };
    if s.call_count == 0 {
        thread_info(&mut s.info);
    }
    for i in 0..s.call_count.min(wire::MAX_CALLS as u64) {
        // SAFETY: the tracer put so many calls there, and lets nobody else at them while this thread is here.
        let call = unsafe { &mut *(s.calls as *mut wire::Call).add(i as usize) };
        // SAFETY: the tracer answers for what it asks.
        call.result = unsafe { rt::syscall6(call.nr, call.args) };
    }
    rt::breakpoint();
    leave_slot(s, false)
}

/// The master is gone and a SIGTRAP was due; find out who we are by where we stood.
extern "C" fn on_trap(_signal: i32, info: *const i32, ucontext: *const u64, frame: u64, pair: u64) -> ! {
    // SAFETY: set before the handler was installed; the block outlives every thread here.
    let c = unsafe { &mut *CONTROL.load(Ordering::SeqCst) };
    // SAFETY: the kernel's ucontext: rsp is the 16th register of the sigcontext at byte 40.
    let rsp = unsafe { ucontext.add(5 + 15).read() };
    if rsp > c.stack[0] && rsp <= c.stack[1] {
        leave(c);
    }
    // SAFETY: si_code is the third integer of the kernel's siginfo.
    let asked = unsafe { info.add(2).read() } == SI_TKILL;
    let area = c.slot_size * c.slot_count;
    if rsp > c.slots && rsp <= c.slots + area {
        let index = (rsp - 1 - c.slots) / c.slot_size;
        leave_slot(slot_at(c, index), asked);
    }
    stray(c, frame, pair)
}

/// A thread that is not in the blob was asked by [`wait_for_threads`] whether it is: say no, from
/// outside of the blob, and go back.
fn stray(c: &mut Control, frame: u64, pair: u64) -> ! {
    // SAFETY: no arguments.
    let tid = unsafe { syscall!(nr::GETTID) } as u32;
    for i in 0..c.slot_count {
        let s = slot_at(c, i);
        let asked = state_of(s).load(Ordering::SeqCst) == wire::slot::ASKED;
        if !asked || s.tid != tid || c.syscall_ret == 0 || c.sigreturn == 0 {
            continue;
        }
        state_of(s).store(wire::slot::LEAVING, Ordering::SeqCst);
        if pair != 0 {
            // Nothing but the kernel can put words on a shadow stack: it is counted out in here, and the blob stays.
            // SAFETY: aligned, valid, and only changed atomically.
            unsafe { AtomicU32::from_ptr(addr_of_mut!(c.left)) }.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the word is valid; there is one waiter at most.
            unsafe { syscall!(nr::FUTEX, addr_of!(c.left), FUTEX_WAKE_PRIVATE, 1) };
            break;
        }
        // Count out by a call made outside of the blob, then return through the kernel's own frame. This
        // one lies in the slot, which is read before the count, and not on the thread's stack, which may be small.
        let below = (addr_of_mut!(*s) as u64 + size_of::<Slot>() as u64 + 63) & !63;
        // SAFETY: the slot's stack, which nobody is on: the thread is here.
        let f = unsafe { core::slice::from_raw_parts_mut(below as *mut u64, 55) };
        f.fill(0);
        f[0] = c.sigreturn;
        f[4] = 0xff;
        // Registers from r8 on: r8 = second word, r9 = operation, r10 = how many of its waiters to
        // wake; rdi = a word without waiters, rsi = call, rdx = 0, rax = number; rsp, rip, flags, cs and ss.
        let g = &mut f[6..];
        (g[0], g[1], g[2]) = (addr_of!(c.left) as u64, wire::COUNT_OUT, 1);
        (g[8], g[9], g[12], g[13]) = (addr_of!(c.pad) as u64, FUTEX_WAKE_OP_PRIVATE, 0, nr::FUTEX);
        (g[15], g[16], g[17], g[18]) = (frame, c.syscall_ret, 0x202, 0x33 | 0x2b << 48);
        f[38] = !0;
        // SAFETY: a whole frame.
        unsafe { rt::return_through(below, 0) }
    }
    // Or a SIGTRAP from elsewhere in the moment between the master's death and the end of the
    // clean-up.
    // SAFETY: the kernel's own frame of this handler.
    unsafe { rt::sigreturn(frame, pair) }
}

/// Without the means to clean up: go back to the interrupted context, leaving the mapping.
fn give_up(c: &Control) -> ! {
    // SAFETY: the tracer wrote these frames before it let the thread run here.
    unsafe {
        if c.exit_frame != 0 {
            rt::return_through(c.exit_frame, c.exit_pair)
        } else {
            rt::sigreturn(c.last_frame, c.last_pair)
        }
    }
}

/// The leading thread's way out: undo, restore the action, unmap, return.
fn leave(c: &mut Control) -> ! {
    let alone = wait_for_threads(c);
    let n = (c.undo_count as usize).min(MAX_UNDO);
    for at in (0..n).rev() {
        // SAFETY: the tracer mapped room for as many entries there and filled them in.
        let call = unsafe { &*(c.undo as *const Undo).add(at) };
        // SAFETY: the tracer answers for the table.
        unsafe { rt::syscall6(call.nr, call.args) };
    }
    let [at, length] = c.undo_mapping;
    if length != 0 {
        // SAFETY: a mapping of the tracer's that held the table, which has been run.
        unsafe { syscall!(nr::MUNMAP, at, length) };
    }
    if alone {
        set_old_trap(c);
    }
    if alone && c.exit_frame != 0 && c.keep == 0 {
        // SAFETY: as in `give_up`.
        unsafe { rt::return_through(c.exit_frame, c.exit_pair) }
    }
    // SAFETY: as in `give_up`.
    unsafe { rt::sigreturn(c.last_frame, c.last_pair) }
}

/// Restores the action of SIGTRAP. From here on no breakpoint is met.
fn set_old_trap(c: &Control) {
    // Which sort of handler it is the kernel knows by the call that sets it.
    let action = c.old_trap.compat();
    match c.abi {
        abi::IA32 => {
            let at = action.as_ptr() as u32;
            // SAFETY: a whole action on this stack, which a 32-bit program has below 4 GiB.
            unsafe { rt::int80(nr::compat::RT_SIGACTION, [SIGTRAP as u32, at, 0, 8]) };
            return;
        }
        abi::X32 => {
            // SAFETY: a whole action.
            unsafe { syscall!(abi::X32_RT_SIGACTION, SIGTRAP, action.as_ptr(), 0, 8) };
            return;
        }
        _ => {}
    }
    // SAFETY: a whole action.
    unsafe { syscall!(nr::RT_SIGACTION, SIGTRAP, addr_of!(c.old_trap), 0, 8) };
}

/// Another thread's way out. `asked`: the SIGTRAP of [`ask_threads`] has arrived.
fn leave_slot(s: &mut Slot, asked: bool) -> ! {
    // SAFETY: the control block outlives every thread here.
    let c = unsafe { &*CONTROL.load(Ordering::SeqCst) };
    let (all, trap) = (!0u64, 1u64 << (SIGTRAP - 1));
    // SAFETY: reads 8 bytes; the frames restore the mask.
    unsafe { syscall!(nr::RT_SIGPROCMASK, 2, addr_of!(all), 0, 8) };
    let not_asked = state_of(s)
        .compare_exchange(wire::slot::TAKEN, wire::slot::LEAVING, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok();
    if !not_asked && !asked {
        // That SIGTRAP is still under way (or was merged with the breakpoint's, hence the limit): it
        // must not reach the program.
        let limit = [0i64, 50_000_000];
        // SAFETY: reads a set and a time.
        unsafe { syscall!(nr::RT_SIGTIMEDWAIT, addr_of!(trap), 0, limit.as_ptr(), 8) };
    }
    // SAFETY: the tracer wrote the frame before it let the thread run here; with the gadgets the
    // first frame counts this thread out from outside of the blob.
    unsafe {
        if c.exit_frame != 0 {
            rt::return_through(s.exit_frame, s.exit_pair)
        } else {
            rt::sigreturn(s.exit_frame, s.exit_pair)
        }
    }
}

/// Below [`Control::slot_count`].
fn slot_at(c: &Control, index: u64) -> &mut Slot {
    // SAFETY: the slots are within this mapping, and nobody writes to one but its thread, or atomically to its state.
    unsafe { &mut *((c.slots + index * c.slot_size) as *mut Slot) }
}

fn state_of(s: &mut Slot) -> &AtomicU32 {
    // SAFETY: aligned and valid as long as the slot; only changed atomically once the master is gone.
    unsafe { AtomicU32::from_ptr(addr_of_mut!(s.state)) }
}

/// Waits until no other thread is in the blob; false if that cannot be found out. A thread that was about to enter, or
/// had just left, when the master died does not count itself out: one that sleeps outside is seen, and left alone; one
/// that runs is asked by a SIGTRAP, if it does not block that.
fn wait_for_threads(c: &mut Control) -> bool {
    // SAFETY: aligned, valid, and only changed atomically.
    let left = unsafe { AtomicU32::from_ptr(addr_of_mut!(c.left)) };
    // Nobody is left who would free one, or take it.
    let is_taken = |i: &u64| state_of(slot_at(c, *i)).load(Ordering::SeqCst) != wire::slot::FREE;
    let taken = (0..c.slot_count).filter(is_taken).count() as u32;
    let mut outside = 0;
    for _ in 0..250 {
        let now = left.load(Ordering::SeqCst);
        if now + outside >= taken {
            return true;
        }
        let wait = [0i64, 20_000_000];
        // SAFETY: the futex word and the time are valid.
        let r = unsafe { syscall!(nr::FUTEX, left.as_ptr(), FUTEX_WAIT_PRIVATE, now, wait.as_ptr()) };
        if r == -ETIMEDOUT {
            if c.exit_frame == 0 {
                break;
            }
            outside += look_at_threads(c);
            if left.load(Ordering::SeqCst) + outside < taken {
                handle_traps(c, SA_ONSTACK);
                ask_threads(c);
            }
        }
    }
    false
}

/// Finds threads that sleep outside of the blob: nobody is left who would make them enter, and a signal would end the
/// call that they wait in. How many were found.
fn look_at_threads(c: &Control) -> u32 {
    let mut found = 0;
    for i in 0..c.slot_count {
        let s = slot_at(c, i);
        let is_taken = state_of(s).load(Ordering::SeqCst) == wire::slot::TAKEN;
        if s.tid == 0 || !is_taken || !sleeps_outside(c, s.tid) {
            continue;
        }
        let (taken, outside) = (wire::slot::TAKEN, wire::slot::OUTSIDE);
        if state_of(s).compare_exchange(taken, outside, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            found += 1;
        }
    }
    found
}

/// No more than this of code lies below the control block.
const MAX_CODE: u64 = 1 << 16;

/// Whether a thread does not run, and where it will go on is not in the blob: the last word of
/// `/proc/self/task/TID/syscall`, see proc_pid_syscall(5).
fn sleeps_outside(c: &Control, tid: u32) -> bool {
    let mut path = [0u8; 48];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        path[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"/proc/self/task/");
    let mut digits = [0u8; 10];
    let mut first = digits.len();
    let mut rest = tid;
    while rest > 0 || first == digits.len() {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    put(&digits[first..]);
    put(b"/syscall\0");
    let mut text = [0u8; 256];
    // SAFETY: a path that ends with a zero; O_CLOEXEC.
    let fd = unsafe { syscall!(nr::OPEN, path.as_ptr(), 0o2_000_000, 0) };
    if fd < 0 {
        return false;
    }
    // SAFETY: a buffer and its length; then the descriptor just opened.
    let got = unsafe { syscall!(nr::READ, fd, text.as_mut_ptr(), text.len()) };
    // SAFETY: as above.
    unsafe { syscall!(nr::CLOSE, fd) };
    let Some(text) = usize::try_from(got).ok().and_then(|got| text.get(..got)) else {
        return false;
    };
    // "running" has no such word.
    let Some(word) = text.trim_ascii_end().rsplit(|b| *b == b' ').next().and_then(|w| w.strip_prefix(b"0x"))
    else {
        return false;
    };
    let mut pc = 0u64;
    for byte in word {
        let Some(digit) = (*byte as char).to_digit(16) else {
            return false;
        };
        pc = pc << 4 | u64::from(digit);
    }
    let control = core::ptr::from_ref(c) as u64;
    pc < control - MAX_CODE || pc >= control
}

/// Asks threads, by a SIGTRAP, whether they are in the blob. Those that are not run their own code, maybe on a small
/// stack, or one with data below: they are met on their alternate stack, if they have one.
fn ask_threads(c: &Control) {
    // SAFETY: no arguments.
    let pid = unsafe { syscall!(nr::GETPID) };
    for i in 0..c.slot_count {
        let s = slot_at(c, i);
        // A thread that blocks SIGTRAP, should it be outside, would never answer.
        if s.tid == 0 || s.mask & (1 << (SIGTRAP - 1)) != 0 {
            continue;
        }
        let (taken, asked) = (wire::slot::TAKEN, wire::slot::ASKED);
        if state_of(s).compare_exchange(taken, asked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            // SAFETY: a signal for which this blob has the handler.
            unsafe { syscall!(nr::TGKILL, pid, s.tid, SIGTRAP) };
        }
    }
}
