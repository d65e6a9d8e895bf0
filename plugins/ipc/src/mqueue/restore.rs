//! Opens queues again, and makes those that have no name.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

use criu_plugin_api::message::{FilePlan, FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result, image, restore};
use criu_proto::images::FileEntry;
use nix::errno::Errno;
use prost::Message;

use super::{IMAGE, MqueueEntry, QueueEntry, sys};

/// The queues of a restore.
#[derive(Default)]
pub(crate) struct Restore {
    /// Every description, made by the coordinator while its queue has a name; the tasks inherit them.
    files: HashMap<u32, (MqueueEntry, OwnedFd)>,
    /// The names of queues that were made here and keep their name.
    made: Vec<CString>,
    /// The process that holds the descriptions.
    holder: u32,
}

impl Restore {
    pub(crate) fn prepare(&mut self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let entries: Vec<MqueueEntry> = image::read_all(host, &IMAGE)?;
        self.holder = std::process::id();
        let mut queues: BTreeMap<u32, (Option<QueueEntry>, Vec<MqueueEntry>)> = BTreeMap::new();
        for mut entry in entries {
            let (object, of) = queues.entry(entry.queue).or_default();
            *object = object.take().or(entry.object.take());
            of.push(entry);
        }
        for (number, (object, of)) in queues {
            let Some(object) = object else {
                let error = format!("mqueue.img: nothing describes queue {number}: damaged");
                return Err(Error::new(error));
            };
            let name = String::from_utf8_lossy(&object.name);
            self.queue(&object, of)
                .context(|| format!("message queue {name}"))?;
        }
        let ours = files.iter().filter(|file| self.files.contains_key(&file.id));
        Ok(ours
            .map(|file| FilePlan {
                id: file.id,
                ..FilePlan::default()
            })
            .collect())
    }

    /// Finds or makes a queue and opens all its descriptions.
    fn queue(&mut self, object: &QueueEntry, entries: Vec<MqueueEntry>) -> Result<()> {
        let queue = bring(object)?;
        if queue.made && !object.unlinked {
            self.made.push(queue.name.clone());
        }
        let opened: Result<Vec<OwnedFd>> = entries.iter().map(|entry| describe(entry, &queue)).collect();
        if queue.made && object.unlinked {
            sys::unlink(&queue.name).context(|| "taking its name away")?;
        }
        for (entry, fd) in entries.into_iter().zip(opened?) {
            self.files.insert(entry.id, (entry, fd));
        }
        Ok(())
    }

    pub(crate) fn open(&self, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let Some((entry, held)) = self.files.get(&id) else {
            return Err(Error::new(format!("file {id} is not in mqueue.img")));
        };
        let what = || {
            let path = String::from_utf8_lossy(&entry.path);
            format!("opening message queue {path} as file {id}")
        };
        let fd = held.try_clone().context(what)?;
        if sys::attributes(&fd).is_err() {
            return Err(Error::new(format!(
                "its description in process {} is lost",
                self.holder
            )))
            .context(what);
        }
        let saved = FileEntry::decode(request.file.entry.as_slice())
            .map_err(|e| Error::new(format!("decoding the entry of file {id}: {e}")))?;
        if let Some(ext) = saved.ext {
            restore::apply_owner(&fd, &ext.fown).context(what)?;
        }
        restore::apply_flags(&fd, entry.flags).context(what)?;
        Ok(Progress::Done(Opened::one(fd)))
    }

    /// After a failure, of what comes later too, what was made goes again; the others were only opened.
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        self.files.clear();
        if outcome == Outcome::Success {
            return;
        }
        for name in std::mem::take(&mut self.made) {
            if let Err(errno) = sys::unlink(&name) {
                tracing::warn!("message queue {name:?} stays: {}", errno.desc());
            }
        }
    }
}

/// A queue that is there.
struct Queue {
    name: CString,
    fd: OwnedFd,
    /// Whether it was made here.
    made: bool,
}

