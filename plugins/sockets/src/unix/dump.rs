//! Saves unix sockets.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::image::{self, ImageWriter};
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, restore};
use criu_proto::images::{FdTypes, FileEntry, FilePermsEntry, ScmEntry, SkPacketEntry, UnixSkEntry};
use criu_proto::{Message, magic};

use super::diag::{Table, UnixSocket, kernel_device};
use super::peers::external_entry;
use super::{ESTABLISHED, LISTEN, Unix, queue};
use crate::extra::{self, Credentials, Extra, PacketExtra, Sort};
use crate::netlink::Netlink;
use crate::{netns, sockopt, sys};

/// What a dump has learnt so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The sockets of each network namespace, by the inode of the namespace.
    pub(super) tables: HashMap<u64, Table>,
    /// The sockets dumped, by inode.
    pub(super) dumped: HashMap<u32, Dumped>,
    /// Sockets outside of the tree that are being written down: their inode by that of the socket
    /// which stands in for them.
    pub(super) standing_in: HashMap<u64, UnixSocket>,
    /// `sk-queues.img`, once there is something to write.
    pub(super) queues: Option<ImageWriter<BufWriter<File>>>,
    /// What has no place in the other images.
    pub(super) extras: Vec<Extra>,
}

/// What later checks need to know of a socket that has been dumped.
#[derive(Clone)]
pub(super) struct Dumped {
    pub(super) object: String,
    pub(super) namespace: u64,
    pub(super) pid: i32,
}

/// The socket as the user knows it.
fn object(file: &FileTarget) -> String {
    let place = if file.fd >= 0 {
        format!("fd {}", file.fd)
    } else {
        "a queued descriptor".to_owned()
    };
    format!("pid {} {place}: unix socket {}", file.pid, file.ino)
}

/// A name of a unix socket as ss(8) shows it.
pub(crate) fn show(name: &[u8]) -> String {
    match name.split_first() {
        None => "(unnamed)".to_owned(),
        Some((0, rest)) => format!("@{}", String::from_utf8_lossy(rest)),
        Some(_) => String::from_utf8_lossy(path_of(name)).into_owned(),
    }
}

/// A path without the NUL that ends it in `sun_path`.
pub(crate) fn path_of(name: &[u8]) -> &[u8] {
    name.split(|&b| b == 0).next().unwrap_or(name)
}

impl Unix {
    pub(super) fn dump_one(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let outside = self.seen().standing_in.remove(&file.ino);
        if let Some(outside) = outside {
            return external_entry(file, &outside).map(Verdict::Entry);
        }
        let object = object(file);
        self.dump_socket(host, file, &object)
            .context(|| format!("dumping {object}"))
    }

