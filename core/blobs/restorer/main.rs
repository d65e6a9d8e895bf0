//! The restorer: turns the task it runs in into the task of an image.
//!
//! It runs where neither the old nor the new memory of the task is, and does what only the task itself
//! can do, and only once the old memory is gone. It ends waiting; the coordinator catches every thread
//! there, unmaps the restorer and puts the registers in place.
#![no_std]
#![no_main]

use core::arch::naked_asm;

#[path = "../src/restore.rs"]
#[allow(dead_code, reason = "the engine uses the rest")]
mod restore;
#[path = "../rt/mod.rs"]
mod rt;
#[path = "../src/wire.rs"]
#[allow(dead_code, reason = "the parasite uses the rest")]
mod wire;

mod creds;
mod process;
mod report;
mod thread;

use core::sync::atomic::Ordering;

use report::{Report, futex_wait, futex_wake, slice};
use restore::{Early, Shared, Task, Thread, stage};

/// Entry of a process: rdi is the address of its [`Task`], rsp the top of a private stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_restore() -> ! {
    naked_asm!("cld", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

/// Entry of a further thread: the address of its [`Thread`] is on top of its stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub extern "C" fn entry_thread() -> ! {
    naked_asm!(
        "cld", "pop rdi", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2",
        main = sym thread_main
    )
}

/// Entry of a thread that must be there early: the address of its [`Early`] is on top of its stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_early() -> ! {
    naked_asm!(
        "cld", "pop rdi", "and rsp, -16", "xor ebp, ebp", "call {main}", "ud2",
        main = sym early_main
    )
}

/// A system call, then nothing: where the coordinator lets a caught thread make calls.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.entry")]
pub extern "C" fn entry_syscall() -> ! {
    naked_asm!("syscall", "int3")
}

extern "C" fn main(task: *const Task) -> ! {
    // SAFETY: the engine built the arguments for this task, and nothing unmaps or writes them; shared
    // counters in them are atomic.
    let task = unsafe { &*task };
    // SAFETY: as above; the first thread is the leader.
    let me = unsafe { &slice::<Thread>(task.threads)[0] };
    let report = Report::new(task.shared, me.tid);
    process::memory(task, report);
    process::start_threads(task, report);
    thread::first_half(me, report);
    process::first_half(task, report);
    report.arrive(stage::READY);
    report.wait(stage::READY);
    // Tables may be shared: everyone has used the last of the restore's descriptors.
    process::close(task);
    process::second_half(task, report);
    process::share_filters(task, report);
    thread::second_half(me, report);
    process::finish(task, report);
    end(report)
}

extern "C" fn thread_main(me: *const Thread) -> ! {
    // SAFETY: as in `main`.
    let me = unsafe { &*me };
    // SAFETY: as in `main`.
    let task = unsafe { &*(me.task as *const Task) };
    let report = Report::new(task.shared, me.tid);
    thread::first_half(me, report);
    report.arrive(stage::READY);
    report.wait(stage::READY);
    process::await_filters(task);
    thread::second_half(me, report);
    process::thread_clothed(task);
    end(report)
}

/// Waits until the restorer has come so far that threads are made, and goes on as one of those.
extern "C" fn early_main(early: *const Early) -> ! {
    // SAFETY: the engine has put it there, zeroed, and nothing unmaps it; all of it is atomic.
    let early = unsafe { &*early };
    early.there.store(1, Ordering::Release);
    futex_wake(&early.there);
    while early.told.load(Ordering::Acquire) == 0 {
        futex_wait(&early.told, 0);
    }
    // SAFETY: as in `main`; whoever told this thread has the arguments complete.
    let me = unsafe { &*(early.thread.load(Ordering::Relaxed) as *const Thread) };
    // SAFETY: as in `main`.
    let task = unsafe { &*(me.task as *const Task) };
    // The others are made with that of their leader.
    process::personality(task, Report::new(task.shared, me.tid));
    thread_main(me)
}

/// Waits to be caught. The stage is never over: the coordinator stops the thread here.
fn end(report: Report<'_>) -> ! {
    report.arrive(stage::DONE);
    loop {
        report.wait(stage::DONE);
    }
}

/// The shared memory at an address.
fn shared<'a>(at: u64) -> &'a Shared {
    // SAFETY: the engine maps it before the first task is forked, and it stays until the end.
    unsafe { &*(at as *const Shared) }
}
