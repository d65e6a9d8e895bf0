//! One dump and one restore of one guest.

use std::env;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::guest::Kind;
use crate::error::{At, Error};
use crate::program::{self, Program};

/// What one round took.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Wall time of the whole `dump` command.
    pub(crate) dump: Duration,
    /// Wall time of the whole `restore` command.
    pub(crate) restore: Duration,
    /// How long the tree was frozen, as the program itself reports.
    pub(crate) frozen: Option<Duration>,
    /// How long the dump of memory took, as the program itself reports.
    pub(crate) memory_dump: Option<Duration>,
}

impl Sample {
    /// How long the memory took: as reported, else the whole command.
    pub(crate) fn memory(&self) -> Duration {
        self.memory_dump.unwrap_or(self.dump)
    }
}

/// Starts the guest (a sleep where none is named), dumps it, restores it, and ends it.
pub(crate) fn take(
    program: &Program,
    guest: Option<(Kind, usize, usize)>,
    folder: &Path,
) -> Result<Sample, Error> {
    let folder = tempfile::Builder::new()
        .prefix("criu-bench-")
        .tempdir_in(folder)
        .at("make a folder in", folder)?;
    let images = folder.path().join("images");
    std::fs::create_dir(&images).at("create", &images)?;
    let mut command = match guest {
        None => Command::new("/bin/sleep"),
        Some(_) => Command::new(env::current_exe().map_err(|e| Error::System("find xtask".into(), e))?),
    };
    match guest {
        None => {
            command.arg("1000000");
        }
        Some((kind, amount, processes)) => {
            command.args(["guest", &kind.name(), &amount.to_string(), &processes.to_string()]);
        }
    }
    let pid = program::start_apart(&mut command, folder.path())?;
    let tree = Tree { root: pid };
    wait_ready(
        pid,
        guest.is_some().then(|| folder.path().join("ready")).as_deref(),
    )?;
    let allowed = guest.map_or(&[] as &[&str], |(kind, ..)| kind.options());
    let dumped = program.dump(pid, &images, &[&["--display-stats"], allowed].concat())?;
    program::reap_all();
    let restored = program.restore(&images, allowed)?;
    drop(tree);
    Ok(Sample {
        dump: dumped.wall,
        restore: restored.wall,
        frozen: time_of(&dumped.output, "Frozen time"),
        memory_dump: match (
            time_of(&dumped.output, "Memory dump time"),
            time_of(&dumped.output, "Memory write time"),
        ) {
            (Some(dump), Some(write)) => Some(dump + write),
            (dump, _) => dump,
        },
    })
}

/// A line such as `Frozen time: 1.234 ms` (or `1234 us`) of --display-stats.
fn time_of(output: &str, name: &str) -> Option<Duration> {
    let rest = output
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = rest.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let scale = match words.next()? {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value * scale).ok()
}

fn wait_ready(pid: i32, file: Option<&Path>) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let ready = match file {
            Some(file) => file.exists(),
            // The program has been loaded and is asleep.
            None => {
                let comm = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                comm.contains("(sleep) S")
            }
        };
        if ready {
            return Ok(());
        }
        // SAFETY: signal 0 only asks whether the process is there.
        if Instant::now() > deadline || unsafe { libc::kill(pid, 0) } != 0 {
            return Err(Error::Wrong(format!(
                "the guest (process {pid}) did not get ready"
            )));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The guest's session; dropping it kills all of it.
struct Tree {
    root: i32,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // SAFETY: kill touches no memory. The guest leads a session and a group of its own, before and after.
        unsafe { libc::kill(-self.root, libc::SIGKILL) };
        program::reap_all();
    }
}

/// The middle value.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
