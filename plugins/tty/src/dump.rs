//! Saves descriptors of terminals, each terminal once, and what is under way in pairs.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, image};
use criu_proto::images::{
    FdTypes, FileEntry, TtyDataEntry, TtyFileEntry, TtyInfoEntry, TtyPtyEntry, TtyType,
};
use criu_proto::magic;
use nix::errno::Errno;
use prost::Message;

use crate::data::{self, Input};
use crate::device::{self, Device, info_id, short};
use crate::{session, settings, sys};

/// Numbers of terminals that are no end of a pair begin here, beyond those of all pairs.
const OTHER_IDS: u32 = 0x4000_0000;

/// The terminals of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    /// In the order in which they were seen.
    seen: Vec<Seen>,
}

/// A terminal that was seen.
struct Seen {
    info: TtyInfoEntry,
    /// Where it was seen first, for messages and to get at it again.
    pid: i32,
    fd: i32,
    link: String,
    /// A copy of a descriptor that has no number in any target.
    held: Option<OwnedFd>,
    /// The device of the terminal itself, as [`sys::device`] gives it; 0 for one that has hung up.
    device: u32,
    /// The file system of the slave's node.
    devpts: Option<u64>,
}

impl Seen {
    fn name(&self) -> String {
        describe(self.pid, self.fd, &self.link)
    }

    fn descriptor(&self, host: &Host<'_>) -> Result<OwnedFd> {
        match &self.held {
            Some(fd) => fd.try_clone().context(|| "copying a descriptor"),
            None => host.target_fd(self.pid, self.fd),
        }
    }
}

fn describe(pid: i32, fd: i32, link: &str) -> String {
    match fd {
        0.. => format!("terminal {link}, fd {fd} of pid {pid}"),
        _ => format!("terminal {link}, in a queue of pid {pid}"),
    }
}

