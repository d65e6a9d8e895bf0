//! What a kind serves, as data.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a kind serves, written as a text `SCHEME:WORDS`.
///
/// | text | serves |
/// |---|---|
/// | `anon:[NAME]` | files whose link is `anon_inode:[NAME]`; short for `link:anon_inode:[NAME]` |
/// | `link:TEXT`, `link:PREFIX*` | files with this link (readlink(2) of `/proc/PID/fd/N`) |
/// | `chr:MAJOR:MINOR`, `blk:MAJOR:MINOR` | device nodes; each part a number, a range `A-B`, or `*` |
/// | `socket:FAMILY:TYPE:PROTOCOL` | sockets; each part a number or `*` |
/// | `file:TYPE`, `file:TYPE@MAGIC` | files of a type: reg, dir, lnk, fifo, sock, chr, blk; MAGIC is `f_type` of statfs(2) in hexadecimal |
/// | `path:TEXT`, `path:PREFIX*`, `path:*` | paths that a task holds on to: its executable, its directories, the name under which another kind's file was opened |
/// | `map:TEXT`, `map:PREFIX*` | mappings by their name in `/proc/PID/maps` |
/// | `vma-status:BIT` | on restore, mappings whose `vma_entry.status` has this bit |
/// | `vma-flag:XX` | on dump, mappings with this flag in `VmFlags` of smaps, whatever else they are |
/// | `image:N` | on restore, files of this number of `fd_types` |
/// | `image:16:FILE` | on restore, files of the type EXT that are described in this image of the plugin |
/// | `task:*` | every task |
/// | `feature:NAME` | a feature that `criu check --feature NAME` asks for |
/// | `stage:NAME,...` | these stages, in kebab case: `before-freeze`, `frozen`, ... |
///
/// A `*` stands for "anything from here on" and is the last character of a text; there is no other
/// wildcard. Of several claims that fit one object the most specific is asked first: an exact link, then
/// a link's prefix (the longer first), then a file type with a magic, a device (the narrower range of
/// minors, then of majors, first), a socket (the more parts given, then family, type, protocol), a file
/// type. When a kind answers [`Verdict::NotMine`](crate::Verdict), the next is asked. Two claims of
/// different plugins that are equally specific and can fit one object are refused at the start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// `link:TEXT`
    Link(String),
    /// `link:PREFIX*`
    LinkPrefix(String),
    /// `chr:...`
    Char(DevicePart),
    /// `blk:...`
    Block(DevicePart),
    /// `socket:...`, family, type and protocol.
    Socket([Option<u32>; 3]),
    /// `file:TYPE@MAGIC`; the type as in `S_IFMT`.
    File(u32, Option<u64>),
    /// `path:TEXT`
    Path(String),
    /// `path:PREFIX*`
    PathPrefix(String),
    /// `map:TEXT`
    Map(String),
    /// `map:PREFIX*`
    MapPrefix(String),
    /// `vma-status:BIT`, 0 to 31.
    VmaStatus(u32),
    /// `vma-flag:XX`, two letters of a-z.
    VmaFlag(String),
    /// `image:N`
    Image(u32),
    /// `image:16:FILE`
    ExtImage(String),
    /// `feature:NAME`
    Feature(String),
    /// `task:*`
    Task,
    /// `stage:NAME`; several names are several claims in one.
    Stages(Vec<crate::Stage>),
}

/// The number of `fd_types` that all third-party kinds share.
pub const EXT: u32 = 16;

/// Device numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevicePart {
    /// The majors.
    pub major: Range,
    /// The minors.
    pub minor: Range,
}

/// Numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl Range {
    /// All numbers.
    pub const ALL: Self = Self {
        first: 0,
        last: u32::MAX,
    };

    /// Whether the number is one of them.
    pub fn contains(self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }

    fn intersects(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Larger for fewer numbers.
    fn narrowness(self) -> u32 {
        u32::MAX - (self.last - self.first)
    }
}

/// How specific a claim is; the greater is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity(u8, u32, u32);

/// What is wrong with a claim.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("claim `{claim}`: {what}")]
pub struct ClaimError {
    /// The claim.
    pub claim: String,
    /// What is wrong with it.
    pub what: &'static str,
}

const SCHEMES: [&str; 13] = [
    "anon:",
    "link:",
    "chr:",
    "blk:",
    "socket:",
    "file:",
    "path:",
    "map:",
    "vma-status:",
    "vma-flag:",
    "image:",
    "feature:",
    "task:",
];

const FILE_TYPES: [(&str, u32); 7] = [
    ("reg", libc::S_IFREG),
    ("dir", libc::S_IFDIR),
    ("lnk", libc::S_IFLNK),
    ("fifo", libc::S_IFIFO),
    ("sock", libc::S_IFSOCK),
    ("chr", libc::S_IFCHR),
    ("blk", libc::S_IFBLK),
];

