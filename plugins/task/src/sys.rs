//! The system calls of this plugin.

use nix::errno::Errno;

/// Bytes of a mask of processors: as many as the kernel can have (CONFIG_NR_CPUS is at most 8192).
const MASK: usize = 1024;
/// `IOPRIO_WHO_PROCESS`.
const WHO_PROCESS: i32 = 1;
/// `PR_SCHED_CORE_GET` and the scope of one thread, linux/prctl.h.
const CORE_GET: i32 = 0;
const ONE_THREAD: i32 = 0;
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
