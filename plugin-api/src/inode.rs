//! What an inode has beside contents, owner, mode and times, and the format of CRIU has no place for: extended attributes
//! (access control lists among them) and flags. A kind keeps them in an image of its own.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::{Context, Result};

/// The longest name, and the longest value and list of names, that Linux has: `XATTR_NAME_MAX`, `XATTR_SIZE_MAX`,
/// `XATTR_LIST_MAX` of linux/limits.h.
const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 64 << 10;

/// An extended attribute, xattr(7), as it stands in images.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attribute {
    /// With its prefix, as `user.one`.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Any bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// The extended attributes of the file behind a descriptor, one that is only a path (`O_PATH`) included; none where the
/// file system has no such thing. listxattr(2), getxattr(2)
///
/// # Errors
/// The file system's.
pub fn attributes(file: impl AsFd) -> nix::Result<Vec<Attribute>> {
    // A descriptor that is only a path is not asked itself.
    let path = c_text(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).as_bytes())?;
    // SAFETY: the path ends in NUL, and the kernel writes at most as much as is asked for.
    let list =
        grown(|buffer| unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) });
    let list = match list {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        list => list?,
    };
    let mut attributes = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match value(&path, &c_text(name)?) {
            Ok(value) => attributes.push(Attribute {
                name: name.to_vec(),
                value,
            }),
            // Listed, but not there for this user or this sort of file.
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(attributes)
}

fn value(path: &CStr, name: &CStr) -> nix::Result<Vec<u8>> {
    grown(|buffer| {
        let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: both texts end in NUL, and the kernel writes at most as much as is asked for.
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), at, length) }
    })
}

/// Whether attributes of an image can have come from one file.
pub fn are_possible(attributes: &[Attribute]) -> bool {
    let is_one = |a: &Attribute| {
        (1..=NAME_MAX).contains(&a.name.len()) && !a.name.contains(&0) && a.value.len() <= SIZE_MAX
    };
    let names: usize = attributes.iter().map(|a| a.name.len() + 1).sum();
    names <= SIZE_MAX && attributes.iter().all(is_one)
}

/// Gives attributes to the file at a path, which has its owner and mode already; to a symbolic link itself when that is
/// not to be followed. setxattr(2), lsetxattr(2)
///
/// # Errors
/// The file system does not take one, which is named.
pub fn set_attributes(path: &Path, follow: bool, attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes {
        set(path, follow, attribute).context(|| {
            format!(
                "setting its attribute {}",
                String::from_utf8_lossy(&attribute.name)
            )
        })?;
    }
    Ok(())
}

fn set(path: &Path, follow: bool, Attribute { name, value }: &Attribute) -> nix::Result<()> {
    let (path, name) = (c_text(path.as_os_str().as_bytes())?, c_text(name)?);
    let set = if follow { libc::setxattr } else { libc::lsetxattr };
    let (at, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: both texts end in NUL; the kernel reads as much of the value as there is.
    Errno::result(unsafe { set(path.as_ptr(), name.as_ptr(), at, length, 0) }).map(drop)
}

/// Calls with a buffer that is as large as the call with an empty one says.
fn grown(mut call: impl FnMut(&mut [u8]) -> isize) -> nix::Result<Vec<u8>> {
    loop {
        let size = usize::try_from(Errno::result(call(&mut []))?).unwrap_or(0);
        let mut buffer = vec![0; size];
        if size == 0 {
            return Ok(buffer);
        }
        match Errno::result(call(&mut buffer)) {
            Ok(size) => {
                buffer.truncate(usize::try_from(size).unwrap_or(0));
                return Ok(buffer);
            }
            // It has grown in between.
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn c_text(text: &[u8]) -> nix::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

const FS_IOC_GETFLAGS: libc::Ioctl = 0x8008_6601;
const FS_IOC_SETFLAGS: libc::Ioctl = 0x4008_6602;

/// The flags of an inode, `FS_*_FL` of linux/fs.h. ioctl_iflags(2); Linux 6.0 for memory objects
///
/// # Errors
/// `ENOTTY` and others where the file system has none.
pub fn flags(file: impl AsFd) -> nix::Result<u32> {
    let mut flags = 0_u32;
    // SAFETY: FS_IOC_GETFLAGS writes an int, to a place that is valid for it.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_GETFLAGS, &raw mut flags) })?;
    Ok(flags)
}

/// Sets all of them.
///
/// # Errors
/// The file system's.
pub fn set_flags(file: impl AsFd, flags: u32) -> nix::Result<()> {
    // SAFETY: FS_IOC_SETFLAGS reads an int.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_SETFLAGS, &raw const flags) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &[u8], length: usize) -> Attribute {
        Attribute {
            name: name.to_vec(),
            value: vec![0; length],
        }
    }

    #[test]
    fn attributes_of_no_file_are_damage() {
        assert!(are_possible(&[one(b"system.posix_acl_access", SIZE_MAX)]));
        for wrong in [
            one(b"", 1),
            one(b"user.\0x", 1),
            one(&[b'x'; NAME_MAX + 1], 1),
            one(b"user.x", SIZE_MAX + 1),
        ] {
            assert!(!are_possible(&[wrong]));
        }
        assert!(!are_possible(&vec![one(&[b'x'; NAME_MAX], 0); 257]));
    }
}
