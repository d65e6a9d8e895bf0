//! What a target is to take back itself should the dump be killed.

use std::cell::RefCell;
use std::collections::HashSet;

use criu_plugin_api::Host;
use criu_plugin_api::message::{FileTarget, RemoteArg, RemoteCall};

use crate::sys;

thread_local! {
    /// The processes of which was said that not all can be taken back.
    static TOLD: RefCell<HashSet<i32>> = RefCell::default();
}

/// The dump is over.
pub(crate) fn forget() {
    TOLD.with_borrow_mut(HashSet::clear);
}

/// `setsockopt(fd, level, option, &value, 4)` in the process in which `file` was found. A file that
/// only travels in a queue has no number there, and nothing can be done.
///
/// A host that cannot take it down, or no more of it, is said once for each process to be so; only a dump that is killed
/// would show.
pub(crate) fn set_option(host: &Host<'_>, file: &FileTarget, level: i32, option: i32, value: i32) {
    if file.fd < 0 {
        return;
    }
    let plain = |value: i32| RemoteArg {
        value: i64::from(value).cast_unsigned(),
        ..RemoteArg::default()
    };
    let data = RemoteArg {
        data: Some(value.to_ne_bytes().to_vec()),
        ..RemoteArg::default()
    };
    let args = vec![plain(file.fd), plain(level), plain(option), data, plain(4)];
    let call = RemoteCall {
        pid: file.pid,
        nr: libc::SYS_setsockopt,
        args,
    };
    if let Err(e) = host.undo_on_death(&call)
        && TOLD.with_borrow_mut(|told| told.insert(file.pid))
    {
        let text = format!(
            "pid {} from fd {} on: a killed dump would leave options changed, as {option} of level {level}: {e}",
            file.pid, file.fd
        );
        host.log(2, "sockets", &text);
    }
}

/// The position of `SO_PEEK_OFF`.
pub(crate) fn peek_offset(host: &Host<'_>, file: &FileTarget) {
    let now = sys::get::<i32>(file.local_fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap_or(-1);
    set_option(host, file, libc::SOL_SOCKET, libc::SO_PEEK_OFF, now);
}
