//! From the text of a `/proc` link to the name of a file.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use criu_plugin_api::Refusal;
use criu_plugin_api::message::FileTarget;
use nix::sys::stat::lstat;
use nix::sys::statfs::{FsType, fstatfs};

use crate::sys;

/// What proc(5) appends to the name of a file that has lost it. A file may really be called so.
const DELETED: &[u8] = b" (deleted)";
/// `NFS_SUPER_MAGIC` of linux/magic.h.
const NFS_SUPER_MAGIC: FsType = FsType(0x6969);
/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_SUPER_MAGIC: FsType = FsType(0x9fa0);

/// `MQUEUE_MAGIC` of the kernel's ipc/mqueue.c.
const MQUEUE_MAGIC: FsType = FsType(0x1980_0202);
/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS_SUPER_MAGIC: FsType = FsType(0x794c_7630);

/// How the name of a file relates to the file system as it is now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The path leads to this very file.
    Leads(PathBuf),
    /// The file had this path and lost it; `linked` when other names, or the server of a network file
    /// system, still hold it.
    Lost { path: PathBuf, linked: bool },
    /// The path leads to another file or nowhere although the file never lost it: hidden by a mount,
    /// or outside of what this process sees.
    Hidden(PathBuf),
    /// A file in `/proc` of a process that is gone.
    Dead { path: PathBuf, pid: i32 },
    /// It is not the name of a file.
    NotAPath,
}

/// Whether it is a POSIX message queue, which looks like a regular file and is none.
pub(crate) fn is_queue(file: &FileTarget) -> bool {
    on(file, MQUEUE_MAGIC)
}

/// Finds out what the link text of a file means. One lstat(2) when the path still leads to the file.
pub(crate) fn resolve(file: &FileTarget) -> Result<Name, Refusal> {
    let refused = |what: &str| Refusal {
        object: object(file),
        what: what.to_owned(),
        remedy: None,
    };
    if !file.link.starts_with(b"/") {
        if file.link.starts_with(b"(unreachable)") {
            return Err(refused("it lies outside of the mounts that criu sees"));
        }
        return Ok(Name::NotAPath);
    }
    let link = path_of(&file.link);
    if leads(link, file) {
        return if is_silly_renamed(link, file) {
            Ok(Name::Lost {
                path: link.to_path_buf(),
                linked: true,
            })
        } else {
            Ok(Name::Leads(link.to_path_buf()))
        };
    }
    let Some(bare) = file.link.strip_suffix(DELETED).map(path_of) else {
        return if file.nlink == 0 {
            Ok(Name::Lost {
                path: link.to_path_buf(),
                linked: false,
            })
        } else if on(file, PROC_SUPER_MAGIC) {
            dead(link).ok_or_else(|| refused("it belongs to a process that is gone"))
        } else {
            Ok(Name::Hidden(link.to_path_buf()))
        };
    };
    if is_kernel_memory(file) {
        return Ok(Name::NotAPath);
    }
    if leads(bare, file) {
        // Removed, and linked to the same place again: the kernel keeps calling it deleted. So it does with
        // files of /proc/PID/net that somebody else has looked up since.
        return Ok(Name::Leads(bare.to_path_buf()));
    }
    if on(file, PROC_SUPER_MAGIC) {
        return dead(bare).ok_or_else(|| refused("it belongs to a process that is gone"));
    }
    let is_dir = file.mode & libc::S_IFMT == libc::S_IFDIR;
    Ok(Name::Lost {
        path: bare.to_path_buf(),
        linked: file.nlink > 0 && !is_dir,
    })
}

fn dead(path: &Path) -> Option<Name> {
    let pid = super::dead::process_of(path)?;
    Some(Name::Dead {
        path: path.to_path_buf(),
        pid,
    })
}

/// The file as errors name it.
pub(crate) fn object(file: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&file.link);
    if file.fd >= 0 {
        format!("pid {}, fd {}, {link}", file.pid, file.fd)
    } else {
        format!("pid {}, {link}", file.pid)
    }
}

