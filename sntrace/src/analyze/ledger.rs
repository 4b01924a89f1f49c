//! Who owns which address: the live blocks of every image, and the blocks that were freed there last.
//!
//! Every event is one look-up here, and what it finds is what all analyses are told. A table an
//! image, by address. A freed block stays in its place, marked so, until its address is used
//! again: this is how a second free is told from the free of a block that was never seen, and it
//! spares the table a removal and an insertion for every address that an allocator gives out again. What is freed for
//! good would pile up; so a table that is full drops these entries instead of growing where they are
//! a quarter of it. Memory is bounded by live blocks in this way, and what was forgotten is counted.
//!
//! **Forks.** A child has its parent's blocks, and the totals count them for both while both run
//! ([`crate::output::Summary`]). What a child inherits is kept as sums by stack, not as blocks. A free in
//! a child of an address that it did not allocate is taken for one of an inherited block, and
//! accused of nothing: the child's beginning stands in the trace a moment after the fork, in
//! which its parent may have freed and allocated, so that the parent's table would be asked about a
//! moment that it no longer knows. Such a block counts as live in the child up to its end, as in the totals.

use std::collections::hash_map::Entry;
use std::rc::Rc;

use super::counts::Counts;
use crate::symbolize::hash::AddressMap;
use crate::trace::{ImageId, Op, StackId};

/// A table smaller than this keeps all that was freed.
const FREED_KEPT_BELOW: usize = 1 << 19;

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Requested bytes.
    pub bytes: u64,
    /// When it was allocated, in nanoseconds since the run began.
    pub time_ns: u64,
    /// Where.
    pub stack: StackId,
    /// By which thread: an index into [`super::threads`].
    pub thread: u32,
    /// Number of its chain of reallocs ([`super::regrowth`]); 0: it was not reallocated.
    pub chain: u32,
    /// By which function.
    pub op: Op,
    /// Base-2 logarithm of the alignment that was asked for; 0 where none was.
    pub alignment_log2: u8,
}

/// What is known of a block that was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// Where it was allocated and how, and its size; `None` where that was never seen.
    pub allocation: Option<(Op, StackId, u64)>,
    /// The call that freed it.
    pub release: Release,
}

/// A call that gives a block back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// The function.
    pub op: Op,
    /// When, in nanoseconds since the run began.
    pub time_ns: u64,
    /// Where.
    pub stack: StackId,
    /// By which thread: an index into [`super::threads`].
    pub thread: u32,
}

/// What a release met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// A live block, which has ended by it.
    Live(Block),
    /// A block that was freed before, with no allocation in between.
    Freed(Freed),
    /// Nothing that this image allocated; it was forked, and may have it from its parent.
    Inherited,
    /// A block whose allocation is not in the trace.
    Unknown,
}

/// An address's entry: 32 bytes, as there is one for every live block. `time_ns` and `thread` are of
/// the allocation while the block lives, of its release afterwards; `link` is the chain, then the
/// stack of the release.
#[derive(Clone, Copy, Debug)]
struct Slot {
    bytes: u64,
    time_ns: u64,
    stack: StackId,
    thread: u32,
    link: u32,
    /// `None`: freed, and the allocation was never seen.
    op: Option<Op>,
    alignment_log2: u8,
    /// `None`: live.
    released_by: Option<Op>,
}

/// One image's blocks.
#[derive(Debug, Default)]
struct Seat {
    blocks: AddressMap<u64, Slot>,
    /// How many of them were freed.
    freed: usize,
    forked: bool,
    /// What it had at its beginning, by stack.
    inherited: Rc<[(StackId, Counts)]>,
    /// Its live blocks by stack: kept from its first fork on, so that each further one takes as
    /// long as there are stacks, not blocks.
    by_stack: Option<AddressMap<u32, Counts>>,
    /// Blocks whose release was never seen and whose address was given out again, by stack. The
    /// totals have them as live.
    displaced: AddressMap<u32, Counts>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seats: Vec<Seat>,
    numbers: AddressMap<u32, u32>,
    /// The image that was asked for last, and its seat: most events come from the same as the one before.
    last: Option<(ImageId, u32)>,
    forgotten: u64,
}

impl Ledger {
    /// The dense number of an image, from 0.
    #[inline]
    pub fn seat(&mut self, image: ImageId) -> u32 {
        match self.last {
            Some((known, seat)) if known == image => seat,
            _ => self.find_seat(image),
        }
    }

    #[cold]
    fn find_seat(&mut self, image: ImageId) -> u32 {
        let next = self.seats.len() as u32;
        let seat = *self.numbers.entry(image.0).or_insert(next);
        if seat == next {
            self.seats.push(Seat::default());
        }
        self.last = Some((image, seat));
        seat
    }

    /// An image begins that was forked from another one. Returns what it inherits.
    pub fn fork(&mut self, parent: u32, child: u32) -> Rc<[(StackId, Counts)]> {
        let parent = &mut self.seats[parent as usize];
        let by_stack = parent.by_stack.get_or_insert_with(|| {
            let mut sums = parent.displaced.clone();
            for slot in parent.blocks.values() {
                if slot.released_by.is_none() {
                    *sums.entry(slot.stack.0).or_default() += Counts::one(slot.bytes);
                }
            }
            sums
        });
        by_stack.retain(|_, counts| !counts.is_none());
        let mut inherited = by_stack.clone();
        for &(stack, counts) in &*parent.inherited {
            *inherited.entry(stack.0).or_default() += counts;
        }
        let inherited: Rc<[_]> = inherited
            .into_iter()
            .map(|(stack, counts)| (StackId(stack), counts))
            .collect();
        self.seats[child as usize] = Seat {
            forked: true,
            inherited: inherited.clone(),
            ..Seat::default()
        };
        inherited
    }

