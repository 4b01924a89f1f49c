//! malloc, calloc, realloc, reallocarray, free and the sized frees.

use sntrace_format::record::Op;

use super::{acquire, real, release, replace};
use crate::bootstrap;
use crate::platform::{acquire_entry, entry};
use crate::record::{self, Site};
use crate::thread::{self, ThreadState};

acquire_entry!(malloc, real::MALLOC, malloc_body, malloc_note);
entry!(calloc, 2, calloc_body);
entry!(realloc, 2, realloc_body);
entry!(reallocarray, 3, reallocarray_body);
entry!(free, 1, free_body);
entry!(free_sized, 2, free_sized_body);
entry!(free_aligned_sized, 3, free_aligned_sized_body);

unsafe extern "C" fn malloc_body(size: usize, sp: usize, fp: usize, ra: usize) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(Site { sp, fp, ra }, Op::Malloc, size, [0; 3], || {
            real::call1(&real::MALLOC, bootstrap::malloc, size)
        })
    }
}

/// After the real `malloc`, where the entry has called it itself.
unsafe extern "C" fn malloc_note(
    block: usize,
    state: &mut ThreadState,
    sp: usize,
    ra: usize,
    size: usize,
    fp: usize,
) -> usize {
    if record::note_briefly(state, ra, Op::Malloc, block, size) {
        return block;
    }
    // With the arguments where they are, this is a jump, and nothing need be saved for it.
    malloc_note_further(block, state, sp, ra, size, fp)
}

#[inline(never)]
extern "C" fn malloc_note_further(
    block: usize,
    state: &mut ThreadState,
    sp: usize,
    ra: usize,
    size: usize,
    fp: usize,
) -> usize {
    record::note_further(state, sp, fp, ra, Op::Malloc, block, size, 0, 0, 0);
    // If the compiler knew that this is the argument, the caller would keep it, and make no jump.
    core::hint::black_box(block)
}

unsafe extern "C" fn calloc_body(
    count: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(
            Site { sp, fp, ra },
            Op::Calloc,
            size,
            [count as u64, 0, 0],
            || real::call2(&real::CALLOC, bootstrap::calloc, count, size),
        )
    }
}

unsafe extern "C" fn realloc_body(
    old: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    let site = Site { sp, fp, ra };
    if bootstrap::owns(old) {
        // SAFETY: `old` is the program's block of the bootstrap heap.
        return unsafe { leave_bootstrap(site, old, size) };
    }
    // SAFETY: the program's own call, passed on once.
    unsafe {
        replace(site, Op::Realloc, old, size, 0, || {
            real::call2(&real::REALLOC, bootstrap::realloc, old, size)
        })
    }
}

/// A bootstrap block that grows moves to the real heap: to the program an ordinary `malloc`.
#[cold]
unsafe fn leave_bootstrap(site: Site, old: usize, size: usize) -> usize {
    // SAFETY: an allocation on the program's behalf.
    let block = unsafe {
        acquire(site, Op::Malloc, size, [0; 3], || {
            real::call1(&real::MALLOC, bootstrap::malloc, size)
        })
    };
    if block != 0 {
        // SAFETY: the new block has `size` bytes, the old one lies in the bootstrap heap, whose
        // end bounds the copy; two heaps don't overlap, and `copy` allows it within one.
        unsafe {
            core::ptr::copy(
                old as *const u8,
                block as *mut u8,
                size.min(bootstrap::readable_from(old)),
            )
        };
    }
    block
}

unsafe extern "C" fn reallocarray_body(
    old: usize,
    count: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    let site = Site { sp, fp, ra };
    let known = real::REALLOCARRAY.load(core::sync::atomic::Ordering::Relaxed);
    // SAFETY: the program's own call, passed on once. A C library without the function (before
    // glibc 2.26) cannot have a program that calls it, except one that only asks for it; then
    // the definition of the manual page serves.
    unsafe {
        replace(site, Op::Reallocarray, old, size, count as u64, || {
            if known != 0 {
                return real::call6(known, [old, count, size, 0, 0, 0]);
            }
            count.checked_mul(size).map_or(0, |bytes| {
                real::call2(&real::REALLOC, bootstrap::realloc, old, bytes)
            })
        })
    }
}

unsafe extern "C" fn free_body(block: usize, sp: usize, fp: usize, ra: usize) {
    if block == 0 {
        return;
    }
    if !bootstrap::owns(block)
        && let Some(state) = thread::idle()
        && record::note_briefly(state, ra, Op::Free, block, 0)
    {
        let _ = state.enter_allocator(sp);
        // SAFETY: the program's own call, passed on once.
        unsafe { real::free_known(block) };
        state.leave_allocator(thread::OUTSIDE);
        return;
    }
    // SAFETY: the program's own call.
    unsafe { free_rarely(block, sp, fp, ra) }
}

#[inline(never)]
unsafe extern "C" fn free_rarely(block: usize, sp: usize, fp: usize, ra: usize) {
    if block == 0 || bootstrap::owns(block) {
        return;
    }
    // SAFETY: the program's own call, passed on once.
    unsafe {
        release(Site { sp, fp, ra }, Op::Free, block, 0, [0; 3], || {
            real::free(block)
        })
    }
}

unsafe extern "C" fn free_sized_body(block: usize, size: usize, sp: usize, fp: usize, ra: usize) {
    if block == 0 || bootstrap::owns(block) {
        return;
    }
    let known = real::FREE_SIZED.load(core::sync::atomic::Ordering::Relaxed);
    // SAFETY: the program's own call, passed on once; plain `free` does the same (C23 7.24.3.4).
    unsafe {
        release(
            Site { sp, fp, ra },
            Op::FreeSized,
            block,
            size,
            [0; 3],
            || {
                if known == 0 {
                    real::free(block);
                } else {
                    let _ = real::call6(known, [block, size, 0, 0, 0, 0]);
                }
            },
        );
    }
}

unsafe extern "C" fn free_aligned_sized_body(
    block: usize,
    alignment: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) {
    if block == 0 || bootstrap::owns(block) {
        return;
    }
    let known = real::FREE_ALIGNED_SIZED.load(core::sync::atomic::Ordering::Relaxed);
    // SAFETY: the program's own call, passed on once; plain `free` does the same (C23 7.24.3.5).
    unsafe {
        release(
            Site { sp, fp, ra },
            Op::FreeAlignedSized,
            block,
            size,
            [alignment as u64, 0, 0],
            || {
                if known == 0 {
                    real::free(block);
                } else {
                    let _ = real::call6(known, [block, alignment, size, 0, 0, 0]);
                }
            },
        );
    }
}
