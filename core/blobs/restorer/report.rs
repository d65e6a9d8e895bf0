//! How a thread tells of its progress and of its failure.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::restore::{Array, Shared, stage};
use crate::rt::nr;
use crate::syscall;

const FUTEX_WAIT: u64 = 0;
const FUTEX_WAKE: u64 = 1;
const ESRCH: i64 = 3;
/// How often who waits looks whether the coordinator is there, in nanoseconds.
const LOOK_EVERY: i64 = 100_000_000;

/// The elements of an array of the arguments.
///
/// # Safety
/// The engine has put `count` elements of `T` there, and nobody writes them.
pub unsafe fn slice<'a, T>(array: Array) -> &'a [T] {
    if array.count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(array.at as *const T, array.count as usize) }
}

/// Waits for a change of `word` from `value`.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word is mapped; the call changes no memory.
    unsafe { syscall!(nr::FUTEX, word.as_ptr() as u64, FUTEX_WAIT, value, 0, 0, 0) };
}

/// Waits for a change of `word` from `value`, but no longer than [`LOOK_EVERY`].
fn futex_wait_a_while(word: &AtomicU32, value: u32) {
    let limit = [0i64, LOOK_EVERY];
    // SAFETY: the word is mapped, the time is on this stack; the call changes no memory.
    unsafe { syscall!(nr::FUTEX, word.as_ptr() as u64, FUTEX_WAIT, value, limit.as_ptr(), 0, 0) };
}

/// Wakes all that wait for `word`.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: as above.
    unsafe { syscall!(nr::FUTEX, word.as_ptr() as u64, FUTEX_WAKE, i32::MAX, 0, 0, 0) };
}

/// Where a thread reports to.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    shared: &'a Shared,
    tid: u32,
}

impl Report<'_> {
    pub fn new(shared: u64, tid: u32) -> Self {
        Self {
            shared: crate::shared(shared),
            tid,
        }
    }

    /// Says that this thread has arrived at the end of a stage.
    pub fn arrive(&self, number: u32) {
        let arrived = &self.shared.arrived[number as usize];
        let expected = self.shared.expected[number as usize].load(Ordering::Relaxed);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == expected {
            futex_wake(arrived);
        }
    }

    /// Waits until a stage is over; leaves when the restore has failed.
    pub fn wait(&self, number: u32) {
        loop {
            match self.shared.stage.load(Ordering::Acquire) {
                stage::FAILED => self.leave(),
                now if now >= number => return,
                now => {
                    futex_wait_a_while(&self.shared.stage, now);
                    if self.coordinator_is_gone() {
                        self.leave();
                    }
                }
            }
        }
    }

    /// Whether criu was killed. New credentials have taken the parent-death signal away, and it tells only of the
    /// parent. A thread that is caught already is ended by the kernel.
    fn coordinator_is_gone(&self) -> bool {
        let pid = self.shared.coordinator.load(Ordering::Relaxed);
        // SAFETY: sends nothing.
        unsafe { syscall!(nr::KILL, pid, 0) == -ESRCH }
    }

    /// Goes on only if a call has succeeded; returns its result.
    pub fn check(&self, result: i64, step: u32, object: u64) -> i64 {
        if result < 0 {
            self.fail(result, step, object);
        }
        result
    }

    /// Reports a failure, the first of all, and leaves.
    pub fn fail(&self, result: i64, step: u32, object: u64) -> ! {
        let shared = self.shared;
        if shared.failed.swap(1, Ordering::AcqRel) == 0 {
            shared.blob_tid.store(self.tid, Ordering::Relaxed);
            shared.blob_step.store(step, Ordering::Relaxed);
            shared.blob_errno.store(-result as u32, Ordering::Relaxed);
            shared.blob_object[0].store((object >> 32) as u32, Ordering::Relaxed);
            shared.blob_object[1].store(object as u32, Ordering::Relaxed);
            shared.account.store(1, Ordering::Release);
        }
        shared.stage.store(stage::FAILED, Ordering::Release);
        futex_wake(&shared.stage);
        for arrived in &shared.arrived {
            futex_wake(arrived);
        }
        self.leave()
    }

    fn leave(&self) -> ! {
        loop {
            // SAFETY: ends the process; the coordinator kills it if a filter forbids that.
            unsafe { syscall!(nr::EXIT_GROUP, 1) };
        }
    }
}
