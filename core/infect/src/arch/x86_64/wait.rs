//! `wait4(2)` that begins only as long as a word has not changed.

use std::sync::atomic::AtomicU32;

// Between the comparison and the end of the system call instruction a signal handler has to tell the caller by
// moving the instruction pointer on, see `leave_wait`; so no register or stack of the caller's is held there.
std::arch::global_asm!(
    ".pushsection .text.criu_infect_wait4, \"ax\", @progbits",
    ".hidden criu_infect_wait4",
    ".globl criu_infect_wait4",
    ".type criu_infect_wait4, @function",
    "criu_infect_wait4:",
    "endbr64",
    "xor r10d, r10d",
    "mov eax, 61",
    ".hidden criu_infect_wait4_begun",
    ".globl criu_infect_wait4_begun",
    "criu_infect_wait4_begun:",
    "cmp dword ptr [rcx], r8d",
    "jne criu_infect_wait4_left",
    "syscall",
    ".hidden criu_infect_wait4_done",
    ".globl criu_infect_wait4_done",
    "criu_infect_wait4_done:",
    "ret",
    ".hidden criu_infect_wait4_left",
    ".globl criu_infect_wait4_left",
    "criu_infect_wait4_left:",
    "mov rax, -4",
    "ret",
    ".size criu_infect_wait4, . - criu_infect_wait4",
    ".popsection",
);

unsafe extern "C" {
    fn criu_infect_wait4(tid: i64, status: *mut i32, options: i64, word: *const AtomicU32, value: u32)
    -> i64;
    fn criu_infect_wait4_begun();
    fn criu_infect_wait4_done();
    fn criu_infect_wait4_left();
}

/// `wait4(tid, status, options, NULL)`, as the kernel answers it: minus an error number, or the task. `-EINTR` also if
/// `word` is not `value`, or a handler has called [`leave_wait`].
pub(crate) fn wait4(tid: i32, status: &mut i32, options: i32, word: &'static AtomicU32, value: u32) -> i64 {
    // SAFETY: a C function that follows the calling convention; both pointers are valid as long as it lasts.
    unsafe { criu_infect_wait4(i64::from(tid), status, i64::from(options), word, value) }
}

/// Has an interrupted [`wait4`] return without an answer, unless it has one. For a signal handler with its context: a call
/// that is restarted (`SA_RESTART`) lies at its instruction again then, and one that is through after it.
pub(crate) fn leave_wait(context: &mut libc::ucontext_t) {
    let at = |label: unsafe extern "C" fn()| label as usize as i64;
    let pointer = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    if (at(criu_infect_wait4_begun)..at(criu_infect_wait4_done)).contains(pointer) {
        *pointer = at(criu_infect_wait4_left);
    }
}
