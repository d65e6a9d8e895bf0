//! Carries a deleted file in the image: `ghost-file-ID.img`, the header and, for a regular file, its
//! content; only the runs of data where the file has holes.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Host, Result, Verdict};
use criu_proto::framing::ImageWriter;
use criu_proto::images::{GhostChunkEntry, GhostFileEntry, Timeval};
use criu_proto::magic;
use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, fstat, major, minor};

use super::dump::Dump;
use super::ghost_attrs::GhostAttrs;
use super::sparse::{self, Chunk};
use super::{Shared, name};
use crate::{images, sys};

/// Saves a deleted file, once an inode, and returns its ghost id.
pub(super) fn keep(shared: &Shared<Dump>, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<u32>> {
    let inode = (file.dev, file.ino);
    if let Some(&id) = shared.lock().ghosts.get(&inode) {
        return Ok(Verdict::Entry(id));
    }
    let what = || format!("looking at the deleted file {}", name::object(file));
    let stat = fstat(sys::local(file)).context(what)?;
    let mut header = header(&stat);
    let content = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => match Content::find(shared, host, file, &stat)? {
            Verdict::Entry(content) => Some(content),
            Verdict::NotMine => return Ok(Verdict::NotMine),
            Verdict::Refused(refusal) => return Ok(Verdict::Refused(refusal)),
        },
        libc::S_IFLNK => {
            let target = readlinkat(sys::local(file), "").context(what)?;
            header.symlnk_target = Some(target.into_vec());
            None
        }
        _ => None,
    };
    if let Some(Content {
        chunks: Some(_),
        size,
        ..
    }) = &content
    {
        header.chunks = Some(true);
        header.size = Some(*size);
    }
    let id = host.next_id("ghost")?;
    let image_name = magic::GHOST_FILE.file_name(u64::from(id));
    let mut image = images::create(host, &image_name, &magic::GHOST_FILE)?;
    image.entry(&header)?;
    if let Some(mut content) = content {
        content
            .write(&mut image)
            .context(|| format!("saving the deleted file {}", name::object(file)))?;
    }
    image.finish()?;
    let attrs = GhostAttrs::of(id, file)?;
    let mut dump = shared.lock();
    dump.ghosts.insert(inode, id);
    dump.ghost_attrs.extend(attrs);
    Ok(Verdict::Entry(id))
}

fn header(stat: &FileStat) -> GhostFileEntry {
    let time = |seconds: i64, nanoseconds: i64| Timeval {
        // Before 1970 it is negative, which the field has no sign for.
        tv_sec: seconds.cast_unsigned(),
        tv_usec: (nanoseconds / 1000).unsigned_abs(),
    };
    let is_device = matches!(stat.st_mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
    GhostFileEntry {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode,
        dev: Some(kernel_dev(stat.st_dev)),
        ino: Some(stat.st_ino),
        rdev: is_device.then_some(stat.st_rdev as u32),
        atim: Some(time(stat.st_atime, stat.st_atime_nsec)),
        mtim: Some(time(stat.st_mtime, stat.st_mtime_nsec)),
        ..GhostFileEntry::default()
    }
}

/// The kernel's own encoding of a device number, which the image has: 12 bits major, 20 bits minor.
fn kernel_dev(dev: u64) -> u32 {
    ((major(dev) as u32) << 20) | (minor(dev) as u32 & 0xf_ffff)
}

/// The content of a deleted regular file.
struct Content {
    file: File,
    size: u64,
    /// The runs of data of a sparse file.
    chunks: Option<Vec<Chunk>>,
}

impl Content {
    fn find(
        shared: &Shared<Dump>,
        host: &Host<'_>,
        file: &FileTarget,
        stat: &FileStat,
    ) -> Result<Verdict<Self>> {
        let settings = Dump::settings(shared, host)?;
        let what = || format!("opening the deleted file {} to save it", name::object(file));
        let opened = sys::reopen_for_reading(sys::local(file)).context(what)?;
        let size = stat.st_size.unsigned_abs();
        let is_sparse = stat.st_blocks.unsigned_abs().saturating_mul(512) < size;
        let chunks = if is_sparse {
            let what = || format!("finding the holes of the deleted file {}", name::object(file));
            Some(sparse::chunks(&opened, size, settings.ghost_fiemap).context(what)?)
        } else {
            None
        };
        let data = chunks.as_ref().map_or(size, |c| c.iter().map(|c| c.length).sum());
        if data > settings.ghost_limit {
            return Ok(Verdict::refused_but(
                name::object(file),
                format!(
                    "this deleted file has {data} bytes of data, more than the {} that an image may carry",
                    settings.ghost_limit
                ),
                format!("--ghost-limit {data} allows it"),
            ));
        }
        Ok(Verdict::Entry(Self {
            file: opened,
            size,
            chunks,
        }))
    }

    fn write(&mut self, image: &mut ImageWriter<BufWriter<File>>) -> Result<()> {
        let Some(chunks) = &self.chunks else {
            return Ok(image.copy_payload(self.size, &mut self.file)?);
        };
        for &Chunk { offset, length } in chunks {
            image.entry(&GhostChunkEntry {
                len: length,
                off: offset,
            })?;
            self.file
                .seek(SeekFrom::Start(offset))
                .context(|| format!("seeking to {offset}"))?;
            image.copy_payload(length, &mut self.file)?;
        }
        Ok(())
    }
}
