//! The aligned allocations: posix_memalign, aligned_alloc, memalign, valloc, pvalloc.

use core::sync::atomic::Ordering;

use sntrace_format::record::Op;

use super::{acquire, real};
use crate::bootstrap;
use crate::platform::entry;
use crate::record::Site;

entry!(posix_memalign, 3, posix_memalign_body);
entry!(aligned_alloc, 2, aligned_alloc_body);
entry!(memalign, 2, memalign_body);
entry!(valloc, 1, valloc_body);
entry!(pvalloc, 1, pvalloc_body);

const ENOMEM: usize = 12;

unsafe extern "C" fn posix_memalign_body(
    out: usize,
    alignment: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    let mut status = ENOMEM;
    // SAFETY: the program's own call, passed on once. On success `out` is the program's pointer
    // variable, which the real function has just written.
    unsafe {
        acquire(
            Site { sp, fp, ra },
            Op::PosixMemalign,
            size,
            [alignment as u64, 0, 0],
            || {
                let known = real::POSIX_MEMALIGN.load(Ordering::Relaxed);
                if known == 0 {
                    let block = bootstrap::allocate(size, alignment);
                    if block != 0 {
                        *(out as *mut usize) = block;
                        status = 0;
                    }
                    return block;
                }
                // An int: only the lower half of the register counts.
                status = real::call6(known, [out, alignment, size, 0, 0, 0]) & 0xffff_ffff;
                if status == 0 {
                    *(out as *const usize)
                } else {
                    0
                }
            },
        );
    }
    status
}

unsafe extern "C" fn aligned_alloc_body(
    alignment: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(
            Site { sp, fp, ra },
            Op::AlignedAlloc,
            size,
            [alignment as u64, 0, 0],
            || real::call2(&real::ALIGNED_ALLOC, bootstrap::aligned, alignment, size),
        )
    }
}

unsafe extern "C" fn memalign_body(
    alignment: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(
            Site { sp, fp, ra },
            Op::Memalign,
            size,
            [alignment as u64, 0, 0],
            || real::call2(&real::MEMALIGN, bootstrap::aligned, alignment, size),
        )
    }
}

/// What valloc and pvalloc mean before the real ones are known. 64 KiB suits every page size.
unsafe extern "C" fn paged(size: usize) -> usize {
    bootstrap::allocate(size, 64 << 10)
}

unsafe extern "C" fn valloc_body(size: usize, sp: usize, fp: usize, ra: usize) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(Site { sp, fp, ra }, Op::Valloc, size, [0; 3], || {
            real::call1(&real::VALLOC, paged, size)
        })
    }
}

unsafe extern "C" fn pvalloc_body(size: usize, sp: usize, fp: usize, ra: usize) -> usize {
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(Site { sp, fp, ra }, Op::Pvalloc, size, [0; 3], || {
            real::call1(&real::PVALLOC, paged, size)
        })
    }
}
