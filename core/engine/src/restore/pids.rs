//! Whether the ids that the tree needs are free.

use std::time::{Duration, Instant};

use super::context::Restore;
use super::sys;
use crate::error::{Error, Result};

/// Waits until no id of the tree is in use: a zombie's holder will reap it, a living process will not go.
pub(crate) fn await_free(restore: &Restore) -> Result<()> {
    let deadline = Instant::now() + restore.opts.timeout;
    for pid in wanted(restore) {
        while sys::exists(pid) {
            await_one(pid, deadline)?;
        }
    }
    Ok(())
}

/// All ids of the tree, helpers included, in order.
pub(crate) fn wanted(restore: &Restore) -> Vec<i32> {
    let threads = restore.infos.iter().flat_map(|info| info.threads.iter().copied());
    let helpers = restore.plan.nodes.iter().map(|planned| planned.pid);
    let mut wanted: Vec<i32> = threads.chain(helpers).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The ids that the kernel gives, the highest first.
pub(crate) fn from_the_top() -> impl Iterator<Item = i32> {
    /// Every kernel has as many (proc_sys_kernel(5)).
    const FEWEST: i32 = 301;
    let text = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let count: i32 = text.trim().parse().unwrap_or(FEWEST);
    (2..count).rev()
}

fn await_one(pid: i32, deadline: Instant) -> Result<()> {
    let Some((name, state)) = holder(pid) else {
        return Ok(());
    };
    let object = format!("pid {pid}");
    if state != "Z" && state != "X" {
        let what = format!("is in use by {name:?}");
        return Err(Error::refused_but(
            object,
            what,
            "end that process, or restore in a pid namespace of its own",
        ));
    }
    if Instant::now() >= deadline {
        let what = format!("is still held by the zombie {name:?}, which its parent does not reap");
        return Err(Error::refused_but(object, what, "raise --timeout"));
    }
    // Nobody tells a stranger of a reaping: pidfds report the death, which was before.
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// Name and state of a process or thread.
fn holder(pid: i32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    Some((name, after.split_ascii_whitespace().next()?.to_owned()))
}