/// A path of the kernel or of an image.
pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn leads(path: &Path, file: &FileTarget) -> bool {
    lstat(path).is_ok_and(|s| s.st_dev == file.dev && s.st_ino == file.ino)
}

/// A file that was removed while open on NFS: the client has renamed it, and removes it once it is
/// closed, which killing the processes does.
fn is_silly_renamed(path: &Path, file: &FileTarget) -> bool {
    path.file_name()
        .is_some_and(|n| n.as_bytes().starts_with(b".nfs"))
        && on(file, NFS_SUPER_MAGIC)
}

/// Whether the file lies on an overlay.
pub(crate) fn is_on_overlay(file: &FileTarget) -> bool {
    on(file, OVERLAYFS_SUPER_MAGIC)
}

fn on(file: &FileTarget, magic: FsType) -> bool {
    fstatfs(sys::local(file).as_fd()).is_ok_and(|s| s.filesystem_type() == magic)
}

/// Files of the kernel's own mount of shared memory look like deleted ones; other kinds serve them.
fn is_kernel_memory(file: &FileTarget) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"/memfd:", b"/dev/zero (", b"/SYSV", b"/anon_hugepage ("];
    file.nlink == 0
        && file.mode & libc::S_IFMT == libc::S_IFREG
        && PREFIXES.iter().any(|p| file.link.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use criu_plugin_api::testing::file_target;

    #[test]
    fn a_path_that_leads_to_the_file_is_its_name() {
        let dir = Scratch::new();
        let file = dir.file("plain", b"x");
        assert_eq!(
            resolve(&file_target(&file).unwrap()),
            Ok(Name::Leads(dir.path("plain")))
        );
    }

    #[test]
    fn a_file_may_really_be_called_deleted() {
        let dir = Scratch::new();
        let file = dir.file("odd (deleted)", b"x");
        assert_eq!(
            resolve(&file_target(&file).unwrap()),
            Ok(Name::Leads(dir.path("odd (deleted)")))
        );
        dir.remove("odd (deleted)");
        let lost = Name::Lost {
            path: dir.path("odd (deleted)"),
            linked: false,
        };
        assert_eq!(resolve(&file_target(&file).unwrap()), Ok(lost));
    }

    #[test]
    fn a_deleted_file_whose_path_was_taken_is_lost() {
        let dir = Scratch::new();
        let file = dir.file("taken", b"old");
        dir.remove("taken");
        dir.file("taken", b"new");
        assert_eq!(
            resolve(&file_target(&file).unwrap()),
            Ok(Name::Lost {
                path: dir.path("taken"),
                linked: false
            })
        );
    }

    #[test]
    fn a_file_with_another_name_left_is_lost_but_linked() {
        let dir = Scratch::new();
        let file = dir.file("one", b"x");
        dir.link("one", "two");
        dir.remove("one");
        assert_eq!(
            resolve(&file_target(&file).unwrap()),
            Ok(Name::Lost {
                path: dir.path("one"),
                linked: true
            })
        );
    }

    #[test]
    fn a_file_of_proc_that_was_looked_up_again_is_not_gone() {
        let first = std::fs::File::open("/proc/self/net/tcp").unwrap();
        std::fs::metadata("/proc/self/net/tcp").unwrap();
        let target = file_target(&first).unwrap();
        let path = format!("/proc/{}/net/tcp", std::process::id());
        assert_eq!(resolve(&target), Ok(Name::Leads(path.into())));
    }

    #[test]
    fn a_path_of_another_file_is_hidden() {
        let dir = Scratch::new();
        let file = dir.file("here", b"x");
        let mut target = file_target(&file).unwrap();
        target.link = b"/nowhere/at/all".to_vec();
        assert_eq!(resolve(&target), Ok(Name::Hidden("/nowhere/at/all".into())));
    }

    #[test]
    fn a_path_need_not_be_utf8() {
        let dir = Scratch::new();
        let path = dir
            .path("x")
            .parent()
            .unwrap()
            .join(OsStr::from_bytes(b"\xff\xfe"));
        let file = std::fs::File::create(&path).unwrap();
        assert_eq!(resolve(&file_target(&file).unwrap()), Ok(Name::Leads(path)));
    }
}
