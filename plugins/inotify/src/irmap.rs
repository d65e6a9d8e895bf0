//! Finding the path of an inode whose handle does not tell it: remembered paths first, then likely
//! places, then the whole of its mount.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criu_plugin_api::{Host, Result};
use criu_proto::framing::ImageReader;
use criu_proto::images::IrmapCacheEntry;
use criu_proto::magic;
use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use crate::fdinfo::{Inode, handle_bytes};
use crate::mounts::Mounts;
use crate::sys;

/// Where programs that watch something mostly do.
const LIKELY: &[&str] = &[
    "/etc",
    "/var/spool",
    "/var/log",
    "/var/lib",
    "/usr/share/dbus-1",
    "/usr/share/polkit-1",
    "/usr/local/share",
    "/lib/udev",
    "/run",
];

/// Most names that are looked at in one dump, and the longest time for it: the tree stands still.
const MAX_NAMES: u32 = 200_000;
const MAX_TIME: Duration = Duration::from_secs(5);

/// Most entries that are taken from an `irmap-cache`.
const MAX_CACHED: usize = 1 << 20;

/// Paths by inode.
pub(crate) struct Irmap {
    known: HashMap<(u32, u64), PathBuf>,
    /// `--irmap-scan-path`, then [`LIKELY`].
    places: Vec<PathBuf>,
    /// By file system, the search that goes on where it has found something.
    walks: HashMap<u32, Walk>,
    limit: Limit,
}

/// What is left of what a dump may spend.
struct Limit {
    names: u32,
    until: Option<Instant>,
}

impl Limit {
    /// One more name, if it is allowed.
    fn take(&mut self) -> bool {
        let until = *self.until.get_or_insert_with(|| Instant::now() + MAX_TIME);
        // The clock is asked now and then.
        if self.names == 0 || self.names.is_multiple_of(256) && Instant::now() > until {
            self.names = 0;
            return false;
        }
        self.names -= 1;
        true
    }
}

impl Irmap {
    /// What earlier dumps have found out, and where to look.
    pub(crate) fn new(host: &Host<'_>) -> Result<Self> {
        let paths = host.setting("irmap-scan-path")?.unwrap_or_default();
        let given = paths.lines().map(PathBuf::from);
        let mut known = HashMap::new();
        if let Some(images) = host.setting("images-dir")? {
            let images = PathBuf::from(images);
            let mut folders = vec![images.join("parent"), images.clone()];
            if let Some(previous) = host.setting("prev-images-dir")? {
                folders.insert(0, images.join(previous));
            }
            for folder in folders {
                known.extend(cached(&folder.join(magic::IRMAP_CACHE.file_name(0))));
            }
        }
        Ok(Self {
            known,
            places: given.chain(LIKELY.iter().map(PathBuf::from)).collect(),
            walks: HashMap::new(),
            limit: Limit {
                names: MAX_NAMES,
                until: None,
            },
        })
    }

    /// The path of an inode, if it has one that can be found.
    pub(crate) fn find(&mut self, mounts: &Mounts, inode: &Inode) -> Option<PathBuf> {
        let known = self.known.get(&(inode.s_dev, inode.ino));
        if let Some(path) = known.filter(|path| leads_to(path, inode)) {
            return Some(path.clone());
        }
        let points: Vec<PathBuf> = mounts
            .of(inode.s_dev)
            .into_iter()
            .map(|mount| mount.point.clone())
            .collect();
        // Of some file systems the numbers that stat(2) tells are not those of the inodes: all names are
        // looked at, each time anew.
        let is_foreign = points
            .first()
            .is_some_and(|point| has_foreign_numbers(point, inode));
        let begin = || Walk {
            places: (points.iter().rev().chain(self.places.iter().rev()))
                .filter(|place| mounts.device_of(place) == Some(inode.s_dev))
                .cloned()
                .collect(),
            borders: mounts.points_of_others(inode.s_dev),
            folders: VecDeque::new(),
            rest: Vec::new(),
        };
        if is_foreign {
            return begin().find(&mut self.limit, &mut |path, _| {
                sys::open_path(path).is_ok_and(|fd| has_handle(&fd, inode))
            });
        }
        let walk = self.walks.entry(inode.s_dev).or_insert_with(begin);
        let known = &mut self.known;
        walk.find(&mut self.limit, &mut |path, ino| {
            known.insert((inode.s_dev, ino), path.to_owned());
            ino == inode.ino && leads_to(path, inode)
        })
    }
}

