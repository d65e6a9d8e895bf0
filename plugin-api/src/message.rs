//! The messages that cross the boundary: protocol buffers, so that either side may be older.
//!
//! A field may be added with a new number; none is ever renumbered, retyped or given another meaning.
//! The structs are used directly by authors: they hold plain values and bytes, never types of std.

/// Why a file is dumped or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Purpose {
    /// It stands in a descriptor table.
    Descriptor = 0,
    /// A mapping is backed by it. The descriptor at hand is an `O_PATH` one.
    Mapping = 1,
    /// It is the executable of a process (`/proc/PID/exe`); `O_PATH`.
    Exe = 2,
    /// It is a working directory; `O_PATH`.
    Cwd = 3,
    /// It is a root directory; `O_PATH`.
    Root = 4,
    /// It is the path under which another kind's file was opened (a fifo, a device node).
    Path = 5,
    /// It travels inside the queue of a socket.
    InFlight = 6,
}

/// One open file description (or path) to be dumped.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileTarget {
    /// The id it gets in `files.img`; unique in the image set.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The process in whose tables it was found.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// Its number in that process; -1 when it has none there.
    #[prost(int32, tag = "3")]
    pub fd: i32,
    /// A descriptor of the very same description in this process, valid during the call.
    /// `O_PATH` for every purpose but `Descriptor` and `InFlight`.
    #[prost(int32, tag = "4")]
    pub local_fd: i32,
    /// Why it is dumped.
    #[prost(enumeration = "Purpose", tag = "5")]
    pub purpose: i32,
    /// What readlink(2) of `/proc/PID/fd/N` (or `map_files`, `cwd`, ...) says; any bytes but NUL.
    #[prost(bytes = "vec", tag = "6")]
    pub link: Vec<u8>,
    /// `st_dev` as stat(2) gives it (glibc's 64-bit encoding).
    #[prost(uint64, tag = "7")]
    pub dev: u64,
    /// `st_ino`.
    #[prost(uint64, tag = "8")]
    pub ino: u64,
    /// `st_mode`, type bits included.
    #[prost(uint32, tag = "9")]
    pub mode: u32,
    /// `st_nlink`; 0 for a deleted file.
    #[prost(uint64, tag = "10")]
    pub nlink: u64,
    /// `st_uid`.
    #[prost(uint32, tag = "11")]
    pub uid: u32,
    /// `st_gid`.
    #[prost(uint32, tag = "12")]
    pub gid: u32,
    /// `st_rdev`.
    #[prost(uint64, tag = "13")]
    pub rdev: u64,
    /// `st_size` in bytes.
    #[prost(uint64, tag = "14")]
    pub size: u64,
    /// The status flags of fcntl(F_GETFL); 0 for a mapping, a directory of a task, an executable.
    #[prost(uint32, tag = "15")]
    pub flags: u32,
    /// The file offset; 0 where the description has none.
    #[prost(uint64, tag = "16")]
    pub pos: u64,
    /// The mount, as `mnt_id` of fdinfo; -1 when the core did not need to look.
    #[prost(sint32, tag = "17")]
    pub mnt_id: i32,
    /// Whether the descriptor has `FD_CLOEXEC`.
    #[prost(bool, tag = "18")]
    pub cloexec: bool,
    /// The owner of fcntl(F_SETOWN) and its signal, an encoded `fown_entry` of the image format;
    /// empty where it has none. See [`fown_decode`](crate::restore::fown_decode).
    #[prost(bytes = "vec", tag = "19")]
    pub fown: Vec<u8>,
}

/// A dumped file: what the core writes into `files.img`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileImage {
    /// The number of `fd_types`, which stands in `fdinfo-ID.img` too.
    #[prost(uint32, tag = "1")]
    pub fd_type: u32,
    /// The encoded `file_entry` (its `type`, its `id` and the kind's own message).
    #[prost(bytes = "vec", tag = "2")]
    pub entry: Vec<u8>,
    /// Bits that the kind adds to `vma_entry.status` of a mapping of this file.
    #[prost(uint32, tag = "3")]
    pub vma_status: u32,
}

/// One file of the image set, at the restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileRecord {
    /// Its id.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its `fd_types` number.
    #[prost(uint32, tag = "2")]
    pub fd_type: u32,
    /// The encoded `file_entry`.
    #[prost(bytes = "vec", tag = "3")]
    pub entry: Vec<u8>,
}

/// What the core must know of a file before the first task is forked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilePlan {
    /// The file.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Files of one kind with the same group are opened by one task in one call, e.g. the two ends of
    /// a pipe: the first `open` may hand out all of them.
    #[prost(uint64, optional, tag = "2")]
    pub group: Option<u64>,
    /// Whether `attach` is to be called for it.
    #[prost(bool, tag = "3")]
    pub attach: bool,
    /// The process that must open it, when not any of its users will do.
    #[prost(int32, optional, tag = "4")]
    pub opener: Option<i32>,
}

/// What a file is opened for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenRequest {
    /// The file, as it stands in the image.
    #[prost(message, required, tag = "1")]
    pub file: FileRecord,
    /// The pid (as in the image) of the task in which the call runs.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// Why.
    #[prost(enumeration = "Purpose", tag = "3")]
    pub purpose: i32,
    /// The open flags that a mapping needs; they stand in for those of the entry.
    #[prost(uint32, optional, tag = "4")]
    pub flags: Option<u32>,
}

