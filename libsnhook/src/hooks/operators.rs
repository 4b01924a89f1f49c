//! C++ `operator new` and `operator delete`, in all the forms of [new.delete] (C++17).
//!
//! Why they are hooked and not only recognised by name: allocators (tcmalloc, jemalloc, mimalloc)
//! bring operators of their own that never call `malloc`, and `operator delete` is usually left by
//! a jump, so that its frame is not on the stack when `free` is reached.
//!
//! `operator new` may throw. Its entry is a frame with unwind information and without a handler,
//! through which an exception passes as through any C function compiled with `-fexceptions`; no
//! Rust frame is on the stack while the real operator runs. `operator delete` does not throw.
//!
//! Inside the real operator the allocator is usually called by its public names; those calls are
//! the operator's own and not events of their own ([`crate::thread`]).
//!
//! Where the program's global scope has no such operator (a C program that loads a C++ plugin),
//! the hook's symbols are withdrawn ([`crate::ways::interpose`]): the plugin's operators are then
//! bound as without the hook, and recognised by name in the launcher.

// The exported names are the C++ ABI's; tests leave them unexported.
#![cfg_attr(test, allow(non_snake_case))]

use core::sync::atomic::Ordering;

use sntrace_format::record::Op;

use super::real::{self, Function};
use super::release;
use crate::bootstrap;
use crate::platform::{entry, new_entry};
use crate::record::{self, Site};
use crate::thread::{self, Entered};

macro_rules! new_operator {
    ($name:ident, $begin:ident, $end:ident, $real:path, $op:path, $aligned:literal) => {
        new_entry!($name, $begin, $end);

        unsafe extern "C" fn $begin(slot: usize, back: usize, outer: *mut [usize; 2]) -> usize {
            // SAFETY: called by the entry above, with two words of its own frame.
            unsafe { begin(slot, back, outer, &$real) }
        }

        unsafe extern "C" fn $end(
            block: usize,
            frame: *const [usize; 5],
            sp: usize,
            fp: usize,
            ra: usize,
        ) -> usize {
            // SAFETY: called by the entry above, after `begin`, with its own frame.
            let [size, alignment, _, inside, back] = unsafe { *frame };
            let operand = if $aligned { alignment as u64 } else { 0 };
            // SAFETY: as above.
            unsafe {
                end(
                    Site { sp, fp, ra },
                    $op,
                    block,
                    size,
                    operand,
                    [inside, back],
                )
            }
        }
    };
}

new_operator!(_Znwm, new_begin, new_end, real::NEW, Op::New, false);
new_operator!(
    _Znam,
    array_begin,
    array_end,
    real::NEW_ARRAY,
    Op::NewArray,
    false
);
new_operator!(
    _ZnwmRKSt9nothrow_t,
    new_nothrow_begin,
    new_nothrow_end,
    real::NEW_NOTHROW,
    Op::New,
    false
);
new_operator!(
    _ZnamRKSt9nothrow_t,
    array_nothrow_begin,
    array_nothrow_end,
    real::NEW_ARRAY_NOTHROW,
    Op::NewArray,
    false
);
new_operator!(
    _ZnwmSt11align_val_t,
    aligned_begin,
    aligned_end,
    real::NEW_ALIGNED,
    Op::NewAligned,
    true
);
new_operator!(
    _ZnamSt11align_val_t,
    array_aligned_begin,
    array_aligned_end,
    real::NEW_ARRAY_ALIGNED,
    Op::NewArrayAligned,
    true
);
new_operator!(
    _ZnwmSt11align_val_tRKSt9nothrow_t,
    aligned_nothrow_begin,
    aligned_nothrow_end,
    real::NEW_ALIGNED_NOTHROW,
    Op::NewAligned,
    true
);
new_operator!(
    _ZnamSt11align_val_tRKSt9nothrow_t,
    array_aligned_nothrow_begin,
    array_aligned_nothrow_end,
    real::NEW_ARRAY_ALIGNED_NOTHROW,
    Op::NewArrayAligned,
    true
);

/// Before the real operator: `slot` is where the call leaves its return address, `back` that
/// address; `outer` keeps the state of the operator that calls this one, if one does (`new[]` is
/// usually `new`). Returns the operator to call.
unsafe fn begin(slot: usize, back: usize, outer: *mut [usize; 2], real: &Function) -> usize {
    let mut operator = real.load(Ordering::Relaxed);
    if operator == 0 {
        thread::start();
        operator = real.load(Ordering::Relaxed);
        if operator == 0 {
            // Only a weak reference can have been bound here; the plainest operator serves it.
            operator = plain_new as *const () as usize;
        }
    }
    let before = match thread::recording_now() {
        // SAFETY: the entry keeps the operator's arguments in the three words before these two.
        Some(state) => state.enter_operator(slot, back, unsafe { *outer.cast::<usize>().sub(3) }),
        None => [0; 2],
    };
    // SAFETY: two words of the entry's frame.
    unsafe { *outer = before };
    operator
}

unsafe extern "C" fn plain_new(size: usize) -> usize {
    // SAFETY: an allocation on the program's behalf; `operator new` of 0 bytes is a block too.
    unsafe { real::call1(&real::MALLOC, bootstrap::malloc, size.max(1)) }
}

