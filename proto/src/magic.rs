//! The kinds of image files: their names, their magics, what stands before their entries.

use std::fmt;

/// First word of an image file (all but the inventory, the service files and raw ones).
pub const IMG_COMMON_MAGIC: u32 = 0x5456_4319;
/// First word of a service file (`stats-*`, `irmap-cache`).
pub const IMG_SERVICE_MAGIC: u32 = 0x5510_5940;

/// What stands before the entries of an image. All words are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The file's own magic alone.
    Inventory,
    /// [`IMG_COMMON_MAGIC`], then the file's own magic.
    Image,
    /// [`IMG_SERVICE_MAGIC`], then the file's own magic.
    Service,
    /// Nothing: the file holds no entries but data of another format.
    Raw,
}

/// How the variable part of a file name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// The name has no variable part.
    None,
    /// A number in decimal.
    Decimal,
    /// A number in lower-case hexadecimal, no prefix.
    Hexadecimal,
    /// A word (`dump` and `restore` of `stats-*`).
    Word,
}

/// A kind of image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageKind {
    /// The kind's name, for example `PAGEMAP`.
    pub name: &'static str,
    /// The file name up to its variable part.
    pub prefix: &'static str,
    /// The variable part of the file name.
    pub id: IdFormat,
    /// The file name after its variable part.
    pub suffix: &'static str,
    /// The kind's own magic; 0 for raw kinds.
    pub magic: u32,
    /// What stands before the entries.
    pub header: Header,
}

/// The variable part of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id<'a> {
    /// The name has none.
    None,
    /// A number, already decoded from decimal or hexadecimal.
    Number(u64),
    /// A word.
    Word(&'a str),
}

impl ImageKind {
    /// The name of the file of this kind with the given number; the number is left out when the kind's
    /// name has no variable part.
    #[must_use]
    pub fn file_name(&self, id: u64) -> String {
        match self.id {
            IdFormat::None => self.prefix.to_owned(),
            IdFormat::Hexadecimal => format!("{}{id:x}{}", self.prefix, self.suffix),
            IdFormat::Decimal | IdFormat::Word => format!("{}{id}{}", self.prefix, self.suffix),
        }
    }

    /// The name of the file of this kind with the given word (`STATS` with `dump`: `stats-dump`).
    #[must_use]
    pub fn file_name_word(&self, word: &str) -> String {
        match self.id {
            IdFormat::None => self.prefix.to_owned(),
            _ => format!("{}{word}{}", self.prefix, self.suffix),
        }
    }

    /// The variable part of `file_name` when it is one of this kind's names. Numbers must be written
    /// as [`ImageKind::file_name`] writes them (no sign, no leading zero).
    #[must_use]
    pub fn parse<'a>(&self, file_name: &'a str) -> Option<Id<'a>> {
        if self.id == IdFormat::None {
            return (file_name == self.prefix).then_some(Id::None);
        }
        let part = file_name.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        let number = match self.id {
            IdFormat::Hexadecimal => u64::from_str_radix(part, 16).ok()?,
            IdFormat::Decimal => part.parse().ok()?,
            _ => {
                let word = !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
                return word.then_some(Id::Word(part));
            }
        };
        (self.file_name(number) == file_name).then_some(Id::Number(number))
    }

    /// Whether the file is one of the two service kinds.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.header == Header::Service
    }
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The kind of the file with this name, and the variable part of the name.
#[must_use]
pub fn kind_of(file_name: &str) -> Option<(&'static ImageKind, Id<'_>)> {
    KINDS
        .iter()
        .find_map(|kind| kind.parse(file_name).map(|id| (*kind, id)))
}

/// The kind of the image with this own magic; none for 0, which all raw kinds share. Magics that
/// several kinds share (the pagemaps, the signal queues) give the first of them.
#[must_use]
pub fn kind_by_magic(magic: u32) -> Option<&'static ImageKind> {
    if magic == 0 {
        return None;
    }
    KINDS.iter().copied().find(|kind| kind.magic == magic)
}

macro_rules! kinds {
    ($($name:ident: $prefix:literal, $id:ident, $suffix:literal, $magic:literal, $header:ident;)*) => {
        $(
            #[doc = concat!("`", $prefix, "…", $suffix, "`")]
            pub static $name: ImageKind = ImageKind {
                name: stringify!($name),
                prefix: $prefix,
                id: IdFormat::$id,
                suffix: $suffix,
                magic: $magic,
                header: Header::$header,
            };
        )*

        /// All kinds.
        pub static KINDS: &[&ImageKind] = &[$(&$name),*];
    };
}

