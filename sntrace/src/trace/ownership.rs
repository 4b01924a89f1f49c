//! What an event does to the ownership of addresses, and what it gave back.
//!
//! The rules by which blocks are obtained, given back and called temporary. The collector checks
//! its order against them, and a trace file's reader works out by them again what the file does
//! not say: both from here, so that a recorded run and a watched one tell the same.

use super::Op;
use super::live::Block;

/// The addresses whose owner a call changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The block that the caller did not have before, or 0.
    pub obtained: u64,
    /// The block that the caller no longer has, or 0. The same as the obtained one where a block
    /// was resized in place.
    pub given_back: u64,
}

impl Ownership {
    /// Of a call of `op` that was given or returned `block`, `size` and, where the op has one,
    /// `old_block`.
    #[inline(always)]
    #[must_use]
    pub fn of(op: Op, block: u64, size: u64, old_block: u64) -> Self {
        // glibc's realloc(block, 0) frees and returns null; any other null left it alone.
        let freed_by_zero = op == Op::Realloc && block == 0 && size == 0;
        let (obtained, given_back) = if op.is_mapping() {
            (0, 0)
        } else if op.only_releases() {
            (0, block)
        } else if block != 0 || freed_by_zero {
            (block, old_block)
        } else {
            (0, 0)
        };
        Self {
            obtained,
            given_back,
        }
    }

    /// Whether the call ended a temporary block: `released` is what it gave back, `thread` who
    /// called, `serial` how many allocations that thread had made before.
    #[inline(always)]
    #[must_use]
    pub fn ends_temporary(self, released: Option<Block>, thread: u32, serial: u32) -> bool {
        self.obtained == 0
            && released.is_some_and(|block| block.thread == thread && block.serial == serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_changes_owners_as_it_succeeds() {
        let of = |op, block, size, old_block| {
            let owners = Ownership::of(op, block, size, old_block);
            (owners.obtained, owners.given_back)
        };
        assert_eq!(of(Op::Malloc, 16, 8, 0), (16, 0));
        assert_eq!(of(Op::Malloc, 0, 8, 0), (0, 0));
        assert_eq!(of(Op::Free, 16, 0, 0), (0, 16));
        assert_eq!(of(Op::Realloc, 32, 8, 16), (32, 16));
        assert_eq!(of(Op::Realloc, 0, 8, 16), (0, 0));
        assert_eq!(of(Op::Realloc, 0, 0, 16), (0, 16));
        assert_eq!(of(Op::Reallocarray, 0, 0, 16), (0, 0));
        assert_eq!(of(Op::Mremap, 32, 8, 16), (0, 0));
        assert_eq!(of(Op::Munmap, 32, 8, 0), (0, 0));
    }

    #[test]
    fn a_block_is_temporary_if_its_thread_made_no_other() {
        let block = |thread, serial| {
            Some(Block {
                bytes: 8,
                thread,
                serial,
            })
        };
        let free = Ownership::of(Op::Free, 16, 0, 0);
        assert!(free.ends_temporary(block(1, 7), 1, 7));
        assert!(!free.ends_temporary(block(1, 6), 1, 7));
        assert!(!free.ends_temporary(block(2, 7), 1, 7));
        assert!(!free.ends_temporary(None, 1, 7));
        let moved = Ownership::of(Op::Realloc, 32, 8, 16);
        assert!(!moved.ends_temporary(block(1, 7), 1, 7));
    }
}
