//! Saves rings.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use criu_plugin_api::message::{FileImage, FileTarget, MappingImage, MappingTarget, Purpose, TaskInfo};
use criu_plugin_api::{Context, Error, ErrorCode, Host, Refusal, Result, Verdict, image, restore};
use criu_proto::images::{ExtFileEntry, FdTypes, FileEntry, VmaEntry};
use nix::errno::Errno;
use prost::Message;

use crate::cost;
use crate::credentials::Credentials;
use crate::entry::{Buffer, IMAGE, RingEntry};
use crate::fdinfo::FdInfo;
use crate::flight::{self, Patience};
use crate::layout::Layout;
use crate::picture::Picture;
use crate::probe::{self, Found};
use crate::registered;
use crate::ring::{Mapped, Ring, refuse};
use crate::sys::{self, Memory};

/// Bits of `vma_entry.status`.
const REGULAR: u32 = 1;
pub(crate) const RING: u32 = 1 << 20;

/// The rings of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    picture: RefCell<Option<Rc<Picture>>>,
    mapped: RefCell<Vec<Mapped>>,
    saved: RefCell<Vec<Saved>>,
    /// The inodes of those that were refused.
    refused: RefCell<HashSet<u64>>,
    checked: Cell<bool>,
    patience: Patience,
}

/// A ring that has been saved but for what needs the whole picture.
pub(crate) struct Saved {
    pub(crate) object: String,
    pub(crate) ring: Ring,
    pub(crate) found: Found,
    pub(crate) info: FdInfo,
    pub(crate) entry: RingEntry,
}

pub(crate) fn object(pid: i32, fd: i32) -> String {
    format!("pid {pid}, fd {fd}, ring of io_uring")
}

impl Dump {
    /// A new dump begins.
    pub(crate) fn forget(&self) {
        self.picture.take();
        self.mapped.borrow_mut().clear();
        self.saved.borrow_mut().clear();
        self.refused.borrow_mut().clear();
        self.patience.forget();
    }

    /// The rings of the tree, which stands still.
    fn picture(&self, host: &Host<'_>) -> Result<Rc<Picture>> {
        if let Some(picture) = &*self.picture.borrow() {
            return Ok(Rc::clone(picture));
        }
        let picture = Rc::new(Picture::take(host)?);
        *self.picture.borrow_mut() = Some(Rc::clone(&picture));
        Ok(picture)
    }

