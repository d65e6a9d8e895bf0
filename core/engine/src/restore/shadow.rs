//! User shadow stacks (Linux 6.6), see Documentation/arch/x86/shstk.rst.
//!
//! They come last, when every thread is caught: what returns from a call can then no longer be in the way. Their
//! mappings are made by the process itself, at their places, since nothing else can make such; their contents are
//! written through `/proc/PID/mem`, which the kernel lets a tracer do; and each thread switches its shadow stack on by
//! a call from which it does not return, before its pointer is moved to where it was.
//!
//! Switching it on gives the thread one more, which the kernel takes back at the thread's end, by its address. So it
//! stays, but as a single page that nothing touches: a dump passes over those.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use criu_images::Source;
use criu_proto::images::CoreEntry;

use super::images::Live;
use super::vma::{Backing, PAGE};
use crate::arch::shadow;
use crate::error::{Context, Error, Result};
use crate::proc::Status;

/// Bytes written at a time.
const CHUNK: u64 = 64 << 10;

/// What a thread does, or has done to it, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its tracer lets it change features: they may have been locked for this program.
    Unlock,
    /// It switches a feature on by `arch_prctl(ARCH_SHSTK_ENABLE)`.
    Enable(u64),
    /// Its tracer moves the pointer.
    Point(u64),
    /// Its tracer locks features.
    Lock(u64),
}

/// Features that are on, and the pointer, of a thread in the images.
pub(crate) fn of(core: &CoreEntry) -> Option<(u64, u64)> {
    let info = core.thread_info.as_ref()?;
    let cet = info.fpregs.xsave.as_ref()?.cet.as_ref()?;
    (cet.cet & shadow::SHSTK != 0).then_some((cet.cet & shadow::ALL, cet.ssp))
}

/// What brings a thread to where it was, on a kernel that has shadow stacks. `inherited` are the features that are locked
/// for this program, and by that for all that it makes.
pub(crate) fn steps(state: Option<(u64, u64)>, locked: u64, inherited: u64) -> Vec<Step> {
    let unlock = inherited != 0 && (state.is_some() || inherited & !locked != 0);
    let mut steps = Vec::new();
    if unlock {
        steps.push(Step::Unlock);
    }
    if let Some((features, pointer)) = state {
        steps.push(Step::Enable(shadow::SHSTK));
        if features & shadow::WRSS != 0 {
            steps.push(Step::Enable(shadow::WRSS));
        }
        steps.push(Step::Point(pointer));
    }
    let still = if unlock { 0 } else { inherited };
    if locked & !still != 0 {
        steps.push(Step::Lock(locked));
    }
    steps
}

/// The features that are locked for this program; none where there are no shadow stacks.
///
/// # Errors
/// The kernel's answer cannot be read.
pub(crate) fn inherited() -> Result<Option<u64>> {
    if !shadow::is_supported() {
        return Ok(None);
    }
    let own = std::process::id().cast_signed();
    Ok(Some(Status::read(own, own, &mut Vec::new())?.shadow_stack_locked))
}

/// Checks that what a process has of shadow stacks fits together, and can be had here.
///
/// # Errors
/// It does not, or cannot.
pub(crate) fn check(pid: i32, live: &Live, here: Here) -> Result<()> {
    let stacks: Vec<(u64, u64)> = live
        .vmas
        .iter()
        .filter(|vma| vma.backing == Backing::ShadowStack)
        .map(|vma| (vma.start, vma.end))
        .collect();
    for thread in &live.threads {
        pointer_fits(thread.tid, &thread.core, &stacks)?;
    }
    // Where a thread has one, there is one.
    if !stacks.is_empty() && here == Here::No {
        return Err(Error::refused_but(
            format!("process {pid}"),
            "has a user shadow stack, which this kernel or processor does not have",
            "restore on a machine with user_shstk in /proc/cpuinfo (CONFIG_X86_USER_SHADOW_STACK, Linux 6.6)",
        ));
    }
    Ok(())
}

fn pointer_fits(tid: i32, core: &CoreEntry, stacks: &[(u64, u64)]) -> Result<()> {
    let Some((_, pointer)) = of(core) else {
        return Ok(());
    };
    // It may stand at the very end.
    let within = |&(start, end): &(u64, u64)| start < pointer && pointer <= end;
    if pointer.is_multiple_of(8) && stacks.iter().any(within) {
        return Ok(());
    }
    let what = format!("has the shadow stack pointer {pointer:#x}, which is in no shadow stack");
    Err(Error::malformed(format!("core-{tid}.img"), what))
}

/// What there is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// Shadow stacks can be had.
    Yes,
    /// They cannot.
    No,
}

impl Here {
    /// Asks the kernel.
    ///
    /// # Errors
    /// This program has a shadow stack itself: what it forks would lose that with its memory.
    pub(crate) fn look() -> Result<Self> {
        if !shadow::is_supported() {
            return Ok(Here::No);
        }
        if shadow::own_features() & shadow::SHSTK != 0 {
            return Err(Error::refused_but(
                "criu",
                "has a user shadow stack itself, on which it cannot become another process",
                "start it without one: GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
            ));
        }
        Ok(Here::Yes)
    }
}

