//! `cargo xtask bench`: the figures of speed beside their targets.
//!
//! Every figure is a median of runs that are interleaved with those it is compared with (the machine's own
//! write, the other program), since a machine's speed changes over minutes. Images are on tmpfs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::error::Error;
use crate::program::{self, Program};

mod baseline;
mod families;
pub(crate) mod guest;
mod report;
mod resources;
mod sample;

use guest::Kind;
use report::{Report, Row};
use sample::{Sample, median};

#[derive(Args)]
pub(crate) struct Options {
    /// Another program with the same command line, run in turn with ours.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// How many runs the medians are of.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// After this many seconds a part makes no further run, if it has made three.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Divide the amounts by this, for a quick look.
    #[arg(long, default_value_t = 1)]
    scale: usize,
    /// Measure the debug build: whether it all runs, not how fast.
    #[arg(long)]
    debug: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Only the parts whose names contain this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

impl Options {
    /// Whether a part is to be measured.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
    }

    /// An amount for this run.
    fn scaled(&self, amount: usize) -> usize {
        (amount / self.scale.max(1)).max(1)
    }
}

/// What is measured: one kind of guest.
struct Part {
    name: &'static str,
    guest: Option<(Kind, usize, usize)>,
}

/// A median of fewer runs says nothing.
const FEWEST: usize = 3;

const GIB: usize = 1 << 30;

const PARTS: &[Part] = &[
    Part {
        name: "sleeping process",
        guest: None,
    },
    Part {
        name: "memory",
        guest: Some((Kind::Memory, GIB, 1)),
    },
    Part {
        name: "memory of 4 processes",
        guest: Some((Kind::Memory, GIB, 4)),
    },
    Part {
        name: "processes",
        guest: Some((Kind::Processes, 1000, 1)),
    },
    Part {
        name: "threads",
        guest: Some((Kind::Threads, 1000, 1)),
    },
    Part {
        name: "mappings",
        guest: Some((Kind::Mappings, 60_000, 1)),
    },
    Part {
        name: "descriptors",
        guest: Some((Kind::Descriptors, 20_000 - 64, 1)),
    },
];

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    program::become_subreaper()?;
    let mut programs = vec![("ours", Program::build(!options.debug)?)];
    if let Some(path) = &options.peer {
        programs.push(("peer", Program::other(path)));
    }
    let folder = Path::new("/dev/shm");
    let mut report = Report::default();
    for part in PARTS.iter().filter(|part| options.wants(part.name)) {
        let mut runs = Runs::default();
        let begun = Instant::now();
        for number in 0..options.runs {
            if number >= FEWEST && begun.elapsed().as_secs() >= options.seconds {
                break;
            }
            eprintln!("{}: run {} of {}", part.name, number + 1, options.runs);
            runs.baselines.push(baseline::measure(
                part.guest.map(|g| g.0),
                amount(part, options),
                folder,
            )?);
            for (at, (_, program)) in programs.iter().enumerate() {
                let guest = part
                    .guest
                    .map(|(kind, _, processes)| (kind, amount(part, options), processes));
                let sample = sample::take(program, guest, folder)?;
                if runs.samples.len() <= at {
                    runs.samples.push(Vec::new());
                }
                runs.samples[at].push(sample);
            }
        }
        judge(part, amount(part, options), &runs, &mut report);
    }
    let families = families::run(&programs, options, folder, &mut report);
    if options.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    families
}

fn amount(part: &Part, options: &Options) -> usize {
    part.guest.map_or(1, |(_, amount, _)| options.scaled(amount))
}

#[derive(Default)]
struct Runs {
    baselines: Vec<baseline::Baseline>,
    /// By program, then by run.
    samples: Vec<Vec<Sample>>,
}

impl Runs {
    /// The medians of one figure: ours, and the peer's if there is one.
    fn of(&self, figure: impl Fn(&Sample) -> f64) -> (f64, Option<f64>) {
        self.beside(|_, sample| figure(sample))
    }

    /// The same of figures that set a sample against what the machine did in the same run.
    fn beside(&self, figure: impl Fn(&baseline::Baseline, &Sample) -> f64) -> (f64, Option<f64>) {
        let mut medians = self.samples.iter().map(|samples| {
            let runs = self.baselines.iter().zip(samples);
            median(runs.map(|(baseline, sample)| figure(baseline, sample)))
        });
        (medians.next().unwrap_or(f64::NAN), medians.next())
    }

    fn baseline(&self, figure: impl Fn(&baseline::Baseline) -> f64) -> f64 {
        median(self.baselines.iter().map(figure))
    }
}

/// Holds the medians of one part against its targets.
fn judge(part: &Part, amount: usize, runs: &Runs, report: &mut Report) {
    let dump = runs.of(|s| s.dump.as_secs_f64() * 1e3);
    let restore = runs.of(|s| s.restore.as_secs_f64() * 1e3);
    let mut row = |name: &str, figure: (f64, Option<f64>), unit, target: f64, at_least: bool| {
        let name = format!("{}: {name}", part.name);
        report.add(Row {
            name,
            ours: figure.0,
            peer: figure.1,
            unit,
            target,
            at_least,
        });
    };
    match part.guest {
        None => {
            let limit = 6.0 * runs.baseline(|b| b.write_or_true) + 4.0;
            row("whole dump", dump, "ms", limit, false);
            row("whole restore", restore, "ms", limit, false);
        }
        Some((Kind::Memory, _, processes)) => {
            let memory = runs.beside(|b, s| b.write_or_true / (s.memory().as_secs_f64() * 1e3));
            // Several processes are to be half as fast again as one has to be.
            let target = if processes == 1 { 0.85 } else { 0.85 * 1.5 };
            row("memory dump, speed of one write", memory, "x", target, true);
            if processes == 1 {
                let frozen = runs.beside(|b, s| {
                    s.frozen
                        .map_or(f64::NAN, |f| f.as_secs_f64() * 1e3 / b.write_or_true)
                });
                row("frozen time, of that write", frozen, "x", 0.6, false);
                let read = runs.beside(|b, s| b.read / (s.restore.as_secs_f64() * 1e3));
                row("restore, speed of two reads", read, "x", 0.8, true);
            }
            row("whole dump", dump, "ms", f64::NAN, false);
            row("whole restore", restore, "ms", f64::NAN, false);
        }
        Some((kind, ..)) => {
            let each = |(ours, peer): (f64, Option<f64>)| {
                let per = 1e3 / amount as f64;
                (ours * per, peer.map(|p| p * per))
            };
            let (dump_us, restore_us) = match kind {
                Kind::Processes => (1100.0, 800.0),
                Kind::Threads => (100.0, 100.0),
                Kind::Mappings => (5.0, 5.0),
                _ => (10.0, 10.0),
            };
            row("dump, each", each(dump), "µs", dump_us, false);
            row("restore, each", each(restore), "µs", restore_us, false);
        }
    }
}
