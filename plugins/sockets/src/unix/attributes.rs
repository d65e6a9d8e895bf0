//! The extended attributes of the file that a socket is bound to, access control lists among them (xattr(7), acl(5)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use criu_plugin_api::{Context, Error, Result};

use crate::extra::Attribute;
use crate::sys;

/// The longest name, value and list of names that Linux has: `XATTR_NAME_MAX`, `XATTR_SIZE_MAX`, `XATTR_LIST_MAX` of
/// linux/limits.h.
const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 64 << 10;

/// Reads them.
///
/// # Errors
/// The file system's.
pub(super) fn read(file: &File) -> Result<Vec<Attribute>> {
    all(file).context(|| "reading its extended attributes")
}

fn all(file: &File) -> io::Result<Vec<Attribute>> {
    // A descriptor that is only a path is not asked itself.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = Path::new(&path);
    let list = match sys::list_attributes(path) {
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        list => list?,
    };
    let mut attributes = Vec::new();
    for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match sys::attribute(path, name) {
            Ok(value) => attributes.push(Attribute {
                name: name.to_vec(),
                value,
            }),
            // Listed, but not there for this user or this sort of file.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(attributes)
}

/// Whether they can have come from a file.
///
/// # Errors
/// They cannot.
pub(super) fn check(attributes: &[Attribute]) -> Result<()> {
    let is_name = |name: &[u8]| (1..=NAME_MAX).contains(&name.len()) && !name.contains(&0);
    let is_one = |a: &Attribute| is_name(&a.name) && a.value.len() <= SIZE_MAX;
    let names: usize = attributes.iter().map(|a| a.name.len() + 1).sum();
    if names > SIZE_MAX || !attributes.iter().all(is_one) {
        return Err(Error::new("extended attributes that no file has: damaged"));
    }
    Ok(())
}

/// Gives them to the file at a path, which has its owner and its mode.
///
/// # Errors
/// The file system does not take one.
pub(super) fn apply(path: &Path, attributes: &[Attribute]) -> Result<()> {
    for Attribute { name, value } in attributes {
        sys::set_attribute(path, name, value).context(|| {
            let name = String::from_utf8_lossy(name);
            format!("setting the attribute {name} of {}", path.display())
        })?;
    }
    Ok(())
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
        assert!(check(&[one(b"system.posix_acl_access", SIZE_MAX)]).is_ok());
        for wrong in [
            one(b"", 1),
            one(b"user.\0x", 1),
            one(&[b'x'; NAME_MAX + 1], 1),
            one(b"user.x", SIZE_MAX + 1),
        ] {
            assert!(check(&[wrong]).is_err());
        }
        assert!(check(&vec![one(&[b'x'; NAME_MAX], 0); 257]).is_err());
    }
}
