//! What goes through the surface of [`abi`](crate::abi): numbers and messages of both directions.
//!
//! The numbers are those of revision 1 of each extension point. None is ever used again for another
//! thing; a new one is appended, and its caller takes `Unsupported` for an answer.

use prost::Message;

use crate::message::{AlsoOpened, FilePlan, FileRecord, RemoteCall, RemoteResult, Slot, TaskInfo};
use crate::{Error, ErrorCode, Refusal, Result, Verdict};

/// Operations of `file-kind/1`.
pub mod file_op {
    #![expect(missing_docs, reason = "named after the methods of FileKind")]
    pub const DUMP: u32 = 1;
    pub const FINISH_DUMP: u32 = 2;
    pub const PREPARE: u32 = 3;
    pub const OPEN: u32 = 4;
    pub const ATTACH: u32 = 5;
    pub const FINISH_RESTORE: u32 = 6;
    pub const LEAD_SESSION: u32 = 7;
}

/// Operations of `mapping-kind/1`.
pub mod mapping_op {
    #![expect(missing_docs, reason = "named after the methods of MappingKind")]
    pub const DUMP: u32 = 1;
    pub const RESTORE: u32 = 2;
}

/// Operations of `task-kind/1`.
pub mod task_op {
    #![expect(missing_docs, reason = "named after the methods of TaskKind")]
    pub const DUMP: u32 = 1;
    pub const FINISH_DUMP: u32 = 2;
    pub const PREPARE: u32 = 3;
    pub const RESTORE: u32 = 4;
}

/// Operations of `stage-hook/1`.
pub mod stage_op {
    #![expect(missing_docs, reason = "named after the methods of StageHook")]
    pub const AT: u32 = 1;
}

/// Operations of `feature-probe/1`.
pub mod feature_op {
    #![expect(missing_docs, reason = "named after the methods of FeatureProbe")]
    pub const PROBE: u32 = 1;
}

