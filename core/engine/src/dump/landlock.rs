//! Whether a thread is confined by Landlock, see landlock(7). Nothing tells that, and nothing could confine the restored
//! one in the same way. But a confined thread may trace no process outside of its domain, so each thread is asked to
//! look at one that it could trace otherwise: a *witness*, with the ids of the thread and none of its own rights.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use criu_infect::ThreadInfo;

use crate::error::{Error, Result};
use crate::lsm::{Labels, Module};
use crate::proc::Credentials;

const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Witnesses, by what threads have in common with them.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    active: OnceCell<bool>,
    /// The label of this process.
    own: OnceCell<Labels>,
    known: RefCell<HashMap<Key, Option<Child>>>,
}

/// Real user id, real group id, permitted capabilities.
type Key = (u32, u32, u64);

impl Witnesses {
    /// The witness for a thread; `None` where nothing can be found out.
    pub(crate) fn of(
        &self,
        lsm: Option<Module>,
        pid: i32,
        tid: i32,
        creds: &Credentials,
    ) -> Result<Option<i32>> {
        if !*self.active.get_or_init(is_active) {
            return Ok(None);
        }
        let own = std::process::id().cast_signed();
        // A label may forbid the same.
        if lsm.is_some() && Labels::of(lsm, pid, tid)? != *self.own_labels(lsm, own)? {
            return Ok(None);
        }
        if creds.cap_eff & CAP_SYS_PTRACE != 0 {
            return Ok(Some(own));
        }
        let key = (creds.uids[0], creds.gids[0], creds.cap_prm);
        let mut known = self.known.borrow_mut();
        let witness = known.entry(key).or_insert_with(|| Child::witness(key));
        if witness.is_none() {
            tracing::debug!("whether thread {tid} is confined by Landlock cannot be found out");
        }
        Ok(witness.as_ref().map(|child| child.0))
    }

    fn own_labels(&self, lsm: Option<Module>, own: i32) -> Result<&Labels> {
        if let Some(known) = self.own.get() {
            return Ok(known);
        }
        let labels = Labels::of(lsm, own, own)?;
        Ok(self.own.get_or_init(|| labels))
    }
}

/// Whether the kernel has Landlock, and it is on (Linux 5.13).
fn is_active() -> bool {
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: asks for the version alone: no structure is read.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, CREATE_RULESET_VERSION) };
    version > 0
}

/// Refuses a thread that could not look at its witness.
///
/// # Errors
/// It could not.
pub(crate) fn check(pid: i32, tid: i32, info: &ThreadInfo) -> Result<()> {
    if info.witness != i64::from(-libc::EPERM) {
        return Ok(());
    }
    Err(Error::refused_but(
        format!("thread {tid} of process {pid}"),
        "is confined by Landlock (landlock_restrict_self(2)), whose rules nobody can ask the kernel for",
        "run the program without, or have it confine itself once it is restored",
    ))
}

/// A child that waits to be killed.
#[derive(Debug)]
struct Child(i32);

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: plain numbers; the child is not reaped yet, so the number is its.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

impl Child {
    /// A witness, if another process with the same ids can look at it.
    fn witness(key: Key) -> Option<Self> {
        let (read, write) = nix::unistd::pipe().ok()?;
        let child = fork(|| {
            become_like(key)
                && nix::unistd::write(&write, b"x") == Ok(1)
                // SAFETY: waits; nothing is changed.
                && unsafe { libc::pause() } == 0
        })?;
        drop(write);
        // Nothing comes from one that could not become so.
        let ready = nix::unistd::read(&read, &mut [0]) == Ok(1);
        (ready && can_look(key, child.0)).then_some(child)
    }
}

/// Whether a process with these ids can look at another one.
fn can_look(key: Key, at: i32) -> bool {
    const KCMP_VM: i32 = 1;
    let child = fork(|| {
        // SAFETY: plain numbers.
        become_like(key) && unsafe { libc::syscall(libc::SYS_kcmp, at, at, KCMP_VM, 0, 0) } == 0
    });
    let Some(child) = child else { return false };
    let mut status = -1;
    // SAFETY: the status outlives the call.
    let reaped = unsafe { libc::waitpid(child.0, &raw mut status, 0) };
    std::mem::forget(child);
    reaped > 0 && status == 0
}

/// A child that does one thing by system calls alone, and tells by its end whether that went well.
fn fork(work: impl FnOnce() -> bool) -> Option<Child> {
    // SAFETY: the child makes system calls and ends; it takes no lock that another thread may hold.
    match unsafe { libc::fork() } {
        0 => {
            let done = work();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child if child > 0 => Some(Child(child)),
        _ => None,
    }
}

/// Takes these ids, and no more than these capabilities. The raw calls change this thread, the only one.
fn become_like((uid, gid, permitted): Key) -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut now = [[0u32; 3]; 2];
    // SAFETY: plain numbers, and structures of the sizes that capget(2) and capset(2) have for this version.
    unsafe {
        let set = libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            && libc::syscall(libc::SYS_capget, header.as_ptr(), now.as_mut_ptr()) == 0;
        for (word, half) in now.iter_mut().zip([permitted as u32, (permitted >> 32) as u32]) {
            *word = [0, word[1] & half, 0];
        }
        set && libc::syscall(libc::SYS_capset, header.as_ptr(), now.as_ptr()) == 0
            // Both are gone by the change of ids.
            && libc::prctl(libc::PR_SET_DUMPABLE, 1) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As any user a process can look at one of its own.
    #[test]
    fn a_witness_can_be_seen() {
        // SAFETY: a plain query.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: needs root");
            return;
        }
        for key in [(0, 0, 0), (0, 0, u64::MAX), (4321, 1234, 0)] {
            let witness = Child::witness(key).expect("a witness");
            assert!(can_look(key, witness.0));
        }
        // Not as somebody else.
        let witness = Child::witness((4321, 1234, 0)).expect("a witness");
        assert!(!can_look((4322, 1234, 0), witness.0));
    }
}
