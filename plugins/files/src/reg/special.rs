//! Files with a path that have more to them than that: known, and refused by name.

use std::path::Path;

use criu_plugin_api::message::{FileTarget, Purpose};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Host, Refusal, Result};
use nix::errno::Errno;
use nix::sys::stat::{major, minor};

use super::name;
use crate::sys;

/// `LOOP_MAJOR` of linux/major.h.
const LOOP_MAJOR: u64 = 7;
/// `F_OWNER_PID` of fcntl(2).
const F_OWNER_PID: u32 = 1;

/// Why this file cannot be opened again as it is, if so.
pub(super) fn refuse(host: &Host<'_>, file: &FileTarget) -> Result<Option<Refusal>> {
    let is_open = matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight)
        && file.flags.cast_signed() & libc::O_PATH == 0;
    if !is_open {
        return Ok(None);
    }
    let found = match file.mode & libc::S_IFMT {
        libc::S_IFBLK => block_device(file),
        libc::S_IFDIR => watched(host, file)?,
        _ => None,
    };
    let found = found.or_else(|| thread(file));
    Ok(found.map(|(what, remedy)| Refusal {
        object: name::object(file),
        what,
        remedy,
    }))
}

type Reason = (String, Option<String>);

/// Exclusive use of a block device (`O_EXCL` of open(2)) shows in nothing but the failure of others.
fn block_device(file: &FileTarget) -> Option<Reason> {
    let (major, minor) = (major(file.rdev), minor(file.rdev));
    if major == LOOP_MAJOR && sys::goes_with_last_user(sys::local(file)) {
        return Some((
            "this loop device is taken down with its last user (LO_FLAGS_AUTOCLEAR), which the end of the dump is"
                .to_owned(),
            Some("losetup it without that flag".to_owned()),
        ));
    }
    let path = format!("/proc/self/fd/{}", file.local_fd);
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_EXCL;
    (sys::open_with(path, flags).err() == Some(Errno::EBUSY)).then(|| {
        (
            format!(
                "somebody uses block device {major}:{minor} exclusively, which may be this process (O_EXCL): that \
                 cannot be told, so not restored"
            ),
            None,
        )
    })
}

/// F_NOTIFY of fcntl(2) makes the caller the owner of a directory's descriptor; nothing else shows of it, so F_SETOWN alone
/// looks the same. It is taken for F_NOTIFY where somebody has seen to it that the signal does no harm: by default it
/// ends the process.
fn watched(host: &Host<'_>, file: &FileTarget) -> Result<Option<Reason>> {
    let owner = fown_decode(&file.fown)?;
    if owner.pid == 0 || owner.pid_type != F_OWNER_PID {
        return Ok(None);
    }
    if host.option_bool("lose-dnotify")? {
        return Ok(None);
    }
    // Which signals its leading thread blocks cannot be seen while that works for the dump.
    if owner.signum == 0 && !catches(owner.pid, libc::SIGIO) {
        tracing::warn!(
            "{}: process {} is its owner (F_SETOWN), which is kept; should it wait for changes of it (F_NOTIFY), that is lost",
            name::object(file),
            owner.pid
        );
        return Ok(None);
    }
    Ok(Some((
        format!(
            "process {} gets signals of this directory, as after F_NOTIFY of fcntl(2) (dnotify); what it waits \
             for cannot be told",
            owner.pid
        ),
        Some(
            "watch it by inotify(7), or, where only F_SETOWN was used, --plugin-option files.lose-dnotify=yes"
                .to_owned(),
        ),
    )))
}

/// Whether a process has a handler for a signal; not told: yes.
fn catches(pid: u32, signal: i32) -> bool {
    let mask = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
    mask.is_none_or(|mask| mask & 1 << (signal - 1) != 0)
}

/// Threads exist only when all files are open.
fn thread(file: &FileTarget) -> Option<Reason> {
    let link = file.link.strip_suffix(b" (deleted)").unwrap_or(&file.link);
    let link = name::path_of(link);
    let mut parts = link.strip_prefix("/proc").ok()?.iter();
    let pid = parts.next()?;
    let task = parts.next().filter(|name| *name == "task")?;
    let tid = parts.next().filter(|tid| *tid != pid)?;
    let path = Path::new("/proc").join(pid).join(task).join(tid);
    Some((
        format!(
            "{} is of a thread that is not the first of its process: not supported",
            path.display()
        ),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use criu_plugin_api::testing::{MockHost, file_target};

    #[test]
    fn files_of_other_threads_are_refused_and_those_of_the_first_are_not() {
        let dir = Scratch::new();
        let file = dir.file("x", b"");
        let mock = MockHost::new();
        let host = Host::new(&mock, "files");
        let refuse = |target: &FileTarget| refuse(&host, target);
        let mut target = file_target(&file).unwrap();
        assert_eq!(refuse(&target), Ok(None));
        target.link = b"/proc/12/task/12/status".to_vec();
        assert_eq!(refuse(&target), Ok(None));
        target.link = b"/proc/12/task/12 (deleted)".to_vec();
        assert_eq!(refuse(&target), Ok(None));
        target.link = b"/proc/12/task/13/status".to_vec();
        let refusal = refuse(&target).unwrap().unwrap();
        assert!(refusal.what.contains("/proc/12/task/13"), "{}", refusal.what);
        // A path alone is never opened.
        target.flags = libc::O_PATH.cast_unsigned();
        assert_eq!(refuse(&target), Ok(None));
    }
}
