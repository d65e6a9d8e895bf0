//! Saves descriptors and mappings of memory objects, and each object once.

use std::collections::HashMap;
use std::os::fd::AsFd;

use criu_plugin_api::message::{FileImage, FileTarget, Purpose};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Host, Result, Verdict, image};
use criu_proto::images::{FdTypes, FileEntry, MemfdFileEntry, MemfdInodeEntry};
use criu_proto::magic;
use nix::errno::Errno;
use nix::sys::statfs::fstatfs;
use prost::Message;

use crate::attrs::{self, Attrs};
use crate::sys;

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
/// What the kernel appends to the name of a file without a path, which these all are.
const DELETED: &[u8] = b" (deleted)";
/// The bit of `vma_entry.status` of mappings of such an object.
pub(crate) const VMA_STATUS: u32 = 1 << 14;

/// The objects of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    /// Number of the object, by device and inode number.
    known: HashMap<(u64, u64), u32>,
    entries: Vec<MemfdInodeEntry>,
    attrs: Vec<Attrs>,
}

impl Dump {
    pub(crate) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let Some(name) = name(file) else {
            return Ok(Verdict::NotMine);
        };
        let inode_id = match self.known.get(&(file.dev, file.ino)) {
            Some(&id) => id,
            None => self
                .object(host, file, name)
                .context(|| format!("memory object {}", describe(file)))?,
        };
        let memfd = MemfdFileEntry {
            id: file.id,
            flags: file.flags,
            pos: file.pos,
            fown: fown_decode(&file.fown)?,
            inode_id,
        };
        let entry = FileEntry {
            r#type: FdTypes::Memfd as i32,
            id: file.id,
            memfd: Some(memfd),
            ..FileEntry::default()
        };
        let (fd_type, entry) = (FdTypes::Memfd as u32, entry.encode_to_vec());
        Ok(Verdict::Entry(FileImage {
            fd_type,
            entry,
            vma_status: VMA_STATUS,
        }))
    }

    /// Saves an object that was not seen before.
    fn object(&mut self, host: &Host<'_>, file: &FileTarget, name: &[u8]) -> Result<u32> {
        // The descriptor at hand may be an O_PATH one, or one for writing.
        let object = match sys::reopen(None, file.local_fd, libc::O_RDONLY | libc::O_NOATIME) {
            Err(Errno::EPERM) => sys::reopen(None, file.local_fd, libc::O_RDONLY),
            other => other,
        };
        let object = object.context(|| "opening it to read its contents")?;
        let seals = sys::seals(object.as_fd()).context(|| "asking for its seals")?;
        let system = fstatfs(sys::local(file)).context(|| "asking for its file system")?;
        #[allow(
            clippy::unnecessary_cast,
            reason = "the type of f_type differs between architectures"
        )]
        let is_huge = system.filesystem_type().0 as i64 == HUGETLBFS_MAGIC;
        let huge_log = u64::try_from(system.block_size()).unwrap_or(0).trailing_zeros();
        let shmid = Self::shmid(host, file.ino)?;
        let inode_id = host.next_id("memfd")?;
        // Those of shared anonymous memory nobody can see.
        if name != crate::object::ANONYMOUS && name != crate::object::ANONYMOUS_HUGE {
            self.attrs.push(Attrs::of(inode_id, file, &object)?);
        }
        host.dump_shared_memory(u64::from(shmid), object_fd(&object), file.size)?;
        self.entries.push(MemfdInodeEntry {
            name: name.to_vec(),
            uid: file.uid,
            gid: file.gid,
            size: file.size,
            shmid,
            seals,
            inode_id: u64::from(inode_id),
            hugetlb_flag: is_huge.then_some(libc::MFD_HUGETLB | huge_log << libc::MFD_HUGE_SHIFT),
            mode: Some(file.mode),
        });
        self.known.insert((file.dev, file.ino), inode_id);
        Ok(inode_id)
    }

    /// The number of the shared memory image: that of the inode, unless another object has it.
    fn shmid(host: &Host<'_>, ino: u64) -> Result<u32> {
        // Whoever is first in the sequence of a number has it; kinds agree on its name.
        let is_free =
            |shmid: u32| -> Result<bool> { Ok(host.next_id(&format!("pagemap-shmem-{shmid}"))? == 1) };
        if let Ok(shmid) = u32::try_from(ino)
            && is_free(shmid)?
        {
            return Ok(shmid);
        }
        loop {
            let shmid = u32::MAX - host.next_id("memfd-shmid")?;
            if is_free(shmid)? {
                return Ok(shmid);
            }
        }
    }

    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut image = image::create(host, &magic::MEMFD_INODE)?;
        for entry in &self.entries {
            image.entry(entry)?;
        }
        image.finish()?;
        attrs::write(host, &self.attrs)
    }
}

fn object_fd(object: &impl std::os::fd::AsRawFd) -> i32 {
    object.as_raw_fd()
}

/// The name in the image: what memfd_create(2) was given, or the path that the kernel gives to shared
/// anonymous memory. `None` for a file that is only called like one.
fn name(file: &FileTarget) -> Option<&[u8]> {
    if file.nlink != 0 || file.mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let path = file.link.strip_suffix(DELETED)?;
    path.strip_prefix(b"/memfd:").or_else(|| {
        let is_anonymous = path == crate::object::ANONYMOUS || path == crate::object::ANONYMOUS_HUGE;
        is_anonymous.then_some(path)
    })
}

fn describe(file: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&file.link);
    match file.purpose() {
        Purpose::Descriptor => format!("{link} of pid {}, fd {}", file.pid, file.fd),
        _ => format!("{link} of pid {}", file.pid),
    }
}
