//! The parasite in other threads of an infected process.

use std::mem::offset_of;

use criu_blobs::PARASITE;
use criu_blobs::wire::{Call, Control, MAX_CALLS, Slot, ThreadInfo, slot};

use crate::arch;
use crate::check::check_all;
use crate::core::{Core, Held, SLOTS, bytes_of_slice, check_shadow, is_breakpoint, write_all};
use crate::error::{Error, Result};
use crate::exit::{self, Context, OutsideCall, Place, Shadow};
use crate::infected::Infected;
use crate::maps::LowEnd;
use crate::state::{RseqConfig, SigInfo, UserDispatch};
use crate::sys;
use crate::tracee::{Resume, Stop, Tracee};

/// A thread together with what it told and what was saved of it.
#[derive(Debug)]
pub struct ThreadState {
    /// What the parasite found.
    pub info: ThreadInfo,
    /// General registers.
    pub regs: arch::Regs,
    /// Extended state, layout of XSAVE.
    pub xstate: Vec<u8>,
    /// Blocked signals.
    pub sigmask: u64,
    /// SIGTRAPs that were pending for it, as [`Infected::traps`].
    pub traps: Vec<SigInfo>,
    /// Its shadow stack pointer, where it has a user shadow stack.
    pub shadow: Option<u64>,
    /// Its system call user dispatch, where it is on.
    pub dispatch: Option<UserDispatch>,
    /// Its registered rseq area, and the address of the critical section that is named there (`rseq_cs`), 0 for
    /// none: one that was interrupted has been aborted.
    pub rseq: Option<(RseqConfig, u64)>,
}

/// The ways of threads into the parasite and out of it.
struct Ways {
    /// What the main stack has left for them.
    main_stack: Option<LowEnd>,
    /// Addresses and what is to be written there.
    writes: Vec<(u64, Vec<u8>)>,
    /// Addresses and lengths of frames that lie on the main stack.
    borrowed: Vec<(u64, usize)>,
}

impl Infected {
    /// Asks other threads of this process, all stopped, about themselves, side by side. `tids` are
    /// their ids as the process itself sees them (the last of `NSpid` in `/proc/PID/status`), in
    /// the order of `threads`. All are stopped as before afterwards.
    pub fn threads(&mut self, threads: &mut [Tracee], tids: &[i32]) -> Result<Vec<ThreadState>> {
        if threads.len() != tids.len() {
            return Err(Error::TooMany {
                what: "threads",
                given: threads.len(),
                limit: tids.len(),
            });
        }
        let core = self.core_mut();
        let mut all = Vec::with_capacity(threads.len());
        for (threads, tids) in threads
            .chunks_mut(SLOTS as usize)
            .zip(tids.chunks(SLOTS as usize))
        {
            core.batch(threads, tids, None, &mut all)?;
        }
        Ok(all)
    }

    /// Makes system calls in another thread of this process, stopped, in order, also after one fails; as
    /// [`Self::syscalls`] does in the leading one. `tid` is its id as the process itself sees it. It is stopped as
    /// before afterwards.
    pub fn thread_syscalls(&mut self, thread: &mut Tracee, tid: i32, calls: &mut [Call]) -> Result<()> {
        let core = self.core_mut();
        let calls_at = offset_of!(Control, calls);
        let at = core.layout.control + calls_at as u64;
        for chunk in calls.chunks_mut(MAX_CALLS) {
            // The leading thread, whose room for calls this is, has none to run.
            core.write_control(calls_at, bytes_of_slice(chunk))?;
            let asked = Some((at, chunk.len() as u64));
            core.batch(std::slice::from_mut(thread), &[tid], asked, &mut Vec::new())?;
            core.read_results(chunk)?;
        }
        Ok(())
    }

    /// Has a thread (its id as the process itself sees it; 0 is the leading one) look at another process when it is
    /// asked about itself, see [`ThreadInfo::witness`].
    pub fn set_witness(&mut self, tid: i32, witness: i32) {
        self.core_mut().witnesses.insert(tid, witness);
    }

