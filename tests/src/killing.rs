//! Dumps and restores that are killed in the middle.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::criu::Criu;
use crate::lab::{Lab, until};
use crate::leftovers::{firewall_tables, processes_of};
use crate::patience;
use crate::reaper::{self, End, Pid};
use crate::snapshot::Snapshot;

/// How often a dump is killed: each time a little later.
const POINTS: u32 = 50;
/// The same of a restore, before each of which the tree has to go.
const RESTORE_POINTS: u32 = 25;

/// Kills the program by SIGKILL at fifty points of a dump. Each time the tree runs on as before, untraced, with no
/// firewall table, and `check` finds nothing amiss; at the end the tree can be dumped.
pub fn kill_dumps(lab: &Lab, pid: Pid, options: &[&str], mut check: impl FnMut()) {
    let dump = |images: &str| {
        Criu::dump(lab, images, pid)
            .args(options.iter().copied())
            .args(["--leave-running"])
    };
    // The first one is slower: nothing is in the caches yet.
    dump("whole").run().expect_ok();
    let mut whole = dump("whole").run().expect_ok().took;
    let (mut point, mut done) = (1, 0);
    while point <= POINTS {
        // Afresh each time: what `check` asks of the tree may move its heap.
        let before = Snapshot::settled(pid);
        let begun = Instant::now();
        match dump(&format!("killed-{point}")).run_killed_after(whole * point / (POINTS + 1)) {
            Some(End::Signal(libc::SIGKILL)) => point += 1,
            // It had ended before: a dump takes less than was thought. This point is still to come.
            Some(End::Exit(0)) if done < POINTS => {
                whole = whole.min(begun.elapsed()) * 9 / 10;
                done += 1;
            }
            other => panic!("a dump that was to be killed at point {point} of {POINTS} ended by {other:?}"),
        }
        runs_on(
            pid,
            &before,
            &format!("a dump killed before point {point} of {POINTS}"),
        );
        check();
    }
    dump("last").run().expect_ok();
}

/// The same at every `step`th system call `nr` of a dump's first thread.
pub fn kill_dumps_at_calls(lab: &Lab, pid: Pid, (nr, step): (i64, usize), options: &[&str]) {
    for number in (1..).step_by(step) {
        let before = Snapshot::settled(pid);
        let end = Criu::dump(lab, "images", pid)
            .args(options.iter().copied())
            .args(["--leave-running"])
            .run_killed_at_call(nr, number);
        let what = format!("a dump killed at its system call {nr}, number {number}");
        runs_on(pid, &before, &what);
        if !was_killed(end, &what) {
            assert!(number > 1, "a dump makes no system call {nr}");
            return;
        }
    }
}

/// The same at every `step`th ptrace(2) call, and the tree is dumped again at once, restored, and is then as it was.
pub fn dump_after_dumps_killed_at_ptrace_calls(lab: &Lab, pid: Pid, step: usize, options: &[&str]) {
    for number in (1..).step_by(step) {
        let again = Restores::of(lab, pid, options);
        let end = Criu::dump(lab, "killed", pid)
            .args(options.iter().copied())
            .args(["--leave-running"])
            .run_killed_at_call(libc::SYS_ptrace, number);
        again.dump();
        again.restore().run().expect_ok();
        let what = format!("a dump and a restore after a dump killed at its ptrace call {number}");
        runs_on(pid, &again.before, &what);
        if !was_killed(end, &what) {
            return;
        }
    }
}

/// Whether a command was killed at the call that it was to be killed at; else it has made no such call, and succeeded.
fn was_killed(end: Option<End>, what: &str) -> bool {
    let done = end == Some(End::Exit(0));
    assert!(
        done || end == Some(End::Signal(libc::SIGKILL)),
        "{what}: it ended by {end:?}"
    );
    !done
}

