//! Which terminal a device number means.

use criu_proto::images::TtyType;

/// The sort of a terminal, by the device node it was opened through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// `/dev/ptmx`: the master of a pair.
    Master,
    /// `/dev/pts/N`: the slave of a pair.
    Slave(u32),
    /// `/dev/tty`: the controlling terminal of whoever opened it.
    Controlling,
    /// A console of the machine itself, or a serial line: opened again.
    Console(TtyType),
}

impl Device {
    /// The device of an `st_rdev`; `None` for something that is no terminal.
    pub(crate) fn of(rdev: u64) -> Option<Self> {
        // Both parts have fewer than 32 bits.
        let (major, minor) = (libc::major(rdev), libc::minor(rdev));
        Some(match (major, minor) {
            (5, 0) => Self::Controlling,
            (5, 1) => Self::Console(TtyType::Console),
            (5, 2) => Self::Master,
            (136..=143, _) => Self::Slave(minor + ((major - 136) << 20)),
            (4, 0..=63) => Self::Console(TtyType::Vt),
            // ttyS, ttyACM, ttyUSB, ttyAMA, hvc.
            (4 | 166 | 188 | 204 | 229, _) => Self::Console(TtyType::Serial),
            _ => return None,
        })
    }
}

/// `st_dev` or `st_rdev` as the images hold it: the encoding of stat(2), cut to 32 bits.
pub(crate) fn short(device: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits are what is wanted"
    )]
    let low = device as u32;
    low
}

/// The key by which the user names a terminal from outside, e.g. `tty[8803:1a]`: both device numbers in
/// hexadecimal as stat(2) gives them.
pub(crate) fn key(rdev: u32, dev: u32) -> String {
    format!("tty[{rdev:x}:{dev:x}]")
}

/// Whether one of the values of `--external` names this terminal.
pub(crate) fn is_external(values: &[String], rdev: u32, dev: u32) -> bool {
    values.iter().any(|value| parse_key(value) == Some((rdev, dev)))
}

fn parse_key(text: &str) -> Option<(u32, u32)> {
    let (rdev, dev) = text.strip_prefix("tty[")?.strip_suffix(']')?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    Some((number(rdev)?, number(dev)?))
}

/// The number of the description of an end of a pair in `tty-info.img`. Those from 2000 on are kept for consoles.
pub(crate) fn info_id(index: u32, is_master: bool) -> u32 {
    let index = if index < 1000 { index } else { index + 0x1000 };
    index << 1 | u32::from(is_master)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_name_terminals() {
        let of = |major, minor| Device::of(libc::makedev(major, minor));
        assert_eq!(of(5, 2), Some(Device::Master));
        assert_eq!(of(5, 0), Some(Device::Controlling));
        assert_eq!(of(136, 300), Some(Device::Slave(300)));
        assert_eq!(of(4, 1), Some(Device::Console(TtyType::Vt)));
        assert_eq!(of(4, 63), Some(Device::Console(TtyType::Vt)));
        for (major, minor) in [(4, 64), (166, 0), (188, 3), (204, 64), (229, 0)] {
            assert_eq!(of(major, minor), Some(Device::Console(TtyType::Serial)));
        }
        assert_eq!(of(1, 3), None);
        assert_eq!(short(libc::makedev(136, 0)), 34816);
        assert_eq!(short(libc::makedev(5, 2)), 1282);
    }

    #[test]
    fn outside_terminals_are_named_by_their_numbers() {
        assert_eq!(key(0x8803, 0x1a), "tty[8803:1a]");
        for text in ["tty[8803:1a]", "tty[0x8803:0x1A]"] {
            assert!(is_external(&[text.to_owned()], 0x8803, 0x1a), "{text}");
        }
        for text in [
            "tty[8803:1b]",
            "file[8803:1a]",
            "tty[8803]",
            "tty[:]",
            "tty[8803:1a",
        ] {
            assert!(!is_external(&[text.to_owned()], 0x8803, 0x1a), "{text}");
        }
    }
}
