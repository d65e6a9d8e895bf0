//! The system calls of this plugin.

use nix::errno::Errno;

/// Bytes of a mask of processors: as many as the kernel can have (CONFIG_NR_CPUS is at most 8192).
const MASK: usize = 1024;
/// `IOPRIO_WHO_PROCESS`.
const WHO_PROCESS: i32 = 1;
/// `PR_SCHED_CORE_GET` and the scope of one thread, linux/prctl.h.
const CORE_GET: i32 = 0;
const ONE_THREAD: i32 = 0;
/// Bytes of `struct sched_attr` without the clamps (`SCHED_ATTR_SIZE_VER0`), and `SCHED_FLAG_RESET_ON_FORK`.
const FIRST_VERSION: u32 = 48;
const RESET_ON_FORK: u64 = 1;
/// `SCHED_FLAG_KEEP_ALL` and `SCHED_FLAG_UTIL_CLAMP`, linux/sched.h.
const KEEP_ALL: u64 = 0x08 | 0x10;
const UTIL_CLAMP: u64 = 0x20 | 0x40;

/// `struct sched_attr` with the clamps of Linux 5.3, see sched_setattr(2).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// The processors that a thread may run on. sched_getaffinity(2)
pub(crate) fn affinity(tid: i32) -> nix::Result<Vec<u8>> {
    let mut mask = vec![0u8; MASK];
    // SAFETY: the kernel writes at most MASK bytes to the buffer, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, MASK, mask.as_mut_ptr()) };
    let length = usize::try_from(Errno::result(result)?).unwrap_or(0);
    mask.truncate(length);
    Ok(mask)
}

/// Sets them. sched_setaffinity(2)
pub(crate) fn set_affinity(tid: i32, mask: &[u8]) -> nix::Result<()> {
    // SAFETY: the kernel reads the bytes of the mask.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, tid, mask.len(), mask.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The I/O priority of a thread. ioprio_get(2)
pub(crate) fn io_priority(tid: i32) -> nix::Result<u32> {
    // SAFETY: plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, tid) };
    Ok(u32::try_from(Errno::result(result)?).unwrap_or(0))
}

/// Sets it. ioprio_set(2)
pub(crate) fn set_io_priority(tid: i32, value: u32) -> nix::Result<()> {
    // SAFETY: plain numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, tid, value) }).map(drop)
}

/// The cookie of core scheduling of a thread; 0 for none, and where the kernel or the machine has no such thing.
pub(crate) fn core_cookie(tid: i32) -> u64 {
    let mut cookie = 0u64;
    // SAFETY: the kernel writes one u64 to the address given, which is one.
    let result = unsafe { libc::prctl(libc::PR_SCHED_CORE, CORE_GET, tid, ONE_THREAD, &raw mut cookie) };
    if result == 0 { cookie } else { 0 }
}

/// The utilization clamps of a thread, lowest and highest; nothing where the kernel has none.
pub(crate) fn clamps(tid: i32) -> Option<(u32, u32)> {
    let attr = attributes(tid).ok()?;
    (attr.size as usize >= size_of::<SchedAttr>()).then_some((attr.util_min, attr.util_max))
}

/// Sets them and nothing else. sched_setattr(2)
pub(crate) fn set_clamps(tid: i32, min: u32, max: u32) -> nix::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        flags: KEEP_ALL | UTIL_CLAMP,
        util_min: min,
        util_max: max,
        ..SchedAttr::default()
    };
    // SAFETY: the kernel reads `size` bytes of the struct.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0) }).map(drop)
}

/// Nanoseconds for which a thread runs at a time; nothing for real-time policies, and where the kernel does not tell.
pub(crate) fn slice(tid: i32) -> Option<u64> {
    let attr = attributes(tid).ok()?;
    (is_fair(attr.policy) && attr.runtime != 0).then_some(attr.runtime)
}

/// Sets it, and leaves policy and nice value as they are. sched_setattr(2)
pub(crate) fn set_slice(tid: i32, nanoseconds: u64) -> nix::Result<()> {
    let now = attributes(tid)?;
    if !is_fair(now.policy) {
        return Ok(());
    }
    let attr = SchedAttr {
        size: FIRST_VERSION,
        policy: now.policy,
        flags: now.flags & RESET_ON_FORK,
        nice: now.nice,
        runtime: nanoseconds,
        ..SchedAttr::default()
    };
    // SAFETY: the kernel reads `size` bytes of the struct.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0) }).map(drop)
}

fn is_fair(policy: u32) -> bool {
    let policy = policy.cast_signed();
    [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE].contains(&policy)
}

fn attributes(tid: i32) -> nix::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes to the struct.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size, 0) };
    Errno::result(result).map(|_| attr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found() {
        // Of a thread that only this test has.
        std::thread::spawn(|| {
            let tid = nix::unistd::gettid().as_raw();
            let all = affinity(tid).unwrap();
            set_affinity(tid, &[1]).unwrap();
            let one = affinity(tid).unwrap();
            assert_eq!((one[0], one.iter().map(|b| b.count_ones()).sum::<u32>()), (1, 1));
            set_affinity(tid, &all).unwrap();
            // Best effort, level 3.
            set_io_priority(tid, 2 << 13 | 3).unwrap();
            assert_eq!(io_priority(tid).unwrap(), 2 << 13 | 3);
            assert_eq!(core_cookie(tid), 0);
        })
        .join()
        .unwrap();
    }
}
