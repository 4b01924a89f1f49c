//! The table of arenas: one place an arena, found by its handle.
//!
//! All fields are atomic so that no misuse from two threads is more than wrong numbers. What is
//! said in `snhook.h` to belong to one thread at a time (all but `generation` and the list of free
//! places) is written and read relaxed: it is the program that orders its threads.
//!
//! Phase: slow. Invariant: a place with an odd generation is an arena's, and `chunks` and
//! `runs` are lists of [`Chunk`](super::chunk::Chunk)s that this arena claimed.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::handle::Handle;
use super::region::Region;

/// A number of an arena's: see above for who writes and reads it, and why relaxed.
#[derive(Debug, Default)]
pub struct Number(AtomicUsize);

impl Number {
    /// Its value.
    #[inline(always)]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it. A plain load and store: one thread at a time.
    #[inline(always)]
    pub fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it.
    #[inline(always)]
    pub fn add(&self, value: usize) {
        self.set(self.get().wrapping_add(value));
    }

    /// Subtracts from it.
    #[inline(always)]
    pub fn subtract(&self, value: usize) {
        self.set(self.get().wrapping_sub(value));
    }
}

/// A place in the table. Zeros are a place that no arena has had.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Slot {
    /// Odd while an arena has the place. Written by who creates (release: the fields before it) and who
    /// destroys (compare-and-swap: one of two wins); read with acquire.
    generation: AtomicU64,
    /// In the list of free places: index + 1 of the next, or 0. Written before the place is
    /// pushed with release, read after a load with acquire.
    next_free: AtomicUsize,
    /// Handles of relatives, or 0.
    pub parent: Number,
    /// The child that was created last.
    pub first_child: Number,
    /// The parent's child that was created before this one.
    pub next_sibling: Number,
    /// The parent's child that was created after this one.
    pub previous_sibling: Number,
    /// Children.
    pub children: Number,
    /// Size of a chunk in spans; 0: each as large as all before it.
    pub chunk_spans: Number,
    /// Bytes that blocks may take; 0: any.
    pub limit: Number,
    /// Chunks of many blocks, from which the first has room. Addresses, or 0.
    pub chunks: Number,
    /// Chunks of one large block.
    pub runs: Number,
    /// How often the arena has been reset: makes headers of blocks from before invalid.
    pub epoch: Number,
    /// Blocks that live.
    pub blocks: Number,
    /// Blocks ever given.
    pub blocks_total: Number,
    /// Bytes asked for in blocks that live.
    pub bytes: Number,
    /// Bytes ever asked for.
    pub bytes_total: Number,
    /// The most that `bytes` has been.
    pub bytes_peak: Number,
    /// Bytes that blocks take, with headers, rounding and what resized blocks left behind.
    pub bytes_used: Number,
    /// Spans of the arena.
    pub spans: Number,
    /// Calls that failed because of the limit.
    pub limit_hits: Number,
}

/// A live arena.
#[derive(Clone, Copy)]
pub struct Arena<'r> {
    /// Where its memory comes from.
    pub region: &'r Region,
    /// Its name.
    pub handle: Handle,
    /// Its place.
    pub slot: &'r Slot,
}

impl<'r> Arena<'r> {
    /// The arena that `handle` names, if it lives.
    pub fn find(region: &'r Region, handle: Handle) -> Option<Self> {
        let slot = region.slot(handle.index())?;
        let arena = Self {
            region,
            handle,
            slot,
        };
        arena.is_live().then_some(arena)
    }

    /// Whether it (still) lives.
    pub fn is_live(&self) -> bool {
        let generation = self.slot.generation.load(Ordering::Acquire);
        generation == self.handle.generation() && generation % 2 == 1
    }

    /// Takes a place for a new arena. `fill` writes what the fields begin with; they are zero.
    pub fn take_place(region: &'r Region, fill: impl FnOnce(&Slot)) -> Option<Self> {
        let index = pop(region).or_else(|| fresh(region))?;
        let slot = region.slot(index)?;
        fill(slot);
        // Nobody else has the place.
        let generation = slot.generation.load(Ordering::Relaxed) + 1;
        slot.generation.store(generation, Ordering::Release);
        let handle = Handle::new(index, generation);
        Some(Self {
            region,
            handle,
            slot,
        })
    }

    /// From now on the handle is dead. False if it is already.
    pub fn retire(&self) -> bool {
        let generation = self.handle.generation();
        self.slot
            .generation
            .compare_exchange(
                generation,
                generation + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Leaves the place of a retired arena to the next.
    pub fn leave_place(&self) {
        let slot = self.slot;
        for number in [
            &slot.parent,
            &slot.first_child,
            &slot.next_sibling,
            &slot.previous_sibling,
            &slot.children,
            &slot.chunk_spans,
            &slot.limit,
            &slot.chunks,
            &slot.runs,
            &slot.epoch,
            &slot.blocks,
            &slot.blocks_total,
            &slot.bytes,
            &slot.bytes_total,
            &slot.bytes_peak,
            &slot.bytes_used,
            &slot.spans,
            &slot.limit_hits,
        ] {
            number.set(0);
        }
        push(self.region, self.handle.index(), slot);
    }
}

/// A place that no arena has had.
fn fresh(region: &Region) -> Option<usize> {
    region
        .fresh_slots
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < region.arenas()).then_some(taken + 1)
        })
        .ok()
}

/// The head of the list of free places: index + 1 of the first, and above it a count of changes,
/// so that a head that came back is told from one that stayed.
const INDEX: u64 = 0xffff_ffff;

/// Takes a place from the list.
fn pop(region: &Region) -> Option<usize> {
    let mut head = region.free_slots.load(Ordering::Acquire);
    loop {
        let index = (head & INDEX).checked_sub(1)? as usize;
        // Perhaps taken by another thread meanwhile: then the exchange fails.
        let next = region.slot(index)?.next_free.load(Ordering::Relaxed) as u64;
        let after = (head & !INDEX).wrapping_add(INDEX + 1) | next;
        match region.free_slots.compare_exchange_weak(
            head,
            after,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => return Some(index),
            Err(now) => head = now,
        }
    }
}

/// Puts a place onto the list.
fn push(region: &Region, index: usize, slot: &Slot) {
    let mut head = region.free_slots.load(Ordering::Relaxed);
    loop {
        slot.next_free
            .store((head & INDEX) as usize, Ordering::Relaxed);
        let after = (head & !INDEX).wrapping_add(INDEX + 1) | (index as u64 + 1);
        match region.free_slots.compare_exchange_weak(
            head,
            after,
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}
