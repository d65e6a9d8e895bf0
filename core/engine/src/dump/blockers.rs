//! What stands in the way of a dump: all of it is looked for, not only the first.

use std::cell::{Cell, RefCell};

use crate::error::{Error, Result};

/// Something that cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The object, as the user knows it: pid, descriptor, path, address.
    pub object: String,
    /// What of it is not supported.
    pub reason: String,
    /// The option or plugin that would help, if there is one.
    pub remedy: Option<String>,
}

impl From<&Error> for Blocker {
    fn from(error: &Error) -> Self {
        match error {
            Error::Refused { object, what, remedy } => Self {
                object: object.clone(),
                reason: what.clone(),
                remedy: remedy.clone(),
            },
            Error::While { action, source } => {
                let mut inner = Self::from(&**source);
                // The innermost action names the object where the cause itself does not.
                if inner.object.is_empty() {
                    inner.object = ["dumping ", "entering ", "finishing "]
                        .iter()
                        .find_map(|verb| action.strip_prefix(verb))
                        .unwrap_or(action)
                        .to_owned();
                }
                inner
            }
            Error::Plugin(error) => {
                // A plugin's refusal begins with its object.
                let named = error.message.split_once(": ").filter(|(object, _)| {
                    ["pid ", "process ", "thread "]
                        .iter()
                        .any(|word| object.starts_with(word))
                });
                let (object, reason) = named.unwrap_or(("", &error.message));
                Self {
                    object: object.to_owned(),
                    reason: reason.to_owned(),
                    remedy: error.remedy.clone(),
                }
            }
            other => Self {
                object: String::new(),
                reason: other.to_string(),
                remedy: None,
            },
        }
    }
}

/// Those found so far.
#[derive(Debug, Default)]
pub(crate) struct Blockers {
    found: RefCell<Vec<Error>>,
    /// A whole process was left out: what others have in common with it cannot be judged.
    left_out: Cell<bool>,
}

impl Blockers {
    /// Keeps a refusal, so that the walk can go on without the object; `None` then.
    ///
    /// # Errors
    /// Any other failure.
    pub(crate) fn note<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_refusal() => {
                tracing::debug!("in the way: {error}");
                self.found.borrow_mut().push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::note`], of a whole process.
    ///
    /// # Errors
    /// Any other failure.
    pub(crate) fn note_process<T>(&self, result: Result<T>) -> Result<Option<T>> {
        let noted = self.note(result)?;
        if noted.is_none() {
            self.left_out.set(true);
        }
        Ok(noted)
    }

    pub(crate) fn any(&self) -> bool {
        !self.found.borrow().is_empty()
    }

    pub(crate) fn left_out_a_process(&self) -> bool {
        self.left_out.get()
    }

    /// Ends the walk.
    ///
    /// # Errors
    /// The first of what was found; the others have been told before.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut found = self.found.take().into_iter();
        let Some(first) = found.next() else { return Ok(()) };
        for other in found {
            tracing::error!("{other}");
        }
        Err(first)
    }

    pub(crate) fn take(&self) -> Vec<Error> {
        self.found.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Context;

    #[test]
    fn a_refusal_is_kept_and_a_failure_is_not() {
        let blockers = Blockers::default();
        let refused = || -> Result<()> { Err(Error::refused_but("fd 3", "is odd", "use --odd")) };
        assert!(
            blockers
                .note(refused().context(|| "dumping process 7"))
                .unwrap()
                .is_none()
        );
        assert!(blockers.any());
        assert_eq!(blockers.note(Ok(5)).unwrap(), Some(5));
        let failed: Result<()> = Err(Error::malformed("file", "is broken"));
        assert!(blockers.note(failed).is_err());
        assert!(
            blockers
                .settle()
                .unwrap_err()
                .to_string()
                .contains("fd 3: is odd (use --odd)")
        );
        assert!(blockers.settle().is_ok());
    }

    #[test]
    fn the_object_is_named_by_the_cause_or_by_what_was_done() {
        let plugin: criu_plugin_api::Error = criu_plugin_api::Error::from(criu_plugin_api::Refusal {
            object: "socket 5".into(),
            what: "has unread data".into(),
            remedy: Some("read it".into()),
        });
        let error = Err::<(), _>(Error::Plugin(plugin))
            .context(|| "dumping descriptor 4 of process 7")
            .context(|| "dumping process 7")
            .unwrap_err();
        assert!(error.is_refusal());
        let blocker = Blocker::from(&error);
        assert_eq!(blocker.object, "descriptor 4 of process 7");
        assert_eq!(blocker.reason, "socket 5: has unread data");
        assert_eq!(blocker.remedy.as_deref(), Some("read it"));
    }
}
