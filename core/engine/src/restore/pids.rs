//! Whether the ids that the tree needs are free.

use std::time::{Duration, Instant};

use super::context::Restore;
use super::sys;
use crate::error::{Error, Result};

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
    let Some(Holder { name, ends }) = holder(pid) else {
        return Ok(());
    };
    let object = format!("pid {pid}");
    if !ends {
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

/// A process or thread that has an id.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    /// Whether it is dead, or in the middle of its end.
    ends: bool,
}

fn holder(pid: i32) -> Option<Holder> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Of the text of proc_pid_stat(5).
fn parse(stat: &str) -> Option<Holder> {
    /// `PF_EXITING` of the kernel.
    const EXITING: u32 = 4;
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    Some(Holder {
        name: before.split_once('(')?.1.to_owned(),
        ends: matches!(state, "Z" | "X") || flags & EXITING != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_is_told_from_who_lives() {
        let holder = |rest: &str| parse(&format!("12 (a) b ({rest}"));
        let ends = |ends| {
            Some(Holder {
                name: "a) b (".to_owned(),
                ends,
            })
        };
        assert_eq!(holder(") S 1 12 12 0 -1 4194560 90 0"), ends(false));
        assert_eq!(holder(") R 1 12 12 0 -1 4194564 90 0"), ends(true));
        assert_eq!(holder(") Z 1 12 12 0 -1 4227084 90 0"), ends(true));
        assert_eq!(holder(") S 1"), None);
        let own = std::process::id().cast_signed();
        assert!(super::holder(own).is_some_and(|own| !own.ends));
    }

    #[test]
    fn the_highest_id_comes_first() {
        let mut ids = from_the_top();
        let (first, second) = (ids.next(), ids.next());
        assert!(first > second && first > Some(300), "{first:?}, {second:?}");
    }
}
