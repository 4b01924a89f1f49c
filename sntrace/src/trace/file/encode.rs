//! Events and what stands among them, into the columns of a chunk.
//!
//! The writing side of [`super::decode`]; what both expect is in [`super::model`], which columns
//! there are in [`super::columns`].

use std::collections::HashMap;
use std::io;

use super::chunk::{self, Kind, Press, RATIO_MAX};
use super::columns::{CHUNK_EVENTS, Columns, Sheet};
use super::fields::put_number;
use super::items::put_item;
use super::manner::{Manner, place_block, put_given};
use super::model::{EventKind, Model, class_of, has_alignment, has_count, place};
use super::owned::{Blocks, Owned};
use crate::symbolize::hash::AddressMap;
use crate::trace::{Event, ImageId, Item, Op, Ownership, StackId};

/// Bytes of what stands among the events, in a chunk.
const CHUNK_ITEM_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Encoder {
    model: Model,
    sheet: Sheet,
    /// What stands among the events, and where.
    items: Vec<u8>,
    item_count: u64,
    /// Events since the last one of these.
    since_item: u64,
    /// Events of the chunk.
    events: u64,
    first_ns: u64,
    threads: HashMap<(ImageId, u32), u32>,
    /// Who made the last event, while its thread has its number.
    speaking: Option<(ImageId, u32)>,
    kinds: AddressMap<(Op, StackId), u32>,
    blocks: Vec<Blocks>,
}

