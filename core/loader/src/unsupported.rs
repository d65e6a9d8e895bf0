//! Resources that are known and that no shipped plugin saves, in words.
//!
//! This list decides nothing: it is only asked when nobody has claimed a file, to say what it is. A plugin
//! of a third party that claims one of these is asked before.

use criu_plugin_api::Claim;

use crate::table::{FileQuery, Seen};

/// What a file is, for a user who knows it by the call that made it, and what would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported {
    /// What it is, with an article.
    pub what: &'static str,
    /// What the user can do.
    pub remedy: &'static str,
}

const TABLE: &str = include_str!("unsupported.tsv");

const CLOSE: &str =
    "close it before the dump, or use a plugin that claims it; `criu plugin list` shows what is found";
const VIRTUAL_MACHINE: &str =
    "let the virtual machine's own program save its state (virsh save, snapshots of QEMU)";

/// The rows of the table; one that cannot be read is left out, and a test finds it.
fn rows() -> impl Iterator<Item = (Claim, Unsupported)> {
    TABLE.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let claim = columns.next()?.parse().ok()?;
        let what = columns.next()?;
        let remedy = match columns.next() {
            Some("vm") => VIRTUAL_MACHINE,
            _ => CLOSE,
        };
        Some((claim, Unsupported { what, remedy }))
    })
}

/// What a file is that nobody has claimed.
pub fn unsupported(file: &FileQuery<'_>) -> Option<Unsupported> {
    let mut seen = Seen::default();
    rows().find_map(|(claim, what)| seen.fits(&claim, file).then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::{Purpose, Range};

    fn what(link: &[u8], mode: u32, rdev: u64, family: u32) -> Option<&'static str> {
        let query = FileQuery {
            link,
            mode,
            rdev,
            socket: &|| Some([family, 1, 0]),
            fs_magic: &|| None,
            purpose: Purpose::Descriptor,
        };
        unsupported(&query).map(|unsupported| unsupported.what)
    }

    #[test]
    fn files_are_known_by_link_device_and_family() {
        assert_eq!(
            what(b"anon_inode:[perf_event]", 0o600, 0, 0),
            Some("a performance event (perf_event_open(2))")
        );
        assert_eq!(
            what(b"anon_inode:kvm-vcpu:0", 0o600, 0, 0),
            Some("a processor of a virtual machine (KVM)")
        );
        let uinput = libc::makedev(10, 223);
        assert_eq!(
            what(b"/dev/uinput", libc::S_IFCHR, uinput, 0),
            Some("an input device of user space (/dev/uinput)")
        );
        assert_eq!(
            what(b"socket:[1]", libc::S_IFSOCK, 0, 38),
            Some("a socket of the kernel's cryptography (AF_ALG)")
        );
        assert_eq!(what(b"anon_inode:[unheard-of]", 0o600, 0, 0), None);
        assert_eq!(what(b"/dev/x", libc::S_IFCHR, libc::makedev(240, 1), 0), None);
    }

    #[test]
    fn every_row_can_be_read_and_found() {
        let written = TABLE.lines().filter(|line| !line.starts_with('#'));
        let rows: Vec<(Claim, Unsupported)> = rows().collect();
        for (line, row) in written.clone().zip(&rows) {
            assert!(line.starts_with(&row.0.to_string()), "{line} is not {}", row.0);
        }
        assert_eq!(written.count(), rows.len());
        for (at, (claim, _)) in rows.iter().enumerate() {
            let (Claim::LinkPrefix(text) | Claim::Link(text)) = claim else {
                continue;
            };
            let hidden = rows[..at].iter().find(|(before, _)| match before {
                Claim::LinkPrefix(before) => text.starts_with(before.as_str()),
                _ => before == claim,
            });
            assert!(hidden.is_none(), "{claim} is never found");
        }
    }

    /// What a shipped plugin claims is not said to be beyond them.
    #[test]
    fn nothing_that_is_served_is_in_the_table() {
        let covers = |served: &Claim, row: &Claim| match (served, row) {
            (Claim::LinkPrefix(served), Claim::Link(row) | Claim::LinkPrefix(row)) => row.starts_with(served),
            (Claim::Char(served), Claim::Char(row)) => {
                let meet = |a: Range, b: Range| a.contains(b.first) || b.contains(a.first);
                meet(served.major, row.major) && meet(served.minor, row.minor)
            }
            (Claim::Socket([served, ..]), Claim::Socket([row, ..])) => served == row,
            (served, row) => served == row,
        };
        for (row, _) in rows() {
            let served = crate::shipped::claims().find(|served| covers(served, &row));
            assert_eq!(served, None, "{row} is served");
        }
    }
}
