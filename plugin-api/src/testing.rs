//! A host for the unit tests of a plugin: it serves this very process.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;

use crate::host::Services;
use crate::message::{FileRecord, FileTarget, Purpose, RemoteCall, RemoteResult, Slot, TaskInfo};
use crate::{Context, Error, Result};

/// What answers [`Services::remote_call`] in a test.
pub type RemoteAnswer = Box<dyn Fn(&RemoteCall) -> Result<RemoteResult>>;

/// A host whose target is the process of the test. Images live in memory; the fields say what the
/// services answer.
#[derive(Default)]
pub struct MockHost {
    /// Settings of the core, by name.
    pub settings: HashMap<String, Vec<String>>,
    /// Options of the plugin, by name.
    pub options: HashMap<String, String>,
    /// The tree.
    pub tasks: Vec<TaskInfo>,
    /// The descriptor tables, by pid.
    pub descriptors: HashMap<i32, Vec<Slot>>,
    /// The files of the image set.
    pub files: HashMap<u32, FileRecord>,
    /// What `open_path` opens (read only unless flags are given), by id.
    pub paths: HashMap<u32, std::path::PathBuf>,
    /// Files that tasks have opened.
    pub opened: HashMap<u32, OwnedFd>,
    /// Descriptors handed over by the user.
    pub inherited: HashMap<String, OwnedFd>,
    /// What remote system calls answer; without it they fail.
    pub remote: Option<RemoteAnswer>,
    /// The contents of shared memory: dumped ones are found here, restored ones are taken from here.
    pub memory: RefCell<HashMap<u64, Vec<u8>>>,
    /// Lines that were logged.
    pub lines: RefCell<Vec<String>>,
    /// Calls handed to `undo_on_death`.
    pub undo: RefCell<Vec<RemoteCall>>,
    /// Whether `tasks_are_held` was called.
    pub held: std::cell::Cell<bool>,
    /// Threads handed to `early_thread`.
    pub early: RefCell<Vec<i32>>,
    /// Paths and files that were dumped by `dump_path` and `dump_file`: id and link.
    pub dumped: RefCell<Vec<(u32, Vec<u8>)>>,
    images: RefCell<BTreeMap<String, File>>,
    ids: RefCell<HashMap<String, u32>>,
}

impl std::fmt::Debug for MockHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockHost")
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

impl MockHost {
    /// A host that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of the images that were created.
    pub fn images(&self) -> Vec<String> {
        self.images.borrow().keys().cloned().collect()
    }

    /// Puts an image into the set, with these bytes.
    ///
    /// # Errors
    /// There is no memory file.
    pub fn put_image(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = memory_file(name)?;
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).context(|| format!("filling {name}"))?;
        self.images.borrow_mut().insert(name.to_owned(), file);
        Ok(())
    }
}

/// An empty file in memory.
///
/// # Errors
/// The kernel's.
pub fn memory_file(name: &str) -> Result<File> {
    let name = std::ffi::CString::new(name).map_err(|_| Error::new("a name with a NUL"))?;
    // SAFETY: the name is a C string; the call returns a new descriptor or -1.
    let fd = Errno::result(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })
        .context(|| "making a file in memory")?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A descriptor of this process as the core would hand it to a kind: as descriptor `fd` of process
/// `getpid()`, file id 1, without an owner.
///
/// # Errors
/// A look at it failed.
pub fn file_target(fd: impl AsFd) -> Result<FileTarget> {
    let raw = fd.as_fd().as_raw_fd();
    let copy = fd
        .as_fd()
        .try_clone_to_owned()
        .context(|| format!("copying descriptor {raw}"))?;
    let meta = File::from(copy)
        .metadata()
        .context(|| format!("stat of descriptor {raw}"))?;
    let link = std::fs::read_link(format!("/proc/self/fd/{raw}"))
        .context(|| format!("reading the link of descriptor {raw}"))?;
    // SAFETY: both take and return plain numbers.
    let (flags, pos) = unsafe {
        (
            libc::fcntl(raw, libc::F_GETFL),
            libc::lseek(raw, 0, libc::SEEK_CUR),
        )
    };
    Ok(FileTarget {
        id: 1,
        pid: std::process::id().cast_signed(),
        fd: raw,
        local_fd: raw,
        purpose: Purpose::Descriptor as i32,
        link: link.as_os_str().as_bytes().to_vec(),
        dev: meta.dev(),
        ino: meta.ino(),
        mode: meta.mode(),
        nlink: meta.nlink(),
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: meta.rdev(),
        size: meta.size(),
        flags: flags.cast_unsigned(),
        pos: u64::try_from(pos).unwrap_or(0),
        mnt_id: -1,
        cloexec: false,
        fown: Vec::new(),
    })
}

fn copy(fd: &impl AsFd) -> Result<RawFd> {
    let owned = fd
        .as_fd()
        .try_clone_to_owned()
        .context(|| "copying a descriptor")?;
    Ok(owned.into_raw_fd())
}

fn missing(what: impl std::fmt::Display) -> Error {
    Error::new(format!("the test's host has no {what}"))
}

impl Services for MockHost {
    fn log(&self, level: u32, target: &str, text: &str) {
        self.lines.borrow_mut().push(format!("{level} {target}: {text}"));
    }

    fn settings(&self, name: &str) -> Result<Vec<String>> {
        if name == "inherit-fd" && !self.settings.contains_key(name) {
            // As the user gives them; the numbers are those of the shell.
            return Ok(self.inherited.keys().map(|key| format!("fd[9]:{key}")).collect());
        }
        Ok(self.settings.get(name).cloned().unwrap_or_default())
    }

