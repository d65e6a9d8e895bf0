//! userfaultfd(2): refused by name, as CRIU does. The descriptor belongs to the memory of one process, and
//! its events wait for an answer that only its reader can give.

use criu_plugin_api::message::{FileImage, FileTarget, OpenRequest};
use criu_plugin_api::{Error, FileKind, Host, Opened, Progress, Result, Verdict};

use crate::entry::object;
use crate::fdinfo::FdInfo;

/// The kind `userfaultfd`.
pub struct Userfaultfd;

impl FileKind for Userfaultfd {
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let info = FdInfo::read(host, file)?;
        let word = |name| info.find(name).unwrap_or("?");
        let (pending, total, api) = (word("pending"), word("total"), word("API"));
        let what = format!(
            "is a userfaultfd (API {api}, {total} faults wait, {pending} of them unread), which is not supported"
        );
        Ok(Verdict::Refused(criu_plugin_api::Refusal {
            object: object(file),
            what,
            remedy: Some("have the program close it before the dump".to_owned()),
        }))
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        Err(Error::new(format!(
            "file {} is a userfaultfd, which no dump writes",
            request.file.id
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd, OwnedFd};

    use criu_plugin_api::testing::{MockHost, file_target};

    use super::*;

    #[test]
    fn it_is_refused_by_name() {
        // SAFETY: the call takes plain flags.
        let made = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        let Ok(fd) = i32::try_from(made)
            .map_err(drop)
            .and_then(|fd| (fd >= 0).then_some(fd).ok_or(()))
        else {
            println!("skipped: this kernel or user may make no userfaultfd");
            return;
        };
        // SAFETY: the call returned a new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (mock, target) = (MockHost::new(), file_target(&fd).unwrap());
        let verdict = Userfaultfd.dump(&Host::new(&mock, "events"), &target).unwrap();
        let Verdict::Refused(refusal) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(refusal.what.contains("is a userfaultfd") && refusal.remedy.is_some());
    }
}
