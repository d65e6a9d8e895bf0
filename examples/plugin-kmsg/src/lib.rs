//! Saves and restores open descriptors of `/dev/kmsg`, the log of the kernel.
//!
//! The position of a reader is a record of this kernel's log; no call tells it, and after a restore the
//! log may be another one. So what is saved is how the file was opened, and a restored reader goes on
//! with the messages that come after the restore, or, with the option `rewind`, with the oldest that
//! there is. A writer loses nothing.
//!
//! Files of third parties stand in `files.img` as entries of the type EXT, which carry an id and the
//! owner; all else is in an image of the plugin's own, `kmsg.img`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom};

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::prost::Message;
use criu_plugin_api::proto::images::{ExtFileEntry, FdTypes, FileEntry};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Result, Verdict, restore};

static IMAGE: ImageKind = image::own_kind("KMSG", "kmsg.img", 0x4b4d_5347);

const O_ACCMODE: u32 = 3;

/// One file, as it stands in `kmsg.img`.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "criu_plugin_api::prost")]
struct KmsgEntry {
    /// The id of the file in `files.img`.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// The flags of open(2) and fcntl(2).
    #[prost(uint32, tag = "2")]
    flags: u32,
}

#[derive(Default)]
struct Kmsg {
    /// Dump: the files so far. Restore: those of the image.
    files: RefCell<HashMap<u32, KmsgEntry>>,
    rewind: Cell<bool>,
}

impl FileKind for Kmsg {
    fn dump(&self, _: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let ext = ExtFileEntry {
            id: file.id,
            fown: restore::fown_decode(&file.fown)?,
        };
        let entry = FileEntry {
            r#type: FdTypes::Ext as i32,
            id: file.id,
            ext: Some(ext),
            ..FileEntry::default()
        };
        self.files.borrow_mut().insert(
            file.id,
            KmsgEntry {
                id: file.id,
                flags: file.flags,
            },
        );
        let fd_type = FdTypes::Ext as u32;
        Ok(Verdict::Entry(FileImage {
            fd_type,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        let files = self.files.borrow();
        if files.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &IMAGE)?;
        let mut entries: Vec<_> = files.values().collect();
        entries.sort_by_key(|entry| entry.id);
        for entry in entries {
            writer.entry(entry)?;
        }
        writer.finish()?;
        Ok(())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        self.rewind.set(host.option_bool("rewind")?);
        let entries: Vec<KmsgEntry> = image::read_all(host, &IMAGE)?;
        let mut known = self.files.borrow_mut();
        known.extend(entries.into_iter().map(|entry| (entry.id, entry)));
        // Of all files of the type EXT those are ours that our image describes.
        let ours = files.iter().filter(|file| known.contains_key(&file.id));
        Ok(ours
            .map(|file| FilePlan {
                id: file.id,
                ..FilePlan::default()
            })
            .collect())
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let files = self.files.borrow();
        let entry = files
            .get(&id)
            .ok_or_else(|| Error::new(format!("file {id} is not in kmsg.img")))?;
        let access = entry.flags & O_ACCMODE;
        let mut file = OpenOptions::new()
            .read(access != 1)
            .write(access != 0)
            .open("/dev/kmsg")
            .context(|| format!("opening /dev/kmsg for file {id}"))?;
        if access != 1 && !self.rewind.get() {
            file.seek(SeekFrom::End(0))
                .context(|| format!("going to the end of /dev/kmsg, file {id}"))?;
        }
        let saved = FileEntry::decode(&*request.file.entry)
            .map_err(|cause| Error::new(format!("reading the entry of file {id}: {cause}")))?;
        if let Some(ext) = saved.ext {
            restore::apply_owner(&file, &ext.fown)?;
        }
        restore::apply_flags(&file, entry.flags)?;
        Ok(Progress::Done(Opened::one(file.into())))
    }
}

criu_plugin_api::register! {
    kind: Kmsg::default(),
    point: FileKind,
    name: "kmsg",
    claims: ["chr:1:11", "image:16:kmsg.img"],
}

criu_plugin_api::export_plugin! {
    name: "kmsg",
    description: "The log of the kernel, /dev/kmsg",
    options: [
        { name: "rewind", kind: "bool", default: "no", help: "Restored readers begin with the oldest message" },
    ],
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;

    use criu_plugin_api::testing::{MockHost, file_target};

    use super::*;

    #[test]
    fn a_descriptor_survives() {
        let Ok(file) = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(0o4000)
            .open("/dev/kmsg")
        else {
            eprintln!("/dev/kmsg cannot be opened here: nothing to test");
            return;
        };
        let services = MockHost::new();
        let host = Host::new(&services, "kmsg");
        let target = file_target(&file).unwrap();

        let dumping = Kmsg::default();
        let Verdict::Entry(saved) = dumping.dump(&host, &target).unwrap() else {
            panic!("no entry")
        };
        dumping.finish_dump(&host).unwrap();
        assert_eq!(services.images(), ["kmsg.img"]);

        let restoring = Kmsg::default();
        let record = FileRecord {
            id: target.id,
            fd_type: saved.fd_type,
            entry: saved.entry,
        };
        let other = FileRecord {
            id: 99,
            ..record.clone()
        };
        let plans = restoring.prepare(&host, &[record.clone(), other]).unwrap();
        assert!(matches!(plans.as_slice(), [plan] if plan.id == target.id));
        let request = OpenRequest {
            file: record,
            ..OpenRequest::default()
        };
        let Progress::Done(opened) = restoring.open(&host, &request).unwrap() else {
            panic!("not opened")
        };
        // SAFETY: `open` returns a descriptor that the caller owns.
        let restored: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(opened.fd) };
        let again = file_target(&restored).unwrap();
        assert_eq!((again.flags, again.rdev), (target.flags, target.rdev));
    }

    #[test]
    fn a_damaged_image_is_an_error() {
        let services = MockHost::new();
        services.put_image("kmsg.img", b"something else").unwrap();
        let host = Host::new(&services, "kmsg");
        assert!(
            Kmsg::default()
                .prepare(&host, &[])
                .unwrap_err()
                .message
                .contains("kmsg.img")
        );
    }
}
