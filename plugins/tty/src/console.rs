//! Consoles of the machine, `/dev/ttyN` and `/dev/console`, and its serial lines. They are there before and after, so
//! they are opened again; what is on the screen or on the wire is the machine's. ioctl_console(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{TtyFileEntry, TtyInfoEntry, TtyType};

use crate::device::short;
use crate::images::{path, path_of};
use crate::opening::open_flags;
use crate::settings::Settings;
use crate::sys;

/// Whether it is one.
pub(crate) fn is_one(info: &TtyInfoEntry) -> bool {
    matches!(info.r#type(), TtyType::Vt | TtyType::Console | TtyType::Serial)
}

/// What of a console cannot be saved, if there is such a thing. One that is no virtual console has none of it.
pub(crate) fn obstacle(fd: BorrowedFd<'_>) -> Option<&'static str> {
    if sys::shows_graphics(fd).unwrap_or(false) {
        return Some("shows graphics (KD_GRAPHICS), whose state is that of the graphics device");
    }
    if sys::is_switched_by_process(fd).unwrap_or(false) {
        return Some("is switched with the help of a process (VT_PROCESS), which would go with the dump");
    }
    None
}

/// Opens one by its path.
pub(crate) fn open(host: &Host<'_>, entry: &TtyFileEntry, info: &TtyInfoEntry) -> Result<OwnedFd> {
    let reg = path_of(host, entry)?;
    let reg =
        reg.ok_or_else(|| Error::new(format!("file {} is a console without a path: damaged", entry.id)))?;
    let name = path(&reg.name);
    // Without waiting for a line to be there; the flags of the entry come later.
    let fd = sys::open_with(name, open_flags(entry) | libc::O_NONBLOCK)
        .context(|| format!("opening the console {}", name.display()))?;
    let rdev = sys::rdev(&fd).context(|| format!("looking at {}", name.display()))?;
    if short(rdev) != info.rdev {
        return Err(Error::new(format!(
            "{} was device {:#x} and is {:#x} here",
            name.display(),
            info.rdev,
            short(rdev)
        )));
    }
    Ok(fd)
}

/// All files of one console, with its settings.
pub(crate) fn open_all<'a>(
    host: &Host<'_>,
    entries: impl Iterator<Item = &'a TtyFileEntry>,
    info: &TtyInfoEntry,
) -> Result<Vec<(TtyFileEntry, OwnedFd)>> {
    let opened = entries
        .map(|entry| Ok((*entry, open(host, entry, info)?)))
        .collect::<Result<Vec<_>>>()?;
    if let (Some((_, fd)), Some(settings)) = (opened.first(), Settings::of(info)?) {
        // The window of a console is that of the machine; a serial line has the one that it was told.
        let has_own_window = info.r#type() == TtyType::Serial;
        sys::from_background(|| {
            settings.set_termios(fd.as_fd())?;
            settings.complete(fd.as_fd(), has_own_window)
        })?;
        if info.exclusive {
            sys::set_exclusive(fd.as_fd()).context(|| "setting exclusive mode")?;
        }
    }
    Ok(opened)
}

/// Makes a console that of this session.
pub(crate) fn control(host: &Host<'_>, entry: &TtyFileEntry, info: &TtyInfoEntry) -> Result<()> {
    crate::opening::control(open(host, entry, info)?.as_fd())
}
