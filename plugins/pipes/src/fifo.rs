//! FIFOs, fifo(7): `fifo_entry`, which refers to the path as a file of its own.
//!
//! Flags and owner are those of the path's entry. A deleted FIFO is the business of whoever serves its
//! path. All descriptions of one FIFO are opened in one go, while a further one for both directions
//! holds it open: so no open(2) waits for another side, and the data stays.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::{apply_flags, apply_owner};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FifoEntry, FileEntry, FownEntry};
use criu_proto::magic::FIFO_DATA;
use prost::Message;

use crate::packets::FIFO_PACKETS;
use crate::refill::{self, Contents};
use crate::save::Saver;
use crate::sys;

/// The kind `fifo`.
pub struct Fifo {
    saver: Saver,
    fifos: RefCell<HashMap<u32, Group>>,
}

/// A FIFO to be restored: what was in it, and its descriptions.
struct Group {
    contents: Contents,
    members: Vec<Member>,
}

struct Member {
    id: u32,
    /// The file that stands for the path.
    path: u32,
    name: String,
    flags: u32,
    fown: FownEntry,
}

impl Default for Fifo {
    fn default() -> Self {
        Self {
            saver: Saver::new(&FIFO_DATA, &FIFO_PACKETS),
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
        self.saver.finish(host)
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let mut contents = refill::read(host, &FIFO_DATA, &FIFO_PACKETS)?;
        let mut fifos: HashMap<u32, Group> = HashMap::new();
        let mut plans = Vec::with_capacity(files.len());
        for file in files {
            let entry = entry(file)?;
            plans.push(FilePlan {
                id: file.id,
                group: Some(entry.pipe_id.into()),
                ..FilePlan::default()
            });
            fifos
                .entry(entry.pipe_id)
                .or_insert_with(|| Group {
                    contents: contents.remove(&entry.pipe_id).unwrap_or_default(),
                    members: Vec::new(),
                })
                .members
                .push(member(host, &entry)?);
        }
        *self.fifos.borrow_mut() = fifos;
        Ok(plans)
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let asked = entry(&request.file)?;
        let fifos = self.fifos.borrow();
        let group = fifos
            .get(&asked.pipe_id)
            .ok_or_else(|| Error::new(format!("file {} was not prepared", asked.id)))?;
        let mut result = None;
        let mut others = Vec::new();
        for (id, fd) in group.open(host)? {
            if id == asked.id {
                result = Some(fd);
            } else {
                others.push((id, fd));
            }
        }
        let fd = result.ok_or_else(|| Error::new(format!("no FIFO has the file {}", asked.id)))?;
        let opened = others
            .into_iter()
            .fold(Opened::one(fd), |opened, (id, fd)| opened.with(id, fd));
        Ok(Progress::Done(opened))
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

fn member(host: &Host<'_>, entry: &FifoEntry) -> Result<Member> {
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
    })
}

impl Group {
    fn open(&self, host: &Host<'_>) -> Result<Vec<(u32, OwnedFd)>> {
        let first = self
            .members
            .first()
            .ok_or_else(|| Error::new("a FIFO without descriptions"))?;
        let holder = if self.waits_for_a_writer() {
            None
        } else {
            Some(self.hold(host, first)?)
        };
        let held = holder
            .as_ref()
            .map(File::metadata)
            .transpose()
            .context(|| first.what())?;
        let mut opened = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let fd = open(host, member, sys::open_flags(member.flags))?;
            let meta = fd.metadata().context(|| member.what())?;
            let other = held
                .as_ref()
                .is_some_and(|h| (h.dev(), h.ino()) != (meta.dev(), meta.ino()));
            if other {
                return Err(Error::new(format!(
                    "{} was the same FIFO as {}, and is another one now",
                    member.name, first.name
                )));
            }
            if holder.is_none() {
                self.contents.resize(&fd).context(|| member.what())?;
            }
            apply_owner(&fd, &member.fown).context(|| member.what())?;
            apply_flags(&fd, member.flags).context(|| member.what())?;
            opened.push((member.id, OwnedFd::from(fd)));
        }
        Ok(opened)
    }

    /// Whether all of it is readers that did not wait for a writer when they opened it: without one,
    /// they are not to see a hang-up, which only a writer that has come and gone leaves behind.
    fn waits_for_a_writer(&self) -> bool {
        self.contents.is_empty()
            && self.members.iter().all(|m| {
                let flags = m.flags.cast_signed();
                flags & libc::O_ACCMODE == libc::O_RDONLY && flags & libc::O_NONBLOCK != 0
            })
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

impl Member {
    fn what(&self) -> String {
        format!("restoring the FIFO {}", self.name)
    }
}
