//! The way out of an infected thread: signal frames prepared before anything is changed, so that
//! the thread finds back by itself whenever its tracer dies.

use crate::arch::{self, FRAME_SIZE, Gadgets, RED_ZONE, Regs, XSTATE_ALIGN};
use crate::maps::{LowEnd, Maps};
use crate::state::{RseqConfig, UserDispatch};
use crate::sys;

/// The context to which a thread must return.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) regs: Regs,
    pub(crate) xstate: Vec<u8>,
    pub(crate) mask: u64,
    /// Its shadow stack pointer, if it has a user shadow stack.
    pub(crate) shadow: Option<u64>,
    /// System call user dispatch that is off for as long as the thread is not its own.
    pub(crate) dispatch: Option<UserDispatch>,
    /// Its registered rseq area and the critical section named there.
    pub(crate) rseq: Option<(RseqConfig, u64)>,
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
    /// Below the thread's stack pointer.
    Outside(u64),
    /// At the low end of a stack that is not the thread's; zeros otherwise.
    OnMainStack(u64),
    /// In the blob's mapping, which then cannot be unmapped by the thread itself.
    Inside,
}

impl Place {
    /// The address outside of the blob's mapping.
    pub(crate) fn outside(self) -> Option<u64> {
        match self {
            Place::Outside(at) | Place::OnMainStack(at) => Some(at),
            Place::Inside => None,
        }
    }
}

/// Bytes that [`build`] makes for a context.
pub(crate) fn size(context: &Context) -> u64 {
    2 * FRAME_SIZE + context.xstate.len() as u64 + 2 * XSTATE_ALIGN
}

/// Where frames of `size` bytes may lie for a thread with these registers; `main` is the low end of the main stack of
/// the process of thread `tid`.
pub(crate) fn place(tid: i32, maps: &Maps, regs: &Regs, size: u64, main: &mut Option<LowEnd>) -> Place {
    let below = arch::sp(regs)
        .checked_sub(RED_ZONE)
        .and_then(|sp| maps.below_stack(sp, size, arch::thread_pointers(regs)));
    if let Some(at) = below {
        return Place::Outside(at);
    }
    let free = |from: u64, to: u64| {
        let mut bytes = vec![1; (to - from) as usize];
        sys::read_mem(tid, from, &mut bytes).is_ok()
            && (bytes.iter().all(|&byte| byte == 0) || are_forsaken_frames(tid, &bytes))
    };
    let free = main.as_mut().and_then(|main| main.take(size, free));
    free.map_or(Place::Inside, Place::OnMainStack)
}

/// Whether memory begins with what [`build`] makes, and nobody needs it any more: a tracer that was killed has left it,
/// or saved it with the rest of the memory. The call in the first frame is about the parasite's mapping: as long as that
/// is there, a thread may be on its way out of it. One in a frozen group stays on its way, whoever comes next.
fn are_forsaken_frames(tid: i32, bytes: &[u8]) -> bool {
    let (first, second) = bytes.split_at_checked(FRAME_SIZE as usize).unwrap_or_default();
    arch::is_frame(first)
        && arch::is_frame(second)
        && arch::first_argument(first).is_some_and(|at| sys::read_mem(tid, at, &mut [0]).is_err())
}

/// Two frames to be written to `at`: the first makes `call` outside of the blob and comes upon the
/// second, which restores the context.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// Address of the second frame.
    pub(crate) last: u64,
    /// What the way through them takes off a user shadow stack.
    pub(crate) shadow: Option<Shadow>,
}

impl Frames {
    /// Where the shadow stack pointer has to be for who comes upon a frame of these by a `ret`.
    pub(crate) fn shadow_at(&self, frame: u64) -> Option<u64> {
        let shadow = self.shadow.as_ref()?;
        Some(if frame == self.at {
            shadow.first()
        } else {
            shadow.last()
        })
    }
}

/// Words below a shadow stack pointer, for two frames: for each the address of the code that calls `rt_sigreturn`, which
/// `ret` compares with that on the stack, and a token, which `rt_sigreturn` takes for the shadow stack pointer to go
/// on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// Address of the words.
    at: u64,
    pub(crate) words: [u64; 4],
}

impl Shadow {
    /// What must be free below a shadow stack pointer: the words, and what the blob pushes, which nests a few calls and
    /// a signal deep.
    pub(crate) const ROOM: u64 = 0x400;
    /// Marks a token, which is no address of code.
    const TOKEN: u64 = 1 << 63;

    /// For a thread with this shadow stack pointer.
    fn below(ssp: u64, sigreturn: u64) -> Shadow {
        let at = ssp - 32;
        let words = [sigreturn, (at + 16) | Self::TOKEN, sigreturn, ssp | Self::TOKEN];
        Shadow { at, words }
    }

    /// The pair of the first frame.
    pub(crate) fn first(&self) -> u64 {
        self.at
    }

    /// The pair of the second.
    pub(crate) fn last(&self) -> u64 {
        self.at + 16
    }

    /// The words as they are in memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
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
    let shadow = context.shadow.map(|ssp| Shadow::below(ssp, sigreturn));
    Frames {
        at,
        bytes,
        last,
        shadow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_from_frame_to_frame_and_back() {
        let (ssp, code) = (0x7fff_0000_1000, 0x40_1000);
        let shadow = Shadow::below(ssp, code);
        let word = |at: u64| shadow.words[((at - shadow.first()) / 8) as usize];
        let mut at = shadow.first();
        let mut returned = 0;
        // As the processor and the kernel take them: a return address, then a token.
        while at != ssp {
            assert_eq!(word(at), code);
            let token = word(at + 8);
            assert_eq!((token >> 63, token & 7), (1, 0));
            at = token & !Shadow::TOKEN;
            returned += 1;
            assert!(at == shadow.last() || at == ssp);
        }
        assert_eq!(returned, 2);
        assert_eq!(shadow.bytes().len(), 32);
    }
}
