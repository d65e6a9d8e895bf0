//! What the kernel tells of a ring in `/proc/PID/fdinfo/FD`.

use std::str::FromStr;

/// `IORING_MAX_ENTRIES` and `IORING_MAX_CQ_ENTRIES`.
const MAX_SQ: u32 = 1 << 15;
const MAX_CQ: u32 = 1 << 16;

/// The description of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FdInfo {
    /// Places of the two queues: powers of two.
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    /// The positions as they stand in the ring's memory.
    pub(crate) sq_head: u32,
    pub(crate) sq_tail: u32,
    pub(crate) cq_head: u32,
    pub(crate) cq_tail: u32,
    /// The kernel's own.
    pub(crate) cached_sq_head: u32,
    pub(crate) cached_cq_tail: u32,
    /// The requests from head to tail, and the completions.
    pub(crate) requests: Vec<Line>,
    pub(crate) completions: Vec<Line>,
    /// The thread that looks for requests.
    pub(crate) sq_thread: Option<i32>,
    /// Length of the table of registered files, and what is in it: the number and the name.
    pub(crate) file_slots: u32,
    pub(crate) files: Vec<(u32, Vec<u8>)>,
    /// Registered buffers, address and length; `None` is an empty place.
    pub(crate) buffers: Vec<Option<(u64, u64)>>,
    /// Requests that wait for a file to be ready.
    pub(crate) polls: usize,
    /// Completions that the ring has no room for.
    pub(crate) overflow: usize,
    /// Whether it has personalities, and polls the network. Some kernels tell nothing of the former.
    pub(crate) personalities: bool,
    pub(crate) napi: bool,
}

/// A request or completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its place.
    pub(crate) place: u32,
    /// Whether it is of the longer kind.
    pub(crate) long: bool,
}

/// A list that lines with a blank at the beginning belong to.
#[derive(Clone, Copy)]
enum List {
    None,
    Requests,
    Completions,
    Files,
    Buffers,
    Polls,
    Overflow,
    Personalities,
}

impl FdInfo {
    /// Reads the text.
    ///
    /// # Errors
    /// What of it is missing or makes no sense.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut info = Self::default();
        let mut list = List::None;
        let mut seen = 0_u32;
        for line in text.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            if line.starts_with(b" ") {
                info.item(list, line.trim_ascii())?;
                continue;
            }
            let (name, value) =
                halves(line, b':').ok_or_else(|| format!("`{}` has no colon", shown(line)))?;
            let value = value.trim_ascii();
            let number = || number::<u32>(name, value);
            list = List::None;
            let place = match name {
                b"SqMask" => {
                    info.sq_entries = entries(name, value, MAX_SQ)?;
                    0
                }
                b"CqMask" => {
                    info.cq_entries = entries(name, value, MAX_CQ)?;
                    1
                }
                b"SqHead" => set(&mut info.sq_head, number()?, 2),
                b"SqTail" => set(&mut info.sq_tail, number()?, 3),
                b"CachedSqHead" => set(&mut info.cached_sq_head, number()?, 4),
                b"CqHead" => set(&mut info.cq_head, number()?, 5),
                b"CqTail" => set(&mut info.cq_tail, number()?, 6),
                b"CachedCqTail" => set(&mut info.cached_cq_tail, number()?, 7),
                b"UserFiles" => {
                    list = List::Files;
                    set(&mut info.file_slots, number()?, 8)
                }
                b"UserBufs" => {
                    list = List::Buffers;
                    number()?;
                    9
                }
                b"PollList" => {
                    list = List::Polls;
                    10
                }
                b"CqOverflowList" => {
                    list = List::Overflow;
                    11
                }
                b"SqThread" => {
                    let thread: i32 = self::number(name, value)?;
                    info.sq_thread = (thread > 0).then_some(thread);
                    12
                }
                _ => {
                    match name {
                        b"SQEs" => list = List::Requests,
                        b"CQEs" => list = List::Completions,
                        b"Personalities" => list = List::Personalities,
                        b"NAPI" => info.napi = value != b"disabled",
                        _ => {}
                    }
                    continue;
                }
            };
            if seen & 1 << place != 0 {
                return Err(format!("`{}` is there twice", shown(name)));
            }
            seen |= 1 << place;
        }
        if seen != (1 << 13) - 1 {
            return Err("this kernel tells too little of a ring".to_owned());
        }
        if info.files.iter().any(|(slot, _)| *slot >= info.file_slots) {
            return Err("a registered file lies outside of its table".to_owned());
        }
        Ok(info)
    }

    fn item(&mut self, list: List, line: &[u8]) -> Result<(), String> {
        match list {
            List::Requests => self.requests.push(described(line, b", e0:")?),
            List::Completions => self.completions.push(described(line, b", extra1:")?),
            List::Files => {
                let (slot, name) = numbered(line)?;
                if name != b"<none>" {
                    self.files.push((slot, unescaped(name)));
                }
            }
            List::Buffers => {
                let (slot, buffer) = numbered(line)?;
                if slot as usize != self.buffers.len() {
                    return Err(format!("buffer {slot} is out of order"));
                }
                self.buffers.push(buffer_of(buffer)?);
            }
            List::Polls => self.polls += 1,
            List::Overflow => self.overflow += 1,
            List::Personalities => self.personalities = true,
            List::None => {}
        }
        Ok(())
    }

    /// Requests that the kernel has not taken yet.
    pub(crate) fn unsubmitted(&self) -> u32 {
        self.sq_tail.wrapping_sub(self.cached_sq_head)
    }

    /// Completions that the program has not taken yet.
    pub(crate) fn unconsumed(&self) -> u32 {
        self.cached_cq_tail.wrapping_sub(self.cq_head)
    }
}

