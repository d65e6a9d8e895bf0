//! What the dump took and did: `stats-dump`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criu_images::ImageDir;
use criu_proto::images::{DumpStatsEntry, StatsEntry};
use criu_proto::magic;

use crate::error::Result;

/// What the threads that copy memory count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) pages_scanned: AtomicU64,
    pub(crate) pages_written: AtomicU64,
    pub(crate) pages_lazy: AtomicU64,
    pub(crate) shared_scanned: AtomicU64,
    pub(crate) shared_written: AtomicU64,
    /// Time that went into making room for memory and into copying it, and of that into copying, in
    /// nanoseconds.
    memory: AtomicU64,
    writing: AtomicU64,
}

impl Counters {
    /// Time that went into making room for memory.
    pub(crate) fn room_took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.memory.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Time that went into copying memory.
    pub(crate) fn memory_took(&self, time: Duration) {
        self.room_took(time);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.writing.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Counters and times of one dump.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) counters: Arc<Counters>,
    freezing: Cell<Duration>,
    frozen: Cell<Duration>,
    frozen_since: Cell<Option<Instant>>,
}

impl Stats {
    pub(crate) fn freezing_began(&self) {
        self.frozen_since.set(Some(Instant::now()));
    }

    pub(crate) fn frozen(&self) {
        if let Some(since) = self.frozen_since.get() {
            self.freezing.set(since.elapsed());
        }
    }

    pub(crate) fn thawed(&self) {
        if let Some(since) = self.frozen_since.take() {
            self.frozen.set(since.elapsed());
        }
    }

    fn entry(&self) -> DumpStatsEntry {
        let micros = |time: &Cell<Duration>| u32::try_from(time.get().as_micros()).unwrap_or(u32::MAX);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counted = |nanos: &AtomicU64| u32::try_from(count(nanos) / 1000).unwrap_or(u32::MAX);
        let counters = &*self.counters;
        DumpStatsEntry {
            freezing_time: micros(&self.freezing),
            frozen_time: micros(&self.frozen),
            memdump_time: counted(&counters.memory),
            // Pages are read straight into their file.
            memwrite_time: counted(&counters.writing),
            pages_scanned: count(&counters.pages_scanned),
            pages_skipped_parent: 0,
            pages_written: count(&counters.pages_written),
            irmap_resolve: Some(0),
            pages_lazy: count(&counters.pages_lazy),
            page_pipes: Some(0),
            page_pipe_bufs: Some(0),
            shpages_scanned: Some(count(&counters.shared_scanned)),
            shpages_skipped_parent: Some(0),
            shpages_written: Some(count(&counters.shared_written)),
        }
    }

    /// Writes `stats-dump` into the work directory.
    ///
    /// # Errors
    /// Writing failed.
    pub(crate) fn write(&self, work_dir: &ImageDir) -> Result<()> {
        let mut writer = work_dir.create_named(&magic::STATS, "stats-dump")?;
        let entry = StatsEntry {
            dump: Some(self.entry()),
            restore: None,
        };
        writer.entry(&entry).map_err(|e| work_dir.frame_error(e))?;
        writer.finish().map_err(|e| work_dir.frame_error(e))?;
        Ok(())
    }

    /// The same for a person.
    pub(crate) fn print(&self) {
        let entry = self.entry();
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        println!("Freezing time:     {:>10.3} ms", ms(entry.freezing_time));
        println!("Frozen time:       {:>10.3} ms", ms(entry.frozen_time));
        println!("Memory dump time:  {:>10.3} ms", ms(entry.memdump_time));
        println!("Pages scanned:     {:>10}", entry.pages_scanned);
        println!("Pages written:     {:>10}", entry.pages_written);
        println!("Shared scanned:    {:>10}", entry.shpages_scanned.unwrap_or(0));
        println!("Shared written:    {:>10}", entry.shpages_written.unwrap_or(0));
    }
}
