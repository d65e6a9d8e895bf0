//! Whether the ids that the tree needs are free.

use std::time::{Duration, Instant};

use super::context::Restore;
use super::sys;
use crate::error::{Error, Result};
use crate::proc::Stat;

/// Waits until no id of the tree is in use: a zombie's holder will reap it, and what is on its way out soon be gone; a
/// living process will not go.
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
    let Ok(stat) = Stat::read(pid) else {
        return Ok(());
    };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_end();
    let object = format!("pid {pid}");
    if !ends(&stat) {
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

/// Whether a process or thread is dead, or in the middle of its end.
fn ends(stat: &Stat) -> bool {
    /// `PF_EXITING` of the kernel.
    const EXITING: u32 = 4;
    matches!(stat.state, b'Z' | b'X') || stat.flags & EXITING != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_is_told_from_who_lives() {
        let with = |state, flags| Stat {
            state,
            flags,
            ..Stat::default()
        };
        assert!(!ends(&with(b'S', 4_194_560)));
        assert!(ends(&with(b'R', 4_194_564)));
        assert!(ends(&with(b'Z', 4_227_084)));
        let own = std::process::id().cast_signed();
        assert!(!ends(&Stat::read(own).unwrap()));
    }

    #[test]
    fn the_highest_id_comes_first() {
        let mut ids = from_the_top();
        let (first, second) = (ids.next(), ids.next());
        assert!(first > second && first > Some(300), "{first:?}, {second:?}");
    }
}
