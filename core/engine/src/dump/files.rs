//! Descriptor tables and the files behind them: each open file description is dumped once, by the kind
//! that claims it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use criu_images::FileWriter;
use criu_plugin_api::Verdict;
use criu_plugin_api::message::{FileTarget, Purpose, Slot};
use criu_proto::images::{FdinfoEntry, FownEntry};
use criu_proto::{Message, magic};

use super::context::Context as Dump;
use super::descriptions::{self, Description, Spent, target_of};
use super::sightings::{Likeness, Sighting, Sightings, kcmp_file};
use super::vmas;
use crate::error::{Context, Error, Result};
use crate::kinds::FileQuery;
use crate::proc::{self, Mapping};

/// A file that has its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its id in `files.img`.
    pub(crate) id: u32,
    /// Its `fd_types` number.
    pub(crate) fd_type: u32,
    /// What its kind adds to the status of a mapping of it.
    pub(crate) vma_status: u32,
}

/// Device and inode of a mapped file.
type Inode = ((u32, u32), u64);

/// Everything known about the files of the tree so far.
pub(crate) struct Files {
    spent: Spent,
    state: RefCell<State>,
}

struct State {
    next_id: u32,
    /// Until the end of the dump.
    writer: Option<FileWriter>,
    by_inode: HashMap<Inode, Known>,
    /// Whether files behind private mappings were opened for writing.
    writable: HashMap<Inode, bool>,
    sightings: Sightings,
    /// The descriptions that are being dumped, by their numbers in this process, with their ids: dumping one
    /// may lead to others, and back to itself.
    under_way: Vec<(i32, u32)>,
    tables: BTreeMap<i32, Vec<Slot>>,
}

impl Files {
    /// With `files.img` ready to be written.
    pub(crate) fn new(writer: FileWriter) -> Self {
        Self {
            spent: Spent::default(),
            state: RefCell::new(State {
                next_id: 1,
                writer: Some(writer),
                by_inode: HashMap::new(),
                writable: HashMap::new(),
                sightings: Sightings::new(),
                under_way: Vec::new(),
                tables: BTreeMap::new(),
            }),
        }
    }

    /// Completes `files.img` and lets go of all descriptions.
    ///
    /// # Errors
    /// Writing failed.
    pub(crate) fn finish(&self, dump: &Dump) -> Result<()> {
        self.state.borrow_mut().sightings.let_go();
        if let Some(writer) = self.state.borrow_mut().writer.take() {
            writer
                .finish()
                .map_err(|e| Error::from(dump.images.frame_error(e)))?;
        }
        Ok(())
    }

    /// The file at a number of a process, as far as its table has been walked.
    pub(crate) fn at(&self, pid: i32, fd: i32) -> Option<u32> {
        let state = self.state.borrow();
        // Tables are walked in the order of the numbers.
        let table = state.tables.get(&pid)?;
        let index = table.binary_search_by_key(&fd, |slot| slot.fd).ok()?;
        Some(table[index].file_id)
    }

    /// The table of a process as far as it has been walked.
    pub(crate) fn table(&self, pid: i32) -> Option<Vec<Slot>> {
        self.state.borrow().tables.get(&pid).cloned()
    }

