//! The messages of the images and of the RPC, and the framing of an image file.
//!
//! The schema is proto2 and wire-compatible with CRIU 4.2: repeated numbers are written unpacked,
//! fields in the order of their numbers.

/// The messages of the image files, one Rust type each, named in upper camel case (`core_entry` is
/// [`images::CoreEntry`]).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/images"
)]
pub mod images {
    include!(concat!(env!("OUT_DIR"), "/criu.images.rs"));
}

/// The messages between a caller and `criu service` or `criu swrk`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/rpc"
)]
pub mod rpc {
    include!(concat!(env!("OUT_DIR"), "/criu.rpc.rs"));
}

pub use prost;
pub use prost::Message;
