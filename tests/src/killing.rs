//! Dumps that are killed in the middle.

use std::thread;
use std::time::{Duration, Instant};

use crate::criu::Criu;
use crate::lab::{Lab, until};
use crate::leftovers::firewall_tables;
use crate::reaper::{End, Pid};
use crate::snapshot::Snapshot;

/// How often a dump is killed: each time a little later.
const POINTS: u32 = 50;

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
        let deadline = Instant::now() + Duration::from_secs(20);
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
