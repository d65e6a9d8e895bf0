//! eventfd(2): `eventfd_file_entry`.
//!
//! The format has no place for `EFD_SEMAPHORE`. The files that have it are listed in
//! `eventfd-semaphore.img`, which is there only when there are some; a set without it is restored
//! with plain counters. The kernel tells them apart since Linux 6.5; before that they are tried.

use std::cell::RefCell;
use std::collections::HashSet;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::{apply_owner, change_flags, fown_decode};
use criu_plugin_api::{Context, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{EventfdFileEntry, FdTypes, FileEntry};

use crate::fdinfo::FdInfo;
use crate::{entry, sys};

static SEMAPHORES: ImageKind = image::own_kind("EVENTFD_SEMAPHORE", "eventfd-semaphore.img", 0x4546_5345);

/// The kind `eventfd`.
#[derive(Default)]
pub struct Eventfd {
    /// Those with `EFD_SEMAPHORE`, by file id.
    semaphores: RefCell<Vec<u32>>,
    known: RefCell<HashSet<u32>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SemaphoreEntry {
    #[prost(uint32, tag = "1")]
    id: u32,
}

impl FileKind for Eventfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let info = FdInfo::read(host, file)?;
        let counter = info.number("eventfd-count", 16)?;
        if counter == u64::MAX {
            // Only the kernel itself can get it there: no write(2) brings it back.
            return Ok(Verdict::refused(
                entry::object(file),
                "its counter has overflowed, a state that cannot be set",
            ));
        }
        let semaphore = match info.find("eventfd-semaphore") {
            Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(info.unknown("eventfd-semaphore", other)),
            None => sys::is_semaphore(entry::local(file), counter).context(|| entry::object(file))?,
        };
        if semaphore {
            self.semaphores.borrow_mut().push(file.id);
        }
        Ok(entry::saved(
            FdTypes::Eventfd,
            FileEntry {
                id: file.id,
                efd: Some(EventfdFileEntry {
                    id: file.id,
                    flags: file.flags,
                    fown: fown_decode(&file.fown)?,
                    counter,
                }),
                ..FileEntry::default()
            },
        ))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        let semaphores = self.semaphores.take();
        if semaphores.is_empty() {
            return Ok(());
        }
        let mut image = image::create(host, &SEMAPHORES)?;
        for id in semaphores {
            image.entry(&SemaphoreEntry { id })?;
        }
        image.finish()?;
        Ok(())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        for file in files {
            let efd = eventfd(file)?;
            if efd.counter == u64::MAX {
                return Err(entry::damaged(file.id, "its counter is too large"));
            }
        }
        let semaphores: Vec<SemaphoreEntry> = image::read_all(host, &SEMAPHORES)?;
        *self.known.borrow_mut() = semaphores.iter().map(|entry| entry.id).collect();
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let efd = eventfd(&request.file)?;
        let what = || format!("restoring eventfd {}", efd.id);
        let semaphore = self.known.borrow().contains(&efd.id);
        // The call takes the lower half of the numbers that a counter can have.
        let fd = match u32::try_from(efd.counter) {
            Ok(count) => sys::eventfd(count, semaphore).context(what)?,
            Err(_) => {
                let fd = sys::eventfd(0, semaphore).context(what)?;
                sys::write_word(&fd, efd.counter).context(what)?;
                fd
            }
        };
        apply_owner(&fd, &efd.fown).context(what)?;
        change_flags(&fd, Some(0), efd.flags).context(what)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

fn eventfd(file: &FileRecord) -> Result<EventfdFileEntry> {
    entry::of(file, |entry| entry.efd)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use criu_plugin_api::testing::MockHost;

    use super::*;
    use crate::testing::{dump, entry_of, flags, restore};

    fn next(file: &mut File) -> u64 {
        let mut word = [0; 8];
        file.read_exact(&mut word).unwrap();
        u64::from_ne_bytes(word)
    }

    #[test]
    fn counters_modes_and_flags_come_back() {
        let mock = MockHost::new();
        let plain = sys::eventfd(0, false).unwrap();
        let semaphore = sys::eventfd(0, true).unwrap();
        let full = sys::eventfd(0, false).unwrap();
        sys::write_word(&plain, 42).unwrap();
        sys::write_word(&semaphore, 2).unwrap();
        sys::write_word(&full, u64::MAX - 1).unwrap();
        let nonblock = libc::O_NONBLOCK.cast_unsigned();
        criu_plugin_api::restore::apply_flags(&full, nonblock).unwrap();
        let before = [&plain, &semaphore, &full];
        let records = dump(&Eventfd::default(), &mock, &before);
        let efd = entry_of(&records[1]).efd.unwrap();
        assert_eq!((efd.flags, efd.counter), (2, 2));
        assert_eq!(mock.images(), ["eventfd-semaphore.img"]);
        let mut opened = restore(&Eventfd::default(), &mock, &records).unwrap();
        for (old, new) in before.iter().zip(&opened) {
            assert_eq!(flags(old), flags(new));
        }
        assert_eq!(next(&mut opened[0]), 42);
        assert_eq!((next(&mut opened[1]), next(&mut opened[1])), (1, 1));
        assert_eq!(next(&mut opened[2]), u64::MAX - 1);
    }

    #[test]
    fn a_try_tells_semaphores_and_leaves_no_trace() {
        for semaphore in [false, true] {
            for count in [0, 1, 2, 3, 40, u64::MAX - 2, u64::MAX - 1] {
                let fd = sys::eventfd(0, semaphore).unwrap();
                sys::write_word(&fd, count).unwrap();
                assert_eq!(sys::is_semaphore(&fd, count), Ok(semaphore), "{count}");
                let path = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                let info = std::fs::read_to_string(path).unwrap();
                let line = format!("eventfd-count: {count:16x}\n");
                assert!(info.contains(&line), "{line} in {info}");
            }
        }
    }

    #[test]
    fn plain_counters_need_no_image() {
        let mock = MockHost::new();
        dump(&Eventfd::default(), &mock, &[&sys::eventfd(0, false).unwrap()]);
        assert_eq!(mock.images(), Vec::<String>::new());
    }
}
