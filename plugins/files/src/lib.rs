//! The files plugin.
