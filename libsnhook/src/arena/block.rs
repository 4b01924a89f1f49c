//! The word in front of each block.
//!
//!     63          44 43    40 39                                0
//!     |    check    |  kind  |               size               |
//!
//! `size` is what was asked for. A block begins at a multiple of 16 and its header 8 bytes before; it
//! takes `size` + 8 bytes, rounded up to a multiple of 16, so at most 23 bytes more than
//! asked for, and 15.5 on average (as glibc's malloc does). `check` depends on the address, the
//! arena, how often that was reset, and the other bits: an address that is no block's, a block from
//! before a reset and an overwritten header are found, but for one in a million that happen to fit.
//! Phase: slow.

use super::handle::Handle;

/// Bytes of a header.
pub const HEADER: usize = 8;
/// As strict as any allocator's.
pub const ALIGNMENT: usize = 16;
/// The largest block.
pub const SIZE_MAX: usize = (1 << SIZE_BITS) - 1;
const SIZE_BITS: u32 = 40;
const CHECK_AT: u32 = 44;

/// What stands behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block among others.
    Block = 1,
    /// A block in a chunk of its own.
    Large = 2,
    /// Nothing: room left for alignment, or by a block that shrank.
    Gap = 3,
    /// A block whose contents were moved to a larger one.
    Left = 4,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was asked for; of a gap, what makes its footprint right.
    pub size: usize,
    /// What it is.
    pub kind: Kind,
}

/// Bytes that a block of `size` takes, header and rounding included. `size` is at most [`SIZE_MAX`].
pub const fn footprint(size: usize) -> usize {
    (size + HEADER).next_multiple_of(ALIGNMENT)
}

/// What a header's check depends on besides itself.
pub fn key(arena: Handle, epoch: usize) -> u64 {
    arena
        .number()
        .rotate_left(32)
        .wrapping_add((epoch as u64).wrapping_mul(0xd1b5_4a32_d192_ed03))
}

fn check(at: usize, key: u64, low: u64) -> u64 {
    let mixed =
        (at as u64 ^ key.rotate_left(17) ^ low.rotate_left(31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> CHECK_AT) << CHECK_AT
}

impl Header {
    /// Its word at the address `at`.
    pub fn encode(self, at: usize, key: u64) -> u64 {
        let low = (self.size & SIZE_MAX) as u64 | (self.kind as u64) << SIZE_BITS;
        low | check(at, key, low)
    }

    /// The header that `word` at the address `at` is, if it is one.
    pub fn decode(word: u64, at: usize, key: u64) -> Option<Self> {
        let low = word & ((1 << CHECK_AT) - 1);
        if word ^ low != check(at, key, low) {
            return None;
        }
        let kind = match low >> SIZE_BITS {
            1 => Kind::Block,
            2 => Kind::Large,
            3 => Kind::Gap,
            4 => Kind::Left,
            _ => return None,
        };
        Some(Self {
            size: low as usize & SIZE_MAX,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_recognised_where_it_was_written_and_nowhere_else() {
        let arena = Handle::new(7, 5);
        let here = 0x7000_0000_0028;
        for kind in [Kind::Block, Kind::Large, Kind::Gap, Kind::Left] {
            for size in [0, 1, 15, 4096, SIZE_MAX] {
                let header = Header { size, kind };
                let word = header.encode(here, key(arena, 3));
                let read = |at, arena, epoch| Header::decode(word, at, key(arena, epoch));
                assert_eq!(read(here, arena, 3), Some(header));
                assert_eq!(read(here + 16, arena, 3), None);
                assert_eq!(read(here, arena, 4), None);
                assert_eq!(read(here, Handle::new(7, 7), 3), None);
                assert_eq!(Header::decode(word ^ 1, here, key(arena, 3)), None);
            }
        }
        assert_eq!(Header::decode(0, here, key(arena, 3)), None);
    }

    #[test]
    fn a_block_takes_at_most_23_bytes_more_than_asked_for() {
        // 8 of the header; then up to 15 of rounding.
        let more = (0..64).map(|size| footprint(size) - size);
        assert_eq!(more.max(), Some(23));
        assert_eq!((footprint(8), footprint(9), footprint(24)), (16, 32, 32));
    }
}
