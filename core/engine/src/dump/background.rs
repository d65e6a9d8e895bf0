//! Work of a dump that needs neither a tracer nor a kind, done beside the walk over the processes: looking
//! for pages, copying small memories, writing images.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};
use crate::parallel;

/// How far the walk may be ahead.
const QUEUE: usize = 256;

/// More threads than this are not kept busy by the walk.
const MAX_WORKERS: usize = 3;

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// Threads that do one job after the other until one fails. Without a thread the jobs are done at once.
#[derive(Debug, Default)]
pub(crate) struct Background {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    sender: SyncSender<Job>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the threads have in common.
#[derive(Debug)]
struct Shared {
    jobs: Mutex<Receiver<Job>>,
    /// The first failure.
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
}

impl Background {
    /// Starts the threads: as many as there are processors beside that of the walk.
    pub(crate) fn start(&mut self) {
        let (sender, receiver) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            jobs: Mutex::new(receiver),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        });
        let start = |_| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name("images".to_owned());
            thread.spawn(move || shared.run()).ok()
        };
        let workers = (parallel::threads() - 1).clamp(1, MAX_WORKERS);
        let workers: Vec<_> = (0..workers).filter_map(start).collect();
        // Without one to be had the dump only takes longer.
        self.running = (!workers.is_empty()).then_some(Running {
            sender,
            workers,
            shared,
        });
    }

    /// Has a job done, in any order with the others.
    ///
    /// # Errors
    /// This job, or one before it, has failed.
    pub(crate) fn put(&mut self, job: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        let Some(running) = &self.running else {
            return job();
        };
        if !running.shared.failed.load(Ordering::Acquire) && running.sender.send(Box::new(job)).is_ok() {
            return Ok(());
        }
        // The threads leave before their time only with a failure.
        self.finish()
    }

    /// Waits until all jobs are done and ends the threads.
    ///
    /// # Errors
    /// The first failure of a job.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let Some(Running {
            sender,
            workers,
            shared,
        }) = self.running.take()
        else {
            return Ok(());
        };
        drop(sender);
        let ended = workers.into_iter().all(|worker| worker.join().is_ok());
        match lock(&shared.failure).take() {
            Some(error) => Err(error),
            None if ended => Ok(()),
            None => Err(Error::malformed("a thread that writes images", "panicked")),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::debug!("work in the background of a dump that failed: {error}");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let job = lock(&self.jobs).recv();
            let Ok(job) = job else { return };
            // After a failure what is left is only taken, so that nobody waits for room in the queue.
            if self.failed.load(Ordering::Acquire) {
                continue;
            }
            // The walk would wait for ever for a queue that nobody empties.
            let done = panic::catch_unwind(AssertUnwindSafe(job))
                .unwrap_or_else(|_| Err(Error::malformed("a thread that writes images", "panicked")));
            if let Err(error) = done {
                lock(&self.failure).get_or_insert(error);
                self.failed.store(true, Ordering::Release);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept there is complete at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn jobs_are_done_with_and_without_a_thread() {
        for threaded in [false, true] {
            let done = Arc::new(AtomicUsize::new(0));
            let mut background = Background::default();
            if threaded {
                background.start();
            }
            for _ in 0..1000 {
                let done = Arc::clone(&done);
                background
                    .put(move || {
                        done.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                    .unwrap();
            }
            background.finish().unwrap();
            assert_eq!(done.load(Ordering::Relaxed), 1000);
        }
    }

    #[test]
    fn a_failure_ends_the_work() {
        let fails = || Err(Error::malformed("this job", "fails"));
        let panics = || panic!("this job panics");
        let jobs: [fn() -> Result<()>; 2] = [fails, panics];
        for job in jobs {
            let mut background = Background::default();
            background.start();
            // More than the queue holds.
            let result = (0..4 * QUEUE).try_for_each(|_| background.put(job));
            let error = result.and_then(|()| background.finish()).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
            assert!(background.put(|| Ok(())).is_ok());
        }
    }
}
