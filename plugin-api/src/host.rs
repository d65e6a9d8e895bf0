//! What the host does for a plugin.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::message::{FileRecord, FileTarget, RemoteArg, RemoteCall, RemoteResult, Slot, TaskInfo};
use crate::{Error, Result};

/// A descriptor that a service returned; the caller owns it.
pub type Fd = OwnedFd;

/// The services of the host, as the core implements them.
///
/// Authors use [`Host`], which adds conveniences. Descriptors are plain numbers here: those passed in
/// are borrowed for the call, those returned belong to the caller. Services marked *dump* or *restore*
/// fail with [`ErrorCode::Unsupported`](crate::ErrorCode) in the other direction.
pub trait Services {
    /// Writes a line to the log of the run. `level`: 1 error, 2 warning, 3 info, 4 debug.
    fn log(&self, level: u32, target: &str, text: &str);

    /// The value of a setting of the core by the name of its command line option, e.g. `ghost-limit`;
    /// `None` when it is not set, "1" for a flag. Repeatable ones give all their values.
    ///
    /// # Errors
    /// The core has no such setting.
    fn settings(&self, name: &str) -> Result<Vec<String>>;

    /// The value of an option of this plugin, or its default.
    ///
    /// # Errors
    /// The plugin did not declare it.
    fn plugin_option(&self, plugin: &str, name: &str) -> Result<Option<String>>;

    /// Tells the user of long work.
    fn progress(&self, text: &str);

    /// Opens an image of the set for writing (dump) or reading (restore). Created empty; `None` when
    /// it does not exist and `create` is false. The name is a plain file name.
    ///
    /// # Errors
    /// The file system's, or a name with a slash.
    fn image(&self, name: &str, create: bool) -> Result<Option<RawFd>>;

    /// The processes of the tree, the root first, parents before children.
    ///
    /// # Errors
    /// Called before the tree is known.
    fn tasks(&self) -> Result<Vec<TaskInfo>>;

    /// The descriptor table of a process: complete at the end of a dump (`finish_dump`) and on restore;
    /// as far as it has been walked, before that.
    ///
    /// # Errors
    /// No such process.
    fn descriptors(&self, pid: i32) -> Result<Vec<Slot>>;

    /// Numbers a namespace the way the images do (`task_kobj_ids_entry`); `kind` is the name in
    /// `/proc/PID/ns`, e.g. "net". 0 when the kernel has no such namespace.
    ///
    /// # Errors
    /// No such process.
    fn namespace_id(&self, pid: i32, kind: &str) -> Result<u32>;

    /// Dump: a copy of a descriptor of a target (pidfd_getfd(2)).
    ///
    /// # Errors
    /// No such process or descriptor.
    fn target_fd(&self, pid: i32, fd: i32) -> Result<RawFd>;

    /// Dump: the text of `/proc/PID/fdinfo/FD`. It may have been read at any moment
    /// since the freeze.
    ///
    /// # Errors
    /// No such process or descriptor.
    fn fdinfo(&self, pid: i32, fd: i32) -> Result<Vec<u8>>;

    /// Dump: saves a further description that the plugin came by (a descriptor in a queue), given as a
    /// descriptor of this process, and returns its file id; a known one keeps its id. `pid` is the
    /// process in whose name it is dumped.
    ///
    /// # Errors
    /// As the dump of that file.
    fn dump_file(&self, pid: i32, local_fd: i32) -> Result<u32>;

    /// Dump: saves the path under which `file` was opened as a file of its own (`Purpose::Path`), for
    /// kinds whose entry refers to one (`regf_id`); returns its id.
    ///
    /// # Errors
    /// As the dump of that file.
    fn dump_path(&self, file: &FileTarget) -> Result<u32>;

    /// Dump: the id of the file at a number of a process, `None` if it has not been seen.
    ///
    /// # Errors
    /// No such process.
    fn file_at(&self, pid: i32, fd: i32) -> Result<Option<u32>>;

    /// A number that the images use to tell things apart, from 1, one sequence per name.
    ///
    /// # Errors
    /// None in practice.
    fn next_id(&self, sequence: &str) -> Result<u32>;

    /// Dump: saves the contents of a shared memory object, once per `id`, as `pagemap-shmem-ID.img`
    /// and its pages file. Holes are not written. `size` in bytes.
    ///
    /// # Errors
    /// Reading or writing failed.
    fn dump_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()>;

