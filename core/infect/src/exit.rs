//! The way out of an infected thread: signal frames prepared before anything is changed, so that
//! the thread finds back by itself whenever its tracer dies.

use crate::arch::{self, FRAME_SIZE, Gadgets, RED_ZONE, Regs, XSTATE_ALIGN};
use crate::maps::Maps;
use crate::state::UserDispatch;

/// The context to which a thread must return.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) regs: Regs,
    pub(crate) xstate: Vec<u8>,
    pub(crate) mask: u64,
    /// System call user dispatch that is off for as long as the thread is not its own.
    pub(crate) dispatch: Option<UserDispatch>,
}

/// A system call by code outside of the blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutsideCall {
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
}

/// Where a thread's frames lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On memory that nobody uses, outside of the blob's mapping.
    Outside(u64),
    /// In the blob's mapping, which then cannot be unmapped by the thread itself.
    Inside,
}

/// Bytes that [`build`] makes for a context.
pub(crate) fn size(context: &Context) -> u64 {
    2 * FRAME_SIZE + context.xstate.len() as u64 + 2 * XSTATE_ALIGN
}

/// Where frames of `size` bytes may lie for a thread with these registers.
pub(crate) fn place(maps: &Maps, regs: &Regs, size: u64, may_grow_stack: bool) -> Place {
    let below = arch::sp(regs)
        .checked_sub(RED_ZONE)
        .and_then(|sp| maps.below_stack(sp, size));
    let grown = || may_grow_stack.then(|| maps.below_main_stack(size)).flatten();
    below.or_else(grown).map_or(Place::Inside, Place::Outside)
}

/// Two frames to be written to `at`: the first makes `call` outside of the blob and comes upon the
/// second, which restores the context.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// Address of the second frame.
    pub(crate) last: u64,
}

/// Builds the frames. Without both gadgets only the second is of use.
pub(crate) fn build(at: u64, context: &Context, gadgets: &Gadgets, call: OutsideCall) -> Frames {
    let last = at + FRAME_SIZE;
    let xstate_at = (last + FRAME_SIZE).next_multiple_of(XSTATE_ALIGN);
    let sigreturn = gadgets.sigreturn.unwrap_or(0);
    let code = gadgets.syscall_ret.unwrap_or(0);
    let first = arch::call_regs(&context.regs, code, last, call.nr, call.args);
    let mut bytes = arch::frame(&first, !0, sigreturn, 0);
    let interrupted = arch::after_restart(&context.regs);
    bytes.extend(arch::frame(&interrupted, context.mask, sigreturn, xstate_at));
    bytes.resize((xstate_at - at) as usize, 0);
    bytes.extend(arch::xstate_in_frame(&context.xstate));
    Frames { at, bytes, last }
}
