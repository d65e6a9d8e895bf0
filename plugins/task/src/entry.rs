//! The messages of `task-attributes.img`. Only what is not as at first is there.

use criu_plugin_api::image::{self, ImageKind};

/// The image: one entry for each process that has something to say.
pub(crate) static IMAGE: ImageKind = image::own_kind("TASKATTR", "task-attributes.img", 0x5441_5452);

/// A policy of set_mempolicy(2) or mbind(2).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Policy {
    /// `MPOL_*`.
    #[prost(uint32, tag = "1")]
    pub(crate) mode: u32,
    /// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES`.
    #[prost(uint32, tag = "2")]
    pub(crate) flags: u32,
    /// Node N is bit N % 64 of word N / 64.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(crate) nodes: Vec<u64>,
}

/// A range of addresses with a policy of its own.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Range {
    #[prost(uint64, tag = "1")]
    pub(crate) start: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) end: u64,
    #[prost(message, required, tag = "3")]
    pub(crate) policy: Policy,
}

/// What a thread has of its own.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Thread {
    #[prost(int32, tag = "1")]
    pub(crate) tid: i32,
    /// The processors that it may run on, as sched_getaffinity(2) gives them.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) processors: Option<Vec<u8>>,
    /// As ioprio_get(2) gives it.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) io_priority: Option<u32>,
    #[prost(message, optional, tag = "5")]
    pub(crate) policy: Option<Policy>,
}

impl Thread {
    /// Whether there is anything to say.
    pub(crate) fn is_plain(&self) -> bool {
        *self
            == Self {
                tid: self.tid,
                ..Self::default()
            }
    }
}

/// What a process has.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Attributes {
    #[prost(int32, tag = "1")]
    pub(crate) pid: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) threads: Vec<Thread>,
    /// `/proc/PID/coredump_filter`.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) dump_filter: Option<u32>,
    /// The nice value of its session's autogroup; of the leaders of sessions.
    #[prost(sint32, optional, tag = "4")]
    pub(crate) autogroup: Option<i32>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) ranges: Vec<Range>,
}
