//! A lane: the single-producer single-consumer ring of one thread, in shared memory.
//!
//! The producer is the thread that owns the lane; publishing a record is one release store. The
//! consumer is the launcher. Positions count words from the lane's first claim and never wrap;
//! the place in the ring is the position modulo [`RING_WORDS`]. A record is never split at the
//! ring's end: the rest is filled by [`Op::Pad`](crate::record::Op::Pad).
//!
//! # Who writes what, and why that ordering
//!
//! * `progress` = position of the next record in bytes, plus 1 while the producer is *inside*
//!   one (bytes, so that it is the producer's own cursor as it stands). Written by the producer.
//!   The odd store (relaxed) comes before the clock is read, the even store (release) publishes the
//!   words before it. The consumer loads it with acquire. The odd bit lets the consumer know that a
//!   record with an earlier time may still come: it makes the odd store visible to itself with a
//!   `membarrier` instead of a fence in the producer.
//! * `tail` = position up to which the consumer has read. Written by the consumer with release
//!   (its reads are done before the producer may overwrite), loaded by the producer with acquire,
//!   and only when the room it knows of is used up.
//! * `waiting` = 1 while the producer sleeps for room. The producer sets it and then looks at
//!   `tail` again, the consumer moves `tail` and then looks at it, each with a sequentially
//!   consistent fence in between: so one of them sees the other's write. (Fences, where such
//!   accesses would do: loom takes those for acquire and release, and finds a wait that is missed.)
//! * `dropped`, `waited`, `sampled`, `samples`: written by the producer only, relaxed; read by the
//!   consumer at the end.
//! * `owner`: 0 for a free lane, else the process image's number. Claimed with compare-and-swap,
//!   freed by the launcher when the image is gone and the lane is empty.
//! * `thread`: the thread that writes; hooks use it to find lanes whose thread has ended.
//!
//! # Failures
//!
//! A producer that dies leaves a published prefix; what it was writing is never seen. A consumer
//! that dies leaves a lane that fills up; the producer's wait has a time limit, after which it
//! checks that the launcher is alive.
#![allow(unsafe_code)]

mod consumer;
#[cfg(all(test, loom))]
mod loom_tests;
mod producer;
#[cfg(all(test, not(loom)))]
mod tests;

pub use consumer::{Consumer, Progress};
pub use producer::{Producer, Room};

use crate::primitive::{AtomicU32, AtomicU64, Ordering};

/// Words of a ring (under loom a toy, so that every interleaving can be tried).
#[cfg(not(loom))]
pub const RING_WORDS: u64 = crate::layout::LANE_WORDS;
#[cfg(loom)]
#[allow(missing_docs)]
pub const RING_WORDS: u64 = 8;

/// Room that an event record is promised, in words.
#[cfg(not(loom))]
pub const ROOM_WORDS: u64 = crate::record::EVENT_WORDS_MAX;
#[cfg(loom)]
#[allow(missing_docs)]
pub const ROOM_WORDS: u64 = 2;

/// After this many words the producer rings the doorbell.
pub const CHUNK_WORDS: u64 = if RING_WORDS < 64 { 3 } else { RING_WORDS / 8 };

/// A producer that sleeps for room is woken when no more than this many words are unread. Each sleep
/// costs it warm caches, which is more than the time it would win by writing on at once; and while
/// it wakes up the consumer has this much left to do.
pub const WAKE_WORDS: u64 = RING_WORDS / 4;

/// Bytes of a word.
const WORD: u64 = 8;
/// Bytes of a ring.
const RING_BYTES: u64 = RING_WORDS * WORD;

/// The header of a lane, at the start of its first page.
#[repr(C, align(64))]
pub struct LaneHeader {
    /// Number of the process image that owns the lane; 0: free.
    pub owner: AtomicU32,
    /// Thread id, as its process sees it, of the thread that writes; 0: none.
    pub thread: AtomicU32,
    producer: ProducerLine,
    consumer: ConsumerLine,
}

#[repr(C, align(64))]
struct ProducerLine {
    progress: AtomicU64,
    dropped: AtomicU64,
    /// Ticks that its threads have waited for room.
    waited: AtomicU64,
    /// Ticks that the hook took for some events, and for how many.
    sampled: AtomicU64,
    samples: AtomicU64,
}

#[repr(C, align(64))]
struct ConsumerLine {
    tail: AtomicU64,
    /// A futex word; 32 bits as the system call wants it.
    waiting: AtomicU32,
}

/// What recording took of a lane's threads, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCost {
    /// They waited for room.
    pub waited: u64,
    /// The hook took so much for [`LaneCost::samples`] of its events.
    pub sampled: u64,
    /// How many events that was measured for.
    pub samples: u64,
}

impl LaneHeader {
    /// An empty lane's header. In the segment zeros are one, so only tests make one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owner: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            producer: ProducerLine {
                progress: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                sampled: AtomicU64::new(0),
                samples: AtomicU64::new(0),
            },
            consumer: ConsumerLine {
                tail: AtomicU64::new(0),
                waiting: AtomicU32::new(0),
            },
        }
    }

    /// Events dropped by this lane's threads since it was claimed.
    pub fn dropped(&self) -> u64 {
        self.producer.dropped.load(Ordering::Relaxed)
    }

    /// What recording took of this lane's threads since it was claimed.
    pub fn cost(&self) -> LaneCost {
        let line = &self.producer;
        LaneCost {
            waited: line.waited.load(Ordering::Relaxed),
            sampled: line.sampled.load(Ordering::Relaxed),
            samples: line.samples.load(Ordering::Relaxed),
        }
    }

    /// The word on which a producer sleeps for room: 1 while it does.
    pub fn waiting(&self) -> &AtomicU32 {
        &self.consumer.waiting
    }

    /// Makes an abandoned lane ready for its next owner: empty, outside any record, nothing
    /// dropped. Only for the consumer, and only while nobody owns or wants the lane.
    pub fn reset(&self) {
        let position = self.producer.progress.load(Ordering::Acquire) / WORD;
        self.producer
            .progress
            .store(position * WORD, Ordering::Relaxed);
        for counter in [
            &self.producer.dropped,
            &self.producer.waited,
            &self.producer.sampled,
            &self.producer.samples,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.consumer.tail.store(position, Ordering::Relaxed);
        self.consumer.waiting.store(0, Ordering::Relaxed);
        self.thread.store(0, Ordering::Relaxed);
    }
}

impl Default for LaneHeader {
    fn default() -> Self {
        Self::new()
    }
}