    /// What the leading thread tells about itself, as [`Self::threads`] does about the others.
    pub fn leader(&mut self) -> Result<ThreadState> {
        let witness = self.core().witness(0);
        let scratch = self.scratch().start;
        let prctl = libc::SYS_prctl;
        let zero = [0u8; 64];
        self.write_mem(scratch, &zero)?;
        let call = |nr: i64, args: [u64; 3]| criu_blobs::wire::Call {
            nr: nr as u64,
            args: [args[0], args[1], args[2], 0, 0, 0],
            result: 0,
        };
        let mut calls = [
            call(libc::SYS_sigaltstack, [0, scratch, 0]),
            call(prctl, [40, scratch + 24, 0]),
            call(prctl, [2, scratch + 32, 0]),
            call(prctl, [27, 0, 0]),
            call(prctl, [39, 0, 0]),
            call(prctl, [30, 0, 0]),
            call(prctl, [25, scratch + 40, 0]),
            call(libc::SYS_arch_prctl, [0x1011, 0, 0]),
            call(prctl, [34, 0, 0]),
            call(prctl, [58, 0, 0]),
            call(prctl, [52, 0, 0]),
            call(prctl, [52, 1, 0]),
            call(prctl, [52, 2, 0]),
            call(libc::SYS_kcmp, [witness as u64, witness as u64, 1]),
        ];
        let asked = if witness == 0 {
            calls.len() - 1
        } else {
            calls.len()
        };
        self.syscalls(&mut calls[..asked])?;
        // SAFETY: integers.
        let w: [u64; 6] = unsafe { sys::read_value(self.tracee().tid(), scratch) }?;
        let error = calls[..5].iter().map(|c| c.result).find(|r| *r < 0).unwrap_or(0);
        let info = ThreadInfo {
            altstack: [w[0], w[1] & 0xffff_ffff, w[2]],
            tid_address: w[3],
            pdeathsig: i64::from(w[4] as u32),
            securebits: calls[3].result,
            no_new_privs: calls[4].result,
            timerslack: calls[5].result,
            tsc: match calls[6].result {
                0 => i64::from(w[5] as u32),
                failed => failed,
            },
            cpuid: calls[7].result,
            mce_kill: calls[8].result,
            io_flusher: calls[9].result,
            speculation: [calls[10].result, calls[11].result, calls[12].result],
            // Whoever asks the kernel for one thread does no harm.
            thread_areas: !0,
            witness: calls[13].result,
            error,
        };
        let core = self.core();
        core.answer(&info)?;
        let c = &core.context;
        Ok(ThreadState {
            info,
            regs: c.regs,
            xstate: c.xstate.clone(),
            sigmask: c.mask,
            shadow: c.shadow,
            dispatch: c.dispatch,
            rseq: c.rseq,
            traps: core.traps_of(0),
        })
    }
}

/// Moves the shadow stack pointer of a thread, if it has one.
fn move_shadow(thread: &Tracee, to: Option<u64>) -> Result<()> {
    to.map_or(Ok(()), |to| thread.set_shadow_stack_pointer(to))
}

impl Core {
    /// The process that a thread is to look at, 0 for none.
    fn witness(&self, tid: i32) -> i64 {
        self.witnesses.get(&tid).copied().unwrap_or(0).into()
    }

    fn answer(&self, info: &ThreadInfo) -> Result<()> {
        if info.error < 0 {
            let errno = nix::errno::Errno::from_raw(-info.error as i32);
            return Err(Error::Remote {
                tid: self.tracee.tid(),
                call: "a query of a thread",
                errno,
            });
        }
        Ok(())
    }

