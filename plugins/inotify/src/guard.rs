//! Listeners that decide: with permission events, whoever opens a file waits for the answer of a
//! process that a dump has stopped.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Error, Host, Refusal, Result};

use crate::fdinfo::{self, Group, Marked};
use crate::mounts::Mounts;
use crate::{object, sys};

/// `FAN_OPEN_PERM`, `FAN_ACCESS_PERM`, `FAN_OPEN_EXEC_PERM`, `FAN_PRE_ACCESS` of linux/fanotify.h.
const PERMISSION: u32 = 0x1_0000 | 0x2_0000 | 0x4_0000 | 0x10_0000;

/// Whether a group decides on accesses.
fn decides(group: &Group) -> bool {
    group.marks.iter().any(|mark| mark.mask & PERMISSION != 0)
}

/// Events that wait for an answer belong to processes that the set knows nothing of.
pub(crate) fn waits_for_answer(file: &FileTarget, group: &Group, queued: u32) -> Option<Refusal> {
    if !decides(group) {
        return None;
    }
    let what = if queued > 0 {
        "permission events wait to be read, and processes for its answers".to_owned()
    } else {
        let waiting = waiting_process()?;
        format!("process {waiting} waits for the answer to a permission event")
    };
    Some(Refusal {
        object: object(file),
        what,
        remedy: Some("dump when it has answered".to_owned()),
    })
}

/// A process that waits in the kernel for a listener's answer.
fn waiting_process() -> Option<i32> {
    let tasks = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = tasks.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let waits = |pid: &i32| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        threads.into_iter().flatten().flatten().any(|thread| {
            std::fs::read_to_string(thread.path().join("wchan")).is_ok_and(|at| at.starts_with("fanotify_"))
        })
    };
    let mut pids = pids;
    pids.find(waits)
}

/// Before the freeze: no listener of the tree decides on what the dump itself must open.
pub(crate) fn check(host: &Host<'_>) -> Result<()> {
    let Some(root) = host.setting("tree")?.and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    let mut needed = None;
    for pid in tree(root) {
        for (fd, group) in listeners(pid).into_iter().filter(|(_, group)| decides(group)) {
            let needed = match &needed {
                Some(needed) => needed,
                None => needed.insert(Needed::of(host, root)?),
            };
            if let Some(what) = needed.is_guarded(&group)? {
                return Err(Error::from(Refusal {
                    object: format!("pid {pid}, fd {fd} (fanotify)"),
                    what: format!(
                        "it decides on accesses to {what}, which the dump needs while it is stopped"
                    ),
                    remedy: Some(
                        "put the images elsewhere (-D), or take the mark off for the dump".to_owned(),
                    ),
                }));
            }
        }
    }
    Ok(())
}

/// What a dump opens.
struct Needed {
    devices: HashSet<u32>,
    inodes: HashSet<(u32, u64)>,
}

impl Needed {
    /// The images directory, and what the tree has mapped.
    fn of(host: &Host<'_>, root: i32) -> Result<Self> {
        let mut needed = Self {
            devices: HashSet::new(),
            inodes: HashSet::new(),
        };
        for folder in ["images-dir", "work-dir"] {
            if let Some(path) = host.setting(folder)?
                && let Ok(meta) = std::fs::metadata(Path::new(&path))
            {
                needed.add(sys::kernel_dev(meta.dev()), meta.ino());
            }
        }
        for pid in tree(root) {
            let maps = std::fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
            for line in String::from_utf8_lossy(&maps).lines() {
                let mut words = line.split_ascii_whitespace().skip(3);
                let device = words.next().and_then(|word| word.split_once(':'));
                let ino = words.next().and_then(|word| word.parse::<u64>().ok());
                if let (Some((major, minor)), Some(ino)) = (device, ino.filter(|ino| *ino != 0))
                    && let (Ok(major), Ok(minor)) =
                        (u32::from_str_radix(major, 16), u32::from_str_radix(minor, 16))
                {
                    needed.add(major << 20 | minor, ino);
                }
            }
        }
        Ok(needed)
    }

    fn add(&mut self, s_dev: u32, ino: u64) {
        self.devices.insert(s_dev);
        self.inodes.insert((s_dev, ino));
    }

    /// What of it a group decides on.
    fn is_guarded(&self, group: &Group) -> Result<Option<String>> {
        let device = |s_dev: u32| format!("the file system of device {}:{}", s_dev >> 20, s_dev & 0xf_ffff);
        for mark in group.marks.iter().filter(|mark| mark.mask & PERMISSION != 0) {
            let found = match &mark.on {
                Marked::Inode(inode) => {
                    let is_needed = self.inodes.contains(&(inode.s_dev, inode.ino));
                    is_needed.then(|| format!("inode {} on {}", inode.ino, device(inode.s_dev)))
                }
                Marked::FileSystem(s_dev) => self.devices.contains(s_dev).then(|| device(*s_dev)),
                Marked::Mount(id) => {
                    let mounts = Mounts::read()?;
                    let mount = mounts.by_id(*id).filter(|m| self.devices.contains(&m.s_dev));
                    mount.map(|mount| format!("the mount at {}", mount.point.display()))
                }
                Marked::MountNamespace(_) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The processes below one, which may come and go.
fn tree(root: i32) -> Vec<i32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
    }
    all
}

/// The fanotify groups of a process.
fn listeners(pid: i32) -> Vec<(i32, Group)> {
    let Ok(list) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let links = list.flatten().filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:[fanotify]")
    });
    let numbers = links.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|fd| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
            Some((fd, fdinfo::group(&text).ok()?))
        })
        .collect()
}
