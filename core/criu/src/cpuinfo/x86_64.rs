//! The processor as CPUID describes it (Intel SDM volume 2A, AMD APM volume 3 appendix E).

use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};

use criu_proto::images::CpuinfoX86Entry;
use criu_proto::images::cpuinfo_x86_entry::Vendor;

/// One word of capabilities.
pub(super) struct Word {
    pub(super) name: &'static str,
    source: Source,
    /// The bits that stand for instructions a program may have chosen at its start.
    pub(super) instructions: u32,
    /// The bits that decide the form of the saved floating point state.
    pub(super) fpu: u32,
    /// Whether the word is the same on each core and at each time, so that it can be compared as a whole.
    pub(super) comparable: bool,
}

/// Where a word comes from.
#[derive(Clone, Copy)]
enum Source {
    /// Leaf, subleaf and register of CPUID.
    Cpuid(u32, u32, Register),
    /// A word of the kernel's own making, which a program cannot ask for: always 0.
    Kernel,
}

#[derive(Clone, Copy)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

const fn mask(bits: &[u32]) -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < bits.len() {
        mask |= 1 << bits[i];
        i += 1;
    }
    mask
}

const fn word(name: &'static str, source: Source, instructions: &[u32]) -> Word {
    let comparable = matches!(source, Source::Cpuid(..));
    Word {
        name,
        source,
        instructions: mask(instructions),
        fpu: 0,
        comparable,
    }
}

const fn with_fpu(mut word: Word, bits: &[u32]) -> Word {
    word.fpu = mask(bits);
    word
}

const fn volatile(mut word: Word) -> Word {
    word.comparable = false;
    word
}

use Register::{Eax, Ebx, Ecx, Edx};
use Source::{Cpuid, Kernel};

/// The words in the order of Linux's own (arch/x86/include/asm/cpufeatures.h), 21 of them.
pub(super) static WORDS: [Word; 21] = [
    // FPU, TSC, CX8, CMOV, CLFLUSH, MMX, FXSR, SSE, SSE2
    with_fpu(
        word(
            "CPUID 1 EDX",
            Cpuid(1, 0, Edx),
            &[0, 4, 8, 15, 19, 23, 24, 25, 26],
        ),
        &[0, 24],
    ),
    // SYSCALL, MMXEXT, FXSR_OPT, RDTSCP, LM, 3DNOWEXT, 3DNOW
    word(
        "CPUID 80000001 EDX",
        Cpuid(0x8000_0001, 0, Edx),
        &[11, 22, 25, 27, 29, 30, 31],
    ),
    word("CPUID 80860001 EDX", Cpuid(0x8086_0001, 0, Edx), &[]),
    word("kernel word 3", Kernel, &[]),
    // SSE3, PCLMULQDQ, SSSE3, FMA, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, OSXSAVE, AVX, F16C, RDRAND
    with_fpu(
        word(
            "CPUID 1 ECX",
            Cpuid(1, 0, Ecx),
            &[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30],
        ),
        &[26, 27],
    ),
    word("CPUID C0000001 EDX", Cpuid(0xc000_0001, 0, Edx), &[]),
    // LAHF, ABM, SSE4A, MISALIGNSSE, 3DNOWPREFETCH, XOP, FMA4, TBM, MWAITX
    word(
        "CPUID 80000001 ECX",
        Cpuid(0x8000_0001, 0, Ecx),
        &[0, 5, 6, 7, 8, 11, 16, 21, 29],
    ),
    word("kernel word 7", Kernel, &[]),
    word("kernel word 8", Kernel, &[]),
    // FSGSBASE, BMI1, HLE, AVX2, BMI2, RTM, AVX512F, DQ, RDSEED, ADX, IFMA, CLFLUSHOPT, CLWB, PF, ER, CD, SHA, BW, VL
    word(
        "CPUID 7.0 EBX",
        Cpuid(7, 0, Ebx),
        &[
            0, 3, 4, 5, 8, 11, 16, 17, 18, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31,
        ],
    ),
    // XSAVEOPT, XSAVEC, XGETBV with ECX 1
    word("CPUID D.1 EAX", Cpuid(0xd, 1, Eax), &[0, 1, 2]),
    word("kernel word 11", Kernel, &[]),
    // SHA512, SM3, SM4, AVX-VNNI, AVX512-BF16, CMPccXADD, AMX-FP16, AVX-IFMA
    word("CPUID 7.1 EAX", Cpuid(7, 1, Eax), &[0, 1, 2, 4, 5, 7, 21, 23]),
    // CLZERO, RDPRU
    word("CPUID 80000008 EBX", Cpuid(0x8000_0008, 0, Ebx), &[0, 4]),
    volatile(word("CPUID 6 EAX", Cpuid(6, 0, Eax), &[])),
    word("CPUID 8000000A EDX", Cpuid(0x8000_000a, 0, Edx), &[]),
    // PREFETCHWT1, VBMI, OSPKE, WAITPKG, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ, RDPID, CLDEMOTE,
    // MOVDIRI, MOVDIR64B
    word(
        "CPUID 7.0 ECX",
        Cpuid(7, 0, Ecx),
        &[0, 1, 4, 5, 6, 8, 9, 10, 11, 12, 14, 22, 25, 27, 28],
    ),
    word("CPUID 80000007 EBX", Cpuid(0x8000_0007, 0, Ebx), &[]),
    // 4VNNIW, 4FMAPS, VP2INTERSECT, SERIALIZE, TSXLDTRK, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8
    word(
        "CPUID 7.0 EDX",
        Cpuid(7, 0, Edx),
        &[2, 3, 8, 14, 16, 22, 23, 24, 25],
    ),
    word("CPUID 8000001F EAX", Cpuid(0x8000_001f, 0, Eax), &[]),
    word("CPUID 80000021 EAX", Cpuid(0x8000_0021, 0, Eax), &[]),
];

