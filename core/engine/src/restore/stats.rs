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
    let restore = RestoreStatsEntry {
        pages_compared: counts.compared,
        pages_skipped_cow: counts.shared,
        forking_time: micros(forking),
        restore_time: micros(all),
        pages_restored: Some(counts.restored),
    };
    if opts.display_stats {
        print(&restore);
    }
    let entry = StatsEntry {
        dump: None,
        restore: Some(restore),
    };
    let dir = ImageDir::open(opts.work_dir())?;
    let name = magic::STATS.file_name_word("restore");
    let mut image = dir.create_named(&magic::STATS, &name)?;
    image.entry(&entry).map_err(|error| dir.frame_error(error))?;
    image.finish().map_err(|error| dir.frame_error(error))?;
    Ok(())
}

/// The same for a person.
fn print(entry: &RestoreStatsEntry) {
    let ms = |micros: u32| f64::from(micros) / 1000.0;
    println!("Forking time:      {:>10.3} ms", ms(entry.forking_time));
    println!("Restore time:      {:>10.3} ms", ms(entry.restore_time));
    println!("Pages compared:    {:>10}", entry.pages_compared);
    println!("Pages shared:      {:>10}", entry.pages_skipped_cow);
    println!("Pages restored:    {:>10}", entry.pages_restored.unwrap_or(0));
}
