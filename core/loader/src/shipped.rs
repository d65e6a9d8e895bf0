//! What the shipped plugins claim, to name the missing one when a resource finds no kind.
//!
//! This list decides nothing: it is only asked when something is about to be refused.

use criu_plugin_api::{Claim, Point};

use crate::loader::{KindInfo, Origin};
use crate::table::{ClaimTable, FileQuery};

/// Plugin, kind, extension point, claims.
const SHIPPED: &[(&str, &str, Point, &[&str])] = &[
    ("aio", "aio", Point::Mapping, &["map:/[aio]*", "vma-status:13"]),
    (
        "bpf",
        "bpfmap",
        Point::File,
        &["link:anon_inode:bpf-map", "image:19"],
    ),
    ("events", "epoll", Point::File, &["anon:[eventpoll]", "image:7"]),
    ("events", "eventfd", Point::File, &["anon:[eventfd]", "image:6"]),
    ("events", "pidfd", Point::File, &["anon:[pidfd]", "image:20"]),
    ("events", "signalfd", Point::File, &["anon:[signalfd]", "image:9"]),
    ("events", "timerfd", Point::File, &["anon:[timerfd]", "image:17"]),
    (
        "events",
        "userfaultfd",
        Point::File,
        &["anon:[userfaultfd]", "image:16:userfaultfd.img"],
    ),
    (
        "events",
        "userfaultfd-ranges",
        Point::Mapping,
        &["vma-flag:um", "vma-flag:uw", "vma-flag:ui"],
    ),
    (
        "files",
        "namespace",
        Point::File,
        &[
            "link:net:[*",
            "link:uts:[*",
            "link:ipc:[*",
            "link:mnt:[*",
            "link:pid:[*",
            "link:user:[*",
            "link:cgroup:[*",
            "link:time:[*",
            "image:14",
        ],
    ),
    (
        "files",
        "reg",
        Point::File,
        &[
            "file:reg",
            "file:dir",
            "file:lnk",
            "chr:1:1",
            "chr:1:3-5",
            "chr:1:7",
            "chr:1:8-9",
            "chr:10:183",
            "chr:10:234-235",
            "chr:10:237",
            "path:*",
            "image:1",
        ],
    ),
    ("ipc", "mqueue", Point::File, &["file:reg@19800202"]),
    ("ipc", "sysvsem", Point::Task, &["task:*"]),
    ("ipc", "sysvshm", Point::File, &["link:/SYSV*"]),
    ("ipc", "sysvshm", Point::Mapping, &["map:/SYSV*", "vma-status:10"]),
    (
        "inotify",
        "fanotify",
        Point::File,
        &["anon:[fanotify]", "image:12"],
    ),
    (
        "inotify",
        "inotify",
        Point::File,
        &["anon:inotify", "anon:[inotify]", "image:8"],
    ),
    (
        "io_uring",
        "io_uring",
        Point::File,
        &["anon:[io_uring]", "image:16:io-uring.img"],
    ),
    (
        "io_uring",
        "io_uring-mapping",
        Point::Mapping,
        &["map:anon_inode:[io_uring]", "vma-status:20"],
    ),
    (
        "memfd",
        "memfd",
        Point::File,
        &[
            "link:/memfd:*",
            "link:/dev/zero (deleted)",
            "link:/anon_hugepage (deleted)",
            "image:18",
        ],
    ),
    ("pipes", "fifo", Point::File, &["file:fifo", "image:3"]),
    ("pipes", "pipe", Point::File, &["link:pipe:[*", "image:2"]),
    (
        "sockets",
        "inet",
        Point::File,
        &["socket:2:*:*", "socket:10:*:*", "image:4"],
    ),
    ("sockets", "netlink", Point::File, &["socket:16:*:*", "image:13"]),
    ("sockets", "packet", Point::File, &["socket:17:*:*", "image:10"]),
    (
        "sockets",
        "packet-ring",
        Point::Mapping,
        &["map:socket:[*", "vma-status:11"],
    ),
    ("sockets", "unix", Point::File, &["socket:1:*:*", "image:5"]),
    (
        "tty",
        "tty",
        Point::File,
        &[
            "chr:4:*",
            "chr:5:0-2",
            "chr:136-143:*",
            "chr:166:*",
            "chr:188:*",
            "chr:204:*",
            "chr:229:*",
            "image:11",
        ],
    ),
    ("tun", "tun", Point::File, &["chr:10:200", "image:15"]),
];

