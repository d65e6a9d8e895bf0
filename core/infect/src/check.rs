//! Whether a thread can be infected, and what has to be restored.

use nix::errno::Errno;

use crate::arch;
use crate::error::{Error, Result};
use crate::exit::Context;
use crate::sys;
use crate::tracee::Tracee;

const O_SUSPEND_SECCOMP: i32 = 1 << 21;

/// Checks whether the thread can be infected, and saves what has to be restored.
pub(crate) fn check(tracee: &Tracee) -> Result<Context> {
    let tid = tracee.tid();
    let unsupported = |why| Err(Error::Unsupported { tid, why });
    let mut regs = tracee.regs()?;
    if arch::is_compat(&regs) {
        return unsupported("it runs 32-bit code; only 64-bit programs are supported");
    }
    if tracee.shadow_stack() {
        return unsupported(
            "it has a user shadow stack; start it without (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off)",
        );
    }
    if tracee.user_dispatch()?.is_some_and(|d| d.mode != 0) {
        return unsupported("it redirects its system calls (PR_SET_SYSCALL_USER_DISPATCH)");
    }
    suspend_seccomp(tracee)?;
    abort_rseq(tracee, &mut regs)?;
    Ok(Context {
        regs,
        xstate: tracee.xstate()?,
        mask: tracee.sigmask()?,
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
/// preemption: running other code makes the kernel forget that it was inside.
fn abort_rseq(tracee: &Tracee, regs: &mut arch::Regs) -> Result<()> {
    let tid = tracee.tid();
    let Some(config) = tracee.rseq()?.filter(|c| c.address != 0) else {
        return Ok(());
    };
    // SAFETY: an integer.
    let section: u64 = unsafe { sys::read_value(tid, config.address + 8) }?;
    if section == 0 {
        return Ok(());
    }
    // struct rseq_cs: version and flags, start, length, abort address.
    // SAFETY: integers.
    let Ok([_, start, length, abort]) = (unsafe { sys::read_value::<[u64; 4]>(tid, section) }) else {
        return Ok(());
    };
    if arch::pc(regs).wrapping_sub(start) < length {
        arch::set_pc(regs, abort);
    }
    Ok(())
}
