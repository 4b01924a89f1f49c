//! Limits, figures and sizes as users write them, exact.
//!
//! Rules and budgets both bound figures by numbers that a person has written. What they have in common is here: decimals that
//! are compared without rounding ([`Limit`], [`Figure`]), and sizes with their units (`size`).

mod limit;
pub(crate) mod size;

pub use limit::{Figure, Limit, Margin};
