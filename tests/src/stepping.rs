//! A program that is killed at a given system call, not at a given time.

use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::reaper::{self, End, Pid};

/// Exit code of the tracer when it could not do what it is for.
const LOST: i32 = 99;

/// Runs a command and kills it by SIGKILL where its first thread enters the system call `nr` for the `number`-th time,
/// counted from 1: the call is not made. What it starts is neither counted nor killed. Returns how it ended, [`None`]
/// if it has not within the limit.
pub(crate) fn run_killed_at(command: &mut Command, nr: i64, number: u32, limit: Duration) -> Option<End> {
    // Its tracer is a process of its own: the reaper of this one would take the stops away.
    // SAFETY: between fork and exec only bare system calls are made, by the tracer too.
    unsafe {
        command.pre_exec(move || match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            child => end_as(trace(child, nr, number)),
        });
    }
    let tracer = reaper::spawn(command).expect("start the program");
    let end = reaper::wait(tracer, limit);
    if end.is_none() {
        // What it traces goes with it.
        // SAFETY: kill has no memory effects; the tracer has not been reaped.
        unsafe { libc::kill(tracer, libc::SIGKILL) };
    }
    assert_ne!(end, Some(End::Exit(LOST)), "the program could not be traced");
    end
}

/// Traces a child to its end, and kills it at the call. Returns the status of its end, [`None`] if that is not known.
fn trace(child: Pid, nr: i64, number: u32) -> Option<i32> {
    // The one that has started this process waits for the last copy of a pipe to be closed.
    // SAFETY: this process uses no descriptor any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    let (mut begun, mut inside, mut calls) = (false, false, 0);
    loop {
        let mut status = 0;
        // SAFETY: `status` is ours and live for the call.
        if unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } != child {
            return None;
        }
        if !libc::WIFSTOPPED(status) {
            return Some(status);
        }
        let signal = match libc::WSTOPSIG(status) {
            // The first stop is that of the exec.
            libc::SIGTRAP if !begun => {
                begun = true;
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
                request(child, libc::PTRACE_SETOPTIONS, options);
                0
            }
            stop if stop == libc::SIGTRAP | 0x80 => {
                inside = !inside;
                calls += u32::from(inside && call_of(child) == nr);
                if inside && calls == number {
                    // SAFETY: kill has no memory effects; the child has not been reaped.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                }
                0
            }
            other => other,
        };
        // One that is killed is not there any more; its end is what is waited for next.
        request(child, libc::PTRACE_SYSCALL, signal);
    }
}

/// Ends this process as its child has ended.
fn end_as(status: Option<i32>) -> ! {
    // SAFETY: plain numbers; this process ends here, without the destructors of the one that it is a copy of.
    unsafe {
        match status {
            Some(status) if libc::WIFEXITED(status) => libc::_exit(libc::WEXITSTATUS(status)),
            Some(status) => {
                libc::kill(libc::getpid(), libc::WTERMSIG(status));
            }
            None => {}
        }
        libc::_exit(LOST)
    }
}

fn request(pid: Pid, request: libc::c_uint, data: i32) {
    // SAFETY: the requests used take no address.
    unsafe { libc::ptrace(request, pid, 0usize, data as usize) };
}

/// The system call that a stopped process is about to make.
fn call_of(pid: Pid) -> i64 {
    // SAFETY: zeroes are valid values of plain integers.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    // SAFETY: the structure is ours and has the size that the kernel writes.
    let rc = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0usize, &raw mut regs) };
    if rc == 0 { regs.orig_rax.cast_signed() } else { -1 }
}
