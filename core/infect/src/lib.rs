//! Stop a process, run code in it, and let it go as if nothing had been.
//!
//! Nothing here knows of checkpoints. A [`Tracee`] is a stopped task, an [`Infected`] one with the
//! parasite in its memory, and each goes over into the other by value:
//!
//! ```no_run
//! use criu_infect::Tracee;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pid = 4711;
//! let tracee = Tracee::seize(pid)?; // stopped, unchanged
//! let mut infected = tracee.infect()?;
//! let parent = infected.syscall(libc::SYS_getppid, [0; 6])?; // made by the process itself
//! let info = infected.process_info()?; // signal actions, timers, ...
//! println!("child of {parent}, SIGINT goes to {:#x}", info.actions[1].handler);
//! let tracee = infected.cure()?; // stopped, unchanged again
//! tracee.detach()?; // runs on; an interrupted system call is restarted
//! # Ok(())
//! # }
//! ```
//!
//! # A killed tracer
//! At every moment the target finds back by itself. Before a register is changed, signal frames
//! are written below its stack pointer (or below the main stack, if the thread runs on memory of
//! its own making) that lead back to the interrupted context; system calls before and after the
//! parasite's life are made by a `syscall; ret` of the target's own code, whose `ret` comes upon
//! such a frame; the parasite stands at a breakpoint with a handler for `SIGTRAP`, which gets the
//! signal when no tracer is there to take it. What the kernel alone knows is lost with a tracer that
//! dies while a thread is in the parasite: a call that waits for a time (`poll` with a timeout, a
//! sleep that does not ask for the rest) then returns `EINTR`, see [`restarted`]. A process without the needed code (any libc has it) is infected all the same, with a
//! warning: a tracer that dies while the parasite waits then leaves the mapping behind, and one that
//! dies in the middle of getting in or out may harm the process.
//!
//! Seccomp is suspended while a task is infected, and comes back when the tracer dies: a filter that
//! kills on `munmap`, `rt_sigaction`, `futex` or `rt_sigreturn` then kills the process. A process
//! stopped by job control takes the way out when it is continued.
//!
//! # Threads
//! ptrace is bound to the thread that seized a task: [`Tracee`] is not `Send`.
//!
//! # `SIGCHLD`
//! The first [`Tracee`] of a process sets its action for `SIGCHLD`, for good: by it a wait learns that the process was
//! killed whose leader it waits for. System calls that it interrupts are restarted.

#![deny(missing_docs)]

mod arch;
mod check;
mod core;
mod error;
mod exit;
mod infected;
mod limits;
mod maps;
mod state;
mod sys;
#[cfg(test)]
mod tests;
mod threads;
mod tracee;
mod undo;
mod wait;

pub use crate::core::SCRATCH_SIZE;
pub use arch::{Abi, Regs, restarted};
pub use criu_blobs::wire::{Call, ProcessInfo, SigAction, ThreadInfo, TimerInfo};
pub use error::{Error, Result};
pub use infected::{InfectError, Infected};
pub use state::{Queue, RseqConfig, SeccompFilter, SigInfo, UserDispatch};
pub use threads::ThreadState;
pub use tracee::{Found, Resume, Stop, Threads, Tracee};
pub use wait::{cancel, uncancel};
