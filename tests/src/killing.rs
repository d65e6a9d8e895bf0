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
        match dump(&format!("killed-{point}")).run_killed_after(whole * point / (POINTS + 1)) {
            Some(End::Signal(libc::SIGKILL)) => point += 1,
            // It had ended before: a dump takes less than was thought. This point is still to come.
            Some(End::Exit(0)) if done < POINTS => {
                whole = whole * 9 / 10;
                done += 1;
            }
            other => panic!("a dump that was to be killed at point {point} of {POINTS} ended by {other:?}"),
        }
        // What was in the target finds that its master is gone and takes itself out.
        let deadline = patience::deadline(Duration::from_secs(20));
        while !before.same(&Snapshot::take(pid)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        before.assert_same(
            &Snapshot::take(pid),
            &[],
            &format!("a dump killed before point {point} of {POINTS}"),
        );
        Snapshot::assert_free(pid);
        until(
            "the dump's firewall table is gone",
            Duration::from_secs(5),
            || firewall_tables(&[pid]).is_empty().then_some(()),
        );
        check();
    }
    dump("last").run().expect_ok();
}

/// Dumps the tree, and kills the program by SIGKILL at 25 points of a restore. Each time nothing is left of the
/// tree, or all of it runs, where the restore was done but for its own end; at the end it can be restored.
pub fn kill_restores(lab: &Lab, pid: Pid, options: &[&str]) {
    let before = Snapshot::settled(pid);
    let ended = || {
        let end = reaper::wait(pid, Duration::from_secs(10));
        assert!(end.is_some(), "process {pid} is alive");
    };
    let restore = || Criu::restore(lab, "images").args(options.iter().copied());
    let dump = || {
        let outcome = Criu::dump(lab, "images", pid).args(options.iter().copied()).run();
        outcome.expect_ok();
        ended();
    };
    dump();
    let begun = Instant::now();
    restore().run().expect_ok();
    let mut whole = begun.elapsed();
    dump();
    let (mut point, mut done) = (1, 0);
    while point <= RESTORE_POINTS {
        match restore().run_killed_after(whole * point / (RESTORE_POINTS + 1)) {
            Some(End::Signal(libc::SIGKILL)) => point += 1,
            Some(End::Exit(0)) if done < RESTORE_POINTS => {
                whole = whole * 9 / 10;
                done += 1;
            }
            other => {
                panic!(
                    "a restore that was to be killed at point {point} of {RESTORE_POINTS} ended by {other:?}"
                )
            }
        }
        let what = format!("a restore killed before point {point} of {RESTORE_POINTS}");
        let deadline = patience::deadline(Duration::from_secs(20));
        loop {
            let left = processes_of(lab.path());
            if left.is_empty() {
                let there = format!("/proc/{pid}");
                until("the root is reaped", Duration::from_secs(10), || {
                    (!Path::new(&there).exists()).then_some(())
                });
                // Its end, if there was one: it is not that of the process that is restored in the end.
                reaper::wait(pid, Duration::ZERO);
                break;
            }
            let now = Snapshot::take(pid);
            if before.same(&now) && Snapshot::is_free(pid) {
                dump();
                break;
            }
            if Instant::now() > deadline {
                before.assert_same(
                    &now,
                    &[],
                    &format!("{what} left processes {left:?}, and the tree"),
                );
                panic!("{what} left processes {left:?}, which somebody traces");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    restore().run().expect_ok();
    before.assert_same(
        &Snapshot::settled(pid),
        &[],
        "a restore after those that were killed",
    );
}
