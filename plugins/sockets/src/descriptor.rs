//! What every descriptor has: its flags and its owner.

use std::os::fd::AsFd;

use criu_plugin_api::{ErrorCode, Refusal, Result, Verdict, restore};
use criu_proto::images::FownEntry;

/// Sets the owner and the status flags.
///
/// # Errors
/// They could not be set.
pub(crate) fn complete(fd: impl AsFd, flags: u32, fown: &FownEntry) -> Result<()> {
    restore::apply_owner(&fd, fown)?;
    restore::apply_flags(&fd, flags)
}

/// Names the object of what was refused further in.
///
/// # Errors
/// Any other failure.
pub(crate) fn refusal<T>(result: Result<T>, object: &str) -> Result<std::result::Result<T, Refusal>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.code == ErrorCode::Refused => Ok(Err(Refusal {
            object: object.to_owned(),
            what: error.message,
            remedy: error.remedy,
        })),
        Err(error) => Err(error),
    }
}

/// The same of a verdict.
///
/// # Errors
/// Any other failure.
pub(crate) fn verdict<T>(result: Result<Verdict<T>>, object: &str) -> Result<Verdict<T>> {
    Ok(refusal(result, object)?.unwrap_or_else(Verdict::Refused))
}