impl Dump {
    pub(crate) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let Some(device) = Device::of(file.rdev) else {
            return Ok(Verdict::NotMine);
        };
        if file.flags.cast_signed() & libc::O_PATH != 0 {
            // A hold on the path only, like that on any device node.
            return Ok(Verdict::NotMine);
        }
        let link = String::from_utf8_lossy(&file.link).into_owned();
        let name = || describe(file.pid, file.fd, &link);
        let is_external = device::is_external(&host.settings("external")?, short(file.rdev), short(file.dev));
        if let (Device::Hardware(_), false) = (device, is_external) {
            return Ok(Verdict::Refused(hardware(name(), file)));
        }
        let tty_info_id = match self.look(file, device, is_external, &link).context(name)? {
            Ok(id) => id,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        // A node that is gone, or is one of the outside's, has no path here.
        let has_path = !is_external && file.nlink != 0 && !link.ends_with(" (deleted)");
        let regf_id = if has_path {
            Some(host.dump_path(file).context(name)?)
        } else {
            None
        };
        let entry = FileEntry {
            r#type: FdTypes::Tty as i32,
            id: file.id,
            tty: Some(TtyFileEntry {
                id: file.id,
                tty_info_id,
                flags: file.flags,
                fown: fown_decode(&file.fown)?,
                regf_id,
            }),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Tty as u32,
            entry: entry.encode_to_vec(),
            vma_status: 0,
        }))
    }

    /// The number of the terminal behind a descriptor; looks at it when it is new.
    fn look(
        &mut self,
        file: &FileTarget,
        device: Device,
        is_external: bool,
        link: &str,
    ) -> Result<std::result::Result<u32, Refusal>> {
        let fd = sys::local(file);
        let (of_terminal, hung_up) = match sys::device(fd) {
            Ok(device) => (device, false),
            Err(Errno::EIO) => (0, true),
            Err(errno) => return Err(errno).context(|| "asking for its device"),
        };
        let rdev = short(file.rdev);
        let known = self.seen.iter_mut().find(|seen| {
            let same = seen.info.rdev == rdev && seen.info.dev == Some(short(file.dev));
            let live = seen.device == of_terminal;
            same && live
        });
        if let Some(known) = known {
            return Ok(Ok(known.info.id));
        }
        let mut info = TtyInfoEntry {
            rdev,
            dev: Some(short(file.dev)),
            uid: Some(file.uid),
            gid: Some(file.gid),
            ..TtyInfoEntry::default()
        };
        let refused = |what: &str| Refusal {
            object: describe(file.pid, file.fd, link),
            what: what.to_owned(),
            remedy: None,
        };
        match device {
            _ if is_external => self.other(&mut info, TtyType::ExtTty),
            Device::Slave(index) if hung_up => {
                // The number of a pair that is gone may be that of another one by now.
                self.other(&mut info, TtyType::Pty);
                info.pty = Some(TtyPtyEntry { index });
            }
            _ if hung_up => return Ok(Err(refused("has hung up"))),
            Device::Master => master(fd, &mut info)?,
            Device::Slave(index) => {
                info.id = info_id(index, false);
                info.r#type = TtyType::Pty as i32;
                info.pty = Some(TtyPtyEntry { index });
                settings::read(fd, &mut info)?;
                if let Some(control) = session::of_task(file.pid)?.filter(|c| c.device == of_terminal) {
                    (info.sid, info.pgrp) = (control.session, control.foreground);
                }
            }
            Device::Controlling => {
                let Some(control) = session::of_task(file.pid)?.filter(|c| c.device == of_terminal) else {
                    let what = "was opened by /dev/tty, but is not the controlling terminal of its holder";
                    return Ok(Err(refused(what)));
                };
                self.other(&mut info, TtyType::Ctty);
                if let Some(Device::Slave(index)) = Device::of(u64::from(of_terminal)) {
                    info.pty = Some(TtyPtyEntry { index });
                }
                settings::read(fd, &mut info)?;
                (info.sid, info.pgrp) = (control.session, control.foreground);
            }
            Device::Hardware(_) => return Ok(Err(refused("is hardware"))),
        }
        let held = (file.fd < 0).then(|| fd.try_clone_to_owned()).transpose();
        let id = info.id;
        self.seen.push(Seen {
            info,
            pid: file.pid,
            fd: file.fd,
            link: link.to_owned(),
            held: held.context(|| "copying its descriptor")?,
            device: of_terminal,
            devpts: matches!(device, Device::Slave(_)).then_some(file.dev),
        });
        Ok(Ok(id))
    }

    fn other(&self, info: &mut TtyInfoEntry, kind: TtyType) {
        let before = self.seen.iter().filter(|seen| seen.info.id >= OTHER_IDS).count();
        info.id = OTHER_IDS + u32::try_from(before).unwrap_or(u32::MAX - OTHER_IDS);
        info.r#type = kind as i32;
    }

    /// Everything has been seen: checks that pairs are whole, saves what is under way in them.
    pub(crate) fn finish(mut self, host: &Host<'_>) -> Result<()> {
        if self.seen.is_empty() {
            return Ok(());
        }
        self.check_devpts()?;
        let tasks = host.tasks()?;
        let pairs = self.pairs();
        for at in 0..self.seen.len() {
            let seen = &self.seen[at];
            let info = &seen.info;
            let is_outside = match info.r#type() {
                TtyType::Pty if info.termios.is_some() => {
                    info.pty.is_some_and(|pty| pairs[&pty.index].0.is_none())
                }
                TtyType::Ctty => info
                    .pty
                    .is_none_or(|pty| pairs.get(&pty.index).is_none_or(|p| p.0.is_none())),
                TtyType::ExtTty => true,
                _ => false,
            };
            if !is_outside {
                continue;
            }
            if info.r#type() != TtyType::ExtTty && !host.flag("shell-job")? {
                return Err(without_master(seen).into());
            }
            // Whose controlling terminal it is, if that was not told by the one who held it.
            if let Some(control) = session::of_terminal(&tasks, seen.device)? {
                let info = &mut self.seen[at].info;
                (info.sid, info.pgrp) = (control.session, control.foreground);
            }
        }
        let mut entries = Vec::new();
        for (index, (master, slave)) in pairs {
            if let Some(master) = master {
                self.exchange(host, index, master, slave, &mut entries)?;
            }
        }
        self.write(host, &entries)
    }

    /// The places of both ends of each pair, by number.
    fn pairs(&self) -> BTreeMap<u32, (Option<usize>, Option<usize>)> {
        let mut pairs: BTreeMap<u32, (Option<usize>, Option<usize>)> = BTreeMap::new();
        for (at, seen) in self.seen.iter().enumerate() {
            let (Some(pty), true) = (seen.info.pty, seen.info.id < OTHER_IDS) else {
                continue;
            };
            let pair = pairs.entry(pty.index).or_default();
            match seen.info.id == info_id(pty.index, true) {
                true => pair.0 = Some(at),
                false => pair.1 = Some(at),
            }
        }
        pairs
    }

    /// Numbers of pairs are unique within one instance of devpts only.
    fn check_devpts(&self) -> Result<()> {
        let mut slaves = self
            .seen
            .iter()
            .filter(|seen| seen.devpts.is_some() && seen.info.id < OTHER_IDS);
        let Some(first) = slaves.next() else {
            return Ok(());
        };
        match slaves.find(|seen| seen.devpts != first.devpts) {
            Some(other) => Err(Refusal {
                object: other.name(),
                what: format!("is of another instance of devpts than the {}", first.name()),
                remedy: None,
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Saves what is under way in a pair, and puts it back.
    fn exchange(
        &mut self,
        host: &Host<'_>,
        index: u32,
        master: usize,
        slave: Option<usize>,
        entries: &mut Vec<TtyDataEntry>,
    ) -> Result<()> {
        let packets = self.seen[master].info.packet_mode;
        let name = self.seen[master].name();
        let fd = self.seen[master]
            .descriptor(host)
            .context(|| format!("getting at {name}"))?;
        let (has_output, is_closed) = sys::poll(fd.as_fd()).context(|| format!("looking into {name}"))?;
        if slave.is_none() {
            if is_closed {
                // Told apart from a slave that nobody has opened yet by an entry that no file refers to.
                let info = TtyInfoEntry {
                    id: info_id(index, false),
                    sid: 0,
                    pgrp: 0,
                    packet_mode: false,
                    locked: false,
                    rdev: short(libc::makedev(136, index)),
                    dev: None,
                    uid: None,
                    gid: None,
                    ..self.seen[master].info.clone()
                };
                let like = Seen {
                    info,
                    pid: self.seen[master].pid,
                    fd: -1,
                    link: String::new(),
                    held: None,
                    device: 0,
                    devpts: None,
                };
                self.seen.push(like);
            } else if has_output {
                return Err(Refusal {
                    object: name,
                    what: "has output that was not read yet, and its slave is not in the tree".to_owned(),
                    remedy: Some("dump the tree that holds both ends, or read the output first".to_owned()),
                }
                .into());
            } else {
                return Ok(());
            }
        }
        let termios = sys::termios(fd.as_fd()).context(|| format!("asking for the termios of {name}"))?;
        let peer = peer(fd.as_fd()).context(|| format!("opening the slave of {name}"))?;
        let (output, input) = take_both(fd.as_fd(), &peer, &termios, packets, has_output)
            .context(|| format!("reading what is under way in {name}"))?;
        for (is_master, data) in [(true, output), (false, input)] {
            if !data.is_empty() {
                entries.push(TtyDataEntry {
                    tty_id: info_id(index, is_master),
                    data,
                });
            }
        }
        Ok(())
    }

    fn write(&self, host: &Host<'_>, data: &[TtyDataEntry]) -> Result<()> {
        let mut writer = image::create(host, &magic::TTY_INFO)?;
        for seen in &self.seen {
            writer.entry(&seen.info)?;
        }
        writer.finish()?;
        if data.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &magic::TTY_DATA)?;
        for entry in data {
            writer.entry(entry)?;
        }
        writer.finish()?;
        Ok(())
    }
}

fn master(fd: BorrowedFd<'_>, info: &mut TtyInfoEntry) -> Result<()> {
    let index = sys::pty_index(fd).context(|| "asking for the number of its slave")?;
    info.id = info_id(index, true);
    info.r#type = TtyType::Pty as i32;
    info.pty = Some(TtyPtyEntry { index });
    settings::read(fd, info)?;
    info.locked = sys::is_locked(fd).context(|| "asking whether its slave is locked")?;
    info.packet_mode = sys::has_packets(fd).context(|| "asking for packet mode")?;
    // Nobody's controlling terminal: ENOTTY.
    let number = |pid: nix::Result<i32>| pid.ok().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    info.sid = number(sys::session(fd));
    if info.sid != 0 {
        info.pgrp = number(sys::foreground(fd));
    }
    Ok(())
}

/// A description of a slave of its own, which does not block.
pub(crate) fn peer(master: BorrowedFd<'_>) -> nix::Result<File> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    unlocked(master, || sys::open_peer(master, flags)).map(File::from)
}

/// Does something while the slave of a master is not locked.
pub(crate) fn unlocked<T>(master: BorrowedFd<'_>, work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    let was_locked = sys::is_locked(master)?;
    if was_locked {
        sys::set_lock(master, false)?;
    }
    let done = work();
    if was_locked {
        sys::set_lock(master, true)?;
    }
    done
}

/// Takes what is under way in both directions and puts it back.
fn take_both(
    master: BorrowedFd<'_>,
    peer: &File,
    termios: &sys::Termios,
    packets: bool,
    has_output: bool,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut output = Vec::new();
    let mut done = if has_output {
        data::take_output(master, packets, &mut output)
    } else {
        Ok(())
    };
    let back = data::put_output(peer.as_fd(), &output, termios);
    done = done.and(back);
    done?;
    let input = Input::take(peer, termios)?;
    if input.is_empty() {
        return Ok((output, Vec::new()));
    }
    input.put(peer.as_fd(), Some(master), termios)?;
    Ok((output, input.bytes(termios)?))
}

fn hardware(object: String, file: &FileTarget) -> Refusal {
    let key = device::key(short(file.rdev), short(file.dev));
    Refusal {
        object,
        what: "is hardware, which cannot be saved".to_owned(),
        remedy: Some(format!(
            "leave it to the outside with --external '{key}', and give restore another with --inherit-fd 'fd[N]:{key}'"
        )),
    }
}

fn without_master(seen: &Seen) -> Refusal {
    let key = device::key(seen.info.rdev, seen.info.dev.unwrap_or(0));
    Refusal {
        object: seen.name(),
        what: "is a terminal whose master is outside of the tree".to_owned(),
        remedy: Some(format!(
            "use --shell-job to go on in the terminal of the restore, or --external '{key}' and at the restore --inherit-fd 'fd[N]:{key}'"
        )),
    }
}

/// A mistake in the entry of a file.
pub(crate) fn damaged(id: u32, what: &str) -> Error {
    Error::new(format!("file {id}: {what}: damaged"))
}
