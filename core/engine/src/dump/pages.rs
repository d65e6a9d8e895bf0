//! The memory of all processes of the tree: room made before the freeze, filled during it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use criu_images::{ImageDir, PagemapWriter, PagesWriter};
use criu_proto::images::MmEntry;
use criu_proto::magic;

use super::context::Context as Dump;
use super::memory::{self, PAGE, Region, Run, Scan};
use super::stats::Counters;
use super::vmas::{self, pagemap};
use crate::error::{Context, Error, Result};
use crate::parallel;
use crate::proc::Status;

/// Memory below this is not worth making room for ahead: a freeze is over sooner.
const WORTH_RESERVING: u64 = 1 << 20;
/// Room for this much is made before anything is stopped: it takes longer than what is done meanwhile.
const WORTH_WAITING: u64 = 32 << 20;
/// A thread is worth starting to look at so many processes.
const WORTH_A_THREAD: usize = 16;
/// Room beyond what the counters say: they are not exact, and leave out pages such as the vdso's.
const SLACK: u64 = 2 << 20;
/// The copying is shared out in parts of about this size.
const PART: u64 = 4 << 20;
/// Below this, one thread is done before a second would have begun.
const WORTH_SHARING: u64 = 8 << 20;

/// Pages files with room, by pid.
#[derive(Debug, Default)]
pub(crate) struct Room {
    made: HashMap<i32, Made>,
    /// Makes what is not made yet.
    maker: Option<JoinHandle<()>>,
}

/// A pages file with room.
#[derive(Debug)]
enum Made {
    Now(PagesWriter),
    /// As soon as its turn has come.
    Soon(Receiver<criu_images::Result<PagesWriter>>),
}

impl Made {
    fn wait(self) -> Result<PagesWriter> {
        let ended = || Error::malformed("the thread that makes room for pages", "panicked");
        match self {
            Self::Now(writer) => Ok(writer),
            Self::Soon(made) => Ok(made.recv().map_err(|_| ended())??),
        }
    }
}

impl Room {
    /// Makes room for the memory of processes that still run, as far as their counters tell: for much at once, and
    /// for little while they are being stopped.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn reserve(&mut self, dump: &Dump, pids: &[i32]) -> Result<()> {
        let began = Instant::now();
        let bytes = parallel::map(pids, WORTH_A_THREAD, |&pid| {
            // One that ends meanwhile needs none.
            Status::read(pid, pid, &mut Vec::new()).map_or(0, |status| {
                let filled = (status.rss_anon + status.swap).next_multiple_of(PAGE);
                // A thread is left by way of frames below its stack pointer.
                if filled < WORTH_RESERVING {
                    0
                } else {
                    filled + status.threads * PAGE + SLACK
                }
            })
        });
        let beside = parallel::threads() > 1;
        let (mut now, mut soon) = (Vec::new(), Vec::new());
        for (&pid, bytes) in pids.iter().zip(bytes) {
            if bytes == 0 {
                continue;
            }
            let id = dump.next_pages_id();
            if beside && bytes < WORTH_WAITING {
                let (sender, made) = channel();
                soon.push((id, bytes, sender));
                self.made.insert(pid, Made::Soon(made));
            } else {
                now.push((pid, id, bytes));
            }
        }
        self.make(&dump.images, &now)?;
        if !soon.is_empty() {
            let images = dump.images.clone();
            let make = move || {
                for (id, bytes, sender) in soon {
                    // Nobody waits for it any more after a failure.
                    _ = sender.send(PagesWriter::create(&images, id, bytes));
                }
            };
            let maker = thread::Builder::new().name("room".to_owned()).spawn(make);
            self.maker = Some(maker.context(|| "starting a thread that makes room for pages".to_owned())?);
        }
        dump.stats.counters.room_took(began.elapsed());
        Ok(())
    }

    /// Makes room in several files side by side: threads that fill one file wait for each other at its page cache.
    fn make(&mut self, images: &ImageDir, files: &[(i32, u32, u64)]) -> Result<()> {
        let total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let most = parallel::threads() as u64;
        let made = parallel::map(files, 1, |&(_, id, bytes)| {
            // Each gets of the threads what it has of the work.
            let threads = (most.saturating_mul(bytes) / total.max(1)).max(1);
            PagesWriter::create_by(usize::try_from(threads).unwrap_or(1), images, id, bytes)
        });
        for (&(pid, ..), writer) in files.iter().zip(made) {
            self.made.insert(pid, Made::Now(writer?));
        }
        Ok(())
    }

    fn take(&mut self, dump: &Dump, pid: i32) -> Destination {
        match self.made.remove(&pid) {
            Some(made) => Destination::Made(made),
            None => Destination::New(dump.next_pages_id()),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // No file appears in the directory after the end of the dump.
        if let Some(maker) = self.maker.take() {
            _ = maker.join();
        }
    }
}

