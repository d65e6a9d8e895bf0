//! Whether a thread can be infected, and what has to be restored.

use nix::errno::Errno;

use crate::arch::{self, Abi};
use crate::error::{Error, Result};
use crate::exit::Context;
use crate::state::RseqConfig;
use crate::sys;
use crate::tracee::Tracee;

const O_SUSPEND_SECCOMP: i32 = 1 << 21;

/// Checks whether the thread can be infected, and saves what has to be restored.
pub(crate) fn check(tracee: &Tracee) -> Result<Context> {
    let mut regs = tracee.regs()?;
    suspend_seccomp(tracee)?;
    let rseq = abort_rseq(tracee, &mut regs)?;
    Ok(Context {
        regs,
        xstate: tracee.xstate()?,
        mask: tracee.sigmask()?,
        shadow: tracee.shadow_stack_pointer(),
        dispatch: tracee.user_dispatch()?.filter(|config| config.mode != 0),
        rseq,
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

/// A thread stopped inside a restartable sequence continues at its abort handler, as after any
/// preemption: running other code makes the kernel forget that it was inside. What is registered, and the
/// section that is named there still.
fn abort_rseq(tracee: &Tracee, regs: &mut arch::Regs) -> Result<Option<(RseqConfig, u64)>> {
    let tid = tracee.tid();
    let Some(config) = tracee.rseq()?.filter(|c| c.address != 0) else {
        return Ok(None);
    };
    // SAFETY: an integer.
    let section: u64 = unsafe { sys::read_value(tid, config.address + 8) }?;
    if section == 0 {
        return Ok(Some((config, 0)));
    }
    // struct rseq_cs: version and flags, start, length, abort address.
    // SAFETY: integers.
    let Ok([_, start, length, abort]) = (unsafe { sys::read_value::<[u64; 4]>(tid, section) }) else {
        return Ok(Some((config, section)));
    };
    if arch::pc(regs).wrapping_sub(start) < length {
        arch::set_pc(regs, abort);
        return Ok(Some((config, 0)));
    }
    Ok(Some((config, section)))
}

/// Which calls the program of a process makes; `regs` are those of its leading thread.
pub(crate) fn abi_of(tid: i32, regs: &arch::Regs) -> Abi {
    use std::io::Read;
    let mut head = [0; arch::ELF_HEAD];
    let read =
        std::fs::File::open(format!("/proc/{tid}/exe")).and_then(|mut file| file.read_exact(&mut head));
    read.map_or(Abi::Native, |()| Abi::of(&head, regs))
}
