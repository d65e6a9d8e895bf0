//! The log: one line per event, as the callers of CRIU expect to read it.
//!
//! ```text
//! (00.001234) Error (core/x.rs:12): text
//! (00.001300) Warn  (core/x.rs:15): text
//! (00.001400) text
//! ```
//!
//! A restore forks, and its children log too: there is no lock, no buffer and no thread here, a line is one write(2)
//! to a descriptor opened for appending, and a line of a process other than the first one begins with its pid.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Instant;

use criu_engine::options::Options;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::progress;

/// A log line is cut after this many bytes.
const MAX_LINE: usize = 4096;

/// Descriptors below this are left to the processes being restored, where the limit allows.
const HIGH_FD: RawFd = 900;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("opening the log file {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("a log is being written already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// The level of `-v` as tracing has it.
pub(crate) fn filter(verbosity: u32) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    }
}

/// Opens the log that `options` ask for and makes it the one of this process and its children. Sets
/// [`Options::log_fd`].
pub(crate) fn start(options: &mut Options, started: Instant) -> Result<(), LogError> {
    let file = match &options.log_file {
        Some(file) => {
            let path = options.work_dir().join(file);
            // A child that opens a log of its own may have gone elsewhere by then.
            let path = std::path::absolute(&path).unwrap_or(path);
            let file = open(&path, true).map_err(|source| LogError::Open {
                path: path.clone(),
                source,
            })?;
            let fd = move_high(file);
            options.log_fd = Some(fd.as_raw_fd());
            Some((path, fd))
        }
        None => None,
    };
    let scrolls = file.is_none() && filter(options.log_level) >= LevelFilter::INFO;
    progress::start(scrolls || options.log_level == 0);
    tracing::subscriber::set_global_default(Logger::new(file, options.log_level, options.log_pid, started))?;
    Ok(())
}

/// Opens a log file: never unlinked or renamed, since callers label it beforehand, and for appending, since several
/// processes write to it.
fn open(path: &Path, afresh: bool) -> io::Result<File> {
    let truncate = if afresh { libc::O_TRUNC } else { 0 };
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(truncate | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)
}

/// Moves a descriptor out of the way of those that restored processes will want; stays where it is if it cannot.
fn move_high(file: File) -> OwnedFd {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory; `file` is open for the whole call.
    let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH_FD) };
    if high < 0 {
        return file.into();
    }
    // SAFETY: fcntl has just made this descriptor, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(high) }
}

/// Writes events to a file or to standard error.
pub(crate) struct Logger {
    /// The log file; standard error when absent.
    file: Option<(PathBuf, OwnedFd)>,
    level: LevelFilter,
    per_pid: bool,
    started: Instant,
    /// The process that opened the log.
    first_pid: i32,
    /// With `per_pid`: who last wrote a log of its own.
    own_pid: AtomicI32,
    next_span: AtomicU64,
}

impl Logger {
    fn new(file: Option<(PathBuf, OwnedFd)>, verbosity: u32, per_pid: bool, started: Instant) -> Logger {
        let first_pid = pid();
        Logger {
            file,
            level: filter(verbosity),
            per_pid,
            started,
            first_pid,
            own_pid: AtomicI32::new(first_pid),
            next_span: AtomicU64::new(1),
        }
    }

    /// Writes a line where those of this process go.
    fn write(&self, pid: i32, line: &str) {
        let Some((path, fd)) = &self.file else {
            write_once(libc::STDERR_FILENO, line);
            return;
        };
        let own = (self.per_pid && pid != self.first_pid).then(|| self.own(path, pid));
        match own.and_then(Result::ok) {
            Some(own) => write_once(own.as_raw_fd(), line),
            None => write_once(fd.as_raw_fd(), line),
        }
    }

    /// The log of a child. It is opened for each line: a descriptor that stays could stand where one of the restored
    /// process belongs.
    fn own(&self, path: &Path, pid: i32) -> io::Result<File> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{pid}"));
        let is_first = self.own_pid.swap(pid, Ordering::Relaxed) != pid;
        open(Path::new(&name), is_first)
    }

    /// The line of an event, ending in a newline. On standard error it bears the time from `-v3` on.
    fn line(&self, pid: i32, event: &Event<'_>, fields: Fields) -> String {
        let elapsed = self.started.elapsed();
        let mut line = String::with_capacity(160);
        // Writing to a string cannot fail, so what comes of it is dropped.
        if self.file.is_some() || self.level >= LevelFilter::INFO {
            let _ = write!(line, "({:02}.{:06}) ", elapsed.as_secs(), elapsed.subsec_micros());
        }
        if self.per_pid || pid != self.first_pid {
            let _ = write!(line, "{pid:6}: ");
        }
        let metadata = event.metadata();
        let label = match *metadata.level() {
            Level::ERROR => Some("Error"),
            Level::WARN => Some("Warn "),
            _ => None,
        };
        if let Some(label) = label {
            let place = fields.place.unwrap_or_else(|| {
                format!(
                    "{}:{}",
                    metadata.file().unwrap_or(metadata.target()),
                    metadata.line().unwrap_or(0)
                )
            });
            let _ = write!(line, "{label} ({place}): ");
        }
        line.push_str(&fields.message);
        line.push_str(&fields.others);
        finish(&mut line);
        line
    }
}

/// Makes one line of it: no control characters, bounded, ending in a newline.
fn finish(line: &mut String) {
    if line.len() >= MAX_LINE {
        let mut end = MAX_LINE - 4;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str("...");
    }
    let text = line.trim_end_matches('\n').len();
    line.truncate(text);
    if line.chars().any(|c| c.is_control() && c != '\t') {
        *line = line
            .chars()
            .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
            .collect();
    }
    line.push('\n');
}

/// Collects the fields of an event. `place` (a field `at`) stands in for the position in the source where the event
/// was handed on from elsewhere, as those of plugins are. With `file_only` an error is not repeated on standard error.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
    place: Option<String>,
    file_only: bool,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "at" => self.place = Some(value.to_owned()),
            name => drop(write!(self.others, " {name}={value:?}")),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "file_only" {
            self.file_only = value;
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => drop(write!(self.message, "{value:?}")),
            "at" => self.place = Some(format!("{value:?}")),
            name => drop(write!(self.others, " {name}={value:?}")),
        }
    }
}

fn pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// Writes what it can in one call; a log that cannot be written is no reason to stop the work.
fn write_once(fd: RawFd, line: &str) {
    // SAFETY: the pointer and length are those of a live string; write(2) only reads it.
    let _ = unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == progress::TARGET {
            return progress::wanted();
        }
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if progress::wanted() {
            LevelFilter::TRACE
        } else {
            self.level
        })
    }

    fn new_span(&self, _attributes: &Attributes<'_>) -> Id {
        Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // What a failed write leaves in errno must not reach the code that logs.
        let errno = nix::errno::Errno::last();
        let pid = pid();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if event.metadata().target() == progress::TARGET {
            if pid == self.first_pid {
                progress::show(&fields.message, self.started.elapsed());
            }
            errno.set();
            return;
        }
        let echo = self.file.is_some() && !fields.file_only && *event.metadata().level() == Level::ERROR;
        let line = self.line(pid, event, fields);
        if echo || self.file.is_none() {
            progress::clear();
        }
        self.write(pid, &line);
        if echo {
            write_once(libc::STDERR_FILENO, &line);
        }
        errno.set();
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[cfg(test)]
mod tests;
