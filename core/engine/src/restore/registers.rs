//! x86-64: registers from the image to what ptrace(2) takes. The counterpart of `arch`.

use criu_proto::images::{UserDescT, UserX86FpregsEntry, UserX86RegsEntry, UserX86XsaveEntry};

use crate::arch::{enabled_state as enabled, offsets};
use crate::error::{Error, Result};

/// Offset of the header of an XSAVE area (Intel SDM, volume 1, 13.4), and of what follows it.
const HEADER: usize = 512;
const EXTENDED: usize = 576;
/// The components that the image format holds: bit, and bytes.
const COMPONENTS: [(u32, usize); 7] = [(2, 256), (3, 64), (4, 64), (5, 64), (6, 512), (7, 1024), (9, 8)];

/// The general registers, as they are when the task goes on. No system call is restarted.
pub(crate) fn general(entry: &UserX86RegsEntry, segments: &[UserDescT]) -> libc::user_regs_struct {
    let base = |selector: u64, base: u64| base_of(selector, segments).unwrap_or(base);
    libc::user_regs_struct {
        r15: entry.r15,
        r14: entry.r14,
        r13: entry.r13,
        r12: entry.r12,
        rbp: entry.bp,
        rbx: entry.bx,
        r11: entry.r11,
        r10: entry.r10,
        r9: entry.r9,
        r8: entry.r8,
        rax: entry.ax,
        rcx: entry.cx,
        rdx: entry.dx,
        rsi: entry.si,
        rdi: entry.di,
        orig_rax: u64::MAX,
        rip: entry.ip,
        cs: entry.cs,
        eflags: entry.flags,
        rsp: entry.sp,
        ss: entry.ss,
        fs_base: base(entry.fs, entry.fs_base),
        gs_base: base(entry.gs, entry.gs_base),
        ds: entry.ds,
        es: entry.es,
        fs: entry.fs,
        gs: entry.gs,
    }
}

/// The base of a thread-local segment; some images of 32-bit programs have it there alone.
fn base_of(selector: u64, segments: &[UserDescT]) -> Option<u64> {
    let segment = segments
        .iter()
        .find(|one| u64::from(one.entry_number) == selector >> 3)?;
    (selector & 7 == 3 && !segment.seg_not_present).then(|| segment.base_addr.into())
}

/// Checks that this machine has the state that a thread had.
///
/// # Errors
/// It has not.
pub(crate) fn check(tid: i32, entry: &UserX86FpregsEntry) -> Result<()> {
    let wanted = entry.xsave.as_ref().map_or(0, |xsave| xsave.xstate_bv);
    let missing = wanted & !enabled();
    if missing != 0 {
        return Err(Error::refused_but(
            format!("thread {tid}"),
            format!("uses processor state that this machine lacks (XSTATE_BV {missing:#x})"),
            "restore on a machine with these instructions, see criu cpuinfo check",
        ));
    }
    if entry.st_space.len() != 32 || entry.xmm_space.len() != 64 {
        return Err(Error::malformed(
            format!("core-{tid}.img"),
            "has not the vector registers of an x86-64 thread",
        ));
    }
    Ok(())
}

/// Puts the state of an image into an area that the kernel gave: its length and layout are this
/// machine's.
pub(crate) fn vector(entry: &UserX86FpregsEntry, area: &mut [u8]) {
    let reserved = area.get(464..HEADER).map(<[u8]>::to_vec);
    area.fill(0);
    if let (Some(reserved), Some(room)) = (reserved, area.get_mut(464..HEADER)) {
        room.copy_from_slice(&reserved);
    }
    let words = [
        (0, entry.cwd, 2),
        (2, entry.swd, 2),
        (4, entry.twd, 2),
        (6, entry.fop, 2),
        (24, entry.mxcsr, 4),
        (28, entry.mxcsr_mask, 4),
    ];
    for (at, word, length) in words {
        put(area, at, &word.to_le_bytes()[..length]);
    }
    put(area, 8, &entry.rip.to_le_bytes());
    put(area, 16, &entry.rdp.to_le_bytes());
    put_words(area, 32, &entry.st_space);
    put_words(area, 160, &entry.xmm_space);
    let Some(xsave) = &entry.xsave else {
        // An image without the extended part: legacy state alone.
        put(area, HEADER, &3u64.to_le_bytes());
        return;
    };
    put(area, HEADER, &xsave.xstate_bv.to_le_bytes());
    for (bit, length) in COMPONENTS {
        let offset = if bit == 2 {
            EXTENDED
        } else {
            offsets()[bit as usize]
        };
        let bytes = component(xsave, bit);
        if offset >= EXTENDED && !bytes.is_empty() && enabled() >> bit & 1 == 1 {
            put(area, offset, &bytes[..bytes.len().min(length)]);
        }
    }
}

fn component(xsave: &UserX86XsaveEntry, bit: u32) -> Vec<u8> {
    let long = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let short = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    match bit {
        2 => short(&xsave.ymmh_space),
        3 => long(&xsave.bndreg_state),
        4 => long(&xsave.bndcsr_state),
        5 => long(&xsave.opmask_reg),
        6 => long(&xsave.zmm_upper),
        7 => long(&xsave.hi16_zmm),
        9 => short(&xsave.pkru),
        _ => Vec::new(),
    }
}

/// Puts bytes where there is room for them.
fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = area.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

fn put_words(area: &mut [u8], at: usize, words: &[u32]) {
    for (i, word) in words.iter().enumerate() {
        put(area, at + i * 4, &word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_goes_there_and_back() {
        let mut area = vec![0u8; 4096];
        area[464..472].copy_from_slice(&enabled().to_le_bytes());
        let entry = UserX86FpregsEntry {
            cwd: 0x37f,
            mxcsr: 0x1f80,
            mxcsr_mask: 0xffff,
            st_space: (0..32).collect(),
            xmm_space: (100..164).collect(),
            xsave: Some(UserX86XsaveEntry {
                xstate_bv: 7 & enabled(),
                ymmh_space: (200..264).collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        vector(&entry, &mut area);
        let back = crate::arch::vector_registers(1, &area).unwrap();
        assert_eq!(
            (back.cwd, back.mxcsr, back.st_space, back.xmm_space),
            (0x37f, 0x1f80, entry.st_space, entry.xmm_space)
        );
        if enabled() & 4 != 0 {
            assert_eq!(back.xsave.unwrap().ymmh_space, (200..264).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn state_that_the_machine_lacks_is_refused() {
        let xsave = UserX86XsaveEntry {
            xstate_bv: 1 << 62,
            ..Default::default()
        };
        assert!(
            check(
                1,
                &UserX86FpregsEntry {
                    xsave: Some(xsave),
                    ..Default::default()
                }
            )
            .is_err()
        );
    }
}