const STAGES: [(&str, crate::Stage); 11] = [
    ("before-freeze", crate::Stage::BeforeFreeze),
    ("frozen", crate::Stage::Frozen),
    ("dumped", crate::Stage::Dumped),
    ("before-thaw", crate::Stage::BeforeThaw),
    ("before-restore", crate::Stage::BeforeRestore),
    ("before-resume", crate::Stage::BeforeResume),
    ("resumed", crate::Stage::Resumed),
    ("restore-failed", crate::Stage::RestoreFailed),
    ("interrupted", crate::Stage::Interrupted),
    ("cured", crate::Stage::Cured),
    ("complete", crate::Stage::Complete),
];

/// Whether the text begins as a claim does; for the check at compile time.
pub(crate) const fn has_scheme(text: &str) -> bool {
    let mut at = 0;
    while at < SCHEMES.len() {
        if begins(text.as_bytes(), SCHEMES[at].as_bytes()) {
            return true;
        }
        at += 1;
    }
    begins(text.as_bytes(), b"stage:")
}

const fn begins(text: &[u8], with: &[u8]) -> bool {
    if text.len() < with.len() {
        return false;
    }
    let mut at = 0;
    while at < with.len() {
        if text[at] != with[at] {
            return false;
        }
        at += 1;
    }
    true
}

impl Claim {
    /// How specific it is.
    pub fn specificity(&self) -> Specificity {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        match self {
            Self::Link(_) => Specificity(9, 0, 0),
            Self::LinkPrefix(prefix) => Specificity(8, length(prefix), 0),
            Self::File(_, Some(_)) => Specificity(7, 0, 0),
            Self::Char(device) | Self::Block(device) => {
                Specificity(6, device.minor.narrowness(), device.major.narrowness())
            }
            Self::Socket(parts) => {
                let given = parts.iter().flatten().count();
                let order = parts
                    .iter()
                    .fold(0, |bits, part| bits << 1 | u32::from(part.is_some()));
                Specificity(5, u32::try_from(given).unwrap_or(0), order)
            }
            Self::File(_, None) => Specificity(4, 0, 0),
            Self::Path(_) | Self::Map(_) => Specificity(3, 0, 0),
            Self::PathPrefix(prefix) | Self::MapPrefix(prefix) => Specificity(2, length(prefix), 0),
            Self::VmaStatus(_) | Self::VmaFlag(_) | Self::Image(_) | Self::ExtImage(_) | Self::Feature(_) => {
                Specificity(1, 0, 0)
            }
            Self::Task | Self::Stages(_) => Specificity(0, 0, 0),
        }
    }

    /// Whether neither of two claims can be preferred for some object that both fit. Tasks and stages
    /// are for everyone.
    pub fn conflicts(&self, other: &Self) -> bool {
        if self.specificity() != other.specificity() {
            return false;
        }
        match (self, other) {
            (Self::Char(a), Self::Char(b)) | (Self::Block(a), Self::Block(b)) => {
                a.major.intersects(b.major) && a.minor.intersects(b.minor)
            }
            (Self::Task | Self::Stages(_), _) => false,
            // Equally specific prefixes are equally long, and equally specific sockets give the same
            // parts: they fit one object only when they are equal.
            _ => self == other,
        }
    }
}

impl FromStr for Claim {
    type Err = ClaimError;

    fn from_str(text: &str) -> Result<Self, ClaimError> {
        parse(text).map_err(|what| ClaimError {
            claim: text.to_owned(),
            what,
        })
    }
}

enum Text {
    Exact(String),
    Prefix(String),
}

fn prefix(rest: &str) -> Result<Text, &'static str> {
    let body = rest.strip_suffix('*').unwrap_or(rest);
    match body {
        _ if rest.is_empty() => Err("it names nothing"),
        _ if body.contains('*') => Err("a `*` may only stand at the end"),
        _ if body.len() < rest.len() => Ok(Text::Prefix(body.to_owned())),
        _ => Ok(Text::Exact(body.to_owned())),
    }
}

