//! `stats-restore`.

use std::time::Duration;

use criu_images::{ImageDir, magic};
use criu_proto::images::{RestoreStatsEntry, StatsEntry};

use super::shared::SharedMemory;
use crate::error::Result;
use crate::options::Options;

/// Writes the statistics into the work directory.
pub(crate) fn write(opts: &Options, shared: &SharedMemory, forking: Duration, all: Duration) -> Result<()> {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let counts = shared.counts();
    let entry = StatsEntry {
        dump: None,
        restore: Some(RestoreStatsEntry {
            pages_compared: counts.compared,
            pages_skipped_cow: counts.shared,
            forking_time: micros(forking),
            restore_time: micros(all),
            pages_restored: Some(counts.restored),
        }),
    };
    let dir = ImageDir::open(opts.work_dir())?;
    let name = magic::STATS.file_name_word("restore");
    let mut image = dir.create_named(&magic::STATS, &name)?;
    image.entry(&entry).map_err(|error| dir.frame_error(error))?;
    image.finish().map_err(|error| dir.frame_error(error))?;
    Ok(())
}
