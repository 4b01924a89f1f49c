//! A lane: the single-producer single-consumer ring of one thread, in shared memory.
//!
//! The producer is the thread that owns the lane; publishing a record is one release store. The
//! consumer is the launcher. Positions count words from the lane's first claim and never wrap;
//! the place in the ring is the position modulo [`RING_WORDS`]. A record is never split at the
//! ring's end: the rest is filled by [`Op::Pad`].
//!
//! # Who writes what, and why that ordering
//!
//! * `progress` = position of the next record in bytes, plus 1 while the producer is *inside*
//!   one (bytes, so that it is the producer's own cursor as it stands). Written by the producer. The odd store (relaxed) comes before the clock is read, the
//!   even store (release) publishes the words before it. The consumer loads it with acquire. The
//!   odd bit lets the consumer know that a record with an earlier time may still come: it makes
//!   the odd store visible to itself with a `membarrier` instead of a fence in the producer.
//! * `tail` = position up to which the consumer has read. Written by the consumer with release
//!   (its reads are done before the producer may overwrite), loaded by the producer with acquire,
//!   and only when the room it knows of is used up.
//! * `waiting` = 1 while the producer sleeps for room. The producer sets it and then looks at
//!   `tail` again, the consumer moves `tail` and then looks at it, each with a sequentially
//!   consistent fence in between: so one of them sees the other's write. (Fences, where such
//!   accesses would do: loom takes those for acquire and release, and finds a wait that is missed.)
//! * `dropped`: written by the producer only, relaxed; read by the consumer at the end.
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

use crate::primitive::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
use crate::record::{Op, first_word};

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

/// How far ahead of the producer lines are fetched, in bytes: four cache lines, some ten events.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const PREFETCH_BYTES: usize = 256;

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
}

#[repr(C, align(64))]
struct ConsumerLine {
    tail: AtomicU64,
    /// A futex word; 32 bits as the system call wants it.
    waiting: AtomicU32,
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
        self.producer.dropped.store(0, Ordering::Relaxed);
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

/// What a producer finds when it looks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room now, and the producer is claimed; a full chunk went by, so the doorbell should
    /// ring.
    Ready,
    /// The consumer has to read first.
    Full,
}

/// The writing end. All zeros is a valid value: a producer without a lane, which has no room.
///
/// # Safety
/// `header` and `data` point at a mapped lane for as long as the producer is used, and one thread
/// uses it at a time. Signal handlers on that thread may use it too, but for what
/// [`Producer::is_claimed`] tells.
///
/// # Interruption
///
/// A signal handler can use the producer between any two instructions of the thread. So whoever
/// writes *claims* it first, by taking `limit` away, and looks at the other fields only then; a
/// handler that finds it claimed has to go elsewhere. One that comes before the claim is complete
/// does no harm: it moves `next` and perhaps `limit` forward, and what is left of the old limit is
/// lower than that.
#[repr(C)]
pub struct Producer {
    header: *const LaneHeader,
    /// The ring's start less the position at which this turn of the ring began, so that adding a
    /// position gives its place. Right for every position below `limit`.
    base: *const u8,
    /// Position of the next record in bytes.
    next: u64,
    /// Event records may start at positions below this, in bytes; [`CLAIMED`] while somebody
    /// writes.
    limit: i64,
    data: *const AtomicU64,
    /// What `limit` will be when the claim ends.
    granted: i64,
}

/// [`Producer::limit`] of a claimed producer: below every position.
const CLAIMED: i64 = -1;

