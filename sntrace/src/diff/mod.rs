//! Two traces compared, site by site, and rules about how they may differ.
//!
//! What is compared are profiles ([`crate::profile`]): the figures of each stack, without events. Stacks become paths of
//! function names in one tree for both sides (`names`, `paths`, `side`), so that a rebuild, other addresses, moved lines and
//! other folders make no difference. [`Comparison`] puts equal paths side by side, and finds those that were renamed or
//! inlined. [`Rule`]s are judged on sums of it, and [`verdict`] says what came of them, for [`crate::verdict`] to show.
//!
//! Memory is bounded by the distinct stacks of both traces.

mod comparison;
mod gate;
mod inlined;
mod judge;
pub(crate) mod names;
mod notes;
pub(crate) mod paths;
mod renamed;
mod rule;
pub(crate) mod side;
mod stacks;
mod sums;
#[cfg(test)]
mod tests;

pub use comparison::{Comparison, Matching, Pair, Part};
pub use gate::{Named, compose, missing_events, verdict};
pub use judge::{JudgeError, JudgeOptions, blamed, growth, judge};
pub use rule::{Limit, Rule, RuleError};
pub use sums::{Scope, Sum};
