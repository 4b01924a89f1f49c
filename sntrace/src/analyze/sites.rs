//! What came of the allocations of each stack.
//!
//! Of all stacks in a trace's tree few allocate: most are what others grow out of. Those that do get a *slot*, a small
//! number, when they are met first ([`Slots`]); figures stand by slot, so an event costs two indices and memory is bounded by
//! the stacks that allocate. Callers and modules are sums over them, worked out at the end.

use super::counts::Counts;
use crate::trace::StackId;

/// Numbers for the stacks that have figures: dense, from 0.
#[derive(Debug)]
pub(super) struct Slots {
    /// By [`StackId`], the slot and one; 0: none yet.
    places: Vec<u32>,
    /// By slot.
    stacks: Vec<StackId>,
}

impl Slots {
    /// For a table of so many stacks.
    pub fn new(stacks: usize) -> Slots {
        Slots {
            places: vec![0; stacks.max(1)],
            stacks: Vec::new(),
        }
    }

    /// Whether a stack is in the table.
    #[inline]
    pub fn has(&self, stack: StackId) -> bool {
        (stack.0 as usize) < self.places.len()
    }

    /// A stack's slot. One that is not in the table has the empty stack's.
    #[inline]
    pub fn of(&mut self, stack: StackId) -> usize {
        let stack = match self.has(stack) {
            true => stack,
            false => StackId::EMPTY,
        };
        let place = &mut self.places[stack.0 as usize];
        if *place == 0 {
            self.stacks.push(stack);
            // There are as many as stacks, whose numbers are as long.
            *place = self.stacks.len() as u32;
        }
        *place as usize - 1
    }

    /// Which stack has a slot, by slot.
    pub fn stacks(&self) -> &[StackId] {
        &self.stacks
    }
}

/// The figures of every stack that has any, by [`StackId`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    sorted: Vec<(StackId, StackTotals)>,
}

impl Stacks {
    /// From figures by slot.
    pub(super) fn of(slots: &Slots, totals: Vec<StackTotals>) -> Stacks {
        let mut sorted: Vec<_> = slots.stacks().iter().copied().zip(totals).collect();
        sorted.sort_unstable_by_key(|(stack, _)| *stack);
        Stacks { sorted }
    }

    /// The figures of a stack, if it has any.
    #[must_use]
    pub fn get(&self, stack: StackId) -> Option<&StackTotals> {
        let at = self
            .sorted
            .binary_search_by_key(&stack, |(stack, _)| *stack);
        Some(&self.sorted.get(at.ok()?)?.1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (StackId, &StackTotals)> {
        self.sorted.iter().map(|(stack, totals)| (*stack, totals))
    }
}

/// The allocations of one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackTotals {
    /// All that were made.
    pub allocated: Counts,
    /// Those that were freed by their thread with no other allocation of that thread in between.
    pub temporary: Counts,
    /// Those that another thread of the process freed.
    pub crossed: Counts,
    /// Those that were live at the peak.
    pub peak: Counts,
    /// Those that were live when their process ended, suppressed ones included.
    pub leaked: Counts,
    /// How many were freed while somebody watched.
    pub freed: u64,
    /// How long these lived in all, in nanoseconds.
    pub lifetime_ns: u128,
}

impl StackTotals {
    /// How long a block lives on average, in nanoseconds; `None` where none was freed.
    #[must_use]
    pub fn mean_lifetime_ns(&self) -> Option<u64> {
        let mean = self.lifetime_ns.checked_div(u128::from(self.freed))?;
        // A mean of 64-bit times fits in 64 bits.
        Some(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}