fn set(field: &mut u32, value: u32, place: u32) -> u32 {
    *field = value;
    place
}

/// The parts before and behind the first of such a byte.
fn halves(line: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = line.iter().position(|byte| *byte == at)?;
    Some((&line[..place], &line[place + 1..]))
}

fn number<N: FromStr>(name: &[u8], value: &[u8]) -> Result<N, String> {
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("{} is `{}`", shown(name), shown(value)))
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?.strip_prefix("0x")?;
    // from_str_radix would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// The number of places that a mask belongs to.
fn entries(name: &[u8], value: &[u8], most: u32) -> Result<u32, String> {
    hexadecimal(value)
        .and_then(|mask| u32::try_from(mask).ok()?.checked_add(1))
        .filter(|entries| entries.is_power_of_two() && *entries <= most)
        .ok_or_else(|| format!("{} is `{}`", shown(name), shown(value)))
}

/// `NUMBER: REST`
fn numbered(line: &[u8]) -> Result<(u32, &[u8]), String> {
    let (place, rest) = halves(line, b':').ok_or_else(|| format!("`{}` has no colon", shown(line)))?;
    Ok((number(b"a place", place.trim_ascii())?, rest.trim_ascii()))
}

fn described(line: &[u8], long: &[u8]) -> Result<Line, String> {
    let (place, rest) = numbered(line)?;
    Ok(Line {
        place,
        long: rest.windows(long.len()).any(|part| part == long),
    })
}

/// `ADDRESS/LENGTH`
fn buffer_of(text: &[u8]) -> Result<Option<(u64, u64)>, String> {
    if text == b"<none>" {
        return Ok(None);
    }
    let parsed = halves(text, b'/').and_then(|(at, length)| {
        let length: u64 = std::str::from_utf8(length).ok()?.parse().ok()?;
        let at = hexadecimal(at)?;
        at.checked_add(length).map(|_| (at, length))
    });
    parsed
        .map(Some)
        .ok_or_else(|| format!("a buffer is `{}`", shown(text)))
}

