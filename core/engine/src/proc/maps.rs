//! `/proc/PID/smaps`: the mappings of a process and their flags.

use std::fs::File;
use std::io::Read;

use super::{parse, parse_hex};
use crate::error::{Context, Error, Result};

/// More flags than a mapping can have at a time.
const MAX_FLAGS: usize = 32;

/// The two-letter flags of the `VmFlags` line, see proc_pid_smaps(5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmFlags {
    count: usize,
    flags: [[u8; 2]; MAX_FLAGS],
}

impl VmFlags {
    /// Whether a flag is there, e.g. `has("gd")` for a mapping that grows down.
    pub fn has(&self, flag: &str) -> bool {
        self.flags[..self.count].iter().any(|f| f == flag.as_bytes())
    }
}

/// One line of `/proc/PID/maps` with what smaps adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `PROT_*` bits.
    pub prot: u32,
    /// Whether it is shared.
    pub shared: bool,
    /// Offset into the file in bytes.
    pub pgoff: u64,
    /// Device of the file: major and minor.
    pub dev: (u32, u32),
    /// Inode of the file, 0 for none.
    pub ino: u64,
    /// The name as printed (a path, escaped, or a name in brackets); empty for plain anonymous memory.
    pub name: Vec<u8>,
    /// The flags.
    pub flags: VmFlags,
    /// Size of its pages in bytes (`KernelPageSize`).
    pub page_size: u64,
    /// Its protection key (`ProtectionKey`), 0 where there are none.
    pub pkey: u32,
    /// Whether any page of it is there (`Rss`, `Swap`).
    pub touched: bool,
    /// Whether some of its pages are in the memory of another process too (`Shared_Clean`, `Shared_Dirty`).
    pub has_shared_pages: bool,
}

impl Mapping {
    /// Whether it is a path and not a name in brackets or nothing.
    pub fn has_path(&self) -> bool {
        self.name.first().is_some_and(|&b| b != b'[')
    }
}

