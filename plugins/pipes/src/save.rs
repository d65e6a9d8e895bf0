//! Saves the contents of pipes, once for each.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};

use criu_plugin_api::image::{self, ImageKind, ImageWriter};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Refusal, Result};
use criu_proto::images::PipeDataEntry;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::packets::{self, PacketsEntry};
use crate::sys;

/// Read from the copy at a time, in bytes.
const CHUNK: usize = 256 << 10;
/// The buffer of a pipe as pipe(2) makes it, in pages.
const DEFAULT_PAGES: u32 = 16;

/// What a dump knows of the pipes of one kind.
pub(crate) struct Saver {
    data: &'static ImageKind,
    packets: &'static ImageKind,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// The id of each pipe in the images, by device and inode number.
    ids: HashMap<(u64, u64), u32>,
    taken: HashSet<u32>,
    saved: HashSet<u32>,
    /// Pipes of which only ends to write to have been seen so far: pid and descriptor of one.
    later: BTreeMap<u32, (i32, i32)>,
    image: Option<ImageWriter<BufWriter<File>>>,
    packets: Vec<PacketsEntry>,
    /// Pipes somebody of the tree writes to in packet mode.
    direct: HashSet<u32>,
    /// Pipes with a single byte, which is a packet if the pipe is in packet mode.
    single: Vec<u32>,
    copy: Option<Copy>,
}

/// The pipe that contents are copied into; kept, since most have the same size.
struct Copy {
    read: File,
    write: File,
    size: u32,
}

/// Bytes that were copied out of a pipe, and how they are cut into packets (if they are).
struct Contents {
    bytes: Vec<u8>,
    packets: Vec<u32>,
}

impl Saver {
    pub(crate) fn new(data: &'static ImageKind, packets: &'static ImageKind) -> Self {
        Self {
            data,
            packets,
            state: RefCell::default(),
        }
    }

    /// Takes note of a description of a pipe, saves the contents when it can be read, and returns the
    /// id of the pipe in the images: its inode number, or a free one if that is taken or too large.
    pub(crate) fn see(
        &self,
        host: &Host<'_>,
        file: &FileTarget,
    ) -> Result<std::result::Result<u32, Refusal>> {
        let flags = file.flags.cast_signed();
        let id = self.id(file.dev, file.ino);
        if flags & libc::O_DIRECT != 0 && flags & libc::O_ACCMODE != libc::O_RDONLY {
            self.state.borrow_mut().direct.insert(id);
        }
        if self.state.borrow().saved.contains(&id) {
            return Ok(Ok(id));
        }
        if flags & libc::O_ACCMODE == libc::O_WRONLY && file.fd >= 0 {
            self.state
                .borrow_mut()
                .later
                .entry(id)
                .or_insert((file.pid, file.fd));
            return Ok(Ok(id));
        }
        let readable = flags & libc::O_ACCMODE != libc::O_WRONLY;
        let saved = self
            .save(host, id, sys::local(file), readable)
            .context(|| format!("saving {}", object(file)))?;
        Ok(saved.map(|()| id).map_err(|what| Refusal {
            object: object(file),
            ..what
        }))
    }

    /// Saves those pipes that nobody of the tree reads from, and completes the images.
    pub(crate) fn finish(&self, host: &Host<'_>) -> Result<()> {
        let later = std::mem::take(&mut self.state.borrow_mut().later);
        for (id, (pid, fd)) in later {
            if self.state.borrow().saved.contains(&id) {
                continue;
            }
            let object = || format!("pid {pid}, fd {fd}, pipe {id}");
            let end = host.target_fd(pid, fd)?;
            self.save(host, id, end.as_fd(), false)
                .context(|| format!("saving {}", object()))?
                .map_err(|what| Refusal {
                    object: object(),
                    ..what
                })?;
        }
        let mut state = std::mem::take(&mut *self.state.borrow_mut());
        if let Some(image) = state.image.take() {
            image.finish()?;
        }
        for pipe_id in state.single {
            if state.direct.contains(&pipe_id) {
                let lengths = vec![1];
                state.packets.push(PacketsEntry { pipe_id, lengths });
            }
        }
        packets::write(host, self.packets, &state.packets)
    }

