//! Anonymous pipes, pipe(2): `pipe_entry`.
//!
//! All descriptions of one pipe are made by one task in one go. An end that nobody of the tree held is
//! closed again, so readers come to the end of the data and writers get `EPIPE`. A pipe that leads out
//! of the tree can be handed over by the user, with `--inherit-fd fd[N]:pipe:[INODE]`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::{apply_owner, change_flags, fown_decode};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Refusal, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, PipeEntry};
use criu_proto::magic::PIPES_DATA;
use nix::fcntl::OFlag;
use prost::Message;

use crate::autofs::Autofs;
use crate::group::{self, Group, Groups};
use crate::owners::{self, OwnerEntry};
use crate::packets::PIPE_PACKETS;
use crate::save::{Saver, object};
use crate::sys;

/// The kind `pipe`.
pub struct Pipe {
    saver: Saver,
    autofs: Autofs,
    /// Seen by a dump, and read by a restore.
    seen_owners: RefCell<BTreeMap<u32, OwnerEntry>>,
    owners: RefCell<HashMap<u32, OwnerEntry>>,
    pipes: RefCell<Groups<PipeEntry>>,
    /// Whether any descriptor is handed over by the user.
    inherits: Cell<bool>,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            saver: Saver::new(&PIPES_DATA, &PIPE_PACKETS),
            autofs: Autofs::default(),
            seen_owners: RefCell::default(),
            owners: RefCell::default(),
            pipes: RefCell::default(),
            inherits: Cell::new(false),
        }
    }
}

impl FileKind for Pipe {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        if file.flags.cast_signed() & libc::O_PATH != 0 {
            return Ok(Verdict::NotMine);
        }
        if let Some(place) = self.autofs.mount_of(file.ino) {
            return Ok(Verdict::Refused(Refusal {
                object: object(file),
                what: format!(
                    "the kernel asks for automatic mounts at {place} by it (autofs), which is not supported"
                ),
                remedy: Some("leave the program that serves them out of the dump".to_owned()),
            }));
        }
        let pipe_id = match self.saver.see(host, file)? {
            Ok(id) => id,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        if let Some(owner) = OwnerEntry::of(pipe_id, file) {
            self.seen_owners.borrow_mut().insert(pipe_id, owner);
        }
        let entry = FileEntry {
            r#type: FdTypes::Pipe as i32,
            id: file.id,
            pipe: Some(PipeEntry {
                id: file.id,
                pipe_id,
                flags: file.flags,
                fown: fown_decode(&file.fown)?,
            }),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Pipe as u32,
            entry: entry.encode_to_vec(),
            vma_status: 0,
        }))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        owners::write(host, &self.seen_owners.take())?;
        self.saver.finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let (pipes, plans) = group::prepare(host, (&PIPES_DATA, &PIPE_PACKETS), files, |file| {
            let member = entry(file)?;
            Ok((member.pipe_id, member))
        })?;
        *self.pipes.borrow_mut() = pipes;
        *self.owners.borrow_mut() = owners::read(host)?;
        self.inherits.set(!host.settings("inherit-fd")?.is_empty());
        Ok(plans)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let asked = entry(&request.file)?;
        let pipes = self.pipes.borrow();
        let group = pipes
            .get(&asked.pipe_id)
            .ok_or_else(|| Error::new(format!("file {} was not prepared", asked.id)))?;
        let name = || format!("pipe:[{}]", asked.pipe_id);
        let given = if self.inherits.get() {
            host.inherited(&name())?
        } else {
            None
        };
        let opened = match given {
            Some(given) => group
                .take_over(&given)
                .context(|| format!("taking over {}", name())),
            None => group
                .make(self.owners.borrow().get(&asked.pipe_id))
                .context(|| format!("restoring {}", name())),
        }?;
        group::hand_out(asked.id, opened).map(Progress::Done)
    }
}

