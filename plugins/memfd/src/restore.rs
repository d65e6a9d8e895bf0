//! Makes the objects before the forks and opens descriptions of them in the tasks.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;

use criu_plugin_api::message::{FileRecord, OpenRequest, Purpose};
use criu_plugin_api::restore::{apply_flags, apply_owner, seek};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result, image};
use criu_proto::images::{FileEntry, MemfdFileEntry, MemfdInodeEntry};
use criu_proto::magic;
use prost::Message;

use crate::attrs::{self, Attrs};
use crate::keep::Kept;
use crate::object::{self, SEAL_SEAL, SEAL_WRITE};
use crate::sys;

/// The objects of a restore, kept by the coordinator until the end.
#[derive(Default)]
pub(crate) struct Restore {
    /// The process that keeps them.
    holder: u32,
    objects: HashMap<u32, Object>,
}

struct Object {
    kept: Kept,
    entry: MemfdInodeEntry,
    attrs: Option<Attrs>,
}

fn entry(file: &FileRecord) -> Result<MemfdFileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry.memfd.ok_or_else(|| {
        Error::new(format!(
            "file {} is of type MEMFD but has no such entry: damaged",
            file.id
        ))
    })
}

impl Restore {
    pub(crate) fn prepare(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut entries: HashMap<u32, MemfdInodeEntry> = HashMap::new();
        if let Some(mut image) = image::open(host, &magic::MEMFD_INODE)? {
            for entry in image.entries::<MemfdInodeEntry>() {
                let entry = entry?;
                let id = u32::try_from(entry.inode_id)
                    .ok()
                    .filter(|id| !entries.contains_key(id));
                let Some(id) = id else {
                    let error = format!(
                        "memfd.img: the object number {} cannot be: damaged",
                        entry.inode_id
                    );
                    return Err(Error::new(error));
                };
                entries.insert(id, entry);
            }
        }
        // Everything is checked before anything is made.
        let mut used = Vec::new();
        for file in files {
            let id = entry(file)?.inode_id;
            if !entries.contains_key(&id) {
                let error = format!(
                    "file {}: its memory object {id} is not in memfd.img: damaged",
                    file.id
                );
                return Err(Error::new(error));
            }
            used.push(id);
        }
        used.sort_unstable();
        used.dedup();
        let mut attrs = attrs::read(host)?;
        let mut restore = Self {
            holder: std::process::id(),
            objects: HashMap::new(),
        };
        for id in used {
            let Some(entry) = entries.remove(&id) else {
                continue;
            };
            let file = object::make(host, &entry)?;
            let kept =
                Kept::of(file, entry.hugetlb_flag.is_some()).context(|| "keeping a new memory object")?;
            let attrs = attrs.remove(&id);
            restore.objects.insert(id, Object { kept, entry, attrs });
        }
        Ok(restore)
    }

    pub(crate) fn open(&self, request: &OpenRequest) -> Result<Progress<Opened>> {
        let entry = entry(&request.file)?;
        let Some(object) = self.objects.get(&entry.inode_id) else {
            let error = format!(
                "file {}: its memory object {} was not made",
                request.file.id, entry.inode_id
            );
            return Err(Error::new(error));
        };
        let what = || {
            let name = String::from_utf8_lossy(&object.entry.name);
            format!("opening the memory object {name:?} as file {}", request.file.id)
        };
        let flags = open_flags(request, &entry, object.entry.seals);
        let fd = object.kept.reopen(self.holder, flags).context(what)?;
        if matches!(request.purpose(), Purpose::Descriptor | Purpose::InFlight) && flags & libc::O_PATH == 0 {
            complete(&fd, &entry).context(what)?;
        }
        Ok(Progress::Done(Opened::one(fd)))
    }

    /// Everything is mapped: the objects get their seals, and then what touching them would have changed.
    pub(crate) fn finish(self, outcome: Outcome) -> Result<()> {
        let mut result = Ok(());
        for Object { kept, entry, attrs } in self.objects.into_values() {
            // Sealing everything but more seals is how objects are born that allow for none.
            let sealed = entry.seals != 0 && entry.seals != SEAL_SEAL;
            if outcome == Outcome::Success && sealed && result.is_ok() {
                result = seal(&kept, self.holder, &entry);
            }
            if let Some(attrs) = attrs.filter(|_| outcome == Outcome::Success && result.is_ok()) {
                result = complete_object(&kept, self.holder, &entry, &attrs);
            }
            let released = kept.release();
            result = result.and(released.context(|| "letting go of a memory object"));
        }
        result
    }
}

fn seal(kept: &Kept, holder: u32, entry: &MemfdInodeEntry) -> Result<()> {
    let what = || {
        let name = String::from_utf8_lossy(&entry.name);
        format!("sealing the memory object {name:?} with {:#x}", entry.seals)
    };
    // Only a description that may write seals.
    let file = File::from(kept.reopen(holder, libc::O_RDWR).context(what)?);
    sys::add_seals(&file, entry.seals).context(what)
}

fn complete_object(kept: &Kept, holder: u32, entry: &MemfdInodeEntry, attrs: &Attrs) -> Result<()> {
    let what = || {
        let name = String::from_utf8_lossy(&entry.name);
        format!("completing the memory object {name:?}")
    };
    let file = File::from(kept.reopen(holder, libc::O_RDONLY).context(what)?);
    attrs.apply(&file).context(what)
}

fn open_flags(request: &OpenRequest, entry: &MemfdFileEntry, seals: u32) -> i32 {
    let flags = match request.purpose() {
        // A mapping through a writable description would count as a writer and forbid the seal.
        Purpose::Mapping if seals & SEAL_WRITE != 0 => libc::O_RDONLY,
        Purpose::Exe => libc::O_RDONLY,
        _ => request.flags.unwrap_or(entry.flags).cast_signed(),
    };
    flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_ASYNC | libc::O_DIRECTORY)
}

/// Offset, owner and what else open(2) does not set.
fn complete(fd: &OwnedFd, entry: &MemfdFileEntry) -> Result<()> {
    if entry.pos != 0 {
        seek(fd, entry.pos)?;
    }
    apply_owner(fd, &entry.fown)?;
    apply_flags(fd, entry.flags)
}
