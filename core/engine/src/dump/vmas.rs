//! From the mappings of a process to the `vma_entry` messages of its image.

use std::os::unix::fs::PermissionsExt;

use criu_plugin_api::Verdict;
use criu_plugin_api::message::{MappingTarget, Purpose};
use criu_proto::Message;
use criu_proto::images::VmaEntry;

use super::context::Context as Dump;
use super::extra;
use super::memory::{Content, PAGE, Region};
use crate::error::{Context, Error, Result};
use crate::extra::RangeExtra;
use crate::proc::Mapping;

/// `vma_entry.status`: what a mapping is.
pub(crate) mod status {
    pub(crate) const REGULAR: u32 = 1 << 0;
    pub(crate) const VSYSCALL: u32 = 1 << 2;
    pub(crate) const VDSO: u32 = 1 << 3;
    pub(crate) const HEAP: u32 = 1 << 5;
    pub(crate) const FILE_PRIVATE: u32 = 1 << 6;
    pub(crate) const FILE_SHARED: u32 = 1 << 7;
    pub(crate) const ANON_PRIVATE: u32 = 1 << 9;
    pub(crate) const VVAR: u32 = 1 << 12;
    pub(crate) const SHADOW_STACK: u32 = 1 << 15;
    pub(crate) const GUARD: u32 = 1 << 16;
    pub(crate) const UPROBES: u32 = 1 << 17;
}

/// Flags of a pagemap entry.
pub(crate) mod pagemap {
    pub(crate) const LAZY: u32 = 1 << 1;
    pub(crate) const PRESENT: u32 = 1 << 2;
}

const MAP_DROPPABLE: u32 = 0x08;
/// Locked, but only what is touched (mlock2(2) with `MLOCK_ONFAULT`). The format has no word for it; beside
/// `MAP_LOCKED` this flag says the same, and mmap(2) ignores it.
const LOCK_ON_FAULT: i32 = libc::MAP_LOCKED | libc::MAP_NONBLOCK;
const MAP_HUGE_SHIFT: u32 = 26;

/// The mappings of a process as the image holds them, and the ranges whose pages belong to it.
#[derive(Debug, Default)]
pub(crate) struct Vmas {
    pub(crate) entries: Vec<VmaEntry>,
    pub(crate) regions: Vec<Region>,
    /// What mappings have beside.
    pub(crate) extras: Vec<RangeExtra>,
    /// Fields of `mm_entry` that kinds added.
    pub(crate) mm_fields: Vec<u8>,
}

/// Describes all mappings of a process; files behind them are dumped on the way.
///
/// # Errors
/// A mapping that cannot be saved is refused with its address.
pub(crate) fn collect(dump: &Dump, pid: i32, mappings: &[Mapping], shadow_pointers: &[u64]) -> Result<Vmas> {
    let mut vmas = Vmas {
        entries: Vec::with_capacity(mappings.len()),
        ..Vmas::default()
    };
    for mapping in mappings {
        if is_spare_shadow_stack(mapping, shadow_pointers) {
            continue;
        }
        let described = describe(dump, pid, mapping, &mut vmas).context(|| {
            format!(
                "dumping mapping {:#x}-{:#x} {} of process {pid}",
                mapping.start,
                mapping.end,
                String::from_utf8_lossy(&mapping.name)
            )
        });
        dump.blockers.note(described)?;
    }
    Ok(vmas)
}

/// Whether it is a shadow stack that the kernel has given to a thread beside the one that was restored: a page that
/// nobody has been on, nor can be, without a token.
fn is_spare_shadow_stack(mapping: &Mapping, pointers: &[u64]) -> bool {
    let used = |&pointer: &u64| mapping.start < pointer && pointer <= mapping.end;
    mapping.flags.has("ss")
        && mapping.end - mapping.start == PAGE
        && !mapping.touched
        && !pointers.iter().any(used)
}

