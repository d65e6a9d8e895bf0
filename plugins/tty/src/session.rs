//! Controlling terminals of tasks, by `/proc/PID/stat`.

use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::{Context, Error, Result};

/// The controlling terminal of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    /// Its device, in the kernel's 32-bit encoding.
    pub(crate) device: u32,
    /// The session that it controls.
    pub(crate) session: u32,
    /// The foreground process group; 0 for none.
    pub(crate) foreground: u32,
}

/// The controlling terminal of a task; `None` when it has none.
///
/// # Errors
/// The task is gone.
pub(crate) fn of_task(pid: i32) -> Result<Option<Control>> {
    let path = format!("/proc/{pid}/stat");
    let line = std::fs::read(&path).context(|| format!("reading {path}"))?;
    parse(&line).ok_or_else(|| Error::new(format!("{path} does not parse")))
}

/// The session of a terminal among these tasks.
///
/// # Errors
/// A task is gone.
pub(crate) fn of_terminal(tasks: &[TaskInfo], device: u32) -> Result<Option<Control>> {
    for task in tasks.iter().filter(|task| !task.dead) {
        let control = of_task(task.host_pid)?.filter(|control| control.device == device);
        if control.is_some() {
            return Ok(control);
        }
    }
    Ok(None)
}

/// The fields `session`, `tty_nr` and `tpgid` of proc_pid_stat(5).
fn parse(line: &[u8]) -> Option<Option<Control>> {
    // The name may hold anything: the last parenthesis ends it.
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(3);
    let session: u32 = fields.next()?.parse().ok()?;
    let device: i32 = fields.next()?.parse().ok()?;
    let foreground: i32 = fields.next()?.parse().ok()?;
    Some((device != 0).then(|| Control {
        device: device.cast_unsigned(),
        session,
        foreground: u32::try_from(foreground).unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_tells_the_terminal() {
        let line = b"7 (a) b (c) S 1 7 9 34817 11 4194304 0\n";
        let control = Control {
            device: 34817,
            session: 9,
            foreground: 11,
        };
        assert_eq!(parse(line), Some(Some(control)));
        assert_eq!(parse(b"7 (x) S 1 7 9 0 -1 0\n"), Some(None));
        assert_eq!(parse(b"7 (x) S 1"), None);
    }
}
