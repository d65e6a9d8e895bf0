//! Reading `/proc/PID/fdinfo/FD`, proc_pid_fdinfo(5).

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};

use crate::entry::object;

/// The lines of one file.
pub(crate) struct FdInfo {
    text: String,
    object: String,
}

impl FdInfo {
    /// That of a file to be dumped; of our own descriptor when it has none in its process.
    pub(crate) fn read(host: &Host<'_>, file: &FileTarget) -> Result<Self> {
        if file.fd < 0 {
            return Self::read_now(file);
        }
        Ok(Self::of_bytes(&host.fdinfo(file.pid, file.fd)?, file))
    }

    /// As it is at this moment: what the host gives may have been read ahead.
    pub(crate) fn read_now(file: &FileTarget) -> Result<Self> {
        let path = format!("/proc/self/fdinfo/{}", file.local_fd);
        let bytes = std::fs::read(&path).context(|| format!("reading {path}"))?;
        Ok(Self::of_bytes(&bytes, file))
    }

    fn of_bytes(bytes: &[u8], file: &FileTarget) -> Self {
        Self {
            text: String::from_utf8_lossy(bytes).into_owned(),
            object: object(file),
        }
    }

    /// A text that stands in for that of a file.
    #[cfg(test)]
    pub(crate) fn of(text: &str, object: &str) -> Self {
        Self {
            text: text.to_owned(),
            object: object.to_owned(),
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    /// The text after `NAME:`, if there is such a line.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    }

    /// The text after `NAME:`.
    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        self.find(name)
            .ok_or_else(|| Error::new(format!("{}: its fdinfo has no line {name}", self.object)))
    }

    /// The number after `NAME:`.
    pub(crate) fn number(&self, name: &str, radix: u32) -> Result<u64> {
        let text = self.get(name)?;
        u64::from_str_radix(text, radix).map_err(|_| self.unknown(name, text))
    }

    /// The numbers of a line `NAME: (SECONDS, NANOSECONDS)`.
    pub(crate) fn time(&self, name: &str) -> Result<(u64, u64)> {
        let text = self.get(name)?;
        text.strip_prefix('(')
            .and_then(|text| text.strip_suffix(')')?.split_once(", "))
            .and_then(|(s, ns)| Some((s.parse().ok()?, ns.parse().ok()?)))
            .ok_or_else(|| self.unknown(name, text))
    }

    pub(crate) fn unknown(&self, name: &str, text: &str) -> Error {
        let object = &self.object;
        Error::new(format!(
            "{object}: its fdinfo has {name} \"{text}\", which is not known"
        ))
    }
}
