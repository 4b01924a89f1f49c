//! The atomics that the rest of the crate uses: the processor's, or loom's models of them.
//!
//! Under `--cfg loom` every interleaving of the ring that the memory model allows is tried
//! (`scripts/loom.sh`). Loom knows no compiler fence: its atomics are never reordered by the
//! compiler behind its back, so there it is nothing.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) fn compiler_fence(_: Ordering) {}
