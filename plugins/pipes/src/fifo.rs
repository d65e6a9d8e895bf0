//! FIFOs, fifo(7): `fifo_entry`, which refers to the path as a file of its own.
//!
//! Flags and owner are those of the path's entry. A deleted FIFO is the business of whoever serves its
//! path. All descriptions of one FIFO are opened in one go, while a further one for both directions
//! holds it open: so no open(2) waits for another side, and the data stays.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::{apply_flags, apply_owner};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FifoEntry, FileEntry, FownEntry};
use criu_proto::magic::FIFO_DATA;
use prost::Message;

use crate::group::{self, Group, Groups};
use crate::hangups;
use crate::packets::FIFO_PACKETS;
use crate::save::Saver;
use crate::sys;

/// The kind `fifo`.
pub struct Fifo {
    saver: Saver,
    /// Readers that poll a hang-up.
    hangups: RefCell<Vec<u32>>,
    fifos: RefCell<Groups<Member>>,
}

struct Member {
    id: u32,
    /// The file that stands for the path.
    path: u32,
    name: String,
    flags: u32,
    fown: FownEntry,
    /// Whether it has seen the last writer go; `None` when the image set does not say.
    hung_up: Option<bool>,
}

impl Default for Fifo {
    fn default() -> Self {
        Self {
            saver: Saver::new(&FIFO_DATA, &FIFO_PACKETS),
            hangups: RefCell::default(),
            fifos: RefCell::default(),
        }
    }
}

impl FileKind for Fifo {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        if file.flags.cast_signed() & libc::O_PATH != 0 {
            return Ok(Verdict::NotMine);
        }
        let pipe_id = match self.saver.see(host, file)? {
            Ok(id) => id,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        let is_reader = file.flags.cast_signed() & libc::O_ACCMODE == libc::O_RDONLY;
        if is_reader && sys::is_hung_up(sys::local(file)).context(|| "polling a FIFO")? {
            self.hangups.borrow_mut().push(file.id);
        }
        let entry = FileEntry {
            r#type: FdTypes::Fifo as i32,
            id: file.id,
            fifo: Some(FifoEntry {
                id: file.id,
                pipe_id,
                regf_id: Some(host.dump_path(file)?),
            }),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Fifo as u32,
            entry: entry.encode_to_vec(),
            vma_status: 0,
        }))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        hangups::write(host, &self.hangups.take())?;
        self.saver.finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let hangups = hangups::read(host)?;
        let (fifos, plans) = group::prepare(host, (&FIFO_DATA, &FIFO_PACKETS), files, |file| {
            let entry = entry(file)?;
            Ok((entry.pipe_id, member(host, &entry, hangups.as_ref())?))
        })?;
        *self.fifos.borrow_mut() = fifos;
        Ok(plans)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let asked = entry(&request.file)?;
        let fifos = self.fifos.borrow();
        let group = fifos
            .get(&asked.pipe_id)
            .ok_or_else(|| Error::new(format!("file {} was not prepared", asked.id)))?;
        group::hand_out(asked.id, group.open(host)?).map(Progress::Done)
    }
}

fn damaged(id: u32, what: impl std::fmt::Display) -> Error {
    Error::new(format!("the entry of file {id}: {what}"))
}

/// The entry of a file, checked.
fn entry(file: &FileRecord) -> Result<FifoEntry> {
    let entry = FileEntry::decode(file.entry.as_slice()).map_err(|e| damaged(file.id, e))?;
    let entry = entry
        .fifo
        .ok_or_else(|| damaged(file.id, "it is of the type FIFO but says nothing of one"))?;
    if entry.id == file.id {
        Ok(entry)
    } else {
        Err(damaged(
            file.id,
            format_args!("it is that of a file {}", entry.id),
        ))
    }
}

fn member(host: &Host<'_>, entry: &FifoEntry, hangups: Option<&HashSet<u32>>) -> Result<Member> {
    let path = entry
        .regf_id
        .ok_or_else(|| damaged(entry.id, "a FIFO without a path (regf_id)"))?;
    let record = host
        .file(path)
        .context(|| format!("looking for the path of FIFO {}", entry.id))?;
    let reg = FileEntry::decode(record.entry.as_slice())
        .map_err(|e| damaged(path, e))?
        .reg
        .ok_or_else(|| damaged(path, "it stands for the path of a FIFO but has none"))?;
    if reg.flags.cast_signed() & libc::O_ACCMODE == libc::O_ACCMODE {
        return Err(damaged(
            path,
            format_args!("its flags {:#x} have no access mode", reg.flags),
        ));
    }
    Ok(Member {
        id: entry.id,
        path,
        name: String::from_utf8_lossy(&reg.name).into_owned(),
        flags: reg.flags,
        fown: reg.fown,
        hung_up: hangups.map(|ids| ids.contains(&entry.id)),
    })
}