    fn dump_socket(&self, host: &Host<'_>, file: &FileTarget, object: &str) -> Result<Verdict<FileImage>> {
        let fd = file.local_fd;
        let namespace = netns::of_socket(fd, file.pid, host)?;
        self.collect(&namespace)?;
        let ino = u32::try_from(file.ino).map_err(|_| Error::new("an inode number over 32 bits"))?;
        let (socket, listener) = {
            let seen = self.seen();
            let table = seen.tables.get(&namespace.ino);
            let socket = table.and_then(|t| t.get(ino)).cloned();
            let socket = socket.ok_or_else(|| Error::new("sock_diag does not know the socket"))?;
            (socket, table.and_then(|t| t.listener_of(ino)))
        };
        if let Some(refusal) = self.refuse(host, fd, &socket, listener, object)? {
            return Ok(Verdict::Refused(refusal));
        }
        let mut opts = sockopt::dump(fd)?;
        let (passcred, passsec) = sockopt::pass_options(fd)?;
        (opts.so_passcred, opts.so_passsec) = (Some(passcred), Some(passsec));
        let mut entry = UnixSkEntry {
            id: file.id,
            ino,
            r#type: socket.kind.into(),
            state: socket.state.into(),
            flags: file.flags,
            uflags: 0,
            backlog: socket.unsent,
            peer: listener.or(socket.peer).unwrap_or(0),
            fown: restore::fown_decode(&file.fown)?,
            opts,
            name: socket.name.clone(),
            shutdown: (socket.shutdown != 0).then_some(i32::from(socket.shutdown)),
            ns_id: Some(namespace.id),
            ..UnixSkEntry::default()
        };
        if let Some(what) = bound_file(file, &socket, &mut entry)? {
            return Ok(Verdict::refused(object, what));
        }
        let dumped = Dumped {
            object: object.to_owned(),
            namespace: namespace.ino,
            pid: file.pid,
        };
        self.seen().dumped.insert(ino, dumped);
        let mut extra = Extra {
            id: file.id,
            options: extra::options(fd, sort(entry.r#type))?,
            peer: peer_of(file, &socket)?,
            ..Extra::default()
        };
        if socket.state != LISTEN {
            extra.packets = self
                .dump_queue(host, file, &socket)
                .context(|| "reading its queue")?;
        }
        if !extra.options.is_empty() || !extra.packets.is_empty() || extra.peer.is_some() {
            self.seen().extras.push(extra);
        }
        Ok(Verdict::Entry(record(&entry)))
    }

    /// Asks for all sockets of a namespace, the first time.
    fn collect(&self, namespace: &netns::Namespace) -> Result<()> {
        if self.seen().tables.contains_key(&namespace.ino) {
            return Ok(());
        }
        let table = namespace
            .within(|| Table::collect(&Netlink::open(libc::NETLINK_SOCK_DIAG)?))
            .context(|| "listing the unix sockets (sock_diag)")?;
        self.seen().tables.insert(namespace.ino, table);
        Ok(())
    }

    /// States that cannot be saved.
    fn refuse(
        &self,
        host: &Host<'_>,
        fd: i32,
        socket: &UnixSocket,
        listener: Option<u32>,
        object: &str,
    ) -> Result<Option<Refusal>> {
        let refuse = |what: String, remedy: Option<&str>| {
            Ok(Some(Refusal {
                object: object.to_owned(),
                what,
                remedy: remedy.map(str::to_owned),
            }))
        };
        if listener.is_some() && socket.unsent > 0 && !host.flag("skip-in-flight")? {
            return refuse(
                "has sent data over a connection that is not accepted yet".to_owned(),
                Some("--skip-in-flight drops such connections; or dump a moment later"),
            );
        }
        let urgent = sys::poll(fd, libc::POLLPRI, 0).context(|| "poll")? & libc::POLLPRI != 0;
        if i32::from(socket.kind) == libc::SOCK_STREAM && urgent {
            return refuse(
                "has urgent data (MSG_OOB) in its queue: not supported".to_owned(),
                None,
            );
        }
        if socket.state == LISTEN && socket.waiting.contains(&0) && !host.flag("skip-in-flight")? {
            return refuse(
                "has a connection to be accepted whose other end is closed".to_owned(),
                Some("--skip-in-flight drops such connections; or dump a moment later"),
            );
        }
        Ok(None)
    }

    /// Writes what is in the queue, and returns what the common format has no place for.
    fn dump_queue(
        &self,
        host: &Host<'_>,
        file: &FileTarget,
        socket: &UnixSocket,
    ) -> Result<Vec<PacketExtra>> {
        let kind = i32::from(socket.kind);
        let (stream, datagram) = (kind == libc::SOCK_STREAM, kind == libc::SOCK_DGRAM);
        if socket.state != ESTABLISHED && !datagram
            || sys::poll(file.local_fd, libc::POLLIN, 0).context(|| "poll")? & libc::POLLIN == 0
        {
            return Ok(Vec::new());
        }
        let found = sys::poll(file.local_fd, libc::POLLERR, 0).context(|| "poll")?;
        if socket.unread == 0 && stream && found & libc::POLLERR != 0 {
            // There is nothing but an error, which is told only once.
            return Ok(Vec::new());
        }
        // Without this, a killed dump would leave the position in the queue behind.
        crate::undo::peek_offset(host, file);
        let packets =
            queue::peek(file.local_fd, stream, socket.unread).context(|| "peeking (SO_PEEK_OFF)")?;
        let mut extras = Vec::new();
        for (index, packet) in (0..).zip(packets) {
            self.write_packet(host, file, &packet)?;
            let from = if datagram { packet.from } else { Vec::new() };
            if !from.is_empty() || packet.credentials.is_some() {
                extras.push(PacketExtra {
                    index,
                    from,
                    credentials: packet.credentials,
                });
            }
        }
        Ok(extras)
    }

    fn write_packet(&self, host: &Host<'_>, file: &FileTarget, packet: &queue::Packet) -> Result<()> {
        let mut rights = Vec::with_capacity(packet.rights.len());
        for fd in &packet.rights {
            rights.push(
                host.dump_file(file.pid, fd)
                    .context(|| "saving a descriptor that travels in it")?,
            );
        }
        let length = u32::try_from(packet.data.len()).map_err(|_| Error::new("a packet of 4 GiB"))?;
        let scm = if rights.is_empty() {
            Vec::new()
        } else {
            vec![ScmEntry {
                r#type: libc::SCM_RIGHTS.cast_unsigned(),
                rights,
            }]
        };
        let entry = SkPacketEntry {
            id_for: file.id,
            length,
            scm,
        };
        let mut seen = self.seen();
        if seen.queues.is_none() {
            seen.queues = Some(image::create(host, &magic::SK_QUEUES)?);
        }
        let Some(image) = seen.queues.as_mut() else {
            return Err(Error::new("sk-queues.img is not open"));
        };
        image.entry(&entry)?;
        image.payload(&packet.data)?;
        Ok(())
    }
}

/// Whom a socket takes its peer for, unless that is root.
fn peer_of(file: &FileTarget, socket: &UnixSocket) -> Result<Option<Credentials>> {
    if ![ESTABLISHED, LISTEN].contains(&socket.state) {
        return Ok(None);
    }
    let (pid, uid, gid) = sys::peer_credentials(file.local_fd).context(|| "SO_PEERCRED")?;
    // Datagram sockets that were connected by name have none.
    let known = uid != u32::MAX && (uid, gid) != (0, 0);
    Ok(known.then_some(Credentials { pid, uid, gid }))
}

pub(super) fn sort(kind: u32) -> Sort {
    Sort {
        family: libc::AF_UNIX,
        kind: kind.cast_signed(),
        protocol: 0,
    }
}

pub(super) fn record(entry: &UnixSkEntry) -> FileImage {
    let file = FileEntry {
        r#type: FdTypes::Unixsk as i32,
        id: entry.id,
        usk: Some(entry.clone()),
        ..FileEntry::default()
    };
    FileImage {
        fd_type: FdTypes::Unixsk as u32,
        entry: file.encode_to_vec(),
        ..FileImage::default()
    }
}

/// The owner, mode and directory of the file that a socket is bound to; or why it cannot be saved.
fn bound_file(file: &FileTarget, socket: &UnixSocket, entry: &mut UnixSkEntry) -> Result<Option<String>> {
    let Some(first) = socket.name.first() else {
        return Ok(None);
    };
    if *first == 0 {
        return Ok(None);
    }
    let handle = sys::bound_file(file.local_fd).context(|| {
        format!(
            "opening the file {} that it is bound to (SIOCUNIXFILE)",
            show(&socket.name)
        )
    })?;
    let handle = File::from(handle);
    let meta = handle
        .metadata()
        .context(|| format!("fstat of {}", show(&socket.name)))?;
    entry.file_perms = Some(FilePermsEntry {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
    });
    let link = std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        .context(|| format!("where {} lies", show(&socket.name)))?
        .into_os_string()
        .into_vec();
    let gone = link.strip_suffix(b" (deleted)").filter(|_| meta.nlink() == 0);
    let full = gone.unwrap_or(&link);
    let name = path_of(&socket.name);
    if *first != b'/' {
        entry.name_dir = Some(directory_of(full, name, file.pid)?);
    }
    // The name may lead to another file by now.
    let here = |path: &[u8]| {
        std::fs::symlink_metadata(std::ffi::OsStr::from_bytes(path))
            .is_ok_and(|m| m.ino() == meta.ino() && kernel_device(m.dev()) == kernel_device(meta.dev()))
    };
    if meta.nlink() > 0 && !here(full) && link.ends_with(b" (deleted)") {
        return Ok(Some(format!(
            "its file has lost the name {} but not its others: not supported",
            show(&socket.name)
        )));
    }
    if meta.nlink() == 0 || !here(full) {
        entry.deleted = Some(true);
    } else if !here(super::bind::path(entry).as_os_str().as_bytes()) {
        return Ok(Some(format!(
            "its file lies at {}, where its name {} does not lead: not supported",
            String::from_utf8_lossy(full),
            show(&socket.name)
        )));
    }
    Ok(None)
}

/// The directory in which the relative `name` leads to `full`.
fn directory_of(full: &[u8], name: &[u8], pid: i32) -> Result<Vec<u8>> {
    if let Some(directory) = full.strip_suffix(name).and_then(|d| d.strip_suffix(b"/")) {
        return Ok(if directory.is_empty() {
            b"/".to_vec()
        } else {
            directory.to_vec()
        });
    }
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).context(|| "the working directory")?;
    Ok(cwd.into_os_string().into_vec())
}
