//! The numbers by which a program names its arenas.
//!
//! A handle is a place in the table of arenas and how often that place has been taken and left:
//! an old handle is recognised for ever, where a pointer would lead into somebody else's arena.
//!
//!     63 62 61                          20 19              0
//!     | 0  |         generation          |      index      |
//!
//! The two free bits are those in which the owners' table keeps its state. Generations of live
//! arenas are odd, so no handle is 0. Phase: slow.

/// Bits of the index.
const INDEX_BITS: u32 = 20;
/// How many arenas there can be at a time, at most.
pub const ARENAS_MAX: usize = 1 << INDEX_BITS;
/// What a handle fits into.
const BITS: u32 = 62;

/// A number that may name an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The handle of a place in its `generation`th state. Generations don't overflow: 42 bits at a
    /// microsecond each are a month of nothing else, and then the oldest handle is valid again.
    pub fn new(index: usize, generation: u64) -> Self {
        let generation = generation << INDEX_BITS & ((1 << BITS) - 1);
        Self(generation | (index as u64 & (ARENAS_MAX as u64 - 1)))
    }

    /// A number from outside, unless it can't be one.
    pub fn from_number(number: u64) -> Option<Self> {
        (number != 0 && number >> BITS == 0).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The place in the table.
    pub fn index(self) -> usize {
        (self.0 & (ARENAS_MAX as u64 - 1)) as usize
    }

    /// The generation.
    pub fn generation(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}