// Not here: the layouts before CRIU 1.0 in which page files carried a magic.
kinds! {
    INVENTORY: "inventory.img", None, "", 0x58313116, Inventory;
    FDINFO: "fdinfo-", Decimal, ".img", 0x56213732, Image;
    PAGEMAP: "pagemap-", Decimal, ".img", 0x56084025, Image;
    SHMEM_PAGEMAP: "pagemap-shmem-", Decimal, ".img", 0x56084025, Image;
    REG_FILES: "reg-files.img", None, "", 0x50363636, Image;
    EXT_FILES: "ext-files.img", None, "", 0x59255641, Image;
    NS_FILES: "ns-files.img", None, "", 0x61394011, Image;
    EVENTFD_FILE: "eventfd.img", None, "", 0x44523722, Image;
    EVENTPOLL_FILE: "eventpoll.img", None, "", 0x45023858, Image;
    EVENTPOLL_TFD: "eventpoll-tfd.img", None, "", 0x44433746, Image;
    SIGNALFD: "signalfd.img", None, "", 0x57323820, Image;
    INOTIFY_FILE: "inotify.img", None, "", 0x48424431, Image;
    INOTIFY_WD: "inotify-wd.img", None, "", 0x54562009, Image;
    FANOTIFY_FILE: "fanotify.img", None, "", 0x55096122, Image;
    FANOTIFY_MARK: "fanotify-mark.img", None, "", 0x56506035, Image;
    CORE: "core-", Decimal, ".img", 0x55053847, Image;
    IDS: "ids-", Decimal, ".img", 0x54432030, Image;
    MM: "mm-", Decimal, ".img", 0x57492820, Image;
    VMAS: "vmas-", Decimal, ".img", 0x54123737, Image;
    PIPES: "pipes.img", None, "", 0x56513555, Image;
    PIPES_DATA: "pipes-data.img", None, "", 0x56453709, Image;
    FIFO: "fifo.img", None, "", 0x58364939, Image;
    FIFO_DATA: "fifo-data.img", None, "", 0x59333054, Image;
    PSTREE: "pstree.img", None, "", 0x50273030, Image;
    SIGACT: "sigacts-", Decimal, ".img", 0x55344201, Image;
    UNIXSK: "unixsk.img", None, "", 0x54373943, Image;
    INETSK: "inetsk.img", None, "", 0x56443851, Image;
    PACKETSK: "packetsk.img", None, "", 0x60454618, Image;
    NETLINK_SK: "netlinksk.img", None, "", 0x58005614, Image;
    SK_QUEUES: "sk-queues.img", None, "", 0x56264026, Image;
    ITIMERS: "itimers-", Decimal, ".img", 0x57464056, Image;
    POSIX_TIMERS: "posix-timers-", Decimal, ".img", 0x52603957, Image;
    CREDS: "creds-", Decimal, ".img", 0x54023547, Image;
    UTSNS: "utsns-", Decimal, ".img", 0x54473203, Image;
    IPC_VAR: "ipcns-var-", Decimal, ".img", 0x53115007, Image;
    IPCNS_SHM: "ipcns-shm-", Decimal, ".img", 0x46283044, Image;
    IPCNS_MSG: "ipcns-msg-", Decimal, ".img", 0x55453737, Image;
    IPCNS_SEM: "ipcns-sem-", Decimal, ".img", 0x59573019, Image;
    FS: "fs-", Decimal, ".img", 0x51403912, Image;
    REMAP_FPATH: "remap-fpath.img", None, "", 0x59133954, Image;
    GHOST_FILE: "ghost-file-", Hexadecimal, ".img", 0x52583605, Image;
    MEMFD_INODE: "memfd.img", None, "", 0x48453499, Image;
    TCP_STREAM: "tcp-stream-", Hexadecimal, ".img", 0x51465506, Image;
    MNTS: "mountpoints-", Decimal, ".img", 0x55563928, Image;
    NETDEV: "netdev-", Decimal, ".img", 0x57373951, Image;
    NETNS: "netns-", Decimal, ".img", 0x55933752, Image;
    IFADDR: "ifaddr-", Decimal, ".img", 0x00000000, Raw;
    ROUTE: "route-", Decimal, ".img", 0x00000000, Raw;
    ROUTE6: "route6-", Decimal, ".img", 0x00000000, Raw;
    RULE: "rule-", Decimal, ".img", 0x00000000, Raw;
    IPTABLES: "iptables-", Decimal, ".img", 0x00000000, Raw;
    IP6TABLES: "ip6tables-", Decimal, ".img", 0x00000000, Raw;
    NFTABLES: "nftables-", Decimal, ".img", 0x00000000, Raw;
    TMPFS_IMG: "tmpfs-", Decimal, ".tar.gz.img", 0x00000000, Raw;
    TMPFS_DEV: "tmpfs-dev-", Decimal, ".tar.gz.img", 0x00000000, Raw;
    AUTOFS: "autofs-", Decimal, ".img", 0x49353943, Image;
    BINFMT_MISC_OLD: "binfmt-misc-", Decimal, ".img", 0x67343323, Image;
    BINFMT_MISC: "binfmt-misc.img", None, "", 0x67343323, Image;
    TTY_FILES: "tty.img", None, "", 0x59433025, Image;
    TTY_INFO: "tty-info.img", None, "", 0x59453036, Image;
    TTY_DATA: "tty-data.img", None, "", 0x59413026, Image;
    FILE_LOCKS: "filelocks.img", None, "", 0x54323616, Image;
    RLIMIT: "rlimit-", Decimal, ".img", 0x57113925, Image;
    PAGES: "pages-", Decimal, ".img", 0x00000000, Raw;
    SIGNAL: "signal-s-", Decimal, ".img", 0x59255647, Image;
    PSIGNAL: "signal-p-", Decimal, ".img", 0x59255647, Image;
    TUNFILE: "tunfile.img", None, "", 0x57143751, Image;
    CGROUP: "cgroup.img", None, "", 0x59383330, Image;
    TIMERFD: "timerfd.img", None, "", 0x50493712, Image;
    CPUINFO: "cpuinfo.img", None, "", 0x61404013, Image;
    SECCOMP: "seccomp.img", None, "", 0x64413049, Image;
    USERNS: "userns-", Decimal, ".img", 0x55474906, Image;
    NETNF_CT: "netns-ct-", Decimal, ".img", 0x00000000, Raw;
    NETNF_EXP: "netns-exp-", Decimal, ".img", 0x00000000, Raw;
    FILES: "files.img", None, "", 0x56303138, Image;
    TIMENS: "timens-", Decimal, ".img", 0x43114433, Image;
    PIDNS: "pidns-", Decimal, ".img", 0x61157326, Image;
    BPFMAP_FILE: "bpfmap-file.img", None, "", 0x57506142, Image;
    BPFMAP_DATA: "bpfmap-data.img", None, "", 0x64324033, Image;
    APPARMOR: "apparmor.img", None, "", 0x59423047, Image;
    PIDFD: "pidfd.img", None, "", 0x54435556, Image;
    STATS: "stats-", Word, "", 0x57093306, Service;
    IRMAP_CACHE: "irmap-cache", None, "", 0x57004059, Service;
}

