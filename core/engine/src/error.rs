//! The engine's error: what was being done, to which object, why it failed, what helps.

use std::fmt;
use std::io;

/// The result of every stage.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a stage. Its `Display` is the chain from the outermost action to the first cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An action on an object failed; the cause follows.
    #[error("{action}: {source}")]
    While {
        /// What was being done, and to what.
        action: String,
        /// Why it failed.
        source: Box<Error>,
    },
    /// The kernel said no.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, and to what.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The images could not be read or written.
    #[error(transparent)]
    Images(#[from] criu_images::Error),
    /// A process could not be stopped, entered or cured.
    #[error(transparent)]
    Infect(#[from] criu_infect::Error),
    /// A plugin or its loading failed, or a plugin refused.
    #[error("{0}")]
    Plugin(#[from] criu_plugin_api::Error),
    /// What was found cannot be saved or restored.
    #[error("{object}: {what}{}", remedy.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused {
        /// The object, as the user knows it: pid, descriptor, path, address.
        object: String,
        /// What of it is not supported, or wrong.
        what: String,
        /// What the user can do.
        remedy: Option<String>,
    },
    /// A file of /proc or an image says something that cannot be.
    #[error("{object}: {what}")]
    Malformed {
        /// Where it was read.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// A stage was not over in the time given by `--timeout`.
    #[error("{action}: not over within {seconds} s (raise --timeout)")]
    Timeout {
        /// What was waited for.
        action: String,
        /// How long.
        seconds: u64,
    },
    /// A task of a restore failed; it has told the whole chain.
    #[error("{0}")]
    Task(String),
    /// Someone who was told of a stage refused it.
    #[error("{action} was refused: {why}")]
    Notify {
        /// The stage.
        action: String,
        /// The reason given.
        why: String,
    },
}

impl Error {
    /// A refusal without a remedy.
    pub fn refused(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Refused {
            object: object.into(),
            what: what.into(),
            remedy: None,
        }
    }

    /// A refusal that names what would help.
    pub fn refused_but(
        object: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Refused {
            object: object.into(),
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Whether the cause is something that cannot be saved or restored, and not a failure on the way.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::While { source, .. } => source.is_refusal(),
            Self::Refused { .. } => true,
            Self::Plugin(error) => error.code == criu_plugin_api::ErrorCode::Refused,
            Self::Infect(error) => matches!(
                error,
                criu_infect::Error::Unsupported { .. } | criu_infect::Error::Traced { .. }
            ),
            _ => false,
        }
    }

    /// Something that was read makes no sense.
    pub fn malformed(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Malformed {
            object: object.into(),
            what: what.into(),
        }
    }

    /// The last error of the C library, from an action.
    pub fn last_os(action: impl Into<String>) -> Self {
        Self::Io {
            action: action.into(),
            source: io::Error::last_os_error(),
        }
    }
}

/// Says what was being done when something failed; the text is built only then.
pub(crate) trait Context<T> {
    /// Wraps the failure with an action.
    ///
    /// # Errors
    /// The failure of `self`.
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|source| Error::Io {
            action: action().to_string(),
            source,
        })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|errno| Error::Io {
            action: action().to_string(),
            source: errno.into(),
        })
    }
}

impl<T> Context<T> for Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|source| Error::While {
            action: action().to_string(),
            source: Box::new(source),
        })
    }
}

impl<T> Context<T> for criu_plugin_api::Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(Error::Plugin).context(action)
    }
}

impl<T> Context<T> for std::result::Result<T, criu_images::Error> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(Error::Images).context(action)
    }
}

impl<T> Context<T> for std::result::Result<T, criu_infect::Error> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(Error::Infect).context(action)
    }
}
