//! The exported functions of `include/snhook.h`, which documents each.
//!
//! Their C types are words here: pointers, sizes and handles in registers. A status is returned as
//! an `int`. Whatever a program passes for a handle or a block is looked up, never followed; what it
//! passes for a structure, a text or a callback is taken by its word, as in any C function.
//!
//! Phase: slow. None touches `errno`.

use super::allocate::{Block, Walk};
use super::block::ALIGNMENT;
use super::handle::Handle;
use super::region::{self, Owner};
use super::slot::Arena;
use super::tree::{self, Wishes};
use crate::hooks::export;

/// `SNHOOK_VERSION_MAJOR << 16 | SNHOOK_VERSION_MINOR`.
pub const VERSION: usize = 1;

const OK: usize = 0;
const STOPPED: usize = 1;
const BAD_ARENA: usize = -2isize as usize;
const BAD_ARGUMENT: usize = -3isize as usize;
const DAMAGED: usize = -4isize as usize;

fn arena(handle: usize) -> Option<Arena<'static>> {
    region::existing()?.arena(Handle::from_number(handle as u64)?)
}

/// Word `at` of a structure whose first word is its size; 0 where it is shorter.
///
/// # Safety
/// `structure` is readable for as many bytes as its first word says.
unsafe fn field(structure: *const usize, at: usize) -> usize {
    // SAFETY: the caller's promise; every structure has the first word.
    let bytes = unsafe { structure.read() };
    if (at + 1) * size_of::<usize>() > bytes {
        return 0;
    }
    let field = structure.wrapping_add(at);
    // SAFETY: within the size, as just checked.
    unsafe { field.read() }
}

/// How many bytes a text has before its zero, at most `most`.
///
/// # Safety
/// `text` is readable up to its zero, or for `most` bytes.
unsafe fn length(text: usize, most: usize) -> usize {
    let mut bytes = 0;
    while bytes < most {
        // Volatile: a loop that the compiler recognises becomes a call of strlen.
        // SAFETY: no zero has come yet, and `most` is not reached.
        if unsafe { ((text + bytes) as *const u8).read_volatile() } == 0 {
            break;
        }
        bytes += 1;
    }
    bytes
}

/// # Safety
/// As for [`length`].
unsafe fn duplicate(handle: usize, text: usize, most: usize) -> Option<usize> {
    let arena = arena(handle)?;
    if text == 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { length(text, most) };
    let copy = arena.allocate(bytes.checked_add(1)?, ALIGNMENT)?;
    // SAFETY: the text has so many bytes, the new block one more.
    unsafe { core::ptr::copy_nonoverlapping(text as *const u8, copy as *mut u8, bytes) };
    // SAFETY: the last byte of the new block.
    unsafe { ((copy + bytes) as *mut u8).write(0) };
    Some(copy)
}

export! {
    /// The version of the interface.
    fn snhook_api_version() {
        VERSION
    }
}

export! {
    /// Makes an arena: its handle, or 0.
    fn snhook_arena_create(options) {
        let options = options as *const usize;
        let mut wishes = Wishes::default();
        if !options.is_null() {
            // SAFETY: the program's promise; all fields are words.
            let [flags, parent, chunk, limit] = [1, 2, 3, 4].map(|at| unsafe { field(options, at) });
            // A parent that can't be one must not become none.
            wishes.parent = Handle::from_number(parent as u64);
            if flags != 0 || (parent != 0 && wishes.parent.is_none()) {
                return 0;
            }
            wishes.chunk_bytes = chunk;
            wishes.limit = limit;
        }
        region::get_or_reserve()
            .and_then(|region| tree::create(region, &wishes))
            .map_or(0, |arena| arena.handle.number() as usize)
    }
}

export! {
    /// Destroys an arena, its children first: a status.
    fn snhook_arena_destroy(handle) {
        arena(handle).map_or(BAD_ARENA, |arena| {
            arena.destroy();
            OK
        })
    }
}

export! {
    /// Drops all blocks of an arena, its children first: a status.
    fn snhook_arena_reset(handle) {
        arena(handle).map_or(BAD_ARENA, |arena| {
            arena.reset();
            OK
        })
    }
}

export! {
    /// A block, or null.
    fn snhook_arena_alloc(handle, size) {
        arena(handle).and_then(|arena| arena.allocate(size, ALIGNMENT)).unwrap_or(0)
    }
}

