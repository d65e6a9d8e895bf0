//! The memory that all tasks and the coordinator share while a restore runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criu_blobs::restore::{Shared, stage, step};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::pages::Counts;
use super::sys;
use crate::error::{Context, Error, Result};

/// Room for the text of the first failure, in bytes.
const ERROR_ROOM: usize = 8192;
/// Room for what a task waits for, in bytes.
const WHY_ROOM: usize = 240;

/// How often who waits looks whether the coordinator is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// States of a file; 0 while nobody has opened it.
pub(crate) mod file_state {
    /// It stands open in its opener.
    pub(crate) const OPEN: u32 = 1;
}

/// What a task shows of itself.
#[repr(C)]
pub(crate) struct TaskSlot {
    /// 1 once it exists.
    pub(crate) created: AtomicU32,
    /// The last stage at whose end it has arrived.
    pub(crate) at: AtomicU32,
    /// 1 while it waits for the files of others.
    pub(crate) waiting: AtomicU32,
    /// The count of progress that it had seen when it began to wait.
    pub(crate) seen: AtomicU32,
    why_length: AtomicU32,
    why: [AtomicU32; WHY_ROOM / 4],
}

/// Where a file stands open.
#[repr(C)]
pub(crate) struct FileSlot {
    /// [`file_state`].
    pub(crate) state: AtomicU32,
    /// The number of the descriptor in its opener.
    pub(crate) fd: AtomicU32,
    /// Of a file that no descriptor refers to: 1 + the node that opens it, once one does.
    pub(crate) owner: AtomicU32,
}

#[repr(C)]
struct Head {
    shared: Shared,
    /// Counts every file that was opened or attached; a futex.
    progress: AtomicU32,
    /// Tasks that are not through with their files.
    unfinished: AtomicU32,
    waiting: AtomicU32,
    /// Pages compared, kept shared, restored.
    counts: [AtomicU64; 3],
    error_length: AtomicU32,
    error: [AtomicU32; ERROR_ROOM / 4],
}

/// The shared memory. Stays mapped until the process ends.
#[derive(Clone, Copy)]
pub(crate) struct SharedMemory {
    at: u64,
    length: u64,
    tasks: usize,
    files: usize,
}

fn put(words: &[AtomicU32], length: &AtomicU32, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(words.len() * 4)];
    for (word, chunk) in words.iter().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        word.store(u32::from_ne_bytes(four), Ordering::Relaxed);
    }
    length.store(u32::try_from(bytes.len()).unwrap_or(0), Ordering::Release);
}

