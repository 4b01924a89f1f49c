//! Blocks: giving, resizing, finding and walking them.
//!
//! A block comes from the arena's first chunk, behind the last block, or from a new chunk. A block that would
//! take more than a quarter of a chunk gets spans of its own, so that the rest of the chunk is not
//! lost. Nothing is freed singly: a block that moves leaves its room behind.
//!
//! Phase: slow. What is not the arena's is told by the owners' table before anything is read.

use super::block::{self, ALIGNMENT, HEADER, Header, Kind, SIZE_MAX, footprint};
use super::chunk::{self, Chunk, FIRST_HEADER};
use super::region::{Owner, Region, SPAN};
use super::slot::Arena;

/// The strictest alignment: a block never begins behind the second span of its chunk.
pub const ALIGNMENT_MAX: usize = SPAN;
/// Chunks that grow with their arena stop growing at 4 MiB.
const CHUNK_SPANS_MAX: usize = 64;
/// A block that takes more than this part of a chunk gets its own.
const LARGE_PART: usize = 4;

/// A block that lives.
#[derive(Clone, Copy)]
pub struct Block<'r> {
    /// Its arena.
    pub arena: Arena<'r>,
    address: usize,
    header: Header,
}

/// Where a new block came to stand.
struct Placed {
    address: usize,
    /// From here on, its memory is zero.
    dirty: usize,
}

/// What ended a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Every block has been shown.
    Complete,
    /// The callback wanted no more, or ended the arena.
    Stopped,
    /// A header was overwritten: the blocks behind it can't be found.
    Damaged,
}

impl<'r> Block<'r> {
    /// The block that begins at `address`, if there is a live one.
    pub fn find(region: &'r Region, address: usize) -> Option<Self> {
        let Owner::Live(handle) = region.owner(address) else {
            return None;
        };
        let arena = region.arena(handle)?;
        let at = address.checked_sub(HEADER)?;
        if !address.is_multiple_of(ALIGNMENT) || region.owner(at) != Owner::Live(handle) {
            return None;
        }
        // SAFETY: in a span of a live arena (checked above), which is readable as a whole.
        let word = unsafe { chunk::read_word(at) } as u64;
        let header = Header::decode(word, at, arena.key())?;
        matches!(header.kind, Kind::Block | Kind::Large).then_some(Self {
            arena,
            address,
            header,
        })
    }

    /// Bytes that were asked for.
    pub fn size(&self) -> usize {
        self.header.size
    }

    /// Bytes that may be used.
    pub fn usable_size(&self) -> usize {
        footprint(self.header.size) - HEADER
    }

    fn header_at(&self) -> usize {
        self.address - HEADER
    }

    /// The chunk that the block is in, if it is the last one there.
    fn chunk_that_it_ends(&self) -> Option<Chunk> {
        let chunk = match self.header.kind {
            // It begins in the first span, or with the second.
            Kind::Large => (self.address - 1) & !(SPAN - 1),
            _ => self.arena.slot.chunks.get(),
        };
        // SAFETY: a large block's header says that its spans begin there; else from the arena's list.
        let chunk = unsafe { Chunk::from_address(chunk) }?;
        let end = self.header_at() + footprint(self.header.size);
        (chunk.end() == end).then_some(chunk)
    }

    /// Gives the block another size, where it is or elsewhere; its address then. None: nothing
    /// has changed.
    pub fn resize(self, size: usize) -> Option<usize> {
        if size > SIZE_MAX {
            return None;
        }
        let (old, new) = (footprint(self.header.size), footprint(size));
        let at = self.header_at();
        let slot = self.arena.slot;
        if old != new {
            let last = self
                .chunk_that_it_ends()
                .filter(|chunk| chunk.has_room_up_to(at + new));
            match last {
                Some(chunk) => {
                    if new > old && !self.arena.may_take(new - old) {
                        return None;
                    }
                    chunk.set_end(at + new);
                    slot.bytes_used.add(new);
                    slot.bytes_used.subtract(old);
                }
                None if new < old => {
                    let gap = old - new - HEADER;
                    // SAFETY: from the block's new end to its old one.
                    unsafe { self.arena.write_header(at + new, gap, Kind::Gap) };
                }
                None => return self.move_to_another(size),
            }
        }
        // SAFETY: the block's own header.
        unsafe { self.arena.write_header(at, size, self.header.kind) };
        slot.bytes_total.add(size.saturating_sub(self.header.size));
        self.arena.count_bytes(self.header.size, size);
        Some(self.address)
    }

    fn move_to_another(self, size: usize) -> Option<usize> {
        let placed = self.arena.place(size, ALIGNMENT)?;
        // SAFETY: the old block is `header.size` long, the new one longer, and they are two blocks.
        unsafe {
            core::ptr::copy_nonoverlapping(
                self.address as *const u8,
                placed.address as *mut u8,
                self.header.size,
            );
        }
        // SAFETY: the old block's own header.
        unsafe {
            self.arena
                .write_header(self.header_at(), self.header.size, Kind::Left)
        };
        self.arena.slot.blocks_total.add(1);
        self.arena.slot.bytes_total.add(size);
        self.arena.count_bytes(self.header.size, size);
        Some(placed.address)
    }
}