fn describe(dump: &Dump, pid: i32, mapping: &Mapping, vmas: &mut Vmas) -> Result<()> {
    flags(dump, pid, mapping, vmas)?;
    let is_uprobes = mapping.name == b"[uprobes]";
    if is_uprobes && !dump.opts.allow_uprobes {
        return Err(Error::refused_but(
            format!("mapping {:#x}-{:#x}", mapping.start, mapping.end),
            "holds the slots of a user probe ([uprobes]); the probe itself cannot be saved",
            "remove the probe before the process meets it, or use --allow-uprobes here and on restore",
        ));
    }
    if !mapping.name.starts_with(b"[v") {
        vmas.extras.extend(extra::range(mapping));
    }
    let mut entry = common(mapping);
    match mapping.name.as_slice() {
        b"[vsyscall]" => {
            entry.status = status::VSYSCALL | status::ANON_PRIVATE;
            entry.flags |= libc::MAP_ANONYMOUS as u32;
        }
        b"[vdso]" => {
            entry.status |= status::VDSO | status::ANON_PRIVATE;
            entry.flags |= libc::MAP_ANONYMOUS as u32;
            vmas.regions
                .push(region(mapping, Content::Whole, pagemap::PRESENT));
        }
        // Filled by the kernel anew when a probe is met.
        _ if is_uprobes => {
            entry.status |= status::UPROBES | status::ANON_PRIVATE;
            entry.flags |= libc::MAP_ANONYMOUS as u32;
            entry.pgoff = 0;
        }
        b"[vvar]" | b"[vvar_vclock]" => {
            entry.status |= status::VVAR | status::ANON_PRIVATE;
            entry.flags |= libc::MAP_ANONYMOUS as u32;
            entry.pgoff = 0;
            // The image has one entry for all parts of the kernel's variables.
            if let Some(last) = vmas
                .entries
                .last_mut()
                .filter(|l| l.status & status::VVAR != 0 && l.end == entry.start)
            {
                last.end = entry.end;
                return Ok(());
            }
        }
        _ if claimed(dump, pid, mapping, &mut entry, vmas)? => {}
        _ if name_of_unsupported(mapping).is_some() => refuse_name(dump, mapping)?,
        _ if mapping.flags.has("io") || mapping.flags.has("pf") => {
            return Err(Error::refused_but(
                format!("mapping {:#x}-{:#x}", mapping.start, mapping.end),
                "maps a device, which only a plugin can save",
                "a plugin that claims this device is needed",
            ));
        }
        _ if is_private_anonymous(mapping) => anonymous(mapping, &mut entry, vmas),
        _ => file(dump, pid, mapping, &mut entry, vmas)?,
    }
    vmas.entries.push(entry);
    Ok(())
}

/// A name in brackets, or none, or huge pages without a file.
fn is_private_anonymous(mapping: &Mapping) -> bool {
    !mapping.shared
        && (!mapping.has_path() || (mapping.flags.has("ht") && mapping.name.starts_with(b"/anon_hugepage")))
}

fn anonymous(mapping: &Mapping, entry: &mut VmaEntry, vmas: &mut Vmas) {
    entry.status |= status::ANON_PRIVATE;
    entry.flags |= libc::MAP_ANONYMOUS as u32;
    // The offset of anonymous memory is where it was first mapped; it means nothing to anyone else.
    entry.pgoff = 0;
    if mapping.name == b"[heap]" {
        entry.status |= status::HEAP;
    }
    if mapping.flags.has("ss") {
        entry.status |= status::SHADOW_STACK;
    }
    if mapping.flags.has("dp") {
        entry.flags = entry.flags & !(libc::MAP_PRIVATE as u32) | MAP_DROPPABLE;
    }
    if mapping.flags.has("ht") {
        entry.flags |= libc::MAP_HUGETLB as u32 | mapping.page_size.trailing_zeros() << MAP_HUGE_SHIFT;
    }
    vmas.regions.push(region(
        mapping,
        Content::Anonymous,
        pagemap::PRESENT | pagemap::LAZY,
    ));
}

fn file(dump: &Dump, pid: i32, mapping: &Mapping, entry: &mut VmaEntry, vmas: &mut Vmas) -> Result<()> {
    let file = dump
        .files
        .mapping(dump, pid, mapping)
        .map_err(|error| unclaimed(dump, mapping).unwrap_or(error))?;
    entry.shmid = u64::from(file.id);
    entry.status |= file.vma_status;
    // A shared mapping that may become writable needs a descriptor that can write. Of a private one, which needs
    // none, only the link tells how its file was opened; one answer a file will do.
    let writable = if mapping.shared {
        mapping.flags.has("mw")
    } else {
        dump.files.opened_writable((mapping.dev, mapping.ino), || {
            let eye = dump.eye(pid);
            let link = format!("/proc/{eye}/map_files/{:x}-{:x}", mapping.start, mapping.end);
            let link = std::fs::symlink_metadata(&link).context(|| format!("looking at {link}"))?;
            Ok(link.permissions().mode() & libc::S_IWUSR != 0)
        })?
    };
    entry.fdflags = Some(if writable {
        libc::O_RDWR as u32
    } else {
        libc::O_RDONLY as u32
    });
    if mapping.shared {
        entry.status |= status::FILE_SHARED;
        vmas.regions.push(guards(mapping));
    } else {
        entry.status |= status::FILE_PRIVATE;
        vmas.regions
            .push(region(mapping, Content::PrivateFile, pagemap::PRESENT));
    }
    Ok(())
}

