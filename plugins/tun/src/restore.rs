//! Makes devices and descriptors again: all by the coordinator, whose descriptors the tasks inherit.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::OwnedFd;

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Outcome, Progress, Result, image, restore};
use criu_proto::images::{FileEntry, TunfileEntry};
use nix::errno::Errno;
use prost::Message;

use crate::sys::{self, Request};
use crate::{DEVICES, DeviceState, FileState, link};

const PATH: &str = "/dev/net/tun";

/// The descriptors of a restore, by file id.
#[derive(Default)]
pub(crate) struct Restore {
    files: HashMap<u32, (FileState, OwnedFd)>,
    /// Ids of files whose devices were made here and would outlive them.
    persistent: Vec<u32>,
}

fn entry(file: &FileRecord) -> Result<TunfileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry.tunf.ok_or_else(|| {
        let id = file.id;
        Error::new(format!(
            "file {id} is of type TUNF but has no such entry: damaged"
        ))
    })
}

impl Restore {
    pub(crate) fn prepare(&mut self, host: &Host<'_>, files: &[FileRecord]) -> Result<()> {
        let (mut states, mut devices) = (HashMap::new(), BTreeMap::new());
        for entry in image::read_all::<crate::TunEntry>(host, &DEVICES)? {
            if let Some(file) = entry.file {
                states.insert(file.id, file);
            }
            if let Some(device) = entry.device {
                devices.insert(device.name.clone(), (device, false));
            }
        }
        for file in files {
            let entry = entry(file)?;
            let state = states.remove(&file.id).unwrap_or(FileState {
                id: file.id,
                flags: libc::O_RDWR.cast_unsigned(),
                fown: Vec::new(),
            });
            let fd = File::options().read(true).write(true).open(PATH);
            let fd = OwnedFd::from(fd.context(|| format!("opening {PATH} as file {}", file.id))?);
            self.files.insert(file.id, (state, fd));
            let Some(name) = &entry.netdev else { continue };
            let Some((device, made)) = devices.get_mut(name) else {
                let error = format!("file {}: no image describes its device {name}", file.id);
                return Err(Error::new(error));
            };
            self.attach(file.id, device, !*made, entry.detached.unwrap_or(false))
                .context(|| format!("network device {name}"))?;
            *made = true;
        }
        Ok(())
    }

    /// Attaches a descriptor to its device; the first makes that.
    fn attach(&mut self, id: u32, device: &DeviceState, first: bool, detached: bool) -> Result<()> {
        let Some((_, fd)) = self.files.get(&id) else {
            return Ok(());
        };
        let there = interface_exists(&device.name);
        if first && there && device.flags & sys::IFF_PERSIST == 0 {
            let error = Error::new("a device of this name exists");
            return Err(error.with_remedy(format!("remove it: ip link delete {}", device.name)));
        }
        let make = first && !there;
        if make && let Err(errno) = sys::set(fd, sys::TUNSETIFINDEX, device.index) {
            tracing::warn!(
                "device {}: it may get another number: {}",
                device.name,
                errno.desc()
            );
        }
        let flags = device.flags & !(sys::IFF_PERSIST | sys::IFF_DETACH_QUEUE);
        let request = |name: &str| Request::of(name).context(|| "its name");
        let mut made = request(&device.name)?.with_flags(flags).call(fd, sys::TUNSETIFF);
        if make && made == Err(Errno::EBUSY) {
            // Its number is taken; a fresh descriptor asks for none.
            let again = File::options().read(true).write(true).open(PATH);
            let again = OwnedFd::from(again.context(|| format!("opening {PATH}"))?);
            made = request(&device.name)?
                .with_flags(flags)
                .call(&again, sys::TUNSETIFF);
            if let Some(place) = self.files.get_mut(&id) {
                place.1 = again;
            }
        }
        made.context(|| format!("attaching to it with flags {flags:#x}"))?;
        let Some((_, fd)) = self.files.get(&id) else {
            return Ok(());
        };
        if make {
            if device.flags & sys::IFF_PERSIST != 0 {
                sys::set_plain(fd, sys::TUNSETPERSIST, 1).context(|| "making it persist")?;
                self.persistent.push(id);
            }
            set_up(fd, device)?;
        }
        if detached {
            request("")?
                .with_flags(sys::IFF_DETACH_QUEUE)
                .call(fd, sys::TUNSETQUEUE)
                .context(|| "detaching a queue")?;
        }
        Ok(())
    }

    pub(crate) fn open(&self, request: &OpenRequest) -> Result<Progress<Opened>> {
        let id = request.file.id;
        let held = self.files.get(&id);
        let (state, held) = held.ok_or_else(|| Error::new(format!("file {id} was not prepared")))?;
        let what = || format!("opening {PATH} as file {id}");
        let fd = held.try_clone().context(what)?;
        restore::apply_owner(&fd, &restore::fown_decode(&state.fown)?).context(what)?;
        restore::apply_flags(&fd, state.flags).context(what)?;
        Ok(Progress::Done(Opened::one(fd)))
    }

    /// After a failure devices go with their descriptors, unless they persist.
    pub(crate) fn finish(self, outcome: Outcome) {
        if outcome == Outcome::Success {
            return;
        }
        for fd in self.persistent.iter().filter_map(|id| self.files.get(id)) {
            if let Err(errno) = sys::set_plain(&fd.1, sys::TUNSETPERSIST, 0) {
                tracing::warn!("a network device stays: {}", errno.desc());
            }
        }
    }
}

fn interface_exists(name: &str) -> bool {
    !name.contains('/') && std::path::Path::new("/sys/class/net").join(name).exists()
}

fn set_up(fd: &OwnedFd, device: &DeviceState) -> Result<()> {
    if device.flags & sys::IFF_VNET_HDR != 0 {
        sys::set(fd, sys::TUNSETVNETHDRSZ, device.header).context(|| "setting the length of its header")?;
    }
    if i32::try_from(device.send_buffer).is_ok_and(|size| size > 0) {
        sys::set(fd, sys::TUNSETSNDBUF, device.send_buffer).context(|| "setting its send buffer")?;
    }
    if device.owner != -1 {
        sys::set_plain(fd, sys::TUNSETOWNER, device.owner.cast_unsigned()).context(|| "setting its owner")?;
    }
    if device.group != -1 {
        sys::set_plain(fd, sys::TUNSETGROUP, device.group.cast_unsigned()).context(|| "setting its group")?;
    }
    link::write(device)
}
