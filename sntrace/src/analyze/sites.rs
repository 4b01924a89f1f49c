//! What came of the allocations of each stack.
//!
//! A dense array by [`StackId`](crate::trace::StackId): an event costs an index, and memory is bounded by distinct stacks.
//! Callers and modules are sums over it, worked out at the end.

use super::counts::Counts;

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
