//! Probes of what is needed to stop, enter and make processes.

use nix::errno::Errno;

use super::target::Target;
use super::{Level, Outcome, Probe};

use Level::{Extra, Required};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        name: "ptrace",
        level: Required,
        what: "stopping tasks",
        run: |target| target.seized(),
    },
    Probe {
        name: "siginfo",
        level: Required,
        what: "pending signals and masks",
        run: siginfo,
    },
    Probe {
        name: "process_vm_readv",
        level: Required,
        what: "reading memory",
        run: read_memory,
    },
    Probe {
        name: "pidfd_getfd",
        level: Required,
        what: "getting at descriptors",
        run: pidfd_getfd,
    },
    Probe {
        name: "pidfd_store",
        level: Extra,
        what: "recognising tasks again",
        run: pidfd_getfd,
    },
    Probe {
        name: "kcmp",
        level: Required,
        what: "telling what tasks share",
        run: kcmp,
    },
    Probe {
        name: "clone3_set_tid",
        level: Required,
        what: "making tasks with their pids",
        run: clone3_set_tid,
    },
    Probe {
        name: "children",
        level: Required,
        what: "finding the tree",
        run: children,
    },
    Probe {
        name: "timers",
        level: Required,
        what: "POSIX timers",
        run: timers,
    },
    Probe {
        name: "timer_cr_ids",
        level: Extra,
        what: "POSIX timers with large ids",
        run: timer_cr_ids,
    },
    Probe {
        name: "get_rseq_conf",
        level: Required,
        what: "restartable sequences",
        run: get_rseq_conf,
    },
    Probe {
        name: "membarrier",
        level: Required,
        what: "barriers of other threads",
        run: membarrier,
    },
    Probe {
        name: "seccomp_suspend",
        level: Extra,
        what: "tasks with filters",
        run: seccomp_suspend,
    },
    Probe {
        name: "seccomp_filters",
        level: Extra,
        what: "tasks with filters",
        run: seccomp_filters,
    },
    Probe {
        name: "ns_pid",
        level: Extra,
        what: "pids as namespaces see them",
        run: ns_pid,
    },
];

fn is(name: &str, result: nix::Result<i64>) -> Outcome {
    result
        .map(drop)
        .map_err(|errno| format!("{name}: {}", errno.desc()))
}

const PEEKSIGINFO: libc::c_uint = 0x4209;
const GETSIGMASK: libc::c_uint = 0x420a;
const SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
const GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

fn siginfo(target: &Target) -> Outcome {
    target.seized()?;
    // `struct __ptrace_peeksiginfo_args`: offset, flags, and that none is wanted.
    let args = [0u64; 2];
    is(
        "PTRACE_PEEKSIGINFO",
        target.request(PEEKSIGINFO, (&raw const args).addr(), 0),
    )?;
    let mut mask = 0u64;
    is(
        "PTRACE_GETSIGMASK",
        target.request(GETSIGMASK, size_of::<u64>(), (&raw mut mask).addr()),
    )
}

fn read_memory(target: &Target) -> Outcome {
    // The child is a copy of this process: the same bytes are at the same place.
    static SAMPLE: [u8; 8] = *b"a sample";
    let mut read = [0u8; 8];
    let length = read.len();
    let local = libc::iovec {
        iov_base: read.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: SAMPLE.as_ptr().cast_mut().cast(),
        iov_len: length,
    };
    // SAFETY: the local part is room of that length; the remote one is only read, in the child.
    let got = unsafe { libc::process_vm_readv(target.pid(), &raw const local, 1, &raw const remote, 1, 0) };
    Errno::result(got).map_err(|errno| format!("process_vm_readv: {}", errno.desc()))?;
    match read == SAMPLE {
        true => Ok(()),
        false => Err("process_vm_readv gave other bytes than there are".to_owned()),
    }
}

