//! The end of a restore: every thread is stopped where it waits, gets its registers, and is let go.

use criu_infect::{Resume, Stop, Threads, Tracee, UserDispatch};
use criu_plugin_api::message::{RemoteArg, RemoteCall, RemoteResult};
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::context::Restore;
use super::images::{Live, State, TaskImages, ThreadImages};
use super::plan::Role;
use super::shadow::{self, Step};
use super::{registers, sys};
use crate::arch::shadow::{ARCH_SHSTK_ENABLE, MAP_SHADOW_STACK};
use crate::error::{Context, Error, Result};
use crate::extra::ThreadExtra;
use crate::lsm;
use crate::proc::Stat;

/// `PTRACE_O_SUSPEND_SECCOMP` (Linux 4.3).
const SUSPEND_SECCOMP: i32 = 1 << 21;
/// Nothing is left of a tree whose coordinator is killed before the tree is complete.
const END_WITH_TRACER: i32 = libc::PTRACE_O_EXITKILL;

/// A process whose threads are all stopped in the restorer.
pub(crate) struct Caught {
    /// The leader first.
    threads: Threads,
    /// Address of a `syscall` instruction in the restorer.
    code: u64,
    /// Memory that calls may use for their buffers.
    scratch: (u64, u64),
    pid: i32,
}

impl Caught {
    /// Whether a thread is one of this process.
    pub(crate) fn has_thread(&self, tid: i32) -> bool {
        self.threads.iter().any(|thread| thread.tid() == tid)
    }

    /// Has a thread run a call and returns its result.
    fn syscall(&mut self, tid: i32, nr: i64, args: [u64; 6]) -> Result<i64> {
        let thread = self
            .threads
            .iter_mut()
            .find(|thread| thread.tid() == tid)
            .ok_or_else(|| Error::Task(format!("process {} has no thread {tid}", self.pid)))?;
        let mut regs = thread.regs()?;
        (regs.rip, regs.rax, regs.orig_rax) = (self.code, nr.cast_unsigned(), u64::MAX);
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        thread.set_regs(&regs)?;
        for doing in ["entering a system call", "in a system call"] {
            thread.resume_until(Resume::ToSyscall, doing, |stop| stop == Stop::Syscall)?;
        }
        Ok(thread.regs()?.rax.cast_signed())
    }

    /// madvise(2) of a range of the process.
    pub(crate) fn advise(&mut self, (start, end): (u64, u64), advice: i32) -> Result<()> {
        let args = [start, end - start, i64::from(advice).cast_unsigned(), 0, 0, 0];
        let result = self.syscall(self.pid, libc::SYS_madvise, args)?;
        if result == 0 {
            return Ok(());
        }
        let errno = i32::try_from(-result).map_or(Errno::UnknownErrno, Errno::from_raw);
        Err(errno).context(|| format!("giving advice {advice} for {start:#x}-{end:#x}"))
    }

    /// Runs a plugin's call, its buffers in the scratch memory.
    pub(crate) fn remote_call(&mut self, call: &RemoteCall) -> Result<RemoteResult> {
        let object = || format!("a call of {} in process {}", call.nr, call.pid);
        if call.args.len() > 6 {
            return Err(Error::malformed(object(), "has more than six arguments"));
        }
        let (mut next, end) = self.scratch;
        let pid = Pid::from_raw(self.pid);
        let mut args = [0; 6];
        let mut rooms = Vec::new();
        for (slot, arg) in args.iter_mut().zip(&call.args) {
            if arg.data.is_none() && arg.room == 0 {
                *slot = arg.value;
                continue;
            }
            let mut bytes = arg.data.clone().unwrap_or_default();
            bytes.resize(bytes.len().max(arg.room as usize), 0);
            if end - next < bytes.len() as u64 {
                return Err(Error::malformed(object(), "has buffers that are too large"));
            }
            let there = RemoteIoVec {
                base: next as usize,
                len: bytes.len(),
            };
            process_vm_writev(pid, &[std::io::IoSlice::new(&bytes)], &[there]).context(object)?;
            if arg.room > 0 {
                rooms.push((next, arg.room as usize));
            }
            *slot = next;
            next = (next + bytes.len() as u64).next_multiple_of(16).min(end);
        }
        let value = self.syscall(call.pid, call.nr, args)?;
        let mut data = Vec::new();
        for (at, length) in rooms {
            let mut bytes = vec![0; length];
            let there = RemoteIoVec {
                base: at as usize,
                len: length,
            };
            process_vm_readv(pid, &mut [std::io::IoSliceMut::new(&mut bytes)], &[there]).context(object)?;
            data.push(bytes);
        }
        Ok(RemoteResult { value, data })
    }

