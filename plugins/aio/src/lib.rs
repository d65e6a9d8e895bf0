//! The aio plugin.
