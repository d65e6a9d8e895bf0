//! Opens all files of a terminal, in the task that does it for everyone.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use criu_plugin_api::{Context, Error, Host, Result};
use criu_proto::images::{TtyFileEntry, TtyInfoEntry};
use nix::errno::Errno;

use crate::data::Input;
use crate::exchange::peer as peer_of;
use crate::images::{Pair, Role, Terminal};
use crate::outside::{self, Own};
use crate::settings::Settings;
use crate::sys;
use crate::underway::UnderWay;

/// What is opened in one go.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) terminal: Terminal,
    pub(crate) files: Vec<Member>,
    /// The leader of the session that it controls.
    pub(crate) leader: Option<i32>,
    /// The foreground group to be set.
    pub(crate) foreground: Option<i32>,
    /// The file whose `attach` sets it.
    pub(crate) carrier: Option<u32>,
}

/// A file of a group.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) entry: TtyFileEntry,
    pub(crate) role: Role,
}

impl Group {
    /// All files of a pair that has been made.
    pub(crate) fn open_pair(
        &self,
        pair: &Pair,
        master: OwnedFd,
        hung_up: &dyn Fn(u32) -> Result<OwnedFd>,
    ) -> Result<Vec<(TtyFileEntry, OwnedFd)>> {
        let mut opened = Vec::new();
        for member in &self.files {
            let slave = match member.role {
                Role::Slave => open_slave(master.as_fd(), &member.entry).context(|| "opening the slave")?,
                Role::HungUp => hung_up(member.entry.id)?,
                Role::Master | Role::Controlling => continue,
            };
            opened.push((member.entry, slave));
        }
        // A slave that nobody has opened yet is told by its missing entry, and left alone.
        let peer = pair
            .slave
            .as_ref()
            .map(|_| peer_of(master.as_fd()))
            .transpose()
            .context(|| "opening the slave")?;
        let settings = Settings::of(pair.slave.as_ref().unwrap_or(&pair.master))?;
        if let (Some(peer), Some(settings)) = (&peer, &settings) {
            fill(master.as_fd(), peer, settings, pair)?;
        } else if pair.master.packet_mode {
            sys::set_packets(master.as_fd(), true).context(|| "setting packet mode")?;
        }
        if let Some(settings) = &settings {
            // What has been put into the pair has the right termios already.
            if peer.is_none() {
                settings.set_termios(master.as_fd())?;
            }
            settings.complete(master.as_fd(), true)?;
        }
        for member in self
            .files
            .iter()
            .filter(|member| member.role == Role::Controlling)
        {
            opened.push((member.entry, open_tty(&member.entry)?));
        }
        finish_pair(master.as_fd(), peer.as_ref(), pair)?;
        if let Some(member) = self.files.iter().find(|member| member.role == Role::Master) {
            opened.push((member.entry, master));
        }
        Ok(opened)
    }

    /// Makes the slaves that have hung up although their master lives, before any other is opened.
    pub(crate) fn hang_up(&self, master: BorrowedFd<'_>) -> Result<Vec<(u32, OwnedFd)>> {
        let members = self.files.iter().filter(|member| member.role == Role::HungUp);
        let opened = members
            .map(|member| Ok((member.entry.id, open_slave(master, &member.entry)?)))
            .collect::<nix::Result<Vec<_>>>()
            .context(|| "opening the slave")?;
        if !opened.is_empty() {
            let done = peer_of(master).and_then(|peer| sys::hang_up(peer.as_fd()));
            done.context(|| "hanging it up")?;
        }
        Ok(opened)
    }

    /// All files of a terminal from outside.
    pub(crate) fn open_outside(
        &self,
        host: &Host<'_>,
        own: Option<&Own>,
        info: &TtyInfoEntry,
    ) -> Result<Vec<(TtyFileEntry, OwnedFd)>> {
        let fd = outside::stand_in(host, own, info)?;
        let handed_over = outside::inherited(host, info)?.is_some();
        let may_change = handed_over || own.is_some_and(|own| own.is_ours);
        if let (true, Some(settings)) = (may_change, Settings::of(info)?) {
            // The window is that of whoever looks at it now.
            sys::from_background(|| {
                settings.set_termios(fd.as_fd())?;
                settings.complete(fd.as_fd(), false)
            })?;
        }
        let mut opened = Vec::new();
        for member in &self.files {
            let copy = fd.try_clone().context(|| "copying a terminal from outside")?;
            opened.push((member.entry, outside::reopen(copy, open_flags(&member.entry))));
        }
        Ok(opened)
    }
}

