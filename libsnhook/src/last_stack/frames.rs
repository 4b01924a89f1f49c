//! What a last stack is made of: frames, and the words of memory that they were read from.
//!
//! Everything is written and read in words of eight bytes. Phase: hot.

use sntrace_format::stack::LAST_STACK_MAX;

use crate::unwind::Registers;

/// Places for frames: the last stack's from the start, a walk's from the end.
pub(super) const FRAMES: usize = 2 * LAST_STACK_MAX;

/// Places for words, in the same way. Most frames have one or two.
pub(super) const WORDS: usize = 4 * LAST_STACK_MAX;

/// A frame beyond the caller.
///
/// Four words, and copied word by word ([`Entry::load`]): what was written as words a moment ago can't be
/// read as something larger without waiting for it to reach the cache.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) sp: u64,
    pub(super) ip: u64,
    pub(super) fp: u64,
    /// Bits 0 to 31: one more than the index of the last word that was read on the way to this frame;
    /// during a walk, how many those are. Bits 32 to 47: [`crate::unwind::walk::Walker::mark`], or [`NO_MARK`]. Then
    /// [`LOOSE`] and [`TANGLED`].
    pub(super) way: u64,
}

/// Equal words prove nothing about the way to this frame.
pub(super) const LOOSE: u64 = 1 << 48;

/// This frame or one outside of it is loose, or is on another stack than this.
pub(super) const TANGLED: u64 = 1 << 49;

/// A mark that no walk has.
pub(super) const NO_MARK: u16 = u16::MAX;

/// A word that a walk has read, and where.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Word {
    pub(super) address: u64,
    pub(super) value: u64,
}

/// The arrays, in memory that is touched only as far as it is used. All indexes count from the
/// outermost frame, so what changes is at the end.
#[repr(C)]
pub(super) struct Memory {
    pub(super) frames: [Entry; FRAMES],
    pub(super) words: [Word; WORDS],
}

/// The words, for a walk that adds to them while it is being looked at.
#[derive(Clone, Copy)]
pub(super) struct Words(pub(super) *mut Word);

impl Words {
    #[inline(always)]
    pub(super) fn get(self, at: usize) -> Word {
        debug_assert!(at < WORDS);
        // SAFETY: every index comes from counts of words that were stored, of which there are at
        // most WORDS; nobody refers to them.
        unsafe { self.0.add(at).read() }
    }

    #[inline(always)]
    pub(super) fn set(self, at: usize, word: Word) {
        debug_assert!(at < WORDS);
        // SAFETY: as in `get`: words are stored from WORDS downwards, not below those of the last
        // stack, or copied to lower places. Volatile: else a copying loop becomes a call of memcpy,
        // which costs more than the few words that are copied.
        unsafe { self.0.add(at).write_volatile(word) };
    }
}

impl Entry {
    /// A copy, word by word.
    #[inline(always)]
    pub(super) fn load(&self) -> Self {
        // SAFETY: fields of a frame that is there. Volatile: else the compiler makes larger pieces of it.
        unsafe {
            Self {
                sp: (&raw const self.sp).read_volatile(),
                ip: (&raw const self.ip).read_volatile(),
                fp: (&raw const self.fp).read_volatile(),
                way: (&raw const self.way).read_volatile(),
            }
        }
    }

    /// Becomes a copy of another, word by word.
    #[inline(always)]
    pub(super) fn store(&mut self, other: Self) {
        // SAFETY: as in `load`.
        unsafe {
            (&raw mut self.sp).write_volatile(other.sp);
            (&raw mut self.ip).write_volatile(other.ip);
            (&raw mut self.fp).write_volatile(other.fp);
            (&raw mut self.way).write_volatile(other.way);
        }
    }

    #[inline(always)]
    pub(super) fn words(&self) -> u32 {
        self.way as u32
    }

    #[inline(always)]
    pub(super) fn mark(&self) -> u16 {
        (self.way >> 32) as u16
    }

    pub(super) fn is_loose(&self) -> bool {
        self.way & LOOSE != 0
    }

    #[inline(always)]
    pub(super) fn is_tangled(&self) -> bool {
        self.way & TANGLED != 0
    }

    /// Whether a walk goes on from both in the same way, if it reads the same.
    #[inline(always)]
    pub(super) fn is_state(&self, other: &Entry) -> bool {
        let differs = (self.sp ^ other.sp) | (self.ip ^ other.ip) | (self.fp ^ other.fp);
        differs == 0 && self.mark() == other.mark() && self.mark() != NO_MARK
    }

    pub(super) fn registers(&self) -> Registers {
        Registers {
            ip: self.ip,
            sp: self.sp,
            fp: self.fp,
        }
    }
}

/// The last of the first `count` words that is not in memory any more.
///
/// The words are not below the stack pointer and below the top of the stack, since nothing is
/// tangled, and in the window, all of whose pages can be read.
#[inline(always)]
pub(super) fn first_that_differs(words: Words, count: usize) -> Option<usize> {
    let differs = |at: usize| {
        let word = words.get(at);
        // SAFETY: readable, as above; addresses are aligned. Volatile: the word belongs to frames
        // of other functions.
        unsafe { (word.address as *const u64).read_volatile() != word.value }
    };
    let mut at = count;
    // Four at a time, as half of the loop would be counting.
    while at >= 4 {
        for next in 1..=4 {
            if differs(at - next) {
                return Some(at - next);
            }
        }
        at -= 4;
    }
    (0..at).rev().find(|&at| differs(at))
}

/// Whether the `count` words from `from` on are all in that range of addresses.
pub(super) fn words_within(words: Words, from: usize, count: usize, low: u64, high: u64) -> bool {
    let mut addresses = (from..from + count).map(|at| words.get(at).address);
    addresses.all(|address| address >= low && address < high)
}
