//! The line on a terminal that tells how far long work has come.
//!
//! Whoever does the work logs events of the target [`TARGET`]; they go to standard error, each in place of the one
//! before, and only if that is a terminal where no other lines scroll by. No log ever holds them.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The target of the events that are progress and no log.
pub(crate) const TARGET: &str = "progress";

/// Work that is over sooner needs no line.
const LONG: Duration = Duration::from_millis(300);

/// The line changes no more often.
const PACE: Duration = Duration::from_millis(100);

/// Goes to the first column and takes away what stands on the line.
const CLEAR: &str = "\r\x1b[K";

static WANTED: AtomicBool = AtomicBool::new(false);
static SHOWN: AtomicBool = AtomicBool::new(false);
/// When the line changed last, in microseconds since the start.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Whether a line may be shown: `scrolls` when log lines go to standard error.
pub(crate) fn start(scrolls: bool) {
    let wanted = !scrolls && std::io::stderr().is_terminal();
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Whether anyone looks.
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Shows a line, unless one has just been shown.
pub(crate) fn show(text: &str, elapsed: Duration) {
    let now = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let last = LAST.load(Ordering::Relaxed);
    let due = now.saturating_sub(last) >= u64::try_from(PACE.as_micros()).unwrap_or(u64::MAX);
    if !wanted() || elapsed < LONG || !due {
        return;
    }
    // Of several threads one shows it.
    if LAST
        .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
    {
        SHOWN.store(true, Ordering::Relaxed);
        write(&format!("{CLEAR}{text}"));
    }
}

/// Takes the line away, where there is one.
pub(crate) fn clear() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        write(CLEAR);
    }
}

fn write(text: &str) {
    use std::io::Write;
    // A terminal that has gone away is no reason to stop the work.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