/// Reads the mappings of a process, ascending.
///
/// # Errors
/// The process is gone, may not be looked into, or the text does not parse.
pub fn read_mappings(pid: i32, buffer: &mut Vec<u8>) -> Result<Vec<Mapping>> {
    let path = format!("/proc/{pid}/smaps");
    let mut file = File::open(&path).context(|| format!("opening {path}"))?;
    let mut parser = Parser::default();
    // Line by line as it comes: the whole text of many mappings would fill memory of its own.
    buffer.resize(CHUNK, 0);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            // A name may be longer than a chunk.
            buffer.resize(2 * filled, 0);
        }
        let got = file
            .read(&mut buffer[filled..])
            .context(|| format!("reading {path}"))?;
        filled += got;
        let whole = match got {
            0 => filled,
            _ => buffer[..filled]
                .iter()
                .rposition(|&b| b == b'\n')
                .map_or(0, |at| at + 1),
        };
        parser
            .text(&buffer[..whole])
            .map_err(|line| Error::malformed(&path, format!("line {line} does not parse")))?;
        if got == 0 {
            return Ok(parser.mappings);
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// The mappings in a text like that of smaps.
#[cfg(test)]
pub(crate) fn parse_mappings(text: &[u8]) -> Vec<Mapping> {
    let mut parser = Parser::default();
    parser.text(text).expect("a text like that of smaps");
    parser.mappings
}

/// Bytes that are read by one call: a few of the pages that the kernel hands out.
const CHUNK: usize = 16 << 10;

#[derive(Default)]
struct Parser {
    mappings: Vec<Mapping>,
    /// Of lines so far.
    count: usize,
}

impl Parser {
    /// Takes some whole lines of smaps; on failure the number of the line.
    fn text(&mut self, text: &[u8]) -> std::result::Result<(), usize> {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', text).chain([text.len()]);
        for end in ends {
            let line = text.get(start..end).filter(|line| !line.is_empty());
            start = end + 1;
            if let Some(line) = line {
                self.count += 1;
                self.line(line).ok_or(self.count)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        match line[0] {
            b'0'..=b'9' | b'a'..=b'f' => {
                let mapping = parse_header(line)?;
                let overlaps = self.mappings.last().is_some_and(|last| last.end > mapping.start);
                if overlaps || mapping.start >= mapping.end {
                    return None;
                }
                self.mappings.push(mapping);
            }
            // Few of the many keys matter; comparing their first bytes keeps the rest cheap.
            b'S' => {
                let some = || line.iter().any(|b| matches!(b, b'1'..=b'9'));
                if line.starts_with(b"Shared_") && some() {
                    self.mappings.last_mut()?.has_shared_pages = true;
                } else if line.starts_with(b"Swap:") && some() {
                    self.mappings.last_mut()?.touched = true;
                }
            }
            b'R' => {
                let some = line.starts_with(b"Rss:") && line.iter().any(|b| matches!(b, b'1'..=b'9'));
                self.mappings.last_mut()?.touched |= some;
            }
            b'V' => {
                if let Some(flags) = line.strip_prefix(b"VmFlags:") {
                    self.mappings.last_mut()?.flags = parse_flags(flags)?;
                }
            }
            b'P' => {
                if let Some(key) = line.strip_prefix(b"ProtectionKey:") {
                    self.mappings.last_mut()?.pkey = parse(key.trim_ascii())?;
                }
            }
            b'K' => {
                if let Some(size) = line.strip_prefix(b"KernelPageSize:") {
                    let size = size.trim_ascii().strip_suffix(b" kB").and_then(parse::<u64>)?;
                    self.mappings.last_mut()?.page_size = size.checked_mul(1024)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn parse_flags(text: &[u8]) -> Option<VmFlags> {
    let mut parsed = VmFlags::default();
    for word in text.split(|&b| b == b' ') {
        if let Ok(flag) = word.try_into() {
            *parsed.flags.get_mut(parsed.count)? = flag;
            parsed.count += 1;
        }
    }
    Some(parsed)
}

/// `start-end perms offset major:minor inode   name`.
fn parse_header(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
        (!word.is_empty()).then_some(word)
    };
    let (range, perms, offset, dev, ino) = (word()?, word()?, word()?, word()?, word()?);
    let dash = range.iter().position(|&b| b == b'-')?;
    let colon = dev.iter().position(|&b| b == b':')?;
    let [r, w, x, share] = perms.try_into().ok()?;
    let bit = |letter: u8, bit: i32| if letter == b'-' { 0 } else { bit as u32 };
    Some(Mapping {
        start: parse_hex(&range[..dash])?,
        end: parse_hex(&range[dash + 1..])?,
        prot: bit(r, libc::PROT_READ) | bit(w, libc::PROT_WRITE) | bit(x, libc::PROT_EXEC),
        shared: share == b's',
        pgoff: parse_hex(offset)?,
        dev: (
            u32::try_from(parse_hex(&dev[..colon])?).ok()?,
            u32::try_from(parse_hex(&dev[colon + 1..])?).ok()?,
        ),
        ino: parse(ino)?,
        name: rest.trim_ascii_start().to_vec(),
        flags: VmFlags::default(),
        page_size: 0,
        pkey: 0,
        touched: false,
        has_shared_pages: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_smaps(text: &[u8]) -> std::result::Result<Vec<Mapping>, usize> {
        let mut parser = Parser::default();
        parser.text(text)?;
        Ok(parser.mappings)
    }

    const TEXT: &[u8] = b"00400000-00401000 r-xp 00001000 fe:00 42                         /bin/a b\n\
        Size:                  4 kB\nKernelPageSize:        4 kB\nRss:                   4 kB\nShared_Clean:          4 kB\n\
        VmFlags: rd ex mr mw me sd \n\
        7ffc0000-7ffc2000 rw-s 00000000 00:00 0 \nKernelPageSize:     2048 kB\nShared_Dirty:   0 kB\nProtectionKey:         3\n\
        VmFlags: rd wr gd ht\n";

    #[test]
    fn parses_headers_and_flags() {
        let mappings = parse_smaps(TEXT).unwrap();
        assert_eq!(mappings.len(), 2);
        assert_eq!(
            (mappings[0].start, mappings[0].end, mappings[0].pgoff),
            (0x40_0000, 0x40_1000, 0x1000)
        );
        assert_eq!((mappings[0].dev, mappings[0].ino), ((0xfe, 0), 42));
        assert_eq!(mappings[0].name, b"/bin/a b");
        assert_eq!(mappings[0].prot, (libc::PROT_READ | libc::PROT_EXEC) as u32);
        assert!(mappings[0].flags.has("ex") && !mappings[0].flags.has("gd"));
        assert!(mappings[1].shared && mappings[1].flags.has("gd"));
        assert_eq!((mappings[0].pkey, mappings[1].pkey), (0, 3));
        assert_eq!(mappings[1].page_size, 2 << 20);
        assert!(mappings[1].name.is_empty());
        assert!(mappings[0].has_shared_pages && !mappings[1].has_shared_pages);
        assert!(mappings[0].touched && !mappings[1].touched);
    }

    #[test]
    fn rejects_ranges_that_overlap_or_are_empty() {
        assert_eq!(
            parse_smaps(b"2000-3000 r--p 0 00:00 0\n1000-2000 r--p 0 00:00 0\n"),
            Err(2)
        );
        assert_eq!(parse_smaps(b"2000-2000 r--p 0 00:00 0\n"), Err(1));
        assert_eq!(parse_smaps(b"VmFlags: rd\n"), Err(1));
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        use nix::sys::signal::{Signal, kill};
        use nix::sys::wait::{WaitPidFlag, waitpid};
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        // Of a process that runs the text may contradict itself.
        kill(pid, Signal::SIGSTOP).unwrap();
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        let mappings = read_mappings(pid.as_raw(), &mut Vec::new());
        child.kill().unwrap();
        child.wait().unwrap();
        let is_vdso = |m: &Mapping| m.name == b"[vdso]" && m.page_size == 4096;
        assert!(mappings.unwrap().iter().any(is_vdso));
    }
}