    /// A block begins. Returns the one that was live at its address, if any: its release was not seen.
    #[inline]
    pub fn obtain(&mut self, seat: u32, address: u64, block: Block) -> Option<Block> {
        let seat = &mut self.seats[seat as usize];
        if seat.blocks.len() == seat.blocks.capacity() {
            self.forgotten += seat.make_room();
        }
        if let Some(by_stack) = &mut seat.by_stack {
            *by_stack.entry(block.stack.0).or_default() += Counts::one(block.bytes);
        }
        let slot = Slot {
            bytes: block.bytes,
            time_ns: block.time_ns,
            stack: block.stack,
            thread: block.thread,
            link: block.chain,
            op: Some(block.op),
            alignment_log2: block.alignment_log2,
            released_by: None,
        };
        match seat.blocks.entry(address) {
            Entry::Vacant(place) => {
                place.insert(slot);
                None
            }
            Entry::Occupied(mut place) => {
                let before = place.insert(slot);
                if before.released_by.is_some() {
                    seat.freed -= 1;
                    return None;
                }
                let counts = Counts::one(before.bytes);
                *seat.displaced.entry(before.stack.0).or_default() += counts;
                before.live_block()
            }
        }
    }

    /// A block is given back.
    #[inline]
    pub fn release(&mut self, seat: u32, address: u64, by: Release) -> Met {
        let seat = &mut self.seats[seat as usize];
        let Some(slot) = seat.blocks.get_mut(&address) else {
            self.forgotten += seat.release_unknown(address, by);
            return if seat.forked {
                Met::Inherited
            } else {
                Met::Unknown
            };
        };
        let Some(block) = slot.live_block() else {
            let before = slot.freed();
            slot.free(by);
            return before.map_or(Met::Unknown, Met::Freed);
        };
        slot.free(by);
        seat.freed += 1;
        if let Some(by_stack) = &mut seat.by_stack {
            let counts = by_stack.entry(block.stack.0).or_default();
            counts.take(Counts::one(block.bytes));
        }
        Met::Live(block)
    }

    /// An image ends: its blocks are gone.
    pub fn end(&mut self, seat: u32) -> Estate {
        let seat = std::mem::take(&mut self.seats[seat as usize]);
        let live = seat.blocks.into_values();
        let displaced = seat.displaced.into_iter();
        Estate {
            live: live.filter_map(|slot| slot.live_block()).collect(),
            displaced: displaced.map(|(stack, n)| (StackId(stack), n)).collect(),
            inherited: seat.inherited,
        }
    }

    /// The blocks of images that have not ended.
    pub fn live(&self) -> impl Iterator<Item = Block> + '_ {
        let slots = self.seats.iter().flat_map(|seat| seat.blocks.values());
        slots.filter_map(|slot| slot.live_block())
    }

    /// Freed blocks that were dropped to bound memory: a second free of one shows as that of an
    /// unknown block.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// What an image leaves.
pub(super) struct Estate {
    /// Its own live blocks.
    pub live: Vec<Block>,
    /// What counts as live though its address had another block since.
    pub displaced: Vec<(StackId, Counts)>,
    /// What it had from its parent.
    pub inherited: Rc<[(StackId, Counts)]>,
}

impl Seat {
    /// Before a full table grows: drops what was freed, if that is worth its while. Returns how
    /// many that were.
    #[cold]
    fn make_room(&mut self) -> u64 {
        let (entries, freed) = (self.blocks.len(), self.freed);
        if entries < FREED_KEPT_BELOW || freed < entries / 4 {
            return 0;
        }
        self.blocks.retain(|_, slot| slot.released_by.is_none());
        self.freed = 0;
        freed as u64
    }

    /// Notes the first release of a block that was not allocated here; returns what was forgotten for it.
    #[cold]
    fn release_unknown(&mut self, address: u64, by: Release) -> u64 {
        let forgotten = if self.blocks.len() == self.blocks.capacity() {
            self.make_room()
        } else {
            0
        };
        let mut slot = Slot {
            bytes: 0,
            time_ns: by.time_ns,
            stack: StackId::EMPTY,
            thread: by.thread,
            link: 0,
            op: None,
            alignment_log2: 0,
            released_by: None,
        };
        slot.free(by);
        self.blocks.insert(address, slot);
        self.freed += 1;
        forgotten
    }
}

impl Slot {
    #[inline]
    fn live_block(&self) -> Option<Block> {
        let op = self.op?;
        if self.released_by.is_some() {
            return None;
        }
        Some(Block {
            bytes: self.bytes,
            time_ns: self.time_ns,
            stack: self.stack,
            thread: self.thread,
            chain: self.link,
            op,
            alignment_log2: self.alignment_log2,
        })
    }

    #[inline]
    fn free(&mut self, by: Release) {
        self.time_ns = by.time_ns;
        self.thread = by.thread;
        self.link = by.stack.0;
        self.released_by = Some(by.op);
    }

    fn freed(&self) -> Option<Freed> {
        Some(Freed {
            allocation: self.op.map(|op| (op, self.stack, self.bytes)),
            release: Release {
                op: self.released_by?,
                time_ns: self.time_ns,
                stack: StackId(self.link),
                thread: self.thread,
            },
        })
    }
}

#[cfg(test)]
mod tests;
