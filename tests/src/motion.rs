//! Guests that work while they are dumped.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::case::Case;
use crate::criu::Outcome;
use crate::lab::{Lab, Verdict, until};
use crate::patience;
use crate::reaper::{self, Pid};
use crate::snapshot::Snapshot;

/// How often a guest is dumped in an ordinary run.
const ROUNDS: u32 = 6;
/// How long the work of a guest may stand still, on a busy machine.
const STEP: Duration = Duration::from_secs(30);
/// Mappings that a working program may have more or less of: stacks of threads, arenas of its allocator.
const MAPPINGS: usize = 24;

/// The number of rounds: that of `CRIU_TEST_ROUNDS`, or the usual one.
fn rounds() -> u32 {
    let asked = env::var("CRIU_TEST_ROUNDS").ok();
    asked.map_or(ROUNDS, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("CRIU_TEST_ROUNDS is `{text}`"))
    })
}

impl Case {
    /// Without a checkpoint: the guest works for a moment, and its checks hold.
    pub fn native_in_motion(self) {
        self.run(|_, lab, _| work(lab, 20));
    }

    /// Dumps the guest and restores it, again and again.
    pub fn rounds(self) {
        self.run(|case, lab, pid| {
            // By then it has opened what it keeps.
            work(lab, 5);
            let before = Held::by(pid);
            for round in 1..=rounds() {
                case.exchange(lab, pid, round);
                Snapshot::assert_free(pid);
            }
            work(lab, 20);
            before.assert_no_more(pid);
        });
    }

    /// Dumps the guest again and again and lets it go on each time.
    pub fn rounds_left_running(self) {
        self.run(|case, lab, pid| {
            // By then it has opened what it keeps.
            work(lab, 5);
            let before = Held::by(pid);
            for round in 1..=rounds() {
                case.dump_in_motion(lab, pid, round, &["--leave-running"]);
                Snapshot::assert_free(pid);
            }
            work(lab, 20);
            before.assert_no_more(pid);
        });
    }

    /// Dumps the guest at another moment of its work; again, where that is one at which it is to be refused.
    fn dump_in_motion(&self, lab: &Lab, pid: Pid, round: u32, options: &[&str]) -> Outcome {
        let end = patience::deadline(STEP);
        let mut attempt = 0;
        loop {
            work(lab, 1);
            thread::sleep(moment(round + attempt * 7919));
            attempt += 1;
            let dumped = self.dump(lab, "images", pid).args(options.iter().copied()).run();
            if !self.was_refused(&dumped) {
                dumped.expect_ok();
                return dumped;
            }
            Snapshot::assert_free(pid);
            assert!(Instant::now() < end, "it is refused at every moment\n{dumped}");
        }
    }

    fn exchange(&self, lab: &Lab, pid: Pid, round: u32) {
        let dumped = self.dump_in_motion(lab, pid, round, &[]);
        let end = reaper::wait(pid, Duration::from_secs(10));
        assert!(end.is_some(), "process {pid} is alive after its dump\n{dumped}");
        let restored = self.restore(lab, "images").run();
        restored.expect_ok();
        println!("restore.log of round {round}:\n{restored}");
    }
}

/// Waits until the guest has made so many steps.
fn work(lab: &Lab, steps: u64) {
    let end = progress(lab) + steps;
    until("the guest has gone on working", STEP, || {
        if let Some(Verdict::Fail(why)) = lab.verdict() {
            panic!("the guest found: {why}");
        }
        (progress(lab) >= end).then_some(())
    });
}

fn progress(lab: &Lab) -> u64 {
    let bytes = fs::read(lab.path().join("progress")).unwrap_or_default();
    bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

/// A time up to 3 ms, another one for each round: what a dump meets is another moment of the guest's work.
fn moment(round: u32) -> Duration {
    Duration::from_micros(u64::from(round.wrapping_mul(2_654_435_761) % 3_000))
}

/// What the root of a tree holds when it is at work.
struct Held {
    descriptors: BTreeSet<String>,
    mappings: usize,
}

impl Held {
    /// The descriptors that are there each time: those of a moment's work are not among them, unless one of
    /// them stays for all of that time.
    fn by(pid: Pid) -> Self {
        let mut descriptors = numbers(pid);
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
            let now = numbers(pid);
            descriptors.retain(|number| now.contains(number));
        }
        Held {
            descriptors,
            mappings: mappings(pid),
        }
    }

    /// Nothing has come to stay. A descriptor of the guest's work goes again, sooner or later; a leaked one does
    /// not. What is missing, the guest finds by itself.
    #[track_caller]
    fn assert_no_more(&self, pid: Pid) {
        let mut new = numbers(pid);
        let end = patience::deadline(STEP);
        loop {
            new.retain(|number| !self.descriptors.contains(number));
            if new.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "descriptors {new:?} have come to stay");
            thread::sleep(Duration::from_millis(2));
            let now = numbers(pid);
            new.retain(|number| now.contains(number));
        }
        let now = mappings(pid);
        assert!(
            now <= self.mappings + MAPPINGS,
            "{} mappings before, {now} after",
            self.mappings,
        );
    }
}

fn mappings(pid: Pid) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().count()
}

fn numbers(pid: Pid) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    let found = entries.into_iter().flatten().flatten();
    found
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
