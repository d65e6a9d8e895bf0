//! Brings deleted files back for as long as a restore takes: under their old path where it is free,
//! otherwise under a name beside it. The names go at the end.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

use criu_plugin_api::huge_pages;
use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::framing::ImageReader;
use criu_proto::images::{GhostChunkEntry, GhostFileEntry, RegFileEntry, Timeval};
use criu_proto::magic;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, futimens, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::ghost_attrs::GhostAttrs;
use super::name::path_of;
use crate::images;

/// Most names that are tried beside a path that is taken.
const MAX_TRIES: u32 = 1000;

/// A name that exists only during the restore.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) path: PathBuf,
    pub(super) is_dir: bool,
}

impl Created {
    pub(super) fn remove(&self) -> Result<()> {
        let removed = if self.is_dir {
            std::fs::remove_dir(&self.path)
        } else {
            std::fs::remove_file(&self.path)
        };
        removed.context(|| {
            format!(
                "removing {}, which stood in for a deleted file",
                self.path.display()
            )
        })
    }
}

/// A ghost of the image set.
pub(super) struct Ghost {
    id: u32,
    header: GhostFileEntry,
    attrs: Option<GhostAttrs>,
}

/// What a ghost's image holds, and the image, at what follows its header.
fn open_image(host: &Host<'_>, id: u32) -> Result<(GhostFileEntry, ImageReader<BufReader<File>>)> {
    let name = magic::GHOST_FILE.file_name(u64::from(id));
    let mut image = images::open(host, &name, &magic::GHOST_FILE)?
        .ok_or_else(|| Error::new(format!("image {name} is missing, which holds a deleted file")))?;
    Ok((image.entry()?, image))
}

impl Ghost {
    /// Checks the header of a ghost's image, which is opened again when the file is made: there may be more ghosts than
    /// this process may have files open. `attrs` are what else is known of it.
    pub(super) fn read(host: &Host<'_>, id: u32, attrs: Option<GhostAttrs>) -> Result<Self> {
        let name = magic::GHOST_FILE.file_name(u64::from(id));
        let (header, _) = open_image(host, id)?;
        let is_sparse = header.chunks == Some(true);
        if is_sparse && header.size.is_none() {
            return Err(Error::new(format!(
                "image {name} has chunks but no size: damaged"
            )));
        }
        Ok(Self { id, header, attrs })
    }

    pub(super) fn is_dir(&self) -> bool {
        self.format() == libc::S_IFDIR
    }

    pub(super) fn is_regular(&self) -> bool {
        self.format() == libc::S_IFREG
    }

    /// The flags of its inode that it gets when it has no name any more.
    pub(super) fn protection(&self) -> u32 {
        self.attrs.as_ref().map_or(0, GhostAttrs::protection)
    }

    fn format(&self) -> u32 {
        self.header.mode & libc::S_IFMT
    }

    /// Creates the file for the entry that refers to it.
    pub(super) fn create(self, host: &Host<'_>, entry: &RegFileEntry, path: &Path) -> Result<Created> {
        let what = format!("bringing back the deleted file {}", path.display());
        let mut folder = path.parent().unwrap_or(Path::new("/"));
        let mut name = path.to_path_buf();
        let mut tries = 0;
        while let Err(errno) = self.make(&name) {
            if matches!(errno, Errno::ENOTDIR | Errno::ENOENT)
                && let Some(above) = folder.parent()
            {
                // What was a directory is something else now: one above it will do.
                folder = above;
            } else if errno != Errno::EEXIST || tries == MAX_TRIES {
                return Err(Error::new(format!(
                    "{what} as {}: {}",
                    name.display(),
                    errno.desc()
                )));
            }
            tries += 1;
            name = folder.join(format!(".criu-ghost-{:x}.{tries}", self.id));
        }
        let created = Created {
            path: name,
            is_dir: self.is_dir(),
        };
        match self.fill(host, entry, &created.path) {
            Ok(()) => Ok(created),
            Err(error) => {
                // The first cause is what the user must hear of.
                let _removal = created.remove();
                Err(error.context(what))
            }
        }
    }

    /// Creates a file without a name where it once was made, and gives the description that made it.
    pub(super) fn create_nameless(self, host: &Host<'_>, entry: &RegFileEntry, path: &Path) -> Result<File> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let what = || format!("bringing back the nameless file of {}", folder.display());
        // What can be set later is: an appending or direct description would be in the way here.
        let later = libc::O_APPEND | libc::O_DIRECT | libc::O_ASYNC | libc::O_NONBLOCK;
        let never = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
        let flags = entry.flags.cast_signed() & !later & !never | libc::O_TMPFILE | libc::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = open(folder, OFlag::from_bits_retain(flags), mode).context(what)?;
        // Through a description of its own, which leaves the offset alone.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.fill(host, entry, Path::new(&path)).context(what)?;
        Ok(file.into())
    }

