//! `io-uring.img`: a ring an entry.

use criu_plugin_api::image::{self, ImageKind};

use crate::credentials::Credentials;
use crate::sys::setup;

pub(crate) static IMAGE: ImageKind = image::own_kind("IO_URING", "io-uring.img", 0x494f_5552);

/// The flags that are found out; others that a restored ring has are not saved.
pub(crate) const KNOWN: u32 = setup::IOPOLL
    | setup::SQPOLL
    | setup::SQ_AFF
    | setup::R_DISABLED
    | setup::SQE128
    | setup::CQE32
    | setup::SINGLE_ISSUER
    | setup::DEFER_TASKRUN
    | setup::NO_SQARRAY;

/// A ring.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RingEntry {
    /// The id of the file in `files.img`.
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    /// The flags of open(2).
    #[prost(uint32, tag = "2")]
    pub(crate) file_flags: u32,
    /// Its inode, by which mappings know it (`shmid` of a `vma_entry`).
    #[prost(uint64, tag = "3")]
    pub(crate) inode: u64,
    /// The process that makes it, and the thread that alone may use it, or 0.
    #[prost(int32, tag = "4")]
    pub(crate) pid: i32,
    #[prost(int32, tag = "5")]
    pub(crate) issuer: i32,
    /// Flags of io_uring_setup(2).
    #[prost(uint32, tag = "6")]
    pub(crate) setup: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) sq_entries: u32,
    #[prost(uint32, tag = "8")]
    pub(crate) cq_entries: u32,
    /// The positions, which the kernel counts modulo 2^32.
    #[prost(uint32, tag = "9")]
    pub(crate) sq_head: u32,
    #[prost(uint32, tag = "10")]
    pub(crate) sq_tail: u32,
    #[prost(uint32, tag = "11")]
    pub(crate) cq_head: u32,
    #[prost(uint32, tag = "12")]
    pub(crate) cq_tail: u32,
    /// The words that count requests without a meaning and completions without room, and the flags that the program
    /// sets for the completions.
    #[prost(uint32, tag = "13")]
    pub(crate) dropped: u32,
    #[prost(uint32, tag = "14")]
    pub(crate) lost: u32,
    #[prost(uint32, tag = "15")]
    pub(crate) cq_flags: u32,
    /// The completions, the array of indices (unless there is none) and the requests, whole.
    #[prost(bytes = "vec", tag = "16")]
    pub(crate) cqes: Vec<u8>,
    #[prost(bytes = "vec", tag = "17")]
    pub(crate) array: Vec<u8>,
    #[prost(bytes = "vec", tag = "18")]
    pub(crate) sqes: Vec<u8>,
    /// The processor of the thread that looks for requests, with `IORING_SETUP_SQ_AFF`.
    #[prost(uint32, tag = "19")]
    pub(crate) sq_cpu: u32,
    /// The ring, by the id of its file, whose thread looks for requests of this one too; 0 for none.
    #[prost(uint32, tag = "20")]
    pub(crate) attached: u32,
    /// The process in whose name files and buffers are registered.
    #[prost(int32, tag = "21")]
    pub(crate) owner: i32,
    /// Registered files: for each place a descriptor of that process, or -1.
    #[prost(sint32, repeated, tag = "22")]
    pub(crate) files: Vec<i32>,
    #[prost(message, repeated, tag = "23")]
    pub(crate) buffers: Vec<Buffer>,
    /// The threads that have registered the ring itself.
    #[prost(message, repeated, tag = "24")]
    pub(crate) registered: Vec<Registered>,
    /// Those of the thread that looks for requests.
    #[prost(message, optional, tag = "25")]
    pub(crate) credentials: Option<Credentials>,
}

/// A registered buffer; nothing at an empty place.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Buffer {
    #[prost(uint64, tag = "1")]
    pub(crate) address: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) length: u64,
}

/// A ring in a thread's table of registered rings.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Registered {
    #[prost(int32, tag = "1")]
    pub(crate) tid: i32,
    /// The process of that thread.
    #[prost(int32, tag = "2")]
    pub(crate) pid: i32,
    #[prost(uint32, tag = "3")]
    pub(crate) slot: u32,
}