    /// Gives every thread its security label.
    pub(crate) fn label(&mut self, live: &Live, labels: &lsm::Plan) -> Result<()> {
        for thread in &live.threads {
            let Some(creds) = thread.thread()?.creds.as_ref() else {
                continue;
            };
            if let Some(change) = labels.at_the_end(&format!("thread {}", thread.tid), creds)? {
                self.write_file(thread.tid, &change.path, change.text.as_bytes())
                    .map_err(|error| {
                        Error::refused_but(
                            format!("thread {}", thread.tid),
                            format!("cannot be given its label (`{}`): {error}", change.text),
                            "the profile must be loaded, criu's own must allow to change to it and, with it, each to \
                             trace and to be traced by the other, and the thread needs a /proc",
                        )
                    })?;
            }
        }
        Ok(())
    }

    /// Has a thread write to a file in one piece.
    fn write_file(&mut self, tid: i32, path: &str, text: &[u8]) -> Result<()> {
        let mut call = |nr: i64, args: Vec<RemoteArg>| -> Result<u64> {
            let result = self.remote_call(&RemoteCall { pid: tid, nr, args })?;
            u64::try_from(result.value).map_err(|_| Error::Io {
                action: format!("writing to {path}"),
                source: std::io::Error::from_raw_os_error(-(result.value as i32)),
            })
        };
        let value = |value: u64| RemoteArg {
            value,
            ..RemoteArg::default()
        };
        let data = |bytes: &[u8]| RemoteArg {
            data: Some(bytes.to_vec()),
            ..RemoteArg::default()
        };
        let name = [path.as_bytes(), b"\0"].concat();
        let here = i64::from(libc::AT_FDCWD).cast_unsigned();
        let flags = u64::from((libc::O_WRONLY | libc::O_CLOEXEC).unsigned_abs());
        let fd = call(libc::SYS_openat, vec![value(here), data(&name), value(flags)])?;
        let written = call(
            libc::SYS_write,
            vec![value(fd), data(text), value(text.len() as u64)],
        );
        call(libc::SYS_close, vec![value(fd)])?;
        written.map(drop)
    }