    fn plugin_option(&self, _: &str, name: &str) -> Result<Option<String>> {
        Ok(self.options.get(name).cloned())
    }

    fn progress(&self, text: &str) {
        self.lines.borrow_mut().push(text.to_owned());
    }

    fn image(&self, name: &str, create: bool) -> Result<Option<RawFd>> {
        if create {
            self.images
                .borrow_mut()
                .insert(name.to_owned(), memory_file(name)?);
        }
        let images = self.images.borrow();
        let Some(file) = images.get(name) else {
            return Ok(None);
        };
        // Opened anew, so that each has its own offset.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = File::options().read(true).write(create).open(path);
        Ok(Some(
            opened.context(|| format!("opening image {name}"))?.into_raw_fd(),
        ))
    }

    fn tasks(&self) -> Result<Vec<TaskInfo>> {
        Ok(self.tasks.clone())
    }

    fn descriptors(&self, pid: i32) -> Result<Vec<Slot>> {
        self.descriptors
            .get(&pid)
            .cloned()
            .ok_or_else(|| missing(format_args!("process {pid}")))
    }

    fn namespace_id(&self, _: i32, kind: &str) -> Result<u32> {
        Ok(u32::from(
            std::path::Path::new("/proc/self/ns").join(kind).exists(),
        ))
    }

    fn target_fd(&self, _: i32, fd: i32) -> Result<RawFd> {
        // SAFETY: F_DUPFD_CLOEXEC takes and returns plain numbers.
        Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
            .context(|| format!("copying descriptor {fd}"))
    }

    fn fdinfo(&self, _: i32, fd: i32) -> Result<Vec<u8>> {
        std::fs::read(format!("/proc/self/fdinfo/{fd}")).context(|| format!("reading fdinfo of {fd}"))
    }

    fn dump_file(&self, _: i32, local_fd: i32) -> Result<u32> {
        let link = std::fs::read_link(format!("/proc/self/fd/{local_fd}"))
            .context(|| format!("reading the link of descriptor {local_fd}"))?;
        let id = self.next_id("file")?;
        self.dumped
            .borrow_mut()
            .push((id, link.as_os_str().as_bytes().to_vec()));
        Ok(id)
    }

    fn dump_path(&self, file: &FileTarget) -> Result<u32> {
        let id = self.next_id("file")?;
        self.dumped.borrow_mut().push((id, file.link.clone()));
        Ok(id)
    }

    fn file_at(&self, pid: i32, fd: i32) -> Result<Option<u32>> {
        Ok(self
            .descriptors(pid)?
            .iter()
            .find(|slot| slot.fd == fd)
            .map(|slot| slot.file_id))
    }

    fn next_id(&self, sequence: &str) -> Result<u32> {
        let mut ids = self.ids.borrow_mut();
        let id = ids.entry(sequence.to_owned()).or_default();
        *id += 1;
        Ok(*id)
    }

    fn dump_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        let file = File::open(format!("/proc/self/fd/{local_fd}")).context(|| "opening shared memory")?;
        let length = usize::try_from(size).map_err(|_| Error::new("the object is too large"))?;
        let mut bytes = vec![0; length];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)
            .context(|| "reading shared memory")?;
        self.memory.borrow_mut().insert(id, bytes);
        Ok(())
    }

    fn restore_shared_memory(&self, id: u64, local_fd: i32, _: u64) -> Result<()> {
        let memory = self.memory.borrow();
        let bytes = memory
            .get(&id)
            .ok_or_else(|| missing(format_args!("shared memory {id}")))?;
        let file = File::options()
            .write(true)
            .open(format!("/proc/self/fd/{local_fd}"))
            .context(|| "opening shared memory")?;
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).context(|| "filling shared memory")
    }

    fn remote_call(&self, call: &RemoteCall) -> Result<RemoteResult> {
        self.remote.as_ref().ok_or_else(|| missing("remote calls"))?(call)
    }

    fn undo_on_death(&self, call: &RemoteCall) -> Result<()> {
        self.undo.borrow_mut().push(call.clone());
        Ok(())
    }

    fn file(&self, id: u32) -> Result<FileRecord> {
        self.files
            .get(&id)
            .cloned()
            .ok_or_else(|| missing(format_args!("file {id}")))
    }

    fn opened(&self, id: u32) -> Result<Option<RawFd>> {
        self.opened.get(&id).map(copy).transpose()
    }

    fn open_path(&self, id: u32, flags: Option<u32>) -> Result<RawFd> {
        let path = self
            .paths
            .get(&id)
            .ok_or_else(|| missing(format_args!("path {id}")))?;
        let flags = flags.unwrap_or(0).cast_signed() | libc::O_CLOEXEC;
        let name = std::ffi::CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::new("a path with a NUL"))?;
        // SAFETY: the path is a C string; without O_CREAT (no mode is given) the rest are numbers.
        Errno::result(unsafe { libc::open(name.as_ptr(), flags & !(libc::O_CREAT | libc::O_TMPFILE)) })
            .context(|| format!("opening {}", path.display()))
    }

    fn inherited(&self, key: &str) -> Result<Option<RawFd>> {
        self.inherited.get(key).map(copy).transpose()
    }

    fn tasks_are_held(&self) -> Result<()> {
        self.held.set(true);
        Ok(())
    }

    fn files(&self) -> Result<Vec<u32>> {
        let mut ids: Vec<u32> = self.files.keys().copied().collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn early_thread(&self, tid: i32) -> Result<()> {
        self.early.borrow_mut().push(tid);
        Ok(())
    }

    // Those of this process never stand still.
    fn let_workers(&self, _: i32, _: bool) -> Result<()> {
        Ok(())
    }
}