/// The older layout of open files: an image for each type, instead of all in [`FILES`]. The image, the type's number
/// in `fd_types`, and the number of its field in `file_entry`.
pub const FILES_BY_TYPE: [(&ImageKind, u32, u32); 16] = [
    (&REG_FILES, 1, 3),
    (&INETSK, 4, 4),
    (&NS_FILES, 14, 5),
    (&PACKETSK, 10, 6),
    (&NETLINK_SK, 13, 7),
    (&EVENTFD_FILE, 6, 8),
    (&EVENTPOLL_FILE, 7, 9),
    (&SIGNALFD, 9, 10),
    (&TUNFILE, 15, 11),
    (&TIMERFD, 17, 12),
    (&INOTIFY_FILE, 8, 13),
    (&FANOTIFY_FILE, 12, 14),
    (&EXT_FILES, 16, 15),
    (&UNIXSK, 5, 16),
    (&FIFO, 3, 17),
    (&PIPES, 2, 18),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_files_are_those_of_the_schema() {
        use crate::images::{FdTypes, FileEntry};
        use crate::schema::{Described, FieldKind};
        for (kind, number, field) in FILES_BY_TYPE {
            let number = i32::try_from(number).unwrap();
            assert!(FdTypes::try_from(number).is_ok(), "{kind}");
            let field = FileEntry::schema().field(field).unwrap();
            assert!(matches!(field.kind, FieldKind::Message(_)), "{kind}");
        }
    }

    #[test]
    fn names_are_written_and_found_again() {
        for kind in KINDS {
            if kind.id == IdFormat::Word {
                let name = kind.file_name_word("dump");
                assert_eq!(kind_of(&name), Some((*kind, Id::Word("dump"))));
                continue;
            }
            let name = kind.file_name(0x2a);
            let id = if kind.id == IdFormat::None {
                Id::None
            } else {
                Id::Number(0x2a)
            };
            assert_eq!(kind_of(&name), Some((*kind, id)), "{name}");
        }
    }

    #[test]
    fn foreign_names_are_not_taken() {
        for name in [
            "",
            "core-.img",
            "core-01.img",
            "core-+1.img",
            "core-1.img.tmp",
            "stats-",
            "stats-a/b",
            "x",
        ] {
            assert_eq!(kind_of(name), None, "{name}");
        }
        assert_eq!(GHOST_FILE.file_name(31), "ghost-file-1f.img");
        assert_eq!(PAGEMAP.file_name(7), "pagemap-7.img");
        assert_eq!(SHMEM_PAGEMAP.file_name(7), "pagemap-shmem-7.img");
        assert_eq!(kind_of("ghost-file-1F.img"), None);
    }

    #[test]
    fn magics() {
        assert_eq!(kind_by_magic(0), None);
        assert_eq!(kind_by_magic(CORE.magic), Some(&CORE));
        assert!(
            KINDS
                .iter()
                .all(|kind| (kind.magic == 0) == (kind.header == Header::Raw))
        );
    }
}
