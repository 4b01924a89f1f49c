//! Full stacks: each event says how its stack differs from the last one of its lane.
//!
//! With [`crate::env::OptionBits::FULL_STACKS`] a lane has a *last stack*: the return addresses
//! beyond the caller that its last record left. Two stacks that follow each other mostly share
//! their outer end, so a record lists the inner frames that are new and says how many of the
//! *outermost* ones stay:
//!
//! ```text
//!  63                       32 31           17 16 15                      0
//! +---------------------------+---------------+--+-------------------------+
//! |         kept (32)         |       0       |t | count of listed (16)    |
//! +---------------------------+---------------+--+-------------------------+
//! ```
//!
//! The new stack is the listed frames, inner to outer, and then the kept ones. *t* says that it
//! goes on beyond its outermost frame. An event without this word has the same frames beyond its
//! caller as the last record, and the same *t*: most events are such, and take no more than they
//! would without stacks.
//!
//! An event lists at most [`crate::record::FRAMES_MAX`] frames in a lane. More come before it, in
//! records of [`crate::record::Op::Stack`] (outermost part first), each of which sets the last stack:
//!
//! ```text
//! word 0   time << 8 | Op::Stack
//! word 1   as above
//! word 2.. the frames, inner to outer
//! ```
//!
//! The first record of a thread on a lane keeps nothing. Neither does the first after a call of
//! the loader: the same address may mean other code. In the pipe each message stands for itself: it
//! keeps nothing and lists up to [`STACK_FRAMES_MAX`] frames.
//!
//! Without the option the word is the same, and nothing is ever kept.

use crate::primitive::{AtomicU64, Ordering};
use crate::record::{Op, first_word};

/// Frames that a record lists at most: a whole message fits the 4,096 bytes that a pipe keeps
/// together.
pub const STACK_FRAMES_MAX: usize = 480;
/// Words that a record of [`Op::Stack`] takes at most.
pub const STACK_WORDS_MAX: u64 = 2 + STACK_FRAMES_MAX as u64;
/// Frames of a last stack at most. A deeper stack is cut at its outer end.
pub const LAST_STACK_MAX: usize = 8192;

const TRUNCATED: u64 = 1 << 16;

/// How a stack differs from the last one. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackWord {
    /// How many frames are listed.
    pub count: u16,
    /// Whether the new stack goes on beyond its outermost frame.
    pub truncated: bool,
    /// How many of the outermost frames of the last stack stay.
    pub kept: u32,
}

impl StackWord {
    /// The word.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.count as u64 | if self.truncated { TRUNCATED } else { 0 } | (self.kept as u64) << 32
    }

    /// Takes a word apart.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self {
            count: word as u16,
            truncated: word & TRUNCATED != 0,
            kept: (word >> 32) as u32,
        }
    }
}

/// Writes a record of [`Op::Stack`] at the start of `slot` and returns the words it took. `frames`
/// are as many as `change` says.
///
/// # Panics
/// If `slot` is shorter than two words; frames beyond its end are not written, which is a bug of
/// the caller too.
pub fn write_stack(
    slot: &[AtomicU64],
    time: u64,
    change: StackWord,
    frames: impl Iterator<Item = u64>,
) -> u64 {
    // Relaxed: the ring publishes the words afterwards.
    slot[0].store(first_word(time, Op::Stack), Ordering::Relaxed);
    slot[1].store(change.to_word(), Ordering::Relaxed);
    for (place, frame) in slot[2..].iter().zip(frames) {
        place.store(frame, Ordering::Relaxed);
    }
    2 + change.count as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::record::{Record, decode, length};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stack_is_read_back(
            frames in proptest::collection::vec(any::<u64>(), 0..=STACK_FRAMES_MAX),
            truncated in any::<bool>(), kept in any::<u32>(), time in 0u64..1 << 56,
        ) {
            let slot = [const { AtomicU64::new(0) }; STACK_WORDS_MAX as usize];
            let change = StackWord { count: frames.len() as u16, truncated, kept };
            let words = write_stack(&slot, time, change, frames.iter().copied()) as usize;
            prop_assert_eq!(decode(&slot[..words]), Ok((Record::Stack { time, change }, words)));
            prop_assert!(length(&slot[..words - 1]).is_err());
            let read: Vec<u64> = slot[2..words].iter().map(|word| word.load(Ordering::Relaxed)).collect();
            prop_assert_eq!(read, frames);
        }
    }
}
