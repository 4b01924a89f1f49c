//! A heap for the few allocations that happen before the real allocator is known.
//!
//! `dlsym` may allocate (an error text, a lookup buffer) while the hook is asking it for
//! `malloc`. These blocks come from a fixed array and are never given back: `free` ignores them,
//! `realloc` moves them to the real heap. Phase: load. Invariant: [`owns`] is exact, so no block
//! of this heap ever reaches a real allocator, nor the other way round.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// glibc 2.36 needs a few hundred bytes; the rest is for C libraries with other habits.
const BYTES: usize = 128 << 10;
/// As strict as any allocator's.
const ALIGNMENT: usize = 16;

#[repr(C, align(64))]
struct Heap(UnsafeCell<[u8; BYTES]>);

// SAFETY: the bytes are only handed out, each at most once, never looked at from here except in
// `reallocate`, which reads a block that its caller owns.
unsafe impl Sync for Heap {}

static HEAP: Heap = Heap(UnsafeCell::new([0; BYTES]));
/// Bytes handed out. Every thread adds, relaxed: only uniqueness of the ranges matters.
static USED: AtomicUsize = AtomicUsize::new(0);

fn base() -> usize {
    HEAP.0.get() as usize
}

/// Whether `block` came from here.
#[inline(always)]
pub fn owns(block: usize) -> bool {
    block.wrapping_sub(base()) < BYTES
}

/// Bytes from `block` to the end of the heap: what may be copied from it.
pub fn readable_from(block: usize) -> usize {
    base() + BYTES - block
}

/// A zeroed block, or 0 when the heap is used up.
#[cold]
#[inline(never)]
pub fn allocate(size: usize, alignment: usize) -> usize {
    let alignment = alignment.max(ALIGNMENT);
    // Room for any alignment; the heap is zeroed and nothing is ever reused.
    let Some(span) = size.checked_add(alignment + ALIGNMENT) else {
        return 0;
    };
    if span > BYTES {
        return 0;
    }
    let start = USED.fetch_add(span & !(ALIGNMENT - 1), Ordering::Relaxed);
    if start + span > BYTES {
        return 0;
    }
    (base() + start + alignment - 1) & !(alignment - 1)
}

/// `malloc` until the real one is known.
///
/// # Safety
/// None to keep: the signature is that of the function it stands in for.
pub unsafe extern "C" fn malloc(size: usize) -> usize {
    allocate(size, ALIGNMENT)
}

/// `calloc` until the real one is known.
///
/// # Safety
/// None to keep: the signature is that of the function it stands in for.
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> usize {
    count
        .checked_mul(size)
        .map_or(0, |bytes| allocate(bytes, ALIGNMENT))
}

/// `realloc` until the real one is known.
///
/// # Safety
/// None to keep: the signature is that of the function it stands in for.
pub unsafe extern "C" fn realloc(old: usize, size: usize) -> usize {
    let block = allocate(size, ALIGNMENT);
    if block != 0 && owns(old) {
        // SAFETY: both ranges lie in the heap; the new block is fresh, so they don't overlap. The
        // old block's length is not kept: what is copied beyond it is zeros or younger blocks'
        // bytes, which the caller was never promised.
        unsafe {
            core::ptr::copy(
                old as *const u8,
                block as *mut u8,
                size.min(readable_from(old)),
            )
        };
    }
    block
}

/// `free` until the real one is known.
///
/// # Safety
/// None to keep: the signature is that of the function it stands in for.
pub unsafe extern "C" fn free(_block: usize) {}

/// `memalign` and `aligned_alloc` until the real ones are known.
///
/// # Safety
/// None to keep: the signature is that of the function it stands in for.
pub unsafe extern "C" fn aligned(alignment: usize, size: usize) -> usize {
    allocate(size, alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_apart_and_recognised() {
        let a = allocate(100, 16);
        let b = allocate(1, 4096);
        assert!(a != 0 && b != 0 && a.is_multiple_of(16) && b.is_multiple_of(4096));
        assert!(b >= a + 100 || a > b);
        assert!(owns(a) && owns(b) && !owns(base() - 1) && !owns(base() + BYTES));
        assert_eq!(allocate(BYTES, 16), 0);
        assert_eq!(allocate(usize::MAX, 16), 0);
    }
}