/// Settings that ask for something, unless they have the value given here, and the plugin that does it.
pub const SETTINGS: &[(&str, Option<&str>, &str)] = &[
    ("manage-cgroups", Some("ignore"), "cgroup"),
    ("freeze-cgroup", None, "cgroup"),
];

/// A shipped kind and the plugin it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// The kind.
    pub kind: &'static str,
    /// The plugin.
    pub plugin: &'static str,
}

/// All that shipped plugins claim.
#[cfg(test)]
pub(crate) fn claims() -> impl Iterator<Item = Claim> {
    let all = SHIPPED.iter().flat_map(|(.., claims)| *claims);
    all.filter_map(|claim| claim.parse().ok())
}

fn first(asked: impl Fn(&ClaimTable) -> Option<crate::loader::KindId>) -> Option<Shipped> {
    let kinds: Vec<KindInfo> = SHIPPED
        .iter()
        .enumerate()
        .map(|(at, (plugin, kind, point, claims))| KindInfo {
            id: crate::loader::KindId::new(at),
            name: (*kind).to_owned(),
            plugin: (*plugin).to_owned(),
            origin: Origin::BuiltIn,
            point: *point,
            claims: claims
                .iter()
                .filter_map(|claim| claim.parse::<Claim>().ok())
                .collect(),
        })
        .collect();
    let id = asked(&ClaimTable::new(&kinds).ok()?)?;
    let (plugin, kind, ..) = SHIPPED[id.index()];
    Some(Shipped { kind, plugin })
}

/// The shipped kind that would serve a file.
pub fn for_file(file: &FileQuery<'_>) -> Option<Shipped> {
    first(|table| table.file_kinds(file).first().copied())
}

/// The shipped kind that would serve a mapping of this name.
pub fn for_mapping(name: &[u8]) -> Option<Shipped> {
    first(|table| table.mapping_kinds(name).first().copied())
}

/// The shipped kind that would restore files of a number of `fd_types`.
pub fn for_image(number: u32) -> Option<Shipped> {
    first(|table| table.by_image(number).first().copied())
}

/// The shipped kind that would see to this flag of mappings.
pub fn for_vma_flag(flag: &str) -> Option<Shipped> {
    first(|table| {
        table
            .vma_flags()
            .find_map(|(name, id)| (name == flag).then_some(id))
    })
}

/// The shipped kind that would restore mappings with this bit in their status.
pub fn for_vma_status(bit: u32) -> Option<Shipped> {
    first(|table| table.by_vma_status(bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::Purpose;

    fn query(link: &[u8], mode: u32) -> Option<Shipped> {
        for_file(&FileQuery {
            link,
            mode,
            rdev: 0,
            socket: &|| Some([1, 1, 0]),
            fs_magic: &|| None,
            purpose: Purpose::Descriptor,
        })
    }

    #[test]
    fn names_the_plugin_of_a_resource() {
        let plugin = |shipped: Option<Shipped>| shipped.map(|s| (s.plugin, s.kind));
        assert_eq!(
            plugin(query(b"anon_inode:[eventfd]", 0o600)),
            Some(("events", "eventfd"))
        );
        assert_eq!(
            plugin(query(b"pipe:[12]", libc::S_IFIFO)),
            Some(("pipes", "pipe"))
        );
        assert_eq!(
            plugin(query(b"socket:[12]", libc::S_IFSOCK)),
            Some(("sockets", "unix"))
        );
        assert_eq!(plugin(query(b"anon_inode:[unheard-of]", 0o600)), None);
        assert_eq!(plugin(for_image(18)), Some(("memfd", "memfd")));
        assert_eq!(plugin(for_vma_status(13)), Some(("aio", "aio")));
        assert_eq!(plugin(for_vma_flag("um")), Some(("events", "userfaultfd-ranges")));
        assert_eq!(plugin(for_mapping(b"/[aio] (deleted)")), Some(("aio", "aio")));
    }

    #[test]
    fn every_claim_of_the_list_parses() {
        for (plugin, _, _, claims) in SHIPPED {
            for claim in *claims {
                assert!(claim.parse::<Claim>().is_ok(), "{plugin}: {claim}");
            }
        }
    }
}