/// A name without the `\OOO` that stand for bytes which would disturb the lines.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            digits.iter().try_fold(0_u32, |value, digit| {
                (b'0'..=b'7')
                    .contains(digit)
                    .then(|| value * 8 + u32::from(digit - b'0'))
            })
        };
        let escaped = (first == b'\\')
            .then(|| behind.get(..3).and_then(octal))
            .flatten();
        match escaped.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &behind[3..];
            }
            None => {
                plain.push(first);
                rest = behind;
            }
        }
    }
    plain
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t5\nSqMask:\t0x3\nSqHead:\t15\nSqTail:\t16\n\
        CachedSqHead:\t15\nCqMask:\t0x7\nCqHead:\t4294967295\nCqTail:\t1\nCachedCqTail:\t1\nSQEs:\t1\n    \
        3: opcode:NOP, fd:0, flags:0, off:0, addr:0x0, rw_flags:0x0, buf_index:0 user_data:102, e0:0x0, e1:0x0\n\
        CQEs:\t2\n    7: user_data:9, res:-107, flag:0\n    0: user_data:53, res:0, flag:0, extra1:1, extra2:0\n\n\
        SqThread:\t-1\nSqThreadCpu:\t-1\nSqTotalTime:\t0\nSqWorkTime:\t0\nUserFiles:\t9\n    \
        0: pipe:[23843895]\n    3: /tmp/with\\040space\\012nl\\134\\040(deleted)\n    4: <none>\n\
        UserBufs:\t3\n    0: 0x55d6ab10a0c5/7000\n    1: <none>\n    2: 0x10/99999\nPollList:\n  op=6, task_works=0\n\
        CqOverflowList:\n  user_data=52, res=0, flags=0\n  user_data=53, res=0, flags=0\nNAPI:\tdisabled\n";

    #[test]
    fn a_ring_is_described() {
        let info = FdInfo::parse(TEXT.as_bytes()).unwrap();
        let expected = FdInfo {
            sq_entries: 4,
            cq_entries: 8,
            sq_head: 15,
            sq_tail: 16,
            cq_head: u32::MAX,
            cq_tail: 1,
            cached_sq_head: 15,
            cached_cq_tail: 1,
            requests: vec![Line { place: 3, long: true }],
            completions: vec![
                Line {
                    place: 7,
                    long: false,
                },
                Line { place: 0, long: true },
            ],
            sq_thread: None,
            file_slots: 9,
            files: vec![
                (0, b"pipe:[23843895]".to_vec()),
                (3, b"/tmp/with space\nnl\\ (deleted)".to_vec()),
            ],
            buffers: vec![Some((0x55d6_ab10_a0c5, 7000)), None, Some((16, 99999))],
            polls: 1,
            overflow: 2,
            personalities: false,
            napi: false,
        };
        assert_eq!(info, expected);
        assert_eq!((info.unsubmitted(), info.unconsumed()), (1, 2));
        let other = TEXT
            .replace("SqThread:\t-1", "SqThread:\t77")
            .replace("disabled", "enabled");
        let other = FdInfo::parse(format!("{other}Personalities:\n  1\n").as_bytes()).unwrap();
        assert_eq!(
            (other.sq_thread, other.napi, other.personalities),
            (Some(77), true, true)
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for (from, to) in [
            ("SqMask:\t0x3", "SqMask:\t0x4"),
            ("SqMask:\t0x3", "SqMask:\t3"),
            ("SqMask:\t0x3", "SqMask:\t0xffffffff"),
            ("SqMask:\t0x3", "SqMask:\t0x+3"),
            ("CqMask:\t0x7", "CqMask:\t0x1ffff"),
            ("SqHead:\t15", "SqHead:\t-15"),
            ("SqTail:\t16", "SqTail:\t4294967296"),
            ("CqTail:\t1\n", ""),
            ("PollList:\n", "PollList:\nPollList:\n"),
            ("UserFiles:\t9", "UserFiles:\t3"),
            ("UserFiles:\t9", "UserFiles:\tnine"),
            ("    1: <none>", "    2: <none>"),
            ("0x10/99999", "0x10-99999"),
            ("0x10/99999", "0xffffffffffffffff/99999"),
            ("SqThread:\t-1", "SqThread:\t"),
            ("flags:\t02000002", "flags"),
        ] {
            let changed = TEXT.replacen(from, to, 1);
            assert_ne!(changed, TEXT, "{from}");
            assert!(FdInfo::parse(changed.as_bytes()).is_err(), "{from} -> {to}");
        }
        assert!(FdInfo::parse(b"").is_err());
    }

    /// Whatever the text, the parser answers, and what it answers keeps its promises.
    #[test]
    fn any_text_is_answered() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let pieces: [&[u8]; 8] = [
            b":",
            b"\n",
            b"\n ",
            b"0x",
            b"\\04",
            b"4294967295",
            b"\xff",
            b"<none>",
        ];
        for _ in 0..20_000 {
            let mut text = TEXT.as_bytes().to_vec();
            for _ in 0..=random(4) {
                let at = random(text.len());
                match random(4) {
                    0 => text[at] = random(256) as u8,
                    1 => text.truncate(at.max(1)),
                    2 => {
                        let end = (at + random(40)).min(text.len());
                        text.drain(at..end.min(text.len() - 1).max(at));
                    }
                    _ => {
                        text.splice(at..at, pieces[random(pieces.len())].iter().copied());
                    }
                }
            }
            let Ok(info) = FdInfo::parse(&text) else { continue };
            assert!(info.sq_entries.is_power_of_two() && info.sq_entries <= MAX_SQ);
            assert!(info.cq_entries.is_power_of_two() && info.cq_entries <= MAX_CQ);
            assert!(info.files.iter().all(|(slot, _)| *slot < info.file_slots));
            assert!(
                info.buffers
                    .iter()
                    .flatten()
                    .all(|(at, length)| at.checked_add(*length).is_some())
            );
        }
    }
}