/// Where pages go.
enum Destination {
    Made(Made),
    /// The one of this number, which does not exist yet.
    New(u32),
}

/// What outlasts the work on one process.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Memory that is large enough to be copied by several threads.
    large: Mutex<Vec<Job>>,
    /// Pages files that are complete: their mappings are taken down when the tree is free again.
    spent: Mutex<Vec<PagesWriter>>,
}

/// Saving the memory of one process: all of it that needs neither its tracer nor a kind.
pub(crate) struct Saving {
    images: ImageDir,
    counters: Arc<Counters>,
    left: Arc<Left>,
    pid: i32,
    /// The thread by which its memory is read.
    eye: i32,
    regions: Vec<Region>,
    mm: MmEntry,
    to: Destination,
}

impl Saving {
    /// Of a process, and the thread by which its memory is read; `mm` lacks the guard ranges.
    pub(crate) fn new(
        dump: &Dump,
        room: &mut Room,
        (pid, eye): (i32, i32),
        regions: Vec<Region>,
        mm: MmEntry,
    ) -> Self {
        Self {
            images: dump.images.clone(),
            counters: Arc::clone(&dump.stats.counters),
            left: Arc::clone(&dump.left),
            pid,
            eye,
            regions,
            mm,
            to: room.take(dump, pid),
        }
    }

    /// Looks for the pages, writes `mm-PID.img`, and copies what is not worth sharing out.
    ///
    /// # Errors
    /// The memory cannot be read, named by process and address, or the disk is full.
    pub(crate) fn run(mut self) -> Result<()> {
        let pid = self.pid;
        self.save()
            .context(|| format!("dumping the memory of process {pid}"))
    }

