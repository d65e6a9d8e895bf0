//! x86-64: `user_regs_struct`, the XSAVE area, and `thread_info_x86`.
//!
//! The layout of the XSAVE area is that of the Intel SDM, volume 1, chapter 13, in the standard
//! (non-compacted) form in which ptrace(2) hands it out; component offsets come from CPUID leaf 0xD.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use criu_blobs::wire::abi;
use criu_proto::images::{
    UserDescT, UserX86CetEntry, UserX86FpregsEntry, UserX86RegsEntry, UserX86RegsMode, UserX86XsaveEntry,
};

use crate::error::{Error, Result};

/// The general registers in the form of the image, as they must be when the task goes on.
///
/// A call that was interrupted by the stop is wound back so that the task repeats it, as far as that is possible:
/// [`criu_infect::restarted`].
pub(crate) fn general_registers(regs: &libc::user_regs_struct) -> UserX86RegsEntry {
    let regs = &criu_infect::restarted(regs);
    let mode = if regs.cs == CS_32BIT {
        UserX86RegsMode::Compat
    } else {
        UserX86RegsMode::Native
    };
    UserX86RegsEntry {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        bp: regs.rbp,
        bx: regs.rbx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        ax: regs.rax,
        cx: regs.rcx,
        dx: regs.rdx,
        si: regs.rsi,
        di: regs.rdi,
        orig_ax: regs.orig_rax,
        ip: regs.rip,
        cs: regs.cs,
        flags: regs.eflags,
        sp: regs.rsp,
        ss: regs.ss,
        fs_base: regs.fs_base,
        gs_base: regs.gs_base,
        ds: regs.ds,
        es: regs.es,
        fs: regs.fs,
        gs: regs.gs,
        mode: Some(mode as i32),
    }
}

/// What xgetbv(0) tells: the state components that the kernel has switched on.
pub(crate) fn enabled_state() -> u64 {
    static ENABLED: OnceLock<u64> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        // CPUID.1:ECX.OSXSAVE
        if __cpuid_count(1, 0).ecx >> 27 & 1 == 0 {
            return 3;
        }
        // SAFETY: OSXSAVE says that the instruction is there.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    })
}

/// Whether mappings have protection keys.
pub(crate) fn has_protection_keys() -> bool {
    enabled_state() >> component::PKRU & 1 == 1
}

/// The state components that every process may use without asking (`ARCH_GET_XCOMP_PERM`): all but the tiles
/// of AMX.
pub(crate) fn common_state() -> u64 {
    const TILE_DATA: u64 = 1 << 18;
    !TILE_DATA
}

/// The code segment of 32-bit programs.
pub(crate) const CS_32BIT: u64 = 0x23;

/// The head of the list of robust futexes of a thread of a 32-bit program: only a call of such programs tells.
///
/// # Errors
/// The thread is gone, or the kernel runs no such programs.
pub(crate) fn compat_robust_list(tid: i32) -> Result<u64> {
    const GET_ROBUST_LIST: i32 = 312;
    const PAGE: usize = 4096;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let doing = || format!("reading the robust futex list of thread {tid}");
    // SAFETY: new memory, below 4 GiB, where such a call can write.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(Error::last_os(doing()));
    }
    let at = page as usize as u64;
    let mut result = GET_ROBUST_LIST;
    // SAFETY: the call writes two words to the page; the compiler keeps rbx to itself, so it is swapped in.
    unsafe {
        std::arch::asm!(
            "xchg {b:r}, rbx", "int 0x80", "xchg {b:r}, rbx",
            b = inout(reg) i64::from(tid) => _, inout("eax") result, in("ecx") at as u32, in("edx") at as u32 + 4,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // SAFETY: the page is there, and aligned.
    let head = unsafe { page.cast::<u32>().read() };
    // SAFETY: nothing refers to the page any more.
    unsafe { libc::munmap(page, PAGE) };
    if result < 0 {
        return Err(Error::Io {
            action: doing(),
            source: std::io::Error::from_raw_os_error(-result),
        });
    }
    Ok(head.into())
}

/// [`compat_robust_list`] of a program of the x32 ABI.
///
/// # Errors
/// The thread is gone, or the kernel runs no such programs.
pub(crate) fn x32_robust_list(tid: i32) -> Result<u64> {
    let (mut head, mut len) = (0u32, 0u32);
    let number = abi::X32_GET_ROBUST_LIST.cast_signed();
    // SAFETY: the call writes a word of 32 bits to each of the two addresses.
    let ret = unsafe { libc::syscall(number, tid, &raw mut head, &raw mut len) };
    if ret < 0 {
        return Err(Error::last_os(format!(
            "reading the robust futex list of thread {tid}"
        )));
    }
    Ok(head.into())
}

/// User shadow stacks (Linux 6.6), see Documentation/arch/x86/shstk.rst.
pub(crate) mod shadow {
    use nix::errno::Errno;

    /// `ARCH_SHSTK_SHSTK`, the shadow stack itself.
    pub(crate) const SHSTK: u64 = 1;
    /// `ARCH_SHSTK_WRSS`, writing to it by an instruction.
    pub(crate) const WRSS: u64 = 2;
    /// All features that there are.
    pub(crate) const ALL: u64 = SHSTK | WRSS;
    /// Switches a feature on, by `arch_prctl(2)`.
    pub(crate) const ARCH_SHSTK_ENABLE: u64 = 0x5001;
    const ARCH_SHSTK_STATUS: u64 = 0x5005;
    /// The system call.
    pub(crate) const MAP_SHADOW_STACK: i64 = 453;

    /// Whether kernel and processor have them: then flags that nobody knows are what is wrong with a call.
    pub(crate) fn is_supported() -> bool {
        const UNKNOWN_FLAGS: u64 = 1 << 31;
        // SAFETY: the call fails and maps nothing.
        let mapped = unsafe { libc::syscall(MAP_SHADOW_STACK, 0, 4096, UNKNOWN_FLAGS) };
        mapped < 0 && Errno::last() == Errno::EINVAL
    }

    /// The features that are on for this thread.
    pub(crate) fn own_features() -> u64 {
        let mut features = 0u64;
        // SAFETY: the call writes one integer.
        let asked = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SHSTK_STATUS, &raw mut features) };
        if asked == 0 { features } else { 0 }
    }
}

