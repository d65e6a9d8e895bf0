//! The events plugin.