    pub(crate) fn mapping(&self, host: &Host<'_>, target: &MappingTarget) -> Result<Verdict<MappingImage>> {
        let mut vma = VmaEntry::decode(target.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", target.pid)))?;
        let object = format!(
            "pid {}, mapping {:#x} of a ring of io_uring",
            target.pid, vma.start
        );
        if ![sys::OFF_SQ_RING, sys::OFF_CQ_RING, sys::OFF_SQES].contains(&vma.pgoff) {
            return Ok(Verdict::refused_but(
                object,
                format!(
                    "it is of something else than the ring and its requests, or begins within them (offset {:#x})",
                    vma.pgoff
                ),
                "have the program unmap it first",
            ));
        }
        let picture = self.picture(host).context(|| object.clone())?;
        let mapped = picture.mapping_at(target.pid, vma.start).context(|| object)?;
        vma.status = REGULAR | RING;
        vma.shmid = mapped.inode;
        self.mapped.borrow_mut().push(mapped);
        Ok(Verdict::Entry(MappingImage {
            vma: vma.encode_to_vec(),
            mm_fields: Vec::new(),
            dump_pages: false,
        }))
    }

    pub(crate) fn file(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        if file.purpose() != Purpose::Descriptor {
            return Ok(Verdict::NotMine);
        }
        let object = object(file.pid, file.fd);
        let saved = match self.save(host, file, &object) {
            Ok(saved) => saved,
            Err(error) if error.code == ErrorCode::Refused => {
                self.refused.borrow_mut().insert(file.ino);
                return Ok(Verdict::Refused(Refusal {
                    object,
                    what: error.message,
                    remedy: error.remedy,
                }));
            }
            Err(error) => return Err(error.context(object)),
        };
        self.saved.borrow_mut().push(saved);
        let ext = ExtFileEntry {
            id: file.id,
            fown: restore::fown_decode(&file.fown)?,
        };
        let entry = FileEntry {
            r#type: FdTypes::Ext as i32,
            id: file.id,
            ext: Some(ext),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Ext as u32,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    fn save(&self, host: &Host<'_>, file: &FileTarget, object: &str) -> Result<Saved> {
        if !self.checked.get() {
            probe::check_kernel()?;
            self.checked.set(true);
        }
        let picture = self.picture(host)?;
        if probe::is_compat(picture.task(file.pid)?.host_pid) {
            return Err(refuse(
                "it belongs to a 32-bit program, whose requests have another form",
                "dump the program without it",
            ));
        }
        let ring = Ring::of(&picture, file)?;
        let found = probe::find(host, &ring, &picture.mappings(ring.inode)?)?;
        let info = flight::settle(host, &ring, &found, &self.patience)?;
        cost::check(host, &found, &info)?;
        let layout = Layout::of(info.sq_entries, info.cq_entries, found.flags)
            .context(|| "making a ring of its size")?;
        let memory = Memory::map(&ring, sys::OFF_SQ_RING, layout.rings()).context(|| "mapping it")?;
        let requests = Memory::map(&ring, sys::OFF_SQES, layout.sqes()).context(|| "mapping its requests")?;
        let bytes = |memory: &Memory, (at, length): (usize, usize)| -> Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            memory.read(at, &mut bytes).context(|| "reading its memory")?;
            Ok(bytes)
        };
        let word = |at: u32| ring.head.load(at).context(|| "reading its memory");
        let entry = RingEntry {
            id: file.id,
            file_flags: file.flags,
            inode: ring.inode,
            pid: found.issuer.map_or(file.pid, |(_, pid)| pid),
            issuer: found.issuer.map_or(0, |(tid, _)| tid),
            setup: found.flags,
            sq_entries: info.sq_entries,
            cq_entries: info.cq_entries,
            sq_head: info.cached_sq_head,
            sq_tail: info.sq_tail,
            cq_head: info.cq_head,
            cq_tail: info.cached_cq_tail,
            dropped: word(layout.params.sq.dropped)?,
            lost: word(layout.params.cq.overflow)?,
            cq_flags: word(layout.params.cq.flags)?,
            cqes: bytes(&memory, layout.cqes())?,
            array: bytes(&memory, layout.array())?,
            sqes: bytes(&requests, (0, layout.sqes()))?,
            sq_cpu: found.sq_cpu,
            attached: self.other_with_thread(&info),
            credentials: found.credentials.clone(),
            ..RingEntry::default()
        };
        let strange = completions(&entry, &layout).find(|flags| flags & UNUSUAL != 0);
        if strange.is_some() {
            return Err(refuse(
                "whether requests are in flight cannot be told: some had more than one completion, which makes their \
                 number no measure",
                "dump the program before it uses multishot requests or IORING_OP_SEND_ZC on this ring",
            ));
        }
        if entry.attached != 0 && !makes_alike(picture.task(file.pid)?, &found)? {
            return Err(refuse(
                "it shares the thread of another ring (IORING_SETUP_ATTACH_WQ), whose credentials are not those of its \
                 process any more: the kernel does not tell which it has",
                "have the program make it before it changes its credentials",
            ));
        }
        if has_personality(&entry, &layout) {
            return Err(refuse(
                "a request in it names a personality (IORING_REGISTER_PERSONALITY), whose credentials the kernel does \
                 not give",
                "have the program unregister its personalities, and clear or use the requests that named one",
            ));
        }
        Ok(Saved {
            object: object.to_owned(),
            ring,
            found,
            info,
            entry,
        })
    }

    /// The ring that was saved first of those with the same thread.
    fn other_with_thread(&self, info: &FdInfo) -> u32 {
        let saved = self.saved.borrow();
        let same = saved
            .iter()
            .find(|saved| info.sq_thread.is_some() && saved.info.sq_thread == info.sq_thread);
        same.map_or(0, |saved| saved.entry.id)
    }

    /// All tables are known: writes the image.
    pub(crate) fn finish(&self, host: &Host<'_>) -> Result<()> {
        let mapped = self.mapped.take();
        let mut all = self.saved.take();
        let mut known = self.refused.take();
        known.extend(all.iter().map(|saved| saved.entry.inode));
        if let Some(lost) = mapped.iter().find(|mapping| !known.contains(&mapping.inode)) {
            let object = format!(
                "pid {}, mapping {:#x} of a ring of io_uring",
                lost.pid, lost.start
            );
            return Err(refuse(
                "no process has a descriptor of it any more",
                "have the program keep its descriptor",
            )
            .context(object));
        }
        if all.is_empty() {
            return Ok(());
        }
        for saved in &mut all {
            add_resources(host, saved).map_err(|error| error.context(&saved.object))?;
        }
        let slots = registered::find(host, &all, &mapped)?;
        for (at, slot) in slots {
            all[at].entry.registered.push(slot);
        }
        let mut writer = image::create(host, &IMAGE)?;
        for saved in &all {
            flight::still_idle(&saved.ring, &saved.info).map_err(|error| error.context(&saved.object))?;
            writer.entry(&saved.entry)?;
        }
        writer.finish()?;
        Ok(())
    }
}

/// Flags of completions of which a request has more than one: `IORING_CQE_F_MORE`, `IORING_CQE_F_NOTIF`.
const UNUSUAL: u32 = 1 << 1 | 1 << 3;

/// The flags of the completions whose memory has been used.
fn completions<'a>(entry: &'a RingEntry, layout: &Layout) -> impl Iterator<Item = u32> + 'a {
    let used = entry.cq_tail.min(entry.cq_entries) as usize;
    let each = entry.cqes.chunks_exact(layout.cqe).take(used);
    each.filter_map(|cqe| Some(u32::from_ne_bytes(cqe.get(12..16)?.try_into().ok()?)))
}

