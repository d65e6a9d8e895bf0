//! Saves descriptors of queues, and queues without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;

use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Host, Result, Verdict, image};
use criu_proto::images::{ExtFileEntry, FdTypes, FileEntry};
use nix::errno::Errno;
use prost::Message;

use super::sys::{self, Attributes};
use super::{IMAGE, MessageEntry, MqueueEntry, QueueEntry};

const DELETED: &[u8] = b" (deleted)";

/// The queues of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    /// Number of the queue, by device and inode number.
    known: HashMap<(u64, u64), u32>,
    entries: Vec<MqueueEntry>,
}

impl Dump {
    pub(crate) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let link = String::from_utf8_lossy(&file.link);
        let described = format!("pid {}, fd {}, message queue {link}", file.pid, file.fd);
        // SAFETY: the host keeps `local_fd` open during this call.
        let local = unsafe { BorrowedFd::borrow_raw(file.local_fd) };
        let attributes = match sys::attributes(local) {
            Ok(attributes) => attributes,
            // O_PATH: a path and no more.
            Err(Errno::EBADF) => return Ok(Verdict::NotMine),
            Err(errno) => return Err(errno).context(|| format!("{described}: asking for its attributes")),
        };
        let next = u32::try_from(self.known.len() + 1).unwrap_or(u32::MAX);
        let queue = *self.known.entry((file.dev, file.ino)).or_insert(next);
        let object = if queue == next {
            match object(host, file, attributes).context(|| described.clone())? {
                Ok(object) => Some(object),
                Err((what, remedy)) => return Ok(Verdict::refused_but(described, what, remedy)),
            }
        } else {
            None
        };
        let path = file.link.strip_suffix(DELETED).filter(|_| file.nlink == 0);
        self.entries.push(MqueueEntry {
            id: file.id,
            flags: file.flags,
            queue,
            path: path.unwrap_or(&file.link).to_vec(),
            object,
        });
        let entry = FileEntry {
            r#type: FdTypes::Ext as i32,
            id: file.id,
            ext: Some(ExtFileEntry {
                id: file.id,
                fown: fown_decode(&file.fown)?,
            }),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Ext as u32,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &IMAGE)?;
        for entry in &self.entries {
            writer.entry(entry)?;
        }
        writer.finish()?;
        Ok(())
    }
}

/// What cannot be saved, and what would help.
type Obstacle = (String, &'static str);

fn object(
    host: &Host<'_>,
    file: &FileTarget,
    attributes: Attributes,
) -> Result<std::result::Result<QueueEntry, Obstacle>> {
    let path = format!("/proc/self/fd/{}", file.local_fd);
    let queue = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .context(|| "opening it anew")?;
    let unlinked = file.nlink == 0;
    let notified = notified(&queue)?;
    let in_tree = notified != 0 && host.tasks()?.iter().any(|task| task.host_pid == notified);
    if in_tree || (unlinked && notified != 0) {
        let what = format!(
            "process {notified} waits for a notification (mq_notify), whose value the kernel does not tell"
        );
        return Ok(Err((
            what,
            "take the registration back first: mq_notify(queue, NULL)",
        )));
    }
    let messages = if unlinked && attributes.count > 0 {
        copy_messages(&queue, attributes)?
    } else {
        Vec::new()
    };
    let path = file
        .link
        .strip_suffix(DELETED)
        .filter(|_| unlinked)
        .unwrap_or(&file.link);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    Ok(Ok(QueueEntry {
        name: name.to_vec(),
        unlinked,
        mode: file.mode & 0o7777,
        uid: file.uid,
        gid: file.gid,
        max_messages: attributes.max_messages,
        message_size: attributes.message_size,
        count: attributes.count,
        messages,
    }))
}

/// The process that is registered with mq_notify(3), 0 for none.
fn notified(mut queue: &File) -> Result<i32> {
    let mut text = String::new();
    queue.read_to_string(&mut text).context(|| "reading its state")?;
    // QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260
    let pid = text
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("NOTIFY_PID:"));
    pid.and_then(|pid| pid.parse().ok())
        .ok_or_else(|| criu_plugin_api::Error::new(format!("its state {text:?} does not parse")))
}

/// The messages of a queue: the kernel lets nobody look at one without taking it, so all are taken and put
/// back at once, in their order. The tree stands still, and signals wait meanwhile; only a SIGKILL within
/// these few calls could lose them.
fn copy_messages(queue: &File, attributes: Attributes) -> Result<Vec<MessageEntry>> {
    let _signals = HeldSignals::hold()?;
    let room = usize::try_from(attributes.message_size).unwrap_or(0);
    let mut buffer = vec![0; room];
    let mut messages = Vec::new();
    let taken = loop {
        match sys::receive(queue, &mut buffer) {
            Ok((length, priority)) => messages.push(MessageEntry {
                priority,
                data: buffer[..length].to_vec(),
            }),
            Err(Errno::EAGAIN) => break Ok(()),
            Err(errno) => break Err(errno),
        }
    };
    for message in &messages {
        sys::send(queue, &message.data, message.priority).context(|| "putting a message back")?;
    }
    taken.context(|| "looking at its messages")?;
    Ok(messages)
}

/// All signals of this thread wait until this is dropped.
struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    fn hold() -> Result<Self> {
        // SAFETY: the sets are integers, for which zero is a value.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: fills the set, which lives here.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both sets live here.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        match result {
            0 => Ok(Self(before)),
            errno => Err(Errno::from_raw(errno)).context(|| "holding signals"),
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in force.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
