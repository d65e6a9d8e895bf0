//! A tree of more than 200 processes: shells with their jobs.

use std::time::Duration;

use super::support::checkpoint;
use criu_tests::{Lab, processes_of, reaper, until};

/// Each of 20 shells has nine sleeping jobs: 201 processes with the root.
const SCRIPT: &str = "i=0; while [ $i -lt 20 ]; do
  (j=0; while [ $j -lt 9 ]; do sleep 100000 & j=$((j+1)); done; wait) &
  i=$((i+1)); done; wait";

fn run(with_checkpoint: bool) {
    let lab = Lab::new();
    let pid = reaper::spawn(lab.command("/bin/bash").args(["-c", SCRIPT])).expect("start bash");
    until("all processes are there", Duration::from_secs(60), || {
        let all = processes_of(lab.path());
        (all.len() == 201 && all.iter().filter(|p| is_sleep(**p)).count() == 180).then_some(())
    });
    let mut before = processes_of(lab.path());
    if with_checkpoint {
        checkpoint(&lab, pid, &[], || {});
    }
    let mut after = processes_of(lab.path());
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(after, before);
    // The shells wait for their jobs still: when the jobs end, all ends, from the leaves to the root.
    for job in after.into_iter().filter(|p| is_sleep(*p)) {
        // SAFETY: kill touches no memory; the job is one of this test's.
        unsafe { libc::kill(job, libc::SIGTERM) };
    }
    assert_eq!(
        reaper::wait(pid, Duration::from_secs(30)),
        Some(reaper::End::Exit(0))
    );
    lab.assert_clean(&[pid]);
}

fn is_sleep(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

#[test]
fn tree_200_native() {
    run(false);
}

#[test]
fn tree_200_checkpoint() {
    run(true);
}
