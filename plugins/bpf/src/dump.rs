//! Saves descriptors of maps, and the contents of each map once.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{BorrowedFd, OwnedFd};

use criu_plugin_api::message::{FileImage, FileTarget, Purpose};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, Host, Result, Verdict, image};
use criu_proto::framing::ImageWriter;
use criu_proto::images::{BpfmapDataEntry, BpfmapFileEntry, FdTypes, FileEntry};
use criu_proto::magic;
use prost::Message;

use crate::boot;
use crate::sys::{self, Info};

/// The maps of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    /// Ids of those whose contents are saved.
    saved: HashSet<u32>,
    data: Option<ImageWriter<BufWriter<File>>>,
}

impl Dump {
    pub(crate) fn file(&mut self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        if !matches!(file.purpose(), Purpose::Descriptor | Purpose::InFlight) {
            return Ok(Verdict::refused_but(
                format!("pid {}, a mapped BPF map", file.pid),
                "the kernel does not tell which map a mapping belongs to",
                "unmap it first",
            ));
        }
        // SAFETY: the host keeps `local_fd` open during this call.
        let local = unsafe { BorrowedFd::borrow_raw(file.local_fd) };
        let object = || format!("pid {}, fd {}, BPF map", file.pid, file.fd);
        let info = sys::info(local).context(|| format!("{}: asking what it is", object()))?;
        let named = || {
            format!(
                "{} {} ({})",
                object(),
                info.id,
                String::from_utf8_lossy(&info.name)
            )
        };
        if !matches!(info.map_type, sys::ARRAY | sys::HASH) {
            let what = format!(
                "it is {}; only arrays and hashes can be saved",
                type_name(info.map_type)
            );
            return Ok(Verdict::refused(named(), what));
        }
        let text = host.fdinfo(file.pid, file.fd).unwrap_or_default();
        let field = |name: &str| number(&text, name);
        if !self.saved.contains(&info.id) {
            self.contents(host, &info).context(named)?;
            self.saved.insert(info.id);
        }
        let entry = BpfmapFileEntry {
            id: file.id,
            flags: file.flags,
            pos: file.pos,
            fown: fown_decode(&file.fown)?,
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            map_id: info.id,
            max_entries: info.max_entries,
            map_flags: info.flags,
            memlock: field("memlock").unwrap_or(0),
            frozen: field("frozen") == Some(1),
            map_name: String::from_utf8_lossy(&info.name).into_owned(),
            ifindex: info.ifindex,
            mnt_id: (file.mnt_id != -1).then_some(file.mnt_id),
            map_extra: Some(info.extra),
        };
        let entry = FileEntry {
            r#type: FdTypes::Bpfmap as i32,
            id: file.id,
            bpf: Some(entry),
            ..FileEntry::default()
        };
        Ok(Verdict::Entry(FileImage {
            fd_type: FdTypes::Bpfmap as u32,
            entry: entry.encode_to_vec(),
            ..FileImage::default()
        }))
    }

    fn contents(&mut self, host: &Host<'_>, info: &Info) -> Result<()> {
        // The descriptor at hand may be one for writing alone.
        let map = sys::open(info.id, sys::RDONLY).context(|| "opening it for reading")?;
        let (keys, values, count) = read(&map, info)?;
        let bytes =
            |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::refused("it is larger than 4 GiB"));
        let data = match &mut self.data {
            Some(data) => data,
            None => self.data.insert(image::create(host, &magic::BPFMAP_DATA)?),
        };
        data.entry(&BpfmapDataEntry {
            map_id: info.id,
            keys_bytes: bytes(&keys)?,
            values_bytes: bytes(&values)?,
            count,
        })?;
        data.payload(&keys)?;
        data.payload(&values)?;
        Ok(())
    }

    pub(crate) fn finish(self, host: &Host<'_>) -> Result<()> {
        if let Some(data) = self.data {
            data.finish()?;
            if let Some(id) = boot::now() {
                boot::write(host, id)?;
            }
        }
        Ok(())
    }
}

/// All keys, all values, and how many.
fn read(map: &OwnedFd, info: &Info) -> Result<(Vec<u8>, Vec<u8>, u32)> {
    let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0_u32);
    let mut key = vec![0; info.key_size as usize];
    let mut next = key.clone();
    let mut value = vec![0; info.value_size as usize];
    let mut first = true;
    while sys::next_key(map, (!first).then_some(&*key), &mut next).context(|| "looking for its keys")? {
        first = false;
        std::mem::swap(&mut key, &mut next);
        // A program may have removed it meanwhile.
        if !sys::lookup(map, &key, &mut value).context(|| "reading a value")? {
            continue;
        }
        if count == info.max_entries {
            let error = Error::new("programs of the kernel change it while it is read");
            return Err(error.with_remedy("detach them, or dump again"));
        }
        keys.extend_from_slice(&key);
        values.extend_from_slice(&value);
        count += 1;
    }
    Ok((keys, values, count))
}

/// The decimal number after `NAME:` in the text of fdinfo.
fn number(text: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().parse().ok()
}

/// `enum bpf_map_type` of linux/bpf.h.
fn type_name(map_type: u32) -> String {
    const NAMES: [&str; 34] = [
        "unspecified",
        "a hash",
        "an array",
        "an array of programs",
        "an array of perf events",
        "a hash per processor",
        "an array per processor",
        "an array of stack traces",
        "an array of cgroups",
        "a least-recently-used hash",
        "a least-recently-used hash per processor",
        "a longest-prefix trie",
        "an array of maps",
        "a hash of maps",
        "a map of devices",
        "a map of sockets",
        "a map of processors",
        "a map of XDP sockets",
        "a hash of sockets",
        "a deprecated cgroup storage",
        "a reuseport array",
        "a deprecated cgroup storage per processor",
        "a queue",
        "a stack",
        "a socket storage",
        "a hash of devices",
        "operations of a struct",
        "a ring buffer",
        "an inode storage",
        "a task storage",
        "a bloom filter",
        "a user ring buffer",
        "a cgroup storage",
        "an arena",
    ];
    let name = NAMES.get(map_type as usize);
    name.map_or_else(
        || format!("of type {map_type}"),
        |name| format!("{name} (type {map_type})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names() {
        assert_eq!(type_name(5), "a hash per processor (type 5)");
        assert_eq!(type_name(27), "a ring buffer (type 27)");
        assert_eq!(type_name(99), "of type 99");
    }

    #[test]
    fn a_number_is_found() {
        let text = b"pos:\t0\nmap_type:\t2\nmemlock:\t344\nfrozen:\t1\n";
        assert_eq!(
            (number(text, "memlock"), number(text, "frozen")),
            (Some(344), Some(1))
        );
        assert_eq!((number(text, "map"), number(text, "pos")), (None, Some(0)));
    }
}
