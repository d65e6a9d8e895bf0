//! `criu cpuinfo dump` and `criu cpuinfo check`: what a processor can do, written down and compared.

use std::path::PathBuf;

use criu_engine::options::{CpuCap, Options};
use criu_images::{ImageDir, magic};
use criu_proto::images::{CpuinfoEntry, CpuinfoX86Entry};

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

/// Why a processor was not described or does not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpuinfoError {
    #[error("opening the images directory {}", path.display())]
    Directory {
        path: PathBuf,
        source: Box<criu_images::Error>,
    },
    #[error("writing the description of this processor")]
    Write { source: Box<criu_images::Error> },
    #[error("reading the description of the processor in {}", path.display())]
    Read {
        path: PathBuf,
        source: Box<criu_images::Error>,
    },
    #[error("{} describes no processor of this kind of machine", path.display())]
    Foreign { path: PathBuf },
    #[error("this processor lacks what the images were made with: {}", differences.join("; "))]
    Mismatch { differences: Vec<String> },
}

impl CpuinfoError {
    /// What the user can do.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            CpuinfoError::Mismatch { .. } => Some(
                "restore on a processor that has it, or ask for less with --cpu-cap (none, fpu, ins, cpu, all)",
            ),
            CpuinfoError::Read { .. } => {
                Some("make it with `criu cpuinfo dump`, or by a dump with --cpu-cap, where the processes ran")
            }
            _ => None,
        }
    }
}

/// What is asked for when `--cpu-cap` is absent.
fn asked(options: &Options) -> CpuCap {
    options.cpu_cap.unwrap_or(CpuCap::FPU | CpuCap::INS)
}

/// Writes `cpuinfo.img`; nothing with `--cpu-cap=none`.
pub(crate) fn dump(options: &Options) -> Result<(), CpuinfoError> {
    if asked(options) == CpuCap::NONE {
        return Ok(());
    }
    let entry = CpuinfoEntry {
        x86_entry: vec![arch::describe()],
        ..CpuinfoEntry::default()
    };
    open(options)?
        .write_one(&magic::CPUINFO, 0, &entry)
        .map_err(|source| CpuinfoError::Write {
            source: Box::new(source),
        })
}

/// Compares `cpuinfo.img` with this processor, as far as `--cpu-cap` asks.
pub(crate) fn check(options: &Options) -> Result<(), CpuinfoError> {
    let asked = asked(options);
    if asked == CpuCap::NONE {
        return Ok(());
    }
    let path = options.images_dir.join("cpuinfo.img");
    let entry: CpuinfoEntry =
        open(options)?
            .read_one(&magic::CPUINFO, 0)
            .map_err(|source| CpuinfoError::Read {
                path: path.clone(),
                source: Box::new(source),
            })?;
    let [saved] = entry.x86_entry.as_slice() else {
        return Err(CpuinfoError::Foreign { path });
    };
    let differences = compare(saved, &arch::describe(), asked);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(CpuinfoError::Mismatch { differences })
    }
}

/// The same before a restore, where `--cpu-cap` asks for it. A set without the image was made without `--cpu-cap`:
/// that does for the floating point state, which every restore compares anyway.
pub(crate) fn check_before_restore(options: &Options) -> Result<(), CpuinfoError> {
    let Some(asked) = options.cpu_cap else {
        return Ok(());
    };
    let open = open(options)?;
    let saved = open
        .exists(&magic::CPUINFO.file_name(0))
        .map_err(|source| CpuinfoError::Read {
            path: options.images_dir.join("cpuinfo.img"),
            source: Box::new(source),
        })?;
    if !saved && asked == CpuCap::FPU {
        return Ok(());
    }
    check(options)
}

fn open(options: &Options) -> Result<ImageDir, CpuinfoError> {
    let path = &options.images_dir;
    ImageDir::open(path).map_err(|source| CpuinfoError::Directory {
        path: path.clone(),
        source: Box::new(source),
    })
}

/// What `here` lacks of `saved`, in words; empty when it will do.
fn compare(saved: &CpuinfoX86Entry, here: &CpuinfoX86Entry, asked: CpuCap) -> Vec<String> {
    let mut differences = Vec::new();
    if asked.contains(CpuCap::CPU) && saved.vendor_id != here.vendor_id {
        differences.push(format!(
            "another vendor (saved {}, here {})",
            saved.vendor_id, here.vendor_id
        ));
    }
    if asked.contains(CpuCap::FPU) {
        compare_fpu(saved, here, &mut differences);
    }
    for (index, word) in arch::WORDS.iter().enumerate() {
        // An image of another version may have fewer words: what it does not say is not compared.
        let (Some(saved), Some(here)) = (saved.capability.get(index), here.capability.get(index)) else {
            continue;
        };
        if asked.contains(CpuCap::CPU) && word.comparable && saved != here {
            differences.push(format!(
                "{} differs (saved {saved:#010x}, here {here:#010x})",
                word.name
            ));
        } else if asked.contains(CpuCap::INS) {
            let missing = saved & !here & word.instructions;
            if missing != 0 {
                differences.push(format!(
                    "instructions of {} missing (bits {})",
                    word.name,
                    bits(missing)
                ));
            }
        }
    }
    differences
}