    /// At most [`SLOTS`] threads. They run the calls at an address, so many, instead of telling about themselves, if
    /// there are any.
    fn batch(
        &mut self,
        threads: &mut [Tracee],
        tids: &[i32],
        calls: Option<(u64, u64)>,
        all: &mut Vec<ThreadState>,
    ) -> Result<()> {
        let contexts = check_all(threads)?;
        let mut ways = Ways {
            main_stack: self.main_stack,
            writes: Vec::new(),
            borrowed: Vec::new(),
        };
        let mut shadows = Vec::with_capacity(contexts.len());
        for (i, context) in contexts.iter().enumerate() {
            let shadow = self.prepare_slot(i as u64, &threads[i], tids[i], context, calls, &mut ways)?;
            shadows.push(shadow);
        }
        let Ways {
            mut writes, borrowed, ..
        } = ways;
        for unused in threads.len()..self.used_slots {
            writes.push((self.layout.slot(unused as u64), slot::FREE.to_le_bytes().to_vec()));
        }
        sys::write_all(self.tracee.tid(), &writes)?;
        self.used_slots = threads.len();
        let mut first_error = None;
        let mut keep = |r: Result<()>| {
            if let Err(e) = r {
                first_error.get_or_insert(e);
            }
        };
        // Whatever happens to one thread, the others are brought back.
        let ran = self.run_threads(threads, tids, &contexts, &shadows, &mut keep);
        for (i, thread) in threads.iter_mut().enumerate() {
            let context = &contexts[i];
            // One that stopped on the way goes back from there. At its breakpoint it may stay: since the stop was
            // waited for, the kernel has forgotten the signal (see [`Tracee::settle`]).
            let settled = if ran[i] { Ok(()) } else { thread.settle() };
            keep(
                settled
                    .and_then(|()| thread.set_sigmask(context.mask))
                    .and_then(|()| thread.set_xstate(&context.xstate))
                    .and_then(|()| move_shadow(thread, context.shadow))
                    .and_then(|()| thread.set_regs(&context.regs))
                    .and_then(|()| self.mark(i as u64, slot::FREE)),
            );
        }
        for (thread, context) in threads.iter().zip(&contexts) {
            keep(thread.resume_dispatch(context.dispatch));
        }
        if let Some(error) = first_error {
            // One that cannot be brought back is dead, and not waited for.
            for i in 0..threads.len() {
                self.mark(i as u64, slot::FREE)?;
            }
            return Err(error);
        }
        // All threads are as they were: their frames go, so that the place is found free again.
        for (at, length) in borrowed {
            write_all(self.tracee.tid(), &self.mem, at, &vec![0; length])?;
        }
        let at: Vec<u64> = (0..contexts.len() as u64).map(|i| self.layout.slot(i)).collect();
        // SAFETY: integers.
        let slots: Vec<Slot> = unsafe { sys::read_values(self.tracee.tid(), &at) }?;
        for ((i, context), slot) in contexts.into_iter().enumerate().zip(slots) {
            self.answer(&slot.info)?;
            all.push(ThreadState {
                info: slot.info,
                regs: context.regs,
                xstate: context.xstate,
                sigmask: context.mask,
                shadow: context.shadow,
                dispatch: context.dispatch,
                rseq: context.rseq,
                traps: self.traps_of(tids[i]),
            });
        }
        Ok(())
    }

    /// Sets the threads on their way and waits for their breakpoints; for each whether it got that far.
    fn run_threads(
        &mut self,
        threads: &mut [Tracee],
        tids: &[i32],
        contexts: &[Context],
        shadows: &[Option<Shadow>],
        keep: &mut impl FnMut(Result<()>),
    ) -> Vec<bool> {
        let entry = self.layout.base + PARASITE.entry("thread").unwrap_or_default() as u64;
        let mut note = |r: Result<()>| {
            let good = r.is_ok();
            keep(r);
            good
        };
        let mut good = Vec::with_capacity(threads.len());
        for (i, thread) in threads.iter().enumerate() {
            let slot = self.layout.slot(i as u64);
            let marked = self.mark(i as u64, slot::TAKEN);
            let regs = arch::run_regs(&contexts[i].regs, entry, slot + self.layout.slot_size - 64, slot);
            good.push(note(
                marked
                    .and_then(|()| thread.suspend_dispatch(contexts[i].dispatch))
                    .and_then(|()| move_shadow(thread, shadows[i].map(|shadow| shadow.first())))
                    .and_then(|()| thread.set_regs(&regs))
                    .and_then(|()| thread.set_sigmask(thread.mask_inside()))
                    .and_then(|()| thread.resume(Resume::Cont, 0)),
            ));
        }
        for (i, thread) in threads.iter_mut().enumerate() {
            good[i] = good[i] && note(self.await_breakpoint(thread, tids[i]));
        }
        good
    }

