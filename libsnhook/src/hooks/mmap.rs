//! The mmap family, recorded on request (`--mmap`): what the program itself asks of the kernel.
//!
//! The C library's own mappings (the allocator's, the loader's) don't go through public symbols
//! and are not seen. Without the option each body is one test and a call.
//!
//! A call that comes before the hook has started goes to the kernel itself and does not start it. It
//! may come from an allocator that is part of the program (jemalloc linked into rustc, say), which
//! holds its own lock meanwhile; starting looks symbols up, and a name that is not there makes the
//! loader allocate an error text: in that allocator, which would wait for itself.

use core::sync::atomic::Ordering;

use sntrace_format::record::Op;

use super::{acquire, real, release, replace};
use crate::callers;
use crate::platform::{entry, sys};
use crate::record::Site;
use crate::state;

entry!(mmap, 6, mmap_body);
entry!(mmap64, 6, mmap64_body);
entry!(munmap, 2, munmap_body);
entry!(mremap, 6, mremap_body);
entry!(sbrk, 1, sbrk_body);

/// `MAP_FAILED`, and what sbrk returns when it fails.
const FAILED: usize = usize::MAX;

/// The flag of mmap that lets it take the place of what is there.
const FIXED: usize = 0x10;

unsafe fn map(function: &real::Function, a: [usize; 6], site: Site) -> usize {
    // SAFETY: the caller's promise.
    let result = unsafe { map_and_record(function, a, site) };
    if a[3] & FIXED != 0 {
        callers::memory_unmapped();
    }
    result
}

unsafe fn map_and_record(function: &real::Function, a: [usize; 6], site: Site) -> usize {
    let mut result = FAILED;
    let known = function.load(Ordering::Relaxed);
    if known == 0 {
        // SAFETY: the program's own call.
        return unsafe { sys::map_for_program(a) };
    }
    if !state::records_mappings() {
        // SAFETY: the program's own call, passed on once.
        return unsafe { real::call6(known, a) };
    }
    let protection_and_flags = a[2] as u64 & 0xffff_ffff | (a[3] as u64) << 32;
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(site, Op::Mmap, a[1], [protection_and_flags, 0, 0], || {
            result = real::call6(known, a);
            if result == FAILED { 0 } else { result }
        });
    }
    result
}

#[allow(clippy::too_many_arguments)] // The registers as the entry passes them.
unsafe extern "C" fn mmap_body(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call.
    unsafe { map(&real::MMAP, [a, b, c, d, e, f], Site { sp, fp, ra }) }
}

#[allow(clippy::too_many_arguments)] // The registers as the entry passes them.
unsafe extern "C" fn mmap64_body(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call.
    unsafe { map(&real::MMAP64, [a, b, c, d, e, f], Site { sp, fp, ra }) }
}

unsafe extern "C" fn munmap_body(
    block: usize,
    size: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call.
    let result = unsafe { unmap(block, size, Site { sp, fp, ra }) };
    callers::memory_unmapped();
    result
}

unsafe fn unmap(block: usize, size: usize, site: Site) -> usize {
    let mut result = FAILED;
    let known = real::MUNMAP.load(Ordering::Relaxed);
    if known == 0 {
        // SAFETY: the program's own call: it says that nothing uses the range.
        return unsafe { sys::unmap_for_program(block, size) };
    }
    if !state::records_mappings() {
        // SAFETY: the program's own call, passed on once.
        return unsafe { real::call6(known, [block, size, 0, 0, 0, 0]) };
    }
    // SAFETY: the program's own call, passed on once.
    unsafe {
        release(site, Op::Munmap, block, size, [0; 3], || {
            result = real::call6(known, [block, size, 0, 0, 0, 0]);
        });
    }
    result
}

#[allow(clippy::too_many_arguments)] // The registers as the entry passes them.
unsafe extern "C" fn mremap_body(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    sp: usize,
    fp: usize,
    ra: usize,
) -> usize {
    // SAFETY: the program's own call.
    let result = unsafe { remap([a, b, c, d, e, f], Site { sp, fp, ra }) };
    callers::memory_unmapped();
    result
}

unsafe fn remap(a: [usize; 6], site: Site) -> usize {
    let mut result = FAILED;
    let known = real::MREMAP.load(Ordering::Relaxed);
    if known == 0 {
        // SAFETY: the program's own call.
        return unsafe { sys::remap_for_program(a) };
    }
    if !state::records_mappings() {
        // SAFETY: the program's own call, passed on once.
        return unsafe { real::call6(known, a) };
    }
    // SAFETY: the program's own call, passed on once.
    unsafe {
        replace(site, Op::Mremap, a[0], a[2], a[1] as u64, || {
            result = real::call6(known, a);
            if result == FAILED { 0 } else { result }
        });
    }
    result
}

unsafe extern "C" fn sbrk_body(growth: usize, sp: usize, fp: usize, ra: usize) -> usize {
    let mut result = FAILED;
    let known = real::alone(&real::SBRK, "sbrk\0");
    if known == 0 {
        return FAILED;
    }
    if !state::records_mappings() || growth == 0 {
        // SAFETY: the program's own call, passed on once.
        return unsafe { real::call6(known, [growth, 0, 0, 0, 0, 0]) };
    }
    // SAFETY: the program's own call, passed on once.
    unsafe {
        acquire(Site { sp, fp, ra }, Op::Brk, growth, [0; 3], || {
            result = real::call6(known, [growth, 0, 0, 0, 0, 0]);
            if result == FAILED { 0 } else { result }
        });
    }
    result
}
