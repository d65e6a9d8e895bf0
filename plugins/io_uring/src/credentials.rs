//! The credentials of a thread that looks for requests (`IORING_SETUP_SQPOLL`): those that its maker has when it makes
//! the ring. Requests that the thread finds are done with them.

use criu_plugin_api::{Context, Error, Result};
use nix::errno::Errno;

use crate::ring::status_field;

/// What decides about what a thread may do.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Credentials {
    /// Real, effective, saved and that for files.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) uids: Vec<u32>,
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) gids: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) groups: Vec<u32>,
    /// The effective capabilities.
    #[prost(uint64, tag = "4")]
    pub(crate) capabilities: u64,
}

/// Groups that a process may have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

impl Credentials {
    /// Those in `/proc/PID/task/TID/status`.
    pub(crate) fn read(path: &str) -> Result<Self> {
        let numbers = |name: &str| -> Result<Vec<u32>> {
            let text = status_field(path, name)?;
            let numbers = text.split_ascii_whitespace().map(str::parse);
            numbers
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| Error::new(format!("{path}: {name} is `{text}`")))
        };
        let text = status_field(path, "CapEff")?;
        let capabilities =
            u64::from_str_radix(&text, 16).map_err(|_| Error::new(format!("{path}: CapEff is `{text}`")))?;
        let credentials = Self {
            uids: numbers("Uid")?,
            gids: numbers("Gid")?,
            groups: numbers("Groups")?,
            capabilities,
        };
        if credentials.is_whole() {
            return Ok(credentials);
        }
        Err(Error::new(format!("{path} has too few ids")))
    }

    /// Whether it has as many ids as there are.
    pub(crate) fn is_whole(&self) -> bool {
        self.uids.len() == 4 && self.gids.len() == 4 && self.groups.len() <= MAX_GROUPS
    }

    /// Does work with these credentials, as far as they decide about what may be done: the calling thread keeps its
    /// saved user id and its permitted capabilities, by which it comes back.
    pub(crate) fn with<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = Self::read("/proc/thread-self/status")?;
        if own.alike(self) {
            return work();
        }
        if own.uids[2] != 0 {
            return Err(Error::new("only root can take the credentials of others"));
        }
        // A change of credentials resets both.
        let kept = [libc::PR_GET_DUMPABLE, libc::PR_GET_PDEATHSIG].map(attribute);
        let result = self.take().and_then(|()| work());
        own.come_back()
            .context(|| "coming back from the credentials of a ring's thread")?;
        let [dumpable, signal] = kept;
        set_attribute(
            libc::PR_SET_DUMPABLE,
            dumpable.context(|| "asking whether it can be traced")?,
        )
        .context(|| "setting whether it can be traced")?;
        set_attribute(
            libc::PR_SET_PDEATHSIG,
            signal.context(|| "asking for the signal of its parent's end")?,
        )
        .context(|| "setting the signal of its parent's end")?;
        result
    }

    /// Whether they allow the same. The saved ids allow nothing by themselves.
    pub(crate) fn alike(&self, other: &Self) -> bool {
        let effective = |ids: &[u32]| {
            ids.first()
                .copied()
                .zip(ids.get(1).copied())
                .zip(ids.get(3).copied())
        };
        effective(&self.uids) == effective(&other.uids)
            && effective(&self.gids) == effective(&other.gids)
            && self.groups == other.groups
            && self.capabilities == other.capabilities
    }

    fn take(&self) -> Result<()> {
        let action = || format!("taking the ids {:?} and {:?}", self.uids, self.gids);
        set_groups(&self.groups).context(action)?;
        // Root's for the saved one stays: it is -1 here, "as it is".
        ids(libc::SYS_setresgid, self.gids[0], self.gids[1], u32::MAX).context(action)?;
        ids(libc::SYS_setresuid, self.uids[0], self.uids[1], u32::MAX).context(action)?;
        // What the change of the user has taken away may be among them.
        set_effective(self.capabilities).context(action)?;
        let now = Self::read("/proc/thread-self/status")?;
        if now.alike(self) {
            return Ok(());
        }
        Err(Error::new(format!("{}: they came out as {now:?}", action())))
    }

    fn come_back(&self) -> Result<()> {
        ids(libc::SYS_setresuid, u32::MAX, 0, u32::MAX).context(|| "becoming root")?;
        ids(libc::SYS_setresuid, self.uids[0], self.uids[1], self.uids[2]).context(|| "the user ids")?;
        set_effective(self.capabilities).context(|| "the capabilities")?;
        ids(libc::SYS_setresgid, self.gids[0], self.gids[1], self.gids[2]).context(|| "the group ids")?;
        set_groups(&self.groups).context(|| "the groups")?;
        let now = Self::read("/proc/thread-self/status")?;
        if now == *self {
            return Ok(());
        }
        Err(Error::new(format!("they came out as {now:?}")))
    }
}

/// prctl(2), an operation that asks: for the signal by way of an address, else by the result.
fn attribute(operation: libc::c_int) -> nix::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    // SAFETY: `PR_GET_PDEATHSIG` writes a number to the address given; `PR_GET_DUMPABLE` ignores it.
    let result = Errno::result(unsafe { libc::prctl(operation, &raw mut value) })?;
    Ok(if operation == libc::PR_GET_PDEATHSIG {
        value
    } else {
        result
    })
}

/// prctl(2), an operation that takes a number.
fn set_attribute(operation: libc::c_int, value: libc::c_int) -> nix::Result<()> {
    // SAFETY: both operations take a plain number.
    Errno::result(unsafe { libc::prctl(operation, libc::c_long::from(value)) }).map(drop)
}

/// setresuid(2) or setresgid(2), of the calling thread alone.
fn ids(call: libc::c_long, real: u32, effective: u32, saved: u32) -> nix::Result<()> {
    // SAFETY: both calls take plain numbers, -1 for "as it is".
    Errno::result(unsafe { libc::syscall(call, real, effective, saved) }).map(drop)
}

/// setgroups(2), of the calling thread alone.
fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: the kernel reads as many numbers as are said to be there.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// The effective capabilities of the calling thread, capset(2); the others stay.
fn set_effective(capabilities: u64) -> nix::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // For each half: effective, permitted, inheritable.
    let mut sets = [0_u32; 6];
    // SAFETY: the header is one, and the kernel writes twice three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    sets[0] = capabilities as u32;
    sets[3] = (capabilities >> 32) as u32;
    // SAFETY: as above, to be read.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_and_given_back() {
        let own = Credentials::read("/proc/thread-self/status").unwrap();
        if own.uids != [0; 4] {
            println!("skipped: only root can take other credentials");
            return;
        }
        let others = Credentials {
            uids: vec![1234, 1235, 1236, 1235],
            gids: vec![2234, 2235, 2236, 2235],
            groups: vec![7, 5000],
            // CAP_CHOWN and CAP_NET_BIND_SERVICE
            capabilities: 1 << 0 | 1 << 10,
        };
        let seen = others
            .with(|| Credentials::read("/proc/thread-self/status"))
            .unwrap();
        assert!(seen.alike(&others), "{seen:?}");
        assert_eq!(Credentials::read("/proc/thread-self/status").unwrap(), own);
        let failed = others.with(|| Err::<(), _>(Error::new("it failed")));
        assert_eq!(failed.unwrap_err().message, "it failed");
        assert_eq!(Credentials::read("/proc/thread-self/status").unwrap(), own);
    }
}
