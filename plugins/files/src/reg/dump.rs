//! Saves one file with a path.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FileTarget, Purpose};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Host, Refusal, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, RegFileEntry, RemapFilePathEntry, RemapType};
use criu_proto::magic;
use nix::sys::stat::{major, minor, stat};
use prost::Message;

use super::ghost_attrs::{self, GhostAttrs};
use super::name::{self, Name};
use super::settings::Settings;
use super::{Shared, build_id, ghost_dump, link_remap, special};
use crate::locks::dump::Locked;
use crate::{images, sys};

/// A file by device and inode number.
pub(crate) type Inode = (u64, u64);

/// What a dump remembers from file to file.
#[derive(Default)]
pub(crate) struct Dump {
    settings: Option<Rc<Settings>>,
    build_ids: HashMap<Inode, Vec<u32>>,
    /// Ghost ids of deleted files.
    pub(crate) ghosts: HashMap<Inode, u32>,
    /// What these have beside.
    pub(crate) ghost_attrs: Vec<GhostAttrs>,
    /// File ids of the links that stand in for lost paths.
    pub(crate) links: HashMap<Inode, u32>,
    /// The links made in this dump: undone when it fails.
    pub(crate) links_made: Vec<PathBuf>,
    remaps: Vec<RemapFilePathEntry>,
    locked: Locked,
}

impl Dump {
    pub(crate) fn settings(shared: &Shared<Self>, host: &Host<'_>) -> Result<Rc<Settings>> {
        if let Some(settings) = &shared.lock().settings {
            return Ok(Rc::clone(settings));
        }
        let settings = Rc::new(Settings::read(host)?);
        shared.lock().settings = Some(Rc::clone(&settings));
        Ok(settings)
    }
}

pub(super) fn dump(shared: &Shared<Dump>, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
    let settings = Dump::settings(shared, host)?;
    if let Some(key) = external_key(&settings, file)? {
        let entry = RegFileEntry {
            ext: Some(true),
            ..reg_entry(file, key.into_bytes(), Vec::new())?
        };
        return image(file, entry).map(Verdict::Entry);
    }
    let named = match name::resolve(file) {
        Ok(named) => named,
        Err(refusal) => return Ok(Verdict::Refused(refusal)),
    };
    let elsewhere = matches!(named, name::Name::Lost { .. } | name::Name::Hidden(_));
    if !is_served(file) || elsewhere && name::is_queue(file) {
        return Ok(Verdict::NotMine);
    }
    if let Some(refusal) = special::refuse(host, file)? {
        return Ok(Verdict::Refused(refusal));
    }
    let has_lock = shared.lock().locked.note(host, file)?;
    // What is carried along is not compared with anything, and reading it here would be an access.
    let is_carried = matches!(named, Name::Lost { linked: false, .. });
    let path = match named {
        Name::NotAPath => return Ok(Verdict::NotMine),
        Name::Leads(path) => path,
        Name::Dead { path, pid } => {
            shared.lock().remaps.push(RemapFilePathEntry {
                orig_id: file.id,
                remap_id: pid.cast_unsigned(),
                remap_type: Some(RemapType::Procfs as i32),
            });
            path
        }
        Name::Hidden(path) => match evasive_path(&settings, file)? {
            Some(other) => other,
            None => return Ok(Verdict::Refused(hidden(file, &path))),
        },
        Name::Lost { path, linked } => match evasive_path(&settings, file)? {
            Some(other) => other,
            None => match remap(shared, host, file, &path, linked)? {
                Verdict::Entry(()) => path,
                Verdict::NotMine => return Ok(Verdict::NotMine),
                Verdict::Refused(refusal) => return Ok(Verdict::Refused(refusal)),
            },
        },
    };
    let build_id = if settings.build_id && !is_carried {
        build_id_of(shared, file, &path, has_lock)
    } else {
        Vec::new()
    };
    image(file, reg_entry(file, path.into_os_string().into_vec(), build_id)?).map(Verdict::Entry)
}

/// Characters devices that are nothing but a path and an offset, by major and minor number: mem, null, port, zero,
/// full, random and urandom; hwrng, btrfs-control, autofs and loop-control.
const STATELESS: [(u64, u64); 11] = [
    (1, 1),
    (1, 3),
    (1, 4),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (10, 183),
    (10, 234),
    (10, 235),
    (10, 237),
];

/// Device nodes that have no state of their own, besides whatever is only held by its path.
fn is_served(file: &FileTarget) -> bool {
    let by_path = file.flags.cast_signed() & libc::O_PATH != 0 || file.purpose() == Purpose::Path;
    match file.mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK => true,
        libc::S_IFCHR => {
            let number = (major(file.rdev), minor(file.rdev));
            let served = if file.purpose() == Purpose::Mapping {
                number == (1, 5)
            } else {
                STATELESS.contains(&number)
            };
            by_path || served
        }
        libc::S_IFBLK => by_path || file.purpose() != Purpose::Mapping,
        _ => by_path,
    }
}

/// All files have been seen: the table of lost paths, and the locks.
pub(super) fn finish(shared: &Shared<Dump>, host: &Host<'_>) -> Result<()> {
    let settings = Dump::settings(shared, host)?;
    let (remaps, attrs, locked) = {
        let mut dump = shared.lock();
        (
            std::mem::take(&mut dump.remaps),
            std::mem::take(&mut dump.ghost_attrs),
            std::mem::take(&mut dump.locked),
        )
    };
    if !remaps.is_empty() {
        let name = magic::REMAP_FPATH.file_name(0);
        let mut image = images::create(host, &name, &magic::REMAP_FPATH)?;
        for remap in &remaps {
            image.entry(remap)?;
        }
        image.finish()?;
    }
    ghost_attrs::write(host, &attrs)?;
    locked.save(host, settings.file_locks)?;
    let links_made = std::mem::take(&mut shared.lock().links_made);
    *shared.lock() = Dump {
        links_made,
        ..Dump::default()
    };
    Ok(())
}