/// Why a mapping that is no file after all is not saved: the plugin that claims it was not found.
fn unclaimed(dump: &Dump, mapping: &Mapping) -> Option<Error> {
    if !dump.kinds.mapping(&mapping.name).is_empty() {
        return None;
    }
    let (what, remedy) = dump.kinds.nobody_for_mapping(&mapping.name)?;
    Some(Error::Refused {
        object: format!("mapping {:#x}-{:#x}", mapping.start, mapping.end),
        what,
        remedy,
    })
}

/// Whether a kind has claimed and described the mapping.
fn claimed(dump: &Dump, pid: i32, mapping: &Mapping, entry: &mut VmaEntry, vmas: &mut Vmas) -> Result<bool> {
    if mapping.name.is_empty() {
        return Ok(false);
    }
    for kind in dump.kinds.mapping(&mapping.name) {
        let target = MappingTarget {
            pid,
            vma: entry.encode_to_vec(),
            name: mapping.name.clone(),
            page_size: mapping.page_size,
            ..MappingTarget::default()
        };
        match kind.mapping()?.dump(&dump.host(&kind), &target)? {
            Verdict::NotMine => {}
            Verdict::Refused(refusal) => return Err(criu_plugin_api::Error::from(refusal).into()),
            Verdict::Entry(image) => {
                *entry = VmaEntry::decode(image.vma.as_slice()).map_err(|e| {
                    Error::malformed(format!("the mapping from kind {}", kind.name()), e.to_string())
                })?;
                vmas.mm_fields.extend_from_slice(&image.mm_fields);
                if image.dump_pages {
                    vmas.regions
                        .push(region(mapping, Content::Anonymous, pagemap::PRESENT));
                } else if mapping.shared {
                    vmas.regions.push(guards(mapping));
                }
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn region(mapping: &Mapping, content: Content, flags: u32) -> Region {
    let readable = mapping.prot & libc::PROT_READ as u32 != 0;
    Region {
        start: mapping.start,
        end: mapping.end,
        content,
        readable,
        shared: mapping.has_shared_pages,
        marked: mapping.flags.has("uw"),
        flags,
    }
}

/// Of a mapping whose contents are saved elsewhere.
fn guards(mapping: &Mapping) -> Region {
    Region {
        shared: false,
        marked: false,
        ..region(mapping, Content::Guards, 0)
    }
}

/// The fields that every mapping has.
fn common(mapping: &Mapping) -> VmaEntry {
    let flag = |name: &str, bit: i32| if mapping.flags.has(name) { bit as u32 } else { 0 };
    VmaEntry {
        start: mapping.start,
        end: mapping.end,
        pgoff: mapping.pgoff,
        shmid: 0,
        prot: mapping.prot,
        flags: if mapping.shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        } as u32
            | flag("gd", libc::MAP_GROWSDOWN)
            | flag("lo", libc::MAP_LOCKED)
            | flag("lf", LOCK_ON_FAULT)
            | flag("nr", libc::MAP_NORESERVE),
        status: status::REGULAR,
        fd: -1,
        madv: advice(mapping),
        fdflags: None,
    }
}

/// The madvise(2) advice in force, a bit each.
fn advice(mapping: &Mapping) -> Option<u64> {
    const ADVICE: [(&str, i32); 8] = [
        ("rr", libc::MADV_RANDOM),
        ("sr", libc::MADV_SEQUENTIAL),
        ("dc", libc::MADV_DONTFORK),
        ("mg", libc::MADV_MERGEABLE),
        ("hg", libc::MADV_HUGEPAGE),
        ("nh", libc::MADV_NOHUGEPAGE),
        ("dd", libc::MADV_DONTDUMP),
        ("wf", libc::MADV_WIPEONFORK),
    ];
    // MAP_DROPPABLE implies these two.
    let implied = |name: &str| mapping.flags.has("dp") && matches!(name, "wf" | "dd");
    let bits = ADVICE
        .iter()
        .filter(|(name, _)| mapping.flags.has(name) && !implied(name))
        .fold(0u64, |bits, &(_, advice)| bits | 1 << advice);
    (bits != 0).then_some(bits)
}

/// Names of mappings that nothing but a kind of their own can save: what they are, what would help.
fn name_of_unsupported(mapping: &Mapping) -> Option<(&'static str, &'static str)> {
    const NAMES: [(&[u8], &str, &str); 2] = [
        (
            b"/SYSV",
            "is System V shared memory",
            "POSIX shared memory can be saved",
        ),
        (
            b"/secretmem",
            "is secret memory, which nobody but its process may read",
            "unmap it first",
        ),
    ];
    let found = NAMES.iter().find(|(prefix, ..)| mapping.name.starts_with(prefix));
    found.map(|&(_, what, remedy)| (what, remedy))
}

fn refuse_name(dump: &Dump, mapping: &Mapping) -> Result<()> {
    let (what, remedy) = name_of_unsupported(mapping).unwrap_or_default();
    Err(unclaimed(dump, mapping).unwrap_or_else(|| {
        Error::refused_but(
            format!("mapping {:#x}-{:#x}", mapping.start, mapping.end),
            format!("{what}; not supported"),
            remedy,
        )
    }))
}

/// Has the kinds see to the flags that they claim. Others that stand for a state which a fresh mapping does not have
/// are refused.
fn flags(dump: &Dump, pid: i32, mapping: &Mapping, vmas: &mut Vmas) -> Result<()> {
    const UNSUPPORTED: [(&str, &str); 3] = [
        ("um", "is registered with a userfaultfd"),
        ("uw", "is write-protected by a userfaultfd"),
        ("ui", "is registered with a userfaultfd for minor faults"),
    ];
    let object = || format!("mapping {:#x}-{:#x}", mapping.start, mapping.end);
    let claimed = dump.kinds.vma_flags(|flag| mapping.flags.has(flag));
    for (flag, what) in UNSUPPORTED {
        let is_claimed = claimed
            .iter()
            .any(|(_, flags)| flags.iter().any(|known| known == flag));
        if is_claimed || !mapping.flags.has(flag) {
            continue;
        }
        let (why, remedy) = match dump.kinds.nobody_for_vma_flag(flag) {
            Some((why, remedy)) => (format!("{what}: {why}"), remedy),
            None => (format!("{what}, which is not supported"), None),
        };
        return Err(Error::Refused {
            object: object(),
            what: why,
            remedy,
        });
    }
    for (kind, flags) in claimed {
        let target = MappingTarget {
            pid,
            vma: common(mapping).encode_to_vec(),
            name: mapping.name.clone(),
            flags,
            page_size: mapping.page_size,
        };
        match kind.mapping()?.dump(&dump.host(&kind), &target)? {
            Verdict::Entry(image) => vmas.mm_fields.extend_from_slice(&image.mm_fields),
            Verdict::Refused(refusal) => return Err(criu_plugin_api::Error::from(refusal).into()),
            Verdict::NotMine => {
                let what = format!(
                    "has the flags {}, which no plugin sees to",
                    target.flags.join(" ")
                );
                return Err(Error::refused(object(), what));
            }
        }
    }
    Ok(())
}

/// Adds the guard ranges that a scan found, each behind the mapping it lies in.
pub(crate) fn add_guards(entries: &mut Vec<VmaEntry>, guards: &[(u64, u64)]) {
    let mut additions: Vec<VmaEntry> = Vec::new();
    for &(start, end) in guards {
        // Both ascend.
        let first = entries.partition_point(|e| e.end <= start);
        for entry in entries[first..].iter().take_while(|e| e.start < end) {
            additions.push(VmaEntry {
                start: start.max(entry.start),
                end: end.min(entry.end),
                status: status::GUARD,
                fd: -1,
                ..VmaEntry::default()
            });
        }
    }
    entries.extend(additions);
    // A stable sort by start keeps a mapping before the guards that begin with it.
    entries.sort_by_key(|entry| (entry.start, entry.status & status::GUARD));
}

/// The file behind a mapping, for [`super::files`].
pub(crate) const PURPOSE: Purpose = Purpose::Mapping;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_stack_that_nobody_was_on_is_passed_over() {
        let text = b"7000-8000 rw-p 0 00:00 0\nRss: 0 kB\nVmFlags: rd wr mr mw me ss\n\
            9000-a000 rw-p 0 00:00 0\nRss: 4 kB\nVmFlags: rd wr mr mw me ss\n\
            b000-d000 rw-p 0 00:00 0\nRss: 0 kB\nVmFlags: rd wr mr mw me ss\n\
            e000-f000 rw-p 0 00:00 0\nRss: 0 kB\nVmFlags: rd wr mr mw me\n";
        let mappings = crate::proc::parse_mappings(text);
        let spare = |pointers: &[u64]| -> Vec<bool> {
            mappings
                .iter()
                .map(|mapping| is_spare_shadow_stack(mapping, pointers))
                .collect()
        };
        assert_eq!(spare(&[]), [true, false, false, false]);
        // Where a thread is, even at the very end.
        assert_eq!(spare(&[0x8000]), [false; 4]);
    }
}
