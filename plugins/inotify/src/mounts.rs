//! The mounts of this process, and inodes opened by their handles.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use criu_plugin_api::{Context, Result};
use criu_proto::images::FhEntry;
use nix::sys::stat::{FileStat, fstat};

use crate::fdinfo::handle_bytes;
use crate::sys::{self, Home};

/// A mount, proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u32,
    /// The file system, in the kernel's own encoding.
    pub(crate) s_dev: u32,
    /// Whether it shows the whole file system.
    is_whole: bool,
    pub(crate) point: PathBuf,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&b| b == b' ');
        let mut text = || words.next().and_then(|word| std::str::from_utf8(word).ok());
        let id = text()?.parse().ok()?;
        let _parent = text()?;
        let (major, minor) = text()?.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        let root = words.next()?;
        Some(Self {
            id,
            s_dev: major << 20 | minor & 0xf_ffff,
            is_whole: root == b"/",
            point: PathBuf::from(std::ffi::OsString::from_vec(unescape(words.next()?))),
        })
    }

    /// What its path leads to, if that is this mount and not another one on top of it.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let fd = sys::open_path(&self.point).ok()?;
        (mount_of(&fd) == Some(self.id)).then_some(fd)
    }
}

/// Spaces and the like are written as `\` and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// The number of the mount that a descriptor came through.
pub(crate) fn mount_of(fd: &OwnedFd) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    line.trim().parse().ok()
}

/// All mounts, and the open ones among them.
pub(crate) struct Mounts {
    list: Vec<Mount>,
    /// By device, those that can be reached, whole ones first.
    open: HashMap<u32, Rc<Vec<OwnedFd>>>,
    home: Home,
}

impl Mounts {
    /// Reads those of this process.
    pub(crate) fn read() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = std::fs::read(path).context(|| format!("reading {path}"))?;
        Ok(Self {
            list: text.split(|&b| b == b'\n').filter_map(Mount::parse).collect(),
            open: HashMap::new(),
            home: Home::note().context(|| "opening the working directory")?,
        })
    }

    /// The mounts of a file system, whole ones first.
    pub(crate) fn of(&self, s_dev: u32) -> Vec<&Mount> {
        let mut mounts: Vec<&Mount> = self.list.iter().filter(|m| m.s_dev == s_dev).collect();
        mounts.sort_by_key(|mount| !mount.is_whole);
        mounts
    }

    /// The file system that a path leads to, by the mounts alone.
    pub(crate) fn device_of(&self, path: &Path) -> Option<u32> {
        let above = self.list.iter().filter(|mount| path.starts_with(&mount.point));
        // Of several at one place the last one is on top.
        let nearest = above.max_by_key(|mount| mount.point.components().count());
        nearest.map(|mount| mount.s_dev)
    }

    /// Where other file systems are mounted.
    pub(crate) fn points_of_others(&self, s_dev: u32) -> HashSet<PathBuf> {
        let others = self.list.iter().filter(|mount| mount.s_dev != s_dev);
        others.map(|mount| mount.point.clone()).collect()
    }

    /// A mount by its number.
    pub(crate) fn by_id(&self, id: u32) -> Option<&Mount> {
        self.list.iter().find(|mount| mount.id == id)
    }

    fn opened(&mut self, s_dev: u32) -> Rc<Vec<OwnedFd>> {
        if let Some(open) = self.open.get(&s_dev) {
            return Rc::clone(open);
        }
        let open: Rc<Vec<OwnedFd>> = Rc::new(self.of(s_dev).into_iter().filter_map(Mount::open).collect());
        self.open.insert(s_dev, Rc::clone(&open));
        open
    }

    /// An inode by its handle, through each mount of its file system in turn until `wanted` has an answer.
    pub(crate) fn by_handle<T>(
        &mut self,
        s_dev: u32,
        ino: u64,
        handle: &FhEntry,
        mut wanted: impl FnMut(OwnedFd, &FileStat) -> Option<T>,
    ) -> Option<T> {
        let bytes = handle_bytes(handle).filter(|bytes| !bytes.is_empty())?;
        let open = self.opened(s_dev);
        for mount in open.iter() {
            // A mount may be a single file.
            let Ok(away) = self.home.leave_for(mount) else {
                continue;
            };
            let opened = sys::open_by_handle_here(handle.r#type, &bytes);
            drop(away);
            let Ok(fd) = opened else { break };
            let Ok(stat) = fstat(&fd) else { break };
            if stat.st_ino != ino {
                // Of another file system that has taken the number of the old one.
                break;
            }
            if let Some(found) = wanted(fd, &stat) {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = br"31 23 0:28 / /mnt/with\040space\134x rw,relatime - tmpfs tmpfs rw,mode=755";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.s_dev, mount.is_whole), (31, 28, true));
        assert_eq!(mount.point, PathBuf::from(r"/mnt/with space\x"));
        assert_eq!(
            Mount::parse(b"31 23 254:1 /sub /x rw").unwrap().s_dev,
            254 << 20 | 1
        );
        assert_eq!(Mount::parse(b"31 23"), None);
    }

    #[test]
    fn an_inode_is_found_by_its_handle_and_the_working_directory_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let fd = sys::open_path(&path).unwrap();
        let (kind, bytes) = sys::handle_of(&fd).unwrap();
        let stat = fstat(&fd).unwrap();
        let here = std::env::current_dir().unwrap();
        let mut mounts = Mounts::read().unwrap();
        let handle = crate::fdinfo::handle_entry(kind, &bytes);
        let s_dev = sys::kernel_dev(stat.st_dev);
        let found = mounts.by_handle(s_dev, stat.st_ino, &handle, |fd, _| {
            std::fs::read_link(sys::magic_link(&fd)).ok()
        });
        assert_eq!(found, Some(path));
        let other = mounts.by_handle(s_dev, stat.st_ino + 1, &handle, |fd, _| Some(fd));
        assert!(other.is_none());
        drop(mounts);
        assert_eq!(std::env::current_dir().unwrap(), here);
    }
}
