//! What a deleted file has beside its content and status: extended attributes (access control lists among them), the
//! hint about the life of its data, and the flags of its inode. The format has no place for them, so they lie in an
//! image of our own, `ghost-attrs.img`, which is written only when a file has any.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::inode::{self, Attribute};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};

use super::name;
use crate::sys;

static ATTRS: ImageKind = image::own_kind("GHOST_ATTRS", "ghost-attrs.img", 0x4748_4154);

/// Of the flags of an inode, `FS_FL_USER_MODIFIABLE` of linux/fs.h, those that are in nobody's way: secure deletion,
/// undeletable, compressed, synchronous, no dump, no access time, not compressed, data through the journal, no tail,
/// synchronous directory, top of a hierarchy, no copy on write, the project of the parent. ioctl_iflags(2)
const HARMLESS: u32 = 0x1
    | 0x2
    | 0x4
    | 0x8
    | 0x40
    | 0x80
    | 0x400
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000
    | 0x80_0000
    | 0x2000_0000;

/// What one deleted file has.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GhostAttrs {
    /// Its ghost id.
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) attributes: Vec<Attribute>,
    /// `F_GET_RW_HINT` of fcntl(2); 0 for none.
    #[prost(uint64, tag = "3")]
    pub(super) write_hint: u64,
    /// `FS_IOC_GETFLAGS`, those that can be set.
    #[prost(uint32, tag = "4")]
    pub(super) inode_flags: u32,
}

impl GhostAttrs {
    /// Those of a file that is to be dumped; `None` when it has none.
    pub(super) fn of(id: u32, file: &FileTarget) -> Result<Option<Self>> {
        let attributes = inode::attributes(sys::local(file))
            .context(|| format!("reading the extended attributes of {}", name::object(file)))?;
        let format = file.mode & libc::S_IFMT;
        let opened = matches!(format, libc::S_IFREG | libc::S_IFDIR)
            .then(|| sys::reopen_for_reading(sys::local(file)).ok())
            .flatten();
        let write_hint = opened.as_ref().filter(|_| format == libc::S_IFREG);
        let write_hint = write_hint
            .and_then(|file| sys::write_hint(file).ok())
            .unwrap_or(0);
        // Not every filesystem has them.
        let inode_flags = opened.and_then(|file| inode::flags(file).ok()).unwrap_or(0);
        let inode_flags = inode_flags & (HARMLESS | sys::PROTECTED);
        let has_any = !attributes.is_empty() || write_hint != 0 || inode_flags != 0;
        Ok(has_any.then_some(Self {
            id,
            attributes,
            write_hint,
            inode_flags,
        }))
    }

    /// Sets the flags of a fresh inode, but for those that keep it from being written and removed.
    pub(super) fn apply_flags(&self, file: impl AsFd) -> Result<()> {
        let wanted = self.inode_flags & HARMLESS;
        if wanted == 0 {
            return Ok(());
        }
        let now = inode::flags(&file).context(|| "asking for the flags of its inode")?;
        inode::set_flags(&file, now & !HARMLESS | wanted)
            .context(|| format!("setting the flags {wanted:#x} of its inode"))
    }

    /// Those that come when it has no name any more.
    pub(super) fn protection(&self) -> u32 {
        self.inode_flags & sys::PROTECTED
    }

    /// Gives them to the file at `path`, which has its owner and mode already; to a symbolic link itself when that
    /// is not to be followed.
    pub(super) fn apply(&self, path: &Path, follow: bool) -> Result<()> {
        inode::set_attributes(path, follow, &self.attributes)?;
        if self.write_hint != 0 {
            let opened = sys::open_with(path, libc::O_RDONLY | libc::O_NONBLOCK).context(|| "opening it")?;
            sys::set_write_hint(&opened, self.write_hint)
                .context(|| format!("setting its write hint {}", self.write_hint))?;
        }
        Ok(())
    }
}

/// Writes the image, when there is something to say.
pub(super) fn write(host: &Host<'_>, all: &[GhostAttrs]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, &ATTRS)?;
    for attrs in all {
        image.entry(attrs)?;
    }
    image.finish()?;
    Ok(())
}

/// Reads it, by ghost id.
pub(super) fn read(host: &Host<'_>) -> Result<HashMap<u32, GhostAttrs>> {
    let mut all = HashMap::new();
    for attrs in image::read_all::<GhostAttrs>(host, &ATTRS)? {
        let id = attrs.id;
        let damaged = |what: &str| {
            let file = ATTRS.file_name(0);
            Err(Error::new(format!("{file}: deleted file {id} {what}: damaged")))
        };
        if !inode::are_possible(&attrs.attributes) {
            return damaged("has an attribute that cannot be");
        }
        if attrs.inode_flags & !(HARMLESS | sys::PROTECTED) != 0 {
            return damaged("has flags that cannot be");
        }
        if all.insert(id, attrs).is_some() {
            return damaged("has two entries");
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use criu_plugin_api::testing::file_target;

    #[test]
    fn attributes_come_back_and_a_file_without_any_has_no_entry() {
        let dir = Scratch::new();
        let file = dir.file("from", b"x");
        let target = file_target(&file).unwrap();
        assert_eq!(GhostAttrs::of(1, &target), Ok(None));
        let set = |name: &[u8], value: &[u8]| {
            let (name, value) = (name.to_vec(), value.to_vec());
            inode::set_attributes(&dir.path("from"), true, &[Attribute { name, value }])
        };
        if let Err(error) = set(b"user.one", b"a\0b") {
            println!("skipped: no extended attributes here: {error}");
            return;
        }
        set(b"user.none", b"").unwrap();
        let attrs = GhostAttrs::of(7, &target).unwrap().unwrap();
        assert_eq!((attrs.id, attrs.attributes.len()), (7, 2));
        let other = dir.file("to", b"y");
        attrs.apply(&dir.path("to"), true).unwrap();
        let again = GhostAttrs::of(7, &file_target(&other).unwrap()).unwrap();
        assert_eq!(again, Some(attrs));
    }
}
