//! Each trait over the wire: what answers the calls, and a client that makes them.

mod kinds;
mod services;

pub use kinds::{FeatureClient, FileClient, KindChannel, MappingClient, StageClient, TaskClient};
pub(crate) use kinds::{serve_feature, serve_file, serve_mapping, serve_stage, serve_task};
pub use services::{ServicesClient, serve_service};
