//! Blocks and their bytes: what nearly every figure here is a sum of.
//!
//! Sizes are what a program asked for, be it absurd, so sums of bytes saturate. Blocks are bounded
//! by events and don't.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::Serialize;

/// A number of blocks and their requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Counts {
    /// How many.
    pub blocks: u64,
    /// Requested bytes, in all.
    pub bytes: u64,
}

impl Counts {
    /// One block.
    #[inline]
    #[must_use]
    pub const fn one(bytes: u64) -> Counts {
        Counts { blocks: 1, bytes }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.blocks == 0
    }

    /// Takes some away; never below nothing.
    #[inline]
    pub(super) fn take(&mut self, other: Counts) {
        self.blocks = self.blocks.saturating_sub(other.blocks);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl AddAssign for Counts {
    #[inline]
    fn add_assign(&mut self, other: Counts) {
        self.blocks += other.blocks;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}