    /// Dumps the descriptor table of a process and writes `fdinfo-ID.img`.
    ///
    /// `parent` is a process whose table may share descriptions at the same numbers; `room` is the size of the
    /// process's table (`FDSize` of proc_pid_status(5)).
    ///
    /// # Errors
    /// A descriptor that cannot be saved, named.
    pub(crate) fn dump_table(
        &self,
        dump: &Dump,
        pid: i32,
        parent: Option<i32>,
        files_id: u32,
        room: u64,
    ) -> Result<()> {
        let numbers = dump.descriptors(pid, room)?;
        let inherited = self.inherited(dump, pid, parent, &numbers)?;
        let fresh: Vec<i32> = numbers
            .iter()
            .map(|&(fd, _)| fd)
            .filter(|fd| !inherited.contains_key(fd))
            .collect();
        {
            let state = &mut *self.state.borrow_mut();
            state.tables.insert(pid, Vec::with_capacity(numbers.len()));
            state.sightings.reserve(fresh.len());
        }
        let pidfd = dump.pidfd(pid)?;
        let mut slots = numbers.iter();
        // Tables are filled in the order of the numbers: the others are put in on the way.
        let put_inherited = |slots: &mut std::slice::Iter<'_, (i32, u32)>| {
            for &(fd, flags) in slots {
                match inherited.get(&fd) {
                    Some(&file) => self.put(pid, fd, flags, file),
                    None => return Some(flags),
                }
            }
            None
        };
        descriptions::each(&pidfd, pid, &fresh, &self.spent, |description| {
            let flags = put_inherited(&mut slots).unwrap_or_default();
            let dumped = description.and_then(|mut description| {
                description.target.cloexec = flags & libc::FD_CLOEXEC as u32 != 0;
                let fd = description.target.fd;
                Ok((fd, self.description(dump, description, false)?))
            });
            if let Some((fd, file)) = dump.blockers.note(dumped)? {
                self.put(pid, fd, flags, file);
            }
            Ok(())
        })?;
        put_inherited(&mut slots);
        let entries: Vec<FdinfoEntry> = match self.state.borrow().tables.get(&pid) {
            Some(table) => table.iter().map(fdinfo_entry).collect(),
            None => Vec::new(),
        };
        dump.images
            .write_all(&magic::FDINFO, u64::from(files_id), &entries)?;
        Ok(())
    }

    /// The descriptions of a process that its parent has at the same number.
    fn inherited(
        &self,
        dump: &Dump,
        pid: i32,
        parent: Option<i32>,
        numbers: &[(i32, u32)],
    ) -> Result<HashMap<i32, Known>> {
        let mut inherited = HashMap::new();
        let state = self.state.borrow();
        let Some((parent, slots)) = parent.and_then(|p| Some((p, state.tables.get(&p)?))) else {
            return Ok(inherited);
        };
        let (eye, parents_eye) = (dump.eye(pid), dump.eye(parent));
        for &(fd, _) in numbers {
            // Tables are walked in the order of the numbers.
            let Ok(index) = slots.binary_search_by_key(&fd, |slot| slot.fd) else {
                continue;
            };
            if kcmp_file(eye, fd, parents_eye, fd)? == Ordering::Equal {
                let slot = &slots[index];
                let known = Known {
                    id: slot.file_id,
                    fd_type: slot.fd_type,
                    vma_status: 0,
                };
                inherited.insert(fd, known);
            }
        }
        Ok(inherited)
    }

    fn put(&self, pid: i32, fd: i32, flags: u32, file: Known) {
        if let Some(table) = self.state.borrow_mut().tables.get_mut(&pid) {
            table.push(Slot {
                fd,
                file_id: file.id,
                flags,
                fd_type: file.fd_type,
            });
        }
    }

    /// Dumps a description that a plugin came by, which may have no number anywhere.
    ///
    /// # Errors
    /// As for any descriptor.
    pub(crate) fn in_flight(&self, dump: &Dump, pid: i32, local: OwnedFd) -> Result<Known> {
        let description = Description::in_flight(pid, local)
            .context(|| format!("looking at a descriptor in a queue of process {pid}"))?;
        self.description(dump, description, true)
    }

    fn description(&self, dump: &Dump, description: Description, hold: bool) -> Result<Known> {
        let kernel_id = description.kernel_id();
        let Description {
            local,
            mut target,
            owner,
            fdinfo,
            fs_magic,
        } = description;
        let (pid, fd) = (target.pid, target.fd);
        let like = Likeness {
            dev: target.dev,
            ino: target.ino,
            flags: target.flags,
            pos: target.pos,
            kernel_id,
        };
        let search = |like| self.state.borrow().sightings.search(like, &local);
        let mut place = match search(&like)? {
            Ok(found) => return Ok(found),
            Err(place) => place,
        };
        target.local_fd = local.as_raw_fd();
        check_owner(dump, &target, &owner)?;
        // Most have none, which no bytes say as well.
        if owner != FownEntry::default() {
            target.fown = owner.encode_to_vec();
        }
        if let Some(id) = self.circle(&target)? {
            // Its kind is at it further up; whoever asks here needs no more than the id.
            return Ok(Known {
                id,
                fd_type: 0,
                vma_status: 0,
            });
        }
        let seen = self.state.borrow().sightings.count();
        target.id = self.new_id();
        self.state
            .borrow_mut()
            .under_way
            .push((local.as_raw_fd(), target.id));
        // One description may lead to others: each is asked about itself first.
        dump.fdinfo_known(pid, fd, fdinfo);
        let dispatched = self.dispatch(dump, target, fs_magic);
        self.state.borrow_mut().under_way.pop();
        let file = dispatched?;
        if self.state.borrow().sightings.count() != seen {
            // The dump of this one has led to others: the place is looked for again.
            match search(&like)? {
                Ok(_) => return Ok(file),
                Err(other) => place = other,
            }
        }
        let sightings = &mut self.state.borrow_mut().sightings;
        let held = if hold || sightings.holds_another() {
            Some(local)
        } else {
            self.spent.put(local);
            None
        };
        let sighting = Sighting {
            pid: dump.eye(pid),
            fd,
            held,
            file,
        };
        sightings.insert(like, place, sighting);
        Ok(file)
    }

    /// The id of a description whose own dump has led back to it, as that of a socket in its own queue does.
    fn circle(&self, target: &FileTarget) -> Result<Option<u32>> {
        let state = self.state.borrow();
        for &(other, id) in &state.under_way {
            let me = state.sightings.me();
            if kcmp_file(me, other, me, target.local_fd)? == Ordering::Equal {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn new_id(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        let id = state.next_id;
        state.next_id += 1;
        id
    }

    /// Whether the file behind a private mapping was opened for writing; asked once per inode.
    ///
    /// # Errors
    /// Those of `look`.
    pub(crate) fn opened_writable(&self, key: Inode, look: impl FnOnce() -> Result<bool>) -> Result<bool> {
        if let Some(&known) = self.state.borrow().writable.get(&key) {
            return Ok(known);
        }
        let writable = look()?;
        self.state.borrow_mut().writable.insert(key, writable);
        Ok(writable)
    }

    /// Dumps the file behind a mapping, once per inode.
    ///
    /// # Errors
    /// The file cannot be saved.
    pub(crate) fn mapping(&self, dump: &Dump, pid: i32, mapping: &Mapping) -> Result<Known> {
        let eye = dump.eye(pid);
        let path = format!("/proc/{eye}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        self.by_inode(dump, pid, (mapping.dev, mapping.ino), &path, vmas::PURPOSE)
    }

    /// Dumps the executable of a process.
    ///
    /// # Errors
    /// The file cannot be saved.
    pub(crate) fn executable(&self, dump: &Dump, pid: i32, mappings: &[Mapping]) -> Result<Known> {
        let path = format!("/proc/{}/exe", dump.eye(pid));
        let link = proc::read_link(&path)?;
        // Usually it is mapped, and its inode known by the name of that mapping.
        let mapped = mappings
            .iter()
            .find(|m| m.ino != 0 && m.name == link)
            .map(|m| (m.dev, m.ino));
        match mapped {
            Some(key) => self.by_inode(dump, pid, key, &path, Purpose::Exe),
            None => self.path(dump, pid, &path, Purpose::Exe),
        }
    }

    fn by_inode(&self, dump: &Dump, pid: i32, key: Inode, path: &str, purpose: Purpose) -> Result<Known> {
        if let Some(&known) = self.state.borrow().by_inode.get(&key) {
            return Ok(known);
        }
        let file = self.path(dump, pid, path, purpose)?;
        self.state.borrow_mut().by_inode.insert(key, file);
        Ok(file)
    }

    /// Dumps what a link of `/proc` leads to: a directory of a task, an executable.
    ///
    /// # Errors
    /// It cannot be saved.
    pub(crate) fn path(&self, dump: &Dump, pid: i32, path: &str, purpose: Purpose) -> Result<Known> {
        let link = proc::read_link(path)?;
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .context(|| format!("opening {path}"))?;
        let mut target = target_of(file.as_fd(), link).context(|| format!("looking at {path}"))?;
        target.pid = pid;
        target.fd = -1;
        target.purpose = purpose as i32;
        target.local_fd = file.as_raw_fd();
        self.dispatch(dump, target, None)
    }

    /// Dumps the path under which a file of another kind was opened.
    ///
    /// # Errors
    /// It cannot be saved.
    pub(crate) fn path_of(&self, dump: &Dump, file: &FileTarget) -> Result<Known> {
        self.dispatch(
            dump,
            FileTarget {
                // Another file than the one that was opened under it.
                id: 0,
                purpose: Purpose::Path as i32,
                ..file.clone()
            },
            None,
        )
    }

    /// Gives the file an id, if it has none yet, and has the kind that claims it write its entry.
    fn dispatch(&self, dump: &Dump, mut target: FileTarget, magic: Option<u64>) -> Result<Known> {
        if target.id == 0 {
            target.id = self.new_id();
        }
        let query = FileQuery::of(&target).on(magic);
        let mut kinds = dump.kinds.file(&query);
        if target.flags.cast_signed() & libc::O_PATH != 0 && target.purpose() != Purpose::Path {
            // Such a description is nothing but a path; the kind of what lies there may have no use for it.
            kinds.extend(dump.kinds.file(&query.by_path()));
        }
        for id in kinds {
            let kind = dump.kinds.kind(id);
            let verdict = kind
                .file()?
                .dump(&dump.host(&kind), &target)
                .context(|| format!("dumping {}", describe(&target)))?;
            match verdict {
                Verdict::NotMine => {}
                Verdict::Refused(refusal) => {
                    return Err(Error::from(criu_plugin_api::Error::from(refusal)))
                        .context(|| format!("dumping {}", describe(&target)));
                }
                Verdict::Entry(image) => {
                    if let Some(writer) = &mut self.state.borrow_mut().writer {
                        writer
                            .entry_bytes(&image.entry)
                            .map_err(|e| dump.images.frame_error(e))?;
                    }
                    dump.plugin_acted(&kind, image.fd_type);
                    return Ok(Known {
                        id: target.id,
                        fd_type: image.fd_type,
                        vma_status: image.vma_status,
                    });
                }
            }
        }
        let (what, remedy) = dump.kinds.nobody(&query);
        Err(Error::Refused {
            object: describe(&target),
            what,
            remedy,
        })
    }
}

/// A thread can be made the owner again only if it is part of the set.
fn check_owner(dump: &Dump, target: &FileTarget, owner: &FownEntry) -> Result<()> {
    const F_OWNER_TID: u32 = 0;
    let pid = owner.pid.cast_signed();
    if owner.pid_type != F_OWNER_TID || pid <= 0 || proc::is_leader(pid) {
        return Ok(());
    }
    let is_ours = dump.tasks.borrow().iter().any(|task| task.threads.contains(&pid));
    if is_ours {
        return Ok(());
    }
    Err(Error::Refused {
        object: describe(target),
        what: format!(
            "its signals go to thread {pid} (F_OWNER_TID of fcntl(2)), which is outside of the tree"
        ),
        remedy: Some("give it another owner before the dump".to_owned()),
    })
}

fn fdinfo_entry(slot: &Slot) -> FdinfoEntry {
    FdinfoEntry {
        id: slot.file_id,
        flags: slot.flags,
        r#type: slot.fd_type.cast_signed(),
        fd: slot.fd.cast_unsigned(),
        xattr_security_selinux: None,
    }
}

/// The file in words, for messages.
fn describe(target: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&target.link);
    let pid = target.pid;
    match target.purpose() {
        Purpose::Descriptor => format!("descriptor {} of process {pid} ({link})", target.fd),
        Purpose::Mapping => format!("the mapped file {link} of process {pid}"),
        Purpose::Exe => format!("the executable {link} of process {pid}"),
        Purpose::Cwd => format!("the working directory {link} of process {pid}"),
        Purpose::Root => format!("the root directory {link} of process {pid}"),
        Purpose::Path => format!("the path {link} of descriptor {} of process {pid}", target.fd),
        Purpose::InFlight => format!("a descriptor in a queue of process {pid} ({link})"),
    }
}