fn get(words: &[AtomicU32], length: &AtomicU32) -> String {
    let length = length.load(Ordering::Acquire) as usize;
    let bytes = words.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes());
    let bytes: Vec<u8> = bytes.take(length).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl SharedMemory {
    /// Bytes needed for so many tasks and files, in whole pages.
    pub(crate) fn length(tasks: usize, files: usize) -> u64 {
        let bytes = size_of::<Head>() + tasks * size_of::<TaskSlot>() + files * size_of::<FileSlot>();
        (bytes as u64).next_multiple_of(criu_images::page_size())
    }

    /// Maps it at an address that no task will use.
    pub(crate) fn map(at: u64, tasks: usize, files: usize) -> Result<Self> {
        let length = Self::length(tasks, files);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        sys::map_at(at, length, protection, flags, -1, 0)
            .context(|| "mapping the shared memory of a restore")?;
        let made = Self {
            at,
            length,
            tasks,
            files,
        };
        made.shared()
            .coordinator
            .store(std::process::id(), Ordering::Relaxed);
        Ok(made)
    }

    /// Whether criu was killed: who has another parent gets no signal of that.
    fn coordinator_is_gone(&self) -> bool {
        let pid = self.shared().coordinator.load(Ordering::Relaxed);
        kill(Pid::from_raw(pid.cast_signed()), None) == Err(Errno::ESRCH)
    }

    /// Its address.
    pub(crate) fn address(&self) -> u64 {
        self.at
    }

    /// The address after it.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.length
    }

    /// Adds to the statistics.
    pub(crate) fn count(&self, counts: Counts) {
        for (sum, more) in self
            .head()
            .counts
            .iter()
            .zip([counts.compared, counts.shared, counts.restored])
        {
            sum.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The statistics of all tasks.
    pub(crate) fn counts(&self) -> Counts {
        let [compared, shared, restored] = [0, 1, 2].map(|i| self.head().counts[i].load(Ordering::Relaxed));
        Counts {
            compared,
            shared,
            restored,
        }
    }

    fn head(&self) -> &Head {
        // SAFETY: `map` made the mapping, zeroed, of this layout; all of it is atomic.
        unsafe { &*(self.at as *const Head) }
    }

    /// The part that the restorer knows.
    pub(crate) fn shared(&self) -> &Shared {
        &self.head().shared
    }

    /// What a task shows.
    pub(crate) fn task(&self, index: usize) -> &TaskSlot {
        assert!(index < self.tasks, "task {index} of {}", self.tasks);
        let at = self.at as usize + size_of::<Head>() + index * size_of::<TaskSlot>();
        // SAFETY: the index was checked; the layout is that of `length`.
        unsafe { &*(at as *const TaskSlot) }
    }

    /// Where a file stands.
    pub(crate) fn file(&self, index: usize) -> &FileSlot {
        assert!(index < self.files, "file {index} of {}", self.files);
        let tasks = self.tasks * size_of::<TaskSlot>();
        let at = self.at as usize + size_of::<Head>() + tasks + index * size_of::<FileSlot>();
        // SAFETY: as above.
        unsafe { &*(at as *const FileSlot) }
    }

    // Failure.

    /// Reports a failure: the first one stays, and everyone leaves.
    pub(crate) fn fail(&self, text: &str) {
        let shared = self.shared();
        if shared.failed.swap(1, Ordering::AcqRel) == 0 {
            put(&self.head().error, &self.head().error_length, text);
            shared.account.store(2, Ordering::Release);
        }
        shared.stage.store(stage::FAILED, Ordering::Release);
        sys::futex_wake(&shared.stage);
        sys::futex_wake(&self.head().progress);
        shared.arrived.iter().for_each(sys::futex_wake);
    }

    /// Whether something has failed.
    pub(crate) fn failed(&self) -> bool {
        self.shared().stage.load(Ordering::Acquire) == stage::FAILED
    }

    /// The first failure.
    pub(crate) fn failure(&self) -> Error {
        let shared = self.shared();
        match shared.account.load(Ordering::Acquire) {
            1 => {
                let number = shared.blob_step.load(Ordering::Relaxed) as usize;
                let doing = step::NAMES.get(number).copied().unwrap_or("an unknown step");
                let object = u64::from(shared.blob_object[0].load(Ordering::Relaxed)) << 32
                    | u64::from(shared.blob_object[1].load(Ordering::Relaxed));
                let errno = Errno::from_raw(shared.blob_errno.load(Ordering::Relaxed).cast_signed());
                let tid = shared.blob_tid.load(Ordering::Relaxed);
                Error::Io {
                    action: format!("thread {tid}: {doing}, {object:#x}"),
                    source: errno.into(),
                }
            }
            2 => Error::Task(get(&self.head().error, &self.head().error_length)),
            _ => Error::Task("a task failed and could not say why".to_owned()),
        }
    }

    // Stages.

    /// Arrives at the end of a stage and waits for all others; the last one to arrive lets all go on.
    ///
    /// # Errors
    /// Something failed elsewhere.
    pub(crate) fn pass(&self, task: usize, number: u32) -> std::result::Result<(), Failed> {
        self.arrive(task, number, true);
        self.wait(number)
    }

    /// Arrives at the end of a stage.
    pub(crate) fn arrive(&self, task: usize, number: u32, release: bool) {
        let shared = self.shared();
        self.task(task).at.store(number, Ordering::Release);
        let arrived = &shared.arrived[number as usize];
        let expected = shared.expected[number as usize].load(Ordering::Relaxed);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == expected {
            sys::futex_wake(arrived);
            if release {
                self.release(number);
            }
        }
    }

    /// Waits until a stage is over.
    pub(crate) fn wait(&self, number: u32) -> std::result::Result<(), Failed> {
        loop {
            match self.shared().stage.load(Ordering::Acquire) {
                stage::FAILED => return Err(Failed),
                now if now >= number => return Ok(()),
                now => {
                    sys::futex_wait(&self.shared().stage, now, Some(LOOK_EVERY));
                    if self.coordinator_is_gone() {
                        return Err(Failed);
                    }
                }
            }
        }
    }

    /// Ends a stage, unless something has failed.
    pub(crate) fn release(&self, number: u32) {
        let step = self
            .shared()
            .stage
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now != stage::FAILED && now < number).then_some(number)
            });
        if step.is_ok() {
            sys::futex_wake(&self.shared().stage);
        }
    }

    /// Coordinator: waits until all have arrived at the end of a stage. `look` is called now and then to
    /// find out whether someone has died.
    pub(crate) fn await_arrival(
        &self,
        number: u32,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let arrived = &self.shared().arrived[number as usize];
        let expected = self.shared().expected[number as usize].load(Ordering::Relaxed);
        let mut patience = Duration::from_millis(20);
        loop {
            let now = arrived.load(Ordering::Acquire);
            if self.failed() {
                return Err(self.settled_failure());
            }
            if now >= expected {
                return Ok(());
            }
            let begun = Instant::now();
            sys::futex_wait(arrived, now, Some(patience));
            if begun.elapsed() >= patience {
                self.tell_progress();
                look()?;
                patience = (patience * 2).min(Duration::from_millis(200));
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(Error::Task(format!(
                    "{} of {expected} tasks did not come to stage {number} in time",
                    expected - now
                )));
            }
        }
    }

    /// Tells how far the slowest have come.
    fn tell_progress(&self) {
        const STEPS: [(u32, &str); 6] = [
            (stage::FORKED, "processes created"),
            (stage::GROUPED, "processes in their groups"),
            (stage::FILES, "processes with their files"),
            (stage::MEMORY, "processes with their memory"),
            (stage::READY, "threads set up"),
            (stage::DONE, "threads complete"),
        ];
        let shared = self.shared();
        for (number, what) in STEPS {
            let arrived = shared.arrived[number as usize].load(Ordering::Relaxed);
            let expected = shared.expected[number as usize].load(Ordering::Relaxed);
            if arrived < expected {
                tracing::trace!(target: "progress", "{arrived} of {expected} {what}");
                return;
            }
        }
    }

    /// The failure, once its account is written.
    fn settled_failure(&self) -> Error {
        for _ in 0..100 {
            if self.shared().account.load(Ordering::Acquire) != 0 {
                break;
            }
            // Written by another process a few instructions after the flag; it may also have died there.
            sys::futex_wait(&self.shared().account, 0, Some(Duration::from_millis(1)));
        }
        self.failure()
    }

    // Files.

    /// The count of progress with files.
    pub(crate) fn progress(&self) -> u32 {
        self.head().progress.load(Ordering::Acquire)
    }

    /// Says that a file was opened or attached.
    pub(crate) fn made_progress(&self) {
        self.head().progress.fetch_add(1, Ordering::AcqRel);
        if self.head().waiting.load(Ordering::Acquire) > 0 {
            sys::futex_wake(&self.head().progress);
        }
    }

    /// Sets how many tasks have files to restore.
    pub(crate) fn expect_files(&self, tasks: u32) {
        self.head().unfinished.store(tasks, Ordering::Release);
    }

    /// Says that this task is through with its files.
    pub(crate) fn files_finished(&self) {
        let left = self.head().unfinished.fetch_sub(1, Ordering::SeqCst) - 1;
        // Those that are left may now all be waiting: one of them has to find out.
        if left > 0 && self.head().waiting.load(Ordering::SeqCst) >= left {
            self.head().progress.fetch_add(1, Ordering::SeqCst);
            sys::futex_wake(&self.head().progress);
        }
    }

    /// Waits until there is progress beyond `seen`. When nobody can make any, the circle of what everyone
    /// waits for is reported as the failure.
    pub(crate) fn await_progress(
        &self,
        task: usize,
        seen: u32,
        why: &str,
    ) -> std::result::Result<(), Failed> {
        let (head, slot) = (self.head(), self.task(task));
        put(&slot.why, &slot.why_length, why);
        slot.seen.store(seen, Ordering::Release);
        slot.waiting.store(1, Ordering::Release);
        let waiting = head.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        if waiting >= head.unfinished.load(Ordering::SeqCst)
            && self.progress() == seen
            && let Some(circle) = self.circle(seen)
        {
            self.fail(&circle);
        }
        while self.progress() == seen && !self.failed() {
            sys::futex_wait(&head.progress, seen, Some(LOOK_EVERY));
            if self.coordinator_is_gone() {
                return Err(Failed);
            }
        }
        head.waiting.fetch_sub(1, Ordering::AcqRel);
        slot.waiting.store(0, Ordering::Release);
        if self.failed() { Err(Failed) } else { Ok(()) }
    }

    /// What everyone waits for, if all who are not finished wait with the same knowledge.
    fn circle(&self, seen: u32) -> Option<String> {
        let waiting: Vec<&TaskSlot> = (0..self.tasks)
            .map(|i| self.task(i))
            .filter(|t| t.waiting.load(Ordering::Acquire) == 1 && t.seen.load(Ordering::Acquire) == seen)
            .collect();
        let all = waiting.len() >= self.head().unfinished.load(Ordering::Acquire) as usize;
        (all && self.progress() == seen).then(|| {
            let whys: Vec<String> = waiting.iter().map(|t| get(&t.why, &t.why_length)).collect();
            format!(
                "the files wait for each other and none can be opened: {}",
                whys.join("; ")
            )
        })
    }
}

/// Something failed elsewhere; its account is in the shared memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed;
