//! Engine.

pub mod options;
