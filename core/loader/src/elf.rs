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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLUGIN: &str = "plugin lamp\nversion 1.2.3\napi 1.0.0\nabi 1\npanic unwind\ndescription Light\n";
    const KIND: &str = "kind lamp\npoint file-kind/1\nclaim chr:240:*\n";

    fn note(kind: u32, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let size = u32::try_from(text.len().next_multiple_of(4)).unwrap();
        for word in [5, size, kind] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(b"criu\0\0\0\0");
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A shared object with one segment to load, which is also its notes.
    fn elf(notes: &[u8]) -> Vec<u8> {
        const START: u64 = 64 + 2 * 56;
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&3_u16.to_le_bytes());
        bytes.extend_from_slice(&MACHINE.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for half in [64_u16, 56, 2, 64, 0, 0] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        for kind in [PT_LOAD, PT_NOTE] {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&4_u32.to_le_bytes());
            let size = notes.len() as u64;
            for word in [START, START, START, size, size, 4] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        bytes.extend_from_slice(notes);
        bytes
    }

    fn whole() -> Vec<u8> {
        elf(&[note(PLUGIN_NOTE, PLUGIN), note(KIND_NOTE, KIND)].concat())
    }

    #[test]
    fn a_plugin_by_hand_is_read() {
        let notes = parse(whole().as_slice()).unwrap().unwrap();
        assert_eq!(
            (notes.plugin.name.as_str(), notes.plugin.version.as_str()),
            ("lamp", "1.2.3")
        );
        assert_eq!(notes.kinds[0].claims[0].to_string(), "chr:240:*");
    }

    #[test]
    fn incomplete_and_doubled_notes_are_refused() {
        let result = |notes: &[Vec<u8>]| parse(elf(&notes.concat()).as_slice());
        let kind = || note(KIND_NOTE, KIND);
        assert!(matches!(
            result(&[kind()]),
            Err((None, RefusedBecause::NoPluginNote))
        ));
        let plugin = || note(PLUGIN_NOTE, PLUGIN);
        assert!(matches!(
            result(&[plugin(), plugin()]),
            Err((None, RefusedBecause::SeveralPlugins))
        ));
        for line in [
            "plugin lamp\n",
            "version 1.2.3\n",
            "api 1.0.0\n",
            "abi 1\n",
            "panic unwind\n",
        ] {
            let without = note(PLUGIN_NOTE, &PLUGIN.replace(line, ""));
            assert!(
                matches!(result(&[without]), Err((None, RefusedBecause::Note(_)))),
                "{line}"
            );
        }
        let escape = note(PLUGIN_NOTE, &PLUGIN.replace("Light", "\x1b[2J"));
        assert!(matches!(result(&[escape]), Err((None, RefusedBecause::Note(_)))));
    }

    #[test]
    fn keys_that_are_not_known_are_passed_over() {
        let notes = [
            note(PLUGIN_NOTE, &format!("{PLUGIN}colour red\n")),
            note(KIND_NOTE, &format!("{KIND}speed 3\n")),
        ];
        assert!(parse(elf(&notes.concat()).as_slice()).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
            let mut bytes = whole();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = parse(bytes.as_slice());
        }

        #[test]
        fn cut_files_never_panic(length in 0_usize..600) {
            let bytes = whole();
            let cut = &bytes[..length.min(bytes.len())];
            // Less than the whole is never taken for a plugin.
            prop_assert!(cut.len() == bytes.len() || !matches!(parse(cut), Ok(Some(_))));
        }

        #[test]
        fn any_note_text_is_survived(plugin in "\\PC*", kind in "(kind|point|claim|[a-z]*)[ \\n]\\PC{0,40}", size in any::<u32>()) {
            let _ = PluginNote::parse(plugin.as_bytes());
            let _ = KindNote::parse(kind.as_bytes());
            let mut notes = [note(PLUGIN_NOTE, &plugin), note(KIND_NOTE, &kind)].concat();
            let _ = parse(elf(&notes).as_slice());
            notes[4..8].copy_from_slice(&size.to_le_bytes());
            let _ = parse(elf(&notes).as_slice());
        }

        #[test]
        fn any_claim_is_survived(text in "(anon|link|chr|blk|socket|file|path|map|vma-status|image|task|stage):[ -~]{0,20}") {
            if let Ok(claim) = text.parse::<criu_plugin_api::Claim>() {
                prop_assert_eq!(claim.to_string().parse::<criu_plugin_api::Claim>().unwrap(), claim);
            }
        }
    }
}
