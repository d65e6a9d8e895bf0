//! Files of dead processes in `/proc`: a process of that number lives while they are opened, and dies
//! before the restore ends.

use std::path::Path;

use criu_plugin_api::{Context, Error, Result};
use nix::errno::Errno;

/// Files of a process that need nothing but the process.
const OPENABLE: &[&str] = &[
    "",
    "attr",
    "auxv",
    "autogroup",
    "cgroup",
    "clear_refs",
    "cmdline",
    "comm",
    "coredump_filter",
    "cpu_resctrl_groups",
    "cpuset",
    "environ",
    "fd",
    "fdinfo",
    "gid_map",
    "io",
    "limits",
    "loginuid",
    "map_files",
    "maps",
    "mem",
    "mountinfo",
    "mounts",
    "mountstats",
    "net",
    "ns",
    "numa_maps",
    "oom_adj",
    "oom_score",
    "oom_score_adj",
    "pagemap",
    "personality",
    "projid_map",
    "sched",
    "schedstat",
    "sessionid",
    "setgroups",
    "smaps",
    "smaps_rollup",
    "stack",
    "stat",
    "statm",
    "status",
    "syscall",
    "task",
    "timens_offsets",
    "timers",
    "timerslack_ns",
    "uid_map",
    "wchan",
];

/// The dead process whose file this path in `/proc` was, if it can be opened again by [`StandIn`].
pub(super) fn process_of(path: &Path) -> Option<i32> {
    let mut parts = path.strip_prefix("/proc").ok()?.iter();
    let pid = parts
        .next()?
        .to_str()?
        .parse::<i32>()
        .ok()
        .filter(|&pid| pid > 0)?;
    let mut rest = parts.as_path();
    // Its first thread, whose files are like its own.
    if let Ok(of_thread) = rest.strip_prefix(format!("task/{pid}")) {
        rest = of_thread;
    }
    let name = rest.to_str()?;
    let is_gone = matches!(
        nix::sys::stat::lstat(&Path::new("/proc").join(pid.to_string())),
        Err(Errno::ENOENT)
    );
    (is_gone && OPENABLE.contains(&name)).then_some(pid)
}

/// A process that has the number of a dead one.
#[derive(Debug)]
pub(super) struct StandIn(i32);

impl StandIn {
    /// Starts it. clone3(2) with `set_tid`, Linux 5.5.
    pub(super) fn start(pid: i32) -> Result<Self> {
        let wanted = [pid];
        // SAFETY: all fields of clone_args are plain numbers, for which zero means "not asked for".
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.set_tid = wanted.as_ptr() as u64;
        args.set_tid_size = 1;
        // No exit signal: nobody who waits for the tasks meets this one.
        // SAFETY: `args` and `wanted` outlive the call, which shares no memory with the child.
        let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        if child == 0 {
            // SAFETY: the child makes system calls alone, which is all that it may do in the copy of a
            // process with other threads.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
        }
        match Errno::result(child) {
            Err(Errno::EEXIST) => Err(Error::new(format!(
                "a file of the dead process {pid} in /proc: the number {pid} is in use"
            ))
            .with_remedy("end what uses it")),
            result => result
                .context(|| format!("starting a process of the number {pid}, whose files were open"))
                .map(|_| Self(pid)),
        }
    }

    /// Ends it.
    pub(super) fn end(&self) -> Result<()> {
        // SAFETY: kill takes plain numbers; the process is our own child, which nobody else waits for.
        Errno::result(unsafe { libc::kill(self.0, libc::SIGKILL) })
            .context(|| format!("ending process {}", self.0))?;
        // SAFETY: waitpid may be told not to write a status.
        Errno::result(unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL) })
            .context(|| format!("waiting for process {}", self.0))
            .map(drop)
    }
}
