//! The figures of each stack: what it allocated, what was live at the peak, what leaked.
//!
//! What was live at the peak must be known for each stack, and a run reaches a new peak at nearly
//! every allocation while it grows. So nothing is copied then: peaks are numbered, and a stack's live
//! figures are taken as those of the last peak when it changes for the first time after that peak.
//! That is one comparison a change, in one pass.
//!
//! Rows exist for stacks that had a block, not for every node of the tree.

use crate::trace::StackId;

use super::ledger::{Change, End};

/// The figures of one stack. Inherited blocks count as live and as leaks, not as allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks obtained.
    pub allocations: u64,
    /// Their requested bytes.
    pub bytes: u64,
    /// Blocks live when the whole run's live bytes were most.
    pub peak_blocks: u64,
    /// Their requested bytes.
    pub peak_bytes: u64,
    /// The most requested bytes that this stack had live.
    pub max_bytes: u64,
    /// Its blocks then.
    pub max_blocks: u64,
    /// Blocks live when their process ended.
    pub leaked_blocks: u64,
    /// Their requested bytes.
    pub leaked_bytes: u64,
    /// Temporary blocks.
    pub temporary: u64,
    /// How long its blocks lived, added up, in nanoseconds.
    pub lifetime_ns: u64,
    /// Blocks live now.
    pub live_blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// The last peak that `peak_bytes` is right for.
    peak_number: u64,
}

/// All stacks.
#[derive(Default)]
pub struct Tally {
    /// By stack: where in `rows` it is, plus one.
    places: Vec<u32>,
    rows: Vec<(StackId, Totals)>,
    live_bytes: u64,
    peak_bytes: u64,
    peak_number: u64,
    /// How many stacks the trace has: others are taken for the empty one.
    stacks: usize,
}

impl Tally {
    /// Of a trace with so many stacks.
    pub fn new(stacks: usize) -> Self {
        Self {
            stacks,
            ..Self::default()
        }
    }

    /// Takes in a change.
    pub fn change(&mut self, change: &Change) {
        match *change {
            Change::Begin(block) => {
                self.live_bytes = self.live_bytes.saturating_add(block.bytes);
                let row = self.row(block.stack);
                if !block.inherited {
                    row.allocations += 1;
                    row.bytes = row.bytes.saturating_add(block.bytes);
                }
                row.live_blocks += 1;
                row.live_bytes = row.live_bytes.saturating_add(block.bytes);
                if row.live_bytes > row.max_bytes {
                    (row.max_bytes, row.max_blocks) = (row.live_bytes, row.live_blocks);
                }
            }
            Change::End {
                block,
                end,
                temporary,
                time_ns,
            } => {
                self.live_bytes = self.live_bytes.saturating_sub(block.bytes);
                let row = self.row(block.stack);
                row.live_blocks = row.live_blocks.saturating_sub(1);
                row.live_bytes = row.live_bytes.saturating_sub(block.bytes);
                row.temporary += u64::from(temporary);
                if !block.inherited {
                    let lived = time_ns.saturating_sub(block.begun_ns);
                    row.lifetime_ns = row.lifetime_ns.saturating_add(lived);
                }
                if end == End::Leaked {
                    row.leaked_blocks += 1;
                    row.leaked_bytes = row.leaked_bytes.saturating_add(block.bytes);
                }
            }
        }
    }

    /// An item is through: what is live now may be the peak. Not after each change, as a realloc is
    /// two of them at once.
    pub fn settle(&mut self) {
        if self.live_bytes > self.peak_bytes {
            self.peak_bytes = self.live_bytes;
            self.peak_number += 1;
        }
    }

    /// Requested bytes live now.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The stacks that had blocks, in the order of their first; figures of the peak are those of the
    /// highest so far.
    pub fn rows(&self) -> impl Iterator<Item = (StackId, Totals)> + '_ {
        self.rows.iter().map(|(stack, totals)| {
            let mut totals = *totals;
            totals.keep_peak(self.peak_number);
            (*stack, totals)
        })
    }

    fn row(&mut self, stack: StackId) -> &mut Totals {
        let known = (stack.0 as usize) < self.stacks;
        let stack = if known { stack } else { StackId::EMPTY };
        let at = stack.0 as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] == 0 {
            let new = Totals {
                peak_number: self.peak_number,
                ..Totals::default()
            };
            self.rows.push((stack, new));
            // No more rows than stacks, whose numbers are as wide.
            self.places[at] = self.rows.len() as u32;
        }
        let row = &mut self.rows[self.places[at] as usize - 1].1;
        row.keep_peak(self.peak_number);
        row
    }
}

impl Totals {
    /// What is live has not changed since the last peak: it was so then.
    fn keep_peak(&mut self, peak_number: u64) {
        if self.peak_number < peak_number {
            self.peak_number = peak_number;
            (self.peak_blocks, self.peak_bytes) = (self.live_blocks, self.live_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::super::samples;
    use super::*;
    use crate::output::Summary;
    use crate::trace::Recording;
    use std::collections::HashMap;

    #[test]
    fn sums_over_stacks_are_the_summary() {
        let recording = samples::recording();
        let mut summary = Summary::default();
        let mut ledger = Ledger::default();
        let mut tally = Tally::new(recording.tables().stacks.len());
        recording
            .replay(&mut |item| {
                summary.item(item);
                ledger.item(item, &mut |change| tally.change(&change));
                tally.settle();
            })
            .unwrap();
        let sum = |of: fn(&Totals) -> u64| tally.rows().map(|(_, row)| of(&row)).sum::<u64>();
        assert_eq!(sum(|row| row.allocations), summary.allocations);
        assert_eq!(sum(|row| row.bytes), summary.bytes_allocated);
        assert_eq!(sum(|row| row.peak_bytes), summary.peak_bytes);
        assert_eq!(sum(|row| row.leaked_bytes), summary.leaked_bytes);
        assert_eq!(sum(|row| row.leaked_blocks), summary.leaked_allocations);
        assert_eq!(sum(|row| row.temporary), summary.temporary_allocations);
        assert_eq!(sum(|row| row.live_bytes), 0);
    }

    /// By copying everything at each peak, which is simple and slow.
    #[test]
    fn the_peak_of_each_stack_is_what_a_copy_would_hold() {
        let recording = samples::recording();
        let mut ledger = Ledger::default();
        let mut tally = Tally::new(recording.tables().stacks.len());
        let mut live: HashMap<StackId, (u64, u64)> = HashMap::new();
        let (mut peak, mut at_peak) = (0, HashMap::new());
        recording
            .replay(&mut |item| {
                ledger.item(item, &mut |change| {
                    tally.change(&change);
                    match change {
                        Change::Begin(block) => {
                            let row = live.entry(block.stack).or_default();
                            *row = (row.0 + 1, row.1 + block.bytes);
                        }
                        Change::End { block, .. } => {
                            let row = live.entry(block.stack).or_default();
                            *row = (row.0 - 1, row.1 - block.bytes);
                        }
                    }
                });
                tally.settle();
                let now = live.values().map(|(_, bytes)| bytes).sum::<u64>();
                if now > peak {
                    (peak, at_peak) = (now, live.clone());
                }
            })
            .unwrap();
        assert!(peak > 0);
        for (stack, row) in tally.rows() {
            let expected = at_peak.get(&stack).copied().unwrap_or_default();
            assert_eq!((row.peak_blocks, row.peak_bytes), expected);
        }
    }
}