    /// Makes and fills the shadow stacks.
    pub(crate) fn map_shadow_stacks(
        &mut self,
        live: &Live,
        read: impl Fn(usize, u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        for (start, args) in shadow::mappings(live) {
            let result = self.syscall(self.pid, MAP_SHADOW_STACK, args)?;
            if result != start.cast_signed() {
                return Err(Error::Io {
                    action: format!("mapping the shadow stack at {start:#x} of process {}", self.pid),
                    source: std::io::Error::from_raw_os_error(-(result as i32)),
                });
            }
        }
        shadow::fill(self.pid, live, read)
    }

    /// Puts every thread on its shadow stack. None returns from a call after that but in its own program.
    fn switch_shadow_stacks(&mut self, task: &TaskImages, live: &Live, inherited: u64) -> Result<()> {
        let any = live
            .lasting()
            .iter()
            .any(|thread| shadow::of(&thread.core).is_some());
        let [small, own] = shadow::limits(stack_limit(task));
        if any {
            self.limit_stack(live, small)?;
        }
        for thread in live.lasting() {
            let extra = live.extra.threads.iter().find(|extra| extra.tid == thread.tid);
            let locked = extra.map_or(0, |extra| extra.shadow_stack_locked);
            for step in shadow::steps(shadow::of(&thread.core), locked, inherited) {
                self.take_step(thread.tid, step)
                    .context(|| format!("restoring the shadow stack of thread {}", thread.tid))?;
            }
        }
        if any {
            self.limit_stack(live, own)?;
        }
        Ok(())
    }

    fn take_step(&mut self, tid: i32, step: Step) -> Result<()> {
        let tracee = self.threads.iter().find(|thread| thread.tid() == tid);
        let tracee =
            tracee.ok_or_else(|| Error::Task(format!("process {} has no thread {tid}", self.pid)))?;
        match step {
            Step::Unlock => Ok(tracee.lock_shadow_stack(u64::MAX, false)?),
            Step::Lock(features) => Ok(tracee.lock_shadow_stack(features, true)?),
            Step::Point(to) => Ok(tracee.set_shadow_stack_pointer(to)?),
            Step::Enable(feature) => {
                let args = [ARCH_SHSTK_ENABLE, feature, 0, 0, 0, 0];
                match self.syscall(tid, libc::SYS_arch_prctl, args)? {
                    0 => Ok(()),
                    failed => Err(Error::Io {
                        action: format!("switching feature {feature} on (ARCH_SHSTK_ENABLE)"),
                        source: std::io::Error::from_raw_os_error(-(failed as i32)),
                    }),
                }
            }
        }
    }

    /// Has the process set the limit of its main stack: by that the kernel sizes new shadow stacks.
    fn limit_stack(&mut self, live: &Live, limit: [u64; 2]) -> Result<()> {
        let value = |value: u64| RemoteArg {
            value,
            ..RemoteArg::default()
        };
        let bytes = limit.iter().flat_map(|word| word.to_le_bytes()).collect();
        let data = RemoteArg {
            data: Some(bytes),
            ..RemoteArg::default()
        };
        let pid = live.lasting().first().map_or(self.pid, |thread| thread.tid);
        let call = RemoteCall {
            pid,
            nr: libc::SYS_prlimit64,
            args: vec![value(0), value(libc::RLIMIT_STACK.into()), data, value(0)],
        };
        match self.remote_call(&call)?.value {
            0 => Ok(()),
            failed => Err(Error::Io {
                action: format!("limiting the stack of process {pid}"),
                source: std::io::Error::from_raw_os_error(-(failed as i32)),
            }),
        }
    }

    /// Takes the restorer out and gives every thread its registers. `locked` are the features of shadow stacks that are
    /// locked for what this program makes; none where the kernel has no shadow stacks.
    pub(crate) fn complete(
        &mut self,
        task: &TaskImages,
        live: &Live,
        restorer: (u64, u64),
        locked: Option<u64>,
    ) -> Result<()> {
        self.seal(live)?;
        if let Some(status) = live.extra.lost_leader {
            self.end_leader(status)
                .context(|| format!("ending the leading thread of process {}", self.pid))?;
        }
        if let Some(locked) = locked {
            self.switch_shadow_stacks(task, live, locked)?;
        }
        let args = [restorer.0, restorer.1 - restorer.0, 0, 0, 0, 0];
        let first = self.threads.first().map_or(self.pid, Tracee::tid);
        let result = self.syscall(first, libc::SYS_munmap, args)?;
        if result < 0 {
            return Err(Error::Task(format!(
                "unmapping the restorer of process {}: {}",
                self.pid,
                nix::errno::Errno::from_raw(-(result as i32)).desc()
            )));
        }
        let mut area = Vec::new();
        for (tracee, thread) in self.threads.iter().zip(live.lasting()) {
            set_registers(tracee, thread, task, &mut area)?;
            if let Some(extra) = live.extra.threads.iter().find(|extra| extra.tid == thread.tid) {
                set_extra(tracee, extra)?;
            }
        }
        Ok(())
    }

    /// Has a leader exit that the other threads are to outlive, and waits until it has.
    fn end_leader(&mut self, status: u32) -> Result<()> {
        let leader = self.threads.remove(0);
        let mut regs = leader.regs()?;
        (regs.rip, regs.rax, regs.orig_rax) = (self.code, libc::SYS_exit.cast_unsigned(), u64::MAX);
        regs.rdi = (status >> 8 & 0xff).into();
        leader.set_regs(&regs)?;
        leader.detach()?;
        // It needs the restorer's code until then.
        while Stat::read(self.pid)?.state != b'Z' {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Seals what was sealed: nothing of the task's memory changes any more.
    fn seal(&mut self, live: &Live) -> Result<()> {
        const MSEAL: i64 = 462;
        for range in live.extra.ranges.iter().filter(|range| range.sealed) {
            let result = self.syscall(
                self.pid,
                MSEAL,
                [range.start, range.end - range.start, 0, 0, 0, 0],
            )?;
            if result < 0 {
                return Err(Error::Io {
                    action: format!(
                        "sealing the mapping {:#x}-{:#x} of process {} (mseal, Linux 6.10)",
                        range.start, range.end, self.pid
                    ),
                    source: std::io::Error::from_raw_os_error(-(result as i32)),
                });
            }
        }
        Ok(())
    }

    /// Sends a process that was stopped, or all with `stop`, the signal that stops it before it runs any of
    /// its code.
    pub(crate) fn stop(&self, task: &TaskImages, stop: bool) -> Result<()> {
        if stop || task.state == State::Stopped {
            let signal = match task.tc.stop_signo {
                Some(signal) if task.state == State::Stopped && stop_is_sure(task, signal) => {
                    signal.cast_signed()
                }
                _ => libc::SIGSTOP,
            };
            let doing = || format!("stopping process {}", self.pid);
            nix::errno::Errno::result(
                // SAFETY: plain numbers; the process is ours and stopped.
                unsafe { libc::kill(self.pid, signal) },
            )
            .context(doing)?;
        }
        Ok(())
    }

    /// Ends a process that lets nobody send it signals by its label, which it got by system calls: at the end of one a
    /// tracer's signal is delivered, and no security module asked.
    fn end(&self) {
        if let Some(leader) = self.threads.first()
            && let Err(error) = leader.resume(Resume::Cont, libc::SIGKILL)
        {
            tracing::warn!("ending process {}: {error}", self.pid);
        }
    }

    /// From here on the kernel lets the threads go, and does not end them, should the coordinator be killed.
    pub(crate) fn is_complete(&self) -> Result<()> {
        for thread in self.threads.iter() {
            thread
                .set_options(0)
                .context(|| format!("giving thread {} a life of its own", thread.tid()))?;
        }
        Ok(())
    }

    /// Lets every thread go.
    pub(crate) fn release(self) -> Result<()> {
        self.threads
            .detach()
            .context(|| format!("letting process {} go", self.pid))
    }
}

/// `RLIMIT_STACK` of a process, soft and hard.
fn stack_limit(task: &TaskImages) -> (u64, u64) {
    let limits = task.tc.rlimits.iter().flat_map(|limits| &limits.rlimits);
    let mut stack = limits.skip(libc::RLIMIT_STACK as usize);
    stack
        .next()
        .map_or((u64::MAX, u64::MAX), |limit| (limit.cur, limit.max))
}

/// Whether a stop signal will stop the process: it is neither handled, ignored nor blocked.
fn stop_is_sure(task: &TaskImages, signal: u32) -> bool {
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    if !stops.contains(&signal.cast_signed()) {
        return false;
    }
    if signal.cast_signed() == libc::SIGSTOP {
        return true;
    }
    // Actions of signals 1 to 64 without SIGKILL and SIGSTOP, both of which come before these.
    let action = task.tc.sigactions.get(signal as usize - 3);
    action.is_some_and(|action| action.sigaction == 0) && task.tc.blk_sigset >> (signal - 1) & 1 == 0
}

/// What only a tracer can set beside the registers.
fn set_extra(tracee: &Tracee, extra: &ThreadExtra) -> Result<()> {
    if let Some(dispatch) = &extra.dispatch {
        let config = UserDispatch {
            mode: dispatch.mode,
            selector: dispatch.selector,
            offset: dispatch.offset,
            len: dispatch.len,
        };
        tracee
            .set_user_dispatch(&config)
            .context(|| format!("setting the system call user dispatch of thread {}", extra.tid))?;
    }
    if let Ok(registers) = extra.breakpoints.as_slice().try_into() {
        tracee
            .set_breakpoints(registers)
            .context(|| format!("setting the hardware breakpoints of thread {}", extra.tid))?;
    }
    Ok(())
}

fn set_registers(
    tracee: &Tracee,
    thread: &ThreadImages,
    task: &TaskImages,
    area: &mut Vec<u8>,
) -> Result<()> {
    let Some(info) = thread.core.thread_info.as_ref() else {
        return Err(Error::malformed(
            format!("core-{}.img", thread.tid),
            "has no thread_info",
        ));
    };
    // All threads have the same layout: it is asked for once.
    if area.is_empty() {
        *area = tracee.xstate()?;
    }
    registers::vector(&info.fpregs, area);
    tracee
        .set_xstate(area)
        .context(|| format!("setting the vector registers of thread {}", thread.tid))?;
    let entry = thread.thread()?;
    if let Some(rseq) = entry
        .rseq_entry
        .as_ref()
        .filter(|rseq| rseq.rseq_cs_pointer.unwrap_or(0) != 0)
    {
        // The kernel forgot the critical section when the restorer ran outside of it.
        let bytes = rseq.rseq_cs_pointer.unwrap_or(0).to_le_bytes();
        let there = RemoteIoVec {
            base: (rseq.rseq_abi_pointer + 8) as usize,
            len: 8,
        };
        process_vm_writev(
            Pid::from_raw(task.pid),
            &[std::io::IoSlice::new(&bytes)],
            &[there],
        )
        .context(|| format!("setting the rseq critical section of thread {}", thread.tid))?;
    }
    crate::arch::set_thread_areas(thread.tid, &info.tls)?;
    let mask = entry.blk_sigset.unwrap_or(task.tc.blk_sigset);
    tracee.set_sigmask(mask)?;
    tracee
        .set_regs(&registers::general(&info.gpregs, &info.tls))
        .context(|| format!("setting the registers of thread {}", thread.tid))?;
    Ok(())
}

/// Whether filters would be in the way of the restorer.
pub(crate) fn needs_suspension(live: &Live) -> bool {
    live.threads.iter().any(|t| {
        t.core
            .thread_core
            .as_ref()
            .is_some_and(|c| c.seccomp_mode.unwrap_or(0) != 0)
    })
}

/// Seizes the threads of those processes whose filters must not act yet; they go on at once.
pub(crate) fn suspend_filters(restore: &Restore) -> Result<Vec<(usize, Threads)>> {
    let mut seized = Vec::new();
    for (node, live) in processes(restore) {
        if !needs_suspension(live) {
            continue;
        }
        let tids: Vec<i32> = live.threads.iter().map(|t| t.tid).collect();
        let tracees = Threads::seize(&tids)?;
        for tracee in tracees.iter() {
            tracee
                .set_options(SUSPEND_SECCOMP | END_WITH_TRACER)
                .context(|| format!("suspending the filters of thread {}", tracee.tid()))?;
            tracee.resume(Resume::Cont, 0)?;
        }
        seized.push((node, tracees));
    }
    Ok(seized)
}

/// Stops all threads where they wait.
pub(crate) fn catch_all(
    restore: &Restore,
    seized: Vec<(usize, Threads)>,
    code: u64,
    scratch: impl Fn(usize) -> (u64, u64),
) -> Result<()> {
    let mut seized: std::collections::HashMap<usize, Threads> = seized.into_iter().collect();
    for (node, live) in processes(restore) {
        let pid = restore.plan.nodes[node].pid;
        let threads = match seized.remove(&node) {
            Some(mut tracees) => {
                for tracee in tracees.iter() {
                    tracee.interrupt()?;
                }
                for tracee in tracees.iter_mut() {
                    tracee.wait_until(Resume::Cont, "catching it", |stop| {
                        matches!(stop, Stop::Event { .. })
                    })?;
                }
                tracees
            }
            None => {
                let tids: Vec<i32> = live.threads.iter().map(|t| t.tid).collect();
                let doing = || format!("catching process {pid} at the end of its restore");
                let tracees = Threads::seize(&tids).context(doing)?;
                for tracee in tracees.iter() {
                    tracee.set_options(END_WITH_TRACER).context(doing)?;
                }
                tracees
            }
        };
        let caught = Caught {
            threads,
            code,
            scratch: scratch(node),
            pid,
        };
        restore.caught.borrow_mut().insert(pid, caught);
    }
    Ok(())
}

/// All living processes, by their place in the plan.
pub(crate) fn processes(restore: &Restore) -> impl Iterator<Item = (usize, &Live)> {
    restore
        .plan
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(node, planned)| {
            let Role::Task(index) = planned.role else {
                return None;
            };
            Some((node, restore.set.tasks[index].live.as_ref()?))
        })
}

/// Ends all processes of the tree; what exists of it is known by its pids.
pub(crate) fn kill_all(restore: &Restore) {
    let Some(shared) = restore.shared.get() else {
        return;
    };
    for (node, planned) in restore.plan.nodes.iter().enumerate() {
        if shared
            .task(node)
            .created
            .load(std::sync::atomic::Ordering::Acquire)
            == 1
        {
            match sys::kill(planned.pid) {
                // That it is gone already is no failure.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(_) => {
                    if let Some(caught) = restore.caught.borrow().get(&planned.pid) {
                        caught.end();
                    }
                }
            }
        }
    }
    // A thread that died before its tracer let it go is waited for here: until then its process has not ended.
    for (pid, caught) in restore.caught.borrow_mut().drain() {
        if let Err(error) = caught.threads.detach() {
            tracing::debug!("letting go of the threads of process {pid}: {error}");
        }
    }
}
