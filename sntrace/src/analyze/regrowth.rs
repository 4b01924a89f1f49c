//! Blocks that grew by `realloc`, step by step: what that cost, and what size would have spared it.
//!
//! A *chain* is a block from its first allocation through all its reallocs to its end. It is put
//! down to the stack of the first allocation. A realloc that moved the block has copied the smaller of both
//! sizes; one in place has copied nothing. The largest size that a chain reached would have sufficed
//! from the beginning.

use serde::Serialize;

use super::counts::Counts;
use crate::symbolize::hash::AddressMap;
use crate::trace::StackId;

/// The chains that began at one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Regrowth {
    /// How many chains.
    pub chains: u64,
    /// Reallocs to a larger size.
    pub regrowths: u64,
    /// Reallocs to a smaller size or the same.
    pub shrinks: u64,
    /// Reallocs that moved the block.
    pub moves: u64,
    /// Bytes copied by these.
    pub copied_bytes: u64,
    /// Sizes that the chains began with, in all.
    pub first_bytes: u64,
    /// The largest sizes that the chains reached, in all: what would have sufficed.
    pub sufficient_bytes: u64,
    /// The largest size that any of them reached.
    pub largest_bytes: u64,
}

impl Regrowth {
    /// What was copied, as blocks that moved: for sorting and grouping.
    #[must_use]
    pub fn copied(&self) -> Counts {
        Counts {
            blocks: self.regrowths + self.shrinks,
            bytes: self.copied_bytes,
        }
    }

    pub(crate) fn add(&mut self, other: &Regrowth) {
        self.chains += other.chains;
        self.regrowths += other.regrowths;
        self.shrinks += other.shrinks;
        self.moves += other.moves;
        self.copied_bytes = self.copied_bytes.saturating_add(other.copied_bytes);
        self.first_bytes = self.first_bytes.saturating_add(other.first_bytes);
        self.sufficient_bytes = self.sufficient_bytes.saturating_add(other.sufficient_bytes);
        self.largest_bytes = self.largest_bytes.max(other.largest_bytes);
    }
}

/// A step of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Where the block was allocated that this step replaces, if it is the chain's first step.
    pub origin: StackId,
    /// Requested bytes before.
    pub old_bytes: u64,
    /// And after.
    pub new_bytes: u64,
    /// Whether the block moved.
    pub moved: bool,
}

/// Chains in progress, by number, and those that ended, by stack.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The chain with number n is at n - 1: 0 means none.
    live: Vec<(StackId, Regrowth)>,
    unused: Vec<u32>,
    ended: AddressMap<u32, Regrowth>,
}

impl Chains {
    /// A block of chain `chain` (0: of none as yet) was reallocated. Returns its chain.
    pub fn step(&mut self, chain: u32, step: Step) -> u32 {
        let number = match chain {
            0 => self.begin(step.origin, step.old_bytes),
            number => number,
        };
        let Some((_, so_far)) = self.at(number) else {
            return 0;
        };
        if step.new_bytes > step.old_bytes {
            so_far.regrowths += 1;
        } else {
            so_far.shrinks += 1;
        }
        if step.moved {
            let copied = step.old_bytes.min(step.new_bytes);
            so_far.moves += 1;
            so_far.copied_bytes = so_far.copied_bytes.saturating_add(copied);
        }
        so_far.largest_bytes = so_far.largest_bytes.max(step.new_bytes);
        so_far.sufficient_bytes = so_far.largest_bytes;
        number
    }

    fn at(&mut self, chain: u32) -> Option<&mut (StackId, Regrowth)> {
        self.live.get_mut((chain as usize).checked_sub(1)?)
    }

    fn begin(&mut self, origin: StackId, bytes: u64) -> u32 {
        let new = Regrowth {
            chains: 1,
            first_bytes: bytes,
            sufficient_bytes: bytes,
            largest_bytes: bytes,
            ..Regrowth::default()
        };
        if let Some(number) = self.unused.pop() {
            if let Some(place) = self.at(number) {
                *place = (origin, new);
            }
            return number;
        }
        self.live.push((origin, new));
        // As many live blocks would not fit in memory.
        u32::try_from(self.live.len()).unwrap_or(0)
    }

    /// A block ended; `chain` is 0 where it was never reallocated.
    #[inline]
    pub fn end(&mut self, chain: u32) {
        if chain != 0 {
            self.fold(chain);
        }
    }

    #[cold]
    fn fold(&mut self, chain: u32) {
        if let Some(&mut (origin, all)) = self.at(chain) {
            self.ended.entry(origin.0).or_default().add(&all);
            self.unused.push(chain);
        }
    }

    /// The chains of all stacks. Every one must have ended.
    pub fn finish(self) -> Vec<(StackId, Regrowth)> {
        let mut all: Vec<_> = self
            .ended
            .into_iter()
            .map(|(stack, sums)| (StackId(stack), sums))
            .collect();
        all.sort_by_key(|&(stack, sums)| (std::cmp::Reverse(sums.copied()), stack));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_what_its_growing_cost() {
        let mut chains = Chains::default();
        let step = |old_bytes, new_bytes, moved| Step {
            origin: StackId(7),
            old_bytes,
            new_bytes,
            moved,
        };
        let chain = chains.step(0, step(8, 16, true));
        chains.step(chain, step(16, 32, true));
        chains.step(chain, step(32, 64, false));
        chains.step(chain, step(64, 10, true));
        chains.end(chain);
        // The number is free again, and a second chain's sums are added.
        assert_eq!(chains.step(0, step(1, 2, true)), chain);
        chains.end(chain);
        chains.end(0);
        let expected = Regrowth {
            chains: 2,
            regrowths: 4,
            shrinks: 1,
            moves: 4,
            copied_bytes: 8 + 16 + 10 + 1,
            first_bytes: 8 + 1,
            sufficient_bytes: 64 + 2,
            largest_bytes: 64,
        };
        assert_eq!(chains.finish(), [(StackId(7), expected)]);
    }
}
