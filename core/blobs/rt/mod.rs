//! What both blobs stand on: system calls, the memory functions the compiler calls, and a panic
//! handler. No libc, no thread pointer, no allocation.
#![allow(dead_code, reason = "each blob uses its own part")]

use core::arch::{asm, naked_asm};

pub mod nr;

/// A raw system call; returns what the kernel returns (`-errno` on failure).
///
/// # Safety
/// The call may do anything to the process; pointers must be valid for it.
#[inline(always)]
pub unsafe fn syscall6(nr: u64, a: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the kernel's convention: number in rax, six arguments, rcx and r11 are lost. What
    // the call does to memory is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") nr as i64 => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// A system call of 32-bit programs, which the kernel takes from 64-bit code too; pointers lie below 4 GiB.
///
/// # Safety
/// As for [`syscall6`].
pub unsafe fn int80(nr: u32, a: [u32; 4]) -> i64 {
    let ret: i32;
    // SAFETY: the kernel's convention: number in eax, arguments in ebx, ecx, edx, esi; older kernels lose r8
    // to r11. The compiler keeps rbx to itself, so it is swapped in.
    unsafe {
        asm!("xchg {b:r}, rbx", "int 0x80", "xchg {b:r}, rbx", b = inout(reg) u64::from(a[0]) => _,
             inlateout("eax") nr as i32 => ret, in("ecx") a[1], in("edx") a[2], in("esi") a[3],
             out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i64::from(ret)
}

/// [`syscall6`] with any number of arguments.
#[macro_export]
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => {{
        let given: &[u64] = &[$($arg as u64),*];
        let mut args = [0u64; 6];
        let mut i = 0;
        while i < given.len() { args[i] = given[i]; i += 1; }
        $crate::rt::syscall6($nr, args)
    }};
}

/// Stops at a breakpoint: the tracer sees a SIGTRAP.
#[inline(always)]
pub fn breakpoint() {
    // SAFETY: int3 changes nothing itself; who handles the SIGTRAP returns behind it or never.
    unsafe { asm!("int3") }
}

/// Whether the GDT has a segment of this number that programs may use.
#[inline(always)]
pub fn is_segment(number: u32) -> bool {
    const USER: u32 = 3;
    let there: u8;
    // SAFETY: lar writes a register and a flag; a selector that names nothing is no fault for it.
    unsafe {
        asm!("lar {rights:e}, {selector:e}", "setz {there}", rights = out(reg) _,
            selector = in(reg) number << 3 | USER, there = out(reg_byte) there, options(nomem, nostack));
    }
    there != 0
}

/// Takes the signal frame at `frame` (its first word is the address of code calling
/// `rt_sigreturn`) as if a handler returned there. `pair` are the words for that on a shadow stack: the same address,
/// and a token.
///
/// # Safety
/// `frame` is the address of a complete signal frame; with a shadow stack, `pair` is that of its words, at or above the
/// shadow stack pointer.
pub unsafe fn return_through(frame: u64, pair: u64) -> ! {
    // SAFETY: nothing of this stack, nor of its shadow, is used any more; the rest is the caller's promise.
    unsafe {
        asm!("call {unwind}", "mov rsp, rdi", "ret", unwind = sym unwind_to, in("rdi") frame, in("rsi") pair,
             options(noreturn));
    }
}

/// `rt_sigreturn` from within the blob, taking the frame at `frame`, and with a shadow stack the token of `pair`.
///
/// # Safety
/// As for [`return_through`].
pub unsafe fn sigreturn(frame: u64, pair: u64) -> ! {
    // SAFETY: as above; the kernel takes the frame from 8 bytes below rsp.
    unsafe {
        asm!("call {unwind}", "lea rsp, [rdi + 8]", "mov eax, 15", "syscall", "ud2", unwind = sym unwind_to,
             in("rdi") frame, in("rsi") pair + 8, options(noreturn));
    }
}

/// Moves the shadow stack pointer up to rsi, where there is a shadow stack, and returns. Leaves rdi alone.
///
/// Without one, `rdsspq` does nothing, on any processor.
#[unsafe(naked)]
extern "C" fn unwind_to() {
    naked_asm!(
        // The return address is taken off first: on the way up its shadow goes too.
        "pop r8",
        "2:",
        "xor eax, eax",
        "rdsspq rax",
        "test rax, rax",
        "jz 3f",
        "mov rcx, rsi",
        "sub rcx, rax",
        "jbe 3f",
        "shr rcx, 3",
        // No more than 255 words at a time.
        "mov edx, 255",
        "cmp rcx, rdx",
        "cmova rcx, rdx",
        "incsspq rcx",
        "jmp 2b",
        "3:",
        "jmp r8"
    )
}

/// Where the shadow stack pointer is; 0 without a shadow stack.
#[inline(always)]
pub fn shadow_stack_pointer() -> u64 {
    let ssp: u64;
    // SAFETY: reads a register; without a shadow stack it does nothing.
    unsafe { asm!("rdsspq {0}", inlateout(reg) 0u64 => ssp, options(nomem, nostack)) };
    ssp
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // A blob has nobody to tell; a bug must not go on with half-done work.
    // SAFETY: ends the program at an undefined instruction.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "sub rdi, rsi",
        "cmp rdi, rdx",
        "lea rdi, [rsi + rdi]",
        "jb 2f",
        "rep movsb",
        "ret",
        "2: lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret"
    )
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "mov eax, esi",
        "mov rcx, rdx",
        "rep stosb",
        "mov rax, r8",
        "ret"
    )
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: both are valid for `len` bytes; volatile so that the loop does not become a call
        // of this function.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: `s` ends with a zero byte.
    while unsafe { s.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
