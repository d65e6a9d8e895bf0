//! The credentials of a thread.

use crate::report::{Report, slice};
use crate::restore::{Creds, step};
use crate::rt::nr;
use crate::syscall;

const PR_CAPBSET_DROP: u64 = 24;
const PR_SET_SECUREBITS: u64 = 28;
const PR_CAP_AMBIENT: u64 = 47;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;
/// `SECBIT_NO_SETUID_FIXUP`: changing user ids leaves the capabilities alone.
const NO_SETUID_FIXUP: u64 = 4;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Takes on the credentials at an address: ids first, with all capabilities kept, capabilities last.
pub fn restore(at: u64, report: Report<'_>) {
    // SAFETY: the engine has put them into the arguments.
    let creds = unsafe { &*(at as *const Creds) };
    let prctl = |option: u64, a: u64, b: u64| {
        // SAFETY: the options used here take plain values and concern this thread alone.
        unsafe { syscall!(nr::PRCTL, option, a, b, 0, 0) }
    };
    report.check(
        prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0),
        step::SECUREBITS,
        NO_SETUID_FIXUP,
    );
    // SAFETY: an array of the arguments.
    let groups = unsafe { slice::<u32>(creds.groups) };
    // SAFETY: as above.
    let result = unsafe { syscall!(nr::SETGROUPS, groups.len(), groups.as_ptr()) };
    report.check(result, step::GROUPS, groups.len() as u64);
    let [gid, egid, sgid, fsgid] = creds.gids;
    // SAFETY: plain values.
    report.check(
        unsafe { syscall!(nr::SETRESGID, gid, egid, sgid) },
        step::GIDS,
        u64::from(egid),
    );
    // SAFETY: plain values; the call returns the former id, never an error.
    unsafe { syscall!(nr::SETFSGID, fsgid) };
    let [uid, euid, suid, fsuid] = creds.uids;
    // SAFETY: plain values.
    report.check(
        unsafe { syscall!(nr::SETRESUID, uid, euid, suid) },
        step::UIDS,
        u64::from(euid),
    );
    // SAFETY: as for the group.
    unsafe { syscall!(nr::SETFSUID, fsuid) };
    for capability in bits(creds.drop) {
        report.check(prctl(PR_CAPBSET_DROP, capability, 0), step::BOUNDING, capability);
    }
    capset(creds, report);
    report.check(
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0),
        step::AMBIENT,
        0,
    );
    for capability in bits(creds.ambient) {
        report.check(
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability),
            step::AMBIENT,
            capability,
        );
    }
}

/// The capabilities, with the securebits set while the right to do so is still there.
fn capset(creds: &Creds, report: Report<'_>) {
    const CAP_SETPCAP: u32 = 1 << 8;
    let header = [CAPABILITY_VERSION_3, 0];
    let set = |effective: u32| {
        let words = |i: usize, more: u32| {
            [
                creds.effective[i] | more,
                creds.permitted[i] | more,
                creds.inheritable[i],
            ]
        };
        let data = [words(0, effective), words(1, 0)];
        // SAFETY: header and data are on this stack.
        unsafe { syscall!(nr::CAPSET, header.as_ptr(), data.as_ptr()) }
    };
    report.check(
        set(CAP_SETPCAP),
        step::CAPABILITIES,
        u64::from(creds.permitted[0]),
    );
    // SAFETY: a plain value.
    let result = unsafe { syscall!(nr::PRCTL, PR_SET_SECUREBITS, creds.securebits, 0, 0, 0) };
    report.check(result, step::SECUREBITS, u64::from(creds.securebits));
    report.check(set(0), step::CAPABILITIES, u64::from(creds.permitted[0]));
}

/// The numbers of the bits that are set.
fn bits(words: [u32; 2]) -> impl Iterator<Item = u64> {
    let mut rest = u64::from(words[0]) | u64::from(words[1]) << 32;
    core::iter::from_fn(move || {
        let bit = (rest != 0).then(|| u64::from(rest.trailing_zeros()))?;
        rest &= rest - 1;
        Some(bit)
    })
}
