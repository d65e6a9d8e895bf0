//! Saves unix sockets.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use criu_plugin_api::image::{self, ImageWriter};
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Result, Verdict, restore};
use criu_proto::images::{FdTypes, FileEntry, ScmEntry, SkPacketEntry, UnixSkEntry};
use criu_proto::{Message, magic};

use super::diag::{Table, UnixSocket};
use super::peers::external_entry;
use super::{ESTABLISHED, LISTEN, Unix, name, queue};
use crate::descriptor::Owner;
use crate::extra::{self, Credentials, Extra, Groups, PacketExtra, Sort};
use crate::netlink::Netlink;
use crate::{descriptor, netns, sockopt, sys};

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
    /// The id of its file, and its inode.
    pub(super) id: u32,
    pub(super) ino: u32,
    /// Of a listening socket with connections that wait: a copy.
    pub(super) listener: Option<Rc<OwnedFd>>,
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
        descriptor::verdict(self.dump_socket(host, file, &object), &object)
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
        let place = match name::look(file, netns::host_pid(host, file.pid)?, &mut entry)? {
            Ok(place) => place,
            Err(what) => return Ok(Verdict::refused(object, what)),
        };
        let found = sys::poll(fd, libc::POLLERR, 0).context(|| "poll")?;
        let dumped = Dumped {
            object: object.to_owned(),
            namespace: namespace.ino,
            pid: file.pid,
            id: file.id,
            ino,
            listener: listener_copy(fd, &socket)?,
        };
        self.seen().dumped.insert(ino, dumped);
        let datagram = i32::from(socket.kind) == libc::SOCK_DGRAM;
        let mut extra = Extra {
            id: file.id,
            options: extra::options(fd, sort(entry.r#type))?,
            peer: peer_of(host, file, &socket)?,
            peer_groups: if [ESTABLISHED, LISTEN].contains(&socket.state) {
                peer_groups(fd)?
            } else {
                None
            },
            // The only error that a unix socket keeps.
            error: (found & libc::POLLERR != 0).then_some(libc::ECONNRESET),
            place,
            lost_peer: datagram && socket.peer == Some(0),
            owner: Owner::of(file),
            ..Extra::default()
        };
        if socket.state != LISTEN {
            extra.packets = self
                .dump_queue(host, file, &socket)
                .context(|| "reading its queue")?;
        }
        if extra
            != (Extra {
                id: file.id,
                ..Extra::default()
            })
        {
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
        let found = sys::poll(file.local_fd, libc::POLLERR | libc::POLLPRI, 0).context(|| "poll")?;
        if socket.unread == 0 && found & libc::POLLERR != 0 {
            // There is nothing but an error, which is told only once.
            return Ok(Vec::new());
        }
        // Without this, a killed dump would leave the position in the queue behind.
        crate::undo::peek_offset(host, file);
        let what = queue::Queue {
            stream,
            unread: socket.unread,
            failed: found & libc::POLLERR != 0,
            urgent: stream && found & libc::POLLPRI != 0,
        };
        let packets = queue::peek(file.local_fd, what).context(|| "peeking (SO_PEEK_OFF)")?;
        let mut extras = Vec::new();
        for (index, packet) in (0..).zip(packets) {
            self.write_packet(host, file, &packet)?;
            let from = if datagram { packet.from } else { Vec::new() };
            let credentials = packet.credentials.map(|c| in_image(host, c)).transpose()?;
            if !from.is_empty() || credentials.is_some() || packet.urgent {
                extras.push(PacketExtra {
                    index,
                    from,
                    credentials,
                    urgent: packet.urgent,
                });
            }
        }
        Ok(extras)
    }

    fn write_packet(&self, host: &Host<'_>, file: &FileTarget, packet: &queue::Packet) -> Result<()> {
        let rights = save_rights(host, file.pid, packet)?;
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

/// Saves the descriptors that travel with a packet; their ids.
pub(super) fn save_rights(host: &Host<'_>, pid: i32, packet: &queue::Packet) -> Result<Vec<u32>> {
    let one = |fd| {
        host.dump_file(pid, fd)
            .context(|| "saving a descriptor that travels in it")
    };
    packet.rights.iter().map(one).collect()
}

/// Whom a socket takes its peer for, unless that is root as the process that holds it.
fn peer_of(host: &Host<'_>, file: &FileTarget, socket: &UnixSocket) -> Result<Option<Credentials>> {
    if ![ESTABLISHED, LISTEN].contains(&socket.state) {
        return Ok(None);
    }
    let (pid, uid, gid) = sys::peer_credentials(file.local_fd).context(|| "SO_PEERCRED")?;
    // Datagram sockets that were connected by name have none.
    if uid == u32::MAX {
        return Ok(None);
    }
    let peer = in_image(host, Credentials { pid, uid, gid })?;
    Ok(Some(peer).filter(|&peer| {
        peer != Credentials {
            pid: file.pid,
            uid: 0,
            gid: 0,
        }
    }))
}

/// The groups of whom a socket takes its peer for, unless they are those of this process.
pub(super) fn peer_groups(fd: i32) -> Result<Option<Groups>> {
    thread_local! {
        static OWN: std::io::Result<Vec<u32>> = sys::own_groups();
    }
    let ids = match sys::peer_groups(fd) {
        // Before Linux 4.13, and of datagram sockets that were connected by name.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOPROTOOPT | libc::ENODATA)) => return Ok(None),
        ids => ids.context(|| "SO_PEERGROUPS")?,
    };
    let is_own = OWN.with(|own| own.as_ref().is_ok_and(|own| *own == ids));
    Ok((!is_own).then_some(Groups { ids }))
}

/// Credentials as this process sees them, with the pid that the image has.
pub(super) fn in_image(host: &Host<'_>, seen: Credentials) -> Result<Credentials> {
    let tasks = host.tasks()?;
    let task = tasks
        .iter()
        .find(|task| task.host_pid == seen.pid && seen.pid != 0);
    Ok(Credentials {
        pid: task.map_or(seen.pid, |task| task.pid),
        ..seen
    })
}

/// Connections that wait are looked at in the end.
fn listener_copy(fd: i32, socket: &UnixSocket) -> Result<Option<Rc<OwnedFd>>> {
    if socket.state != LISTEN || socket.waiting.is_empty() {
        return Ok(None);
    }
    sys::dup(fd)
        .map(Rc::new)
        .map(Some)
        .context(|| "copying a listening socket")
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
