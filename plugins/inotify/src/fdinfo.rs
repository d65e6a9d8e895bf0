//! Reading the fdinfo of groups, proc_pid_fdinfo(5): one line for each watch or mark, the newest first.

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{FhEntry, FhEntrySizes};

use crate::object;
use crate::sys::MAX_HANDLE;

/// An inode as the kernel names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inode {
    /// The file system, in the kernel's own encoding.
    pub(crate) s_dev: u32,
    /// `i_ino`.
    pub(crate) ino: u64,
    /// Its handle without a path; of no bytes when the file system gives none.
    pub(crate) handle: FhEntry,
}

/// A watch of inotify.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watch {
    pub(crate) wd: u32,
    pub(crate) inode: Inode,
    pub(crate) mask: u32,
    pub(crate) ignored_mask: u32,
}

/// What a mark of fanotify is on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Marked {
    Inode(Inode),
    /// A mount, by its number.
    Mount(u32),
    /// A whole file system, by its device.
    FileSystem(u32),
    /// The mounts of a namespace, by its inode.
    MountNamespace(u32),
}

/// A mark of fanotify.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    pub(crate) on: Marked,
    pub(crate) flags: u32,
    pub(crate) mask: u32,
    pub(crate) ignored_mask: u32,
}

/// A group of fanotify.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Group {
    pub(crate) flags: u32,
    pub(crate) event_flags: u32,
    pub(crate) marks: Vec<Mark>,
}

/// The text of a file to be dumped; of our own descriptor when it has none in its process.
pub(crate) fn text(host: &Host<'_>, file: &FileTarget) -> Result<String> {
    let bytes = if file.fd >= 0 {
        host.fdinfo(file.pid, file.fd)?
    } else {
        let path = format!("/proc/self/fdinfo/{}", file.local_fd);
        std::fs::read(&path).context(|| format!("reading {path}"))?
    };
    String::from_utf8(bytes).map_err(|_| Error::new(format!("{}: its fdinfo is no text", object(file))))
}

