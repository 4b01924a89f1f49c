//! A trace reduced to what comparisons are made of: the figures of each call site.

mod figures;

pub use figures::{Figures, Measured, Metric, Spread};