impl Arena<'_> {
    fn key(&self) -> u64 {
        block::key(self.handle, self.slot.epoch.get())
    }

    /// # Safety
    /// As for [`chunk::write_word`].
    unsafe fn write_header(&self, at: usize, size: usize, kind: Kind) {
        let word = Header { size, kind }.encode(at, self.key());
        // SAFETY: the caller's promise.
        unsafe { chunk::write_word(at, word as usize) };
    }

    /// Live blocks had `before` bytes that are now `after`.
    fn count_bytes(&self, before: usize, after: usize) {
        let bytes = self.slot.bytes.get().wrapping_sub(before) + after;
        self.slot.bytes.set(bytes);
        if bytes > self.slot.bytes_peak.get() {
            self.slot.bytes_peak.set(bytes);
        }
    }

    /// Whether blocks may take so many bytes more. Counts it where not.
    fn may_take(&self, bytes: usize) -> bool {
        let limit = self.slot.limit.get();
        let may = limit == 0 || self.slot.bytes_used.get().saturating_add(bytes) <= limit;
        if !may {
            self.slot.limit_hits.add(1);
        }
        may
    }

    /// A new block's address. `alignment` is a power of two.
    pub fn allocate(&self, size: usize, alignment: usize) -> Option<usize> {
        let placed = self.place(size, alignment)?;
        self.count_new(size);
        Some(placed.address)
    }

    /// A new zeroed block's address.
    pub fn allocate_zeroed(&self, size: usize) -> Option<usize> {
        let placed = self.place(size, ALIGNMENT)?;
        self.count_new(size);
        let dirty = placed.dirty.saturating_sub(placed.address).min(size);
        // SAFETY: the first bytes of a block that nobody has been told of.
        unsafe { core::ptr::write_bytes(placed.address as *mut u8, 0, dirty) };
        Some(placed.address)
    }

    fn count_new(&self, size: usize) {
        self.slot.blocks.add(1);
        self.slot.blocks_total.add(1);
        self.slot.bytes_total.add(size);
        self.count_bytes(0, size);
    }

    fn place(&self, size: usize, alignment: usize) -> Option<Placed> {
        let alignment = alignment.max(ALIGNMENT);
        if size > SIZE_MAX || !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return None;
        }
        let gap = |at: usize| (at + HEADER).next_multiple_of(alignment) - (at + HEADER);
        // SAFETY: from the arena's list.
        let first = unsafe { Chunk::from_address(self.slot.chunks.get()) };
        if let Some(chunk) = first {
            let bytes = gap(chunk.end()) + footprint(size);
            if chunk.has_room_up_to(chunk.end() + bytes) {
                return self
                    .may_take(bytes)
                    .then(|| self.put(chunk, gap(chunk.end()), size, Kind::Block));
            }
        }
        // A chunk's address is a multiple of every alignment.
        let bytes = gap(FIRST_HEADER) + footprint(size);
        if !self.may_take(bytes) {
            return None;
        }
        let usual = match self.slot.chunk_spans.get() {
            0 => self.slot.spans.get().clamp(1, CHUNK_SPANS_MAX),
            spans => spans,
        };
        let is_large = bytes > usual * SPAN / LARGE_PART;
        let least = (FIRST_HEADER + bytes).div_ceil(SPAN);
        let (list, wanted, kind) = if is_large {
            (&self.slot.runs, least, Kind::Large)
        } else {
            (&self.slot.chunks, usual, Kind::Block)
        };
        let claim = |spans| Some((self.region.claim(self.handle, spans)?, spans));
        let (address, spans) = claim(wanted).or_else(|| claim(least))?;
        // SAFETY: claimed just now, and put onto the arena's list below.
        let chunk = unsafe { Chunk::begin(address, spans, list.get()) };
        list.set(address);
        self.slot.spans.add(spans);
        Some(self.put(chunk, gap(FIRST_HEADER), size, kind))
    }

    /// Puts a block behind the last one of a chunk that has room for it.
    fn put(&self, chunk: Chunk, gap: usize, size: usize, kind: Kind) -> Placed {
        let mut at = chunk.end();
        let dirty = chunk.dirty();
        self.slot.bytes_used.add(gap + footprint(size));
        if gap > 0 {
            // SAFETY: behind the last block, and the chunk has room.
            unsafe { self.write_header(at, gap - HEADER, Kind::Gap) };
            at += gap;
        }
        chunk.set_end(at + footprint(size));
        // SAFETY: as above.
        unsafe { self.write_header(at, size, kind) };
        Placed {
            address: at + HEADER,
            dirty,
        }
    }

    /// Shows every live block's address and size to `see`, until that returns false. It may
    /// allocate from the arena (whether new blocks are shown is open), reset and destroy it.
    pub fn walk(&self, mut see: impl FnMut(usize, usize) -> bool) -> Walk {
        let key = self.key();
        for list in [&self.slot.chunks, &self.slot.runs] {
            let mut address = list.get();
            // SAFETY: from the arena's list, which is as it was: checked after each call out.
            while let Some(chunk) = unsafe { Chunk::from_address(address) } {
                let mut at = chunk.first();
                while at < chunk.end() {
                    // SAFETY: before the end of the chunk's last block.
                    let word = unsafe { chunk::read_word(at) } as u64;
                    let Some(header) = Header::decode(word, at, key) else {
                        return Walk::Damaged;
                    };
                    if matches!(header.kind, Kind::Block | Kind::Large)
                        && (!see(at + HEADER, header.size) || !self.is_live() || self.key() != key)
                    {
                        return Walk::Stopped;
                    }
                    at += footprint(header.size);
                }
                address = chunk.next();
            }
        }
        Walk::Complete
    }
}