/// Waits until the tree is as it was before a dump that was killed.
fn runs_on(pid: Pid, before: &Snapshot, what: &str) {
    // What was in the target finds that its master is gone and takes itself out.
    let deadline = patience::deadline(Duration::from_secs(20));
    while !before.same(&Snapshot::take(pid)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    before.assert_same(&Snapshot::take(pid), &[], what);
    Snapshot::assert_free(pid);
    until(
        "the dump's firewall table is gone",
        Duration::from_secs(5),
        || firewall_tables(&[pid]).is_empty().then_some(()),
    );
}

/// Dumps the tree, and kills the program by SIGKILL at 25 points of a restore. Each time nothing is left of the
/// tree, or all of it runs, where the restore was done but for its own end; at the end it can be restored.
pub fn kill_restores(lab: &Lab, pid: Pid, options: &[&str]) {
    let restores = Restores::begin(lab, pid, options);
    let begun = Instant::now();
    restores.restore().run().expect_ok();
    let mut whole = begun.elapsed();
    restores.dump();
    let (mut point, mut done) = (1, 0);
    while point <= RESTORE_POINTS {
        let begun = Instant::now();
        match restores
            .restore()
            .run_killed_after(whole * point / (RESTORE_POINTS + 1))
        {
            Some(End::Signal(libc::SIGKILL)) => point += 1,
            // It is faster than the first one was, on a machine that had other work then.
            Some(End::Exit(0)) if done < RESTORE_POINTS => {
                whole = whole.min(begun.elapsed()) * 9 / 10;
                done += 1;
            }
            other => {
                let log = std::fs::read_to_string(lab.path().join("images/restore.log"));
                panic!(
                    "a restore that was to be killed at point {point} of {RESTORE_POINTS} ended by {other:?}: {}",
                    log.unwrap_or_default()
                )
            }
        }
        restores.none_or_all(&format!(
            "a restore killed before point {point} of {RESTORE_POINTS}"
        ));
    }
    restores.end();
}

/// The same at every ptrace(2) call of a restore: they catch its threads, and let them go.
pub fn kill_restores_at_ptrace_calls(lab: &Lab, pid: Pid, options: &[&str]) {
    let restores = Restores::begin(lab, pid, options);
    for number in 1.. {
        let end = restores.restore().run_killed_at_call(libc::SYS_ptrace, number);
        let what = format!("a restore killed at its ptrace call {number}");
        restores.none_or_all(&what);
        if !was_killed(end, &what) {
            assert!(number > 10, "a restore makes {number} ptrace calls");
            break;
        }
    }
    restores.end();
}

/// A tree that is restored again and again.
struct Restores<'a> {
    lab: &'a Lab,
    pid: Pid,
    options: &'a [&'a str],
    before: Snapshot,
}

impl<'a> Restores<'a> {
    fn of(lab: &'a Lab, pid: Pid, options: &'a [&'a str]) -> Self {
        Restores {
            lab,
            pid,
            options,
            before: Snapshot::settled(pid),
        }
    }

    /// Dumps the tree.
    fn begin(lab: &'a Lab, pid: Pid, options: &'a [&'a str]) -> Self {
        let restores = Self::of(lab, pid, options);
        restores.dump();
        restores
    }

    fn restore(&self) -> Criu<'a> {
        Criu::restore(self.lab, "images").args(self.options.iter().copied())
    }

    fn dump(&self) {
        let outcome = Criu::dump(self.lab, "images", self.pid)
            .args(self.options.iter().copied())
            .run();
        outcome.expect_ok();
        let end = reaper::wait(self.pid, Duration::from_secs(10));
        assert!(end.is_some(), "process {} is alive", self.pid);
    }

    /// Waits until nothing is left of the tree, or all of it runs, in which case it is dumped again.
    fn none_or_all(&self, what: &str) {
        let pid = self.pid;
        let deadline = patience::deadline(Duration::from_secs(20));
        loop {
            let left = processes_of(self.lab.path());
            if left.is_empty() {
                let there = format!("/proc/{pid}");
                until("the root is reaped", Duration::from_secs(10), || {
                    (!Path::new(&there).exists()).then_some(())
                });
                // Its end, if there was one: it is not that of the process that is restored in the end.
                reaper::wait(pid, Duration::ZERO);
                return;
            }
            let now = Snapshot::take(pid);
            if self.before.same(&now) && Snapshot::is_free(pid) {
                return self.dump();
            }
            if Instant::now() > deadline {
                self.before.assert_same(
                    &now,
                    &[],
                    &format!("{what} left processes {left:?}, and the tree"),
                );
                panic!("{what} left processes {left:?}, which somebody traces");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Restores the tree for good.
    fn end(&self) {
        self.restore().run().expect_ok();
        self.before.assert_same(
            &Snapshot::settled(self.pid),
            &[],
            "a restore after those that were killed",
        );
    }
}
