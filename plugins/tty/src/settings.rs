//! The settings of a terminal, between the kernel's structs and the entries of the images.

use std::os::fd::BorrowedFd;

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::{TermiosEntry, TtyInfoEntry, WinsizeEntry};

use crate::sys::{self, CONTROL_CHARS, Termios, Winsize};

/// How many words an entry holds for the control characters. The first bytes of their memory are the
/// characters; the format has always had room for more.
const CC_WORDS: usize = CONTROL_CHARS;

pub(crate) fn termios_entry(termios: &Termios) -> TermiosEntry {
    let mut bytes = [0; CC_WORDS * 4];
    bytes[..CONTROL_CHARS].copy_from_slice(&termios.cc);
    let words = bytes.chunks_exact(4);
    TermiosEntry {
        c_iflag: termios.iflag,
        c_oflag: termios.oflag,
        c_cflag: termios.cflag,
        c_lflag: termios.lflag,
        c_line: u32::from(termios.line),
        // `TCGETS` gives no speeds beside those in `c_cflag`; see [`read`].
        c_ispeed: 0,
        c_ospeed: 0,
        c_cc: words
            .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
            .collect(),
    }
}

pub(crate) fn termios_of(entry: &TermiosEntry) -> Result<Termios> {
    let bytes: Vec<u8> = entry.c_cc.iter().flat_map(|word| word.to_le_bytes()).collect();
    let cc = bytes.first_chunk::<CONTROL_CHARS>();
    let line = u8::try_from(entry.c_line).ok();
    let (Some(cc), Some(line)) = (cc, line) else {
        let error = format!(
            "the termios has {} words of control characters and line discipline {}: damaged",
            entry.c_cc.len(),
            entry.c_line
        );
        return Err(Error::new(error));
    };
    Ok(Termios {
        iflag: entry.c_iflag,
        oflag: entry.c_oflag,
        cflag: entry.c_cflag,
        lflag: entry.c_lflag,
        line,
        cc: *cc,
    })
}

fn winsize_entry(size: Winsize) -> WinsizeEntry {
    WinsizeEntry {
        ws_row: size.rows.into(),
        ws_col: size.cols.into(),
        ws_xpixel: size.xpixel.into(),
        ws_ypixel: size.ypixel.into(),
    }
}

fn winsize_of(entry: &WinsizeEntry) -> Result<Winsize> {
    let part =
        |value: u32| u16::try_from(value).map_err(|_| Error::new(format!("a window of {value}: damaged")));
    Ok(Winsize {
        rows: part(entry.ws_row)?,
        cols: part(entry.ws_col)?,
        xpixel: part(entry.ws_xpixel)?,
        ypixel: part(entry.ws_ypixel)?,
    })
}

/// Reads what both ends of a pair show: termios, its locks, window, exclusive mode.
///
/// # Errors
/// The kernel's: the terminal is none, or has hung up.
pub(crate) fn read(fd: BorrowedFd<'_>, info: &mut TtyInfoEntry) -> Result<()> {
    let termios = sys::termios(fd).context(|| "asking for the termios")?;
    let mut entry = termios_entry(&termios);
    if has_free_speeds(&termios) {
        (entry.c_ispeed, entry.c_ospeed) = sys::speeds(fd).context(|| "asking for the speeds")?;
    }
    info.termios = Some(entry);
    let locked = sys::termios_locked(fd).context(|| "asking which termios bits are locked")?;
    info.termios_locked = Some(termios_entry(&locked));
    info.winsize = Some(winsize_entry(
        sys::winsize(fd).context(|| "asking for the window size")?,
    ));
    info.exclusive = sys::is_exclusive(fd).context(|| "asking for exclusive mode")?;
    Ok(())
}

/// Whether a speed is one that `c_cflag` has no number for (`BOTHER`).
fn has_free_speeds(termios: &Termios) -> bool {
    let input = termios.cflag >> INPUT_SPEED & libc::CBAUD;
    termios.cflag & libc::CBAUD == libc::BOTHER || input == libc::BOTHER
}

/// Where in `c_cflag` the speed of input stands (`IBSHIFT`).
const INPUT_SPEED: u32 = 16;

/// The settings of an entry, checked.
pub(crate) struct Settings {
    pub(crate) termios: Termios,
    /// Of input and output in baud; 0 where `c_cflag` says all.
    speeds: (u32, u32),
    locked: Termios,
    window: Option<Winsize>,
}

impl Settings {
    /// `None` for an entry without settings.
    ///
    /// # Errors
    /// The entry is damaged.
    pub(crate) fn of(info: &TtyInfoEntry) -> Result<Option<Self>> {
        let Some(termios) = &info.termios else {
            return Ok(None);
        };
        Ok(Some(Self {
            termios: termios_of(termios)?,
            speeds: (termios.c_ispeed, termios.c_ospeed),
            locked: info
                .termios_locked
                .as_ref()
                .map(termios_of)
                .transpose()?
                .unwrap_or_default(),
            window: info.winsize.as_ref().map(winsize_of).transpose()?,
        }))
    }

    /// Gives the terminal its termios.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn set_termios(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let done = if self.speeds != (0, 0) && has_free_speeds(&self.termios) {
            sys::set_termios_and_speeds(fd, self.termios, self.speeds)
        } else {
            sys::set_termios(fd, self.termios)
        };
        done.context(|| "setting the termios")
    }

    /// Locks bits of the termios, and sets the window where `with_window`.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn complete(&self, fd: BorrowedFd<'_>, with_window: bool) -> Result<()> {
        if self.locked != Termios::default() {
            sys::lock_termios(fd, self.locked).context(|| "locking bits of the termios")?;
        }
        if let Some(window) = self.window.filter(|_| with_window) {
            sys::set_winsize(fd, window).context(|| "setting the window size")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_packed_as_bytes() {
        // As an image of CRIU 4.2 has them, the unused words holding anything.
        let entry = TermiosEntry {
            c_iflag: 1280,
            c_oflag: 5,
            c_cflag: 191,
            c_lflag: 35387,
            c_cc: vec![360651779, 65540, 1708817, 370609938, 0, 9, 9, 9, 238797792],
            ..TermiosEntry::default()
        };
        let termios = termios_of(&entry).unwrap();
        assert_eq!(termios.cc[libc::VINTR], 3);
        assert_eq!(termios.cc[libc::VEOF], 4);
        assert_eq!(termios.cc[libc::VSTART], 0x11);
        assert_eq!(termios.cc[libc::VLNEXT], 0x16);
        let again = termios_entry(&termios);
        assert_eq!(again.c_cc.len(), 19);
        assert_eq!(again.c_cc[..5], entry.c_cc[..5]);
        assert!(
            termios_of(&TermiosEntry {
                c_cc: vec![1; 4],
                ..entry
            })
            .is_err()
        );
    }
}
