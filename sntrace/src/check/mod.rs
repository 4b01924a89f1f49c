//! Budgets: upper bounds that a project keeps beside its code, and `sntrace check` holds runs to.
//!
//! A budget is a TOML file. [`Budget::parse`] reads it into a model that says where everything stands, or
//! into an error that says where and what is wrong; [`Budget::updated`] writes today's figures into it
//! with everything else as it is; [`fresh`] writes the first one. What was
//! measured comes as a [`Figure`](crate::exact::Figure), and a bound compares it exactly; [`Budget::judge`] works both out for a run.
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```
//!
//! - `version` may be left out; another than 1 is an error.
//! - A bound is a whole number. One of bytes may be a string with a unit: `K`, `M`, `G` (or `KiB`, ...; powers of
//!   1024), with decimals and blanks before the unit. `allocations_per_call` takes up to six decimals.
//! - Metrics are those of [`Metric`](crate::profile::Metric) in every table; `allocations_per_call` in
//!   `functions` alone, as only there calls are counted.
//! - Patterns are globs over whole names: `*` is any text, `?` any character.
//! - `functions` counts what a function and all that it calls do; `callers` what a function allocates itself,
//!   as lines show it; `modules` the same for all functions of a file.
//! - Below `under` of a `no_alloc` nothing may allocate, unless a function of `except` is on the stack.
//! - What leaks below `under` of an `allowed_leak` (any function or module file of its stack) doesn't
//!   count for bounds of leaks; `bytes` and `allocations` bound it by itself.
//! - An unknown key is an error, and so is a budget without a rule: a gate that checks nothing
//!   would always pass.
//!
//! `docs/budget.md` tells users the same.

mod budget;
mod calls;
mod error;
mod fresh;
mod judge;
mod near;
mod parse;
mod update;

#[cfg(test)]
mod tests;

pub use budget::{
    AllowedLeak, BUDGET_VERSION, Bound, Bounded, Budget, Entry, Measure, Place, Scope, Zone,
};
pub use calls::{Calls, Count};
pub use error::{BudgetError, Problem};
pub use fresh::{Facts, fresh};
pub use judge::{Evidence, UnjudgedError};
pub use update::Updated;