    /// Restore: fills a fresh object from `pagemap-shmem-ID.img`.
    ///
    /// # Errors
    /// The images are missing or damaged, or writing failed.
    fn restore_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()>;

    /// Runs a system call inside a target, in the thread that the call names. Dump: any living task; what is mapped
    /// in it must be unmapped again before the kind returns. Restore: in [`MappingKind::restore`](crate::MappingKind), `TaskPoint::Caught` and at
    /// [`Stage::BeforeResume`](crate::Stage).
    ///
    /// # Errors
    /// The call could not be made; its own errno is in the result.
    fn remote_call(&self, call: &RemoteCall) -> Result<RemoteResult>;

    /// Dump: has a target run this call by itself should the host die before `cure`, to undo what the
    /// plugin did to it. One argument may have `data` of at most 16 bytes; none has `room`. Dropped when
    /// the target is cured. At most 262,144 a process; beyond 1024 they take up further memory of it.
    ///
    /// # Errors
    /// The table is full, or the call does not fit into it.
    fn undo_on_death(&self, call: &RemoteCall) -> Result<()>;

    /// Restore: a file of the image set by its id.
    ///
    /// # Errors
    /// No such file.
    fn file(&self, id: u32) -> Result<FileRecord>;

    /// Restore, in a task: a descriptor of a file that some task has opened already, as a fresh copy;
    /// `None` while it is not open yet.
    ///
    /// # Errors
    /// No such file.
    fn opened(&self, id: u32) -> Result<Option<RawFd>>;

    /// Restore: opens a path-like file (`Purpose::Path`) here and now, with the kind that serves it.
    /// `flags` stand in for those of the entry.
    ///
    /// # Errors
    /// As the opening of that file.
    fn open_path(&self, id: u32, flags: Option<u32>) -> Result<RawFd>;

    /// Restore: the descriptor that the user handed over for a key (`--inherit-fd`), as a fresh copy.
    ///
    /// # Errors
    /// It could not be copied.
    fn inherited(&self, key: &str) -> Result<Option<RawFd>>;

    /// Dump, at [`Stage::BeforeFreeze`](crate::Stage): tasks of the tree are held where they stand by a means
    /// of the plugin's, so that they can be told to stop, but do not come to it. The core then tells all of
    /// them before it waits for any, with [`Stage::Interrupted`](crate::Stage) in between.
    ///
    /// # Errors
    /// The host does not dump, or is older.
    fn tasks_are_held(&self) -> Result<()> {
        Err(Error::unsupported("service tasks_are_held"))
    }

    /// Restore: the ids of all files of the image set, ascending.
    ///
    /// # Errors
    /// The host does not restore, or is older.
    fn files(&self) -> Result<Vec<u32>> {
        Err(Error::unsupported("service files"))
    }

    /// Restore, in `prepare`: a thread that must be there before files are opened, because one of them refers to it.
    /// Threads are made last otherwise; processes are there in any case.
    ///
    /// # Errors
    /// No process of the image set has this thread; or the host does not restore, or is older.
    fn early_thread(&self, _tid: i32) -> Result<()> {
        Err(Error::unsupported("service early_thread"))
    }

    /// Runs many system calls as [`remote_call`](Self::remote_call) does, in order, also after one fails; one result
    /// a call. Neighbours in one thread are made together, which takes a fraction of the time.
    ///
    /// # Errors
    /// A call could not be made.
    fn remote_calls(&self, calls: &[RemoteCall]) -> Result<Vec<RemoteResult>> {
        calls.iter().map(|call| self.remote_call(call)).collect()
    }

    /// Dump: lets the threads go on that the kernel has made in a process for its own work, or has them stand still
    /// again, as they do otherwise. They may be needed for what the process waits for to be done.
    ///
    /// # Errors
    /// No such process, or a thread does not stop; or the host does not dump, or is older.
    fn let_workers(&self, _pid: i32, _go: bool) -> Result<()> {
        Err(Error::unsupported("service let_workers"))
    }
}

/// The host, as a callback sees it.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    services: &'a dyn Services,
    plugin: &'a str,
}

impl<'a> Host<'a> {
    /// A handle on behalf of a plugin. For the core and for tests.
    pub fn new(services: &'a dyn Services, plugin: &'a str) -> Self {
        Self { services, plugin }
    }

