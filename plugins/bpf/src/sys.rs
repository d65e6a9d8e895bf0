//! bpf(2), as far as maps need it.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Commands of bpf(2).
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const MAP_FREEZE: libc::c_int = 22;

/// Types of maps.
pub(crate) const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;
/// Flags of a descriptor of a map.
pub(crate) const RDONLY: u32 = 1 << 3;
pub(crate) const WRONLY: u32 = 1 << 4;

/// The longest name of a map, with its NUL.
const NAME: usize = 16;

/// The arguments of a command: bytes at their offsets in `union bpf_attr`, all others zero.
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Self {
        Self([0; 128])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, fd: impl AsFd) -> Self {
        self.u32(0, fd.as_fd().as_raw_fd().cast_unsigned())
    }

    /// Runs a command with the first `length` bytes.
    ///
    /// # Safety
    /// Addresses among the arguments must be good for what the command does.
    unsafe fn run(&mut self, command: libc::c_int, length: usize) -> nix::Result<i32> {
        // SAFETY: the attributes are `length` bytes and more; for addresses the caller vouches.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), length) };
        Errno::result(result).map(|value| i32::try_from(value).unwrap_or(-1))
    }
}

/// A map as `BPF_OBJ_GET_INFO_BY_FD` describes it, and as `BPF_MAP_CREATE` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Info {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) ifindex: u32,
    pub(crate) extra: u64,
}

pub(crate) fn info(map: impl AsFd) -> nix::Result<Info> {
    let mut bytes = [0_u8; 88];
    let mut attr = Attr::new()
        .fd(map)
        .u32(4, bytes.len() as u32)
        .u64(8, bytes.as_mut_ptr() as u64);
    // SAFETY: the information goes into `bytes`, whose length is given.
    unsafe { attr.run(OBJ_GET_INFO_BY_FD, 16) }?;
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let name = &bytes[24..24 + NAME];
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    Ok(Info {
        map_type: word(0),
        id: word(4),
        key_size: word(8),
        value_size: word(12),
        max_entries: word(16),
        flags: word(20),
        name: name[..length].to_vec(),
        ifindex: word(40),
        extra: u64::from(word(80)) | u64::from(word(84)) << 32,
    })
}

/// Makes a map; its id is the kernel's choice.
pub(crate) fn create(info: &Info) -> nix::Result<OwnedFd> {
    let mut attr = Attr::new()
        .u32(0, info.map_type)
        .u32(4, info.key_size)
        .u32(8, info.value_size)
        .u32(12, info.max_entries)
        .u32(16, info.flags)
        .u32(44, info.ifindex)
        .u64(64, info.extra);
    let length = info.name.len().min(NAME - 1);
    attr.0[28..28 + length].copy_from_slice(&info.name[..length]);
    // SAFETY: there are no addresses among the arguments.
    let fd = unsafe { attr.run(MAP_CREATE, 72) }?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Another description of a map, for reading and writing or with one of `RDONLY` and `WRONLY`.
pub(crate) fn open(id: u32, flags: u32) -> nix::Result<OwnedFd> {
    let mut attr = Attr::new().u32(0, id).u32(8, flags);
    // SAFETY: there are no addresses among the arguments.
    let fd = unsafe { attr.run(MAP_GET_FD_BY_ID, 12) }?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nobody may change it by bpf(2) any more.
pub(crate) fn freeze(map: impl AsFd) -> nix::Result<()> {
    let mut attr = Attr::new().fd(map);
    // SAFETY: there are no addresses among the arguments.
    unsafe { attr.run(MAP_FREEZE, 4) }.map(drop)
}

/// The key after `key`, or the first; false at the end. `next` is as long as a key.
pub(crate) fn next_key(map: impl AsFd, key: Option<&[u8]>, next: &mut [u8]) -> nix::Result<bool> {
    let at = key.map_or(0, |key| key.as_ptr() as u64);
    let mut attr = Attr::new().fd(map).u64(8, at).u64(16, next.as_mut_ptr() as u64);
    // SAFETY: both are as long as a key of this map, which the caller has asked for.
    match unsafe { attr.run(MAP_GET_NEXT_KEY, 32) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The value of a key; false if there is none. `value` is as long as a value.
pub(crate) fn lookup(map: impl AsFd, key: &[u8], value: &mut [u8]) -> nix::Result<bool> {
    let mut attr = Attr::new()
        .fd(map)
        .u64(8, key.as_ptr() as u64)
        .u64(16, value.as_mut_ptr() as u64);
    // SAFETY: key and value are as long as those of this map.
    match unsafe { attr.run(MAP_LOOKUP_ELEM, 32) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Sets a value; the lengths are those of the map.
pub(crate) fn update(map: impl AsFd, key: &[u8], value: &[u8]) -> nix::Result<()> {
    let mut attr = Attr::new()
        .fd(map)
        .u64(8, key.as_ptr() as u64)
        .u64(16, value.as_ptr() as u64);
    // SAFETY: key and value are as long as those of this map.
    unsafe { attr.run(MAP_UPDATE_ELEM, 32) }.map(drop)
}
