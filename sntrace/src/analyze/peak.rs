//! What was live at the peak, by stack, in one pass.
//!
//! Nobody knows that a moment is the peak before the run is over, and copying all sums at each new
//! record would take most of the time. So a stack's sum is put aside only when it first changes
//! after a record: what has not changed since the last record is still what it was then, and of what has,
//! the copy tells. A new record makes all copies stale at once, by their stamps.

use super::counts::Counts;

/// One stack's live blocks, now and at the record.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    now: Counts,
    before: Counts,
    /// The moment of its last change.
    changed: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peak {
    cells: Vec<Cell>,
    /// The present moment. Everything between two calls of [`Peak::tick`] happens at once.
    moment: u64,
    /// The moment of the highest sum so far.
    record: u64,
    live_bytes: u64,
}

impl Peak {
    /// Of nothing yet. Stacks are known by their slots.
    pub fn new() -> Peak {
        Peak {
            cells: Vec::new(),
            moment: 1,
            record: 0,
            live_bytes: 0,
        }
    }

    /// The next moment begins.
    #[inline]
    pub fn tick(&mut self) {
        self.moment += 1;
    }

    /// This moment is the highest so far.
    #[inline]
    pub fn mark(&mut self) {
        self.record = self.moment;
    }

    /// Requested bytes live now.
    #[inline]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Blocks begin.
    #[inline]
    pub fn gain(&mut self, slot: usize, counts: Counts) {
        self.live_bytes = self.live_bytes.saturating_add(counts.bytes);
        *self.change(slot) += counts;
    }

    /// Blocks end.
    #[inline]
    pub fn lose(&mut self, slot: usize, counts: Counts) {
        self.live_bytes = self.live_bytes.saturating_sub(counts.bytes);
        self.change(slot).take(counts);
    }

    #[inline]
    fn change(&mut self, slot: usize) -> &mut Counts {
        if slot >= self.cells.len() {
            self.cells.resize(slot + 1, Cell::default());
        }
        let cell = &mut self.cells[slot];
        if cell.changed <= self.record {
            cell.before = cell.now;
        }
        cell.changed = self.moment;
        &mut cell.now
    }

    /// What was live at the highest moment, by slot; of those that were ever live.
    pub fn finish(self) -> Vec<Counts> {
        let record = self.record;
        let at_record = |cell: Cell| match cell.changed > record {
            true => cell.before,
            false => cell.now,
        };
        // Before the first record nothing was live.
        let none = record == 0;
        let cells = self.cells.into_iter();
        cells
            .map(|cell| match none {
                true => Counts::default(),
                false => at_record(cell),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against copying everything at each record.
        #[test]
        fn it_is_what_a_copy_at_the_record_would_hold(
            steps in proptest::collection::vec((0usize..4, 0u64..50, any::<bool>()), 0..60)
        ) {
            let mut peak = Peak::new();
            let (mut now, mut copy, mut highest) = ([Counts::default(); 4], [Counts::default(); 4], 0);
            for (slot, bytes, gains) in steps {
                peak.tick();
                let (cell, counts) = (&mut now[slot], Counts::one(bytes));
                if gains {
                    peak.gain(slot, counts);
                    *cell += counts;
                } else if cell.blocks > 0 && cell.bytes >= bytes {
                    peak.lose(slot, counts);
                    cell.take(counts);
                }
                let sum = now.iter().map(|cell| cell.bytes).sum();
                prop_assert_eq!(peak.live_bytes(), sum);
                if sum > highest {
                    (copy, highest) = (now, sum);
                    peak.mark();
                }
            }
            let mut found = peak.finish();
            found.resize(4, Counts::default());
            prop_assert_eq!(found, copy);
        }
    }
}
