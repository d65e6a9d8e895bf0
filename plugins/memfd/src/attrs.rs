//! What an object has beside its contents, owner and mode: times, extended attributes and the flags of its inode. The
//! format has no place for them, so they lie in an image of our own, `memfd-attrs.img`.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::inode::{self, Attribute};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Context, Error, Host, Result};
use nix::sys::stat::{fstat, futimens};
use nix::sys::time::TimeSpec;

use crate::sys;

pub(crate) static ATTRS: ImageKind = image::own_kind("MEMFD_ATTRS", "memfd-attrs.img", 0x4d41_5452);

/// `FS_FL_USER_MODIFIABLE` of linux/fs.h, as far as memory objects have them: immutable, append-only, no dump, no access
/// time. ioctl_iflags(2)
const FLAGS: u32 = 0x10 | 0x20 | 0x40 | 0x80;

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(uint32, tag = "2")]
    nanoseconds: u32,
}

impl Time {
    fn of(seconds: i64, nanoseconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        }
    }

    fn spec(self) -> TimeSpec {
        TimeSpec::new(self.seconds, self.nanoseconds.into())
    }
}

/// What one object has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Attrs {
    /// Its number, `inode_id` of `memfd.img`.
    #[prost(uint32, tag = "1")]
    pub(crate) inode_id: u32,
    /// When it was read last.
    #[prost(message, optional, tag = "2")]
    accessed: Option<Time>,
    /// When it was written last.
    #[prost(message, optional, tag = "3")]
    modified: Option<Time>,
    #[prost(message, repeated, tag = "4")]
    attributes: Vec<Attribute>,
    /// `FS_IOC_GETFLAGS`, those that can be set.
    #[prost(uint32, tag = "5")]
    flags: u32,
}

impl Attrs {
    /// Those of a file that is to be dumped, and of which `object` is a description that can be read. To be called
    /// before its contents are.
    pub(crate) fn of(inode_id: u32, file: &FileTarget, object: impl AsFd) -> Result<Self> {
        let stat = fstat(sys::local(file)).context(|| "asking for its times")?;
        let attributes = inode::attributes(&object).context(|| "reading its extended attributes")?;
        Ok(Self {
            inode_id,
            accessed: Some(Time::of(stat.st_atime, stat.st_atime_nsec)),
            modified: Some(Time::of(stat.st_mtime, stat.st_mtime_nsec)),
            attributes,
            // Before Linux 6.0 there are none.
            flags: inode::flags(&object).unwrap_or(0) & FLAGS,
        })
    }

    /// Gives them to an object that nobody of the restore touches any more.
    pub(crate) fn apply(&self, object: &File) -> Result<()> {
        let path = format!("/proc/self/fd/{}", object.as_raw_fd());
        inode::set_attributes(Path::new(&path), true, &self.attributes)?;
        if let (Some(accessed), Some(modified)) = (self.accessed, self.modified) {
            futimens(object, &accessed.spec(), &modified.spec()).context(|| "setting its times")?;
        }
        // The last: an immutable object has no other times set.
        if self.flags != 0 {
            let now = inode::flags(object).context(|| "asking for the flags of its inode")?;
            inode::set_flags(object, now & !FLAGS | self.flags)
                .context(|| format!("setting the flags {:#x} of its inode", self.flags))?;
        }
        Ok(())
    }

    /// Whether all of it is what Linux knows.
    fn is_possible(&self) -> bool {
        let is_time = |time: &Option<Time>| time.is_none_or(|time| time.nanoseconds < 1_000_000_000);
        self.flags & !FLAGS == 0
            && is_time(&self.accessed)
            && is_time(&self.modified)
            && inode::are_possible(&self.attributes)
    }
}

/// Writes the image, when there is something to say.
pub(crate) fn write(host: &Host<'_>, all: &[Attrs]) -> Result<()> {
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

/// Reads it, by the number of the object.
pub(crate) fn read(host: &Host<'_>) -> Result<HashMap<u32, Attrs>> {
    let mut all = HashMap::new();
    for attrs in image::read_all::<Attrs>(host, &ATTRS)? {
        let id = attrs.inode_id;
        let damaged = |what: &str| {
            Err(Error::new(format!(
                "{}: object {id} {what}: damaged",
                ATTRS.file_name(0)
            )))
        };
        if !attrs.is_possible() {
            return damaged("has what cannot be");
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
    use criu_plugin_api::testing::{MockHost, file_target};

    #[test]
    fn they_come_back_and_what_cannot_be_is_refused() {
        let mock = MockHost::new();
        let host = Host::new(&mock, "memfd");
        let file = sys::memfd_create(b"one", 0).unwrap();
        let time = TimeSpec::new(1_000_000_000, 7);
        futimens(&file, &time, &time).unwrap();
        let attrs = Attrs::of(3, &file_target(&file).unwrap(), &file).unwrap();
        write(&host, std::slice::from_ref(&attrs)).unwrap();
        let other = sys::memfd_create(b"two", 0).unwrap();
        read(&host).unwrap()[&3].apply(&other).unwrap();
        let again = Attrs::of(3, &file_target(&other).unwrap(), &other).unwrap();
        assert_eq!(again, attrs);

        let bad = [
            Attrs {
                flags: 0x8000_0000,
                ..attrs.clone()
            },
            Attrs {
                accessed: Some(Time {
                    seconds: 0,
                    nanoseconds: 1_000_000_000,
                }),
                ..attrs.clone()
            },
            Attrs {
                attributes: vec![Attribute {
                    name: b"user.\0".to_vec(),
                    value: Vec::new(),
                }],
                ..attrs.clone()
            },
        ];
        for bad in bad {
            write(&host, &[bad]).unwrap();
            assert!(read(&host).unwrap_err().message.contains("damaged"));
        }
        write(&host, &[attrs.clone(), attrs]).unwrap();
        assert!(read(&host).unwrap_err().message.contains("two entries"));
    }
}
