//! The shared-memory segment of a run.
//!
//! ```text
//! 0                     RunHeader                       (64 KiB)
//! IMAGES_OFFSET         IMAGE_SLOTS x image slot        (128 KiB each: header, verdict board)
//! LANES_OFFSET          LANES x lane                    (64 KiB header + LANE_BYTES of ring)
//! ```
//!
//! The file is sparse: what nobody touches takes no memory. Everything is aligned to 64 KiB, the
//! largest page size of the supported platforms. The launcher creates the segment and fills in
//! the header before any process sees it; from then on its constant fields never change.
//!
//! A *process image* is one program in one process: an `exec` starts a new image in the same
//! process, a `fork` one in a new process. Images have numbers, unique in the run, from 1.

use crate::primitive::{AtomicU32, AtomicU64};

use crate::verdict::BOARD_BYTES;

/// Everything starts at a multiple of this, in bytes.
pub const ALIGNMENT: usize = 64 << 10;
/// How many process images can be alive at a time with shared memory; one more uses the pipe.
pub const IMAGE_SLOTS: usize = 2048;
/// Bytes of one image slot: a header page and a verdict board.
pub const IMAGE_SLOT_BYTES: usize = ALIGNMENT + BOARD_BYTES;
/// Where the image slots start, in bytes from the start of the segment.
pub const IMAGES_OFFSET: usize = ALIGNMENT;
/// Where the lanes start, in bytes from the start of the segment.
pub const LANES_OFFSET: usize = IMAGES_OFFSET + IMAGE_SLOTS * IMAGE_SLOT_BYTES;
/// How many lanes a run can have at a time; a thread beyond uses the pipe.
pub const LANES: usize = 16384;
/// Bytes of one ring. A thread that must wait for the launcher finds its caches cold when it goes
/// on (measured on a virtual machine: half a millisecond until they are warm), so waits must be
/// rare: a ring holds some 43,000 events. Only pages that were written take memory.
pub const LANE_BYTES: usize = 1 << 20;
/// Words of one ring.
pub const LANE_WORDS: u64 = (LANE_BYTES / 8) as u64;
/// Bytes from one lane to the next.
pub const LANE_STRIDE: usize = ALIGNMENT + LANE_BYTES;
/// Length of the whole segment in bytes.
pub const SEGMENT_BYTES: usize = LANES_OFFSET + LANES * LANE_STRIDE;

/// The first bytes of the segment.
#[repr(C, align(64))]
pub struct RunHeader {
    /// [`crate::version::SEGMENT_MAGIC`]. Constant.
    pub magic: u64,
    /// [`crate::version::PROTOCOL_VERSION`]. Constant.
    pub protocol: u32,
    /// Process id of the launcher in its own namespace. Constant.
    pub launcher_pid: u32,
    /// The doorbell: a futex word on which the launcher sleeps. Each hook adds 1 (relaxed is
    /// enough for the count: the futex call orders it) when a chunk is full.
    pub doorbell: Doorbell,
    /// Numbers of process images: the last one given out. Written by every process by fetch-add,
    /// relaxed: only uniqueness matters.
    pub last_image: AtomicU32,
    /// One more than the highest lane ever claimed: how far the launcher must look. Raised by
    /// processes with fetch-max (release, after the claim), read by the launcher (acquire).
    pub lanes_claimed: AtomicU32,
    /// The same for image slots.
    pub images_claimed: AtomicU32,
    /// Set to 1 by the launcher (release) when it stops listening: hooks become pass-throughs.
    pub closing: AtomicU32,
    /// Moves on while the launcher is alive. The launcher adds, relaxed; a hook that has waited
    /// long looks whether it moved.
    pub heartbeat: AtomicU32,
    /// Events that found neither a lane nor the pipe. Every process adds, relaxed; the launcher
    /// reads it at the end.
    pub lost_events: AtomicU64,
    /// Stacks that were compared ([`crate::env::OptionBits::VERIFY_STACKS`]), and those that
    /// differed. Every process adds, relaxed; the launcher reads them at the end.
    pub stacks_verified: AtomicU64,
    /// See above.
    pub stacks_different: AtomicU64,
}

/// The launcher's sleep, on a line of its own.
#[repr(C, align(64))]
pub struct Doorbell {
    /// The futex word.
    pub rings: AtomicU32,
    /// 1 while the launcher sleeps. Written by the launcher before it looks a last time, read by
    /// hooks after they rang: sequentially consistent on both sides, so that one sees the other.
    pub sleeping: AtomicU32,
}

/// The first bytes of an image slot.
#[repr(C, align(64))]
pub struct ImageHeader {
    /// 0: free. Otherwise the image's number. Claimed by the image itself with compare-and-swap
    /// (acquire: what a former owner left has been cleared), freed by the launcher with a release
    /// store once the image is gone and its board is cleared.
    pub owner: AtomicU32,
    /// Process id as the process sees it. Written by the image after the claim (release), read
    /// by the launcher (acquire).
    pub pid: AtomicU32,
    /// Whether the image's threads need a fence in front of their clock: a [`Fence`]. The launcher writes it,
    /// hooks read it, both relaxed: it is a matter of how often the order has to be searched, and may take
    /// a while.
    pub fenced: AtomicU32,
}

/// What [`ImageHeader::fenced`] says.
///
/// A clock that is read without a fence may be early by what the processor holds back before it. That is told
/// from the truth by nothing but the owners of addresses, and only where threads pass addresses on
/// faster than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fence {
    /// Nobody knows yet: an image with more than one thread reads its clock behind a fence.
    Unjudged = 0,
    /// The threads pass addresses on that fast: behind a fence.
    Needed = 1,
    /// They don't: without.
    Needless = 2,
}

impl Fence {
    /// By what the word says.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        match word {
            1 => Fence::Needed,
            2 => Fence::Needless,
            _ => Fence::Unjudged,
        }
    }
}

/// Offset of image slot `index` in bytes from the start of the segment.
#[must_use]
pub const fn image_offset(index: usize) -> usize {
    IMAGES_OFFSET + index * IMAGE_SLOT_BYTES
}

/// Offset of the board of image slot `index` in bytes from the start of the segment.
#[must_use]
pub const fn board_offset(index: usize) -> usize {
    image_offset(index) + ALIGNMENT
}

/// Offset of the header of lane `index` in bytes from the start of the segment.
#[must_use]
pub const fn lane_offset(index: usize) -> usize {
    LANES_OFFSET + index * LANE_STRIDE
}

/// Offset of the ring of lane `index` in bytes from the start of the segment.
#[must_use]
pub const fn ring_offset(index: usize) -> usize {
    lane_offset(index) + ALIGNMENT
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_aligned_and_inside() {
        for offset in [
            IMAGES_OFFSET,
            LANES_OFFSET,
            image_offset(IMAGE_SLOTS - 1),
            board_offset(7),
            lane_offset(3),
            ring_offset(LANES - 1),
        ] {
            assert_eq!(offset % ALIGNMENT, 0);
            assert!(offset < SEGMENT_BYTES);
        }
        assert!(size_of::<RunHeader>() <= ALIGNMENT);
        assert_eq!(ring_offset(LANES - 1) + LANE_BYTES, SEGMENT_BYTES);
    }
}
