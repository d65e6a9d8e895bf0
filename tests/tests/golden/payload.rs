//! Which message the entries of each kind are, and what raw bytes follow them.

use std::io::Read;

use criu_proto::Described;
use criu_proto::framing::{FrameError, ImageReader, ImageWriter};
use criu_proto::images::*;
use criu_proto::magic::ImageKind;
use criu_proto::schema::MessageSchema;

/// What became of an image's entries: their schemas and encoded bytes.
pub(crate) type Entries = Vec<(&'static MessageSchema, Vec<u8>)>;

/// Reads all entries and payloads; what follows the last entry is left.
pub(crate) fn entries<R: Read>(kind: &ImageKind, reader: &mut ImageReader<R>) -> Result<Entries, FrameError> {
    let mut writer = ImageWriter::new(Vec::new(), "copy", kind)?;
    copy(kind, reader, &mut writer)
}

/// How many of `entries` stand for themselves (those after the first of a message queue belong to it).
pub(crate) fn top_level(kind: &ImageKind, entries: usize) -> usize {
    if kind.name == "IPCNS_MSG" {
        1
    } else {
        entries.max(1)
    }
}

/// Decodes and encodes again all of an image.
pub(crate) fn copy<R: Read>(
    kind: &ImageKind,
    from: &mut ImageReader<R>,
    to: &mut ImageWriter<Vec<u8>>,
) -> Result<Entries, FrameError> {
    let mut seen = Entries::new();
    macro_rules! plain {
        ($($name:literal: $message:ident),* $(,)?) => {
            match kind.name {
                $($name => while one::<$message, _>(from, to, &mut seen)?.is_some() {},)*
                other => panic!("no message known for {other}"),
            }
        };
    }
    match kind.name {
        "PAGEMAP" | "SHMEM_PAGEMAP" => {
            if one::<PagemapHead, _>(from, to, &mut seen)?.is_some() {
                while one::<PagemapEntry, _>(from, to, &mut seen)?.is_some() {}
            }
        }
        "PIPES_DATA" | "FIFO_DATA" => {
            while let Some(entry) = one::<PipeDataEntry, _>(from, to, &mut seen)? {
                raw(entry.bytes.into(), from, to)?;
            }
        }
        "SK_QUEUES" => {
            while let Some(entry) = one::<SkPacketEntry, _>(from, to, &mut seen)? {
                raw(entry.length.into(), from, to)?;
            }
        }
        "TCP_STREAM" => {
            while let Some(entry) = one::<TcpStreamEntry, _>(from, to, &mut seen)? {
                raw(u64::from(entry.inq_len) + u64::from(entry.outq_len), from, to)?;
            }
        }
        "GHOST_FILE" => {
            let Some(entry) = one::<GhostFileEntry, _>(from, to, &mut seen)? else {
                return Ok(seen);
            };
            if entry.chunks() {
                while let Some(chunk) = one::<GhostChunkEntry, _>(from, to, &mut seen)? {
                    raw(chunk.len, from, to)?;
                }
            } else {
                let mut content = Vec::new();
                from.copy_rest(&mut content)?;
                to.payload(&content)?;
            }
        }
        "IPCNS_SHM" => {
            while let Some(entry) = one::<IpcShmEntry, _>(from, to, &mut seen)? {
                if !entry.in_pagemaps() {
                    raw(entry.size.next_multiple_of(4), from, to)?;
                }
            }
        }
        "IPCNS_SEM" => {
            while let Some(entry) = one::<IpcSemEntry, _>(from, to, &mut seen)? {
                raw((u64::from(entry.nsems) * 2).next_multiple_of(8), from, to)?;
            }
        }
        "IPCNS_MSG" => {
            while let Some(entry) = one::<IpcMsgEntry, _>(from, to, &mut seen)? {
                for _ in 0..entry.qnum {
                    let message: IpcMsg = from.entry()?;
                    to.entry(&message)?;
                    raw(u64::from(message.msize).next_multiple_of(8), from, to)?;
                }
            }
        }
        _ => plain! {
            "INVENTORY": InventoryEntry, "FDINFO": FdinfoEntry, "CORE": CoreEntry,
            "IDS": TaskKobjIdsEntry, "MM": MmEntry, "PSTREE": PstreeEntry, "UTSNS": UtsnsEntry,
            "IPC_VAR": IpcVarEntry, "FS": FsEntry, "REMAP_FPATH": RemapFilePathEntry,
            "MEMFD_INODE": MemfdInodeEntry, "MNTS": MntEntry, "NETDEV": NetDeviceEntry,
            "NETNS": NetnsEntry, "TTY_INFO": TtyInfoEntry, "TTY_DATA": TtyDataEntry,
            "FILE_LOCKS": FileLockEntry, "SECCOMP": SeccompEntry, "FILES": FileEntry,
            "TIMENS": TimensEntry, "STATS": StatsEntry, "CGROUP": CgroupEntry,
        },
    }
    Ok(seen)
}

/// Copies one entry, decoded and encoded again.
fn one<M: Described, R: Read>(
    from: &mut ImageReader<R>,
    to: &mut ImageWriter<Vec<u8>>,
    seen: &mut Entries,
) -> Result<Option<M>, FrameError> {
    let Some(message) = from.next_entry::<M>()? else {
        return Ok(None);
    };
    to.entry(&message)?;
    seen.push((M::schema(), message.encode_to_vec()));
    Ok(Some(message))
}

/// Copies raw bytes.
fn raw<R: Read>(
    length: u64,
    from: &mut ImageReader<R>,
    to: &mut ImageWriter<Vec<u8>>,
) -> Result<(), FrameError> {
    let data = from.payload(length)?;
    to.payload(&data)
}
