//! The program's own resource limits.

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

/// How many files may be open at a time.
pub(crate) fn open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}
