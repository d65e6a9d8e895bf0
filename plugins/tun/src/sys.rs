//! The ioctls of `/dev/net/tun` and of network interfaces.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// `IFNAMSIZ`.
const NAME: usize = 16;

/// Commands of linux/if_tun.h.
pub(crate) const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
pub(crate) const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
pub(crate) const TUNSETOWNER: libc::c_ulong = 0x4004_54cc;
pub(crate) const TUNSETGROUP: libc::c_ulong = 0x4004_54ce;
pub(crate) const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
pub(crate) const TUNGETSNDBUF: libc::c_ulong = 0x8004_54d3;
pub(crate) const TUNSETSNDBUF: libc::c_ulong = 0x4004_54d4;
pub(crate) const TUNGETVNETHDRSZ: libc::c_ulong = 0x8004_54d7;
pub(crate) const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
pub(crate) const TUNSETQUEUE: libc::c_ulong = 0x4004_54d9;
pub(crate) const TUNSETIFINDEX: libc::c_ulong = 0x4004_54da;
pub(crate) const TUNGETFILTER: libc::c_ulong = 0x8010_54db;

/// Flags of linux/if_tun.h.
pub(crate) const IFF_TAP: u32 = 2;
pub(crate) const IFF_DETACH_QUEUE: u32 = 0x0400;
pub(crate) const IFF_PERSIST: u32 = 0x0800;
pub(crate) const IFF_VNET_HDR: u32 = 0x4000;

/// `struct ifreq`: a name, and a union.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Request {
    name: [u8; NAME],
    pub(crate) data: [u8; 24],
}

impl Request {
    /// For a device.
    pub(crate) fn of(name: &str) -> nix::Result<Self> {
        let mut request = Self {
            name: [0; NAME],
            data: [0; 24],
        };
        if name.len() >= NAME || name.bytes().any(|byte| byte == 0) {
            return Err(Errno::EINVAL);
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    pub(crate) fn name(&self) -> String {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        String::from_utf8_lossy(&self.name[..length]).into_owned()
    }

    /// `ifr_flags`.
    pub(crate) fn flags(&self) -> u32 {
        u32::from(u16::from_ne_bytes([self.data[0], self.data[1]]))
    }

    #[must_use]
    pub(crate) fn with_flags(mut self, flags: u32) -> Self {
        self.data[..2].copy_from_slice(&(flags as u16).to_ne_bytes());
        self
    }

    /// `ifr_ifindex`, `ifr_mtu`, `ifr_qlen`.
    pub(crate) fn number(&self) -> u32 {
        u32::from_ne_bytes([self.data[0], self.data[1], self.data[2], self.data[3]])
    }

    #[must_use]
    pub(crate) fn with_number(mut self, number: u32) -> Self {
        self.data[..4].copy_from_slice(&number.to_ne_bytes());
        self
    }

    /// Makes a call that reads or writes the request.
    pub(crate) fn call(&mut self, fd: impl AsFd, command: libc::c_ulong) -> nix::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: the commands that are used with it take a `struct ifreq`, which this is.
        Errno::result(unsafe { libc::ioctl(fd, command, std::ptr::from_mut(self)) }).map(drop)
    }
}

/// A command that reads a number.
pub(crate) fn get(fd: impl AsFd, command: libc::c_ulong) -> nix::Result<u32> {
    let mut value = 0_u32;
    // SAFETY: the commands that are used with it write one int, for which there is room.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), command, &raw mut value) })?;
    Ok(value)
}

/// A command that takes the address of a number.
pub(crate) fn set(fd: impl AsFd, command: libc::c_ulong, value: u32) -> nix::Result<()> {
    // SAFETY: the commands that are used with it read one int.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), command, &raw const value) }).map(drop)
}

/// A command that takes a number itself.
pub(crate) fn set_plain(fd: impl AsFd, command: libc::c_ulong, value: u32) -> nix::Result<()> {
    let value = libc::c_ulong::from(value);
    // SAFETY: the commands that are used with it take a plain number.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), command, value) }).map(drop)
}

/// Whether packets wait to be read. poll(2)
pub(crate) fn has_unread(fd: impl AsFd) -> nix::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one pollfd.
    Errno::result(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
    Ok(poll.revents & libc::POLLIN != 0)
}

/// Instructions of the filter of a tap (`TUNATTACHFILTER`); 0 without one.
pub(crate) fn filter_length(fd: impl AsFd) -> u16 {
    let mut program = [0_u64; 2];
    // SAFETY: the command writes a `struct sock_fprog`, which has the length of `program`.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), TUNGETFILTER, program.as_mut_ptr()) };
    if result < 0 { 0 } else { program[0] as u16 }
}
