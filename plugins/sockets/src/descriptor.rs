//! What every descriptor has: its flags, whom it signals, and whose file it is.

use std::os::fd::AsFd;

use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, ErrorCode, Host, Refusal, Result, Verdict, restore};
use criu_proto::images::FownEntry;
use nix::sys::stat::{Mode, fchmod};

/// The mode of a fresh socket.
const FRESH: u32 = 0o777;
const PERMISSIONS: u32 = 0o7777;

/// Whose a socket is: the kernel asks for it where ports are shared (`SO_REUSEPORT`) and packets routed by users.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Owner {
    #[prost(uint32, tag = "1")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) gid: u32,
    /// Permission bits.
    #[prost(uint32, tag = "3")]
    pub(crate) mode: u32,
}

impl Owner {
    /// Of a socket to be dumped, unless it is as root makes one.
    pub(crate) fn of(file: &FileTarget) -> Option<Self> {
        let mode = file.mode & PERMISSIONS;
        ((file.uid, file.gid, mode) != (0, 0, FRESH)).then_some(Self {
            uid: file.uid,
            gid: file.gid,
            mode,
        })
    }

    /// That of a fresh socket.
    pub(crate) const ROOT: Self = Self {
        uid: 0,
        gid: 0,
        mode: FRESH,
    };

    /// Whether it can have come from a socket.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check(self) -> Result<()> {
        let Self { uid, gid, mode } = self;
        // The highest id stands for none.
        if mode & !PERMISSIONS != 0 || [uid, gid].contains(&u32::MAX) {
            return Err(Error::new(format!(
                "owner {uid}:{gid} and mode {mode:o}, which no socket has: damaged"
            )));
        }
        Ok(())
    }

    /// Makes it the owner of a fresh socket.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn apply(self, fd: impl AsFd) -> Result<()> {
        let Self { uid, gid, mode } = self;
        std::os::unix::fs::fchown(&fd, Some(uid), Some(gid))
            .context(|| format!("giving the socket to {uid}:{gid}"))?;
        if mode != FRESH {
            fchmod(&fd, Mode::from_bits_truncate(mode))
                .context(|| format!("setting the mode of the socket to {mode:o}"))?;
        }
        Ok(())
    }
}

/// Sets whose it is, whom it signals, and the status flags.
///
/// # Errors
/// They could not be set.
pub(crate) fn complete(fd: impl AsFd, flags: u32, fown: &FownEntry, owner: Option<Owner>) -> Result<()> {
    if let Some(owner) = owner {
        owner.apply(&fd)?;
    }
    restore::apply_owner(&fd, fown)?;
    restore::apply_flags(&fd, flags)
}

/// Says that a queue of errors will be lost, which the kernel lets nobody look into without emptying it.
pub(crate) fn errors_lost(host: &Host<'_>, object: &str) {
    let what = "what waits in its queue of errors (MSG_ERRQUEUE: errors, time stamps, completions of MSG_ZEROCOPY) is lost";
    host.log(2, "sockets", &format!("{object}: {what}"));
}

/// Names the object of what was refused further in.
///
/// # Errors
/// Any other failure.
pub(crate) fn refusal<T>(result: Result<T>, object: &str) -> Result<std::result::Result<T, Refusal>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.code == ErrorCode::Refused => Ok(Err(Refusal {
            object: object.to_owned(),
            what: error.message,
            remedy: error.remedy,
        })),
        Err(error) => Err(error),
    }
}

/// The same of a verdict.
///
/// # Errors
/// Any other failure.
pub(crate) fn verdict<T>(result: Result<Verdict<T>>, object: &str) -> Result<Verdict<T>> {
    Ok(refusal(result, object)?.unwrap_or_else(Verdict::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_no_file_has_is_damage() {
        for (uid, gid, mode) in [(u32::MAX, 0, FRESH), (0, u32::MAX, FRESH), (0, 0, 0o10_777)] {
            let error = Owner { uid, gid, mode }.check().unwrap_err();
            assert!(error.message.contains("damaged"), "{error}");
        }
    }

    #[test]
    fn what_is_refused_further_in_gets_its_object() {
        let refused: Result<()> = Err(Error::refused("is odd").with_remedy("mend it"));
        let told = refusal(refused, "pid 1 fd 2").unwrap().unwrap_err();
        assert_eq!(told.object, "pid 1 fd 2");
        assert_eq!(
            (told.what.as_str(), told.remedy.as_deref()),
            ("is odd", Some("mend it"))
        );
        let failed: Result<()> = Err(Error::new("is broken"));
        assert!(refusal(failed, "pid 1 fd 2").is_err());
    }
}