impl Producer {
    /// A producer without a lane.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            header: core::ptr::null(),
            base: core::ptr::null(),
            next: 0,
            limit: 0,
            data: core::ptr::null(),
            granted: 0,
        }
    }

    /// Takes over the writing end of a lane where its last owner left it.
    ///
    /// # Safety
    /// See the type. The former owner, if any, must never write again.
    pub unsafe fn resume(header: *const LaneHeader, data: *const AtomicU64) -> Self {
        // SAFETY: the caller promises a mapped lane.
        let lane = unsafe { &*header };
        // Relaxed: claiming the lane acquired what the last owner wrote. A dead owner may have
        // been inside a record, which is lost with it: the bit is cleared.
        let next = lane.producer.progress.load(Ordering::Relaxed) & !1;
        lane.producer.progress.store(next, Ordering::Relaxed);
        Self {
            header,
            base: data.cast(),
            next,
            limit: 0,
            data,
            granted: 0,
        }
    }

    /// Whether there is a lane.
    #[inline(always)]
    #[must_use]
    pub fn has_lane(&self) -> bool {
        !self.header.is_null()
    }

    /// Whether the thread is writing, or was when the signal came that this code handles.
    #[inline(always)]
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.limit == CLAIMED
    }

    /// Claims the producer for an event record, if one fits without asking the consumer. False
    /// without a lane, and if it is claimed already.
    #[inline(always)]
    #[must_use]
    pub fn claim(&mut self) -> bool {
        let limit = self.take_limit();
        if self.next as i64 >= limit {
            self.limit = limit;
            return false;
        }
        self.granted = limit;
        true
    }

    /// Whether [`Producer::claim`] would succeed at the moment.
    #[must_use]
    #[inline(always)]
    pub fn may_have_room(&self) -> bool {
        (self.next as i64) < self.limit
    }

    /// Begins a claim, which is still to be checked.
    #[inline(always)]
    fn take_limit(&mut self) -> i64 {
        let limit = self.limit;
        // SAFETY: the producer's own field. Volatile: a handler reads it that the compiler does not
        // know of, and may find a claim that this function takes back a few instructions later.
        unsafe { (&raw mut self.limit).write_volatile(CLAIMED) };
        // The other fields are for whoever has the claim, so they are read after it is made. For
        // handlers on this thread, which see its stores in their order: a matter of the compiler.
        compiler_fence(Ordering::SeqCst);
        limit
    }

    fn lane(&self) -> &LaneHeader {
        // SAFETY: only called where there is a lane, which is mapped as the type promises.
        unsafe { &*self.header }
    }

    /// The header, for the futex and the thread field.
    #[must_use]
    pub fn header(&self) -> Option<&LaneHeader> {
        // SAFETY: null or mapped, as the type promises.
        unsafe { self.header.as_ref() }
    }

    /// Announces a record, before its clock is read. Needs the claim.
    #[inline(always)]
    pub fn enter(&mut self) {
        self.prefetch();
        self.lane()
            .producer
            .progress
            .store(self.next + 1, Ordering::Relaxed);
        // The compiler must not move the clock above the store; the processor is dealt with by
        // the consumer's membarrier.
        compiler_fence(Ordering::SeqCst);
    }

    /// Writes a record of `words` words in one go: [`Producer::claim`], [`Producer::enter`], what
    /// `fill` does with the slot, [`Producer::publish`]. False if there is no room, if the producer
    /// is claimed, or if `allowed`, which is asked last, says no.
    ///
    /// The same as those, for the hot path: they would look at the producer's fields anew after
    /// each of the compiler's fences.
    ///
    /// # Safety
    /// `WORDS` and `words` must not exceed [`ROOM_WORDS`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn write<const WORDS: usize>(
        &mut self,
        words: u64,
        allowed: impl FnOnce() -> bool,
        fill: impl FnOnce(&[AtomicU64; WORDS]),
    ) -> bool {
        let limit = self.take_limit();
        // SAFETY: the producer's own field. Volatile: a handler may have moved it since this thread
        // last looked.
        let next = unsafe { (&raw const self.next).read_volatile() };
        if next as i64 >= limit || !allowed() {
            self.limit = limit;
            return false;
        }
        self.prefetch();
        // SAFETY: there is room, and so there is a lane.
        let (progress, slot) = unsafe { (&(*self.header).producer.progress, self.slot::<WORDS>()) };
        // Relaxed and a fence for the compiler: as in `enter`.
        progress.store(next + 1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        fill(slot);
        let next = next + words * WORD;
        self.next = next;
        // Release: as in `publish`.
        progress.store(next, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        self.limit = limit;
        true
    }

    /// Asks for the cache line that will be written a few records from now. The consumer has
    /// read it since it was last written, so the producer's core must get it back from the
    /// consumer's: some 100 ns, during which no younger store could complete.
    #[inline(always)]
    fn prefetch(&self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            // SAFETY: a prefetch has no effect but on time, wherever the address lies (near the
            // ring's end it is outside). A processor without the instruction takes it for a no-op.
            unsafe {
                core::arch::asm!("prefetchw byte ptr [{} + {ahead}]", in(reg) self.place(),
                    ahead = const PREFETCH_BYTES, options(nostack, readonly, preserves_flags));
            }
        }
    }

    /// Takes over from an owner that ended, perhaps inside a record, which is lost with it.
    pub fn abandon_record(&mut self) {
        if self.has_lane() {
            self.lane()
                .producer
                .progress
                .store(self.next, Ordering::Release);
            self.limit = 0;
        }
    }

    /// Where the next record goes.
    #[inline(always)]
    fn place(&self) -> *const u8 {
        // Wrapping: `base` itself may lie before the ring.
        self.base.wrapping_add(self.next as usize)
    }

    /// The words of the next record. Needs the claim, and with it the room: [`ROOM_WORDS`], or what
    /// [`Producer::make_room`] was asked for.
    ///
    /// # Safety
    /// `WORDS` must not exceed that room.
    #[inline(always)]
    #[must_use]
    pub unsafe fn slot<const WORDS: usize>(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: room for this many words was found, and room never spans the ring's end.
        unsafe { &*self.place().cast::<[AtomicU64; WORDS]>() }
    }

    /// Publishes `words` words written into the slot, and ends the claim.
    #[inline(always)]
    pub fn publish(&mut self, words: u64) {
        self.advance(words);
        compiler_fence(Ordering::SeqCst);
        self.limit = self.granted;
    }

    #[inline(always)]
    fn advance(&mut self, words: u64) {
        self.next += words * WORD;
        // Release: the record's words are visible to whoever acquires this position.
        self.lane()
            .producer
            .progress
            .store(self.next, Ordering::Release);
    }

    /// Looks for room for `words` words in one piece, and skips the ring's end where they would
    /// not fit before it. Where there is room, it claims the producer. Must not be called while it
    /// is claimed.
    #[cold]
    pub fn make_room(&mut self, words: u64) -> Room {
        let _ = self.take_limit();
        let room = self.look_for_room(words);
        if room == Room::Full {
            compiler_fence(Ordering::SeqCst);
            self.limit = 0;
        }
        room
    }

    fn look_for_room(&mut self, words: u64) -> Room {
        let bytes = words * WORD;
        // Whether or not the last record ended just at the ring's end.
        self.begin_turn();
        // A position within the ring tells how much is left up to its end.
        let left = RING_BYTES - self.next % RING_BYTES;
        // Acquire: the consumer's reads are done.
        let tail = self.lane().consumer.tail.load(Ordering::Acquire) * WORD;
        if left < bytes {
            if tail + RING_BYTES < self.next + left + bytes {
                return Room::Full;
            }
            // SAFETY: at least one word is left before the end, and the consumer has read it.
            let slot = unsafe { self.slot::<1>() };
            slot[0].store(first_word(0, Op::Pad), Ordering::Relaxed);
            self.advance(left / WORD);
            self.begin_turn();
        } else if tail + RING_BYTES < self.next + bytes {
            return Room::Full;
        }
        let ring_end = self.next - self.next % RING_BYTES + RING_BYTES;
        // Up to the next doorbell, and always far enough for what was asked.
        let chunk_end = self.next + CHUNK_WORDS.max(words) * WORD;
        let end = ring_end.min(chunk_end).min(tail + RING_BYTES);
        // The last start from which an event record ends in time is included.
        self.granted = (end + WORD).saturating_sub(ROOM_WORDS * WORD) as i64;
        Room::Ready
    }

    /// Sets `base` for the turn of the ring in which the next record begins.
    fn begin_turn(&mut self) {
        let turn = self.next - self.next % RING_BYTES;
        self.base = self.data.cast::<u8>().wrapping_sub(turn as usize);
    }

    /// Says that the producer is about to sleep on [`LaneHeader::waiting`]. Afterwards
    /// [`Producer::make_room`] must be tried once more.
    pub fn announce_wait(&self) {
        self.lane().consumer.waiting.store(1, Ordering::Relaxed);
        // Pairs with the consumer's, in `release`.
        fence(Ordering::SeqCst);
    }

    /// Counts an event that was dropped.
    pub fn count_drop(&self) {
        let dropped = &self.lane().producer.dropped;
        // Not a read-modify-write: this thread is the only writer.
        dropped.store(dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

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

    /// How many words are left up to the ring's end: what a [`Op::Pad`] skips.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Lane {
        header: LaneHeader,
        data: Vec<AtomicU64>,
    }

    impl Lane {
        fn new() -> Self {
            Self {
                header: LaneHeader::new(),
                data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
            }
        }
        fn ends(&self) -> (Producer, Consumer) {
            // SAFETY: the lane outlives both ends in every test, and each end is made once.
            unsafe {
                (
                    Producer::resume(&self.header, self.data.as_ptr()),
                    Consumer::resume(&self.header, self.data.as_ptr()),
                )
            }
        }
    }

    /// Writes records of `length` words, each word the record's number, until the ring is full.
    fn fill(producer: &mut Producer, next: &mut u64, length: u64) {
        loop {
            if !producer.claim() && producer.make_room(ROOM_WORDS) == Room::Full {
                return;
            }
            producer.enter();
            // SAFETY: there is room for ROOM_WORDS words.
            let slot = unsafe { producer.slot::<{ ROOM_WORDS as usize }>() };
            slot[0].store(first_word(*next, Op::Malloc), Ordering::Relaxed);
            for word in &slot[1..length as usize] {
                word.store(*next, Ordering::Relaxed);
            }
            producer.publish(length);
            *next += 1;
        }
    }

    fn read_all(consumer: &mut Consumer, expected: &mut u64, length: u64) {
        let target = consumer.progress().position;
        while consumer.tail() < target {
            let words = consumer.published(target).unwrap();
            let first = words[0].load(Ordering::Relaxed);
            if first & 0x3f == Op::Pad as u64 {
                consumer.skip(consumer.left_to_end());
                continue;
            }
            assert_eq!(first, first_word(*expected, Op::Malloc));
            for word in &words[1..length as usize] {
                assert_eq!(word.load(Ordering::Relaxed), *expected);
            }
            *expected += 1;
            consumer.skip(length);
        }
        let _ = consumer.release();
    }

    #[test]
    fn everything_written_is_read_once_over_many_turns_of_the_ring() {
        for length in [1, 3, 5, 48, ROOM_WORDS] {
            let lane = Lane::new();
            let (mut producer, mut consumer) = lane.ends();
            let (mut written, mut read) = (0, 0);
            for _ in 0..5 {
                fill(&mut producer, &mut written, length);
                read_all(&mut consumer, &mut read, length);
                assert_eq!(read, written);
            }
            assert!(
                written * length > 4 * (RING_WORDS - 2 * ROOM_WORDS),
                "{written} records of {length}"
            );
        }
    }

    #[test]
    fn a_producer_without_a_lane_has_no_room() {
        let mut producer = Producer::none();
        assert!(!producer.claim() && !producer.is_claimed() && !producer.has_lane());
    }

    #[test]
    fn a_successor_goes_on_where_a_dead_thread_left_and_drops_its_half_record() {
        let lane = Lane::new();
        let (mut producer, mut consumer) = lane.ends();
        assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
        producer.publish(3);
        assert!(producer.claim());
        producer.enter();
        assert!(consumer.progress().inside);
        // SAFETY: the first producer is not used again.
        let next = unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
        assert!(!next.is_claimed());
        assert_eq!(
            consumer.progress(),
            Progress {
                position: 3,
                inside: false
            }
        );
        consumer.skip(3);
        assert!(!consumer.release());
    }

    #[test]
    fn a_claimed_producer_is_left_alone() {
        let lane = Lane::new();
        let (mut producer, consumer) = lane.ends();
        assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
        assert!(producer.is_claimed() && !producer.claim());
        // SAFETY: three words are less than the room.
        assert!(!unsafe { producer.write::<3>(3, || true, |_| unreachable!()) });
        assert!(
            producer.is_claimed(),
            "who came too late takes nothing away"
        );
        producer.publish(3);
        assert!(!producer.is_claimed());
        // SAFETY: as above.
        assert!(!unsafe { producer.write::<3>(3, || false, |_| unreachable!()) });
        let inside = |_: &_| assert!(consumer.progress().inside);
        // SAFETY: as above.
        assert!(unsafe { producer.write::<3>(3, || true, inside) });
        assert!(!producer.is_claimed());
        assert_eq!(consumer.progress().position, 6);
    }

    #[test]
    fn an_impossible_position_is_refused() {
        let lane = Lane::new();
        let (mut producer, mut consumer) = lane.ends();
        assert!(consumer.published(RING_WORDS + 1).is_none());
        producer.make_room(ROOM_WORDS);
        producer.publish(10);
        consumer.skip(10);
        assert!(consumer.published(9).is_none());
    }

    #[test]
    fn a_waiting_producer_is_seen_by_the_release_that_makes_room() {
        let lane = Lane::new();
        let (mut producer, mut consumer) = lane.ends();
        let mut written = 0;
        fill(&mut producer, &mut written, 3);
        producer.announce_wait();
        assert_eq!(producer.make_room(ROOM_WORDS), Room::Full);
        consumer.skip(3);
        assert!(!consumer.release(), "there is room, but hardly any");
        consumer.skip(3 * written - 3 - WAKE_WORDS);
        assert!(consumer.release());
        assert!(!consumer.release(), "woken once");
        assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    struct Lane {
        header: LaneHeader,
        data: Vec<AtomicU64>,
    }

    /// Two-word records through a ring of eight, the producer waiting for room as the hook does.
    /// Loom tries every interleaving and every value a relaxed load may return.
    #[test]
    fn no_record_is_lost_torn_or_read_twice() {
        loom::model(|| {
            const RECORDS: u64 = 5;
            let lane = Arc::new(Lane {
                header: LaneHeader::new(),
                data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
            });
            let writer = {
                let lane = lane.clone();
                loom::thread::spawn(move || {
                    // SAFETY: the lane outlives the thread, and this is its only producer.
                    let mut producer =
                        unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
                    for n in 0..RECORDS {
                        while !producer.claim() && producer.make_room(ROOM_WORDS) == Room::Full {
                            loom::thread::yield_now();
                        }
                        producer.enter();
                        // SAFETY: there is room for two words.
                        let slot = unsafe { producer.slot::<2>() };
                        slot[0].store(first_word(n, Op::Malloc), Ordering::Relaxed);
                        slot[1].store(n, Ordering::Relaxed);
                        producer.publish(2);
                    }
                })
            };
            // SAFETY: the lane outlives this function, and this is its only consumer.
            let mut consumer = unsafe { Consumer::resume(&lane.header, lane.data.as_ptr()) };
            let mut expected = 0;
            while expected < RECORDS {
                let target = consumer.progress().position;
                while consumer.tail() < target {
                    let words = consumer.published(target).unwrap();
                    let first = words[0].load(Ordering::Relaxed);
                    if first & 0x3f == Op::Pad as u64 {
                        consumer.skip(consumer.left_to_end());
                        continue;
                    }
                    assert_eq!(first, first_word(expected, Op::Malloc));
                    assert_eq!(words[1].load(Ordering::Relaxed), expected);
                    expected += 1;
                    consumer.skip(2);
                }
                let _ = consumer.release();
                loom::thread::yield_now();
            }
            writer.join().unwrap();
        });
    }

    /// The producer that says it waits and then finds no room is always seen by the consumer.
    #[test]
    fn a_wait_is_never_missed() {
        loom::model(|| {
            let lane = Arc::new(Lane {
                header: LaneHeader::new(),
                data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
            });
            // SAFETY: the lane outlives both ends; one of each.
            let mut producer = unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
            while producer.make_room(ROOM_WORDS) == Room::Ready {
                producer.publish(2);
            }
            let reader = {
                let lane = lane.clone();
                loom::thread::spawn(move || {
                    // SAFETY: as above.
                    let mut consumer =
                        unsafe { Consumer::resume(&lane.header, lane.data.as_ptr()) };
                    let target = consumer.progress().position;
                    consumer.skip(target);
                    consumer.release()
                })
            };
            producer.announce_wait();
            let found_room = producer.make_room(ROOM_WORDS) == Room::Ready;
            let woken = reader.join().unwrap();
            assert!(found_room || woken);
        });
    }
}
