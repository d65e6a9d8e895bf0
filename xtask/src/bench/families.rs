//! What one more of each kind of resource costs, and whether that stays the same when there are many.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::guest::Kind;
use crate::bench::report::{Report, Row};
use crate::bench::sample::{self, Sample, median};
use crate::bench::{FEWEST, Options};
use crate::error::{Error, chain};
use crate::program::Program;

/// A kind of resource.
struct Family {
    name: &'static str,
    kind: Kind,
    /// How many there are in the largest guest: as many as 20,000 descriptors (or terminals, segments, memory) allow.
    most: usize,
}

const fn family(name: &'static str, kind: Kind, most: usize) -> Family {
    Family { name, kind, most }
}

const FAMILIES: &[Family] = &[
    family("pipes", Kind::Pipes, 9_900),
    family("eventfds", Kind::Eventfds, 10_000),
    family("epolls with a target", Kind::Epolls, 10_000),
    family("timerfds", Kind::Timerfds, 10_000),
    family("unix pairs", Kind::UnixPairs, 9_900),
    family("TCP listeners", Kind::TcpListeners, 10_000),
    family("TCP pairs", Kind::TcpPairs, 9_900),
    family("UDP sockets", Kind::UdpSockets, 10_000),
    family("ptys", Kind::Ptys, 3_000),
    family("memfds", Kind::Memfds, 9_900),
    family("regular files", Kind::Files, 10_000),
    family("ghost files", Kind::Ghosts, 9_900),
    family("inotify watches", Kind::Watches, 10_000),
    family("locks", Kind::Locks, 10_000),
    family("netlink sockets", Kind::Netlinks, 10_000),
    family("signalfds", Kind::Signalfds, 10_000),
    family("io_uring rings", Kind::Rings, 2_000),
    family("userfaultfds", Kind::Userfaultfds, 10_000),
    family("bpf maps", Kind::BpfMaps, 9_900),
    family("SysV segments", Kind::Segments, 3_000),
    family("fifos", Kind::Fifos, 9_900),
    family("pidfds", Kind::Pidfds, 10_000),
    family("raw sockets", Kind::RawSockets, 10_000),
    family("packet sockets", Kind::PacketSockets, 10_000),
    family("AIO rings", Kind::AioRings, 2_000),
    family("fanotify marks", Kind::Marks, 10_000),
];

/// So many are the usual case; the first number is few enough to show what the process itself costs.
const FEW: usize = 100;
const USUAL: usize = 1_000;

/// Each of many costs at most so much more than each of few.
const GROWTH: f64 = 1.2;

/// Times of guests with few, usual and most.
type Times = [f64; 3];

/// One of the two times of a sample.
type Figure = fn(&Sample) -> Duration;

/// Measures all families; one that fails does not keep the others from being measured.
pub(crate) fn run(
    programs: &[(&str, Program)],
    options: &Options,
    folder: &Path,
    report: &mut Report,
) -> Result<(), Error> {
    let mut result = Ok(());
    for family in FAMILIES.iter().filter(|family| options.wants(family.name)) {
        if let Err(error) = measure(family, programs, options, folder, report) {
            eprintln!("{}: {}", family.name, chain(&error));
            result = result.and(Err(error));
        }
    }
    result
}

/// Few, usual and most in turn.
fn measure(
    family: &Family,
    programs: &[(&str, Program)],
    options: &Options,
    folder: &Path,
    report: &mut Report,
) -> Result<(), Error> {
    let amounts = [FEW, USUAL, family.most].map(|amount| options.scaled(amount));
    // By program, then by amount, then by run.
    let mut samples = vec![[const { Vec::new() }; 3]; programs.len()];
    let begun = Instant::now();
    for number in 0..options.runs {
        if number >= FEWEST && begun.elapsed().as_secs() >= options.seconds {
            break;
        }
        eprintln!("{}: run {} of {}", family.name, number + 1, options.runs);
        for (at, amount) in amounts.into_iter().enumerate() {
            for ((_, program), samples) in programs.iter().zip(&mut samples) {
                let guest = Some((family.kind, amount, 1));
                samples[at].push(sample::take(program, guest, folder)?);
            }
        }
    }
    judge(family, amounts, &samples, report);
    Ok(())
}

fn judge(family: &Family, amounts: [usize; 3], samples: &[[Vec<Sample>; 3]], report: &mut Report) {
    let figures: [(&str, Figure); 2] = [("dump", |s| s.dump), ("restore", |s| s.restore)];
    for (what, figure) in figures {
        let mut by_program = samples.iter().map(|samples| -> (f64, f64) {
            let times = std::array::from_fn(|at| {
                median(
                    samples[at]
                        .iter()
                        .map(|sample| figure(sample).as_secs_f64() * 1e6),
                )
            });
            cost(amounts, times)
        });
        let ours = by_program.next().unwrap_or((f64::NAN, f64::NAN));
        let peer = by_program.next();
        let row = |name: String, ours, peer, unit, target| Row {
            name,
            ours,
            peer,
            unit,
            target,
            at_least: false,
        };
        let name = format!("{}: {what}, each of {}", family.name, amounts[1]);
        report.add(row(name, ours.0, peer.map(|p| p.0), "µs", f64::NAN));
        let name = format!("{}: {what}, growth to {}", family.name, amounts[2]);
        report.add(row(name, ours.1, peer.map(|p| p.1), "x", GROWTH));
    }
}

/// What each costs from few to usual, in microseconds, and how many times that each costs from usual to most.
/// The process itself is in both ends of each difference, and so in neither.
fn cost(amounts: [usize; 3], times: Times) -> (f64, f64) {
    let slope = |from: usize, to: usize| {
        let items = amounts[to] as f64 - amounts[from] as f64;
        (times[to] - times[from]) / items
    };
    let (each, far) = (slope(0, 1), slope(1, 2));
    (each, far / each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_cost_does_not_grow_and_square_cost_does() {
        let amounts = [100, 1_000, 10_000];
        let times = |each: fn(f64) -> f64| amounts.map(|n| 5_000.0 + each(n as f64));
        let (each, growth) = cost(amounts, times(|n| 3.0 * n));
        assert!((each - 3.0).abs() < 1e-9 && (growth - 1.0).abs() < 1e-9);
        assert!(cost(amounts, times(|n| n * n / 100.0)).1 > 9.0);
    }
}
