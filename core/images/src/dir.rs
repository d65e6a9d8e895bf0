//! The image directory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criu_proto::Described;
use criu_proto::framing::{FrameError, ImageReader, ImageWriter};
use criu_proto::images::InventoryEntry;
use criu_proto::magic::{self, ImageKind};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use crate::{Error, Result};

/// The symbolic link to the set that an incremental one builds on.
pub const PARENT_LINK: &str = "parent";
/// The inventory while it is being written.
pub(crate) const INVENTORY_ASIDE: &str = "inventory.img.tmp";
/// `img_version` of the layout that is read and written.
const IMG_VERSION: u32 = 2;

/// A reader of an image file.
pub type FileReader = ImageReader<BufReader<File>>;
/// A writer of an image file. What is written is only safely in the file after
/// [`ImageWriter::finish`].
pub type FileWriter = ImageWriter<BufWriter<File>>;

/// An image directory. Clones share the descriptor.
#[derive(Debug, Clone)]
pub struct ImageDir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    kept: bool,
}

impl ImageDir {
    /// Opens the directory at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_at(AT_FDCWD, path.as_ref(), path.as_ref().to_owned())
    }

    /// Takes an open directory, for example one that a client handed over.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let path = std::fs::read_link(&link).unwrap_or_else(|_| link.into());
        let stat = fstat(&fd).map_err(|e| io_error("inspect", &path, e))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
            return Err(io_error("use as an image directory", &path, Errno::ENOTDIR));
        }
        Ok(Self {
            fd: Arc::new(fd),
            path,
            kept: true,
        })
    }

    /// A directory of which nothing is kept: its files have no name (they lie in the folder for temporary files), live
    /// as long as they are open, and none is found again.
    pub fn unkept() -> Result<Self> {
        let path = Path::new("/");
        let mut dir = Self::open_at(AT_FDCWD, path, path.to_owned())?;
        dir.kept = false;
        Ok(dir)
    }

    /// Whether what is written is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    fn open_at(at: impl AsFd, name: &Path, path: PathBuf) -> Result<Self> {
        // For names alone: opening it for reading is told to whoever watches it.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match openat(at, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self {
                fd: Arc::new(fd),
                path,
                kept: true,
            }),
            Err(e) => Err(io_error("open image directory", &path, e)),
        }
    }

    /// Where the directory was when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the directory, for messages.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Adds the directory to what the framing says.
    pub fn frame_error(&self, source: FrameError) -> Error {
        Error::Frame {
            dir: self.path.display().to_string(),
            source,
        }
    }

    // Files by name.

    /// Creates a file of the set, readable and writable, mode 0644 less the umask. A file of that name
    /// is replaced, not overwritten: whoever has it open, or another link to it, keeps the old content.
    pub fn create_raw(&self, name: &str) -> Result<File> {
        plain(name)?;
        if !self.kept {
            let flags = OFlag::O_RDWR | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
            let made = openat(
                AT_FDCWD,
                &std::env::temp_dir(),
                flags,
                Mode::S_IRUSR | Mode::S_IWUSR,
            );
            return made.map(File::from).map_err(|e| self.io_error("create", name, e));
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let mut made = openat(&*self.fd, name, flags, mode);
        if matches!(made, Err(Errno::EEXIST)) {
            self.remove(name)?;
            made = openat(&*self.fd, name, flags, mode);
        }
        made.map(File::from).map_err(|e| self.io_error("create", name, e))
    }

    /// Opens a file of the set for reading; `None` when there is none of that name.
    pub fn open_raw_if_exists(&self, name: &str) -> Result<Option<File>> {
        plain(name)?;
        if !self.kept {
            return Ok(None);
        }
        // Without O_NONBLOCK a FIFO of that name would hang the open.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match openat(&*self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(self.io_error("open", name, e)),
        };
        let data = file.metadata().map_err(|e| self.std_error("inspect", name, e))?;
        if !data.is_file() {
            return Err(Error::NotAFile {
                file: self.path_of(name),
            });
        }
        Ok(Some(file))
    }

    /// Opens a file of the set for reading.
    pub fn open_raw(&self, name: &str) -> Result<File> {
        let file = self.open_raw_if_exists(name)?;
        file.ok_or_else(|| self.io_error("open", name, Errno::ENOENT))
    }

    /// Whether the set has a file of that name.
    pub fn exists(&self, name: &str) -> Result<bool> {
        plain(name)?;
        if !self.kept {
            return Ok(false);
        }
        match fstatat(&*self.fd, name, AtFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(self.io_error("inspect", name, e)),
        }
    }

    /// Removes a file of the set, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        plain(name)?;
        if !self.kept {
            return Ok(());
        }
        match unlinkat(&*self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(self.io_error("remove", name, e)),
        }
    }

    /// The names of all files in the directory, sorted. Names that are not UTF-8 are no image's and
    /// are left out.
    pub fn list(&self) -> Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::openat(&*self.fd, ".", flags, Mode::empty())
            .map_err(|e| io_error("list", &self.path, e))?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|e| io_error("list", &self.path, e))?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    // Images by kind.

    /// Creates the image of a kind with a number (ignored by kinds whose name has none).
    pub fn create(&self, kind: &ImageKind, id: u64) -> Result<FileWriter> {
        self.create_named(kind, &kind.file_name(id))
    }

    /// Creates an image of a kind under any name.
    pub fn create_named(&self, kind: &ImageKind, name: &str) -> Result<FileWriter> {
        let file = BufWriter::new(self.create_raw(name)?);
        ImageWriter::new(file, name, kind).map_err(|e| self.frame_error(e))
    }

    /// Opens the image of a kind with a number.
    pub fn open_image(&self, kind: &ImageKind, id: u64) -> Result<FileReader> {
        self.open_named(kind, &kind.file_name(id))
    }

    /// Opens the image of a kind with a number; `None` when the set has none.
    pub fn open_image_if_exists(&self, kind: &ImageKind, id: u64) -> Result<Option<FileReader>> {
        let name = kind.file_name(id);
        self.open_raw_if_exists(&name)?
            .map(|file| self.reader(file, kind, &name))
            .transpose()
    }

    /// Opens an image of a kind under any name.
    pub fn open_named(&self, kind: &ImageKind, name: &str) -> Result<FileReader> {
        self.reader(self.open_raw(name)?, kind, name)
    }

    fn reader(&self, file: File, kind: &ImageKind, name: &str) -> Result<FileReader> {
        let size = file
            .metadata()
            .map_err(|e| self.std_error("inspect", name, e))?
            .len();
        ImageReader::new(BufReader::new(file), name, Some(size), kind).map_err(|e| self.frame_error(e))
    }

    /// Writes an image of one entry.
    pub fn write_one<M: Described>(&self, kind: &ImageKind, id: u64, message: &M) -> Result<()> {
        self.write_all(kind, id, std::iter::once(message))
    }

    /// Writes an image of entries without payload.
    pub fn write_all<'a, M: Described>(
        &self,
        kind: &ImageKind,
        id: u64,
        messages: impl IntoIterator<Item = &'a M>,
    ) -> Result<()> {
        let mut image = self.create(kind, id)?;
        let written = messages.into_iter().try_for_each(|message| image.entry(message));
        written
            .and_then(|()| image.finish().map(drop))
            .map_err(|e| self.frame_error(e))
    }

    /// Reads an image of exactly one entry.
    pub fn read_one<M: Described>(&self, kind: &ImageKind, id: u64) -> Result<M> {
        let mut image = self.open_image(kind, id)?;
        let message = image.entry().map_err(|e| self.frame_error(e))?;
        image.finish().map_err(|e| self.frame_error(e))?;
        Ok(message)
    }

    /// Reads an image of exactly one entry; `None` when the set has no such file.
    pub fn read_one_if_exists<M: Described>(&self, kind: &ImageKind, id: u64) -> Result<Option<M>> {
        let name = kind.file_name(id);
        if self.exists(&name)? {
            self.read_one(kind, id).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads an image of entries without payload; no file means no entries.
    pub fn read_all<M: Described>(&self, kind: &ImageKind, id: u64) -> Result<Vec<M>> {
        let Some(mut image) = self.open_image_if_exists(kind, id)? else {
            return Ok(Vec::new());
        };
        image
            .entries()
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| self.frame_error(e))
    }

    // The set as a whole.

    /// Marks the set as complete: writes the inventory, aside and then renamed, so that it is there
    /// whole or not at all. Call it after the last image is written.
    pub fn finish_dump(&self, inventory: &InventoryEntry) -> Result<()> {
        let written = self.write_inventory(inventory);
        if written.is_err() {
            // The first error is the one to report.
            let _ = self.remove(INVENTORY_ASIDE);
        }
        written
    }

    fn write_inventory(&self, inventory: &InventoryEntry) -> Result<()> {
        let name = magic::INVENTORY.file_name(0);
        let mut image = self.create_named(&magic::INVENTORY, INVENTORY_ASIDE)?;
        image.entry(inventory).map_err(|e| self.frame_error(e))?;
        image.finish().map_err(|e| self.frame_error(e))?;
        renameat(&*self.fd, INVENTORY_ASIDE, &*self.fd, name.as_str())
            .map_err(|e| self.io_error("complete the set by renaming inventory.img.tmp to", &name, e))
    }

    /// Whether the set is complete.
    pub fn is_complete(&self) -> Result<bool> {
        self.exists(&magic::INVENTORY.file_name(0))
    }

    /// The inventory of a complete set of the supported version.
    pub fn inventory(&self) -> Result<InventoryEntry> {
        let dir = || self.path.display().to_string();
        let found = self.read_one_if_exists::<InventoryEntry>(&magic::INVENTORY, 0)?;
        let inventory = found.ok_or_else(|| Error::Incomplete { dir: dir() })?;
        if inventory.img_version != IMG_VERSION {
            return Err(Error::Version {
                dir: dir(),
                found: inventory.img_version,
            });
        }
        Ok(inventory)
    }

    /// The set that this one builds on, if any.
    pub fn parent(&self) -> Result<Option<ImageDir>> {
        let target = match readlinkat(&*self.fd, PARENT_LINK) {
            Ok(target) => PathBuf::from(target),
            Err(Errno::ENOENT) => return Ok(None),
            // A directory in place of a link is followed too.
            Err(Errno::EINVAL) => PathBuf::from(PARENT_LINK),
            Err(e) => return Err(self.io_error("read", PARENT_LINK, e)),
        };
        let path = self.path.join(target);
        Self::open_at(&*self.fd, Path::new(PARENT_LINK), path).map(Some)
    }

    /// Makes the set build on the one at `target`, a path relative to this set's directory (or
    /// absolute). It must be there.
    pub fn set_parent(&self, target: &Path) -> Result<()> {
        Self::open_at(&*self.fd, target, self.path.join(target))?;
        self.remove(PARENT_LINK)?;
        symlinkat(target, &*self.fd, PARENT_LINK).map_err(|e| self.io_error("create link", PARENT_LINK, e))
    }

    /// Device and inode number of the directory.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        let stat = fstat(&*self.fd).map_err(|e| io_error("inspect", &self.path, e))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn io_error(&self, action: &'static str, name: &str, errno: Errno) -> Error {
        self.std_error(action, name, errno.into())
    }

    pub(crate) fn std_error(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        Error::Io {
            action,
            file: self.path_of(name),
            source,
        }
    }
}

impl AsFd for ImageDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn io_error(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Io {
        action,
        file: path.display().to_string(),
        source: errno.into(),
    }
}

/// Image names come from numbers in other images, and from plugins: none may lead out of the set.
fn plain(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::Name {
            name: name.to_owned(),
        });
    }
    Ok(())
}
