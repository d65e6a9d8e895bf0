//! Makes maps before the forks and opens descriptions of them in the tasks.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

use criu_plugin_api::message::{FileRecord, OpenRequest};
use criu_plugin_api::{Context, Error, Host, Opened, Progress, Result, image, restore};
use criu_proto::images::{BpfmapDataEntry, BpfmapFileEntry, FileEntry};
use criu_proto::magic;
use prost::Message;

use crate::boot;
use crate::sys::{self, Info};

/// The maps of a restore, held open by the coordinator until the end; by the ids that they had.
#[derive(Default)]
pub(crate) struct Restore {
    maps: HashMap<u32, Map>,
}

struct Map {
    /// Keeps the map.
    _held: OwnedFd,
    /// The id that it has now.
    id: u32,
}

/// The contents of a map.
struct Contents {
    count: u32,
    keys: Vec<u8>,
    values: Vec<u8>,
}

fn entry(file: &FileRecord) -> Result<BpfmapFileEntry> {
    let entry = FileEntry::decode(file.entry.as_slice())
        .map_err(|e| Error::new(format!("decoding the entry of file {}: {e}", file.id)))?;
    entry.bpf.ok_or_else(|| {
        let id = file.id;
        Error::new(format!(
            "file {id} is of type BPFMAP but has no such entry: damaged"
        ))
    })
}

impl Restore {
    pub(crate) fn prepare(host: &Host<'_>, files: &[FileRecord]) -> Result<Self> {
        let mut wanted: BTreeMap<u32, BpfmapFileEntry> = BTreeMap::new();
        for file in files {
            let entry = entry(file)?;
            if !matches!(entry.map_type, sys::ARRAY | sys::HASH) {
                let error = format!(
                    "file {}: a BPF map of type {} is not supported",
                    file.id, entry.map_type
                );
                return Err(Error::new(error));
            }
            wanted.entry(entry.map_id).or_insert(entry);
        }
        let mut contents = read(host)?;
        let same_boot = !wanted.is_empty() && boot::is_same(host)?;
        let mut restore = Self::default();
        for (id, entry) in wanted {
            let what = || format!("making BPF map {id} ({})", entry.map_name);
            let map = make(&entry, contents.remove(&id), same_boot).context(what)?;
            restore.maps.insert(id, map);
        }
        Ok(restore)
    }

    pub(crate) fn open(&self, request: &OpenRequest) -> Result<Progress<Opened>> {
        let entry = entry(&request.file)?;
        let what = || format!("opening BPF map {} as file {}", entry.map_id, entry.id);
        let map = self.maps.get(&entry.map_id);
        let map = map.ok_or_else(|| Error::new("it was not made")).context(what)?;
        let flags = match entry.flags.cast_signed() & libc::O_ACCMODE {
            libc::O_RDONLY => sys::RDONLY,
            libc::O_WRONLY => sys::WRONLY,
            _ => 0,
        };
        let fd = sys::open(map.id, flags).context(what)?;
        restore::apply_owner(&fd, &entry.fown).context(what)?;
        restore::apply_flags(&fd, entry.flags).context(what)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

/// All contents of the set, by the id of the map.
fn read(host: &Host<'_>) -> Result<HashMap<u32, Contents>> {
    let mut all = HashMap::new();
    let Some(mut reader) = image::open(host, &magic::BPFMAP_DATA)? else {
        return Ok(all);
    };
    while let Some(entry) = reader.next_entry::<BpfmapDataEntry>()? {
        let contents = Contents {
            count: entry.count,
            keys: reader.payload(u64::from(entry.keys_bytes))?,
            values: reader.payload(u64::from(entry.values_bytes))?,
        };
        if all.insert(entry.map_id, contents).is_some() {
            let error = format!("bpfmap-data.img: map {} is there twice: damaged", entry.map_id);
            return Err(Error::new(error));
        }
    }
    Ok(all)
}

/// Makes a map with its contents, unless others than the tree have kept it.
fn make(entry: &BpfmapFileEntry, contents: Option<Contents>, same_boot: bool) -> Result<Map> {
    let fits = |bytes: &[u8], size: u32, count: u32| bytes.len() as u64 == u64::from(size) * u64::from(count);
    let contents = contents.unwrap_or(Contents {
        count: 0,
        keys: Vec::new(),
        values: Vec::new(),
    });
    if entry.key_size == 0
        || entry.value_size == 0
        || !fits(&contents.keys, entry.key_size, contents.count)
        || !fits(&contents.values, entry.value_size, contents.count)
    {
        return Err(Error::new(
            "its contents in bpfmap-data.img do not fit its sizes: damaged",
        ));
    }
    let wanted = Info {
        map_type: entry.map_type,
        id: entry.map_id,
        key_size: entry.key_size,
        value_size: entry.value_size,
        max_entries: entry.max_entries,
        flags: entry.map_flags,
        name: entry.map_name.clone().into_bytes(),
        ifindex: entry.ifindex,
        extra: entry.map_extra.unwrap_or(0),
    };
    if same_boot && let Some(map) = living(&wanted) {
        tracing::warn!(
            "BPF map {} ({}) is still there, pinned or used outside of the tree: it is used as it is, not set back",
            entry.map_id,
            entry.map_name
        );
        return Ok(map);
    }
    let map = sys::create(&Info {
        flags: wanted.flags & !(sys::RDONLY | sys::WRONLY),
        ..wanted
    })
    .context(|| "BPF_MAP_CREATE")?;
    let values = contents.values.chunks_exact(entry.value_size as usize);
    for (key, value) in contents.keys.chunks_exact(entry.key_size as usize).zip(values) {
        // The values of a new array are zero.
        if entry.map_type == sys::ARRAY && value.iter().all(|byte| *byte == 0) {
            continue;
        }
        sys::update(&map, key, value).context(|| "filling it")?;
    }
    if entry.frozen {
        sys::freeze(&map).context(|| "freezing it")?;
    }
    let id = sys::info(&map).context(|| "asking for its id")?.id;
    Ok(Map { _held: map, id })
}

/// The map itself, if it is still there.
fn living(wanted: &Info) -> Option<Map> {
    let map = sys::open(wanted.id, 0).ok()?;
    let info = sys::info(&map).ok()?;
    // The name in the image is text, whatever it was.
    let same_name = String::from_utf8_lossy(&info.name).as_bytes() == wanted.name;
    let name = wanted.name.clone();
    let is_it = same_name && Info { name, ..info } == *wanted;
    is_it.then_some(Map {
        _held: map,
        id: wanted.id,
    })
}
