//! The restorer: turns the task it runs in into the task of an image.
#![no_std]
#![no_main]

use core::arch::naked_asm;

#[path = "../rt/mod.rs"]
mod rt;

/// Entry: rdi is the address of the arguments, rsp the top of a private stack that nothing below
/// unmaps.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_restore() -> ! {
    naked_asm!("cld", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

/// Takes the arguments at `args`. Nothing can be asked of it yet: it says so with exit status 38
/// (ENOSYS) instead of returning into a half-restored task.
extern "C" fn main(_args: *mut u8) -> ! {
    loop {
        // SAFETY: ends the task.
        unsafe { syscall!(rt::nr::EXIT_GROUP, 38) };
    }
}
