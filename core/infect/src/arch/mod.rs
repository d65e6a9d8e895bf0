//! What differs between architectures: registers, signal frames, code to be found in the target.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Abi;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Regs;
#[cfg(target_arch = "x86_64")]
pub use x86_64::restarted;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("criu-infect is not ported to this architecture: add src/arch/ARCH.rs");
