//! `task-extra.img`: state of processes and threads that the image format has no place for.
//!
//! An entry a process that has some; a set without the image is complete, and a reader that does not know it
//! restores the rest.

use criu_images::ImageDir;
use criu_plugin_api::image::{self, ImageKind};
use prost::Message;

use crate::error::{Error, Result};

/// The image.
pub(crate) static TASK_EXTRA: ImageKind = image::own_kind("TASK_EXTRA", "task-extra.img", 0x5441_534b);

/// What a process has beside what the format holds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExtra {
    #[prost(int32, tag = "1")]
    pub(crate) pid: i32,
    /// The signal that tells its parent of its end, 0 for none; absent: `SIGCHLD`.
    #[prost(uint32, optional, tag = "2")]
    pub(crate) exit_signal: Option<u32>,
    /// `PR_SET_MDWE`.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) mdwe: Option<u32>,
    /// Flags of `PR_SET_THP_DISABLE`, which is set.
    #[prost(uint32, optional, tag = "4")]
    pub(crate) thp_flags: Option<u32>,
    /// `PR_SET_MEMORY_MERGE`.
    #[prost(bool, tag = "5")]
    pub(crate) memory_merge: bool,
    /// Flags of `mlockall(2)`, `MCL_FUTURE` among them.
    #[prost(uint32, optional, tag = "6")]
    pub(crate) lock_future: Option<u32>,
    /// Allocated protection keys: bit n is key n.
    #[prost(uint32, optional, tag = "7")]
    pub(crate) pkeys: Option<u32>,
    /// `ARCH_ENABLE_TAGGED_ADDR`: the number of bits.
    #[prost(uint32, optional, tag = "8")]
    pub(crate) tag_bits: Option<u32>,
    /// `ARCH_GET_XCOMP_PERM`: processor state beyond what every process may use.
    #[prost(uint64, optional, tag = "9")]
    pub(crate) xcomp_perm: Option<u64>,
    #[prost(message, repeated, tag = "10")]
    pub(crate) ranges: Vec<RangeExtra>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) threads: Vec<ThreadExtra>,
    /// How the leading thread has ended that others have outlived, as wait(2) has it.
    #[prost(uint32, optional, tag = "12")]
    pub(crate) lost_leader: Option<u32>,
    /// It is a program of the x32 ABI: its actions are those of x32 calls.
    #[prost(bool, tag = "13")]
    pub(crate) x32: bool,
    /// The real user id of a dead process, of which its parent is told; absent: 0.
    #[prost(uint32, optional, tag = "14")]
    pub(crate) dead_uid: Option<u32>,
}

/// What a mapping has beside.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeExtra {
    #[prost(uint64, tag = "1")]
    pub(crate) start: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) end: u64,
    /// `mseal(2)`.
    #[prost(bool, tag = "3")]
    pub(crate) sealed: bool,
    /// Protection key.
    #[prost(uint32, tag = "4")]
    pub(crate) pkey: u32,
    /// `PR_SET_VMA_ANON_NAME`.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(crate) name: Option<Vec<u8>>,
}

/// What a thread has beside.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ThreadExtra {
    #[prost(int32, tag = "1")]
    pub(crate) tid: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) scheduling: Option<SchedulingExtra>,
    #[prost(message, optional, tag = "3")]
    pub(crate) dispatch: Option<DispatchExtra>,
    /// `PR_SET_TSC`, other than 1.
    #[prost(uint32, optional, tag = "4")]
    pub(crate) tsc: Option<u32>,
    /// `ARCH_SET_CPUID` with 0.
    #[prost(bool, tag = "5")]
    pub(crate) cpuid_faults: bool,
    /// `PR_MCE_KILL_SET`, other than the default.
    #[prost(uint32, optional, tag = "6")]
    pub(crate) mce_kill: Option<u32>,
    /// `PR_SET_IO_FLUSHER`.
    #[prost(bool, tag = "7")]
    pub(crate) io_flusher: bool,
    #[prost(message, repeated, tag = "8")]
    pub(crate) speculation: Vec<SpeculationExtra>,
    /// Debug registers 0 to 3 and 7.
    #[prost(uint64, repeated, tag = "9")]
    pub(crate) breakpoints: Vec<u64>,
    /// `PR_SET_TIMERSLACK` in nanoseconds, other than the usual.
    #[prost(uint64, optional, tag = "10")]
    pub(crate) timer_slack: Option<u64>,
    /// Features of the user shadow stack that are locked (`ARCH_SHSTK_LOCK`).
    #[prost(uint64, tag = "11")]
    pub(crate) shadow_stack_locked: u64,
}

impl ThreadExtra {
    /// Whether there is nothing to say.
    pub(crate) fn is_plain(&self) -> bool {
        *self
            == Self {
                tid: self.tid,
                ..Self::default()
            }
    }
}

/// `struct sched_attr`, see sched_setattr(2).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SchedulingExtra {
    #[prost(uint32, tag = "1")]
    pub(crate) policy: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) flags: u64,
    #[prost(sint32, tag = "3")]
    pub(crate) nice: i32,
    #[prost(uint32, tag = "4")]
    pub(crate) priority: u32,
    #[prost(uint64, tag = "5")]
    pub(crate) runtime: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) deadline: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) period: u64,
    #[prost(uint32, tag = "8")]
    pub(crate) util_min: u32,
    #[prost(uint32, tag = "9")]
    pub(crate) util_max: u32,
}

/// `PR_SET_SYSCALL_USER_DISPATCH`, as `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` tells it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DispatchExtra {
    #[prost(uint64, tag = "1")]
    pub(crate) mode: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) selector: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) len: u64,
}

/// `PR_SET_SPECULATION_CTRL`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpeculationExtra {
    /// `PR_SPEC_STORE_BYPASS` and so on.
    #[prost(uint32, tag = "1")]
    pub(crate) which: u32,
    /// `PR_SPEC_DISABLE` and so on.
    #[prost(uint32, tag = "2")]
    pub(crate) control: u32,
}

/// Writes the image, or removes one that an earlier dump has left.
///
/// # Errors
/// The file system's.
pub(crate) fn write(images: &ImageDir, entries: &[TaskExtra]) -> Result<()> {
    if entries.is_empty() {
        images.remove(&TASK_EXTRA.file_name(0))?;
        return Ok(());
    }
    let mut image = images.create(&TASK_EXTRA, 0)?;
    for entry in entries {
        image.entry(entry).map_err(|error| images.frame_error(error))?;
    }
    image.finish().map_err(|error| images.frame_error(error))?;
    Ok(())
}

/// Reads the image; nothing where there is none.
///
/// # Errors
/// It is damaged.
pub(crate) fn read(images: &ImageDir) -> Result<Vec<TaskExtra>> {
    let mut entries = Vec::new();
    let Some(mut image) = images.open_image_if_exists(&TASK_EXTRA, 0)? else {
        return Ok(entries);
    };
    while let Some(bytes) = image.next_bytes().map_err(|error| images.frame_error(error))? {
        let entry = TaskExtra::decode(bytes)
            .map_err(|error| Error::malformed(TASK_EXTRA.file_name(0), error.to_string()))?;
        entries.push(entry);
    }
    Ok(entries)
}
