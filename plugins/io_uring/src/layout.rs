//! Where in a ring's memory what lies: a fresh ring of the same shape tells.

use std::os::fd::OwnedFd;

use crate::sys::{self, Params, setup};

/// Bytes of a request and of a completion of the shorter kinds.
const SQE: usize = 64;
const CQE: usize = 16;

/// The flags that decide about it.
pub(crate) const SHAPE: u32 = setup::SQE128 | setup::CQE32 | setup::NO_SQARRAY;

/// The places in a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) params: Params,
    pub(crate) sqe: usize,
    pub(crate) cqe: usize,
}

impl Layout {
    /// That of rings with so many places.
    pub(crate) fn of(sq_entries: u32, cq_entries: u32, flags: u32) -> nix::Result<Self> {
        Self::fresh(sq_entries, cq_entries, flags).map(|(layout, _)| layout)
    }

    /// A ring beside its layout.
    pub(crate) fn fresh(sq_entries: u32, cq_entries: u32, flags: u32) -> nix::Result<(Self, OwnedFd)> {
        let mut params = Params {
            flags: flags & SHAPE | setup::CQSIZE,
            cq_entries,
            ..Params::default()
        };
        let ring = sys::make(sq_entries, &mut params)?;
        Ok((Self::from(params), ring))
    }

    /// The bytes of the completions: offset and length.
    pub(crate) fn cqes(&self) -> (usize, usize) {
        (
            self.params.cq.cqes as usize,
            self.params.cq_entries as usize * self.cqe,
        )
    }

    /// The bytes of the array of indices: offset and length.
    pub(crate) fn array(&self) -> (usize, usize) {
        if self.params.flags & setup::NO_SQARRAY != 0 {
            return (0, 0);
        }
        (self.params.sq.array as usize, self.params.sq_entries as usize * 4)
    }

    /// The bytes of the rings.
    pub(crate) fn rings(&self) -> usize {
        let end = |(at, length): (usize, usize)| at + length;
        end(self.cqes()).max(end(self.array()))
    }

    /// The bytes of the requests.
    pub(crate) fn sqes(&self) -> usize {
        self.params.sq_entries as usize * self.sqe
    }
}

impl From<Params> for Layout {
    fn from(params: Params) -> Self {
        let times = |flag: u32| if params.flags & flag != 0 { 2 } else { 1 };
        Self {
            sqe: SQE * times(setup::SQE128),
            cqe: CQE * times(setup::CQE32),
            params,
        }
    }
}