    /// The one value of a setting of the core, `None` when it is not set.
    ///
    /// # Errors
    /// The core has no such setting.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.services.settings(name)?.pop())
    }

    /// Whether a flag of the core is set.
    ///
    /// # Errors
    /// The core has no such setting.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(!self.services.settings(name)?.is_empty())
    }

    /// An option of this plugin, or its default.
    ///
    /// # Errors
    /// The plugin did not declare it.
    pub fn option(&self, name: &str) -> Result<Option<String>> {
        self.services.plugin_option(self.plugin, name)
    }

    /// A bool option of this plugin; false when it is neither set nor has a default.
    ///
    /// # Errors
    /// The plugin did not declare it, or not as a bool.
    pub fn option_bool(&self, name: &str) -> Result<bool> {
        match self.option(name)?.as_deref() {
            Some("yes") => Ok(true),
            Some("no") | None => Ok(false),
            Some(other) => Err(Error::new(format!(
                "option {name} is `{other}`, neither yes nor no"
            ))),
        }
    }

    /// An int or size (in bytes) option of this plugin; `None` when it is neither set nor has a default.
    ///
    /// # Errors
    /// The plugin did not declare it, or the value does not fit.
    pub fn option_number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let Some(text) = self.option(name)? else {
            return Ok(None);
        };
        let number = text
            .parse()
            .map_err(|_| Error::new(format!("option {name}: {text} is out of range")))?;
        Ok(Some(number))
    }

    /// Creates an image of the set.
    ///
    /// # Errors
    /// The file system's.
    pub fn create_image(&self, name: &str) -> Result<std::fs::File> {
        let fd = self
            .services
            .image(name, true)?
            .ok_or_else(|| Error::new(format!("the host did not create image {name}")))?;
        Ok(std::fs::File::from(own(fd)))
    }

    /// Opens an image of the set, `None` when there is none of that name.
    ///
    /// # Errors
    /// The file system's.
    pub fn open_image(&self, name: &str) -> Result<Option<std::fs::File>> {
        Ok(self
            .services
            .image(name, false)?
            .map(|fd| std::fs::File::from(own(fd))))
    }

    /// A copy of a descriptor of a target.
    ///
    /// # Errors
    /// No such process or descriptor.
    pub fn target_fd(&self, pid: i32, fd: i32) -> Result<Fd> {
        self.services.target_fd(pid, fd).map(own)
    }

    /// A descriptor of a file that some task has opened already.
    ///
    /// # Errors
    /// No such file.
    pub fn opened(&self, id: u32) -> Result<Option<Fd>> {
        Ok(self.services.opened(id)?.map(own))
    }

    /// Opens a path-like file here and now.
    ///
    /// # Errors
    /// As the opening of that file.
    pub fn open_path(&self, id: u32, flags: Option<u32>) -> Result<Fd> {
        self.services.open_path(id, flags).map(own)
    }

    /// The descriptor that the user handed over for a key.
    ///
    /// # Errors
    /// It could not be copied.
    pub fn inherited(&self, key: &str) -> Result<Option<Fd>> {
        Ok(self.services.inherited(key)?.map(own))
    }

    /// Saves a further description that the plugin came by.
    ///
    /// # Errors
    /// As the dump of that file.
    pub fn dump_file(&self, pid: i32, fd: &impl AsRawFd) -> Result<u32> {
        self.services.dump_file(pid, fd.as_raw_fd())
    }

    /// Runs a system call with plain values inside a target and returns its raw result.
    ///
    /// # Errors
    /// The call could not be made.
    pub fn remote_syscall(&self, pid: i32, nr: i64, args: &[u64]) -> Result<i64> {
        let args = args
            .iter()
            .map(|&value| RemoteArg {
                value,
                ..RemoteArg::default()
            })
            .collect::<Vec<_>>();
        Ok(self.services.remote_call(&RemoteCall { pid, nr, args })?.value)
    }

    /// The name of the plugin on whose behalf calls are made.
    pub fn plugin(&self) -> &'a str {
        self.plugin
    }
}

impl<'a> std::ops::Deref for Host<'a> {
    type Target = dyn Services + 'a;

    fn deref(&self) -> &Self::Target {
        self.services
    }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: by the contract of `Services` a returned descriptor is open and belongs to the caller.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