impl Group<Member> {
    fn open(&self, host: &Host<'_>) -> Result<Vec<(u32, OwnedFd)>> {
        let first = self
            .members
            .first()
            .ok_or_else(|| Error::new("a FIFO without descriptions"))?;
        let quiet: Vec<bool> = self.members.iter().map(|member| self.is_quiet(member)).collect();
        let mut opened = Vec::with_capacity(self.members.len());
        let holder = if quiet.iter().all(|quiet| *quiet) && self.contents.is_empty() {
            None
        } else {
            Some(self.hold(host, first)?)
        };
        let mut inode = holder
            .as_ref()
            .map(|holder| inode_of(holder, first))
            .transpose()?;
        for (member, _) in self.members.iter().zip(&quiet).filter(|(_, quiet)| !**quiet) {
            opened.push((member.id, self.complete(host, member, first, &mut inode)?));
        }
        // Without its last writer, yet with what is in it, if anything.
        let keeper = holder
            .as_ref()
            .map(|_| open(host, first, libc::O_RDONLY | libc::O_NONBLOCK))
            .transpose()?;
        drop(holder);
        for (member, _) in self.members.iter().zip(&quiet).filter(|(_, quiet)| **quiet) {
            opened.push((member.id, self.complete(host, member, first, &mut inode)?));
        }
        drop(keeper);
        Ok(opened)
    }

    /// Opens one description, which must be of the same FIFO as those before.
    fn complete(
        &self,
        host: &Host<'_>,
        member: &Member,
        first: &Member,
        inode: &mut Option<(u64, u64)>,
    ) -> Result<OwnedFd> {
        let fd = open(host, member, sys::open_flags(member.flags))?;
        let here = inode_of(&fd, member)?;
        if *inode.get_or_insert(here) != here {
            return Err(Error::new(format!(
                "{} was the same FIFO as {}, and is another one now",
                member.name, first.name
            )));
        }
        self.contents.resize(&fd).context(|| member.what())?;
        apply_owner(&fd, &member.fown).context(|| member.what())?;
        apply_flags(&fd, member.flags).context(|| member.what())?;
        Ok(OwnedFd::from(fd))
    }

    /// Whether this is a reader that did not wait for a writer when it opened the FIFO, and that none has come to: it
    /// is not to poll a hang-up, which only a writer that has come and gone leaves behind.
    fn is_quiet(&self, member: &Member) -> bool {
        let mode = |m: &Member| m.flags.cast_signed() & libc::O_ACCMODE;
        let nonblocking = |m: &Member| m.flags.cast_signed() & libc::O_NONBLOCK != 0;
        if self.members.iter().any(|m| mode(m) != libc::O_RDONLY) || !nonblocking(member) {
            return false;
        }
        match member.hung_up {
            Some(hung_up) => !hung_up,
            None => self.contents.is_empty() && self.members.iter().all(nonblocking),
        }
    }

    /// Opens the FIFO for both directions and fills it.
    fn hold(&self, host: &Host<'_>, first: &Member) -> Result<File> {
        let holder = open(host, first, libc::O_RDWR | libc::O_NONBLOCK)?;
        // Somebody outside of the tree may have kept it open, with what is in it.
        let kept = sys::available(&holder).context(|| first.what())?;
        if kept == 0 {
            self.contents.refill(&holder)
        } else {
            self.contents.resize(&holder)
        }
        .context(|| first.what())?;
        Ok(holder)
    }
}

/// Opens a path, which must lead to a FIFO.
fn open(host: &Host<'_>, member: &Member, flags: i32) -> Result<File> {
    let fd = host
        .open_path(member.path, Some(flags.cast_unsigned()))
        .context(|| member.what())?;
    let fd = File::from(fd);
    let meta = fd.metadata().context(|| member.what())?;
    if meta.file_type().is_fifo() {
        Ok(fd)
    } else {
        Err(Error::new(format!(
            "{} was a FIFO, and is a file of type {:#o} now",
            member.name,
            meta.mode() & libc::S_IFMT
        )))
    }
}

fn inode_of(fd: &File, member: &Member) -> Result<(u64, u64)> {
    let meta = fd.metadata().context(|| member.what())?;
    Ok((meta.dev(), meta.ino()))
}

impl Member {
    fn what(&self) -> String {
        format!("restoring the FIFO {}", self.name)
    }
}