pub(crate) fn open_flags(entry: &TtyFileEntry) -> i32 {
    let kept = libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_APPEND;
    entry.flags.cast_signed() & kept | libc::O_NOCTTY | libc::O_CLOEXEC
}

/// A description of a slave, opened as it was: open(2) adds `O_LARGEFILE`, `TIOCGPTPEER` does not.
fn open_slave(master: BorrowedFd<'_>, entry: &TtyFileEntry) -> nix::Result<OwnedFd> {
    let slave = sys::open_peer(master, open_flags(entry))?;
    if entry.flags & sys::LARGE_FILE == 0 {
        return Ok(slave);
    }
    sys::open_with(format!("/proc/self/fd/{}", slave.as_raw_fd()), open_flags(entry))
}

fn open_tty(entry: &TtyFileEntry) -> Result<OwnedFd> {
    sys::open_with("/dev/tty", open_flags(entry)).map_err(|errno| {
        Error::new(format!(
            "opening the controlling terminal /dev/tty: {}",
            errno.desc()
        ))
        .with_remedy("a shell job is restored in a terminal")
    })
}

pub(crate) fn open_controlling(group: &Group) -> Result<Vec<(TtyFileEntry, OwnedFd)>> {
    group
        .files
        .iter()
        .map(|member| Ok((member.entry, open_tty(&member.entry)?)))
        .collect()
}

/// Slaves of a pair whose master goes at once.
pub(crate) fn open_hung_up(group: &Group) -> Result<Vec<(TtyFileEntry, OwnedFd)>> {
    let master = sys::open_with("/dev/ptmx", libc::O_RDWR).context(|| "opening /dev/ptmx")?;
    sys::set_lock(master.as_fd(), false).context(|| "unlocking its slave")?;
    let slaves = group.files.iter().map(|member| {
        let slave = open_slave(master.as_fd(), &member.entry).context(|| "opening its slave")?;
        Ok((member.entry, slave))
    });
    slaves.collect()
}

/// Makes a terminal the controlling one of this session.
pub(crate) fn control(slave: BorrowedFd<'_>) -> Result<()> {
    sys::control(slave).map_err(|errno| match errno {
        Errno::EPERM => Error::new("it controls another session").with_remedy("hand over one that does not"),
        _ => Error::new(errno.desc()),
    })
}

/// Gives a fresh pair its termios and puts into it what was under way.
fn fill(master: BorrowedFd<'_>, peer: &File, settings: &Settings, pair: &Pair) -> Result<()> {
    let [output, input] = &pair.data;
    // The line mode must be that of the bytes, before they come.
    settings.set_termios(peer.as_fd())?;
    let under_way = UnderWay {
        output: output.clone(),
        input: Input::parse(input, &settings.termios),
        flow: [pair.extra[0].flow(), pair.extra[1].flow()],
        packets: pair.master.packet_mode,
        status: u8::try_from(pair.extra[1].packet_status).unwrap_or(0),
    };
    under_way.put(master, peer, &settings.termios)
}

/// What would be in the way before.
fn finish_pair(master: BorrowedFd<'_>, peer: Option<&File>, pair: &Pair) -> Result<()> {
    if let (Some(peer), true) = (peer, pair.slave.as_ref().is_some_and(|info| info.exclusive)) {
        sys::set_exclusive(peer.as_fd()).context(|| "setting exclusive mode")?;
    }
    if pair.master.exclusive {
        sys::set_exclusive(master).context(|| "setting exclusive mode")?;
    }
    if pair.master.locked {
        sys::set_lock(master, true).context(|| "locking the slave")?;
    }
    Ok(())
}
