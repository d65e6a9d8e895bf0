//! Saves descriptors of terminals, each terminal once, and what is under way in pairs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, ErrorCode, Host, Refusal, Result, Verdict};
use criu_proto::images::{
    FdTypes, FileEntry, TtyDataEntry, TtyFileEntry, TtyInfoEntry, TtyPtyEntry, TtyType,
};
use criu_proto::magic;
use nix::errno::Errno;
use prost::Message;

use crate::console;
use crate::device::{self, Device, info_id, short};
use crate::exchange::{look_into, peer};
use crate::images::{EXTRA, ExtraEntry};
use crate::{session, settings, sys};

/// Numbers of terminals that are no end of a pair begin here, beyond those of all pairs.
const OTHER_IDS: u32 = 0x4000_0000;

/// The terminals of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    /// In the order in which they were seen.
    seen: Vec<Seen>,
    /// Their numbers, by the device of the node, its file system and the device of the terminal itself.
    known: HashMap<[u32; 3], u32>,
    data: Vec<TtyDataEntry>,
    extra: Vec<ExtraEntry>,
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
        let key = [rdev, short(file.dev), of_terminal];
        if let Some(known) = self.known.get(&key) {
            return Ok(Ok(*known));
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
        if !is_external
            && !hung_up
            && let Some(name) = discipline(fd)?
        {
            return Ok(Err(refused(&format!(
                "has the line discipline {name}, which is not supported"
            ))));
        }
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
            Device::Console(kind) => {
                if let Some(what) = console::obstacle(fd) {
                    return Ok(Err(refused(what)));
                }
                // What has come in goes when the last holder of the line closes it.
                let unread = sys::waiting(fd).unwrap_or(0);
                if kind == TtyType::Serial && unread > 0 {
                    tracing::warn!(
                        "{}: {unread} bytes that were not read yet are not saved",
                        describe(file.pid, file.fd, link)
                    );
                }
                self.other(&mut info, kind);
                settings::read(fd, &mut info)?;
                if let Some(control) = session::of_task(file.pid)?.filter(|c| c.device == of_terminal) {
                    (info.sid, info.pgrp) = (control.session, control.foreground);
                }
            }
        }
        let held = (file.fd < 0).then(|| fd.try_clone_to_owned()).transpose();
        let id = info.id;
        self.known.insert(key, id);
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
        // Where CRIU looks for the state of a console.
        let first = match kind {
            TtyType::Console => 2004,
            TtyType::Vt => 2008,
            _ => OTHER_IDS,
        };
        let taken = |id| self.seen.iter().any(|seen| seen.info.id == id);
        let before = self.seen.iter().filter(|seen| seen.info.id >= OTHER_IDS).count();
        info.id = if first == OTHER_IDS || taken(first) {
            OTHER_IDS + u32::try_from(before).unwrap_or(u32::MAX - OTHER_IDS)
        } else {
            first
        };
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
                TtyType::Ctty if self.has_console(seen.device) => false,
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
        for (index, (master, slave)) in pairs {
            if let Some(master) = master {
                self.exchange(host, index, (master, slave))?;
            }
        }
        self.write(host)
    }

    /// Whether a console of the machine is held by its own name.
    fn has_console(&self, device: u32) -> bool {
        let mut consoles = self.seen.iter().filter(|seen| console::is_one(&seen.info));
        consoles.any(|seen| seen.device == device)
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
                true => pair.0 = pair.0.or(Some(at)),
                false => pair.1 = pair.1.or(Some(at)),
            }
        }
        pairs
    }

    /// Numbers of pairs are unique within one instance of devpts only: two ends of the same sort and number
    /// are of two instances.
    fn check_devpts(&self) -> Result<()> {
        let mut ends: HashMap<u32, &Seen> = HashMap::new();
        let mut first: Option<&Seen> = None;
        for seen in self.seen.iter().filter(|seen| seen.info.id < OTHER_IDS) {
            let twin = ends.insert(seen.info.id, seen);
            let other = first.filter(|first| seen.devpts.is_some() && first.devpts != seen.devpts);
            if let Some(other) = twin.or(other) {
                return Err(Refusal {
                    object: seen.name(),
                    what: format!("is of another instance of devpts than the {}", other.name()),
                    remedy: Some("dump trees with terminals of different instances one by one".to_owned()),
                }
                .into());
            }
            if seen.devpts.is_some() {
                first = first.or(Some(seen));
            }
        }
        Ok(())
    }

    /// Saves what is under way in a pair.
    fn exchange(&mut self, host: &Host<'_>, index: u32, pair: (usize, Option<usize>)) -> Result<()> {
        let (master, slave) = pair;
        let name = self.seen[master].name();
        let fd = self.seen[master]
            .descriptor(host)
            .context(|| format!("getting at {name}"))?;
        if slave.is_none() {
            let (has_output, is_closed) = sys::poll(fd.as_fd()).context(|| format!("looking into {name}"))?;
            if is_closed {
                self.add_closed_slave(index, master);
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
        let peer = peer(fd.as_fd()).context(|| format!("opening the slave of {name}"))?;
        if let Some(slave) = slave {
            self.check_pair(&self.seen[slave], &self.seen[master], &peer)?;
        }
        let found = match look_into(fd.as_fd(), &peer) {
            Err(refused) if refused.code == ErrorCode::Refused => return Err(refused.context(name)),
            found => found.context(|| format!("reading what is under way in {name}"))?,
        };
        let ids = [info_id(index, true), info_id(index, false)];
        for ((id, data), extra) in ids.into_iter().zip(found.data).zip(found.extra) {
            if !data.is_empty() {
                self.data.push(TtyDataEntry { tty_id: id, data });
            }
            if extra != ExtraEntry::default() {
                self.extra.push(ExtraEntry { id, ..extra });
            }
        }
        Ok(())
    }

    /// A slave that was opened and closed again is told apart from one that nobody has opened yet by an
    /// entry that no file refers to.
    fn add_closed_slave(&mut self, index: u32, master: usize) {
        let master = &self.seen[master];
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
            ..master.info.clone()
        };
        let like = Seen {
            info,
            pid: master.pid,
            fd: -1,
            link: String::new(),
            held: None,
            device: 0,
            devpts: None,
        };
        self.seen.push(like);
    }

    /// Whether the slave that was found is that of the master: numbers are unique within one devpts only.
    fn check_pair(&self, slave: &Seen, master: &Seen, peer: &File) -> Result<()> {
        let meta = peer.metadata().context(|| "looking at the slave of a master")?;
        if slave.devpts.is_none_or(|devpts| devpts == meta.dev()) {
            return Ok(());
        }
        Err(Refusal {
            object: slave.name(),
            what: format!("is of another instance of devpts than the {}", master.name()),
            remedy: None,
        }
        .into())
    }

    fn write(&self, host: &Host<'_>) -> Result<()> {
        let mut writer = image::create(host, &magic::TTY_INFO)?;
        for seen in &self.seen {
            writer.entry(&seen.info)?;
        }
        writer.finish()?;
        write_some(host, &magic::TTY_DATA, &self.data)?;
        write_some(host, &EXTRA, &self.extra)
    }
}

/// Writes an image unless it would be empty.
fn write_some<M: Message>(host: &Host<'_>, kind: &ImageKind, entries: &[M]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut writer = image::create(host, kind)?;
    for entry in entries {
        writer.entry(entry)?;
    }
    writer.finish()?;
    Ok(())
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

/// The name of a terminal's line discipline, unless it is the usual one.
fn discipline(fd: BorrowedFd<'_>) -> Result<Option<String>> {
    let number = sys::discipline(fd).context(|| "asking for its line discipline")?;
    // As linux/tty.h has them.
    let name = match number {
        0 => return Ok(None),
        1 => "N_SLIP",
        3 => "N_PPP",
        13 => "N_HDLC",
        15 => "N_HCI",
        21 => "N_GSM0710",
        25 => "N_SLCAN",
        27 => "N_NULL",
        _ => return Ok(Some(format!("{number}"))),
    };
    Ok(Some(format!("{number} ({name})")))
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
