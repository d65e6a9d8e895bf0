//! Makes segments again and attaches them.
//!
//! A segment that still exists is used again, its contents reset: a dump that kills the tree leaves it
//! behind, as the end of its processes would. All happens at the end of the restore, while the tasks are
//! caught; before, it is only checked.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use criu_plugin_api::message::MappingRecord;
use criu_plugin_api::{Context, Error, Host, Result, image};
use criu_proto::framing::ImageReader;
use criu_proto::images::{IpcShmEntry, MmEntry, VmaEntry};
use criu_proto::magic;
use nix::errno::Errno;
use prost::Message;

use super::attach::{self, Attacher};
use super::{CREATORS, Creator, SHM_DEST, SHM_HUGETLB, SHM_LOCKED, SYSVIPC, sys};

const NEXT_ID: &str = "/proc/sys/kernel/shm_next_id";
/// Attempts to get an id that another process gets first.
const TRIES: usize = 16;
/// Bytes of contents that are looked at together; no page is smaller than a part of it.
const CHUNK: u64 = 64 << 10;

/// The segments of a restore, by id.
#[derive(Default)]
pub(crate) struct Restore {
    segments: BTreeMap<i32, Planned>,
    /// The attachments of the process whose turn it is.
    attachments: Option<(i32, Attachments)>,
}

/// The mappings of a process by the attachment that they are of.
type Attachments = HashMap<attach::Key, Vec<VmaEntry>>;

struct Planned {
    entry: IpcShmEntry,
    /// The process that made it, 0 if that is not known.
    creator: i32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    /// It was there.
    Reused,
    /// A restore made it.
    Created,
}

/// What there is under the id of a segment.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// The segment itself, used by nobody.
    Itself,
}

impl Restore {
    /// Reads the segments of the set and checks that each can be had.
    pub(crate) fn prepare(host: &Host<'_>) -> Result<Self> {
        let mut restore = Self::default();
        let Some(name) = super::image_name(host)? else {
            return Ok(restore);
        };
        let Some(file) = host.open_image(&name)? else {
            return Ok(restore);
        };
        let size = file.metadata().map(|meta| meta.len()).ok();
        let reader = std::io::BufReader::new(file);
        let mut reader = ImageReader::new(reader, &name, size, &magic::IPCNS_SHM)?;
        let creators: Vec<Creator> = image::read_all(host, &CREATORS)?;
        for entry in reader.entries::<IpcShmEntry>() {
            let entry = entry?;
            let number = entry.desc.id;
            let damaged = |what: &str| Error::new(format!("{name}: segment {number} {what}: damaged"));
            let id = i32::try_from(number).map_err(|_| damaged("cannot be"))?;
            if !entry.in_pagemaps() {
                let error = format!("{name}: the contents of segment {number} are in a form of old");
                return Err(Error::new(error));
            }
            there(id, &entry).context(|| format!("segment {id} of System V shared memory"))?;
            let creator = creators.iter().find(|c| c.id == number).map_or(0, |c| c.pid);
            let planned = Planned {
                entry,
                creator,
                state: State::Untouched,
            };
            if restore.segments.insert(id, planned).is_some() {
                return Err(damaged("is there twice"));
            }
        }
        Ok(restore)
    }

    /// All mappings of a process that are of one attachment with this one.
    fn parts(&mut self, host: &Host<'_>, pid: i32, vma: &VmaEntry) -> Result<Vec<VmaEntry>> {
        if self.attachments.as_ref().is_none_or(|(of, _)| *of != pid) {
            self.attachments = Some((pid, attachments(host, pid)?));
        }
        let all = self.attachments.as_ref().map(|(_, all)| all);
        let parts = all.and_then(|all| all.get(&attach::key(vma)));
        // In the older layout the mappings stand elsewhere; then each is attached by itself.
        let parts = parts.filter(|parts| parts.iter().any(|part| part.start == vma.start));
        Ok(parts.map_or_else(|| vec![*vma], Clone::clone))
    }

