//! Saves descriptors, and each device once.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use criu_plugin_api::message::{FileImage, FileTarget, Purpose};
use criu_plugin_api::{Context, Error, Host, Result, Verdict, image};
use criu_proto::images::{FdTypes, FileEntry, TunfileEntry};
use nix::errno::Errno;
use prost::Message;

use crate::sys::{self, Request};
use crate::{DEVICES, DeviceState, FileState, TunEntry, link};

/// The descriptors and devices of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    known: HashSet<String>,
    entries: Vec<TunEntry>,
}

impl Dump {
    pub(crate) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        if !matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight) {
            return Ok(Verdict::NotMine);
        }
        let object = || format!("pid {}, fd {}, /dev/net/tun", file.pid, file.fd);
        // SAFETY: the host keeps `local_fd` open during this call.
        let local = unsafe { BorrowedFd::borrow_raw(file.local_fd) };
        let mut request = Request::of("").context(object)?;
        let attached = match request.call(local, sys::TUNGETIFF) {
            Ok(()) => Some(request.name()),
            Err(Errno::EBADFD) => None,
            // O_PATH: a path and no more.
            Err(Errno::EBADF) => return Ok(Verdict::NotMine),
            Err(errno) => return Err(errno).context(|| format!("{}: asking for its device", object())),
        };
        let detached = request.flags() & sys::IFF_DETACH_QUEUE != 0;
        if let Some(name) = &attached
            && sys::has_unread(local).context(object)?
        {
            tracing::warn!(
                "{}, device {name}: packets that wait to be read are not saved",
                object()
            );
        }
        if let Some(name) = &attached
            && !self.known.contains(name)
        {
            let named = || format!("{}, device {name}", object());
            if sys::filter_length(local) != 0 {
                let what = "it has a filter (TUNATTACHFILTER), which the kernel does not tell";
                return Ok(Verdict::refused(named(), what));
            }
            let device = device(local, name).context(named)?;
            if let Some(master) = master(name) {
                tracing::warn!("{}: that it belongs to device {master} is not saved", named());
            }
            self.entries.push(TunEntry {
                file: None,
                device: Some(device),
            });
            self.known.insert(name.clone());
        }
        self.entries.push(TunEntry {
            file: Some(FileState {
                id: file.id,
                flags: file.flags,
                fown: file.fown.clone(),
            }),
            device: None,
        });
        let entry = TunfileEntry {
            id: file.id,
            detached: attached.is_some().then_some(detached),
            netdev: attached,
            ns_id: Some(host.namespace_id(file.pid, "net")?),
        };
        let entry = FileEntry {
            r#type: FdTypes::Tunf as i32,
            id: file.id,
            tunf: Some(entry),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Tunf as u32,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut writer = image::create(host, &DEVICES)?;
        for entry in &self.entries {
            writer.entry(entry)?;
        }
        writer.finish()?;
        Ok(())
    }
}

fn device(local: BorrowedFd<'_>, name: &str) -> Result<DeviceState> {
    let mut device = DeviceState {
        name: name.to_owned(),
        flags: attribute(name, "tun_flags")?,
        owner: attribute(name, "owner")?.cast_signed(),
        group: attribute(name, "group")?.cast_signed(),
        send_buffer: sys::get(local, sys::TUNGETSNDBUF).context(|| "asking for its send buffer")?,
        header: sys::get(local, sys::TUNGETVNETHDRSZ).context(|| "asking for the length of its header")?,
        ..DeviceState::default()
    };
    link::read(&mut device)?;
    Ok(device)
}

/// The device to which one belongs, such as a bridge.
fn master(name: &str) -> Option<String> {
    let master = std::fs::read_link(format!("/sys/class/net/{name}/master")).ok()?;
    Some(master.file_name()?.to_string_lossy().into_owned())
}

/// A number in sysfs, hexadecimal or decimal.
fn attribute(name: &str, attribute: &str) -> Result<u32> {
    let path = format!("/sys/class/net/{name}/{attribute}");
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    let text = text.trim();
    let value = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    // -1 and the largest number are the same user to the kernel.
    let value = value.map(|value| (value & i64::from(u32::MAX)) as u32);
    value.ok_or_else(|| Error::new(format!("{path}: {text:?} is no number")))
}
