//! The one error type of this crate.

use nix::errno::Errno;

/// Why a process could not be stopped, infected, asked or cured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such task (any more).
    #[error("task {tid} does not exist")]
    Gone {
        /// Thread id.
        tid: i32,
    },
    /// The task has exited and waits for its parent to fetch its status.
    #[error("task {tid} has exited (state {state}): only its parent can remove it")]
    Zombie {
        /// Thread id.
        tid: i32,
        /// Letter of `/proc/PID/stat`: `Z` or `X`.
        state: char,
    },
    /// Another process traces the task.
    #[error("task {tid} is already traced by process {tracer}: stop that tracer (a debugger, strace) first")]
    Traced {
        /// Thread id.
        tid: i32,
        /// The tracer's pid.
        tracer: i32,
    },
    /// The kernel does not permit tracing.
    #[error(
        "not permitted to trace task {tid}: needs the same user or CAP_SYS_PTRACE, and no module such as Yama forbidding it"
    )]
    Denied {
        /// Thread id.
        tid: i32,
    },
    /// The task ended while it was traced.
    #[error("task {tid} died while {doing}: {how}")]
    Died {
        /// Thread id.
        tid: i32,
        /// What was being done.
        doing: &'static str,
        /// Exit status or signal, in words.
        how: String,
    },
    /// The task stopped for a reason that does not fit.
    #[error("task {tid} stopped unexpectedly while {doing}: {stop}")]
    UnexpectedStop {
        /// Thread id.
        tid: i32,
        /// What was being done.
        doing: &'static str,
        /// The stop, in words.
        stop: String,
    },
    /// A system call of ours failed.
    #[error("{doing} of task {tid} failed: {errno}")]
    Sys {
        /// Thread id.
        tid: i32,
        /// What was being done.
        doing: &'static str,
        /// Why.
        errno: Errno,
    },
    /// A system call inside of the task failed.
    #[error("{call} inside of task {tid} failed: {errno}")]
    Remote {
        /// Thread id.
        tid: i32,
        /// The call's name.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The limits of the task leave no room for the parasite.
    #[error(
        "task {tid} may have no more memory: {limits} (raise it for the time of the dump, see prlimit(1))"
    )]
    Limited {
        /// Thread id.
        tid: i32,
        /// The limits that it has.
        limits: String,
    },
    /// Memory of the task could not be read or written.
    #[error("{doing} {len} bytes at {address:#x} of task {tid} failed: {errno}")]
    Memory {
        /// Thread id.
        tid: i32,
        /// `"reading"` or `"writing"`.
        doing: &'static str,
        /// Address in the task.
        address: u64,
        /// Length.
        len: usize,
        /// Why.
        errno: Errno,
    },
    /// The task runs something that cannot be infected.
    #[error("task {tid} cannot be infected: {why}")]
    Unsupported {
        /// Thread id.
        tid: i32,
        /// What it runs and what to do.
        why: &'static str,
    },
    /// A file of `/proc` could not be read or has an unknown form.
    #[error("cannot read {path}: {why}")]
    Proc {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// A request does not fit into the space for it.
    #[error("{what}: {given} given, at most {limit} fit")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many were given.
        given: usize,
        /// How many fit.
        limit: usize,
    },
    /// The target's answer makes no sense: it or its kernel changed the parasite's memory.
    #[error("task {tid} gave a nonsensical answer to {doing}")]
    Answer {
        /// Thread id.
        tid: i32,
        /// What it was asked.
        doing: &'static str,
    },
    /// [`crate::cancel`] was called while waiting.
    #[error("cancelled while waiting for task {tid}")]
    Cancelled {
        /// Thread id.
        tid: i32,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