    fn id(&self, dev: u64, ino: u64) -> u32 {
        let mut state = self.state.borrow_mut();
        if let Some(&id) = state.ids.get(&(dev, ino)) {
            return id;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the images have room for the low half"
        )]
        let mut id = ino as u32;
        while !state.taken.insert(id) {
            id = id.wrapping_add(1);
        }
        state.ids.insert((dev, ino), id);
        id
    }

    /// Saves a pipe through one of its ends. A refusal lacks its object.
    fn save(
        &self,
        host: &Host<'_>,
        id: u32,
        end: BorrowedFd<'_>,
        readable: bool,
    ) -> Result<std::result::Result<(), Refusal>> {
        let size = sys::size(end).context(|| "asking for its size")?;
        let contents = if readable {
            self.copy_out(end, size)
        } else if sys::available(end).context(|| "asking for the bytes in it")? == 0 {
            Ok(Ok(Contents::none()))
        } else {
            let read =
                sys::reopen(end, libc::O_RDONLY.cast_unsigned()).context(|| "opening it for reading")?;
            self.copy_out(read.as_fd(), size)
        };
        let contents = match contents? {
            Ok(contents) => contents,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.state.borrow_mut().saved.insert(id);
        if !contents.bytes.is_empty() || u64::from(size) != default_size() {
            self.write(host, id, size, &contents)?;
        }
        let mut state = self.state.borrow_mut();
        if !contents.packets.is_empty() {
            let lengths = contents.packets;
            state.packets.push(PacketsEntry { pipe_id: id, lengths });
        } else if contents.bytes.len() == 1 {
            state.single.push(id);
        }
        Ok(Ok(()))
    }

    /// Writes the entry of a pipe and its bytes.
    fn write(&self, host: &Host<'_>, id: u32, size: u32, contents: &Contents) -> Result<()> {
        let begun = self.state.borrow_mut().image.take();
        let mut image = begun.map_or_else(|| image::create(host, self.data), Ok)?;
        let bytes = u32::try_from(contents.bytes.len()).map_err(|_| Error::new("it holds 4 GiB or more"))?;
        image.entry(&PipeDataEntry {
            pipe_id: id,
            bytes,
            size: Some(size),
        })?;
        image.payload(&contents.bytes)?;
        self.state.borrow_mut().image = Some(image);
        Ok(())
    }

    /// What is in a pipe; it stays there.
    fn copy_out(&self, pipe: BorrowedFd<'_>, size: u32) -> Result<std::result::Result<Contents, Refusal>> {
        // Not put back after a failure: there may be something left in it.
        let kept = self.state.borrow_mut().copy.take();
        let mut copy = kept.map_or_else(Copy::new, Ok)?;
        copy.grow(size)?;
        let bytes = match sys::copy(pipe, &copy.write) {
            Ok(bytes) => bytes,
            Err(Errno::EINVAL) => {
                let what = "it is a notification pipe (O_NOTIFICATION_PIPE), which cannot be copied";
                return Ok(Err(refusal(what, None)));
            }
            Err(errno) => return Err(errno).context(|| "copying its contents"),
        };
        if copy.size < size {
            let held = sys::available(pipe).context(|| "asking for the bytes in it")?;
            if bytes < held {
                let what = format!(
                    "it holds {held} bytes, and a pipe of its size ({size} bytes) to copy them into \
                     may not be made"
                );
                let remedy = format!(
                    "raise /proc/sys/fs/pipe-max-size to {size} for the dump, or run it with CAP_SYS_RESOURCE"
                );
                return Ok(Err(refusal(what, Some(remedy))));
            }
        }
        let contents = copy.take(bytes, pipe)?;
        self.state.borrow_mut().copy = Some(copy);
        Ok(Ok(contents))
    }
}

impl Contents {
    fn none() -> Self {
        Self {
            bytes: Vec::new(),
            packets: Vec::new(),
        }
    }
}

impl Copy {
    fn new() -> Result<Self> {
        let (read, write) = sys::new_pipe(OFlag::O_NONBLOCK).context(|| "making a pipe to copy into")?;
        let size = sys::size(&read).context(|| "asking for the size of a pipe")?;
        Ok(Self { read, write, size })
    }

    /// Makes room for the contents of a pipe of `size` bytes, if that is allowed.
    fn grow(&mut self, size: u32) -> Result<()> {
        if size <= self.size {
            return Ok(());
        }
        match sys::set_size(&self.write, size) {
            Ok(()) => self.size = sys::size(&self.write).context(|| "asking for the size of a pipe")?,
            // It may do all the same: the other need not be full.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno).context(|| format!("making a pipe of {size} bytes")),
        }
        Ok(())
    }

    /// Reads the `bytes` that were copied from `pipe`.
    fn take(&mut self, bytes: usize, pipe: BorrowedFd<'_>) -> Result<Contents> {
        let mut contents = Contents {
            bytes: vec![0; bytes],
            packets: Vec::new(),
        };
        let mut at = 0;
        let mut cut = false;
        while at < bytes {
            let end = bytes.min(at + CHUNK);
            let read = self
                .read
                .read(&mut contents.bytes[at..end])
                .context(|| format!("reading bytes {at} to {end} of a copy"))?;
            if read == 0 {
                return Err(Error::new(format!("the copy ended after {at} of {bytes} bytes")));
            }
            // Only at the end of a packet does a pipe give less than it has.
            cut |= read < end - at;
            at += read;
            contents.packets.push(u32::try_from(read).unwrap_or(u32::MAX));
        }
        let one = contents.packets.len() == 1 && bytes > 1 && bytes <= page_size();
        let packets = cut || one && self.is_packet(pipe)?;
        if !packets {
            contents.packets.clear();
        }
        Ok(contents)
    }

    /// Whether the only bytes of a pipe are a packet: then a short read ends it.
    fn is_packet(&mut self, pipe: BorrowedFd<'_>) -> Result<bool> {
        let what = || "looking for packets";
        let copied = sys::copy(pipe, &self.write).context(what)?;
        if copied == 0 {
            return Ok(false);
        }
        let read = self.read.read(&mut [0]).context(what)?;
        let left = sys::available(&self.read).context(what)?;
        let packet = left == 0 && copied > read;
        if left > 0 {
            self.read.read_exact(&mut vec![0; left]).context(what)?;
        }
        Ok(packet)
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf takes and returns plain numbers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn default_size() -> u64 {
    u64::from(DEFAULT_PAGES) * page_size() as u64
}

fn refusal(what: impl Into<String>, remedy: Option<String>) -> Refusal {
    Refusal {
        object: String::new(),
        what: what.into(),
        remedy,
    }
}

/// A file as the user knows it.
pub(crate) fn object(file: &FileTarget) -> String {
    let link = String::from_utf8_lossy(&file.link);
    format!("pid {}, fd {} ({link})", file.pid, file.fd)
}
