//! What the launcher tells the hook about a call site: may the stack stop here?
//!
//! Names are worked out in the launcher only, so the hook cannot know that a return address lies
//! in `operator new` or `xmalloc`. It therefore sends several frames for a call site it knows
//! nothing about. Once the launcher has named the site, it writes a *verdict* on the process
//! image's board; from then on the hook sends just as many frames as looking past wrappers takes.
//! A verdict only saves work: the caller that is shown is the same with or without it.
//!
//! A board is an array of [`BOARD_ENTRIES`] words:
//!
//! ```text
//!  63 62 61          48 47                                             0
//! +-----+--------------+------------------------------------------------+
//! |kind |  epoch (14)  |               return address (48)              |
//! +-----+--------------+------------------------------------------------+
//! ```
//!
//! The *epoch* counts the image's dlopen and dlclose calls: an address may name other code after
//! one of them, so an old verdict must not match. Who writes: the launcher alone, relaxed (each
//! word stands for itself). Who reads: every thread of the image, relaxed; a stale word costs a
//! few frames more, never a wrong name.

/// Words on a board.
pub const BOARD_ENTRIES: usize = 8192;
/// Bytes of a board.
pub const BOARD_BYTES: usize = BOARD_ENTRIES * 8;
/// Epochs are counted modulo this.
pub const EPOCHS: u32 = 1 << 14;

const ADDRESS_MASK: u64 = (1 << 48) - 1;

/// What is known about a call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// The function is not a wrapper: it is the caller, no frame beyond is needed.
    Direct = 1,
    /// The function only wraps the allocator: the next frame is needed too.
    Wrapper = 2,
}

/// The word that stands for `verdict` about `address` in `epoch`.
#[inline(always)]
#[must_use]
pub const fn entry(address: u64, epoch: u32, verdict: Verdict) -> u64 {
    (address & ADDRESS_MASK) | key(epoch, verdict)
}

/// What is added to an address to get [`entry`]: for whoever looks up many addresses in an epoch.
#[inline(always)]
#[must_use]
pub const fn key(epoch: u32, verdict: Verdict) -> u64 {
    ((epoch % EPOCHS) as u64) << 48 | (verdict as u64) << 62
}

/// Instructions are this well aligned, as a power of two.
const ALIGNED: u32 = if cfg!(target_arch = "aarch64") { 2 } else { 0 };

/// The first of the two places where `address` may stand; the other is this index with its
/// lowest bit flipped.
///
/// The lowest bits that differ between addresses: no two calls within 8 KiB of code (32 KiB on
/// aarch64) share a place, which a hash could not promise, and it takes one instruction.
#[inline(always)]
#[must_use]
pub const fn index(address: u64) -> usize {
    (address >> ALIGNED) as usize % BOARD_ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_stay_on_the_board() {
        for address in [0, 1, u64::MAX, 0x7fff_ffff_ffff, 0x5565_282b_12a0] {
            assert!(index(address) < BOARD_ENTRIES);
            assert!(index(address) ^ 1 < BOARD_ENTRIES);
        }
    }

    #[test]
    fn neither_another_epoch_nor_another_kind_matches() {
        let a = entry(0x5565_282b_12a0, 3, Verdict::Direct);
        assert_ne!(a, entry(0x5565_282b_12a0, 4, Verdict::Direct));
        assert_ne!(a, entry(0x5565_282b_12a0, 3, Verdict::Wrapper));
        assert_eq!(a, entry(0x5565_282b_12a0, 3 + EPOCHS, Verdict::Direct));
        assert_ne!(a, 0);
    }
}
