//! The program's own resource limits.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

/// Raises the soft limit of open files to the hard one: a large tree needs many at once.
///
/// Failing is harmless: the limit is then met where it is, with an error that names what was opened.
pub(crate) fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => {
            if let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                tracing::debug!("raising the limit of open files: {errno}");
            }
        }
        _ => {}
    }
}

/// Has a write beyond the limit of file sizes fail with an error rather than kill the program.
pub(crate) fn report_full_files() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal runs no handler.
    if let Err(errno) = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) } {
        tracing::debug!("ignoring SIGXFSZ: {errno}");
    }
}

/// Has this process's descriptor table grow to so many slots at once, as far as the limit goes. While there is one
/// thread that costs next to nothing; with more than one, each growth waits until none of them can be at the table of
/// before, which takes tens of milliseconds (RCU, `expand_fdtable` of fs/file.c).
pub(crate) fn make_room(slots: usize) {
    let Some(last) = slots
        .min(open_files())
        .checked_sub(1)
        .and_then(|last| i32::try_from(last).ok())
    else {
        return;
    };
    let file = match std::fs::File::open("/") {
        Ok(file) => file,
        Err(error) => return tracing::debug!("making room for descriptors: {error}"),
    };
    match fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(last)) {
        // SAFETY: the call returned a new descriptor, which nobody else knows.
        Ok(copy) => drop(unsafe { OwnedFd::from_raw_fd(copy) }),
        Err(errno) => tracing::debug!("making room for {slots} descriptors: {errno}"),
    }
}

/// How many files may be open at a time.
pub(crate) fn open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_up_to_the_limit_and_nothing_stays_open() {
        let room = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("FDSize:"))
                .unwrap();
            line.trim().parse::<usize>().unwrap()
        };
        let most = open_files();
        make_room(700.min(most));
        assert!(room() >= 700.min(most));
        // More than there may be is no error.
        make_room(most.saturating_add(1).min(1 << 16));
        make_room(0);
        let number = |name: std::ffi::OsString| name.to_str().unwrap().parse::<usize>().unwrap();
        let highest = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .map(|entry| number(entry.unwrap().file_name()))
            .max();
        assert!(
            highest < Some(699.min(most - 1)),
            "a copy stayed open: {highest:?}"
        );
    }
}
