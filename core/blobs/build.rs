//! Builds the two blobs with the compiler itself and turns each ELF file into a flat image, a
//! table of relocations and the offsets of its entries.
//!
//! The compiler is run directly: a nested cargo would wait for the outer one's lock and inherit
//! its flags.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, SectionFlags};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SHF_ALLOC: u64 = 2;
const SHF_TLS: u64 = 0x400;
const R_X86_64_RELATIVE: u32 = 8;

fn main() -> Result<()> {
    for watched in [
        "build.rs",
        "blob.ld",
        "rt",
        "parasite",
        "restorer",
        "src/wire.rs",
        "src/restore.rs",
    ] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-env-changed=RUSTC");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    if arch != "x86_64" {
        return Err(format!(
            "the blobs are not ported to {arch} yet: only x86_64 has an entry and a linker script"
        )
        .into());
    }
    let mut code = String::new();
    for name in ["parasite", "restorer"] {
        let elf = compile(name, &out)?;
        extract(name, &elf, &out, &mut code).map_err(|e| format!("blob {name}: {e}"))?;
    }
    fs::write(out.join("blobs.rs"), code)?;
    Ok(())
}

/// Compiles `NAME/main.rs` to a static position-independent program without libc.
fn compile(name: &str, out: &Path) -> Result<PathBuf> {
    let elf = out.join(format!("{name}.elf"));
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .args([
            "--edition=2024",
            "--target=x86_64-unknown-linux-gnu",
            "--crate-type=bin",
            "--cfg=blob",
        ])
        .args([
            "--check-cfg=cfg(blob)",
            "-Cpanic=abort",
            "-Crelocation-model=pic",
            "-Ccodegen-units=1",
        ])
        .args([
            "-Copt-level=s",
            "-Clto=fat",
            "-Cembed-bitcode=yes",
            "-Cdebuginfo=0",
            "-Coverflow-checks=off",
        ])
        .args([
            "-Cdebug-assertions=off",
            "-Cforce-unwind-tables=no",
            "-Crelro-level=off",
            "-Adead-code",
        ])
        .args([
            "-Ctarget-cpu=x86-64",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
        ])
        .args([
            "-Clink-arg=-static-pie",
            "-Clink-arg=-Wl,--build-id=none",
            "-Clink-arg=-Wl,--gc-sections",
        ])
        .arg("-Clink-arg=-Wl,--no-dynamic-linker")
        .arg(format!("-Clink-arg=-Wl,-T,{}", here.join("blob.ld").display()))
        .arg(format!("--crate-name={name}"))
        .arg("-o")
        .arg(&elf)
        .arg(here.join(name).join("main.rs"));
    for (key, _) in env::vars_os() {
        let k = key.to_string_lossy();
        if k.contains("RUSTFLAGS") || k == "RUSTC_WRAPPER" || k == "MAKEFLAGS" {
            rustc.env_remove(&key);
        }
    }
    let run = rustc.output()?;
    let text = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("compiling the {name} blob failed:\n{text}").into());
    }
    for line in text.lines().filter(|l| !l.is_empty()) {
        println!("cargo::warning={line}");
    }
    Ok(elf)
}

/// Checks the ELF file and appends the `Blob` constant made from it to `code`.
fn extract(name: &str, path: &Path, out: &Path, code: &mut String) -> Result<()> {
    let data = fs::read(path)?;
    let elf = ElfFile64::<Endianness>::parse(&*data)?;
    let symbol = |wanted: &str| {
        elf.symbols()
            .find(|s| s.name() == Ok(wanted))
            .map(|s| s.address())
            .ok_or(format!("no symbol {wanted}"))
    };
    let (rw, end) = (symbol("__blob_rw")?, symbol("__blob_end")?);
    let mut image = vec![0u8; usize::try_from(end)?];
    let mut file_end = 0;
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        let at = usize::try_from(section.address())?;
        if sh_flags & SHF_TLS != 0 {
            return Err("has thread-local storage, for which nobody sets up a thread pointer".into());
        }
        if sh_flags & SHF_ALLOC == 0 || section.address() >= end || section.size() == 0 {
            continue;
        }
        let bytes = section.data()?;
        image
            .get_mut(at..at + bytes.len())
            .ok_or("a section outside of the image")?
            .copy_from_slice(bytes);
        if !bytes.is_empty() {
            file_end = file_end.max(at + bytes.len());
        }
    }
    if let Some(undefined) = elf.symbols().find(|s| s.is_undefined() && s.name() != Ok("")) {
        return Err(format!("the symbol {} is not defined", undefined.name()?).into());
    }
    let mut relocs = String::new();
    for (offset, reloc) in elf.dynamic_relocations().into_iter().flatten() {
        let RelocationFlags::Elf {
            r_type: R_X86_64_RELATIVE,
        } = reloc.flags()
        else {
            return Err(format!(
                "relocation {:?} at {offset:#x} is not R_X86_64_RELATIVE",
                reloc.flags()
            )
            .into());
        };
        if offset < rw || offset + 8 > end {
            return Err(format!("the relocation at {offset:#x} is outside of the writable part").into());
        }
        file_end = file_end.max(usize::try_from(offset)? + 8);
        write!(relocs, "({offset:#x}, {:#x}), ", reloc.addend())?;
    }
    let mut entries = String::new();
    for s in elf.symbols().filter(|s| s.is_definition()) {
        if let Some(entry) = s.name()?.strip_prefix("entry_") {
            write!(entries, "({entry:?}, {:#x}), ", s.address())?;
        }
    }
    if entries.is_empty() {
        return Err("no symbol entry_*".into());
    }
    image.truncate(file_end);
    fs::write(out.join(format!("{name}.bin")), &image)?;
    writeln!(
        code,
        "/// The {name}.\npub const {}: Blob = Blob {{ name: {name:?}, image: include_bytes!(concat!(env!(\"OUT_DIR\"), \
         \"/{name}.bin\")), size: {end:#x}, rw_start: {rw:#x}, entries: &[{entries}], relocs: &[{relocs}] }};",
        name.to_uppercase()
    )?;
    Ok(())
}
