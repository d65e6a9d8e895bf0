//! What differs between processors: registers and their image form.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("criu runs on x86-64 only so far: add core/engine/src/arch/ARCH.rs");
