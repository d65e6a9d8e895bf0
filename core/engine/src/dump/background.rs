//! Work of a dump that needs neither a tracer nor a kind, done beside the walk over the processes: looking
//! for pages, copying small memories, writing images.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};

/// How far the walk may be ahead.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A thread that does one job after the other until one fails. Without a thread the jobs are done at once.
#[derive(Debug, Default)]
pub(crate) struct Background {
    running: Option<(SyncSender<Job>, JoinHandle<Result<()>>)>,
}

impl Background {
    /// Starts the thread.
    pub(crate) fn start(&mut self) {
        let (sender, receiver) = sync_channel(QUEUE);
        // Without one to be had the dump only takes longer.
        self.running = thread::Builder::new()
            .name("images".to_owned())
            .spawn(move || run(&receiver))
            .ok()
            .map(|thread| (sender, thread));
    }

    /// Has a job done, in the order of the calls.
    ///
    /// # Errors
    /// This job, or one before it, has failed.
    pub(crate) fn put(&mut self, job: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        let Some((sender, _)) = &self.running else {
            return job();
        };
        if sender.send(Box::new(job)).is_ok() {
            return Ok(());
        }
        // The thread leaves before its time only with a failure.
        self.finish()
    }

    /// Waits until all jobs are done and ends the thread.
    ///
    /// # Errors
    /// The first failure of a job.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let Some((sender, thread)) = self.running.take() else {
            return Ok(());
        };
        drop(sender);
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::malformed("the thread that writes images", "panicked")))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::debug!("work in the background of a dump that failed: {error}");
        }
    }
}

fn run(jobs: &Receiver<Job>) -> Result<()> {
    jobs.iter().try_for_each(|job| job())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn the_first_failure_is_told() {
        let mut background = Background::default();
        background.start();
        let fail = |what: &'static str| move || Err(Error::malformed(what, "fails"));
        let mut result = Ok(());
        for what in ["first", "second"].into_iter().cycle().take(2 * QUEUE) {
            result = background.put(fail(what));
            if result.is_err() {
                break;
            }
        }
        let result = result.and_then(|()| background.finish());
        assert!(result.unwrap_err().to_string().contains("first"));
    }
}