/// The services of the host.
pub mod service {
    #![expect(missing_docs, reason = "named after the methods of Services")]
    pub const LOG: u32 = 1;
    pub const SETTINGS: u32 = 2;
    pub const PLUGIN_OPTION: u32 = 3;
    pub const PROGRESS: u32 = 4;
    pub const IMAGE: u32 = 5;
    pub const TASKS: u32 = 6;
    pub const DESCRIPTORS: u32 = 7;
    pub const NAMESPACE_ID: u32 = 8;
    pub const TARGET_FD: u32 = 9;
    pub const FDINFO: u32 = 10;
    pub const DUMP_FILE: u32 = 11;
    pub const DUMP_PATH: u32 = 12;
    pub const FILE_AT: u32 = 13;
    pub const NEXT_ID: u32 = 14;
    pub const DUMP_SHARED_MEMORY: u32 = 15;
    pub const RESTORE_SHARED_MEMORY: u32 = 16;
    pub const REMOTE_CALL: u32 = 17;
    pub const UNDO_ON_DEATH: u32 = 18;
    pub const FILE: u32 = 19;
    pub const OPENED: u32 = 20;
    pub const OPEN_PATH: u32 = 21;
    pub const INHERITED: u32 = 22;
    pub const TASKS_ARE_HELD: u32 = 23;
    pub const FILES: u32 = 24;
    pub const EARLY_THREAD: u32 = 25;
    pub const REMOTE_CALLS: u32 = 26;
    pub const LET_WORKERS: u32 = 27;
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        #[allow(missing_docs, reason = "each field is an argument or a result of the same name")]
        pub struct $name { $($(#[$attr])* pub $field: $type,)* }
    )*};
}

messages! {
    /// What the host says at the start.
    Hello {
        /// 0 off, 1 error ... 5 trace: events above it are not sent.
        #[prost(uint32, tag = "1")] log_level: u32,
        #[prost(string, tag = "2")] api_version: String,
    }
    /// An error on its way.
    ErrorReply {
        #[prost(enumeration = "ErrorCode", tag = "1")] code: i32,
        #[prost(string, tag = "2")] message: String,
        #[prost(string, optional, tag = "3")] remedy: Option<String>,
    }
    /// A verdict; `entry` is the encoded `FileImage`, `MappingImage` or `TaskImage`.
    VerdictReply {
        /// 0 an entry, 1 not mine, 2 refused.
        #[prost(uint32, tag = "1")] verdict: u32,
        #[prost(bytes = "bytes", tag = "2")] entry: prost::bytes::Bytes,
        #[prost(string, tag = "3")] object: String,
        #[prost(string, tag = "4")] what: String,
        #[prost(string, optional, tag = "5")] remedy: Option<String>,
    }
    /// Progress, with the descriptors of an `open`.
    ProgressReply {
        /// What is waited for; absent when it is done.
        #[prost(string, optional, tag = "1")] waits_for: Option<String>,
        #[prost(sint32, tag = "2")] fd: i32,
        #[prost(message, repeated, tag = "3")] also: Vec<AlsoOpened>,
    }
    /// `FeatureProbe::probe`.
    ProbeRequest { #[prost(string, tag = "1")] feature: String, }
    /// Its answer.
    ProbeReply {
        /// Why it is absent; without it the feature is present.
        #[prost(string, optional, tag = "1")] absent: Option<String>,
    }
    /// `FileKind::prepare`.
    PrepareRequest { #[prost(message, repeated, tag = "1")] files: Vec<FileRecord>, }
    /// Its answer.
    PrepareReply { #[prost(message, repeated, tag = "1")] plans: Vec<FilePlan>, }
    /// `FileKind::attach`.
    AttachRequest {
        #[prost(message, required, tag = "1")] file: FileRecord,
        #[prost(sint32, tag = "2")] fd: i32,
    }
    /// `TaskKind::restore`.
    TaskRestoreRequest {
        #[prost(message, required, tag = "1")] task: TaskInfo,
        #[prost(int32, tag = "2")] point: i32,
    }
    /// Nothing.
    Empty {}
    /// One number.
    Number { #[prost(sint64, tag = "1")] value: i64, }
    /// A number that may be absent.
    Maybe { #[prost(sint64, optional, tag = "1")] value: Option<i64>, }
    /// One text.
    Text { #[prost(string, tag = "1")] text: String, }
    /// A text that may be absent.
    MaybeText { #[prost(string, optional, tag = "1")] text: Option<String>, }
    /// Texts.
    Texts { #[prost(string, repeated, tag = "1")] texts: Vec<String>, }
    /// Bytes.
    Bytes { #[prost(bytes = "vec", tag = "1")] bytes: Vec<u8>, }
    /// `Services::log`.
    LogRequest {
        #[prost(uint32, tag = "1")] level: u32,
        #[prost(string, tag = "2")] target: String,
        #[prost(string, tag = "3")] text: String,
    }
    /// `Services::plugin_option`.
    OptionRequest {
        #[prost(string, tag = "1")] plugin: String,
        #[prost(string, tag = "2")] name: String,
    }
    /// `Services::image`.
    ImageRequest {
        #[prost(string, tag = "1")] name: String,
        #[prost(bool, tag = "2")] create: bool,
    }
    /// A descriptor of a process.
    FdRequest {
        #[prost(int32, tag = "1")] pid: i32,
        #[prost(int32, tag = "2")] fd: i32,
    }
    /// `Services::namespace_id`.
    NamespaceRequest {
        #[prost(int32, tag = "1")] pid: i32,
        #[prost(string, tag = "2")] kind: String,
    }
    /// `Services::dump_shared_memory` and its counterpart.
    MemoryRequest {
        #[prost(uint64, tag = "1")] id: u64,
        #[prost(int32, tag = "2")] local_fd: i32,
        #[prost(uint64, tag = "3")] size: u64,
    }
    /// `Services::open_path`.
    OpenPathRequest {
        #[prost(uint32, tag = "1")] id: u32,
        #[prost(uint32, optional, tag = "2")] flags: Option<u32>,
    }
    /// `Services::tasks`.
    TasksReply { #[prost(message, repeated, tag = "1")] tasks: Vec<TaskInfo>, }
    /// `Services::descriptors`.
    SlotsReply { #[prost(message, repeated, tag = "1")] slots: Vec<Slot>, }
    /// `Services::files`.
    IdsReply { #[prost(uint32, repeated, tag = "1")] ids: Vec<u32>, }
    /// `Services::let_workers`.
    WorkersRequest { #[prost(int32, tag = "1")] pid: i32, #[prost(bool, tag = "2")] go: bool, }
    /// `Services::remote_calls`.
    CallsRequest { #[prost(message, repeated, tag = "1")] calls: Vec<RemoteCall>, }
    /// Its answer, in the order of the calls.
    CallsReply { #[prost(message, repeated, tag = "1")] results: Vec<RemoteResult>, }
}

/// Decodes a message of the other side.
///
/// # Errors
/// [`ErrorCode::Malformed`].
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    decode_from(bytes)
}

fn decode_from<M: Message + Default>(bytes: impl prost::bytes::Buf) -> Result<M> {
    let length = bytes.remaining();
    M::decode(bytes).map_err(|cause| Error {
        code: ErrorCode::Malformed,
        message: format!("decoding a message of {length} bytes: {cause}"),
        remedy: None,
    })
}

/// An error as bytes.
pub fn encode_error(error: &Error) -> Vec<u8> {
    ErrorReply {
        code: error.code as i32,
        message: error.message.clone(),
        remedy: error.remedy.clone(),
    }
    .encode_to_vec()
}

/// The error in these bytes; a code that is not known is a plain failure.
pub fn decode_error(bytes: &[u8]) -> Error {
    match decode::<ErrorReply>(bytes) {
        Ok(reply) => Error {
            code: ErrorCode::try_from(reply.code).unwrap_or(ErrorCode::Failed),
            message: reply.message,
            remedy: reply.remedy,
        },
        Err(error) => error.context("an error was reported that cannot be read"),
    }
}

/// The tag of [`VerdictReply::entry`].
const VERDICT_ENTRY: u32 = 2;

/// A verdict as an encoded [`VerdictReply`].
pub fn encode_verdict<M: Message>(verdict: Verdict<M>) -> Vec<u8> {
    let reply = match verdict {
        Verdict::Entry(entry) => {
            // On the wire a message is its bytes: it is encoded where they belong.
            let mut reply = Vec::with_capacity(prost::encoding::message::encoded_len(VERDICT_ENTRY, &entry));
            prost::encoding::message::encode(VERDICT_ENTRY, &entry, &mut reply);
            return reply;
        }
        Verdict::NotMine => VerdictReply {
            verdict: 1,
            ..VerdictReply::default()
        },
        Verdict::Refused(Refusal { object, what, remedy }) => VerdictReply {
            verdict: 2,
            object,
            what,
            remedy,
            ..VerdictReply::default()
        },
    };
    reply.encode_to_vec()
}

/// The verdict in an encoded [`VerdictReply`].
///
/// # Errors
/// [`ErrorCode::Malformed`].
pub fn decode_verdict<M: Message + Default>(reply: Vec<u8>) -> Result<Verdict<M>> {
    // Out of bytes that can be shared the entry is taken without a copy.
    let reply: VerdictReply = decode_from(prost::bytes::Bytes::from(reply))?;
    match reply.verdict {
        0 => Ok(Verdict::Entry(decode_from(reply.entry)?)),
        1 => Ok(Verdict::NotMine),
        2 => Ok(Verdict::Refused(Refusal {
            object: reply.object,
            what: reply.what,
            remedy: reply.remedy,
        })),
        other => Err(Error {
            code: ErrorCode::Malformed,
            message: format!("the verdict {other} is not known"),
            remedy: None,
        }),
    }
}