    /// Puts one attachment back; the first of a segment brings that too.
    pub(crate) fn mapping(&mut self, host: &Host<'_>, record: &MappingRecord) -> Result<()> {
        let vma = VmaEntry::decode(record.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", record.pid)))?;
        let parts = self.parts(host, record.pid, &vma)?;
        let planned = i32::try_from(vma.shmid)
            .ok()
            .and_then(|id| Some((id, self.segments.get_mut(&id)?)));
        let Some((id, planned)) = planned else {
            let error = format!(
                "no image describes segment {} of System V shared memory",
                vma.shmid
            );
            return Err(Error::new(error));
        };
        if parts.first().is_some_and(|first| first.start != vma.start) {
            // It came with the first part.
            return Ok(());
        }
        let attach = |planned: &mut Planned| -> Result<()> {
            let first = planned.state == State::Untouched;
            if first {
                planned.make(host, id)?;
            }
            let attacher = Attacher::new(host, record.pid, id, &parts, planned.entry.size)?;
            let at = attacher.attach()?;
            if first {
                let file = attacher.memory(at)?;
                planned.fill(host, id, &file)?;
            }
            attacher.settle(at)
        };
        attach(planned).context(|| format!("attaching segment {id} of System V shared memory"))
    }

    /// Everything is attached: owners, permissions, and what goes with the last attachment.
    pub(crate) fn complete(&self) -> Result<()> {
        for (&id, planned) in &self.segments {
            if planned.state != State::Untouched {
                planned
                    .complete(id)
                    .context(|| format!("completing segment {id} of System V shared memory"))?;
            }
        }
        Ok(())
    }

    /// After a failure: what was made goes again; all processes are gone.
    pub(crate) fn undo(self) {
        for (id, planned) in self.segments {
            let desc = &planned.entry.desc;
            let undone = match planned.state {
                State::Untouched => Ok(()),
                State::Created => sys::remove(id),
                State::Reused => sys::set(id, desc.uid, desc.gid, desc.mode),
            };
            // One that was to go with its last attachment has done so.
            if let Err(errno) = undone
                && !matches!(errno, Errno::EINVAL | Errno::EIDRM)
            {
                tracing::warn!("segment {id} of System V shared memory stays: {}", errno.desc());
            }
        }
    }
}

/// The attachments of a process, by the image of its memory.
fn attachments(host: &Host<'_>, pid: i32) -> Result<Attachments> {
    let name = magic::MM.file_name(u64::from(pid.cast_unsigned()));
    let mut all = Attachments::new();
    if let Some(file) = host.open_image(&name)? {
        let size = file.metadata().map(|meta| meta.len()).ok();
        let mut reader = ImageReader::new(std::io::BufReader::new(file), &name, size, &magic::MM)?;
        let mm: MmEntry = reader.entry()?;
        for part in mm.vmas.into_iter().filter(|part| part.status & SYSVIPC != 0) {
            all.entry(attach::key(&part)).or_default().push(part);
        }
    }
    Ok(all)
}

/// Whether a segment can be had.
fn there(id: i32, entry: &IpcShmEntry) -> Result<There> {
    let key = entry.desc.key;
    match sys::stat(id) {
        Err(Errno::EINVAL | Errno::EIDRM) => {}
        Err(errno) => return Err(errno).context(|| "looking whether it exists"),
        Ok(now) if now.key != key || now.size != entry.size || now.mode & SHM_DEST != 0 => {
            let error = format!(
                "its id belongs to another segment here, of {} bytes with key {:#x}",
                now.size, now.key
            );
            let remedy = format!("remove that one (`ipcrm -m {id}`) or restore in another ipc namespace");
            return Err(Error::new(error).with_remedy(remedy));
        }
        Ok(now) if now.attachments != 0 => {
            let error = format!(
                "it exists and {} attachments of other processes use it",
                now.attachments
            );
            return Err(Error::new(error).with_remedy("end those processes; `ipcs -mp` names the last"));
        }
        Ok(_) => return Ok(There::Itself),
    }
    if key != 0
        && let Ok(other) = sys::get(key, 0, 0)
    {
        let error = format!("its key {key:#x} belongs to segment {other} here");
        return Err(Error::new(error).with_remedy(format!("remove that one: `ipcrm -m {other}`")));
    }
    Ok(There::Nothing)
}

impl Planned {
    fn make(&mut self, host: &Host<'_>, id: i32) -> Result<()> {
        self.state = match there(id, &self.entry)? {
            There::Itself => State::Reused,
            There::Nothing => {
                self.create(host, id)?;
                State::Created
            }
        };
        Ok(())
    }

    fn create(&self, host: &Host<'_>, id: i32) -> Result<()> {
        let desc = &self.entry.desc;
        let mut flags = (desc.mode & 0o777).cast_signed() | libc::IPC_CREAT | libc::IPC_EXCL;
        if let Some(huge) = self.entry.hugetlb_flag {
            flags |= (SHM_HUGETLB | huge & 0x3f << libc::MAP_HUGE_SHIFT).cast_signed();
        }
        // The creator makes it, if it is here: its pid stays with the segment.
        let tasks = host.tasks()?;
        let by_creator = tasks
            .iter()
            .any(|task| task.pid == self.creator && !task.dead && self.creator != 0);
        let _alone = Reservation::lock()?;
        for _ in 0..TRIES {
            let made = if by_creator {
                self.get_by_creator(host, id, flags)?
            } else {
                None
            };
            let made = match made {
                Some(made) => made,
                None => {
                    reserve(id)?;
                    as_user(desc.cuid, desc.cgid, || {
                        sys::get(desc.key, self.entry.size, flags)
                    })
                    .context(|| format!("shmget for {} bytes", self.entry.size))?
                }
            };
            if made == id {
                return Ok(());
            }
            sys::remove(made).context(|| format!("removing segment {made}, which is not it"))?;
            // Another process was given the id that was reserved, and may have removed its segment again.
            there(id, &self.entry)?;
        }
        Err(Error::new(
            "other processes make segments all the time, and get its id",
        ))
    }