export! {
    /// A zeroed block, or null.
    fn snhook_arena_calloc(handle, count, size) {
        arena(handle)
            .zip(count.checked_mul(size))
            .and_then(|(arena, bytes)| arena.allocate_zeroed(bytes))
            .unwrap_or(0)
    }
}

export! {
    /// An aligned block, or null.
    fn snhook_arena_aligned_alloc(handle, alignment, size) {
        arena(handle)
            .filter(|_| alignment.is_power_of_two())
            .and_then(|arena| arena.allocate(size, alignment))
            .unwrap_or(0)
    }
}

export! {
    /// The block with another size, where it is or elsewhere, or null.
    fn snhook_arena_realloc(handle, block, size) {
        let Some(arena) = arena(handle) else {
            return 0;
        };
        if block == 0 {
            return arena.allocate(size, ALIGNMENT).unwrap_or(0);
        }
        Block::find(arena.region, block)
            .filter(|block| block.arena.handle == arena.handle)
            .and_then(|block| block.resize(size))
            .unwrap_or(0)
    }
}

export! {
    /// A copy of a text, or null.
    fn snhook_arena_strdup(handle, text) {
        // SAFETY: the program's promise: a text that ends with a zero.
        unsafe { duplicate(handle, text, usize::MAX) }.unwrap_or(0)
    }
}

export! {
    /// A copy of a text's first bytes, or null.
    fn snhook_arena_strndup(handle, text, most) {
        // SAFETY: the program's promise: it ends with a zero, or has so many bytes.
        unsafe { duplicate(handle, text, most) }.unwrap_or(0)
    }
}

export! {
    /// Bytes that may be used of a block; 0 if it is no live arena's.
    fn snhook_arena_usable_size(block) {
        region::existing()
            .and_then(|region| Block::find(region, block))
            .map_or(0, |block| block.usable_size())
    }
}

export! {
    /// Handle of the live arena that an address belongs to, or 0.
    fn snhook_arena_of(address) {
        match region::existing().map(|region| region.owner(address)) {
            Some(Owner::Live(handle)) => arena(handle.number() as usize)
                .map_or(0, |arena| arena.handle.number() as usize),
            _ => 0,
        }
    }
}

export! {
    /// Whether an address is foreign (0), a live arena's (1) or was an arena's (2).
    fn snhook_arena_address_state(address) {
        match region::existing().map(|region| region.owner(address)) {
            Some(Owner::Live(handle)) if arena(handle.number() as usize).is_some() => 1,
            Some(Owner::Live(_) | Owner::Dead(_)) => 2,
            Some(Owner::Foreign | Owner::Unused) | None => 0,
        }
    }
}

export! {
    /// Handle of an arena's parent, or 0.
    fn snhook_arena_parent(handle) {
        arena(handle).map_or(0, |arena| arena.slot.parent.get())
    }
}

export! {
    /// Fills in what there is to know of an arena: a status.
    fn snhook_arena_stats(handle, stats) {
        let Some(arena) = arena(handle) else {
            return BAD_ARENA;
        };
        let stats = stats as *mut usize;
        if stats.is_null() {
            return BAD_ARGUMENT;
        }
        let slot = arena.slot;
        let values = [
            &slot.blocks,
            &slot.blocks_total,
            &slot.bytes,
            &slot.bytes_total,
            &slot.bytes_peak,
            &slot.bytes_used,
            &slot.spans,
            &slot.limit,
            &slot.limit_hits,
            &slot.children,
        ];
        // SAFETY: the program's promise: its first word is its size.
        let words = unsafe { stats.read() } / size_of::<usize>();
        for (at, value) in (1..words).zip(values) {
            let field = stats.wrapping_add(at);
            // SAFETY: within the size.
            unsafe { field.write(value.get()) };
        }
        OK
    }
}

export! {
    /// Calls back with every live block of an arena: a status.
    fn snhook_arena_for_each(handle, callback, context) {
        let Some(arena) = arena(handle) else {
            return BAD_ARENA;
        };
        type Callback = unsafe extern "C" fn(usize, usize, usize) -> i32;
        // SAFETY: null is None, else the program's promise: a function of this type.
        let callback = unsafe { core::mem::transmute::<usize, Option<Callback>>(callback) };
        let Some(callback) = callback else {
            return BAD_ARGUMENT;
        };
        // SAFETY: the program's own function; it gets a block, its size and its own word.
        match arena.walk(|block, size| unsafe { callback(block, size, context) } == 0) {
            Walk::Complete => OK,
            Walk::Stopped => STOPPED,
            Walk::Damaged => DAMAGED,
        }
    }
}
