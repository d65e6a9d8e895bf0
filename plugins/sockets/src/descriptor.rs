//! What every descriptor has: its flags and its owner.

use std::os::fd::AsFd;

use criu_plugin_api::{Result, restore};
use criu_proto::images::FownEntry;

/// Sets the owner and the status flags.
///
/// # Errors
/// They could not be set.
pub(crate) fn complete(fd: impl AsFd, flags: u32, fown: &FownEntry) -> Result<()> {
    restore::apply_owner(&fd, fown)?;
    restore::apply_flags(&fd, flags)
}
