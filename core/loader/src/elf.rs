//! Reads the notes of a plugin's file, and nothing else of it.

use std::fs::File;

use criu_plugin_api::note::{KIND_NOTE, KindNote, NOTE_NAME, PLUGIN_NOTE, PluginNote};
use object::Endianness;
use object::elf::{ELFCLASS64, FileHeader64, PT_LOAD, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};

use crate::error::RefusedBecause;

/// Most segments of a file that are looked at.
const MAX_SEGMENTS: usize = 256;
/// Longest segment of notes that is read, in bytes.
const MAX_NOTES: u64 = 1 << 20;
/// Most notes that are looked at.
const MAX_COUNT: usize = 4096;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = object::elf::EM_AARCH64;

/// What a plugin's file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNotes {
    /// The plugin.
    pub plugin: PluginNote,
    /// Its kinds, in the order of their names.
    pub kinds: Vec<KindNote>,
}

/// Reads the notes of a file; `None` when it is not a shared object, or has no notes of ours.
///
/// # Errors
/// It is a plugin and cannot be used; the name of the plugin comes with it as far as it is known.
pub fn read_notes(file: &File) -> Result<Option<FileNotes>, (Option<String>, RefusedBecause)> {
    let cache = ReadCache::new(file);
    parse(&cache)
}

/// The same from any source of bytes.
pub(crate) fn parse<'data, R: ReadRef<'data>>(
    data: R,
) -> Result<Option<FileNotes>, (Option<String>, RefusedBecause)> {
    let Ok(header) = FileHeader64::<Endianness>::parse(data) else {
        return Ok(None);
    };
    if header.e_ident().class != ELFCLASS64 {
        return Ok(None);
    }
    let mut plugins = Vec::new();
    let mut kinds = Vec::new();
    if let Err(cause) = collect(header, data, &mut plugins, &mut kinds) {
        // What is no plugin may be damaged as it likes.
        let ours = !plugins.is_empty() || !kinds.is_empty();
        return if ours {
            Err((None, RefusedBecause::Damaged(cause)))
        } else {
            Ok(None)
        };
    }
    if plugins.is_empty() && kinds.is_empty() {
        return Ok(None);
    }
    assemble(header, &plugins, &kinds).map(Some)
}

type Notes<'data> = Vec<&'data [u8]>;

fn collect<'data, R: ReadRef<'data>>(
    header: &FileHeader64<Endianness>,
    data: R,
    plugins: &mut Notes<'data>,
    kinds: &mut Notes<'data>,
) -> Result<(), String> {
    let text = |error: object::read::Error| error.to_string();
    let endian = header.endian().map_err(text)?;
    let segments = header.program_headers(endian, data).map_err(text)?;
    let mut count = 0;
    for segment in segments
        .iter()
        .take(MAX_SEGMENTS)
        .filter(|segment| segment.p_type(endian) == PT_NOTE)
    {
        if segment.p_filesz(endian) > MAX_NOTES {
            return Err(format!(
                "a segment of notes has {} bytes",
                segment.p_filesz(endian)
            ));
        }
        let Some(mut notes) = segment.notes(endian, data).map_err(text)? else {
            continue;
        };
        while let Some(note) = notes.next().map_err(text)? {
            count += 1;
            if count > MAX_COUNT {
                return Err(format!("more than {MAX_COUNT} notes"));
            }
            match (note.name(), note.n_type(endian)) {
                (NOTE_NAME, PLUGIN_NOTE) => plugins.push(note.desc()),
                (NOTE_NAME, KIND_NOTE) => kinds.push(note.desc()),
                _ => {}
            }
        }
    }
    check_length(segments, endian, data)
}

/// The dynamic loader maps what the segments say, and dies of SIGBUS where the file ends before.
fn check_length<'data, R: ReadRef<'data>>(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    data: R,
) -> Result<(), String> {
    let length = data.len().map_err(|()| "its length is unknown".to_owned())?;
    let loads = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD);
    match loads
        .map(|load| load.p_offset(endian).saturating_add(load.p_filesz(endian)))
        .max()
    {
        Some(end) if end > length => Err(format!("it is truncated: {length} bytes of {end}")),
        Some(_) => Ok(()),
        None => Err("it has nothing to load".to_owned()),
    }
}

fn assemble(
    header: &FileHeader64<Endianness>,
    plugins: &[&[u8]],
    kinds: &[&[u8]],
) -> Result<FileNotes, (Option<String>, RefusedBecause)> {
    let plugin = match plugins {
        [] => return Err((None, RefusedBecause::NoPluginNote)),
        [note] => PluginNote::parse(note).map_err(|error| (None, error.into()))?,
        _ => return Err((None, RefusedBecause::SeveralPlugins)),
    };
    let named = |why| (Some(plugin.name.clone()), why);
    let endian = header
        .endian()
        .map_err(|error| named(RefusedBecause::Damaged(error.to_string())))?;
    if header.e_machine(endian) != MACHINE {
        return Err(named(RefusedBecause::Architecture));
    }
    // A newer plugin may speak of things that are not known here: its version is the clearer reason.
    crate::loader::check_version(&plugin).map_err(named)?;
    let mut kinds = kinds
        .iter()
        .map(|note| KindNote::parse(note))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| named(e.into()))?;
    kinds.sort_by(|a, b| (&a.name, a.point).cmp(&(&b.name, b.point)));
    Ok(FileNotes { plugin, kinds })
}
