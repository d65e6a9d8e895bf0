//! What pipes and FIFOs have in common at a restore: all descriptions of one are made by one task in one go.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use criu_plugin_api::image::ImageKind;
use criu_plugin_api::message::{FilePlan, FileRecord};
use criu_plugin_api::{Error, Host, Opened, Result};

use crate::refill::{self, Contents};

/// A pipe to be restored: what was in it, and its descriptions.
pub(crate) struct Group<M> {
    pub(crate) contents: Contents,
    pub(crate) members: Vec<M>,
}

/// The pipes of a kind by their ids.
pub(crate) type Groups<M> = HashMap<u32, Group<M>>;

/// Reads the contents of all pipes of a kind and sorts its files by pipe; `member` gives the pipe of a file, and what
/// is to be known of it.
pub(crate) fn prepare<M>(
    host: &Host<'_>,
    (data, cuts): (&ImageKind, &ImageKind),
    files: &[FileRecord],
    member: impl Fn(&FileRecord) -> Result<(u32, M)>,
) -> Result<(Groups<M>, Vec<FilePlan>)> {
    let mut contents = refill::read(host, data, cuts)?;
    let mut groups = Groups::new();
    let mut plans = Vec::with_capacity(files.len());
    for file in files {
        let (pipe, member) = member(file)?;
        plans.push(FilePlan {
            id: file.id,
            group: Some(pipe.into()),
            ..FilePlan::default()
        });
        let group = groups.entry(pipe).or_insert_with(|| Group {
            contents: contents.remove(&pipe).unwrap_or_default(),
            members: Vec::new(),
        });
        group.members.push(member);
    }
    Ok((groups, plans))
}

/// All descriptions of a pipe for the core, the one asked for in front.
pub(crate) fn hand_out(asked: u32, all: Vec<(u32, OwnedFd)>) -> Result<Opened> {
    let mut result = None;
    let mut others = Vec::new();
    for (id, fd) in all {
        if id == asked {
            result = Some(fd);
        } else {
            others.push((id, fd));
        }
    }
    let fd = result.ok_or_else(|| Error::new(format!("no pipe has the file {asked}")))?;
    Ok(others
        .into_iter()
        .fold(Opened::one(fd), |opened, (id, fd)| opened.with(id, fd)))
}
