//! A vdso of another kernel, or of another processor: its bytes stay where the process knows them, and each of
//! its functions becomes a jump into the vdso of the kernel that runs now.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

use crate::error::{Error, Result};

/// `movabs rax, ADDRESS; jmp rax`. The functions take no argument in rax and may change it.
const JUMP: usize = 12;
/// Functions that need nothing of the kernel's data: without a successor they stay as they are.
const STANDALONE: [&str; 1] = ["__vdso_sgx_enter_enclave"];

/// A function of a vdso.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    name: String,
    offset: u64,
    size: u64,
}

/// The dumped vdso with its functions led to those of `own`, which will be at `address`.
///
/// # Errors
/// One is not an ELF image, or a function has no successor.
pub(super) fn redirect(object: &str, dumped: &[u8], own: &[u8], address: u64) -> Result<Vec<u8>> {
    let theirs = functions(dumped).ok_or_else(|| {
        Error::malformed(
            object,
            "differs from that of the running kernel, and is no ELF image",
        )
    })?;
    let ours =
        functions(own).ok_or_else(|| Error::malformed("the vdso of this kernel", "is no ELF image"))?;
    let mut patched = dumped.to_vec();
    for function in &theirs {
        let successor = ours.iter().find(|ours| ours.name == function.name);
        let Some(successor) = successor else {
            if STANDALONE.contains(&function.name.as_str()) {
                continue;
            }
            return Err(Error::refused_but(
                object,
                format!(
                    "has the function {}, which the running kernel does not have",
                    function.name
                ),
                "restore on a kernel as new as the one that it was dumped on",
            ));
        };
        let start = usize::try_from(function.offset).unwrap_or(usize::MAX);
        let place = start
            .checked_add(JUMP)
            .and_then(|end| patched.get_mut(start..end));
        let Some(place) = place.filter(|_| function.size >= JUMP as u64) else {
            return Err(Error::malformed(
                object,
                format!("has no room for a jump in its function {}", function.name),
            ));
        };
        place.copy_from_slice(&jump(address + successor.offset));
    }
    Ok(patched)
}

fn jump(to: u64) -> [u8; JUMP] {
    let mut code = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0];
    code[2..10].copy_from_slice(&to.to_le_bytes());
    code
}

/// The functions that an image exports; none if it is no ELF image.
fn functions(image: &[u8]) -> Option<Vec<Function>> {
    let elf = ElfFile64::<Endianness>::parse(image).ok()?;
    let named = elf.dynamic_symbols().filter(|symbol| {
        symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.address() != 0
    });
    let functions: Vec<Function> = named
        .filter_map(|symbol| {
            Some(Function {
                name: symbol.name().ok()?.to_owned(),
                offset: symbol.address(),
                size: symbol.size(),
            })
        })
        .collect();
    (!functions.is_empty()).then_some(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vdso of this very process.
    fn own() -> Vec<u8> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        super::super::sys::bytes_at(number(start) as u64, number(end) - number(start)).to_vec()
    }

    #[test]
    fn every_function_leads_to_its_successor() {
        let own = own();
        let all = functions(&own).unwrap();
        assert!(all.iter().any(|f| f.name == "__vdso_clock_gettime"));
        let patched = redirect("the vdso", &own, &own, 0x7000_0000_0000).unwrap();
        for function in all {
            let at = function.offset as usize;
            assert_eq!(patched[at..at + JUMP], jump(0x7000_0000_0000 + function.offset));
        }
    }

    #[test]
    fn a_function_without_successor_is_named() {
        let own = own();
        let at = own
            .windows(21)
            .position(|w| w == b"__vdso_clock_gettime\0")
            .unwrap();
        let mut other = own.clone();
        other[at] = b'X';
        let error = redirect("the vdso", &other, &own, 0).unwrap_err().to_string();
        assert!(error.contains("X_vdso_clock_gettime"), "{error}");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let own = own();
        assert!(redirect("the vdso", &own[..40], &own, 0).is_err());
        let mut cut = own.clone();
        cut[0x200..].fill(0xff);
        assert!(redirect("the vdso", &cut, &own, 0).is_err());
    }
}
