//! Saves segments and attachments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use criu_plugin_api::message::{MappingImage, MappingTarget};
use criu_plugin_api::{Context, Error, ErrorCode, Host, Result, Verdict, image};
use criu_proto::framing::ImageWriter;
use criu_proto::images::{IpcDescEntry, IpcShmEntry, VmaEntry};
use criu_proto::magic;
use prost::Message;

use super::sys::{self, Segment};
use super::{ANON_SHARED, CREATORS, Creator, REGULAR, SYSVIPC};

/// The segments of a dump, by id.
#[derive(Default)]
pub(crate) struct Dump {
    segments: BTreeMap<i32, Saved>,
}

struct Saved {
    segment: Segment,
    /// The binary logarithm of the size of its pages, when they are huge.
    huge: Option<u32>,
    /// Mappings of it in the tree.
    attachments: u64,
    /// One of the processes that have attached it.
    pid: i32,
}

/// Numbers of shared memory images are those of the objects; what other kinds choose must not be the id of
/// a segment. Who gets 1 from a sequence of this name has the number.
pub(crate) fn claim_numbers(host: &Host<'_>) -> Result<()> {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").context(|| "reading /proc/sysvipc/shm")?;
    for line in text.lines().skip(1) {
        if let Some(id) = line.split_ascii_whitespace().nth(1) {
            host.next_id(&format!("pagemap-shmem-{id}"))?;
        }
    }
    Ok(())
}

fn object(pid: i32, vma: &VmaEntry, id: i32) -> String {
    format!(
        "pid {pid}, mapping {:#x}-{:#x}, System V shared memory segment {id}",
        vma.start, vma.end
    )
}

impl Dump {
    pub(crate) fn mapping(
        &mut self,
        host: &Host<'_>,
        mapping: &MappingTarget,
    ) -> Result<Verdict<MappingImage>> {
        let mut vma = VmaEntry::decode(mapping.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", mapping.pid)))?;
        let path = format!("/proc/{}/map_files/{:x}-{:x}", mapping.pid, vma.start, vma.end);
        let meta = std::fs::metadata(&path).context(|| format!("looking at {path}"))?;
        // The kernel numbers the inode of a segment by its id.
        let Some((id, segment)) = i32::try_from(meta.ino())
            .ok()
            .and_then(|id| Some((id, sys::stat(id).ok()?)))
            .filter(|(_, segment)| meta.nlink() == 0 && segment.size <= meta.size())
        else {
            return Ok(Verdict::NotMine);
        };
        let link = std::fs::symlink_metadata(&path).context(|| format!("looking at {path}"))?;
        let writable = link.permissions().mode() & libc::S_IWUSR != 0;
        if let Some(saved) = self.segments.get_mut(&id) {
            saved.attachments += 1;
        } else {
            let saved = save(host, mapping.pid, &path, id, segment)
                .context(|| format!("saving {}", object(mapping.pid, &vma, id)))?;
            self.segments.insert(id, saved);
        }
        vma.status = REGULAR | ANON_SHARED | SYSVIPC;
        vma.flags |= libc::MAP_ANONYMOUS.cast_unsigned();
        vma.shmid = u64::from(id.cast_unsigned());
        let access = if writable { libc::O_RDWR } else { libc::O_RDONLY };
        vma.fdflags = Some(access.cast_unsigned());
        Ok(Verdict::Entry(MappingImage {
            vma: vma.encode_to_vec(),
            ..MappingImage::default()
        }))
    }

    /// Everything has been seen: nobody else may use the segments, or the copies would part.
    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.segments.is_empty() {
            return Ok(());
        }
        for (&id, saved) in &self.segments {
            let now = sys::stat(id).context(|| format!("looking at segment {id} again"))?;
            if now.attachments != saved.attachments {
                return Err(used_elsewhere(id, saved, now.attachments));
            }
        }
        let name = super::image_name(host)?.ok_or_else(|| Error::new("the tree has no process"))?;
        let file = host.create_image(&name)?;
        let mut segments = ImageWriter::new(BufWriter::new(file), name, &magic::IPCNS_SHM)?;
        let mut creators = image::create(host, &CREATORS)?;
        for (id, saved) in self.segments {
            let id = id.cast_unsigned();
            segments.entry(&entry(id, &saved))?;
            creators.entry(&Creator {
                id,
                pid: saved.segment.creator,
            })?;
        }
        segments.finish()?;
        creators.finish()?;
        Ok(())
    }
}

fn save(host: &Host<'_>, pid: i32, path: &str, id: i32, segment: Segment) -> Result<Saved> {
    let file = File::open(path).context(|| format!("opening {path}"))?;
    let number = u64::from(id.cast_unsigned());
    host.dump_shared_memory(number, file.as_raw_fd(), segment.size)?;
    let pages = file
        .metadata()
        .context(|| "asking for the size of its pages")?
        .blksize();
    Ok(Saved {
        segment,
        huge: (pages > 4096 && is_huge(&file)?).then_some(pages.trailing_zeros()),
        attachments: 1,
        pid,
    })
}

fn is_huge(file: &File) -> Result<bool> {
    /// `HUGETLBFS_MAGIC` of linux/magic.h.
    const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
    let system = nix::sys::statfs::fstatfs(file).context(|| "asking for its file system")?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of f_type differs between architectures"
    )]
    Ok(system.filesystem_type().0 as i64 == HUGETLBFS_MAGIC)
}

fn entry(id: u32, saved: &Saved) -> IpcShmEntry {
    let segment = &saved.segment;
    IpcShmEntry {
        desc: IpcDescEntry {
            key: segment.key,
            uid: segment.uid,
            gid: segment.gid,
            cuid: segment.cuid,
            cgid: segment.cgid,
            mode: segment.mode,
            id,
        },
        size: segment.size,
        in_pagemaps: Some(true),
        hugetlb_flag: saved
            .huge
            .map(|log| super::SHM_HUGETLB | log << libc::MAP_HUGE_SHIFT),
    }
}

fn used_elsewhere(id: i32, saved: &Saved, now: u64) -> Error {
    let error = Error::new(format!(
        "System V shared memory segment {id} (key {:#x}) of pid {} is attached {now} times, {} of them in this tree",
        saved.segment.key, saved.pid, saved.attachments
    ));
    Error {
        code: ErrorCode::Refused,
        ..error
    }
    .with_remedy("dump the processes that share it as one tree; `ipcs -mp` and /proc/*/maps name them")
}