fn parse(text: &str) -> Result<Claim, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or("it has no `:`")?;
    Ok(match scheme {
        "anon" => match prefix(rest)? {
            Text::Exact(rest) => Claim::Link(format!("anon_inode:{rest}")),
            Text::Prefix(rest) => Claim::LinkPrefix(format!("anon_inode:{rest}")),
        },
        "link" => match prefix(rest)? {
            Text::Exact(rest) => Claim::Link(rest),
            Text::Prefix(rest) => Claim::LinkPrefix(rest),
        },
        "path" => match prefix(rest)? {
            Text::Exact(rest) => Claim::Path(rest),
            Text::Prefix(rest) => Claim::PathPrefix(rest),
        },
        "map" => match prefix(rest)? {
            Text::Exact(rest) => Claim::Map(rest),
            Text::Prefix(rest) => Claim::MapPrefix(rest),
        },
        "chr" => Claim::Char(device(rest)?),
        "blk" => Claim::Block(device(rest)?),
        "socket" => Claim::Socket(socket(rest)?),
        "file" => file(rest)?,
        "vma-status" => match rest.parse() {
            Ok(bit @ 0..=31) => Claim::VmaStatus(bit),
            _ => return Err("a bit is a number from 0 to 31"),
        },
        "vma-flag" => {
            if rest.len() != 2 || !rest.bytes().all(|byte| byte.is_ascii_lowercase()) {
                return Err("a flag of a mapping is two letters of a-z");
            }
            Claim::VmaFlag(rest.to_owned())
        }
        "image" => image(rest)?,
        "feature" => {
            let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
            if rest.is_empty() || !rest.bytes().all(is_word) {
                return Err("a feature is a word of a-z, 0-9, _ and -");
            }
            Claim::Feature(rest.to_owned())
        }
        "task" if rest == "*" => Claim::Task,
        "stage" => Claim::Stages(stages(rest)?),
        _ => return Err("it begins with a word that is not known"),
    })
}

fn device(rest: &str) -> Result<DevicePart, &'static str> {
    let (major, minor) = rest.split_once(':').ok_or("a device has a major and a minor")?;
    Ok(DevicePart {
        major: range(major)?,
        minor: range(minor)?,
    })
}

fn range(text: &str) -> Result<Range, &'static str> {
    if text == "*" {
        return Ok(Range::ALL);
    }
    let number = |text: &str| text.parse().map_err(|_| "a part is a number, a range A-B or `*`");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = Range {
        first: number(first)?,
        last: number(last)?,
    };
    if range.first > range.last {
        Err("a range goes from the lower to the higher")
    } else {
        Ok(range)
    }
}

fn socket(rest: &str) -> Result<[Option<u32>; 3], &'static str> {
    let mut parts = rest.split(':');
    let mut socket = [None; 3];
    for part in &mut socket {
        *part = match parts.next() {
            Some("*") => None,
            Some(text) => Some(text.parse().map_err(|_| "a part is a number or `*`")?),
            None => return Err("a socket has a family, a type and a protocol"),
        };
    }
    if parts.next().is_some() {
        Err("a socket has three parts")
    } else {
        Ok(socket)
    }
}

fn file(rest: &str) -> Result<Claim, &'static str> {
    let (name, magic) = match rest.split_once('@') {
        Some((name, magic)) => (name, Some(magic)),
        None => (rest, None),
    };
    let kind = FILE_TYPES
        .iter()
        .find(|kind| kind.0 == name)
        .ok_or("this type of file is not known")?;
    let magic = magic
        .map(|magic| u64::from_str_radix(magic.trim_start_matches("0x"), 16))
        .transpose()
        .map_err(|_| "a magic is a hexadecimal number")?;
    Ok(Claim::File(kind.1, magic))
}

fn image(rest: &str) -> Result<Claim, &'static str> {
    match rest.split_once(':') {
        Some((number, file)) if number.parse() == Ok(EXT) => {
            let plain = !file.is_empty() && !file.contains('/') && file != "." && file != "..";
            if plain {
                Ok(Claim::ExtImage(file.to_owned()))
            } else {
                Err("an image is a plain file name")
            }
        }
        Some(_) => Err("only the type 16 (EXT) is shared, by the names of images"),
        None => match rest.parse() {
            Ok(EXT) => Err("the type 16 (EXT) is shared: write image:16:FILE, with an image of your own"),
            Ok(number) => Ok(Claim::Image(number)),
            Err(_) => Err("an image type is a number"),
        },
    }
}

