//! Work shared out among threads that only read, compute and write files: nothing that traces a task, and
//! no kind, is ever called from them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// More threads than this get into each other's way.
const MAX_THREADS: usize = 8;

/// How many processors this thread may run on, at most [`MAX_THREADS`].
///
/// The standard library's count also reads the files of control groups, which takes longer than the work
/// that is to be shared out.
pub(crate) fn threads() -> usize {
    // SAFETY: an all-zero set is a valid one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given to the set.
    let known = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } == 0;
    let cores = if known {
        // SAFETY: counts the bits of the set.
        let count = unsafe { libc::CPU_COUNT(&set) };
        usize::try_from(count).unwrap_or(1)
    } else {
        1
    };
    cores.clamp(1, MAX_THREADS)
}

/// Calls `work` on every item, in turn by several threads where each of them gets at least `worth` items.
/// The results are in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], worth: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads().min(items.len() / worth.max(1));
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    // Small parts keep the threads equally busy.
    let part = (items.len() / (threads * 8)).max(1);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<R>)>> = Mutex::default();
    let run = || {
        loop {
            let start = next.fetch_add(part, Ordering::Relaxed);
            let Some(rest) = items.get(start..).filter(|rest| !rest.is_empty()) else {
                return;
            };
            let results = rest[..part.min(rest.len())].iter().map(&work).collect();
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((start, results));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread this one does it all.
            _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let mut parts = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.sort_unstable_by_key(|(start, _)| *start);
    parts.into_iter().flat_map(|(_, results)| results).collect()
}

/// Calls `work` on every item and `take` on each result, in the order of the items. Other threads, of this name, are
/// ahead with the work by a few parts of so many items; this one takes, and works where it would wait.
///
/// # Errors
/// The first of `take`, which is not called again then; or a thread has panicked.
pub(crate) fn ahead<T: Sync, R: Send>(
    name: &str,
    items: &[T],
    part: usize,
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let parts: Vec<&[T]> = items.chunks(part.max(1)).collect();
    let others = threads().saturating_sub(1).min(MOST_AHEAD);
    if others == 0 {
        return items.iter().try_for_each(|item| take(work(item)));
    }
    let line = Line::new(parts.len(), (others + 1) * PARTS_AHEAD);
    let do_part = |at: usize| line.put(at, parts[at].iter().map(&work).collect());
    thread::scope(|scope| {
        // However this ends, nobody is left waiting.
        let _end = End(&line);
        for _ in 0..others {
            let run = || {
                let _end = End(&line);
                while let Some(at) = line.claim() {
                    do_part(at);
                }
            };
            // Without another thread this one does it all.
            _ = thread::Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, run);
        }
        for at in 0..parts.len() {
            let results = loop {
                match line.next(at) {
                    Next::Take(results) => break results,
                    Next::Work(at) => do_part(at),
                    Next::Ended => return Err(Error::malformed(format!("thread {name}"), "has panicked")),
                }
            };
            results.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    })
}

/// More threads than this are not kept busy by the one that takes.
const MOST_AHEAD: usize = 3;
/// Parts for each thread that may wait to be taken: what they hold is bounded.
const PARTS_AHEAD: usize = 3;

/// Parts that are worked on out of turn and taken in turn.
struct Line<R> {
    parts: usize,
    ahead: usize,
    state: Mutex<LineState<R>>,
    changed: Condvar,
}

struct LineState<R> {
    /// The first part that nobody works on.
    unclaimed: usize,
    /// The part whose turn it is to be taken.
    turn: usize,
    done: BTreeMap<usize, Vec<R>>,
    ended: bool,
}

/// What the thread that takes is to do.
enum Next<R> {
    Take(Vec<R>),
    Work(usize),
    Ended,
}

impl<R> Line<R> {
    fn new(parts: usize, ahead: usize) -> Self {
        let state = LineState {
            unclaimed: 0,
            turn: 0,
            done: BTreeMap::new(),
            ended: false,
        };
        Self {
            parts,
            ahead,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LineState<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part to be worked on, as soon as there is one; nothing at the end.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.ended || state.unclaimed == self.parts {
                return None;
            }
            if let Some(at) = self.try_claim(&mut state) {
                return Some(at);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_claim(&self, state: &mut LineState<R>) -> Option<usize> {
        let at = state.unclaimed;
        let free = at < self.parts && at < state.turn + self.ahead;
        free.then(|| {
            state.unclaimed += 1;
            at
        })
    }

    fn put(&self, at: usize, results: Vec<R>) {
        self.lock().done.insert(at, results);
        self.changed.notify_all();
    }

    /// Part `at`, whose turn it is, or what is to be done until it is there.
    fn next(&self, at: usize) -> Next<R> {
        let mut state = self.lock();
        state.turn = at;
        loop {
            if let Some(results) = state.done.remove(&at) {
                state.turn += 1;
                self.changed.notify_all();
                return Next::Take(results);
            }
            if let Some(other) = self.try_claim(&mut state) {
                return Next::Work(other);
            }
            if state.ended {
                return Next::Ended;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Ends a line when it is dropped.
struct End<'a, R>(&'a Line<R>);

impl<R> Drop for End<'_, R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // A thread that finds nothing more to do leaves the others theirs.
        if thread::panicking() || state.turn < self.0.parts && state.unclaimed < self.0.parts {
            state.ended = true;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_ahead_is_taken_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        for part in [1, 7, 5000] {
            let mut taken = Vec::new();
            ahead(
                "test",
                &items,
                part,
                |n| n * 3,
                |n| {
                    taken.push(n);
                    Ok(())
                },
            )
            .unwrap();
            assert!(taken.iter().copied().eq(items.iter().map(|n| n * 3)));
        }
        assert!(ahead("test", &[0u8; 0], 4, |n| *n, |_| Ok(())).is_ok());
    }

    #[test]
    fn who_takes_no_more_ends_the_work() {
        let items: Vec<usize> = (0..100_000).collect();
        let done = AtomicUsize::new(0);
        let work = |_: &usize| done.fetch_add(1, Ordering::Relaxed);
        let mut taken = 0;
        let stopped = ahead("test", &items, 8, work, |_| {
            taken += 1;
            if taken == 20 {
                Err(Error::malformed("it", "is enough"))
            } else {
                Ok(())
            }
        });
        assert!(stopped.is_err());
        assert_eq!(taken, 20);
        assert!(done.load(Ordering::Relaxed) < 1000);
    }

    #[test]
    fn a_panic_of_the_work_is_not_waited_for() {
        let items: Vec<usize> = (0..1000).collect();
        let work = |&n: &usize| assert!(n != 500, "this one fails");
        let run = || ahead("test", &items, 8, work, |()| Ok(()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(!matches!(result, Ok(Ok(()))));
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        for worth in [1, 100, 10_000] {
            let doubled = map(&items, worth, |&n| n * 2);
            assert!(doubled.iter().enumerate().all(|(at, &n)| n == at * 2));
            assert_eq!(doubled.len(), items.len());
        }
        assert!(map(&[] as &[u8], 1, |_| ()).is_empty());
    }

    #[test]
    fn there_is_a_thread() {
        assert!((1..=MAX_THREADS).contains(&threads()));
    }
}
