//! Which process a dump may begin at.

use crate::error::{Error, Result};
use crate::proc::{self, Stat};

/// `PF_KTHREAD` of the kernel: a thread of its own (field 9 of proc_pid_stat(5)).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Refuses what can be no root of a tree to dump, before anything is touched.
///
/// # Errors
/// There is no such process, it is only a thread, it is the kernel's, or criu itself is in its tree.
pub(crate) fn check(root: i32) -> Result<()> {
    let process = || format!("process {root}");
    let Ok(status) = proc::read(&format!("/proc/{root}/status")) else {
        return Err(Error::refused_but(
            process(),
            "does not exist",
            "name a living process with --tree PID",
        ));
    };
    if Stat::read(root)?.flags & KERNEL_THREAD != 0 {
        return Err(Error::refused(
            process(),
            "is a thread of the kernel, which cannot be dumped",
        ));
    }
    if let Some(leader) = leader(&status).filter(|leader| *leader != root) {
        return Err(Error::refused_but(
            format!("thread {root}"),
            format!("is no process, but belongs to process {leader}"),
            format!("dump that with --tree {leader}"),
        ));
    }
    let own = std::process::id().cast_signed();
    if root == own {
        return Err(Error::refused(process(), "is criu itself"));
    }
    let mut ancestor = own;
    while ancestor > 0 {
        if ancestor == root {
            return Err(Error::refused_but(
                process(),
                "is an ancestor of criu, which cannot stop its own tree",
                "start criu from outside of the tree",
            ));
        }
        ancestor = Stat::read(ancestor)?.ppid;
    }
    Ok(())
}

/// The thread group that a thread belongs to.
fn leader(status: &[u8]) -> Option<i32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_root_is_refused_by_name() {
        let own = std::process::id().cast_signed();
        let parent = nix::unistd::getppid().as_raw();
        let tid = std::thread::spawn(move || {
            let tid = nix::unistd::gettid().as_raw();
            (tid, check(tid).unwrap_err().to_string())
        });
        let (tid, text) = tid.join().unwrap();
        assert!(
            text.contains(&format!("thread {tid}")) && text.contains(&format!("process {own}")),
            "{text}"
        );
        for (pid, words) in [
            (own, "criu itself"),
            (parent, "ancestor of criu"),
            (i32::MAX, "does not exist"),
        ] {
            let text = check(pid).unwrap_err().to_string();
            assert!(
                text.contains(&format!("process {pid}")) && text.contains(words),
                "{text}"
            );
        }
    }
}
