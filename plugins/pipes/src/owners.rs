//! Whose a pipe is, and who may open it by `/proc/PID/fd`, in an image of our own.
//!
//! The format has no fields for it. Pipes that are as root makes them are left out of `pipes-owner.img`.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};
use nix::sys::stat::{Mode, fchmod};

pub(crate) static OWNERS: ImageKind = image::own_kind("PIPES_OWNER", "pipes-owner.img", 0x5049_4f57);

/// The mode of a pipe as pipe(2) makes it.
const FRESH: u32 = 0o600;
const PERMISSIONS: u32 = 0o7777;

/// Owner and mode of one pipe.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct OwnerEntry {
    #[prost(uint32, tag = "1")]
    pub(crate) pipe_id: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) gid: u32,
    /// Permission bits.
    #[prost(uint32, tag = "4")]
    pub(crate) mode: u32,
}

impl OwnerEntry {
    /// Of a pipe to be dumped, unless it is as root makes one.
    pub(crate) fn of(pipe_id: u32, file: &FileTarget) -> Option<Self> {
        let mode = file.mode & PERMISSIONS;
        ((file.uid, file.gid, mode) != (0, 0, FRESH)).then_some(Self {
            pipe_id,
            uid: file.uid,
            gid: file.gid,
            mode,
        })
    }

    /// Gives the pipe behind a descriptor to its owner.
    pub(crate) fn apply(&self, pipe: impl AsFd) -> Result<()> {
        let Self { uid, gid, mode, .. } = *self;
        std::os::unix::fs::fchown(&pipe, Some(uid), Some(gid))
            .context(|| format!("giving it to {uid}:{gid}"))?;
        // After the owner, whose change takes bits away.
        fchmod(&pipe, Mode::from_bits_truncate(mode)).context(|| format!("setting its mode to {mode:o}"))
    }
}

pub(crate) fn write(host: &Host<'_>, owners: &BTreeMap<u32, OwnerEntry>) -> Result<()> {
    if owners.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, &OWNERS)?;
    for entry in owners.values() {
        image.entry(entry)?;
    }
    image.finish()?;
    Ok(())
}

/// By pipe.
pub(crate) fn read(host: &Host<'_>) -> Result<HashMap<u32, OwnerEntry>> {
    let mut owners = HashMap::new();
    for entry in image::read_all::<OwnerEntry>(host, &OWNERS)? {
        let damaged = |what: &str| {
            let name = OWNERS.file_name(0);
            Error::new(format!("{name}: pipe {} {what}: damaged", entry.pipe_id))
        };
        // The highest id stands for none.
        if entry.mode & !PERMISSIONS != 0 || [entry.uid, entry.gid].contains(&u32::MAX) {
            return Err(damaged("has a mode or an owner that no file has"));
        }
        if owners.insert(entry.pipe_id, entry).is_some() {
            return Err(damaged("has two entries"));
        }
    }
    Ok(owners)
}