/// The entry of a file, checked.
fn entry(file: &FileRecord) -> Result<PipeEntry> {
    let damaged = |what: &str| Error::new(format!("the entry of file {}: {what}", file.id));
    let entry = FileEntry::decode(file.entry.as_slice()).map_err(|e| damaged(&e.to_string()))?;
    let entry = entry
        .pipe
        .ok_or_else(|| damaged("it is of the type PIPE but says nothing of a pipe"))?;
    if entry.flags.cast_signed() & libc::O_ACCMODE == libc::O_ACCMODE {
        return Err(damaged(&format!(
            "its flags {:#x} have no access mode",
            entry.flags
        )));
    }
    if entry.id == file.id {
        Ok(entry)
    } else {
        Err(damaged(&format!("it is that of a file {}", entry.id)))
    }
}

impl Group<PipeEntry> {
    /// Makes the pipe, with its contents, and all its descriptions.
    fn make(&self, owner: Option<&OwnerEntry>) -> Result<Vec<(u32, OwnedFd)>> {
        // To be filled, it must not block.
        let first = if self.contents.is_empty() {
            OFlag::empty()
        } else {
            OFlag::O_NONBLOCK
        };
        let (read, write) = sys::new_pipe(first).context(|| "making a pipe")?;
        self.contents.refill(&write)?;
        if let Some(owner) = owner {
            owner.apply(&write)?;
        }
        // What pipe(2) returned goes to those that have it from there: open(2) sets O_LARGEFILE.
        let (mut read, mut write) = (Some(read), Some(write));
        let mut opened: Vec<(u32, OwnedFd)> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let flags = member.flags.cast_signed();
            let made = match flags & (libc::O_ACCMODE | O_LARGEFILE) {
                libc::O_RDONLY => read.take(),
                libc::O_WRONLY => write.take(),
                _ => None,
            };
            let fd = match made {
                Some(end) => complete(end.into(), member, Some(first.bits().cast_unsigned()))?,
                None => {
                    let left = read.as_ref().or(write.as_ref()).map(AsFd::as_fd);
                    let any = left.or_else(|| opened.first().map(|(_, fd)| fd.as_fd()));
                    let any = any.ok_or_else(|| Error::new("no end of it is left"))?;
                    let fd =
                        sys::reopen(any, member.flags).context(|| format!("opening it with {flags:#o}"))?;
                    complete(fd, member, None)?
                }
            };
            opened.push((member.id, fd));
        }
        Ok(opened)
    }

    /// Opens all descriptions of a pipe that the user hands over. They are descriptions of their own
    /// where that is possible, so that their flags are not those of whoever else uses it.
    fn take_over(&self, given: &OwnedFd) -> Result<Vec<(u32, OwnedFd)>> {
        let is_pipe = is_fifo(given)?;
        let mut opened = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let own = if is_pipe {
                sys::reopen(given, member.flags).ok()
            } else {
                None
            };
            let fd = match own {
                Some(fd) => fd,
                None => given.try_clone().context(|| "copying a descriptor")?,
            };
            opened.push((member.id, complete(fd, member, None)?));
        }
        Ok(opened)
    }
}

/// `O_LARGEFILE` as the kernel shows it; the C library's is 0 on 64 bits.
const O_LARGEFILE: i32 = 0o100_000;

fn is_fifo(fd: &OwnedFd) -> Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    let copy = File::from(fd.try_clone().context(|| "copying a descriptor")?);
    Ok(copy.metadata().context(|| "looking at it")?.file_type().is_fifo())
}

/// `has` are the status flags it was made with, if that is known.
fn complete(fd: OwnedFd, member: &PipeEntry, has: Option<u32>) -> Result<OwnedFd> {
    let what = || format!("its file {}", member.id);
    apply_owner(&fd, &member.fown).context(what)?;
    change_flags(&fd, has, member.flags).context(what)?;
    Ok(fd)
}
