//! What can go wrong.

use std::io;

use crate::State;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{action}: {cause}")]
    Call {
        /// The call, or what it was for.
        action: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The socket has no connection that could be taken apart.
    #[error("a TCP socket in state {0} has no connection to be saved or restored")]
    State(State),
    /// The kernel knows a state that this crate does not.
    #[error("a TCP socket in state {0}, which is not known")]
    UnknownState(u8),
    /// A queue does not hold what the kernel had announced.
    #[error("{got} of {announced} bytes of the {queue} queue could be read")]
    Short {
        /// Which queue.
        queue: &'static str,
        /// Bytes that could be read.
        got: usize,
        /// Bytes that were announced.
        announced: usize,
    },
    /// Urgent data (`MSG_OOB`) lies in the receive queue, and cannot be saved.
    #[error("urgent data (MSG_OOB) was not read yet")]
    Urgent,
    /// The connection to be restored contradicts itself.
    #[error("the connection contradicts itself: {0}")]
    Contradiction(&'static str),
    /// A packet that was sent to the socket itself did not arrive: a firewall drops it.
    #[error("{0} did not arrive")]
    Lost(&'static str),
}

impl Error {
    /// For `map_err`.
    pub(crate) fn call(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Call { action, cause }
    }

    /// What the kernel said, if it was asked.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Call { cause, .. } => cause.raw_os_error(),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Call { cause, .. } => cause.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
