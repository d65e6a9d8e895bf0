//! Sorts the files into terminals that are opened in one go each, and plans who opens them.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use criu_plugin_api::message::{FilePlan, FileRecord, OpenRequest, TaskInfo};
use criu_plugin_api::restore::{apply_flags, apply_owner};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result};
use criu_proto::images::{TtyFileEntry, TtyInfoEntry, TtyType};
use nix::errno::Errno;

use crate::console;
use crate::dump::damaged;
use crate::exchange::peer;
use crate::images::{Images, Role, Terminal, entry, path, path_of, role};
use crate::opening::{Group, Member, control, open_controlling, open_hung_up};
use crate::outside::{self, Own};
use crate::pairs::{Masters, own_node};
use crate::sys;

/// The terminals of a restore.
#[derive(Default)]
pub(crate) struct Restore {
    groups: BTreeMap<u64, Group>,
    /// The group of each file.
    group_of: HashMap<u32, u64>,
    masters: Masters,
    /// Slaves of living pairs that have hung up, by file; the coordinator holds them.
    hung_up: HashMap<u32, OwnedFd>,
    own: Option<Own>,
    /// Consoles that control sessions, held by the coordinator: one that nobody has open controls nobody.
    consoles: Vec<OwnedFd>,
}

impl Restore {
    pub(crate) fn prepare(host: &Host<'_>, files: &[FileRecord]) -> Result<(Self, Vec<FilePlan>)> {
        let mut restore = Self::default();
        if files.is_empty() {
            return Ok((restore, Vec::new()));
        }
        let mut images = Images::read(host)?;
        let tasks = host.tasks()?;
        for file in files {
            let entry = entry(file)?;
            let info = images.infos.get(&entry.tty_info_id);
            let info = info
                .ok_or_else(|| damaged(file.id, "its terminal is not in tty-info.img"))?
                .clone();
            restore
                .sort_in(&mut images, entry, &info)
                .context(|| format!("file {}", file.id))?;
        }
        restore.find_leaders(&images, &tasks);
        let is_from_outside =
            |group: &Group| matches!(group.terminal, Terminal::Outside(_) | Terminal::Controlling);
        if restore.groups.values().any(is_from_outside) {
            restore.own = Own::find();
        }
        for group in restore.groups.values() {
            if let Terminal::Outside(info) = &group.terminal {
                outside::stand_in(host, restore.own.as_ref(), info)?;
            }
        }
        for group in restore.groups.values().filter(|group| group.leader.is_some()) {
            if let (Terminal::Console(info), Some(member)) = (&group.terminal, group.files.first()) {
                restore.consoles.push(console::open(host, &member.entry, info)?);
            }
        }
        restore.make_pairs(host)?;
        let plans = restore.plans(&tasks);
        Ok((restore, plans))
    }

    fn sort_in(&mut self, images: &mut Images, entry: TtyFileEntry, info: &TtyInfoEntry) -> Result<()> {
        let role = match (info.r#type(), role(info)) {
            (_, Some(role)) => role,
            (TtyType::ExtTty | TtyType::Vt | TtyType::Console | TtyType::Serial, None) => Role::Slave,
            (other, None) => {
                let what = format!(
                    "is a terminal of type {}, which is not served",
                    other.as_str_name()
                );
                return Err(Error::new(what).with_remedy("dump it with --external"));
            }
        };
        let pair = match role {
            Role::Controlling => images.pair_of_session(info),
            // One that has lost its node has lost its master; its number may be that of another pair by now.
            Role::HungUp if entry.regf_id.is_none() => None,
            _ => images.pair_of(info),
        };
        let number = match pair {
            Some(index) => u64::from(index),
            None => 1 << 32 | u64::from(info.id),
        };
        if role == Role::Master && entry.flags.cast_signed() & libc::O_ACCMODE != libc::O_RDWR {
            return Err(Error::new("is a master that is not open for reading and writing"));
        }
        let group = self.groups.entry(number).or_default();
        if role == Role::Master && group.files.iter().any(|member| member.role == Role::Master) {
            return Err(Error::new("is a second master of its terminal: damaged"));
        }
        if group.files.is_empty() {
            group.terminal = match (pair, role) {
                (Some(index), _) => images.pair(index)?,
                (None, Role::HungUp) => Terminal::HungUp,
                (None, Role::Slave) if console::is_one(info) => Terminal::Console(Box::new(info.clone())),
                (None, Role::Slave) => Terminal::Outside(Box::new(info.clone())),
                (None, _) => Terminal::Controlling,
            };
        }
        self.group_of.insert(entry.id, number);
        group.files.push(Member { entry, role });
        Ok(())
    }

