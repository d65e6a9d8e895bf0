//! What a callback can answer besides success: an error, or a refusal with its remedy.

use std::fmt;

/// The result of every callback and host service.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure: what was being done, to which object, and why.
///
/// The text is a chain joined by `": "`, the outermost action first and the first cause last, so that
/// it crosses the plugin boundary as one string without losing its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What sort of failure it is, for the host to decide what to do.
    pub code: ErrorCode,
    /// The chain of actions and causes.
    pub message: String,
    /// What the user can do about it: an option, a plugin, a setting.
    pub remedy: Option<String>,
}

/// The sorts of failure that the host tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorCode {
    /// The work could not be done.
    Failed = 0,
    /// The resource is known, but this state of it is not supported.
    Refused = 1,
    /// The callback or service does not exist in this revision of the other side.
    Unsupported = 2,
    /// The code of a plugin panicked; the plugin must not be called again.
    Panicked = 3,
    /// A message did not decode.
    Malformed = 4,
}

impl Error {
    /// A plain failure with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Failed,
            message: message.into(),
            remedy: None,
        }
    }

    /// A state that is not supported. Who knows the object names it by [`Context`].
    pub fn refused(what: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Refused,
            ..Self::new(what)
        }
    }

    /// The failure of a callback or service that the other side does not have.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self {
            code: ErrorCode::Unsupported,
            message: format!("{what} is not available"),
            remedy: None,
        }
    }

    /// The same failure with what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same failure, seen from an outer action.
    #[must_use]
    pub fn context(mut self, action: impl fmt::Display) -> Self {
        self.message = format!("{action}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: ErrorCode::Refused,
            message: format!("{}: {}", refusal.object, refusal.what),
            remedy: refusal.remedy,
        }
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Wraps the failure with an action; the closure runs only on failure.
    ///
    /// # Errors
    /// The failure of `self`, with the action before it.
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|cause| Error::new(format!("{}: {cause}", action())))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|cause| Error::new(format!("{}: {}", action(), cause.desc())))
    }
}

impl<T> Context<T> for Result<T> {
    fn context<A: fmt::Display>(self, action: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|cause| cause.context(action()))
    }
}

/// A typed "no": the resource is this plugin's, but its state cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The object: pid, descriptor, path, as the user knows it.
    pub object: String,
    /// What of it is not supported.
    pub what: String,
    /// The option or plugin that removes the obstacle, if there is one.
    pub remedy: Option<String>,
}

/// The three answers of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The resource has been saved; this describes it.
    Entry(T),
    /// The resource is not this kind's after all: the next claim is tried.
    NotMine,
    /// The resource is this kind's and cannot be saved.
    Refused(Refusal),
}

impl<T> Verdict<T> {
    /// A refusal without a remedy.
    pub fn refused(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Refused(Refusal {
            object: object.into(),
            what: what.into(),
            remedy: None,
        })
    }

    /// A refusal that names what would help.
    pub fn refused_but(
        object: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Refused(Refusal {
            object: object.into(),
            what: what.into(),
            remedy: Some(remedy.into()),
        })
    }
}
