//! A row of spans that blocks are cut from.
//!
//! Four words stand at its start: the next chunk of the list, how many spans it has, where the next
//! header will be, and up to where it may not be zero any more. Then, 8 bytes before a multiple
//! of 16, the first header. All that this file touches lies between a chunk's first and last byte.
//!
//! Phase: slow. Invariant: a [`Chunk`] is the address of spans that a live arena has claimed; see
//! `# Safety` of [`Chunk::begin`] and [`Chunk::from_address`].

use super::region::SPAN;

const NEXT: usize = 0;
const SPANS: usize = 8;
const END: usize = 16;
const DIRTY: usize = 24;
/// Where the first header is.
pub const FIRST_HEADER: usize = 40;

/// A chunk. Not to be kept beyond a call: it is gone with its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk(usize);

/// Reads a word.
///
/// # Safety
/// `at` is a multiple of 8 inside a chunk.
pub unsafe fn read_word(at: usize) -> usize {
    // SAFETY: the caller's promise: memory of the arena's that is readable.
    unsafe { (at as *const usize).read() }
}

/// Writes a word.
///
/// # Safety
/// As for [`read_word`], and no block that is in use is there.
pub unsafe fn write_word(at: usize, word: usize) {
    // SAFETY: the caller's promise: memory of the arena's that is writable.
    unsafe { (at as *mut usize).write(word) };
}

impl Chunk {
    /// Makes spans a chunk.
    ///
    /// # Safety
    /// They were claimed just now by an arena that has the chunk from here on.
    pub unsafe fn begin(address: usize, spans: usize, next: usize) -> Self {
        let chunk = Self(address);
        chunk.set(NEXT, next);
        chunk.set(SPANS, spans);
        chunk.set(END, address + FIRST_HEADER);
        chunk.set(DIRTY, address + FIRST_HEADER);
        chunk
    }

    /// The chunk at an address from an arena's lists, or none for 0.
    ///
    /// # Safety
    /// The address is 0 or that of a chunk that an arena has.
    pub unsafe fn from_address(address: usize) -> Option<Self> {
        (address != 0).then_some(Self(address))
    }

    fn get(self, field: usize) -> usize {
        // SAFETY: the first words of a chunk, by the invariant.
        unsafe { read_word(self.0 + field) }
    }

    fn set(self, field: usize, value: usize) {
        // SAFETY: the first words of a chunk, by the invariant; they are no block's.
        unsafe { write_word(self.0 + field, value) };
    }

    /// Its address.
    pub fn address(self) -> usize {
        self.0
    }

    /// Address of the next chunk of the list, or 0.
    pub fn next(self) -> usize {
        self.get(NEXT)
    }

    /// It is the last of its list now.
    pub fn cut(self) {
        self.set(NEXT, 0);
    }

    /// How many spans it has.
    pub fn spans(self) -> usize {
        self.get(SPANS)
    }

    /// Where its first header is, if it has one.
    pub fn first(self) -> usize {
        self.0 + FIRST_HEADER
    }

    /// Where the next header will be: behind the last block.
    pub fn end(self) -> usize {
        self.get(END)
    }

    /// Whether blocks may reach up to `end`.
    pub fn has_room_up_to(self, end: usize) -> bool {
        end <= self.0 + self.spans() * SPAN
    }

    /// Blocks reach up to `end` from now on.
    pub fn set_end(self, end: usize) {
        self.set(END, end);
        if end > self.dirty() {
            self.set(DIRTY, end);
        }
    }

    /// Forgets the blocks.
    pub fn rewind(self) {
        self.set(END, self.first());
    }

    /// From here on it is zero.
    pub fn dirty(self) -> usize {
        self.get(DIRTY)
    }
}