    /// Makes the name, with an empty file of the right type that nobody else may touch yet.
    fn make(&self, path: &Path) -> nix::Result<()> {
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let io = |e: std::io::Error| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        match self.format() {
            libc::S_IFREG => {
                let mut options = OpenOptions::new();
                options
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map(drop)
                    .map_err(io)
            }
            libc::S_IFDIR => std::fs::create_dir(path).map_err(io),
            libc::S_IFLNK => symlink(path_of(self.header.symlnk_target()), path).map_err(io),
            libc::S_IFIFO => mknod(path, SFlag::S_IFIFO, private, 0),
            libc::S_IFSOCK => mknod(path, SFlag::S_IFSOCK, private, 0),
            libc::S_IFCHR => mknod(path, SFlag::S_IFCHR, private, u64::from(self.header.rdev())),
            libc::S_IFBLK => mknod(path, SFlag::S_IFBLK, private, u64::from(self.header.rdev())),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Content, then owner, mode and times, each of which the one before may change.
    fn fill(&self, host: &Host<'_>, entry: &RegFileEntry, path: &Path) -> Result<()> {
        let (uid, gid) = (Some(self.header.uid), Some(self.header.gid));
        let mode = self.header.mode & 0o7777;
        match self.format() {
            libc::S_IFREG => {
                // Huge pages are filled through a mapping, which has to read as well.
                let mut file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(path)
                    .context(|| "opening it")?;
                if let Some(attrs) = &self.attrs {
                    // Some can be had by an empty file alone.
                    attrs.apply_flags(&file)?;
                }
                let page = huge_pages::page_size(&file).context(|| "asking for its file system")?;
                match page {
                    Some(page) => self.write_huge(host, entry, &file, page)?,
                    None => self.write_content(host, entry, &mut file)?,
                }
                fchown(&file, uid, gid).context(|| format!("giving it to {uid:?}:{gid:?}"))?;
                let permissions = std::fs::Permissions::from_mode(mode);
                file.set_permissions(permissions)
                    .context(|| format!("setting mode {mode:o}"))?;
                if let Some(attrs) = &self.attrs {
                    attrs.apply(path, true)?;
                }
                if let Some((atim, mtim)) = self.times() {
                    futimens(&file, &atim, &mtim).context(|| "setting its times")?;
                }
            }
            format => {
                let follow = format != libc::S_IFLNK;
                lchown(path, uid, gid).context(|| format!("giving it to {uid:?}:{gid:?}"))?;
                if follow {
                    let permissions = std::fs::Permissions::from_mode(mode);
                    std::fs::set_permissions(path, permissions)
                        .context(|| format!("setting mode {mode:o}"))?;
                }
                if let Some(attrs) = &self.attrs {
                    attrs.apply(path, follow)?;
                    if format == libc::S_IFDIR {
                        attrs.apply_flags(File::open(path).context(|| "opening it")?)?;
                    }
                }
                if let Some((atim, mtim)) = self.times() {
                    let flag = UtimensatFlags::NoFollowSymlink;
                    utimensat(AT_FDCWD, path, &atim, &mtim, flag).context(|| "setting its times")?;
                }
            }
        }
        Ok(())
    }

    /// Access and modification time, if the image has them.
    fn times(&self) -> Option<(TimeSpec, TimeSpec)> {
        let time = |t: &Timeval| {
            let nanoseconds = (t.tv_usec % 1_000_000).cast_signed() * 1000;
            TimeSpec::new(t.tv_sec.cast_signed(), nanoseconds)
        };
        Some((time(self.header.atim.as_ref()?), time(self.header.mtim.as_ref()?)))
    }

    fn write_content(&self, host: &Host<'_>, entry: &RegFileEntry, file: &mut File) -> Result<()> {
        let (_, mut image) = open_image(host, self.id)?;
        let size = if self.header.chunks == Some(true) {
            let size = self.header.size();
            file.set_len(size)
                .context(|| format!("setting its size to {size}"))?;
            while let Some(chunk) = next_chunk(&mut image, size)? {
                file.seek(SeekFrom::Start(chunk.off))
                    .context(|| format!("seeking to {}", chunk.off))?;
                image.copy_payload(chunk.len, file)?;
            }
            size
        } else {
            image.copy_rest(file)?
        };
        check_size(entry, size, image.file())
    }

    /// The same for a file of huge pages.
    fn write_huge(&self, host: &Host<'_>, entry: &RegFileEntry, file: &File, page: u64) -> Result<()> {
        let (_, mut image) = open_image(host, self.id)?;
        let mut filler = huge_pages::Filler::new(file, page);
        let size = if self.header.chunks == Some(true) {
            let size = self.header.size();
            while let Some(chunk) = next_chunk(&mut image, size)? {
                filler.seek(chunk.off);
                image.copy_payload(chunk.len, &mut filler)?;
            }
            size
        } else {
            image.copy_rest(&mut filler)?
        };
        file.set_len(size)
            .context(|| format!("setting its size to {size}, in pages of {page} bytes"))?;
        check_size(entry, size, image.file())
    }
}

/// The next chunk of a sparse file, whose content follows.
fn next_chunk(image: &mut ImageReader<BufReader<File>>, size: u64) -> Result<Option<GhostChunkEntry>> {
    let chunk = image.next_entry::<GhostChunkEntry>()?;
    if let Some(chunk) = &chunk
        && chunk.off.checked_add(chunk.len).is_none_or(|end| end > size)
    {
        return Err(Error::new(format!(
            "{}: a chunk of {} bytes at {} lies outside of the file's {size}: damaged",
            image.file(),
            chunk.len,
            chunk.off
        )));
    }
    Ok(chunk)
}

fn check_size(entry: &RegFileEntry, size: u64, file: impl std::fmt::Display) -> Result<()> {
    match entry.size {
        Some(saved) if saved != size => Err(Error::new(format!(
            "{file} holds {size} bytes of content, the file had {saved}: damaged"
        ))),
        _ => Ok(()),
    }
}