/// Whether a path leads to an inode.
pub(crate) fn leads_to(path: &Path, inode: &Inode) -> bool {
    sys::open_path(path).is_ok_and(|fd| is_same(&fd, inode))
}

fn is_same(fd: &OwnedFd, inode: &Inode) -> bool {
    let same = |stat: nix::sys::stat::FileStat| {
        (sys::kernel_dev(stat.st_dev), stat.st_ino) == (inode.s_dev, inode.ino)
    };
    fstat(fd).is_ok_and(same) || has_handle(fd, inode)
}

fn has_handle(fd: &OwnedFd, inode: &Inode) -> bool {
    let wanted = handle_bytes(&inode.handle).filter(|bytes| !bytes.is_empty());
    wanted.is_some_and(|wanted| {
        sys::handle_of(fd).is_ok_and(|(kind, bytes)| kind == inode.handle.r#type && bytes == wanted)
    })
}

/// Whether a mount is of the wanted file system although stat(2) tells another device (layers of
/// overlayfs, subvolumes of btrfs).
fn has_foreign_numbers(point: &Path, inode: &Inode) -> bool {
    use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
    statfs(point).is_ok_and(|fs| fs.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
        || nix::sys::stat::stat(point).is_ok_and(|stat| sys::kernel_dev(stat.st_dev) != inode.s_dev)
}

/// The entries of an `irmap-cache`; none when there is none or it is damaged: it only saves a search.
fn cached(path: &Path) -> HashMap<(u32, u64), PathBuf> {
    let mut known = HashMap::new();
    let Ok(file) = File::open(path) else { return known };
    let size = file.metadata().map(|meta| meta.len()).ok();
    let name = path.display().to_string();
    let read =
        ImageReader::new(BufReader::new(file), name, size, &magic::IRMAP_CACHE).and_then(|mut image| {
            while let Some(entry) = image.next_entry::<IrmapCacheEntry>()? {
                known.insert((entry.dev, entry.inode), sys::path_of(&entry.path).to_owned());
                if known.len() == MAX_CACHED {
                    break;
                }
            }
            Ok(())
        });
    if let Err(error) = read {
        tracing::warn!("{error}: what it remembers is not used");
    }
    known
}

/// A search through directories, the near ones first.
struct Walk {
    /// Where it begins, the last one first.
    places: Vec<PathBuf>,
    /// Where other file systems begin.
    borders: HashSet<PathBuf>,
    folders: VecDeque<PathBuf>,
    /// What it has not looked at of the folder in which it has found something.
    rest: Vec<(PathBuf, u64)>,
}

impl Walk {
    /// The next name, with its inode's number, that is the wanted one.
    fn find(&mut self, limit: &mut Limit, is_it: &mut dyn FnMut(&Path, u64) -> bool) -> Option<PathBuf> {
        loop {
            while let Some((path, ino)) = self.rest.pop() {
                if !limit.take() {
                    return None;
                }
                if is_it(&path, ino) {
                    return Some(path);
                }
            }
            match self.folders.pop_front() {
                Some(folder) => self.read(&folder),
                None => self.begin()?,
            }
        }
    }

    /// Goes to the next place.
    fn begin(&mut self) -> Option<()> {
        let place = self.places.pop()?;
        if let Ok(stat) = sys::open_path(&place).and_then(fstat) {
            self.rest.push((place.clone(), stat.st_ino));
            self.folders.push_back(place);
        }
        Some(())
    }

    fn read(&mut self, folder: &Path) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(mut list) = Dir::open(folder, flags, Mode::empty()) else {
            return;
        };
        for entry in list.iter().flatten() {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = folder.join(sys::path_of(name));
            if self.borders.contains(&path) {
                continue;
            }
            if entry.file_type().is_none_or(|kind| kind == Type::Directory) {
                self.folders.push_back(path.clone());
            }
            self.rest.push((path, entry.ino()));
        }
    }
}

/// A path as the images have it.
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
