//! The reading end of a lane, in the launcher.
//!
//! It trusts nothing that the producer's process could have scribbled over: a position that can't be
//! right is refused.

use super::{LaneHeader, RING_WORDS, WAKE_WORDS, WORD};
use crate::primitive::{AtomicU64, Ordering, fence};

/// How far a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything before this position is published.
    pub position: u64,
    /// Whether the producer is inside a record, whose time may be earlier than now.
    pub inside: bool,
}

/// The reading end.
///
/// # Safety
/// `header` and `data` point at a mapped lane as long as the consumer is used; one consumer a lane.
pub struct Consumer {
    header: *const LaneHeader,
    data: *const AtomicU64,
    tail: u64,
}

// SAFETY: the pointers are to shared memory that is not tied to a thread, and all access goes
// through atomics.
unsafe impl Send for Consumer {}

impl Consumer {
    /// The reading end of a lane, from where it was last read.
    ///
    /// # Safety
    /// See the type.
    pub unsafe fn resume(header: *const LaneHeader, data: *const AtomicU64) -> Self {
        // SAFETY: the caller promises a mapped lane. Relaxed: the consumer's own field.
        let tail = unsafe { &*header }.consumer.tail.load(Ordering::Relaxed);
        Self { header, data, tail }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &LaneHeader {
        // SAFETY: mapped, as the type promises.
        unsafe { &*self.header }
    }

    /// How far the producer is. A producer that scribbled over its own header can make this any
    /// number: [`Consumer::published`] checks it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let progress = self.header().producer.progress.load(Ordering::Acquire);
        Progress {
            position: progress / WORD,
            inside: progress & 1 != 0,
        }
    }

    /// Where reading goes on.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The published words from the tail up to `position` or the ring's end, whichever is
    /// first; `None` if `position` cannot be right.
    #[must_use]
    pub fn published(&self, position: u64) -> Option<&[AtomicU64]> {
        let count = position
            .checked_sub(self.tail)
            .filter(|&count| count <= RING_WORDS)?;
        let start = self.tail % RING_WORDS;
        let count = count.min(RING_WORDS - start);
        // SAFETY: `start + count` is within the ring, which is mapped as the type promises.
        Some(unsafe { core::slice::from_raw_parts(self.data.add(start as usize), count as usize) })
    }

    /// How many words are left up to the ring's end: what a pad record skips.
    #[must_use]
    pub fn left_to_end(&self) -> u64 {
        RING_WORDS - self.tail % RING_WORDS
    }

    /// Moves the tail without giving the room back yet.
    pub fn skip(&mut self, words: u64) {
        self.tail += words;
    }

    /// Gives everything before the tail back to the producer. Returns whether the producer said
    /// it waits and most of what it published is read: then its futex ([`LaneHeader::waiting`])
    /// must be woken.
    #[must_use]
    pub fn release(&mut self) -> bool {
        let line = &self.header().consumer;
        line.tail.store(self.tail, Ordering::Release);
        // Pairs with the producer's, in `announce_wait`.
        fence(Ordering::SeqCst);
        line.waiting.load(Ordering::Relaxed) != 0
            && self.progress().position.saturating_sub(self.tail) <= WAKE_WORDS
            && line.waiting.swap(0, Ordering::Relaxed) != 0
    }
}
