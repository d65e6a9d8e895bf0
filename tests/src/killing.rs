//! Dumps that are killed in the middle.

use std::thread;
use std::time::{Duration, Instant};

use crate::criu::Criu;
use crate::lab::{Lab, until};
use crate::leftovers::firewall_tables;
use crate::reaper::Pid;
use crate::snapshot::Snapshot;

/// Kills the program by SIGKILL at fifty points of a dump. Each time the tree runs on as before, untraced, with no
/// firewall table, and `check` finds nothing amiss; at the end the tree can be dumped.
pub fn kill_dumps(lab: &Lab, pid: Pid, options: &[&str], mut check: impl FnMut()) {
    let dump = |images: &str| {
        Criu::dump(lab, images, pid)
            .args(options.iter().copied())
            .args(["--leave-running"])
    };
    let whole = dump("whole").run();
    whole.expect_ok();
    let mut cut = 0;
    for point in 1..=50_u32 {
        let images = format!("killed-{point}");
        // Afresh each time: what `check` asks of the tree may move its heap.
        let before = Snapshot::settled(pid);
        cut += u32::from(dump(&images).run_killed_after(whole.took * point / 51));
        // What was in the target finds that its master is gone and takes itself out.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !before.same(&Snapshot::take(pid)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        before.assert_same(
            &Snapshot::take(pid),
            &[],
            &format!("a dump killed at point {point} of 50"),
        );
        Snapshot::assert_free(pid);
        until(
            "the dump's firewall table is gone",
            Duration::from_secs(5),
            || firewall_tables(&[pid]).is_empty().then_some(()),
        );
        check();
    }
    assert!(
        cut >= 25,
        "only {cut} of 50 dumps were still running when they were to be killed"
    );
    dump("last").run().expect_ok();
}