    fn save(&mut self) -> Result<()> {
        let scan = memory::scan(self.eye, &self.regions)?;
        vmas::add_guards(&mut self.mm.vmas, &scan.guards);
        self.images
            .write_one(&magic::MM, self.pid.cast_unsigned().into(), &self.mm)?;
        let writer = match std::mem::replace(&mut self.to, Destination::New(0)) {
            Destination::Made(made) => {
                let writer = made.wait()?;
                // No more than is missing, if any is.
                writer.reserve(scan.bytes())?;
                writer
            }
            Destination::New(id) => PagesWriter::create(&self.images, id, scan.bytes())?,
        };
        let job = Job::new((self.pid, self.eye), scan, writer);
        if job.scan.bytes() < WORTH_SHARING / 2 {
            return copy_all(&self.images, &self.counters, &self.left, vec![job]);
        }
        lock(&self.left.large).push(job);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept there is complete at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages of one process that wait to be copied.
#[derive(Debug)]
struct Job {
    pid: i32,
    eye: i32,
    scan: Scan,
    writer: PagesWriter,
    parts: Vec<Vec<Run>>,
}

impl Job {
    /// Prepares the copy of what a scan of a process found.
    fn new((pid, eye): (i32, i32), scan: Scan, writer: PagesWriter) -> Self {
        let parts = split(&scan.runs);
        Self {
            pid,
            eye,
            scan,
            writer,
            parts,
        }
    }
}

/// Cuts runs into parts of about [`PART`] bytes each.
fn split(runs: &[Run]) -> Vec<Vec<Run>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut room = PART;
    for run in runs {
        let mut start = run.start;
        while start < run.end {
            let end = run.end.min(start + room);
            part.push(Run { start, end, ..*run });
            room -= end - start;
            start = end;
            if room == 0 {
                parts.push(std::mem::take(&mut part));
                room = PART;
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// Copies the memory that was worth sharing out.
///
/// # Errors
/// A page cannot be read, named by process and address, or the disk is full.
pub(crate) fn copy_large(dump: &Dump) -> Result<()> {
    let jobs = std::mem::take(&mut *lock(&dump.left.large));
    copy_all(&dump.images, &dump.stats.counters, &dump.left, jobs)
}

/// Copies all pages and writes the page maps.
fn copy_all(images: &ImageDir, counters: &Counters, left: &Left, jobs: Vec<Job>) -> Result<()> {
    let began = Instant::now();
    // Windows are handed out in the order of the runs: the n-th page of the map is the n-th of the file. The jobs take
    // turns: threads that read one process wait for each other at its memory's lock.
    let mut work = Vec::new();
    let mut turns: VecDeque<_> = jobs.iter().map(|job| (job, job.parts.iter())).collect();
    while let Some((job, mut parts)) = turns.pop_front() {
        if let Some(part) = parts.next() {
            work.push((job.eye, part, job.writer.take(bytes(part))?));
            turns.push_back((job, parts));
        }
    }
    let total: u64 = jobs.iter().map(|job| job.scan.bytes()).sum();
    let threads = if total < WORTH_SHARING {
        1
    } else {
        parallel::threads().min(work.len())
    };
    share_out(work, threads)?;
    for job in jobs {
        finish(images, counters, left, job)?;
    }
    counters.memory_took(began.elapsed());
    Ok(())
}

/// The length of runs together.
fn bytes(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

type Work<'a> = (i32, &'a Vec<Run>, criu_images::Window<'a>);

fn share_out(work: Vec<Work<'_>>, threads: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (total, done) = (
        work.iter().map(|item| bytes(item.1)).sum::<u64>(),
        AtomicU64::new(0),
    );
    let work: Vec<Mutex<Option<Work<'_>>>> = work.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let run = || -> Result<()> {
        while let Some(slot) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let item = slot
                .lock()
                .map_err(|_| Error::malformed("a thread that copies memory", "panicked"))?
                .take();
            let Some((pid, runs, mut window)) = item else {
                continue;
            };
            memory::copy(pid, runs, &mut window)?;
            window.commit()?;
            let done = done.fetch_add(bytes(runs), Ordering::Relaxed) + bytes(runs);
            tracing::trace!(target: "progress", "memory saved: {} of {} MiB", done >> 20, total >> 20);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut result = run();
        for other in others {
            let theirs = other
                .join()
                .unwrap_or_else(|_| Err(Error::malformed("a thread that copies memory", "panicked")));
            result = result.and(theirs);
        }
        result
    })
}

fn finish(images: &ImageDir, counters: &Counters, left: &Left, job: Job) -> Result<()> {
    let mut map = PagemapWriter::create(
        images,
        &magic::PAGEMAP,
        job.pid.cast_unsigned().into(),
        job.writer.id(),
    )?;
    let mut lazy = 0;
    for run in &job.scan.runs {
        let pages = (run.end - run.start) / PAGE;
        map.run(run.start, pages, run.flags)?;
        if run.flags & pagemap::LAZY != 0 {
            lazy += pages;
        }
    }
    let written = map.present_pages();
    map.finish()?;
    job.writer.complete()?;
    if job.scan.bytes() >= WORTH_RESERVING {
        lock(&left.spent).push(job.writer);
    }
    counters
        .pages_scanned
        .fetch_add(job.scan.scanned, Ordering::Relaxed);
    counters.pages_written.fetch_add(written, Ordering::Relaxed);
    // Without --lazy-pages no page is left out for later.
    tracing::debug!(pid = job.pid, written, lazy, "memory saved");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, end: u64) -> Run {
        Run {
            start,
            end,
            readable: true,
            flags: 4,
        }
    }

    #[test]
    fn parts_cover_the_runs_in_order() {
        let runs = [
            run(0, 4096),
            run(8192, 8192 + 3 * PART),
            run(1 << 40, (1 << 40) + 4096),
        ];
        let parts = split(&runs);
        assert_eq!(parts.len(), 4);
        let sizes: Vec<u64> = parts
            .iter()
            .map(|part| part.iter().map(|run| run.end - run.start).sum())
            .collect();
        assert_eq!(sizes, [PART, PART, PART, 8192]);
        let joined: u64 = parts.concat().iter().map(|run| run.end - run.start).sum();
        assert_eq!(joined, runs.iter().map(|run| run.end - run.start).sum::<u64>());
        assert!(parts.concat().windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