/// The version of the list of words that the description carries.
const CAPABILITY_VERSION: u32 = 2;

/// Bit 27 of word 4: the kernel has turned on XSAVE and XGETBV.
const OSXSAVE: u32 = 1 << 27;

#[allow(
    unused_unsafe,
    reason = "whether the intrinsic is unsafe differs between versions of Rust"
)]
fn leaf(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has CPUID, and it changes nothing but its result registers.
    unsafe { __cpuid_count(leaf, subleaf) }
}

/// A leaf's registers; zero where the processor does not have the leaf.
fn checked_leaf(number: u32, subleaf: u32) -> CpuidResult {
    let none = CpuidResult {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    };
    let group = number & 0xffff_0000;
    // The first leaf of each group names the last one; in a group that does not exist it holds something else.
    let last = leaf(group, 0).eax;
    let has = last & 0xffff_0000 == group && last >= number;
    // Leaf 7 names its last subleaf in turn.
    if !has || (number == 7 && subleaf > leaf(7, 0).eax) {
        none
    } else {
        leaf(number, subleaf)
    }
}

fn value(source: Source) -> u32 {
    let Cpuid(number, subleaf, register) = source else {
        return 0;
    };
    let result = checked_leaf(number, subleaf);
    match register {
        Eax => result.eax,
        Ebx => result.ebx,
        Ecx => result.ecx,
        Edx => result.edx,
    }
}

/// The running processor.
pub(super) fn describe() -> CpuinfoX86Entry {
    let capability: Vec<u32> = WORDS.iter().map(|word| value(word.source)).collect();
    let (family, model, stepping) = signature(checked_leaf(1, 0).eax);
    let mut entry = CpuinfoX86Entry {
        cpu_family: family,
        model,
        stepping,
        capability_ver: CAPABILITY_VERSION,
        model_id: brand(),
        ..CpuinfoX86Entry::default()
    };
    entry.set_vendor_id(vendor());
    if capability[4] & OSXSAVE != 0 {
        let sizes = checked_leaf(0xd, 0);
        entry.xfeatures_mask = Some(enabled_states());
        entry.xsave_size = Some(sizes.ebx);
        entry.xsave_size_max = Some(sizes.ecx);
    }
    entry.capability = capability;
    entry
}

/// The extended states that the kernel has turned on (XCR0).
fn enabled_states() -> u64 {
    #[target_feature(enable = "xsave")]
    #[allow(
        unused_unsafe,
        reason = "whether it is unsafe differs between versions of Rust"
    )]
    fn read() -> u64 {
        // SAFETY: register 0 exists wherever XGETBV does.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: called only where OSXSAVE is set, so XGETBV exists and is allowed.
    unsafe { read() }
}

fn vendor() -> Vendor {
    let CpuidResult { ebx, ecx, edx, .. } = leaf(0, 0);
    let mut name = [0u8; 12];
    for (bytes, register) in name.chunks_exact_mut(4).zip([ebx, edx, ecx]) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    match &name {
        b"GenuineIntel" => Vendor::Intel,
        b"AuthenticAMD" => Vendor::Amd,
        _ => Vendor::Unknown,
    }
}

/// Family, model and stepping out of the register that packs them, extended fields included.
fn signature(eax: u32) -> (u32, u32, u32) {
    let base = eax >> 8 & 0xf;
    let family = if base == 0xf {
        base + (eax >> 20 & 0xff)
    } else {
        base
    };
    let low = eax >> 4 & 0xf;
    let model = if base == 0xf || base == 6 {
        (eax >> 16 & 0xf) << 4 | low
    } else {
        low
    };
    (family, model, eax & 0xf)
}

fn brand() -> Option<String> {
    if leaf(0x8000_0000, 0).eax < 0x8000_0004 {
        return None;
    }
    let mut name = Vec::with_capacity(48);
    for number in 0x8000_0002..=0x8000_0004_u32 {
        let CpuidResult { eax, ebx, ecx, edx } = leaf(number, 0);
        name.extend(
            [eax, ebx, ecx, edx]
                .iter()
                .flat_map(|register| register.to_le_bytes()),
        );
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(
        String::from_utf8_lossy(name)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn signatures_unpack() {
        // Zen 4 (family 25, model 17, stepping 1), Skylake (6, 94, 3), an 80486 (4, 8, 0).
        assert_eq!(signature(0x00a1_0f11), (25, 17, 1));
        assert_eq!(signature(0x0005_06e3), (6, 94, 3));
        assert_eq!(signature(0x0000_0480), (4, 8, 0));
    }
}
