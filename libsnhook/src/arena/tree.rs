//! Arenas as a tree: creating, resetting, destroying.
//!
//! An arena's children go before it does, so what is in a child may point to what is in its
//! parents. Nothing recurses: a tree may be as deep as there are arenas.
//!
//! Phase: slow. Destroying begins with the handle: from then on nobody finds the arena, so its
//! memory can be given back.

use super::chunk::Chunk;
use super::handle::Handle;
use super::region::{Region, SPAN};
use super::slot::{Arena, Number};

/// The largest chunk that can be wished for: 1 GiB.
const CHUNK_SPANS_MAX: usize = (1 << 30) / SPAN;

/// What an arena is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// The arena that it is destroyed with.
    pub parent: Option<Handle>,
    /// Bytes of a chunk, rounded up to spans; 0: chunks grow with the arena.
    pub chunk_bytes: usize,
    /// Bytes that blocks may take; 0: any.
    pub limit: usize,
}

fn relative<'r>(region: &'r Region, number: &Number) -> Option<Arena<'r>> {
    region.arena(Handle::from_number(number.get() as u64)?)
}

/// Makes an arena. None where the parent is not alive, or there are too many.
pub fn create<'r>(region: &'r Region, wishes: &Wishes) -> Option<Arena<'r>> {
    let parent = match wishes.parent {
        Some(handle) => Some(region.arena(handle)?),
        None => None,
    };
    let arena = Arena::take_place(region, |slot| {
        let spans = wishes.chunk_bytes.div_ceil(SPAN);
        slot.chunk_spans.set(spans.min(CHUNK_SPANS_MAX));
        slot.limit.set(wishes.limit);
    })?;
    if let Some(parent) = parent {
        let number = arena.handle.number() as usize;
        let next = parent.slot.first_child.get();
        arena.slot.parent.set(parent.handle.number() as usize);
        arena.slot.next_sibling.set(next);
        if let Some(next) = relative(region, &parent.slot.first_child) {
            next.slot.previous_sibling.set(number);
        }
        parent.slot.first_child.set(number);
        parent.slot.children.add(1);
    }
    Some(arena)
}

impl<'r> Arena<'r> {
    /// Destroys the arena, its children first.
    pub fn destroy(self) {
        let mut arena = self;
        loop {
            if let Some(child) = relative(self.region, &arena.slot.first_child) {
                arena = child;
                continue;
            }
            let parent = relative(self.region, &arena.slot.parent);
            let is_first = arena.handle == self.handle;
            if !arena.end() || is_first {
                return;
            }
            let Some(parent) = parent else {
                return;
            };
            arena = parent;
        }
    }

    /// Destroys the children and drops all blocks. The chunk that was in use stays.
    pub fn reset(self) {
        while let Some(child) = relative(self.region, &self.slot.first_child) {
            child.destroy();
        }
        let slot = self.slot;
        self.give_back_list(&slot.runs);
        // SAFETY: from the arena's list.
        if let Some(kept) = unsafe { Chunk::from_address(slot.chunks.get()) } {
            slot.chunks.set(kept.next());
            self.give_back_list(&slot.chunks);
            kept.cut();
            kept.rewind();
            slot.chunks.set(kept.address());
        }
        slot.epoch.add(1);
        slot.blocks.set(0);
        slot.bytes.set(0);
        slot.bytes_used.set(0);
    }

    /// Ends an arena without children. False if another thread does it.
    fn end(self) -> bool {
        if !self.retire() {
            return false;
        }
        self.leave_parent();
        self.give_back_list(&self.slot.chunks);
        self.give_back_list(&self.slot.runs);
        self.leave_place();
        true
    }

    fn leave_parent(&self) {
        let slot = self.slot;
        let next = slot.next_sibling.get();
        let previous = slot.previous_sibling.get();
        if let Some(next) = relative(self.region, &slot.next_sibling) {
            next.slot.previous_sibling.set(previous);
        }
        if let Some(previous) = relative(self.region, &slot.previous_sibling) {
            previous.slot.next_sibling.set(next);
        }
        if let Some(parent) = relative(self.region, &slot.parent) {
            if parent.slot.first_child.get() == self.handle.number() as usize {
                parent.slot.first_child.set(next);
            }
            parent.slot.children.subtract(1);
        }
    }

    /// Gives all chunks of a list back.
    fn give_back_list(&self, list: &Number) {
        let mut address = list.get();
        list.set(0);
        // SAFETY: from the arena's list; each is looked at before it is given back.
        while let Some(chunk) = unsafe { Chunk::from_address(address) } {
            address = chunk.next();
            let spans = chunk.spans();
            self.slot.spans.subtract(spans);
            // SAFETY: this arena claimed it as one piece, and its blocks are being given up.
            unsafe { self.region.give_back(self.handle, chunk.address(), spans) };
        }
    }
}