/// A file that an `open` produced beside the one asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AlsoOpened {
    /// The id of another file of the same group.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its descriptor in this process; the core takes it over.
    #[prost(int32, tag = "2")]
    pub fd: i32,
}

/// A process of the tree.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskInfo {
    /// Its pid, as in the image.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Its parent; 0 for the root of the tree.
    #[prost(int32, tag = "2")]
    pub ppid: i32,
    /// Its process group.
    #[prost(int32, tag = "3")]
    pub pgid: i32,
    /// Its session.
    #[prost(int32, tag = "4")]
    pub sid: i32,
    /// All its threads that live, the leader first unless it has ended before the others.
    #[prost(int32, repeated, tag = "5")]
    pub threads: Vec<i32>,
    /// The id of its descriptor table; equal for tasks that share one.
    #[prost(uint32, tag = "6")]
    pub files_id: u32,
    /// Whether it is a zombie.
    #[prost(bool, tag = "7")]
    pub dead: bool,
    /// The number by which this process looks at it, e.g. in `/proc`; differs from `pid` inside a pid namespace, and
    /// where its leader has ended before other threads: then it is that of one of these. Services take both.
    #[prost(int32, tag = "8")]
    pub host_pid: i32,
}

/// One slot of a descriptor table.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Slot {
    /// The number of the descriptor.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// The file behind it.
    #[prost(uint32, tag = "2")]
    pub file_id: u32,
    /// `FD_CLOEXEC` is 1.
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    /// The `fd_types` number of the file.
    #[prost(uint32, tag = "4")]
    pub fd_type: u32,
}

/// A mapping that a [`MappingKind`](crate::MappingKind) claimed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MappingTarget {
    /// The process.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The encoded `vma_entry`, with what the core knows: range, offset, protection, flags, status.
    #[prost(bytes = "vec", tag = "2")]
    pub vma: Vec<u8>,
    /// The name of the mapping in `/proc/PID/maps`.
    #[prost(bytes = "vec", tag = "3")]
    pub name: Vec<u8>,
    /// The flags of the line `VmFlags` of proc_pid_smaps(5) that kinds claim (`vma-flag:XX`) and that this mapping
    /// has, when it is dumped for them; empty when it is dumped for its name.
    #[prost(string, repeated, tag = "4")]
    pub flags: Vec<String>,
    /// The size of its pages in bytes; 0 from a host that does not tell.
    #[prost(uint64, tag = "5")]
    pub page_size: u64,
}

/// A dumped mapping.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MappingImage {
    /// The encoded `vma_entry` to be written in place of the core's.
    #[prost(bytes = "vec", tag = "1")]
    pub vma: Vec<u8>,
    /// Fields of `mm_entry` (encoded) to be merged into that of the process.
    #[prost(bytes = "vec", tag = "2")]
    pub mm_fields: Vec<u8>,
    /// Whether the core saves the pages of the range like those of private memory.
    #[prost(bool, tag = "3")]
    pub dump_pages: bool,
}

/// A mapping to be restored by its kind.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MappingRecord {
    /// The process, as in the image.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The encoded `vma_entry`.
    #[prost(bytes = "vec", tag = "2")]
    pub vma: Vec<u8>,
    /// The encoded `mm_entry` of the process, without its VMAs.
    #[prost(bytes = "vec", tag = "3")]
    pub mm: Vec<u8>,
}

/// What a [`TaskKind`](crate::TaskKind) saved of a task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskImage {
    /// Fields of the leader's `core_entry` (encoded) to be merged into it.
    #[prost(bytes = "vec", tag = "1")]
    pub core_fields: Vec<u8>,
    /// The same for further threads.
    #[prost(message, repeated, tag = "2")]
    pub threads: Vec<ThreadImage>,
}

/// What a [`TaskKind`](crate::TaskKind) saved of a thread that does not lead its process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ThreadImage {
    /// The thread.
    #[prost(int32, tag = "1")]
    pub tid: i32,
    /// Fields of its `core_entry` (encoded) to be merged into it.
    #[prost(bytes = "vec", tag = "2")]
    pub core_fields: Vec<u8>,
}

/// An argument of a system call that runs inside a target.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoteArg {
    /// The plain value; ignored when `data` or `room` is set.
    #[prost(uint64, tag = "1")]
    pub value: u64,
    /// Bytes that are put into the target; the argument is their address.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub data: Option<Vec<u8>>,
    /// So many bytes are read back after the call from where `data` was put (or from zeroed memory
    /// if there is none).
    #[prost(uint32, tag = "3")]
    pub room: u32,
}

/// A system call inside a target.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoteCall {
    /// The process, or any of its threads that lives.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The number of the call on this architecture.
    #[prost(int64, tag = "2")]
    pub nr: i64,
    /// At most six arguments.
    #[prost(message, repeated, tag = "3")]
    pub args: Vec<RemoteArg>,
}

/// The result of a system call inside a target.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoteResult {
    /// The raw result: a negative errno on failure.
    #[prost(sint64, tag = "1")]
    pub value: i64,
    /// For each argument that had `room`, in their order, the bytes read back.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub data: Vec<Vec<u8>>,
}