/// Whether this kernel runs programs of the x32 ABI (`CONFIG_X86_X32_ABI`, and not switched off at boot).
pub(crate) fn has_x32() -> bool {
    let getpid = abi::X32_BIT.cast_signed() | libc::SYS_getpid;
    // SAFETY: the call has no arguments and changes nothing.
    unsafe { libc::syscall(getpid) > 0 }
}

/// Components of the XSAVE area by their bit in XCR0.
mod component {
    pub(super) const YMM: u32 = 2;
    pub(super) const BNDREGS: u32 = 3;
    pub(super) const BNDCSR: u32 = 4;
    pub(super) const OPMASK: u32 = 5;
    pub(super) const ZMM_HI256: u32 = 6;
    pub(super) const HI16_ZMM: u32 = 7;
    pub(super) const PKRU: u32 = 9;
    /// Those that the image format can hold, the legacy area included.
    pub(super) const KNOWN: u64 = 0b10_1111_1111;
}

/// Where each component lies in the XSAVE area. Asked once: on a virtual machine each CPUID costs a way to its
/// host and back, a hundred times as much as a system call.
pub(crate) fn offsets() -> &'static [usize; COMPONENTS] {
    static OFFSETS: OnceLock<[usize; COMPONENTS]> = OnceLock::new();
    OFFSETS.get_or_init(|| {
        std::array::from_fn(|bit| match u32::try_from(bit) {
            // The first two are the legacy area.
            Ok(bit @ 2..) => __cpuid_count(0xd, bit).ebx as usize,
            _ => 0,
        })
    })
}

/// Components up to the last one that is saved.
const COMPONENTS: usize = component::PKRU as usize + 1;

/// Offset of the software-reserved bytes of the legacy area, where the kernel puts XCR0.
const SW_RESERVED: usize = 464;
const HEADER: usize = 512;
const LEGACY: usize = 512;