fn compare_fpu(saved: &CpuinfoX86Entry, here: &CpuinfoX86Entry, differences: &mut Vec<String>) {
    for (index, word) in arch::WORDS.iter().enumerate() {
        let (Some(saved), Some(here)) = (saved.capability.get(index), here.capability.get(index)) else {
            continue;
        };
        let missing = saved & !here & word.fpu;
        if missing != 0 {
            differences.push(format!(
                "floating point state of {} missing (bits {})",
                word.name,
                bits(missing)
            ));
        }
    }
    let (Some(saved_mask), Some(mask)) = (saved.xfeatures_mask, here.xfeatures_mask) else {
        return;
    };
    let missing = saved_mask & !mask;
    if missing != 0 {
        differences.push(format!(
            "extended states {missing:#x} missing (saved {saved_mask:#x}, here {mask:#x})"
        ));
    }
    if saved_mask == mask && saved.xsave_size > here.xsave_size {
        let size = |entry: &CpuinfoX86Entry| entry.xsave_size.unwrap_or(0);
        let (was, is) = (size(saved), size(here));
        differences.push(format!(
            "the extended state is smaller (saved {was} bytes, here {is})"
        ));
    }
}

/// The numbers of the set bits.
fn bits(word: u32) -> String {
    let set = (0..32)
        .filter(|bit| word >> bit & 1 == 1)
        .map(|bit| bit.to_string());
    set.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &std::path::Path, cap: Option<&str>) -> Options {
        let cpu_cap = cap.map(|cap| cap.parse().unwrap());
        Options {
            images_dir: dir.to_owned(),
            cpu_cap,
            ..Options::default()
        }
    }

    #[test]
    fn a_processor_does_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        dump(&options(dir.path(), None)).unwrap();
        for cap in ["none", "fpu", "ins", "cpu", "all"] {
            check(&options(dir.path(), Some(cap))).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_when_nothing_is_to_match() {
        let dir = tempfile::tempdir().unwrap();
        dump(&options(dir.path(), Some("none"))).unwrap();
        assert!(!dir.path().join("cpuinfo.img").exists());
        check(&options(dir.path(), Some("none"))).unwrap();
        assert!(matches!(
            check(&options(dir.path(), None)),
            Err(CpuinfoError::Read { .. })
        ));
    }

    #[test]
    fn what_is_missing_here_is_named() {
        let here = arch::describe();
        let word = arch::WORDS
            .iter()
            .position(|word| word.name == "CPUID 7.0 EBX")
            .unwrap();
        // Bit 27 (AVX512ER) is in no processor that still runs this; make sure it is not here.
        let mut weaker = here.clone();
        weaker.capability[word] &= !(1 << 27);
        let mut saved = weaker.clone();
        saved.capability[word] |= 1 << 27;
        assert_eq!(compare(&saved, &weaker, CpuCap::FPU), Vec::<String>::new());
        let lacking = compare(&saved, &weaker, CpuCap::INS);
        assert_eq!(lacking.len(), 1, "{lacking:?}");
        assert!(lacking[0].contains("bits 27"), "{lacking:?}");
        // More than was saved is no harm, unless an exact match is asked for.
        assert!(compare(&weaker, &saved, CpuCap::INS).is_empty());
        assert_eq!(compare(&weaker, &saved, CpuCap::CPU).len(), 1);
    }

    #[test]
    fn extended_states_must_all_be_there() {
        let here = arch::describe();
        let mut saved = here.clone();
        saved.xfeatures_mask = Some(here.xfeatures_mask.unwrap_or(0) | 1 << 62);
        assert_eq!(compare(&saved, &here, CpuCap::FPU).len(), 1);
        assert!(compare(&here, &saved, CpuCap::FPU).is_empty());
        assert!(compare(&saved, &here, CpuCap::INS).is_empty());
    }

    #[test]
    fn the_description_agrees_with_the_kernel() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let field = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))
                .unwrap();
            line.split_once(':').unwrap().1.trim().to_owned()
        };
        let here = arch::describe();
        assert_eq!(here.cpu_family.to_string(), field("cpu family"));
        assert_eq!(here.model.to_string(), field("model"));
        assert_eq!(here.stepping.to_string(), field("stepping"));
        assert_eq!(here.model_id.as_deref(), Some(field("model name").as_str()));
        assert_eq!(here.capability.len(), arch::WORDS.len());
    }
}
