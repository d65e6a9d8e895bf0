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