unsafe fn end(
    site: Site,
    op: Op,
    block: usize,
    size: usize,
    alignment: u64,
    outer: [usize; 2],
) -> usize {
    if let Some(state) = thread::recording() {
        state.leave_operator(outer);
    }
    match thread::enter(&site, size) {
        Entered::Recording(state) => record::note(state, &site, op, block, size, [alignment, 0, 0]),
        Entered::PassThrough => {}
    }
    block
}

macro_rules! delete_operator {
    ($name:ident, $body:ident, $real:path, $op:path, $arguments:tt, |$a:ident, $b:ident| ($size:expr, $alignment:expr)) => {
        entry!($name, $arguments, $body);
        delete_operator!(@body $arguments $body, $real, $op, |$a, $b| ($size, $alignment));
    };
    (@body 1 $body:ident, $real:path, $op:path, |$a:ident, $b:ident| ($size:expr, $alignment:expr)) => {
        unsafe extern "C" fn $body(block: usize, sp: usize, fp: usize, ra: usize) {
            let ($a, $b) = (0usize, 0usize);
            // SAFETY: the program's own call, passed on once.
            unsafe { delete(Site { sp, fp, ra }, &$real, $op, $size, $alignment, [block, 0, 0]) }
        }
    };
    (@body 2 $body:ident, $real:path, $op:path, |$a:ident, $b:ident| ($size:expr, $alignment:expr)) => {
        unsafe extern "C" fn $body(block: usize, $a: usize, sp: usize, fp: usize, ra: usize) {
            let $b = 0usize;
            let _ = $b;
            // SAFETY: the program's own call, passed on once.
            unsafe { delete(Site { sp, fp, ra }, &$real, $op, $size, $alignment, [block, $a, 0]) }
        }
    };
    (@body 3 $body:ident, $real:path, $op:path, |$a:ident, $b:ident| ($size:expr, $alignment:expr)) => {
        unsafe extern "C" fn $body(block: usize, $a: usize, $b: usize, sp: usize, fp: usize, ra: usize) {
            // SAFETY: the program's own call, passed on once.
            unsafe { delete(Site { sp, fp, ra }, &$real, $op, $size, $alignment, [block, $a, $b]) }
        }
    };
}

delete_operator!(
    _ZdlPv,
    delete_plain,
    real::DELETE,
    Op::Delete,
    1,
    |_a, _b| (0, 0)
);
delete_operator!(
    _ZdaPv,
    delete_array,
    real::DELETE_ARRAY,
    Op::DeleteArray,
    1,
    |_a, _b| (0, 0)
);
delete_operator!(
    _ZdlPvRKSt9nothrow_t,
    delete_nothrow,
    real::DELETE_NOTHROW,
    Op::Delete,
    2,
    |a, b| (0, 0)
);
delete_operator!(
    _ZdaPvRKSt9nothrow_t,
    delete_array_nothrow,
    real::DELETE_ARRAY_NOTHROW,
    Op::DeleteArray,
    2,
    |a, b| (0, 0)
);
delete_operator!(
    _ZdlPvm,
    delete_sized,
    real::DELETE_SIZED,
    Op::Delete,
    2,
    |a, b| (a, 0)
);
delete_operator!(
    _ZdaPvm,
    delete_array_sized,
    real::DELETE_ARRAY_SIZED,
    Op::DeleteArray,
    2,
    |a, b| (a, 0)
);
delete_operator!(
    _ZdlPvSt11align_val_t,
    delete_aligned,
    real::DELETE_ALIGNED,
    Op::DeleteAligned,
    2,
    |a, b| (0, a)
);
delete_operator!(
    _ZdaPvSt11align_val_t,
    delete_array_aligned,
    real::DELETE_ARRAY_ALIGNED,
    Op::DeleteArrayAligned,
    2,
    |a, b| (0, a)
);
delete_operator!(
    _ZdlPvSt11align_val_tRKSt9nothrow_t,
    delete_aligned_nothrow,
    real::DELETE_ALIGNED_NOTHROW,
    Op::DeleteAligned,
    3,
    |a, b| (0, a)
);
delete_operator!(
    _ZdaPvSt11align_val_tRKSt9nothrow_t,
    delete_array_aligned_nothrow,
    real::DELETE_ARRAY_ALIGNED_NOTHROW,
    Op::DeleteArrayAligned,
    3,
    |a, b| (0, a)
);
delete_operator!(
    _ZdlPvmSt11align_val_t,
    delete_sized_aligned,
    real::DELETE_SIZED_ALIGNED,
    Op::DeleteAligned,
    3,
    |a, b| (a, b)
);
delete_operator!(
    _ZdaPvmSt11align_val_t,
    delete_array_sized_aligned,
    real::DELETE_ARRAY_SIZED_ALIGNED,
    Op::DeleteArrayAligned,
    3,
    |a, b| (a, b)
);

#[inline(always)]
unsafe fn delete(
    site: Site,
    real: &Function,
    op: Op,
    size: usize,
    alignment: usize,
    arguments: [usize; 3],
) {
    let [block, second, third] = arguments;
    if block == 0 || bootstrap::owns(block) {
        return;
    }
    let known = real.load(Ordering::Relaxed);
    // SAFETY: the program's own call, passed on once. Without an operator in the program only a
    // weak reference leads here, whose blocks come from `plain_new`: `free` takes them back.
    unsafe {
        release(site, op, block, size, [alignment as u64, 0, 0], || {
            if known == 0 {
                real::free(block);
            } else {
                let _ = real::call6(known, [block, second, third, 0, 0, 0]);
            }
        });
    }
}