/// Whether a process that makes a ring now makes it with the credentials of the ring's thread.
fn makes_alike(task: &TaskInfo, found: &Found) -> Result<bool> {
    let own = Credentials::read(&format!("/proc/{}/status", task.host_pid))?;
    Ok(found
        .credentials
        .as_ref()
        .is_some_and(|theirs| theirs.alike(&own)))
}

/// Whether any request, done or not, has a personality. Some kernels tell nothing else of them.
fn has_personality(entry: &RingEntry, layout: &Layout) -> bool {
    let mut each = entry.sqes.chunks_exact(layout.sqe);
    each.any(|request| {
        request
            .get(42..44)
            .is_some_and(|personality| personality != [0, 0])
    })
}

/// What was registered, by what the descriptors of one process are.
fn add_resources(host: &Host<'_>, saved: &mut Saved) -> Result<()> {
    let (info, entry) = (&saved.info, &mut saved.entry);
    entry.owner = entry.pid;
    if info.buffers.is_empty() && info.file_slots == 0 {
        return Ok(());
    }
    let mut owners: Vec<&TaskInfo> = saved.ring.users.iter().map(|user| &*user.task).collect();
    if let Some((_, pid)) = saved.found.issuer {
        owners.retain(|task| task.pid == pid);
    }
    if !info.buffers.is_empty() {
        let [owner] = owners[..] else {
            return Err(refuse(
                "buffers are registered with it, and the kernel does not tell by which of the processes that have it",
                "have the program unregister them first",
            ));
        };
        entry.owner = owner.pid;
        entry.buffers = info
            .buffers
            .iter()
            .map(|buffer| buffer.unwrap_or_default())
            .map(|(address, length)| Buffer { address, length })
            .collect();
    }
    if info.file_slots == 0 {
        return Ok(());
    }
    let mut first = None;
    for owner in owners {
        match files_of(host, owner, info) {
            Ok(files) => {
                (entry.owner, entry.files) = (owner.pid, files);
                return Ok(());
            }
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    Err(first.unwrap_or_else(|| Error::new("no process has it")))
}

/// The registered files as descriptors of a process.
fn files_of(host: &Host<'_>, task: &TaskInfo, info: &FdInfo) -> Result<Vec<i32>> {
    let mut by_name: HashMap<Vec<u8>, Vec<(i32, u32)>> = HashMap::new();
    for slot in host.descriptors(task.pid)? {
        let path = format!("/proc/{}/fd/{}", task.host_pid, slot.fd);
        let link = fs::read_link(&path).context(|| format!("reading {path}"))?;
        let name = link.as_os_str().as_bytes().to_vec();
        by_name.entry(name).or_default().push((slot.fd, slot.file_id));
    }
    let mut files = vec![-1; info.file_slots as usize];
    for (slot, name) in &info.files {
        let candidates = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let one = candidates
            .first()
            .filter(|first| candidates.iter().all(|other| other.1 == first.1));
        let place = files.get_mut(*slot as usize);
        let (Some(&(fd, _)), Some(place)) = (one, place) else {
            let name = String::from_utf8_lossy(name);
            let (what, remedy) = if candidates.is_empty() {
                (
                    format!(
                        "its registered file {slot}, `{name}`, is behind no descriptor of process {}",
                        task.pid
                    ),
                    "have the program keep the descriptor open beside",
                )
            } else {
                (
                    format!(
                        "its registered file {slot}, `{name}`, is one of several of that name that process {} has open",
                        task.pid
                    ),
                    "have the program keep no other file of this name open",
                )
            };
            return Err(refuse(what, remedy));
        };
        *place = fd;
    }
    Ok(files)
}

/// What a call answered, in words.
pub(crate) fn said(result: i64) -> &'static str {
    sys::errno(result).unwrap_or(Errno::UnknownErrno).desc()
}
