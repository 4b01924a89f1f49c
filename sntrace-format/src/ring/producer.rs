//! The writing end of a lane, in the hook.
//!
//! Its fields are the thread's own: the shared header is written and hardly ever read. The order in
//! which they are used is what makes it safe against signal handlers: see [`Producer`]. Phase: hot,
//! but for looking for room.

use super::{CHUNK_WORDS, LaneHeader, RING_BYTES, ROOM_WORDS, WORD};
use crate::primitive::{AtomicU64, Ordering, compiler_fence, fence};
use crate::record::{Op, first_word};

/// How far ahead of the producer lines are fetched, in bytes: four cache lines, some ten events.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const PREFETCH_BYTES: usize = 256;

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

/// No record takes so many ticks, some 30 microseconds: another thread had the processor.
const PREEMPTED: u64 = 100_000;

/// Adds to a counter of the producer's. Not a read-modify-write: its thread is the only writer.
fn add(counter: &AtomicU64, ticks: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(ticks);
    counter.store(sum, Ordering::Relaxed);
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

    /// Ends a claim under which nothing was written.
    #[inline(always)]
    pub fn release_claim(&mut self) {
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
        add(&self.lane().producer.dropped, 1);
    }

    /// Counts ticks that the thread waited for room.
    pub fn count_wait(&self, ticks: u64) {
        add(&self.lane().producer.waited, ticks);
    }

    /// Whether the time that the next record takes should be measured: one in a hundred or so.
    #[inline(always)]
    #[must_use]
    pub fn is_sample(&self) -> bool {
        self.next.is_multiple_of(1024)
    }

    /// Counts ticks that a record took whose time was measured. Not those of a thread that lost its
    /// processor meanwhile.
    #[cold]
    #[inline(never)]
    pub fn count_sample(&self, ticks: u64) {
        if ticks > PREEMPTED {
            return;
        }
        add(&self.lane().producer.sampled, ticks);
        add(&self.lane().producer.samples, 1);
    }
}