/// Keeps a file that has lost its path.
fn remap(
    shared: &Shared<Dump>,
    host: &Host<'_>,
    file: &FileTarget,
    path: &Path,
    linked: bool,
) -> Result<Verdict<()>> {
    let by_link = if linked {
        link_remap::keep(shared, host, file, path)?
    } else {
        None
    };
    let (kept, kind) = match by_link {
        Some(kept) => (kept, RemapType::Linked),
        None => (ghost_dump::keep(shared, host, file)?, RemapType::Ghost),
    };
    Ok(match kept {
        Verdict::Entry(remap_id) => {
            let remap_type = Some(kind as i32);
            shared.lock().remaps.push(RemapFilePathEntry {
                orig_id: file.id,
                remap_id,
                remap_type,
            });
            Verdict::Entry(())
        }
        Verdict::NotMine => Verdict::NotMine,
        Verdict::Refused(refusal) => Verdict::Refused(refusal),
    })
}

fn hidden(file: &FileTarget, path: &Path) -> Refusal {
    let is_device = matches!(file.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
    Refusal {
        object: name::object(file),
        what: format!(
            "{} leads to another file or nowhere: a mount hides it, or criu does not see its mount",
            path.display()
        ),
        remedy: is_device.then(|| "--evasive-devices allows another path to the same device".to_owned()),
    }
}

/// The key under which the user keeps this file out of the image, if so.
fn external_key(settings: &Settings, file: &FileTarget) -> Result<Option<String>> {
    if settings.external.is_empty() {
        return Ok(None);
    }
    let mnt_id = if file.mnt_id >= 0 {
        file.mnt_id
    } else {
        mount_of(file)?
    };
    let key = format!("file[{mnt_id:x}:{:x}]", file.ino);
    Ok(settings.external.contains(&key).then_some(key))
}

fn mount_of(file: &FileTarget) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", file.local_fd);
    let text = std::fs::read_to_string(&path)
        .context(|| format!("reading the mount of {} from {path}", name::object(file)))?;
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    Ok(id.unwrap_or(-1))
}

/// With `--evasive-devices`, a path in /dev to the device whose own node is out of reach.
fn evasive_path(settings: &Settings, file: &FileTarget) -> Result<Option<PathBuf>> {
    let format = file.mode & libc::S_IFMT;
    if !settings.evasive_devices || !matches!(format, libc::S_IFCHR | libc::S_IFBLK) {
        return Ok(None);
    }
    let entries = std::fs::read_dir("/dev").context(|| "listing /dev for --evasive-devices")?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    Ok(paths
        .into_iter()
        .find(|path| stat(path).is_ok_and(|s| s.st_mode & libc::S_IFMT == format && s.st_rdev == file.rdev)))
}

/// The build-id of a file, where it is an ELF file that can be read without disturbing anyone; its size
/// identifies the others.
fn build_id_of(shared: &Shared<Dump>, file: &FileTarget, path: &Path, has_lock: bool) -> Vec<u32> {
    let is_reg = file.mode & libc::S_IFMT == libc::S_IFREG;
    // Reading an attribute of the kernel may have effects, and opening a file may break a lease on it.
    if !is_reg || file.size < build_id::MIN_SIZE || path.starts_with("/proc") || path.starts_with("/sys") {
        return Vec::new();
    }
    if let Some(known) = shared.lock().build_ids.get(&(file.dev, file.ino)) {
        return known.clone();
    }
    if has_lock || !may_be_elf(file) {
        return Vec::new();
    }
    let opened = sys::reopen_for_reading(sys::local(file));
    let id = opened.and_then(|f| build_id::read(&f)).unwrap_or_default();
    shared.lock().build_ids.insert((file.dev, file.ino), id.clone());
    id
}

/// Whether it is worth opening the file anew to read it.
fn may_be_elf(file: &FileTarget) -> bool {
    if sys::is_readable(file) {
        let mut head = [0; 8];
        return sys::read_at(sys::local(file), &mut head, 0).is_ok() && build_id::is_elf(&head);
    }
    // What is open for writing only is being made; its size will do.
    let by_descriptor = matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight);
    !by_descriptor || file.flags.cast_signed() & libc::O_PATH != 0
}

fn reg_entry(file: &FileTarget, name: Vec<u8>, build_id: Vec<u32>) -> Result<RegFileEntry> {
    let fown = fown_decode(&file.fown)?;
    let is_reg = file.mode & libc::S_IFMT == libc::S_IFREG;
    Ok(RegFileEntry {
        id: file.id,
        flags: file.flags,
        pos: file.pos,
        fown,
        name,
        size: is_reg.then_some(file.size),
        mode: Some(file.mode),
        build_id,
        ..RegFileEntry::default()
    })
}

fn image(file: &FileTarget, reg: RegFileEntry) -> Result<FileImage> {
    let entry = FileEntry {
        r#type: FdTypes::Reg as i32,
        id: file.id,
        reg: Some(reg),
        ..FileEntry::default()
    };
    Ok(FileImage {
        fd_type: FdTypes::Reg as u32,
        entry: entry.encode_to_vec(),
        ..FileImage::default()
    })
}
