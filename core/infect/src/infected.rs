//! A process with the parasite in it.

use std::mem::{ManuallyDrop, offset_of};
use std::ops::Range;

use criu_blobs::wire::{
    Call, Control, MAX_CALLS, MAX_DESCRIPTORS, MAX_TIMERS, ProcessInfo, TimerInfo, command,
};

use crate::arch;
use crate::core::{Core, SCRATCH_SIZE, Wire, bytes_of_slice, prepare};
use crate::error::{Error, Result};
use crate::state::SigInfo;
use crate::sys;
use crate::tracee::{Resume, Tracee};

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
    core: Core,
}

impl Tracee {
    /// Puts the parasite into the process of this stopped thread. All threads of the process (and
    /// other processes that share its memory) should be stopped.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for seccomp that this tracer may not suspend; [`Error::Remote`] if the process cannot map memory. The
    /// task comes back with the error, unchanged.
    pub fn infect(self) -> std::result::Result<Infected, InfectError> {
        let mut tracee = self;
        let prepared = match prepare(&mut tracee) {
            Ok(prepared) => prepared,
            Err(error) => return Err(InfectError { tracee, error }),
        };
        let mut core = prepared.with(tracee);
        match core.enter() {
            Ok(()) => Ok(Infected { core }),
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

    /// SIGTRAPs of the process that were pending before the parasite came, which has them now; the cure makes
    /// them pending again. Those of threads are in [`crate::ThreadState::traps`].
    pub fn traps(&self) -> Vec<SigInfo> {
        let held = self.core().held.iter();
        held.filter(|held| held.thread.is_none())
            .map(|held| held.info)
            .collect()
    }

    /// Ends the process by `SIGKILL` at the breakpoint where its leading thread stands. Unlike kill(2) this asks no
    /// security module whether the process may be sent a signal.
    ///
    /// # Errors
    /// [`Error::Sys`] if the thread is not there any more.
    pub fn kill(&mut self) -> Result<()> {
        self.core_mut().tracee.resume(Resume::Cont, libc::SIGKILL)
    }

    /// Which system calls the program makes.
    pub fn abi(&self) -> arch::Abi {
        self.core().abi
    }

    /// The program's shadow stack pointer, if it has a user shadow stack.
    pub fn shadow_stack_pointer(&self) -> Option<u64> {
        self.core().context.shadow
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
        self.core_mut().run_calls(calls)
    }

    /// Replaces numbers of descriptors by the `FD_*` flags of what is open there (`F_GETFD` of fcntl(2)), `-errno`
    /// where nothing is. Many at once, for a fraction of what as many calls would cost.
    pub fn descriptor_flags(&mut self, numbers: &mut [i32]) -> Result<()> {
        let core = self.core_mut();
        let at = core.layout.control + offset_of!(Control, calls) as u64;
        for chunk in numbers.chunks_mut(MAX_DESCRIPTORS) {
            core.command_on(command::DESCRIPTORS, chunk)?;
            let mut answer = vec![0; size_of_val(chunk)];
            sys::read_mem(core.tracee.tid(), at, &mut answer)?;
            for (number, bytes) in chunk.iter_mut().zip(answer.chunks_exact(size_of::<i32>())) {
                *number = i32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
            }
        }
        Ok(())
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
    pub fn cure(self) -> Result<Tracee> {
        let mut core = self.into_core();
        core.cure()?;
        Ok(core.tracee)
    }

    /// Forgets the parasite of a process that has been killed, see [`Tracee::bury`].
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn bury(self) -> Result<()> {
        self.into_core().tracee.bury()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// The core without the cure that the end of `self` would bring.
    fn into_core(self) -> Core {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards.
        unsafe { std::ptr::read(&raw const this.core) }
    }
}

impl Core {
    /// As [`Infected::syscalls`].
    pub(crate) fn run_calls(&mut self, calls: &mut [Call]) -> Result<()> {
        for chunk in calls.chunks_mut(MAX_CALLS) {
            self.command_on(command::CALLS, chunk)?;
            self.read_results(chunk)?;
        }
        Ok(())
    }

    /// Gives a command together with what it is about, which lies in the place of the calls and fits there.
    fn command_on<T: Wire>(&mut self, which: u32, entries: &[T]) -> Result<()> {
        self.write_control(offset_of!(Control, calls), bytes_of_slice(entries))?;
        self.write_control(
            offset_of!(Control, call_count),
            &(entries.len() as u32).to_le_bytes(),
        )?;
        self.command(which)
    }

    /// Reads what came of the calls in the control block.
    pub(crate) fn read_results(&self, calls: &mut [Call]) -> Result<()> {
        let mut answer = vec![0u8; size_of_val(calls)];
        let at = self.layout.control + offset_of!(Control, calls) as u64;
        sys::read_mem(self.tracee.tid(), at, &mut answer)?;
        for (call, bytes) in calls.iter_mut().zip(answer.chunks_exact(size_of::<Call>())) {
            let result = offset_of!(Call, result);
            call.result = i64::from_le_bytes(std::array::from_fn(|i| bytes[result + i]));
        }
        Ok(())
    }
}

impl Drop for Infected {
    fn drop(&mut self) {
        if let Err(error) = self.core.cure() {
            tracing::warn!(tid = self.core.tracee.tid(), %error, "curing a dropped process");
        }
    }
}
