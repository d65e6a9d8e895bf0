//! `/proc/PID/task/TID/status`.

use super::{parse, parse_hex, read_piece};
use crate::error::{Error, Result};

/// The identity of a thread, see credentials(7) and capabilities(7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective, saved and file system user id.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The inheritable set, a bit a capability.
    pub cap_inh: u64,
    /// The permitted set.
    pub cap_prm: u64,
    /// The effective set.
    pub cap_eff: u64,
    /// The bounding set.
    pub cap_bnd: u64,
    /// The ambient set.
    pub cap_amb: u64,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
}

/// What the engine needs of proc_pid_status(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The name of the thread (`comm`), unescaped.
    pub name: Vec<u8>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The tracer, 0 for none.
    pub tracer: i32,
    /// The pid in each pid namespace, the outermost first.
    pub ns_pids: Vec<i32>,
    /// Slots of the descriptor table (`FDSize`), beyond which nothing is open.
    pub descriptor_room: u64,
    /// Who it is.
    pub credentials: Credentials,
    /// Pending signals of the thread, bit 0 is signal 1.
    pub pending: u64,
    /// Pending signals of the process.
    pub shared_pending: u64,
    /// Blocked signals of the thread.
    pub blocked: u64,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Resident anonymous memory in bytes.
    pub rss_anon: u64,
    /// How many threads its process has (`Threads`).
    pub threads: u64,
    /// Swapped memory in bytes.
    pub swap: u64,
    /// Features of the user shadow stack that are on: bit 0 is `shstk`, bit 1 `wrss` (Linux 6.6).
    pub shadow_stack: u64,
    /// Those that the thread cannot change any more.
    pub shadow_stack_locked: u64,
    /// Which bits of an address count; all where the kernel does not say (before 6.4).
    pub untag_mask: u64,
}

impl Status {
    /// Reads it of a thread, using `buffer` for the text.
    ///
    /// # Errors
    /// The thread is gone, or the text does not parse.
    pub fn read(pid: i32, tid: i32, buffer: &mut Vec<u8>) -> Result<Self> {
        let path = format!("/proc/{pid}/task/{tid}/status");
        read_piece(&path, buffer)?;
        Self::parse(buffer).ok_or_else(|| Error::malformed(path, "does not parse"))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut status = Self {
            untag_mask: u64::MAX,
            ..Self::default()
        };
        for line in text.split(|&b| b == b'\n') {
            let Some(colon) = line.iter().position(|&b| b == b':') else {
                continue;
            };
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            let value = value.strip_prefix(b"\t").unwrap_or(value);
            let creds = &mut status.credentials;
            match key {
                b"Name" => status.name = unescape(value),
                b"Umask" => status.umask = u32::from_str_radix(std::str::from_utf8(value).ok()?, 8).ok()?,
                b"TracerPid" => status.tracer = parse(value)?,
                b"FDSize" => status.descriptor_room = parse(value)?,
                b"NSpid" => status.ns_pids = words(value)?,
                b"Uid" => creds.uids = words(value)?.try_into().ok()?,
                b"Gid" => creds.gids = words(value)?.try_into().ok()?,
                b"Groups" => creds.groups = words(value)?,
                b"CapInh" => creds.cap_inh = parse_hex(value)?,
                b"CapPrm" => creds.cap_prm = parse_hex(value)?,
                b"CapEff" => creds.cap_eff = parse_hex(value)?,
                b"CapBnd" => creds.cap_bnd = parse_hex(value)?,
                b"CapAmb" => creds.cap_amb = parse_hex(value)?,
                b"SigPnd" => status.pending = parse_hex(value)?,
                b"ShdPnd" => status.shared_pending = parse_hex(value)?,
                b"SigBlk" => status.blocked = parse_hex(value)?,
                b"NoNewPrivs" => creds.no_new_privs = value == b"1",
                b"Seccomp" => status.seccomp = parse(value)?,
                b"Threads" => status.threads = parse(value)?,
                b"RssAnon" => status.rss_anon = kilobytes(value)?,
                b"untag_mask" => status.untag_mask = parse_hex(value.strip_prefix(b"0x")?)?,
                b"x86_Thread_features" => status.shadow_stack = features(value),
                b"x86_Thread_features_locked" => status.shadow_stack_locked = features(value),
                b"VmSwap" => status.swap = kilobytes(value)?,
                _ => {}
            }
        }
        Some(status)
    }
}

fn words<T: std::str::FromStr>(value: &[u8]) -> Option<Vec<T>> {
    value
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty())
        .map(parse)
        .collect()
}

/// The names of features of a shadow stack, as bits.
fn features(value: &[u8]) -> u64 {
    let words = value.split(u8::is_ascii_whitespace);
    words.fold(0, |bits, word| match word {
        b"shstk" => bits | 1,
        b"wrss" => bits | 2,
        _ => bits,
    })
}

fn kilobytes(value: &[u8]) -> Option<u64> {
    let digits = value.split(u8::is_ascii_whitespace).find(|w| !w.is_empty())?;
    parse::<u64>(digits)?.checked_mul(1024)
}

/// Undoes the kernel's escapes of a name: `\n` and `\\`, and octal for other controls.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        match tail {
            [b'n', after @ ..] => {
                out.push(b'\n');
                rest = after;
            }
            [b'\\', after @ ..] => {
                out.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => out.push(b'\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_writes() {
        let text = b"Name:\ta\\nb\\\\\nUmask:\t0027\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
            Groups:\t10 20 \nNSpid:\t7\t1\nCapEff:\t000001fffeffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n\
            RssAnon:\t    12 kB\nVmSwap:\t 4 kB\nuntag_mask:\t0x81ffffffffffffff\n\
            x86_Thread_features:\tshstk \nx86_Thread_features_locked:\tshstk wrss \n";
        let status = Status::parse(text).unwrap();
        assert_eq!(status.name, b"a\nb\\");
        assert_eq!(status.umask, 0o27);
        assert_eq!(status.credentials.uids, [1, 2, 3, 4]);
        assert_eq!(status.credentials.groups, [10, 20]);
        assert_eq!(status.credentials.cap_eff, 0x1ff_feff_ffff);
        assert!(status.credentials.no_new_privs);
        assert_eq!(status.ns_pids, [7, 1]);
        assert_eq!((status.rss_anon, status.swap), (12 << 10, 4 << 10));
        assert_eq!(status.untag_mask, 0x81ff_ffff_ffff_ffff);
        assert_eq!((status.shadow_stack, status.shadow_stack_locked), (1, 3));
    }

    #[test]
    fn rejects_nonsense() {
        assert!(Status::parse(b"Uid:\t1\t2\n").is_none());
        assert!(Status::parse(b"CapEff:\tzz\n").is_none());
    }
}
