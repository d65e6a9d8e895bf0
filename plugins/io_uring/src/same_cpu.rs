//! Many calls by a thread of the tree, one after the other: for each of them it and this program wake each other twice.

use std::fs;

use criu_plugin_api::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::ring::status_field;

/// Does work while the calling thread and one of the tree are kept on one processor: to wake a thread on another one that
/// sleeps takes many times as long as to change over to it. Where there is no such processor the work is done all the
/// same. `tid` is the thread's id in the process's own pid namespace, `pid` the process's here.
pub(crate) fn on_one_cpu<T>(pid: i32, tid: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let threads = [Some(Pid::from_raw(0)), thread_of(pid, tid)];
    let before = threads.map(|thread| Some((thread?, sched_getaffinity(thread?).ok()?)));
    let [Some(own), Some(other)] = before else {
        return work();
    };
    let is_for_both = |cpu: &usize| [own.1, other.1].iter().all(|set| set.is_set(*cpu) == Ok(true));
    let Some(cpu) = sched_getcpu()
        .into_iter()
        .chain(0..CpuSet::count())
        .find(is_for_both)
    else {
        return work();
    };
    let mut one = CpuSet::new();
    // Without it, it is only slower.
    _ = one
        .set(cpu)
        .and_then(|()| sched_setaffinity(own.0, &one))
        .and_then(|()| sched_setaffinity(other.0, &one));
    let result = work();
    for (thread, cpus) in [own, other] {
        sched_setaffinity(thread, &cpus).context(|| "giving a thread its processors back")?;
    }
    result
}

/// A thread's id here.
fn thread_of(pid: i32, tid: i32) -> Option<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let found = ids.into_iter().find(|id| {
        let inner = status_field(&format!("/proc/{pid}/task/{id}/status"), "NSpid").unwrap_or_default();
        inner.split_ascii_whitespace().next_back() == Some(&*tid.to_string())
    });
    found.map(Pid::from_raw)
}
