//! The pipes plugin.
