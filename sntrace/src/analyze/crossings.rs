//! Blocks that one thread allocated and another one freed.
//!
//! Such a block costs most allocators more than another (it goes back to a foreign arena, often
//! under a lock), and tells how data moves between threads. Who and who is kept for a bounded
//! number of pairs; what comes from further pairs is a sum of its own.

use super::counts::Counts;
use crate::symbolize::hash::AddressMap;

/// Pairs of threads that are told apart.
const PAIRS_MAX: usize = 1 << 16;

/// Blocks that went from one thread to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crossings {
    /// Allocating thread, freeing thread (indices into [`super::Analysis::threads`]), blocks: the
    /// most first.
    pub pairs: Vec<(u32, u32, Counts)>,
    /// All other pairs' blocks.
    pub other: Counts,
}

impl Crossings {
    /// Blocks of all pairs.
    #[must_use]
    pub fn total(&self) -> Counts {
        let pairs = self.pairs.iter().map(|&(_, _, counts)| counts);
        pairs.chain([self.other]).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct CrossingCounter {
    pairs: AddressMap<u64, Counts>,
    other: Counts,
}

impl CrossingCounter {
    /// A block of `from` was freed by `to`.
    pub fn note(&mut self, from: u32, to: u32, bytes: u64) {
        let pair = u64::from(from) << 32 | u64::from(to);
        let full = self.pairs.len() >= PAIRS_MAX;
        let counts = match self.pairs.get_mut(&pair) {
            Some(counts) => counts,
            None if full => &mut self.other,
            None => self.pairs.entry(pair).or_default(),
        };
        *counts += Counts::one(bytes);
    }

    pub fn finish(self) -> Crossings {
        let pairs = self.pairs.into_iter();
        let mut pairs: Vec<_> = pairs
            .map(|(pair, counts)| ((pair >> 32) as u32, pair as u32, counts))
            .collect();
        pairs.sort_by_key(|&(from, to, counts)| (std::cmp::Reverse(counts), from, to));
        Crossings {
            pairs,
            other: self.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_threads_takes_unbounded_memory() {
        let mut counter = CrossingCounter::default();
        let threads = 2 * PAIRS_MAX as u32;
        for thread in 0..threads {
            counter.note(thread, thread + 1, 3);
        }
        counter.note(0, 1, 3);
        let all = counter.finish();
        assert_eq!(all.pairs.len(), PAIRS_MAX);
        assert_eq!(
            all.pairs[0],
            (
                0,
                1,
                Counts {
                    blocks: 2,
                    bytes: 6
                }
            )
        );
        assert_eq!(all.total().blocks, u64::from(threads) + 1);
    }
}
