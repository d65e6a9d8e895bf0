//! What the unit tests share.

use std::os::fd::AsRawFd;

/// Runs a test in a thread with a network namespace of its own, its loopback device up. Needs root.
pub(crate) fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let socket = crate::sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
            crate::sys::device_up(socket.as_raw_fd(), "lo").unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
