//! fork: a child gets lanes of its own at once.
//!
//! A child made by a raw `clone` is noticed at its first event (its pages were wiped). `vfork` is
//! left alone: its child runs on the parent's memory, and what it allocates is the parent's.

use super::{export, real};
use crate::{environment, thread};

export! {
    /// Interposes `fork`.
    fn fork() {
        let known = real::known(&real::FORK);
        if known == 0 {
            return usize::MAX;
        }
        // SAFETY: the program's own call, passed on once.
        let pid = unsafe { real::call6(known, [0; 6]) };
        // A pid_t: only the lower half of the register counts.
        if pid as u32 == 0 {
            environment::lent::forked();
            thread::forked();
        }
        pid
    }
}
