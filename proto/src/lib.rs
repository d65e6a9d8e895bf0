//! The messages of the images and of the RPC, and the framing of an image file.
//!
//! The schema is proto2 and wire-compatible with CRIU 4.2: repeated numbers are written unpacked,
//! fields in the order of their numbers. What stands around the messages in a file is in [`framing`],
//! which files there are in [`magic`].

pub mod framing;
pub mod magic;
pub mod schema;

/// The messages of the image files, one Rust type each, named in upper camel case (`core_entry` is
/// [`images::CoreEntry`]). Strings that the kernel treats as bytes (paths, command names) are
/// `Vec<u8>`: they need not be UTF-8.
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/images"
)]
pub mod images {
    use crate::schema::{Described, EnumSchema, FieldKind, FieldSchema, Label, MessageSchema};

    include!(concat!(env!("OUT_DIR"), "/criu.images.rs"));
    include!(concat!(env!("OUT_DIR"), "/criu.images.schema.rs"));
}

/// The messages between a caller and `criu service` or `criu swrk`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/rpc"
)]
pub mod rpc {
    use crate::schema::{Described, EnumSchema, FieldKind, FieldSchema, Label, MessageSchema};

    include!(concat!(env!("OUT_DIR"), "/criu.rpc.rs"));
    include!(concat!(env!("OUT_DIR"), "/criu.rpc.schema.rs"));
}

pub use prost;
pub use prost::Message;
pub use schema::Described;
