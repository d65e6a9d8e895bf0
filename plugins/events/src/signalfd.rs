//! signalfd(2): `signalfd_entry`. The signals themselves are pending at the process.

use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, FileKind, Host, Opened, Progress, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, SignalfdEntry};

use crate::fdinfo::FdInfo;
use crate::{entry, sys};

/// The kind `signalfd`.
pub struct Signalfd;

impl FileKind for Signalfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let sigmask = FdInfo::read(host, file)?.number("sigmask", 16)?;
        Ok(entry::saved(
            FdTypes::Signalfd,
            FileEntry {
                id: file.id,
                sgfd: Some(SignalfdEntry {
                    id: file.id,
                    flags: file.flags,
                    fown: fown_decode(&file.fown)?,
                    sigmask,
                }),
                ..FileEntry::default()
            },
        ))
    }

    fn prepare(&self, _host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        for file in files {
            signalfd(file)?;
        }
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let sgfd = signalfd(&request.file)?;
        let fd = sys::signalfd(sgfd.sigmask).context(|| format!("restoring signalfd {}", sgfd.id))?;
        let fd = entry::complete(fd, sgfd.id, sgfd.flags, &sgfd.fown)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

fn signalfd(file: &FileRecord) -> Result<SignalfdEntry> {
    entry::of(file, |entry| entry.sgfd)
}

#[cfg(test)]
mod tests {
    use criu_plugin_api::testing::MockHost;

    use super::*;
    use crate::testing::{dump, entry_of, restore};

    #[test]
    fn the_mask_comes_back() {
        let mock = MockHost::new();
        // SIGUSR1 and the last real-time signal.
        let mask = 1 << 9 | 1 << 63;
        let records = dump(&Signalfd, &mock, &[&sys::signalfd(mask).unwrap()]);
        let saved = entry_of(&records[0]).sgfd.unwrap();
        assert_eq!((saved.flags, saved.sigmask), (2, mask));
        let opened = restore(&Signalfd, &mock, &records).unwrap();
        let again = dump(&Signalfd, &mock, &[&opened[0]]);
        assert_eq!(again, records);
    }
}
