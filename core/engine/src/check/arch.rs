//! Probes of what depends on the processor.

use super::Probe;

#[cfg(target_arch = "x86_64")]
pub(super) const PROBES: &[Probe] = x86_64::PROBES;
#[cfg(not(target_arch = "x86_64"))]
pub(super) const PROBES: &[Probe] = &[];

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use nix::errno::Errno;

    use super::super::target::Target;
    use super::super::{Level, Outcome, Probe};

    pub(super) const PROBES: &[Probe] = &[
        Probe {
            name: "can_map_vdso",
            level: Level::Extra,
            what: "a vdso where it was",
            run: can_map_vdso,
        },
        Probe {
            name: "breakpoints",
            level: Level::Extra,
            what: "stopping at an address",
            run: breakpoints,
        },
        Probe {
            name: "compat_cr",
            level: Level::Extra,
            what: "32-bit tasks",
            run: compat_cr,
        },
    ];

    /// `ARCH_MAP_VDSO_64`: a process has one already, which is another error than not knowing the call.
    fn can_map_vdso(_: &Target) -> Outcome {
        const ARCH_MAP_VDSO_64: libc::c_int = 0x2003;
        // SAFETY: takes plain numbers; with a vdso in place it does nothing.
        let mapped = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_MAP_VDSO_64, 0) };
        match Errno::result(mapped) {
            Ok(_) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(format!("ARCH_MAP_VDSO_64: {}", errno.desc())),
        }
    }

    /// Sets and clears a debug register.
    fn breakpoints(target: &Target) -> Outcome {
        target.seized()?;
        let register =
            |number: usize| std::mem::offset_of!(libc::user, u_debugreg) + number * size_of::<u64>();
        let address = (breakpoints as *const ()).addr();
        for (number, value) in [(0, address), (7, 1), (7, 0), (0, 0)] {
            let set = target.request(libc::PTRACE_POKEUSER, register(number), value);
            set.map_err(|errno| format!("debug register {number}: {}", errno.desc()))?;
        }
        Ok(())
    }

    /// `ARCH_MAP_VDSO_32`, as above; only a kernel that runs 32-bit programs knows it.
    fn compat_cr(_: &Target) -> Outcome {
        const ARCH_MAP_VDSO_32: libc::c_int = 0x2002;
        // SAFETY: takes plain numbers; with a vdso in place it does nothing.
        let mapped = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_MAP_VDSO_32, 0) };
        match Errno::result(mapped) {
            Ok(_) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(format!(
                "ARCH_MAP_VDSO_32: {} (needs CONFIG_IA32_EMULATION)",
                errno.desc()
            )),
        }
    }
}