/// A chunk of events.
pub(super) struct EventChunk {
    pub bytes: Vec<u8>,
    pub first_ns: u64,
    pub events: u64,
    pub items: u64,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            model: Model::new(),
            sheet: Sheet::default(),
            speaking: None,
            items: Vec::new(),
            item_count: 0,
            since_item: 0,
            events: 0,
            first_ns: 0,
            threads: HashMap::new(),
            kinds: AddressMap::default(),
            blocks: Vec::new(),
        }
    }

    /// Takes an item. Returns whether the chunk should be closed now.
    ///
    /// # Errors
    /// The item is none that a run has.
    #[inline]
    pub(super) fn item(&mut self, item: &Item) -> io::Result<bool> {
        if let Item::Event(event) = item {
            self.event(event)?;
        } else {
            put_number(&mut self.items, self.since_item);
            self.since_item = 0;
            put_item(&mut self.items, item);
            self.item_count += 1;
            if let Item::Ended { image, .. } = item {
                self.end(*image);
            }
        }
        Ok(self.events as usize >= CHUNK_EVENTS || self.items.len() >= CHUNK_ITEM_BYTES)
    }

    /// Says that this item will come soon.
    #[inline(always)]
    pub(super) fn expect(&self, item: &Item) {
        // As a rule it is of the image of the event before.
        if let Item::Event(event) = item
            && let Some(thread) = self.model.thread(self.model.thread)
            && let Some(blocks) = self.blocks.get(thread.blocks as usize)
        {
            blocks.prefetch(event.block);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.item_count == 0
    }

    #[inline(always)]
    fn put(&mut self, column: Columns, number: u64) {
        self.sheet.put(column, number);
    }

    #[inline]
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let manner = Manner::of(event.op);
        if manner == Manner::None {
            let what = "an event of a trace has an op that none has";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        if self.events == 0 {
            self.first_ns = event.time_ns;
        }
        self.events += 1;
        self.since_item += 1;
        let last_ns = std::mem::replace(&mut self.model.last_ns, event.time_ns);
        self.put(Columns::Time, event.time_ns.wrapping_sub(last_ns));
        let thread = self.thread(event);
        let kind = self.kind(event, thread);
        match manner {
            Manner::Obtains if self.obtain_plain(event, thread, kind) => {}
            Manner::Frees => self.free(event.block, thread),
            _ => self.any(event, thread, kind),
        }
        Ok(())
    }

    /// An event of any manner.
    fn any(&mut self, event: &Event, thread: u32, kind: u32) {
        let mut kind_now = self.model.kinds[kind as usize];
        let op = event.op;
        if has_count(op) {
            self.sheet
                .repeated(Columns::Count, &mut kind_now.count, event.count);
        }
        if has_alignment(op) {
            let last = &mut kind_now.alignment;
            self.sheet
                .repeated(Columns::Alignment, last, event.alignment);
        }
        if op.is_mapping() {
            self.sheet
                .repeated(Columns::Size, &mut kind_now.size, event.size);
            self.put(Columns::Rare, event.block);
            if op.replaces() {
                self.put(Columns::Rare, event.old_block);
            }
        } else if op.only_releases() {
            self.release(event, thread, &mut kind_now.size);
        } else {
            self.sheet
                .repeated(Columns::Size, &mut kind_now.size, event.size);
            self.obtain(event, thread);
        }
        let place = &mut self.model.kinds[kind as usize];
        (place.size, place.count, place.alignment) =
            (kind_now.size, kind_now.count, kind_now.alignment);
    }

    /// The number of the event's thread.
    #[inline(always)]
    fn thread(&mut self, event: &Event) -> u32 {
        if self.speaking == Some((event.image, event.tid)) {
            self.put(Columns::Thread, 0);
            return self.model.thread;
        }
        self.other_thread(event)
    }

    fn other_thread(&mut self, event: &Event) -> u32 {
        let who = (event.image, event.tid);
        let number = match self.threads.get(&who) {
            Some(&number) => {
                self.put(Columns::Thread, u64::from(number) + 1);
                number
            }
            None => {
                self.put(Columns::Thread, u64::from(self.model.next_thread()) + 1);
                self.put(Columns::Rare, u64::from(event.image.0));
                self.put(Columns::Rare, u64::from(event.tid));
                let number = self.model.add_thread(event.image, event.tid);
                self.threads.insert(who, number);
                let blocks = self.model.thread(number).map_or(0, |thread| thread.blocks);
                if self.blocks.len() <= blocks as usize {
                    self.blocks.push(Blocks::default());
                }
                number
            }
        };
        self.model.thread = number;
        self.speaking = Some(who);
        number
    }

    /// The number of the event's kind.
    #[inline(always)]
    fn kind(&mut self, event: &Event, thread: u32) -> u32 {
        let Model { threads, kinds, .. } = &mut self.model;
        if let Some(Some(thread)) = threads.get_mut(thread as usize)
            && let Some(&EventKind { next, .. }) = kinds.get(thread.kind as usize)
            && let Some(kind) = kinds.get(next as usize)
            && (kind.op, kind.stack) == (event.op, event.stack)
        {
            // It came after that kind the last time too: nothing to note but where the thread is.
            thread.kind = next;
            self.put(Columns::Kind, 0);
            return next;
        }
        self.other_kind(event, thread)
    }

    fn other_kind(&mut self, event: &Event, thread: u32) -> u32 {
        let next = self.model.kinds.len() as u32;
        let number = *self.kinds.entry((event.op, event.stack)).or_insert(next);
        self.put(Columns::Kind, u64::from(number) + 1);
        if number == next {
            self.put(Columns::Rare, event.op as u64);
            self.put(Columns::Rare, u64::from(event.stack.0));
            self.model.kinds.push(EventKind::new(event.op, event.stack));
        }
        self.model.set_kind(thread, number);
        number
    }

    /// What obtains a block and has nothing but its size, and obtains it. False, and nothing is done, if
    /// the call failed or the address has a block.
    #[inline(always)]
    fn obtain_plain(&mut self, event: &Event, thread: u32, kind: u32) -> bool {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        let (bytes, address) = (event.bytes(), event.block);
        let class = class_of(bytes);
        let (blocks, lane) = (&mut self.blocks[place as usize], self.model.lane(thread));
        let lane_number = Model::lane_number(thread);
        if address == 0
            || blocks
                .begin(address, bytes, class, lane_number, lane)
                .is_some()
        {
            return false;
        }
        place_block(&mut self.sheet, lane, address, bytes, class);
        let last = &mut self.model.kinds[kind as usize].size;
        self.sheet.repeated(Columns::Size, last, event.size);
        true
    }

    /// What gives a block back and says nothing else of it.
    #[inline(always)]
    fn free(&mut self, address: u64, thread: u32) {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        let (blocks, lane) = (&mut self.blocks[place as usize], self.model.lane(thread));
        let released = blocks.end(address);
        let lane_number = Model::lane_number(thread);
        put_given(&mut self.sheet, lane, lane_number, address, released);
        if let Some(owned) = released {
            lane.give_back(owned.class, address);
        }
    }

    fn release(&mut self, event: &Event, thread: u32, last_size: &mut u64) {
        let released = self.end_block(event.block, thread);
        self.put_given(event.block, released, thread);
        if event.op != Op::Free {
            let of_block = released.map(|owned| u64::from(owned.bytes));
            if event.size == *last_size {
                self.put(Columns::ReleasedSize, 0);
            } else if of_block == Some(event.size) && event.size < u64::from(u32::MAX) {
                self.put(Columns::ReleasedSize, 1);
            } else {
                match event.size.checked_add(3) {
                    Some(code) => self.put(Columns::ReleasedSize, code),
                    None => {
                        self.put(Columns::ReleasedSize, 2);
                        self.put(Columns::Rare, event.size);
                    }
                }
            }
            *last_size = event.size;
        }
        if let Some(owned) = released {
            self.model.lane(thread).give_back(owned.class, event.block);
        }
    }

    fn put_given(&mut self, address: u64, owned: Option<Owned>, thread: u32) {
        let (lane, number) = (self.model.lane(thread), Model::lane_number(thread));
        put_given(&mut self.sheet, lane, number, address, owned);
    }

    fn obtain(&mut self, event: &Event, thread: u32) {
        let mut old = None;
        if event.op.replaces() {
            old = self.blocks_of(thread).get(event.old_block);
            self.put_given(event.old_block, old, thread);
        }
        let owners = Ownership::of(event.op, event.block, event.size, event.old_block);
        let released = old.filter(|_| owners.given_back != 0);
        if released.is_some() {
            self.end_block(owners.given_back, thread);
        }
        let in_place = owners.obtained != 0 && owners.obtained == owners.given_back;
        if event.block == 0 {
            self.put(Columns::Place, place::NULL);
        } else {
            let bytes = event.bytes();
            let class = class_of(bytes);
            if let Some(taken) = self.begin_block(event.block, bytes, class, thread) {
                self.put(Columns::Place, place::TAKEN);
                self.put_given(event.block, Some(taken), thread);
                self.end_block(event.block, thread);
                self.begin_block(event.block, bytes, class, thread);
            } else if in_place {
                self.put(Columns::Place, place::SAME);
            } else {
                let lane = self.model.lane(thread);
                place_block(&mut self.sheet, lane, event.block, bytes, class);
            }
        }
        if let Some(released) = released.filter(|_| !in_place) {
            self.model
                .lane(thread)
                .give_back(released.class, owners.given_back);
        }
    }

    #[inline(always)]
    fn blocks_of(&mut self, thread: u32) -> &mut Blocks {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        // Made with its first thread.
        &mut self.blocks[place as usize]
    }

    /// As [`Blocks::begin`].
    fn begin_block(&mut self, address: u64, bytes: u64, class: u8, thread: u32) -> Option<Owned> {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        let lane = self.model.lane(thread);
        let number = Model::lane_number(thread);
        self.blocks[place as usize].begin(address, bytes, class, number, lane)
    }

    fn end_block(&mut self, address: u64, thread: u32) -> Option<Owned> {
        self.blocks_of(thread).end(address)
    }

    fn end(&mut self, image: ImageId) {
        if let Some(place) = self.model.end(image) {
            self.blocks[place as usize] = Blocks::default();
            self.threads.retain(|&(other, _), _| other != image);
            self.speaking = self.speaking.filter(|&(other, _)| other != image);
        }
    }

    /// Closes the chunk and begins the next one.
    pub(super) fn close(&mut self, press: &mut Press) -> io::Result<EventChunk> {
        let mut head = Vec::new();
        put_number(&mut head, self.events);
        put_number(&mut head, self.item_count);
        put_number(&mut head, self.first_ns);
        let mut planes = Vec::new();
        let mut raw = 0;
        let columns = self.sheet.0.iter();
        let all = columns.flat_map(|column| [&column.heads, &column.tails]);
        for plane in all {
            let stored = press.plane(plane, &mut planes)?;
            put_number(&mut head, plane.len() as u64);
            put_number(&mut head, stored as u64);
            raw += plane.len();
        }
        let stored = press.bounded(&self.items, &mut planes)?;
        put_number(&mut head, self.items.len() as u64);
        put_number(&mut head, stored as u64);
        raw += self.items.len();
        let mut bytes = vec![0; chunk::HEAD_BYTES];
        bytes.append(&mut head);
        bytes.append(&mut planes);
        // What may be declared is bounded by what is there.
        let least = chunk::HEAD_BYTES + self.events as usize / RATIO_MAX;
        if bytes.len() < least {
            bytes.resize(least, 0);
        }
        chunk::close(&mut bytes, Kind::Events, raw)?;
        let closed = EventChunk {
            bytes,
            first_ns: self.first_ns,
            events: self.events,
            items: self.item_count,
        };
        self.sheet.clear();
        self.items.clear();
        (self.item_count, self.since_item, self.events) = (0, 0, 0);
        Ok(closed)
    }
}
