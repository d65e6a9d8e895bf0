//! Work shared out among threads that only read, compute and write files: nothing that traces a task, and
//! no kind, is ever called from them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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

#[cfg(test)]
mod tests {
    use super::*;

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
