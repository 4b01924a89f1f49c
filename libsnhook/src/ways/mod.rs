//! Ways in: each makes a program's calls reach the hooks' entry points.

pub mod interpose;