    /// Waits for the breakpoint of a thread; SIGTRAPs that were pending for it are kept.
    fn await_breakpoint(&mut self, thread: &mut Tracee, tid: i32) -> Result<()> {
        let trap = |s| {
            s == Stop::Signal {
                signal: libc::SIGTRAP,
            }
        };
        loop {
            thread.wait_until(Resume::Cont, "asking it", trap)?;
            let info = thread.siginfo()?;
            if is_breakpoint(&info) {
                return Ok(());
            }
            self.held.push(Held {
                thread: Some(tid),
                info,
            });
            thread.resume(Resume::Cont, 0)?;
        }
    }

    fn traps_of(&self, tid: i32) -> Vec<SigInfo> {
        let held = self.held.iter().filter(|held| held.thread == Some(tid));
        held.map(|held| held.info).collect()
    }

    /// Prepares a thread's way in and out.
    fn prepare_slot(
        &mut self,
        index: u64,
        thread: &Tracee,
        tid: i32,
        context: &Context,
        calls: Option<(u64, u64)>,
        ways: &mut Ways,
    ) -> Result<Option<Shadow>> {
        check_shadow(thread.tid(), context, &self.maps)?;
        let at = self.layout.slot(index);
        let left = self.layout.control + offset_of!(Control, left) as u64;
        let unused = self.layout.control + offset_of!(Control, pad) as u64;
        let call = OutsideCall {
            nr: libc::SYS_futex as u64,
            args: arch::count_out(left, unused),
        };
        let size = exit::size(context);
        let place = exit::place(
            thread.tid(),
            &self.maps,
            &context.regs,
            size,
            &mut ways.main_stack,
        );
        let inside = (at + size_of::<Slot>() as u64).next_multiple_of(64);
        let build = |at: u64| exit::build(at, context, &self.gadgets, call);
        let mut frames = build(place.outside().unwrap_or(inside));
        match place {
            Place::Outside(_) => ways.writes.push((frames.at, std::mem::take(&mut frames.bytes))),
            // The stack may have grown to its limit.
            Place::OnMainStack(_) => match write_all(thread.tid(), &self.mem, frames.at, &frames.bytes) {
                Ok(()) => ways.borrowed.push((frames.at, frames.bytes.len())),
                Err(_) => frames = build(inside),
            },
            Place::Inside => {}
        }
        if (frames.at == inside || frames.shadow.is_some()) && !self.keep {
            self.write_control(offset_of!(Control, keep), &1u32.to_le_bytes())?;
            self.keep = true;
        }
        if let Some(shadow) = frames.shadow {
            write_all(thread.tid(), &self.mem, shadow.first(), &shadow.bytes())?;
        }
        if frames.at == inside {
            ways.writes.push((frames.at, std::mem::take(&mut frames.bytes)));
        }
        let protected = self.gadgets.complete();
        // What a signal asks a thread for lies below its stack pointer: one that may have data there is not asked.
        let below = if matches!(place, Place::Outside(_)) {
            0
        } else {
            1 << (libc::SIGTRAP - 1)
        };
        let mask = context.mask | below;
        let slot = Slot {
            state: slot::FREE,
            tid: tid as u32,
            mask,
            exit_frame: if protected { frames.at } else { frames.last },
            exit_pair: frames.shadow.map_or(
                0,
                |shadow| {
                    if protected { shadow.first() } else { shadow.last() }
                },
            ),
            calls: calls.unwrap_or_default().0,
            call_count: calls.unwrap_or_default().1,
            info: ThreadInfo {
                witness: self.witness(tid),
                ..ThreadInfo::default()
            },
        };
        ways.writes.push((at, bytes_of_slice(&[slot]).to_vec()));
        Ok(frames.shadow)
    }

    /// Takes a thread's slot, just before it is made to enter, or frees it, when it is as it was. One word: the kernel may
    /// end a write of several between any two when this program is killed.
    fn mark(&self, index: u64, state: u32) -> Result<()> {
        let at = self.layout.slot(index) + offset_of!(Slot, state) as u64;
        sys::write_mem(self.tracee.tid(), at, &state.to_le_bytes())
    }
}