fn stages(rest: &str) -> Result<Vec<crate::Stage>, &'static str> {
    rest.split(',')
        .map(|name| STAGES.iter().find(|stage| stage.0 == name).map(|stage| stage.1))
        .collect::<Option<_>>()
        .ok_or("this stage is not known")
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            &Self::ALL => f.write_str("*"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(text) => match text.strip_prefix("anon_inode:") {
                Some(name) => write!(f, "anon:{name}"),
                None => write!(f, "link:{text}"),
            },
            Self::LinkPrefix(text) => match text.strip_prefix("anon_inode:") {
                Some(name) => write!(f, "anon:{name}*"),
                None => write!(f, "link:{text}*"),
            },
            Self::Char(device) => write!(f, "chr:{}:{}", device.major, device.minor),
            Self::Block(device) => write!(f, "blk:{}:{}", device.major, device.minor),
            Self::Socket(parts) => {
                f.write_str("socket")?;
                for part in parts {
                    match part {
                        Some(number) => write!(f, ":{number}")?,
                        None => f.write_str(":*")?,
                    }
                }
                Ok(())
            }
            Self::File(kind, magic) => {
                let name = FILE_TYPES
                    .iter()
                    .find(|known| known.1 == *kind)
                    .map_or("?", |known| known.0);
                write!(f, "file:{name}")?;
                magic.map_or(Ok(()), |magic| write!(f, "@{magic:x}"))
            }
            Self::Path(text) => write!(f, "path:{text}"),
            Self::PathPrefix(text) => write!(f, "path:{text}*"),
            Self::Map(text) => write!(f, "map:{text}"),
            Self::MapPrefix(text) => write!(f, "map:{text}*"),
            Self::VmaStatus(bit) => write!(f, "vma-status:{bit}"),
            Self::VmaFlag(flag) => write!(f, "vma-flag:{flag}"),
            Self::Image(number) => write!(f, "image:{number}"),
            Self::ExtImage(file) => write!(f, "image:{EXT}:{file}"),
            Self::Feature(name) => write!(f, "feature:{name}"),
            Self::Task => f.write_str("task:*"),
            Self::Stages(stages) => {
                f.write_str("stage:")?;
                for (at, stage) in stages.iter().enumerate() {
                    let name = STAGES
                        .iter()
                        .find(|known| known.1 == *stage)
                        .map_or("?", |known| known.0);
                    write!(f, "{}{name}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(text: &str) -> Claim {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn claims_are_printed_as_they_are_written() {
        for text in [
            "anon:[eventfd]",
            "anon:inotify",
            "link:/memfd:*",
            "link:/[aio] (deleted)",
            "link:*",
            "chr:1:11",
            "chr:136-143:*",
            "blk:*:*",
            "socket:1:*:*",
            "socket:16:3:0",
            "file:reg",
            "file:dir@9fa0",
            "path:*",
            "path:/dev/*",
            "map:[vdso]",
            "map:anon_inode:*",
            "vma-status:13",
            "vma-flag:um",
            "image:6",
            "image:16:kmsg.img",
            "feature:clone3_set_tid",
            "task:*",
            "stage:frozen,before-thaw",
        ] {
            assert_eq!(claim(text).to_string(), text);
            assert!(has_scheme(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_claim_is_refused_with_its_text() {
        for text in [
            "",
            "anon",
            "anon:",
            "link:a*b",
            "chr:1",
            "chr:2-1:*",
            "chr:x:1",
            "socket:1:2",
            "socket:1:2:3:4",
            "file:tree",
            "file:reg@",
            "vma-status:32",
            "vma-flag:u",
            "vma-flag:UM",
            "image:",
            "image:16",
            "image:16:a/b",
            "image:6:x",
            "task:1",
            "stage:",
            "stage:never",
            "feature:",
            "feature:A b",
            "moon:full",
        ] {
            let error = text.parse::<Claim>().unwrap_err();
            assert_eq!(error.claim, text);
        }
    }

    #[test]
    fn the_more_specific_claim_comes_first() {
        let order = [
            "link:/memfd:x",
            "link:/memfd:*",
            "link:/*",
            "file:reg@1021994",
            "chr:1:11",
            "chr:1-2:11",
            "chr:1:8-11",
            "chr:1:*",
            "chr:*:*",
            "socket:2:1:6",
            "socket:2:1:*",
            "socket:2:*:*",
            "socket:*:1:*",
            "socket:*:*:*",
            "file:reg",
        ];
        for pair in order.windows(2) {
            assert!(
                claim(pair[0]).specificity() > claim(pair[1]).specificity(),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn only_claims_that_can_meet_conflict() {
        for (a, b, conflict) in [
            ("anon:[eventfd]", "link:anon_inode:[eventfd]", true),
            ("link:/ab*", "link:/ac*", false),
            ("chr:5:0-3", "chr:5:2-5", true),
            ("chr:5:0-3", "chr:5:4-7", false),
            ("chr:5:0-3", "blk:5:0-3", false),
            ("chr:5:0-3", "chr:5:2", false),
            ("socket:1:1:*", "socket:1:2:*", false),
            ("file:reg", "file:reg", true),
            ("image:16:a", "image:16:b", false),
            ("image:6", "image:6", true),
            ("task:*", "task:*", false),
            ("stage:frozen", "stage:frozen", false),
        ] {
            assert_eq!(claim(a).conflicts(&claim(b)), conflict, "{a} {b}");
            assert_eq!(claim(b).conflicts(&claim(a)), conflict, "{b} {a}");
        }
    }
}
