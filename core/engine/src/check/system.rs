//! Probes of the system around the tasks.

use std::path::Path;

use nix::errno::Errno;

use super::target::Target;
use super::{Level, Outcome, Probe};

use Level::{Extra, Required};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        name: "capabilities",
        level: Required,
        what: "the right to do all this",
        run: capabilities,
    },
    Probe {
        name: "mnt_id",
        level: Required,
        what: "mounts of open files",
        run: mnt_id,
    },
    Probe {
        name: "loginuid",
        level: Extra,
        what: "audit ids",
        run: |target| of_target(target, "loginuid"),
    },
    Probe {
        name: "openat2",
        level: Extra,
        what: "paths that stay inside a root",
        run: openat2,
    },
    Probe {
        name: "move_mount_set_group",
        level: Extra,
        what: "shared mounts",
        run: move_mount_set_group,
    },
    Probe {
        name: "cgroupns",
        level: Extra,
        what: "cgroup namespaces",
        run: |target| of_target(target, "ns/cgroup"),
    },
    Probe {
        name: "timens",
        level: Extra,
        what: "time namespaces",
        run: |target| of_target(target, "ns/time"),
    },
    Probe {
        name: "userns",
        level: Extra,
        what: "user namespaces",
        run: |target| of_target(target, "ns/user"),
    },
    Probe {
        name: "external_net_ns",
        level: Extra,
        what: "network namespaces",
        run: |_| Err("not implemented yet: external_net_ns".to_owned()),
    },
    Probe {
        name: "apparmor_stacking",
        level: Extra,
        what: "AppArmor profiles",
        run: apparmor_stacking,
    },
];

/// Whether there is such a file of a process.
fn of_target(target: &Target, name: &str) -> Outcome {
    let path = format!("/proc/{}/{name}", target.pid());
    std::fs::symlink_metadata(&path)
        .map(drop)
        .map_err(|error| format!("{path}: {error}"))
}

/// Those without which nothing goes: `CAP_SYS_PTRACE`, and `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
fn capabilities(_: &Target) -> Outcome {
    const SYS_PTRACE: u64 = 1 << 19;
    const SYS_ADMIN: u64 = 1 << 21;
    const CHECKPOINT_RESTORE: u64 = 1 << 40;
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let word = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = word.and_then(|word| u64::from_str_radix(word.trim(), 16).ok());
    let held = held.ok_or_else(|| format!("{path} has no CapEff"))?;
    match (held & SYS_PTRACE, held & (SYS_ADMIN | CHECKPOINT_RESTORE)) {
        (0, _) => Err("CAP_SYS_PTRACE is not held: run as root".to_owned()),
        (_, 0) => Err("neither CAP_SYS_ADMIN nor CAP_CHECKPOINT_RESTORE is held: run as root".to_owned()),
        _ => Ok(()),
    }
}

fn mnt_id(_: &Target) -> Outcome {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open("/proc").map_err(|error| format!("/proc: {error}"))?;
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    match text.contains("mnt_id:") {
        true => Ok(()),
        false => Err(format!("{path} has no mnt_id")),
    }
}

fn openat2(_: &Target) -> Outcome {
    // `struct open_how`: flags, mode, and to resolve beneath.
    let how = [libc::O_PATH as u64, 0, 0x08];
    // SAFETY: the path is a C string, `how` a `struct open_how` of the size given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            c".".as_ptr(),
            &raw const how,
            size_of_val(&how),
        )
    };
    let fd = Errno::result(fd).map_err(|errno| format!("openat2: {}", errno.desc()))?;
    // SAFETY: the descriptor is new and used for nothing else.
    unsafe { libc::close(i32::try_from(fd).unwrap_or(-1)) };
    Ok(())
}

/// A kernel that does not know the flag refuses it (`EINVAL`) before it looks at the paths (`ENOENT`).
fn move_mount_set_group(_: &Target) -> Outcome {
    const MOVE_MOUNT_SET_GROUP: libc::c_uint = 0x100;
    let none = c"/proc/self/there-is-no-such-file".as_ptr();
    // SAFETY: both paths are C strings; neither exists, so nothing is moved.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            libc::AT_FDCWD,
            none,
            libc::AT_FDCWD,
            none,
            MOVE_MOUNT_SET_GROUP,
        )
    };
    match Errno::result(moved) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(format!("move_mount with MOVE_MOUNT_SET_GROUP: {}", errno.desc())),
    }
}

fn apparmor_stacking(_: &Target) -> Outcome {
    let path = Path::new("/sys/kernel/security/apparmor/features/domain/stack");
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() == "yes" => Ok(()),
        Ok(text) => Err(format!("{} says {:?}", path.display(), text.trim())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
