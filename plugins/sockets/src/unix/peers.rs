//! The peers of the sockets that were dumped: in the tree, or outside of it with the user's leave.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use criu_plugin_api::message::{FileImage, FileTarget};
use criu_plugin_api::{Context, Error, Host, Refusal, Result, restore};
use criu_proto::images::UnixSkEntry;

use super::diag::{UnixSocket, kernel_device};
use super::dump::{Dumped, Seen, path_of, record, show};
use super::{EXTERNAL, Unix};
use crate::external::External;
use crate::{extra, sockopt, sys};

impl Unix {
    /// Every peer must be in the tree, or be allowed to be elsewhere.
    pub(super) fn finish(&self, host: &Host<'_>) -> Result<()> {
        let dumped = std::mem::take(&mut self.seen().dumped);
        let external = External::read(host)?;
        for (ino, this) in &dumped {
            self.check_peer(host, &dumped, &external, *ino, this)?;
        }
        self.save_waiting(host, &dumped)?;
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
        if peer.ino == 0 || dumped.contains_key(&peer.ino) {
            return Ok(());
        }
        if external.unix(ino) || external.unix(peer.ino) {
            return Ok(());
        }
        let datagram = i32::from(socket.kind) == libc::SOCK_DGRAM;
        if datagram && !peer.name.is_empty() && is_accepted(host, ino, peer.ino)? {
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
            .context(|| format!("{}: writing down its peer", this.object))?;
        Ok(())
    }
}

/// The entry of a socket outside of the tree.
pub(super) fn external_entry(file: &FileTarget, socket: &UnixSocket) -> Result<FileImage> {
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
    Err(Error::refused(format!(
        "the unix socket outside is bound to the relative name {}, which leads nowhere from {}",
        show(&socket.name),
        cwd.display()
    )))
}

/// Who holds a socket outside of the tree, as far as /proc tells.
pub(super) fn owner(ino: u32) -> String {
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

/// Whether `--ext-unix-sk` accepts this socket with its other end outside: any, or one of those listed.
fn is_accepted(host: &Host<'_>, ino: u32, peer: u32) -> Result<bool> {
    if !host.flag("ext-unix-sk")? {
        return Ok(false);
    }
    let listed = host.settings("ext-unix-sk-inodes")?;
    let is_listed = |text: &String| [ino, peer].iter().any(|ino| text.parse() == Ok(*ino));
    Ok(listed.is_empty() || listed.iter().any(is_listed))
}
