//! One reserved range of addresses, cut into spans of 64 KiB, and a table of who owns which.
//!
//! The range is large (1 TiB where it can be had) because addresses are cheap: memory comes span by
//! span. It is never given back, so a pointer into it is recognised for ever; a span that was
//! given back has no memory, so that who still uses a block of a destroyed arena is stopped there.
//!
//! **Late reuse.** Spans are taken in a round, from behind the last one taken, within a window at
//! the start of the range: what was given back longest ago is taken first. The window doubles when
//! more than half of it would be in use. (Without a window a long run would touch the whole range
//! once, and the kernel keep page tables for all of it.)
//!
//! Phase: slow. No lock: an entry of the table is taken by compare-and-swap, and whoever dies in
//! between (a fork, seen from the child) only loses spans. Invariant: memory of a span is touched
//! by its owner alone, and only between [`Region::claim`] and [`Region::give_back`].

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::handle::{ARENAS_MAX, Handle};
use super::slot::{Arena, Slot};
use crate::callers;
use crate::platform::sys;

/// What memory is given out in.
pub const SPAN: usize = 64 << 10;
/// How large the range is, where it can be had...
const BYTES: usize = 1 << 40;
/// ... and how small it may be.
const BYTES_MIN: usize = 1 << 30;
/// The first window: 1 GiB. Its page tables are 2 MiB at the most.
const WINDOW: usize = (1 << 30) / SPAN;
/// Spans for each place in the table of arenas.
const SPANS_AN_ARENA: usize = 16;
/// A multiple of every kernel's page.
const PAGES: usize = 64 << 10;

/// Whose a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Not in the range.
    Foreign,
    /// In a span that no arena has had.
    Unused,
    /// In a span of this arena.
    Live(Handle),
    /// In a span that this arena gave back.
    Dead(Option<Handle>),
}

const LIVE: u64 = 1;
const DEAD: u64 = 2;

impl Owner {
    fn from_entry(entry: u64) -> Self {
        let handle = Handle::from_number(entry >> 2);
        match (entry & 3, handle) {
            (LIVE, Some(handle)) => Self::Live(handle),
            (DEAD, handle) => Self::Dead(handle),
            _ => Self::Unused,
        }
    }
}

/// The range. Stands at the start of a mapping that its tables follow in.
#[repr(C, align(64))]
pub struct Region {
    /// First address, a multiple of [`SPAN`]. This and the next three are written before the
    /// region is published.
    base: usize,
    spans: usize,
    arenas: usize,
    /// Address of the table of arenas, which is behind that of owners.
    slots: usize,
    /// Spans from the start that may be taken. Any thread, compare-and-swap, relaxed: only a
    /// bound for the search.
    window: AtomicUsize,
    /// Where the next search begins. Any thread, relaxed: only a hint.
    cursor: AtomicUsize,
    /// Spans in use. Any thread adds, relaxed: only says when the window is to grow.
    used: AtomicUsize,
    /// The places of arenas that were destroyed: see [`super::slot`].
    pub(super) free_slots: AtomicU64,
    /// Places that have been taken at least once: see [`super::slot`].
    pub(super) fresh_slots: AtomicUsize,
}

/// The process's range, or null. Whoever makes one first publishes it with release; read with acquire.
static REGION: AtomicUsize = AtomicUsize::new(0);

/// The process's range, if there is one.
pub fn existing() -> Option<&'static Region> {
    let region = REGION.load(Ordering::Acquire) as *const Region;
    // SAFETY: null, or what `Region::reserve` made, which stays.
    unsafe { region.as_ref() }
}

/// The process's range, made if there is none yet.
pub fn get_or_reserve() -> Option<&'static Region> {
    if let Some(region) = existing() {
        return Some(region);
    }
    let made = Region::reserve(BYTES, BYTES_MIN)?;
    let address = core::ptr::from_ref(made) as usize;
    if REGION
        .compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        // Another thread was faster.
        // SAFETY: nobody has been told of this one.
        unsafe { made.unmap() };
    }
    existing()
}

