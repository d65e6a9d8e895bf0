//! Whether a thread can be infected, and what has to be restored.

use nix::errno::Errno;

use crate::arch::{self, Abi};
use crate::error::{Error, Result};
use crate::exit::Context;
use crate::sys;
use crate::tracee::Tracee;

const O_SUSPEND_SECCOMP: i32 = 1 << 21;

/// Checks whether the thread can be infected, and saves what has to be restored.
pub(crate) fn check(tracee: &Tracee) -> Result<Context> {
    let all = check_all(std::slice::from_ref(tracee))?;
    let gone = Error::Gone { tid: tracee.tid() };
    all.into_iter().next().ok_or(gone)
}

/// Checks whether threads of one process, all stopped, can be infected, and saves what has to be restored of each.
///
/// Seccomp stays suspended until they are let go: until then they run no code of their own.
pub(crate) fn check_all(threads: &[Tracee]) -> Result<Vec<Context>> {
    let mut contexts = threads.iter().map(context).collect::<Result<Vec<_>>>()?;
    let mut registered: Vec<_> = contexts
        .iter_mut()
        .filter_map(|context| {
            let (config, section) = context.rseq.as_mut()?;
            Some((config.address + SECTION_AT, section, &mut context.regs))
        })
        .collect();
    let Some(tid) = threads.first().map(Tracee::tid) else {
        return Ok(contexts);
    };
    let at: Vec<u64> = registered.iter().map(|(at, ..)| *at).collect();
    // SAFETY: integers.
    let named: Vec<u64> = unsafe { sys::read_values(tid, &at) }?;
    for ((_, section, regs), named) in registered.iter_mut().zip(named) {
        **section = abort_rseq(tid, named, regs);
    }
    Ok(contexts)
}

/// Of one thread: which critical section its rseq area names is not known yet.
fn context(tracee: &Tracee) -> Result<Context> {
    let mut regs = tracee.regs()?;
    if arch::is_resumed(&regs) {
        let mut code = [0; arch::CODE_BEFORE];
        let from = arch::pc(&regs).wrapping_sub(code.len() as u64);
        if sys::read_mem(tracee.tid(), from, &mut code).is_ok() {
            arch::name_resumed(&mut regs, &code);
        }
    }
    if !tracee.is_known_unfiltered() {
        suspend_seccomp(tracee)?;
    }
    Ok(Context {
        regs,
        xstate: tracee.xstate()?,
        mask: tracee.sigmask()?,
        shadow: tracee.shadow_stack_pointer(),
        dispatch: tracee.user_dispatch()?.filter(|config| config.mode != 0),
        rseq: tracee
            .rseq()?
            .filter(|config| config.address != 0)
            .map(|config| (config, 0)),
    })
}

fn suspend_seccomp(tracee: &Tracee) -> Result<()> {
    let tid = tracee.tid();
    match tracee.set_options(O_SUSPEND_SECCOMP) {
        Err(Error::Sys {
            errno: Errno::EPERM | Errno::EINVAL,
            ..
        }) => {
            let path = format!("/proc/{tid}/status");
            let status = std::fs::read_to_string(&path).map_err(|e| Error::Proc {
                path: path.clone(),
                why: e.to_string(),
            })?;
            if status
                .lines()
                .any(|l| l.strip_prefix("Seccomp:").is_some_and(|m| m.trim() != "0"))
            {
                let why = "it runs under seccomp, and suspending that needs CAP_SYS_ADMIN, CONFIG_CHECKPOINT_RESTORE \
                           and a tracer that is not under seccomp itself";
                return Err(Error::Unsupported { tid, why });
            }
            Ok(())
        }
        other => other,
    }
}

/// Where `rseq_cs` is in `struct rseq`.
const SECTION_AT: u64 = 8;

/// A thread stopped inside a restartable sequence, which its area names (0 for none), continues at its abort handler,
/// as after any preemption: running other code makes the kernel forget that it was inside. The section that is named
/// there still.
fn abort_rseq(tid: i32, section: u64, regs: &mut arch::Regs) -> u64 {
    if section == 0 {
        return 0;
    }
    // struct rseq_cs: version and flags, start, length, abort address.
    // SAFETY: integers.
    let Ok([_, start, length, abort]) = (unsafe { sys::read_value::<[u64; 4]>(tid, section) }) else {
        return section;
    };
    if arch::pc(regs).wrapping_sub(start) < length {
        arch::set_pc(regs, abort);
        return 0;
    }
    section
}

/// Which calls the program of a process makes; `regs` are those of its leading thread.
pub(crate) fn abi_of(tid: i32, regs: &arch::Regs) -> Abi {
    use std::io::Read;
    let mut head = [0; arch::ELF_HEAD];
    let read =
        std::fs::File::open(format!("/proc/{tid}/exe")).and_then(|mut file| file.read_exact(&mut head));
    read.map_or(Abi::Native, |()| Abi::of(&head, regs))
}