/// The floating point and vector registers in the form of the image, from the bytes of
/// `PTRACE_GETREGSET` with `NT_X86_XSTATE`.
///
/// # Errors
/// The area is too short, or it holds live state that the image format has no place for (AMX tiles).
pub(crate) fn vector_registers(tid: i32, area: &[u8]) -> Result<UserX86FpregsEntry> {
    let object = || format!("the XSAVE area of thread {tid}");
    if area.len() < LEGACY {
        return Err(Error::malformed(
            object(),
            format!("has only {} bytes", area.len()),
        ));
    }
    let u16_at = |at: usize| u32::from(u16::from_le_bytes([area[at], area[at + 1]]));
    let mut entry = UserX86FpregsEntry {
        cwd: u16_at(0),
        swd: u16_at(2),
        twd: u16_at(4),
        fop: u16_at(6),
        rip: word64(area, 8),
        rdp: word64(area, 16),
        mxcsr: word32(area, 24),
        mxcsr_mask: word32(area, 28),
        st_space: words32(area, 32, 32),
        xmm_space: words32(area, 160, 64),
        padding: Vec::new(),
        xsave: None,
    };
    if area.len() < HEADER + 64 {
        return Ok(entry);
    }
    let xcr0 = word64(area, SW_RESERVED);
    let live = word64(area, HEADER);
    if live & !component::KNOWN != 0 {
        return Err(Error::refused(
            format!("thread {tid}"),
            format!("has live processor state that the image format cannot hold (XSTATE_BV {live:#x})"),
        ));
    }
    let part = |bit: u32, len: usize| -> Option<&[u8]> {
        if xcr0 >> bit & 1 == 0 {
            return None;
        }
        let offset = offsets()[bit as usize];
        area.get(offset..offset + len)
    };
    let longs = |bit: u32, count: usize| -> Vec<u64> {
        part(bit, count * 8)
            .map(|bytes| words64(bytes, 0, count))
            .unwrap_or_default()
    };
    entry.xsave = Some(UserX86XsaveEntry {
        xstate_bv: live,
        ymmh_space: part(component::YMM, 256)
            .map(|b| words32(b, 0, 64))
            .unwrap_or_default(),
        bndreg_state: longs(component::BNDREGS, 8),
        // As long as the part is: two are in use.
        bndcsr_state: longs(component::BNDCSR, 8),
        opmask_reg: longs(component::OPMASK, 8),
        zmm_upper: longs(component::ZMM_HI256, 64),
        hi16_zmm: longs(component::HI16_ZMM, 128),
        pkru: part(component::PKRU, 8)
            .map(|b| words32(b, 0, 2))
            .unwrap_or_default(),
        cet: Some(UserX86CetEntry { cet: 0, ssp: 0 }),
    });
    Ok(entry)
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn words32(bytes: &[u8], at: usize, count: usize) -> Vec<u32> {
    (0..count).map(|i| word32(bytes, at + i * 4)).collect()
}

fn words64(bytes: &[u8], at: usize, count: usize) -> Vec<u64> {
    (0..count).map(|i| word64(bytes, at + i * 8)).collect()
}

/// The first of the three thread-local segments of the GDT, and their number.
const GDT_TLS_MIN: u32 = 12;
const GDT_TLS_ENTRIES: u32 = 3;
const PTRACE_GET_THREAD_AREA: libc::c_uint = 25;
const PTRACE_SET_THREAD_AREA: libc::c_uint = 26;

/// `struct user_desc` of `<asm/ldt.h>`; `flags` holds its bit fields from the lowest bit on.
#[repr(C)]
#[derive(Default)]
struct UserDesc {
    entry_number: u32,
    base_addr: u32,
    limit: u32,
    flags: u32,
}

/// The flags of one that is not in use: read only and not present.
const EMPTY: u32 = 1 << 3 | 1 << 5;

fn entry_of(number: u32, desc: &UserDesc) -> UserDescT {
    let bit = |n: u32| desc.flags >> n & 1 == 1;
    UserDescT {
        entry_number: number,
        base_addr: desc.base_addr,
        limit: desc.limit,
        seg_32bit: bit(0),
        contents_l: bit(1),
        contents_h: bit(2),
        read_exec_only: bit(3),
        limit_in_pages: bit(4),
        seg_not_present: bit(5),
        usable: bit(6),
    }
}

/// Sets those thread-local segments of a stopped thread that are in use.
///
/// # Errors
/// The kernel does not take one.
pub(crate) fn set_thread_areas(tid: i32, entries: &[UserDescT]) -> Result<()> {
    let used = entries
        .iter()
        .filter(|entry| entry.usable || entry.base_addr != 0 || entry.limit != 0 || !entry.seg_not_present);
    for entry in used {
        let bits = [
            entry.seg_32bit,
            entry.contents_l,
            entry.contents_h,
            entry.read_exec_only,
            entry.limit_in_pages,
            entry.seg_not_present,
            entry.usable,
        ];
        let desc = UserDesc {
            entry_number: entry.entry_number,
            base_addr: entry.base_addr,
            limit: entry.limit,
            flags: (0..)
                .zip(bits)
                .fold(0, |flags, (n, bit)| flags | u32::from(bit) << n),
        };
        // SAFETY: PTRACE_SET_THREAD_AREA reads one user_desc at `data`, which points at one.
        let ret = unsafe {
            libc::ptrace(
                PTRACE_SET_THREAD_AREA,
                tid,
                entry.entry_number as usize,
                &raw const desc,
            )
        };
        if ret < 0 {
            return Err(Error::last_os(format!(
                "setting segment {} of thread {tid}",
                entry.entry_number
            )));
        }
    }
    Ok(())
}

/// The thread-local segment descriptors of a stopped thread, see set_thread_area(2), which is known to use no others
/// than those `in_use`, from bit 0 on.
///
/// # Errors
/// The thread is not stopped by this thread's ptrace.
pub(crate) fn thread_areas(tid: i32, in_use: u64) -> Result<Vec<UserDescT>> {
    (GDT_TLS_MIN..GDT_TLS_MIN + GDT_TLS_ENTRIES)
        .map(|number| {
            let mut desc = UserDesc {
                flags: EMPTY,
                ..UserDesc::default()
            };
            if in_use >> (number - GDT_TLS_MIN) & 1 == 0 {
                return Ok(entry_of(number, &desc));
            }
            // SAFETY: PTRACE_GET_THREAD_AREA writes one user_desc to `data`, which points at one.
            let ret = unsafe { libc::ptrace(PTRACE_GET_THREAD_AREA, tid, number as usize, &raw mut desc) };
            if ret < 0 {
                return Err(Error::last_os(format!(
                    "reading segment {number} of thread {tid}"
                )));
            }
            Ok(entry_of(number, &desc))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_without_a_place_is_refused() {
        let mut area = vec![0u8; 4096];
        area[HEADER + 2] = 2; // bit 17: AMX tile configuration
        assert!(vector_registers(1, &area).is_err());
        assert!(vector_registers(1, &area[..100]).is_err());
    }
}