/// One line, whose words are `NAME:VALUE`.
struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    fn find(&self, name: &str) -> Option<&'a str> {
        let words = self.0.split_ascii_whitespace();
        words
            .filter_map(|word| word.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    fn number(&self, name: &str, radix: u32) -> Result<u64> {
        self.find(name)
            .and_then(|value| u64::from_str_radix(value, radix).ok())
            .ok_or_else(|| self.unknown(name))
    }

    fn hex(&self, name: &str) -> Result<u32> {
        u32::try_from(self.number(name, 16)?).map_err(|_| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        Error::new(format!(
            "fdinfo has the line \"{}\" without a known {name}",
            self.0
        ))
    }

    fn inode(&self) -> Result<Inode> {
        Ok(Inode {
            s_dev: self.hex("sdev")?,
            ino: self.number("ino", 16)?,
            handle: self.handle()?,
        })
    }

    fn handle(&self) -> Result<FhEntry> {
        if self.find("f_handle").is_none() {
            return Ok(handle_entry(0, &[]));
        }
        let length = self.hex("fhandle-bytes")? as usize;
        let text = self.find("f_handle").unwrap_or_default().as_bytes();
        if length > MAX_HANDLE || text.len() != 2 * length {
            return Err(self.unknown("f_handle"));
        }
        let digit = |c: u8| char::from(c).to_digit(16);
        let bytes: Option<Vec<u8>> = text
            .chunks(2)
            .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
            .collect();
        let bytes = bytes.ok_or_else(|| self.unknown("f_handle"))?;
        Ok(handle_entry(self.hex("fhandle-type")?, &bytes))
    }
}

/// A handle as the images have it: words in the order of the bytes, always as many.
pub(crate) fn handle_entry(kind: u32, bytes: &[u8]) -> FhEntry {
    let mut words = vec![0; FhEntrySizes::MinEntries as usize];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
    FhEntry {
        bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        r#type: kind,
        handle: words,
        ..FhEntry::default()
    }
}

/// The bytes of a handle; `None` when there are fewer than it says, or more than any handle has.
pub(crate) fn handle_bytes(handle: &FhEntry) -> Option<Vec<u8>> {
    let length = usize::try_from(handle.bytes).ok().filter(|n| *n <= MAX_HANDLE)?;
    let mut bytes: Vec<u8> = handle.handle.iter().flat_map(|word| word.to_le_bytes()).collect();
    (bytes.len() >= length).then(|| {
        bytes.truncate(length);
        bytes
    })
}

/// The watches of a group, in the kernel's order.
pub(crate) fn watches(text: &str) -> Result<Vec<Watch>> {
    let lines = text.lines().filter(|line| line.starts_with("inotify "));
    let watch = |line| {
        let line = Line(line);
        Ok(Watch {
            wd: line.hex("wd")?,
            inode: line.inode()?,
            mask: line.hex("mask")?,
            ignored_mask: line.hex("ignored_mask")?,
        })
    };
    lines.map(watch).collect()
}

/// A group with its marks, in the kernel's order.
pub(crate) fn group(text: &str) -> Result<Group> {
    let mut group = None;
    let mut marks = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("fanotify ")) {
        let line = Line(line);
        if line.find("event-flags").is_some() {
            group = Some((line.hex("flags")?, line.hex("event-flags")?));
            continue;
        }
        let on = if line.find("ino").is_some() {
            Marked::Inode(line.inode()?)
        } else if line.find("mnt_id").is_some() {
            Marked::Mount(line.hex("mnt_id")?)
        } else if line.find("mnt_ns").is_some() {
            let number = line.number("mnt_ns", 10)?;
            Marked::MountNamespace(u32::try_from(number).map_err(|_| line.unknown("mnt_ns"))?)
        } else {
            Marked::FileSystem(line.hex("sdev")?)
        };
        marks.push(Mark {
            on,
            flags: line.hex("mflags")?,
            mask: line.hex("mask")?,
            ignored_mask: line.hex("ignored_mask")?,
        });
    }
    let (flags, event_flags) =
        group.ok_or_else(|| Error::new("fdinfo has no line with the flags of a fanotify group"))?;
    Ok(Group {
        flags,
        event_flags,
        marks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INOTIFY: &str = "pos:\t0\nflags:\t00\nmnt_id:\t17\nino:\t1038\n\
        inotify wd:64 ino:98c15b sdev:fe00000 mask:80000002 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 \
        f_handle:5bc198004ef69b9d\n\
        inotify wd:1 ino:2 sdev:1 mask:0 ignored_mask:0 \n";

    #[test]
    fn watches_are_read() {
        let read = watches(INOTIFY).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].wd, read[0].mask), (100, 0x8000_0002));
        assert_eq!((read[0].inode.s_dev, read[0].inode.ino), (254 << 20, 0x98_c15b));
        let handle = &read[0].inode.handle;
        assert_eq!((handle.bytes, handle.r#type, handle.handle.len()), (8, 1, 16));
        assert_eq!(handle.handle[0], 0x9d9b_f64e_0098_c15b);
        assert_eq!(
            handle_bytes(handle).unwrap(),
            [0x5b, 0xc1, 0x98, 0, 0x4e, 0xf6, 0x9b, 0x9d]
        );
        assert_eq!(read[1].inode.handle, handle_entry(0, &[]));
    }

    #[test]
    fn marks_of_all_sorts_are_read() {
        let text = "flags:\t04002\nfanotify flags:36 event-flags:88002\n\
            fanotify ino:13 sdev:fe00000 mflags:440 mask:0 ignored_mask:48000020 fhandle-bytes:c \
            fhandle-type:1 f_handle:130000000000000001020304\n\
            fanotify sdev:1b mflags:0 mask:8 ignored_mask:0\n\
            fanotify mnt_id:1e mflags:0 mask:8 ignored_mask:0\n\
            fanotify mnt_ns:4026531832 mflags:0 mask:3000000 ignored_mask:0\n";
        let read = group(text).unwrap();
        assert_eq!((read.flags, read.event_flags), (0x36, 0x8_8002));
        let on: Vec<&Marked> = read.marks.iter().map(|mark| &mark.on).collect();
        assert_eq!(
            on[1..],
            [
                &Marked::FileSystem(0x1b),
                &Marked::Mount(0x1e),
                &Marked::MountNamespace(4_026_531_832)
            ]
        );
        let Marked::Inode(inode) = on[0] else {
            panic!("{on:?}")
        };
        assert_eq!(inode.handle.handle[..3], [0x13, 0x0403_0201, 0]);
        assert_eq!(
            (read.marks[0].flags, read.marks[0].ignored_mask),
            (0x440, 0x4800_0020)
        );
    }

    #[test]
    fn lines_that_are_not_known_are_errors() {
        let line = "ino:2 sdev:1 mask:0 ignored_mask:0 fhandle-bytes";
        for wrong in [
            "inotify ino:2 sdev:1 mask:0 ignored_mask:0".to_owned(),
            "inotify wd:x ino:2 sdev:1 mask:0 ignored_mask:0".to_owned(),
            format!("inotify wd:1 {line}:8 fhandle-type:1 f_handle:00"),
            format!("inotify wd:1 {line}:1 fhandle-type:1 f_handle:0g"),
            format!(
                "inotify wd:1 {line}:81 fhandle-type:1 f_handle:{}",
                "00".repeat(129)
            ),
        ] {
            assert!(watches(&wrong).is_err(), "{wrong}");
        }
        assert!(group("fanotify sdev:1b mflags:0 mask:8 ignored_mask:0").is_err());
        let short = FhEntry {
            bytes: 9,
            handle: vec![1],
            ..FhEntry::default()
        };
        assert_eq!(handle_bytes(&short), None);
    }
}
