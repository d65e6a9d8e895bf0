//! Images of this plugin's own: what the format has no place for. Without them a set is complete for
//! whoever does not know them.

use criu_plugin_api::image::{self, own_kind};
use criu_plugin_api::{Host, Result};
use criu_proto::magic::ImageKind;

/// Watches and marks on what only descriptors of the tree lead to.
pub(crate) static TARGETS: ImageKind = own_kind("FSNOTIFY_TARGETS", "fsnotify-targets.img", 0x4653_5447);

/// Marks on whole file systems and on namespaces of mounts.
pub(crate) static FILE_SYSTEMS: ImageKind =
    own_kind("FANOTIFY_FILESYSTEM", "fanotify-filesystem.img", 0x4641_4653);

/// Groups that were made without `CAP_SYS_ADMIN`.
pub(crate) static UNPRIVILEGED: ImageKind =
    own_kind("FANOTIFY_UNPRIVILEGED", "fanotify-unprivileged.img", 0x4641_5550);

/// Writes an image, if there is something to say.
pub(crate) fn write<M: prost::Message>(host: &Host<'_>, kind: &ImageKind, entries: &[M]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut writer = image::create(host, kind)?;
    for entry in entries {
        writer.entry(entry)?;
    }
    writer.finish()?;
    Ok(())
}

/// A watch or mark whose inode is behind a descriptor of the tree: a pipe, a memory file.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Target {
    /// The group.
    #[prost(uint32, tag = "1")]
    pub(crate) file_id: u32,
    /// Its place in the group's list, from 0.
    #[prost(uint32, tag = "2")]
    pub(crate) index: u32,
    /// The file that is watched.
    #[prost(uint32, tag = "3")]
    pub(crate) target: u32,
}

/// A mark on a file system, or on the mounts of a namespace.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FilesystemMark {
    /// The group.
    #[prost(uint32, tag = "1")]
    pub(crate) file_id: u32,
    /// The device of the file system in the kernel's encoding; 0 for a namespace.
    #[prost(uint32, tag = "2")]
    pub(crate) s_dev: u32,
    /// A path on the file system, or of the namespace.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) path: Vec<u8>,
    /// Flags of the mark, as fdinfo has them.
    #[prost(uint32, tag = "4")]
    pub(crate) mflags: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) mask: u32,
    #[prost(uint32, tag = "6")]
    pub(crate) ignored_mask: u32,
}

/// A group whose maker lacked `CAP_SYS_ADMIN`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Unprivileged {
    #[prost(uint32, tag = "1")]
    pub(crate) file_id: u32,
}