    /// Whose controlling terminals they are.
    fn find_leaders(&mut self, images: &Images, tasks: &[TaskInfo]) {
        for group in self.groups.values_mut() {
            let infos = group
                .files
                .iter()
                .filter_map(|member| images.infos.get(&member.entry.tty_info_id));
            let Some(info) = infos.filter(|info| info.sid != 0).max_by_key(|info| info.pgrp) else {
                continue;
            };
            let sid = info.sid.cast_signed();
            let leads = |task: &&TaskInfo| task.pid == sid && task.sid == sid && !task.dead;
            group.leader = tasks.iter().find(leads).map(|task| task.pid);
            let pgrp = info.pgrp.cast_signed();
            let is_alive = tasks.iter().any(|task| task.pgid == pgrp && task.sid == sid);
            // A group that was led from outside has become that of the restore.
            let is_led = group.leader.is_some() || tasks.iter().any(|task| task.pid == pgrp);
            group.foreground = (is_alive && is_led).then_some(pgrp);
        }
    }

    fn make_pairs(&mut self, host: &Host<'_>) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for group in self.groups.values() {
            let Terminal::Pair(pair) = &group.terminal else {
                continue;
            };
            let master = group.files.iter().find(|member| member.role == Role::Master);
            let reg = master
                .map(|member| path_of(host, &member.entry))
                .transpose()?
                .flatten();
            wanted.insert(
                pair.index,
                reg.map_or_else(|| PathBuf::from("/dev/ptmx"), |reg| path(&reg.name).to_owned()),
            );
        }
        self.masters = Masters::make(&wanted)?;
        for group in self.groups.values() {
            let Terminal::Pair(pair) = &group.terminal else {
                continue;
            };
            let hung_up = group
                .hang_up(self.masters.held(pair.index)?)
                .context(|| format!("hanging up the slave of terminal {}", pair.index))?;
            self.hung_up.extend(hung_up);
            let Some(slave) = &pair.slave else {
                continue;
            };
            let Some(member) = group.files.iter().find(|member| member.role == Role::Slave) else {
                continue;
            };
            if let (Some(reg), Some(uid), Some(gid)) = (path_of(host, &member.entry)?, slave.uid, slave.gid) {
                own_node(path(&reg.name), pair.index, uid, gid, reg.mode)?;
            }
        }
        Ok(())
    }

    fn plans(&mut self, tasks: &[TaskInfo]) -> Vec<FilePlan> {
        let mut plans = Vec::new();
        let may_change_own = self.own.as_ref().is_some_and(|own| own.is_ours);
        for (&number, group) in &mut self.groups {
            let is_own = matches!(group.terminal, Terminal::Outside(_) | Terminal::Controlling);
            if is_own && group.leader.is_none() && !may_change_own {
                group.foreground = None;
            }
            if matches!(group.terminal, Terminal::Console(_)) && group.leader.is_none() {
                group.foreground = None;
            }
            // Without a leader in the tree its session is that of the restore: the root is in it.
            let of_root = tasks.first().filter(|_| is_own).map(|root| root.pid);
            if group.foreground.is_some() {
                group.carrier = group.files.first().map(|member| member.entry.id);
            }
            plans.extend(group.files.iter().map(|member| FilePlan {
                id: member.entry.id,
                group: Some(number),
                attach: group.carrier == Some(member.entry.id),
                opener: group.leader.or(of_root),
            }));
        }
        plans
    }

    /// Gives the session of a task its controlling terminal. It stays when the descriptor goes.
    pub(crate) fn lead_session(&self, host: &Host<'_>, pid: i32) -> Result<()> {
        for group in self.groups.values().filter(|group| group.leader == Some(pid)) {
            match &group.terminal {
                Terminal::Pair(pair) => {
                    let doing = || format!("making terminal {} that of session {pid}", pair.index);
                    let master = self.masters.get(pair.index)?;
                    let slave = peer(master.as_fd()).context(doing)?;
                    control(slave.as_fd()).context(doing)?;
                }
                Terminal::Outside(info) => {
                    let fd = outside::stand_in(host, self.own.as_ref(), info)?;
                    control(fd.as_fd())
                        .context(|| format!("making a terminal from outside that of session {pid}"))?;
                }
                Terminal::Console(info) => {
                    if let Some(member) = group.files.first() {
                        console::control(host, &member.entry, info)
                            .context(|| format!("making a console that of session {pid}"))?;
                    }
                }
                Terminal::HungUp | Terminal::Controlling => {}
            }
        }
        Ok(())
    }

    pub(crate) fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let group = self.group_of.get(&id).and_then(|number| self.groups.get(number));
        let group = group.ok_or_else(|| Error::new(format!("file {id} was not prepared")))?;
        let opened = match &group.terminal {
            Terminal::Pair(pair) => self
                .masters
                .get(pair.index)
                .and_then(|master| group.open_pair(pair, master, &|id| self.hung_up(id)))
                .context(|| format!("opening the pair of terminals {}", pair.index))?,
            Terminal::HungUp => open_hung_up(group).context(|| "making a terminal that has hung up")?,
            Terminal::Outside(info) => group.open_outside(host, self.own.as_ref(), info)?,
            Terminal::Console(info) => {
                let entries = group.files.iter().map(|member| &member.entry);
                console::open_all(host, entries, info).context(|| "opening a console")?
            }
            Terminal::Controlling => open_controlling(group)?,
        };
        let mut result = None;
        let mut also = Vec::new();
        for (member, fd) in opened {
            apply_owner(&fd, &member.fown)?;
            apply_flags(&fd, member.flags)?;
            if member.id == id {
                result = Some(Opened::one(fd));
            } else {
                also.push((member.id, fd));
            }
        }
        let mut result = result.ok_or_else(|| Error::new(format!("file {id} was not opened")))?;
        for (id, fd) in also {
            result = result.with(id, fd);
        }
        Ok(Progress::Done(result))
    }

    /// A slave that has hung up, in this task.
    fn hung_up(&self, id: u32) -> Result<OwnedFd> {
        let held = self.hung_up.get(&id);
        let held = held.ok_or_else(|| Error::new(format!("file {id} was not prepared")))?;
        self.masters.fetch(held.as_fd())
    }

    /// The foreground group of a controlling terminal.
    pub(crate) fn attach(&self, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        let group = self
            .group_of
            .get(&file.id)
            .and_then(|number| self.groups.get(number));
        let Some(pgrp) = group.and_then(|group| group.foreground) else {
            return Ok(Progress::Done(()));
        };
        let fd = sys::copy_of(fd).context(|| format!("copying descriptor {fd}"))?;
        match sys::from_background(|| sys::set_foreground(fd.as_fd(), pgrp)) {
            Ok(()) => Ok(Progress::Done(())),
            Err(Errno::ESRCH | Errno::EPERM) => {
                Ok(Progress::NotYet(format!("process group {pgrp} to be there")))
            }
            Err(errno) => Err(errno).context(|| format!("putting process group {pgrp} into the foreground")),
        }
    }
}
