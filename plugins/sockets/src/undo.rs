//! What a target is to take back itself should the dump be killed.

use criu_plugin_api::Host;
use criu_plugin_api::message::{FileTarget, RemoteArg, RemoteCall};

use crate::sys;

/// `setsockopt(fd, level, option, &value, 4)` in the process in which `file` was found. A file that
/// only travels in a queue has no number there, and nothing can be done.
///
/// A host that cannot take it down says so in its log; only a dump that is killed would show.
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
    if let Err(e) = host.undo_on_death(&RemoteCall {
        pid: file.pid,
        nr: libc::SYS_setsockopt,
        args,
    }) {
        let text = format!(
            "pid {} fd {}: a killed dump would leave option {option} of level {level} changed: {e}",
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