/// The calls by which a process maps its shadow stacks; each returns the address.
pub(crate) fn mappings(live: &Live) -> Vec<(u64, [u64; 6])> {
    live.vmas
        .iter()
        .filter(|vma| vma.backing == Backing::ShadowStack)
        // Without a token: what was there is written.
        .map(|vma| (vma.start, [vma.start, vma.length(), 0, 0, 0, 0]))
        .collect()
}

/// Whether a process has shadow stacks.
pub(crate) fn has_stacks(live: &Live) -> bool {
    live.vmas.iter().any(|vma| vma.backing == Backing::ShadowStack)
}

/// The limit of the main stack, by which the kernel sizes a new shadow stack: for the time being, and as it is.
pub(crate) fn limits(live_limit: (u64, u64)) -> [[u64; 2]; 2] {
    let (soft, hard) = live_limit;
    [[PAGE.min(hard), hard], [soft, hard]]
}

/// Writes the contents. `read` gives the dumped bytes at an offset of a pages file.
///
/// # Errors
/// An image cannot be read, or the memory not be written.
pub(crate) fn fill(pid: i32, live: &Live, read: impl Fn(usize, u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let path = format!("/proc/{pid}/mem");
    let memory = OpenOptions::new()
        .write(true)
        .open(&path)
        .context(|| format!("opening {path}"))?;
    for vma in live.vmas.iter().filter(|vma| vma.backing == Backing::ShadowStack) {
        for run in &live.pages.runs {
            let (start, end) = (run.vaddr.max(vma.start), run.end().min(vma.end));
            let Source::File(extent) = run.source else {
                continue;
            };
            let mut at = start;
            while at < end {
                let mut bytes = vec![0; (end - at).min(CHUNK) as usize];
                read(extent.level, extent.offset + (at - run.vaddr), &mut bytes)?;
                memory
                    .write_all_at(&bytes, at)
                    .context(|| format!("writing the shadow stack at {at:#x} of process {pid}"))?;
                at += bytes.len() as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use criu_proto::images::{ThreadInfoX86, UserX86CetEntry, UserX86FpregsEntry, UserX86XsaveEntry};

    use super::*;

    fn core(cet: u64, ssp: u64) -> CoreEntry {
        let xsave = UserX86XsaveEntry {
            cet: Some(UserX86CetEntry { cet, ssp }),
            ..UserX86XsaveEntry::default()
        };
        let fpregs = UserX86FpregsEntry {
            xsave: Some(xsave),
            ..UserX86FpregsEntry::default()
        };
        CoreEntry {
            thread_info: Some(ThreadInfoX86 {
                fpregs,
                ..ThreadInfoX86::default()
            }),
            ..CoreEntry::default()
        }
    }

    #[test]
    fn an_image_tells_features_and_pointer() {
        assert_eq!(of(&core(3, 0x7000)), Some((3, 0x7000)));
        assert_eq!(of(&core(1 | 1 << 40, 0x7000)), Some((1, 0x7000)));
        // As for a thread without one.
        assert_eq!((of(&core(0, 0)), of(&CoreEntry::default())), (None, None));
    }

    #[test]
    fn a_pointer_is_in_a_stack_and_the_machine_has_such() {
        let stacks = [(0x7000, 0x9000)];
        let all = |pointers: &[u64]| {
            let cores: Vec<(i32, CoreEntry)> = (1..).zip(pointers.iter().map(|&ssp| core(1, ssp))).collect();
            cores
                .iter()
                .try_for_each(|(tid, core)| pointer_fits(*tid, core, &stacks))
        };
        assert!(all(&[0x7008, 0x9000, 0x8ff8]).is_ok());
        for wrong in [0, 0x7000, 0x9008, 0x7004] {
            assert!(all(&[wrong]).is_err(), "{wrong:#x}");
        }
        // This machine either has them or says why not.
        assert_eq!(
            Here::look().is_ok_and(|here| here == Here::Yes),
            shadow::is_supported()
        );
    }

    #[test]
    fn a_thread_is_brought_back_in_order() {
        assert_eq!(
            steps(Some((3, 0x7000_0000_0ff8)), 3, 3),
            [
                Step::Unlock,
                Step::Enable(1),
                Step::Enable(2),
                Step::Point(0x7000_0000_0ff8),
                Step::Lock(3)
            ]
        );
        assert_eq!(steps(Some((1, 8)), 0, 0), [Step::Enable(1), Step::Point(8)]);
        // Without one, what could be switched on stays as it was: locked, or not.
        assert_eq!(steps(None, 3, 0), [Step::Lock(3)]);
        assert_eq!(steps(None, 3, 1), [Step::Lock(3)]);
        assert_eq!(steps(None, 1, 3), [Step::Unlock, Step::Lock(1)]);
        assert_eq!(steps(None, 0, 3), [Step::Unlock]);
        assert_eq!(steps(None, 3, 3), []);
        assert_eq!(steps(None, 0, 0), []);
    }

    #[test]
    fn the_stack_that_the_kernel_adds_is_one_page() {
        assert_eq!(
            limits((8 << 20, u64::MAX)),
            [[PAGE, u64::MAX], [8 << 20, u64::MAX]]
        );
        assert_eq!(limits((100, 100)), [[100, 100], [100, 100]]);
    }
}
