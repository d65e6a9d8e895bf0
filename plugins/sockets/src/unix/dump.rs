//! Saves unix sockets.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::image::{self, ImageWriter};
use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Refusal, Result, Verdict, restore};
use criu_proto::images::{FdTypes, FileEntry, FilePermsEntry, ScmEntry, SkPacketEntry, UnixSkEntry};
use criu_proto::{Message, magic};

use super::diag::{Table, UnixSocket, kernel_device};
use super::{ESTABLISHED, EXTERNAL, LISTEN, Unix, queue};
use crate::external::External;
use crate::extra::{self, Credentials, Extra, PacketExtra, Sort};
use crate::netlink::Netlink;
use crate::{netns, sockopt, sys};

/// What a dump has learnt so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The sockets of each network namespace, by the inode of the namespace.
    tables: HashMap<u64, Table>,
    /// The sockets dumped, by inode.
    dumped: HashMap<u32, Dumped>,
    /// Sockets outside of the tree that are being written down: their inode by that of the socket
    /// which stands in for them.
    standing_in: HashMap<u64, UnixSocket>,
    /// `sk-queues.img`, once there is something to write.
    queues: Option<ImageWriter<BufWriter<File>>>,
    /// What has no place in the other images.
    extras: Vec<Extra>,
}

/// What later checks need to know of a socket that has been dumped.
#[derive(Clone)]
struct Dumped {
    object: String,
    namespace: u64,
    pid: i32,
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
        if let Some(refusal) = self.refuse(host, &socket, listener, object)? {
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
        bound_file(file, &socket, &mut entry)?;
        let dumped = Dumped {
            object: object.to_owned(),
            namespace: namespace.ino,
            pid: file.pid,
        };
        self.seen().dumped.insert(ino, dumped);
        let mut extra = Extra {
            id: file.id,
            options: extra::options(fd, sort(entry.r#type))?,
            packets: Vec::new(),
            peer: peer_of(file, &socket)?,
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

    /// Every peer must be in the tree, or be allowed to be elsewhere.
    pub(super) fn finish(&self, host: &Host<'_>) -> Result<()> {
        let dumped = std::mem::take(&mut self.seen().dumped);
        let external = External::read(host)?;
        for (ino, this) in &dumped {
            self.check_peer(host, &dumped, &external, *ino, this)?;
        }
        let mut seen = self.seen();
        if let Some(image) = seen.queues.take() {
            image.finish()?;
        }
        extra::write(host, &extra::UNIX, &seen.extras)?;
        *seen = Seen::default();
        Ok(())
    }

    fn check_peer(
        &self,
        host: &Host<'_>,
        dumped: &HashMap<u32, Dumped>,
        external: &External,
        ino: u32,
        this: &Dumped,
    ) -> Result<()> {
        let (socket, peer) = {
            let seen = self.seen();
            let Some(table) = seen.tables.get(&this.namespace) else {
                return Ok(());
            };
            let Some(socket) = table.get(ino).cloned() else {
                return Ok(());
            };
            let peer = table.listener_of(ino).or(socket.peer).unwrap_or(0);
            let peer = table.get(peer).cloned().unwrap_or(UnixSocket {
                ino: peer,
                ..UnixSocket::default()
            });
            (socket, peer)
        };
        for &waiting in socket
            .waiting
            .iter()
            .filter(|&&w| w != 0 && !dumped.contains_key(&w))
        {
            if !host.flag("skip-in-flight")? {
                return Err(Refusal {
                    object: this.object.clone(),
                    what: format!(
                        "a connection waits to be accepted; its other end {waiting} {}",
                        owner(waiting)
                    ),
                    remedy: Some("--skip-in-flight drops such connections".to_owned()),
                }
                .into());
            }
        }
        if peer.ino == 0 || dumped.contains_key(&peer.ino) {
            return check_direction(&socket, &peer, this);
        }
        if external.unix(ino) || external.unix(peer.ino) {
            return Ok(());
        }
        let datagram = i32::from(socket.kind) == libc::SOCK_DGRAM;
        if datagram && !peer.name.is_empty() && host.flag("ext-unix-sk")? {
            return self.dump_outside(host, this, peer);
        }
        let remedy = if datagram && !peer.name.is_empty() {
            format!("--ext-unix-sk connects it to {} again", show(&peer.name))
        } else {
            format!("--external unix[{}] lets its other end be lost", peer.ino)
        };
        Err(Refusal {
            object: this.object.clone(),
            what: format!(
                "is connected to unix socket {} ({}), which {}",
                peer.ino,
                show(&peer.name),
                owner(peer.ino)
            ),
            remedy: Some(remedy),
        }
        .into())
    }

    /// Writes an entry for a socket outside of the tree, so that a restore knows its name. It is given
    /// to the host as a socket of ours, which comes back to [`Unix::dump_one`].
    fn dump_outside(&self, host: &Host<'_>, this: &Dumped, peer: UnixSocket) -> Result<()> {
        if !self.outside.borrow_mut().insert(peer.ino) {
            return Ok(());
        }
        let stand_in: OwnedFd =
            sys::socket(libc::AF_UNIX, peer.kind.into(), 0).context(|| "making a socket")?;
        let ino = File::from(stand_in.as_fd().try_clone_to_owned().context(|| "dup")?)
            .metadata()
            .context(|| "fstat")?
            .ino();
        self.seen().standing_in.insert(ino, peer);
        host.dump_file(this.pid, &stand_in)
            .context(|| "writing down its peer")?;
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

/// A datagram socket that is connected to an unnamed one which is connected elsewhere cannot be made
/// again: there is no name to connect to.
fn check_direction(socket: &UnixSocket, peer: &UnixSocket, this: &Dumped) -> Result<()> {
    let lost = i32::from(socket.kind) == libc::SOCK_DGRAM
        && peer.ino != 0
        && peer.name.is_empty()
        && peer.peer != Some(socket.ino);
    if !lost {
        return Ok(());
    }
    let what = format!(
        "is connected to the unnamed unix socket {}, which is connected elsewhere",
        peer.ino
    );
    Err(Refusal {
        object: this.object.clone(),
        what,
        remedy: None,
    }
    .into())
}

pub(super) fn sort(kind: u32) -> Sort {
    Sort {
        family: libc::AF_UNIX,
        kind: kind.cast_signed(),
        protocol: 0,
    }
}

fn record(entry: &UnixSkEntry) -> FileImage {
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

fn external_entry(file: &FileTarget, socket: &UnixSocket) -> Result<FileImage> {
    let mut opts = sockopt::dump(file.local_fd)?;
    (opts.so_passcred, opts.so_passsec) = (Some(false), Some(false));
    let mut directory = None;
    if !matches!(socket.name.first(), None | Some(0 | b'/')) {
        directory = Some(working_directory(file.pid, socket)?);
    }
    Ok(record(&UnixSkEntry {
        id: file.id,
        ino: socket.ino,
        r#type: socket.kind.into(),
        state: super::CLOSE.into(),
        flags: libc::O_RDWR.cast_unsigned(),
        uflags: EXTERNAL,
        fown: restore::fown_decode(&file.fown)?,
        opts,
        name: socket.name.clone(),
        name_dir: directory,
        ..UnixSkEntry::default()
    }))
}

/// The working directory of our process, if the relative name leads from there to the socket outside.
fn working_directory(pid: i32, socket: &UnixSocket) -> Result<Vec<u8>> {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).context(|| "the working directory")?;
    let path = cwd.join(std::ffi::OsStr::from_bytes(path_of(&socket.name)));
    let found = std::fs::symlink_metadata(&path).ok();
    if found.is_some_and(|m| {
        socket.file
            == u32::try_from(m.ino())
                .ok()
                .map(|ino| (ino, kernel_device(m.dev())))
    }) {
        return Ok(cwd.into_os_string().into_vec());
    }
    Err(Error::new(format!(
        "the unix socket outside is bound to the relative name {}, which leads nowhere from {}",
        show(&socket.name),
        cwd.display()
    )))
}

/// The owner, mode and directory of the file that a socket is bound to.
fn bound_file(file: &FileTarget, socket: &UnixSocket, entry: &mut UnixSkEntry) -> Result<()> {
    let Some(first) = socket.name.first() else {
        return Ok(());
    };
    if *first == 0 {
        return Ok(());
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
    if meta.nlink() == 0 || !here(full) {
        entry.deleted = Some(true);
    }
    Ok(())
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

/// Who holds a socket outside of the tree, as far as /proc tells.
fn owner(ino: u32) -> String {
    let wanted = format!("socket:[{ino}]");
    let Ok(all) = std::fs::read_dir("/proc") else {
        return "is not in the tree".to_owned();
    };
    for process in all.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for fd in fds.flatten() {
            if std::fs::read_link(fd.path()).is_ok_and(|l| l.as_os_str() == wanted.as_str()) {
                let comm = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return format!("is not in the tree (process {pid}, {})", comm.trim_end());
            }
        }
    }
    "is not in the tree (no process holds it any more, or it waits to be accepted)".to_owned()
}