const OWNERS_AT: usize = size_of::<Region>();

impl Region {
    /// Reserves `most` bytes or, halving, what can be had down to `least`. Powers of two.
    pub fn reserve(most: usize, least: usize) -> Option<&'static Self> {
        let mut bytes = most;
        while bytes >= least.max(SPAN * SPANS_AN_ARENA) {
            if let Some(region) = Self::reserve_exactly(bytes) {
                return Some(region);
            }
            bytes /= 2;
        }
        None
    }

    fn reserve_exactly(bytes: usize) -> Option<&'static Self> {
        let spans = bytes / SPAN;
        let arenas = (spans / SPANS_AN_ARENA).min(ARENAS_MAX);
        let tables = Self::table_bytes(spans, arenas);
        // One more, for a base that is aligned.
        let range = sys::reserve(bytes + SPAN)?;
        let Some(address) = sys::map_sparse(tables) else {
            // SAFETY: reserved just above, used by nobody.
            unsafe { sys::unmap(range, bytes + SPAN) };
            return None;
        };
        let region = address as *mut Self;
        // SAFETY: fresh memory, aligned to pages, larger than the structure.
        unsafe {
            region.write(Self {
                base: range.next_multiple_of(SPAN),
                spans,
                arenas,
                slots: address + Self::slots_at(spans),
                window: AtomicUsize::new(WINDOW.min(spans)),
                cursor: AtomicUsize::new(0),
                used: AtomicUsize::new(0),
                free_slots: AtomicU64::new(0),
                fresh_slots: AtomicUsize::new(0),
            });
        }
        // SAFETY: written just above, and never moved.
        unsafe { region.as_ref() }
    }

    fn slots_at(spans: usize) -> usize {
        (OWNERS_AT + spans * size_of::<u64>()).next_multiple_of(align_of::<Slot>())
    }

    fn table_bytes(spans: usize, arenas: usize) -> usize {
        (Self::slots_at(spans) + arenas * size_of::<Slot>()).next_multiple_of(PAGES)
    }

    /// Takes the mappings away.
    ///
    /// # Safety
    /// Nobody else knows of the region, and nobody uses it after this.
    unsafe fn unmap(&self) {
        let (base, bytes) = (self.base, self.spans * SPAN);
        let tables = Self::table_bytes(self.spans, self.arenas);
        // SAFETY: the caller's promise. What was cut off at the ends to align the base stays: it
        // is less than a span of addresses without memory.
        unsafe { sys::unmap(base, bytes) };
        // SAFETY: the caller's promise.
        unsafe { sys::unmap(core::ptr::from_ref(self) as usize, tables) };
    }

    /// How many arenas there can be.
    pub(super) fn arenas(&self) -> usize {
        self.arenas
    }

    /// A place in the table of arenas.
    pub(super) fn slot(&self, index: usize) -> Option<&Slot> {
        if index >= self.arenas {
            return None;
        }
        let slot = (self.slots + index * size_of::<Slot>()) as *const Slot;
        // SAFETY: inside the mapping that the region stands in (checked above); zeros are valid, and all
        // fields are atomic.
        unsafe { slot.as_ref() }
    }

    /// The arena that `handle` names, if it lives.
    pub fn arena(&self, handle: Handle) -> Option<Arena<'_>> {
        Arena::find(self, handle)
    }

    /// An entry of the owners' table. Written by whoever takes the span (compare-and-swap,
    /// acquire-release: what the last owner did to the memory has happened) and by the owner who gives
    /// it back (release); read by anybody, acquire.
    fn entry(&self, span: usize) -> Option<&AtomicU64> {
        if span >= self.spans {
            return None;
        }
        let first = core::ptr::from_ref(self) as usize + OWNERS_AT;
        let entry = (first + span * size_of::<u64>()) as *const AtomicU64;
        // SAFETY: inside the mapping that the region stands in (checked above); zeros are valid.
        unsafe { entry.as_ref() }
    }

    /// Whose `address` is.
    pub fn owner(&self, address: usize) -> Owner {
        let span = address.wrapping_sub(self.base) / SPAN;
        self.entry(span).map_or(Owner::Foreign, |entry| {
            Owner::from_entry(entry.load(Ordering::Acquire))
        })
    }

    /// Zeroed memory of `count` spans in a row for `owner`; its address.
    pub fn claim(&self, owner: Handle, count: usize) -> Option<usize> {
        if count == 0 || count > self.spans {
            return None;
        }
        loop {
            let window = self.window.load(Ordering::Relaxed);
            let roomy = self.used.load(Ordering::Relaxed).saturating_add(count) <= window / 2;
            if (roomy || window == self.spans)
                && let Some(first) = self.search(owner, count, window)
            {
                let address = self.base + first * SPAN;
                if sys::make_writable(address, count * SPAN) {
                    return Some(address);
                }
                // SAFETY: taken just now, and nobody has been told.
                unsafe { self.give_back(owner, address, count) };
                return None;
            }
            if window == self.spans {
                return None;
            }
            let larger = window.saturating_mul(2).min(self.spans);
            if self
                .window
                .compare_exchange(window, larger, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                self.cursor.store(window, Ordering::Relaxed);
            }
        }
    }

    /// Takes `count` free spans in a row below `window`, at least as many; the first's number.
    fn search(&self, owner: Handle, count: usize, window: usize) -> Option<usize> {
        let mut at = self.cursor.load(Ordering::Relaxed);
        let mut seen = 0;
        // Once around, and once more over what a row may have begun in.
        while seen < window + count {
            if at > window - count {
                seen += window.saturating_sub(at);
                at = 0;
            }
            match self.take(owner, at, count) {
                Ok(()) => {
                    self.cursor.store(at + count, Ordering::Relaxed);
                    self.used.fetch_add(count, Ordering::Relaxed);
                    return Some(at);
                }
                Err(busy) => {
                    seen += busy + 1 - at;
                    at = busy + 1;
                }
            }
        }
        None
    }

    /// Takes these spans, or none: then the number of one that is in use.
    fn take(&self, owner: Handle, first: usize, count: usize) -> Result<(), usize> {
        let is_live = |entry: u64| entry & 3 == LIVE;
        // From the end: a row that is too short is left behind at once.
        for span in (first..first + count).rev() {
            let entry = self.entry(span).ok_or(span)?;
            if is_live(entry.load(Ordering::Relaxed)) {
                return Err(span);
            }
        }
        for span in first..first + count {
            let entry = self.entry(span).ok_or(span)?;
            let before = entry.load(Ordering::Relaxed);
            let ours = owner.number() << 2 | LIVE;
            if is_live(before)
                || entry
                    .compare_exchange(before, ours, Ordering::AcqRel, Ordering::Relaxed)
                    .is_err()
            {
                // Another thread was faster. Whose those before this one were is not known any more.
                for taken in first..span {
                    if let Some(entry) = self.entry(taken) {
                        entry.store(DEAD, Ordering::Release);
                    }
                }
                return Err(span);
            }
        }
        Ok(())
    }

    /// Gives claimed spans back, in one piece as they were claimed.
    ///
    /// # Safety
    /// `owner` claimed them, and nobody uses their memory any more.
    pub unsafe fn give_back(&self, owner: Handle, address: usize, count: usize) {
        // SAFETY: the caller's promise; the spans lie in the reserved range.
        unsafe { sys::decommit(address, count * SPAN) };
        // A stack may have been here: what was readable is asked for again.
        callers::memory_unmapped();
        let first = address.wrapping_sub(self.base) / SPAN;
        for span in first..first + count {
            if let Some(entry) = self.entry(span) {
                entry.store(owner.number() << 2 | DEAD, Ordering::Release);
            }
        }
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}
