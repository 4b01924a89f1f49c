//! The table of hooked functions, and the few shapes that their bodies have.
//!
//! A new function is one line in [`real`]'s table, one `entry!` and a body made of `acquire`,
//! `release` or `replace`. The order of clock and call is fixed there and nowhere else: a
//! block's time is taken while it is certainly owned, so after the allocator returned it and
//! before it is given back.
//!
//! Phase: hot. A body may run before the hook has started, on any thread, inside a signal
//! handler, inside the real allocator (which may call itself by its public names), after a fork.

pub mod aligned;
pub mod announce;
pub mod exec;
pub mod loader;
pub mod malloc;
pub mod mmap;
pub mod operators;
pub mod process;
pub mod real;
pub mod spawn;

use sntrace_format::record::Op;

use crate::record::{self, Site};
use crate::thread::{self, Entered};

/// Defines an interposed function of integer arguments that nobody asks who called it.
macro_rules! export {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident),*) $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($argument: usize),*) -> usize $body
    };
}
pub(crate) use export;

/// Calls an allocation function and records the block it gave. `operands` as [`Op`] says.
#[inline(always)]
pub(crate) unsafe fn acquire(
    site: Site,
    op: Op,
    size: usize,
    operands: [u64; 3],
    call: impl FnOnce() -> usize,
) -> usize {
    let state = match thread::enter(&site, size) {
        Entered::Recording(state) => state,
        Entered::PassThrough => return call(),
    };
    let before = state.enter_allocator(site.sp);
    let block = call();
    state.leave_allocator(before);
    record::note(state, &site, op, block, size, operands);
    block
}

/// Records that a block is given back and calls the function that does it.
#[inline(always)]
pub(crate) unsafe fn release(
    site: Site,
    op: Op,
    block: usize,
    size: usize,
    operands: [u64; 3],
    call: impl FnOnce(),
) {
    let state = match thread::enter(&site, usize::MAX) {
        Entered::Recording(state) => state,
        Entered::PassThrough => return call(),
    };
    record::note(state, &site, op, block, size, operands);
    let before = state.enter_allocator(site.sp);
    call();
    state.leave_allocator(before);
}

/// Calls a function that replaces one block by another and records both. `third` is the op's
/// third operand.
#[inline(always)]
pub(crate) unsafe fn replace(
    site: Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    call: impl FnOnce() -> usize,
) -> usize {
    let state = match thread::enter(&site, size) {
        Entered::Recording(state) => state,
        Entered::PassThrough => return call(),
    };
    let before = state.enter_allocator(site.sp);
    let block = record::note_replacing(state, &site, op, old, size, third, call);
    state.leave_allocator(before);
    block
}