/// The child has what this process has; without any descriptor only a pidfd can be tried.
fn pidfd_getfd(target: &Target) -> Outcome {
    let open = |fd: &i32| std::fs::symlink_metadata(format!("/proc/{}/fd/{fd}", target.pid())).is_ok();
    match (0..=255).find(open) {
        Some(fd) => target
            .descriptor(fd)
            .map(drop)
            .map_err(|errno| format!("pidfd_getfd: {}", errno.desc())),
        None => target
            .pidfd()
            .map(drop)
            .map_err(|errno| format!("pidfd_open: {}", errno.desc())),
    }
}

fn kcmp(target: &Target) -> Outcome {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: kcmp only compares; it takes no pointers with KCMP_VM.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, std::process::id(), target.pid(), KCMP_VM, 0, 0) };
    is("kcmp", Errno::result(order))
}

/// `struct clone_args` of linux/sched.h, as far as Linux 5.5 has it.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Asks for the pid of a process that exists: the kernel looks at that last.
fn clone3_set_tid(target: &Target) -> Outcome {
    let taken = target.pid();
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: (&raw const taken).addr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: the arguments outlive the call. Should a child come of it after all, it does nothing but end.
    let made = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match Errno::result(made) {
        Ok(0) => {
            // SAFETY: ends this process, a copy without a purpose.
            unsafe { libc::_exit(0) }
        }
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(format!("clone3 with set_tid: {}", errno.desc())),
    }
}

fn children(target: &Target) -> Outcome {
    let me = nix::unistd::gettid();
    let path = format!("/proc/self/task/{me}/children");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let pid = target.pid().to_string();
    match text.split_ascii_whitespace().any(|word| word == pid) {
        true => Ok(()),
        false => Err(format!("{path} does not list a child")),
    }
}

fn timers(target: &Target) -> Outcome {
    let path = format!("/proc/{}/timers", target.pid());
    std::fs::read(&path)
        .map(drop)
        .map_err(|error| format!("{path}: {error}"))
}

fn timer_cr_ids(_: &Target) -> Outcome {
    const PR_TIMER_CREATE_RESTORE_IDS: libc::c_int = 77;
    const GET: libc::c_ulong = 2;
    // SAFETY: prctl takes plain numbers here.
    let state = unsafe { libc::prctl(PR_TIMER_CREATE_RESTORE_IDS, GET, 0, 0, 0) };
    is("PR_TIMER_CREATE_RESTORE_IDS", Errno::result(state).map(i64::from))
}

fn get_rseq_conf(target: &Target) -> Outcome {
    target.seized()?;
    // `struct ptrace_rseq_configuration`.
    let mut conf = [0u64; 3];
    let asked = target.request(GET_RSEQ_CONFIGURATION, size_of_val(&conf), (&raw mut conf).addr());
    is("PTRACE_GET_RSEQ_CONFIGURATION", asked)
}

fn membarrier(_: &Target) -> Outcome {
    // SAFETY: takes plain numbers; 0 is MEMBARRIER_CMD_QUERY.
    is(
        "membarrier",
        Errno::result(unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) }),
    )
}

fn seccomp_suspend(target: &Target) -> Outcome {
    target.seized()?;
    const SUSPEND: usize = 1 << 21;
    let set = |options| target.request(libc::PTRACE_SETOPTIONS, 0, options);
    is("PTRACE_O_SUSPEND_SECCOMP", set(SUSPEND))?;
    is("PTRACE_SETOPTIONS", set(0))
}

fn seccomp_filters(target: &Target) -> Outcome {
    target.seized()?;
    // It has no filter, which is another error than not knowing the request.
    match target.request(SECCOMP_GET_FILTER, 0, 0) {
        Ok(_) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(format!("PTRACE_SECCOMP_GET_FILTER: {}", errno.desc())),
    }
}

fn ns_pid(target: &Target) -> Outcome {
    let path = format!("/proc/{}/status", target.pid());
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    match text.contains("\nNSpid:") && text.contains("\nNSsid:") {
        true => Ok(()),
        false => Err(format!("{path} has no NSpid and NSsid")),
    }
}
