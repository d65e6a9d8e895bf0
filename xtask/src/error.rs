//! What can go wrong in a task.

use std::error::Error as _;
use std::path::PathBuf;
use std::{fmt, io};

/// A task's failure: what was done, to what, why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started.
    #[error("start {program}")]
    Start {
        /// Its name or path.
        program: String,
        #[source]
        cause: io::Error,
    },
    /// A program ended badly.
    #[error("`{command}` failed: {status}{output}")]
    Command {
        /// The whole command line.
        command: String,
        /// Exit code or signal, in words.
        status: String,
        /// The end of what it printed, on lines of its own, or empty where that was shown already.
        output: String,
    },
    /// A file or folder.
    #[error("{action} {}", path.display())]
    File {
        /// The verb.
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// Anything else with an operating system's reason.
    #[error("{0}")]
    System(String, #[source] io::Error),
    /// A check of the demonstration or the benchmark did not hold.
    #[error("{0}")]
    Wrong(String),
}

/// The error and its causes on one line.
pub(crate) fn chain(error: &Error) -> impl fmt::Display {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// Names the file in an I/O error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|cause| Error::File {
            action,
            path: path.into(),
            cause,
        })
    }
}
