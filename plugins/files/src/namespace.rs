//! Files of namespaces (`/proc/PID/ns/*` of namespaces(7)): `ns_file_entry`.
//!
//! Such a file is known by its namespace, which the images number; it is opened again at a process that lives in it.
//! A namespace without a process of the tree is refused.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest, TaskInfo};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Refusal, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, NsFileEntry};
use prost::Message;

use crate::reg::name;
use crate::sys;

/// The names in `/proc/PID/ns` and their flags of clone(2).
const KINDS: [(&str, libc::c_int); 8] = [
    ("net", libc::CLONE_NEWNET),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("user", libc::CLONE_NEWUSER),
    ("cgroup", libc::CLONE_NEWCGROUP),
    // CLONE_NEWTIME, Linux 5.6
    ("time", 0x80),
];

/// The kind `namespace`.
#[derive(Default)]
pub struct Namespace;

impl FileKind for Namespace {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let Some((kind, flag)) = kind_of(&file.link) else {
            return Ok(Verdict::NotMine);
        };
        let tasks = host.tasks()?;
        let Some(task) = tasks.iter().find(|task| lives_in(task, kind, file)) else {
            return Ok(Verdict::Refused(Refusal {
                object: name::object(file),
                what: format!(
                    "no process of the tree lives in this {kind} namespace, so it cannot be found again"
                ),
                remedy: None,
            }));
        };
        let entry = FileEntry {
            r#type: FdTypes::Ns as i32,
            id: file.id,
            nsf: Some(NsFileEntry {
                id: file.id,
                ns_id: host.namespace_id(task.pid, kind)?,
                ns_cflag: flag.cast_unsigned(),
                flags: file.flags,
            }),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Ns as u32,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        for file in files {
            find(host, &entry(file)?)?;
        }
        Ok(Vec::new())
    }

    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let entry = entry(&request.file)?;
        let (pid, kind) = find(host, &entry)?;
        let path = format!("/proc/{pid}/ns/{kind}");
        let flags =
            entry.flags.cast_signed() & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOFOLLOW);
        let fd = sys::open_with(&path, flags).context(|| format!("opening {path}"))?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

/// Kind and flag of the namespace that a link like `net:[4026531840]` means.
fn kind_of(link: &[u8]) -> Option<(&'static str, libc::c_int)> {
    KINDS.into_iter().find(|(kind, _)| {
        let rest = link.strip_prefix(kind.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b":["))
    })
}

fn lives_in(task: &TaskInfo, kind: &str, file: &FileTarget) -> bool {
    !task.dead
        && metadata(format!("/proc/{}/ns/{kind}", task.host_pid))
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (file.dev, file.ino))
}

/// A process that lives in the namespace of an entry, and the kind of that.
fn find(host: &Host<'_>, entry: &NsFileEntry) -> Result<(i32, &'static str)> {
    let damaged = |what: String| Error::new(format!("the entry of file {}: {what}: damaged", entry.id));
    let known = KINDS
        .into_iter()
        .find(|(_, flag)| flag.cast_unsigned() == entry.ns_cflag);
    let (kind, _) =
        known.ok_or_else(|| damaged(format!("there is no namespace of flag {:#x}", entry.ns_cflag)))?;
    for task in host.tasks()?.iter().filter(|task| !task.dead) {
        if entry.ns_id != 0 && host.namespace_id(task.pid, kind)? == entry.ns_id {
            return Ok((task.host_pid, kind));
        }
    }
    Err(damaged(format!(
        "no process lives in {kind} namespace {}",
        entry.ns_id
    )))
}

/// The entry of a file, checked to be of this kind.
fn entry(file: &FileRecord) -> Result<NsFileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry.nsf.ok_or_else(|| {
        Error::new(format!(
            "file {} is of type NS but has no such entry: damaged",
            file.id
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_namespaces_are_known() {
        assert_eq!(kind_of(b"net:[4026531840]"), Some(("net", libc::CLONE_NEWNET)));
        assert_eq!(kind_of(b"mnt:[1]"), Some(("mnt", libc::CLONE_NEWNS)));
        for link in [b"net".as_slice(), b"/net:[1]", b"netx:[1]", b"pipe:[1]", b""] {
            assert_eq!(kind_of(link), None);
        }
    }
}