    /// `None` when the creator may not make it any more.
    fn get_by_creator(&self, host: &Host<'_>, id: i32, flags: i32) -> Result<Option<i32>> {
        reserve(id)?;
        let args = [
            u64::from(self.entry.desc.key),
            self.entry.size,
            u64::from(flags.cast_unsigned()),
        ];
        let result = host.remote_syscall(self.creator, libc::SYS_shmget, &args)?;
        Ok(i32::try_from(result).ok().filter(|id| *id >= 0))
    }

    /// Gives it its contents.
    fn fill(&self, host: &Host<'_>, id: i32, file: &File) -> Result<()> {
        let number = u64::from(id.cast_unsigned());
        let size = self.entry.size;
        if self.state == State::Reused {
            let length = i64::try_from(file.metadata().map_or(size, |meta| meta.len().max(size)))
                .map_err(|_| Error::new("it is too large"))?;
            let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: takes plain numbers.
            Errno::result(unsafe { libc::fallocate(file.as_raw_fd(), flags, 0, length) })
                .context(|| "emptying it")?;
        }
        match self.entry.hugetlb_flag {
            None => host.restore_shared_memory(number, file.as_raw_fd(), size),
            Some(_) => fill_huge(host, number, file, size),
        }
        .context(|| "filling it")
    }

    fn complete(&self, id: i32) -> Result<()> {
        let desc = &self.entry.desc;
        sys::set(id, desc.uid, desc.gid, desc.mode).context(|| "setting its owner and permissions")?;
        if desc.mode & SHM_LOCKED != 0 {
            sys::lock(id).context(|| "locking it")?;
        }
        if desc.mode & SHM_DEST != 0 {
            sys::remove(id).context(|| "marking it to go with its last attachment")?;
        }
        Ok(())
    }
}

/// Other restores of this machine wait: the kernel has one reservation, for whoever comes first.
struct Reservation(#[expect(dead_code, reason = "its lock is held")] nix::fcntl::Flock<File>);

impl Reservation {
    fn lock() -> Result<Self> {
        let file = File::open(NEXT_ID).context(|| format!("opening {NEXT_ID}"))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
            .map(Self)
            .map_err(|(_, errno)| errno)
            .context(|| format!("locking {NEXT_ID}"))
    }
}

/// The next segment gets this id.
fn reserve(id: i32) -> Result<()> {
    std::fs::write(NEXT_ID, id.to_string())
        .context(|| format!("writing {id} to {NEXT_ID}"))
        .map_err(|error| error.with_remedy("the kernel needs CONFIG_CHECKPOINT_RESTORE"))
}

/// Huge pages cannot be written to by write(2): contents go by an ordinary object and a mapping; pages of
/// zeros alone are left out, as they may never have been touched.
fn fill_huge(host: &Host<'_>, id: u64, file: &File, size: u64) -> Result<()> {
    let plain = sys::memory_file().context(|| "making a file in memory")?;
    plain
        .set_len(size)
        .context(|| "setting the size of its contents")?;
    host.restore_shared_memory(id, plain.as_raw_fd(), size)?;
    let page = file.metadata().context(|| "asking for its pages")?.blksize();
    let mut buffer = vec![0; CHUNK as usize];
    for at in (0..size).step_by(CHUNK as usize) {
        let data = &mut buffer[..(size - at).min(CHUNK) as usize];
        plain
            .read_exact_at(data, at)
            .context(|| format!("reading its contents at {at:#x}"))?;
        if data.iter().any(|byte| *byte != 0) {
            let start = at / page * page;
            let mut window = sys::Window::of(file.as_fd(), start, page)
                .context(|| format!("getting a page of {page} bytes at {start:#x}"))?;
            window.write(at - start, data);
        }
    }
    Ok(())
}

/// Runs `work` with other effective ids, which a new segment takes note of. The raw calls change this
/// thread alone; the real and saved ids stay, so that the way back is open.
fn as_user<T>(uid: u32, gid: u32, work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    const KEEP: u32 = u32::MAX;
    let set = |nr: libc::c_long, id: u32| {
        // SAFETY: takes plain numbers.
        Errno::result(unsafe { libc::syscall(nr, KEEP, id, KEEP) }).map(drop)
    };
    // SAFETY: take nothing.
    let (own_uid, own_gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    set(libc::SYS_setresgid, gid)?;
    let result = set(libc::SYS_setresuid, uid).and_then(|()| work());
    set(libc::SYS_setresuid, own_uid)?;
    set(libc::SYS_setresgid, own_gid)?;
    result
}