/// A description of a queue: by its path in a mounted file system, else by its name alone.
fn describe(entry: &MqueueEntry, queue: &Queue) -> Result<OwnedFd> {
    let access = entry.flags.cast_signed() & libc::O_ACCMODE;
    if entry.path.iter().filter(|byte| **byte == b'/').count() > 1 {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&entry.path));
        let opened = File::options()
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        if let Ok(file) = opened
            && let fd = OwnedFd::from(file)
            && inode(&fd)? == inode(&queue.fd)?
        {
            return Ok(fd);
        }
    }
    // The kernel keeps O_CLOEXEC among the flags of the description.
    let flags = entry.flags.cast_signed() & (libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_CLOEXEC);
    sys::open(&queue.name, flags).context(|| "opening it again")
}

/// The queue that was, or one like it.
fn bring(object: &QueueEntry) -> Result<Queue> {
    let name = CString::new(object.name.as_slice()).map_err(|_| Error::new("its name is damaged"))?;
    if !object.unlinked {
        match sys::open(&name, libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) {
            Ok(fd) => return there(object, name, fd),
            Err(Errno::ENOENT) if object.count == 0 => {}
            Err(Errno::ENOENT) => {
                let error = format!(
                    "it does not exist here, and its {} messages are not in the images",
                    object.count
                );
                return Err(Error::new(error).with_remedy(
                    "queues that have a name stay on their machine, as files do: restore there",
                ));
            }
            Err(errno) => return Err(errno).context(|| "opening it"),
        }
    }
    let (name, fd) = create(object, name)?;
    if let Err(error) = complete(object, &fd) {
        sys::unlink(&name).context(|| "taking its name away")?;
        return Err(error);
    }
    Ok(Queue { name, fd, made: true })
}

/// Under its own name, or under another if that is taken and it is to lose it anyway.
fn create(object: &QueueEntry, name: CString) -> Result<(CString, OwnedFd)> {
    let make = |name: &CString| sys::create(name, object.max_messages, object.message_size);
    let what = || {
        format!(
            "making it for {} messages of {} bytes (/proc/sys/fs/mqueue may have to allow for that)",
            object.max_messages, object.message_size
        )
    };
    match make(&name) {
        Err(Errno::EEXIST) if object.unlinked => {
            let other = CString::new(format!("criu-{}-{}", std::process::id(), object.name.len()))
                .map_err(|_| Error::new("its name is damaged"))?;
            Ok((other.clone(), make(&other).context(what)?))
        }
        made => Ok((name, made.context(what)?)),
    }
}

fn inode(fd: &OwnedFd) -> Result<(u64, u64)> {
    let copy = fd.try_clone().context(|| "copying a descriptor")?;
    let meta = File::from(copy).metadata().context(|| "looking at it")?;
    Ok((meta.dev(), meta.ino()))
}

/// A queue that exists must be like the one that was.
fn there(object: &QueueEntry, name: CString, fd: OwnedFd) -> Result<Queue> {
    let now = sys::attributes(&fd).context(|| "asking for its attributes")?;
    if (now.max_messages, now.message_size) != (object.max_messages, object.message_size) {
        let error = format!(
            "another queue has its name here: for {} messages of {} bytes, not {} of {}",
            now.max_messages, now.message_size, object.max_messages, object.message_size
        );
        return Err(Error::new(error).with_remedy("remove that one: mq_unlink"));
    }
    Ok(Queue {
        name,
        fd,
        made: false,
    })
}

fn complete(object: &QueueEntry, fd: &OwnedFd) -> Result<()> {
    for message in &object.messages {
        sys::send(fd, &message.data, message.priority).context(|| "putting a message into it")?;
    }
    fchown(fd.as_fd(), Some(object.uid), Some(object.gid)).context(|| "giving it to its owner")?;
    let copy = fd.try_clone().context(|| "copying a descriptor")?;
    let mode = std::fs::Permissions::from_mode(object.mode & 0o7777);
    File::from(copy)
        .set_permissions(mode)
        .context(|| "setting its permissions")
}
