//! All that the author of a criu plugin needs.
//!
//! A plugin is a shared object that serves *kinds* of kernel resources. A kind implements one of the
//! extension points ([`FileKind`], [`MappingKind`], [`TaskKind`], [`StageHook`], [`FeatureProbe`]), declares as data what
//! it claims ([`Claim`]), and registers itself with [`register!`]; the plugin exports itself once with
//! [`export_plugin!`].
#![allow(
    non_local_definitions,
    reason = "sabi_trait of abi_stable 0.11 expands to such impls"
)]
#![deny(missing_docs)]

#[doc(hidden)]
pub mod abi;
mod bridge;
mod claim;
mod error;
mod guard;
mod guest;
mod host;
pub mod huge_pages;
pub mod image;
pub mod inode;
mod kinds;
pub mod message;
pub mod note;
mod register;
pub mod restore;
mod serve;
pub mod testing;
#[doc(hidden)]
pub mod wire;

pub use claim::{Claim, ClaimError, DevicePart, EXT, Range, Specificity};
pub use error::{Context, Error, ErrorCode, Refusal, Result, Verdict};
pub use host::{Fd, Host, Services};
#[doc(hidden)]
pub use inventory;
pub use kinds::{
    FeatureProbe, FileKind, MappingKind, Opened, Outcome, Presence, Progress, Stage, StageHook, TaskKind,
    TaskPoint,
};
pub use message::Purpose;
pub use note::Point;

pub use criu_proto as proto;
pub use prost;

/// The version of this crate. A plugin fits a host of the same major and the same or a later minor
/// version.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the macros expand to.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::RootHeader;
    pub use crate::note::{
        KIND_NOTE, Note, PLUGIN_NOTE, check_claim, check_line, check_option_kind, check_word, padded,
    };
    pub use crate::register::{Make, PluginDescription, Registration};
    /// [`abi::REVISION`](crate::abi::REVISION) as text.
    pub const ABI: &str = "1";
    /// The compiler and the binary surface of this build, as one number; empty if they are not known.
    pub const BUILD: &str = env!("CRIU_PLUGIN_API_BUILD");
}

/// What the host's loader needs.
#[doc(hidden)]
pub mod hosting {
    pub use crate::abi::{HostCall, PluginCall, REVISION, SYMBOL_PREFIX, connect};
    pub use crate::bridge::current_level;
    pub use crate::guest::Instance;
    pub use crate::register::{Make, PluginDescription, Registration};
    pub use crate::serve::{
        FeatureClient, FileClient, KindChannel, MappingClient, ServicesClient, StageClient, TaskClient,
        serve_service,
    };
}

/// The code in the guide for devices, compiled as the author of a plugin would.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugin-devices.md")]
mod guide {}
