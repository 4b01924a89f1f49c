//! Events and what stands among them, into the columns of a chunk.
//!
//! The writing side of [`super::decode`]; what both expect is in [`super::model`], which columns
//! there are in [`super::columns`].

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io;

use hashbrown::hash_map::Entry;

use super::chunk::{self, Kind, Press, RATIO_MAX};
use super::column::Column;
use super::columns::{CHUNK_EVENTS, COLUMNS, Columns};
use super::fields::{put_number, zigzag};
use super::items::put_item;
use super::model::{
    EventKind, Model, Numbers, class_of, given, has_alignment, has_count, is_event, place,
};
use crate::symbolize::hash::AddressMap;
use crate::trace::live::AddressHasher;
use crate::trace::{Event, ImageId, Item, Op, Ownership, StackId};

/// Bytes of what stands among the events, in a chunk.
const CHUNK_ITEM_BYTES: usize = 1 << 20;

/// A live block, by its address.
#[derive(Clone, Copy, Debug)]
struct Owned {
    number: u32,
    /// When its lane obtained it.
    when: u32,
    /// Requested bytes, if that many fit.
    bytes: u32,
    class: u8,
    lane: u8,
}

/// The live blocks of an image.
#[derive(Debug, Default)]
struct Blocks {
    by_address: hashbrown::HashMap<u64, Owned, BuildHasherDefault<AddressHasher>>,
    numbers: Numbers,
}

/// See the module.
pub(super) struct Encoder {
    model: Model,
    columns: [Column; COLUMNS],
    /// What stands among the events, and where.
    items: Vec<u8>,
    item_count: u64,
    /// Events since the last one of these.
    since_item: u64,
    /// Events of the chunk.
    events: u64,
    first_ns: u64,
    threads: HashMap<(ImageId, u32), u32>,
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
            columns: Default::default(),
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

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.item_count == 0
    }

    #[inline(always)]
    fn put(&mut self, column: Columns, number: u64) {
        self.columns[column as usize].put(number);
    }

    #[inline]
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if !is_event(event.op) {
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
        let mut kind_now = self.model.kinds[kind as usize];
        let op = event.op;
        if has_count(op) {
            self.repeated(Columns::Count, &mut kind_now.count, event.count);
        }
        if has_alignment(op) {
            self.repeated(Columns::Alignment, &mut kind_now.alignment, event.alignment);
        }
        if op.is_mapping() {
            self.repeated(Columns::Size, &mut kind_now.size, event.size);
            self.put(Columns::Rare, event.block);
            if op.replaces() {
                self.put(Columns::Rare, event.old_block);
            }
        } else if op.only_releases() {
            self.release(event, thread, &mut kind_now.size);
        } else {
            self.repeated(Columns::Size, &mut kind_now.size, event.size);
            self.obtain(event, thread);
        }
        let place = &mut self.model.kinds[kind as usize];
        (place.size, place.count, place.alignment) =
            (kind_now.size, kind_now.count, kind_now.alignment);
        Ok(())
    }

    /// The number of the event's thread.
    #[inline]
    fn thread(&mut self, event: &Event) -> u32 {
        let is_its =
            |thread: &super::model::Thread| (thread.image, thread.tid) == (event.image, event.tid);
        if self.model.thread(self.model.thread).is_some_and(is_its) {
            self.put(Columns::Thread, 0);
            return self.model.thread;
        }
        let number = match self.threads.get(&(event.image, event.tid)) {
            Some(&number) => {
                self.put(Columns::Thread, u64::from(number) + 1);
                number
            }
            None => {
                self.put(Columns::Thread, u64::from(self.model.next_thread()) + 1);
                self.put(Columns::Rare, u64::from(event.image.0));
                self.put(Columns::Rare, u64::from(event.tid));
                let number = self.model.add_thread(event.image, event.tid);
                self.threads.insert((event.image, event.tid), number);
                let blocks = self.model.thread(number).map_or(0, |thread| thread.blocks);
                if self.blocks.len() <= blocks as usize {
                    self.blocks.push(Blocks::default());
                }
                number
            }
        };
        self.model.thread = number;
        number
    }

    /// The number of the event's kind.
    #[inline]
    fn kind(&mut self, event: &Event, thread: u32) -> u32 {
        let expected = self.model.expected_kind(thread);
        let is_its = |kind: &&EventKind| (kind.op, kind.stack) == (event.op, event.stack);
        if self
            .model
            .kinds
            .get(expected as usize)
            .as_ref()
            .is_some_and(is_its)
        {
            self.put(Columns::Kind, 0);
            self.model.set_kind(thread, expected);
            return expected;
        }
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

    /// A number that is often that of the last event of the kind.
    #[inline(always)]
    fn repeated(&mut self, column: Columns, last: &mut u64, number: u64) {
        if *last == number {
            self.put(column, 0);
        } else {
            *last = number;
            match number.checked_add(2) {
                Some(code) => self.put(column, code),
                None => {
                    self.put(column, 1);
                    self.put(Columns::Rare, number);
                }
            }
        }
    }

    #[inline]
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

    /// Which block the call was given: the one at `address`, which is `owned` if it is live, or was until
    /// this call.
    #[inline]
    fn put_given(&mut self, address: u64, owned: Option<Owned>, thread: u32) {
        match owned {
            Some(owned) => self.put_number_of(owned, thread),
            None if address == 0 => self.put(Columns::Given, given::NULL),
            None => {
                self.put(Columns::Given, given::UNKNOWN);
                self.put(Columns::Rare, address);
            }
        }
    }

    #[inline(always)]
    fn put_number_of(&mut self, owned: Owned, thread: u32) {
        let its_lane = owned.lane == Model::lane_number(thread);
        let age = self.model.lane(thread).age(owned.number, owned.when);
        let code = match age.filter(|_| its_lane) {
            Some(age) => given::RECENT + age as u64,
            None => given::NUMBER + u64::from(owned.number),
        };
        self.put(Columns::Given, code);
    }

    #[inline]
    fn obtain(&mut self, event: &Event, thread: u32) {
        let mut old = None;
        if event.op.replaces() {
            let blocks = self.blocks_of(thread);
            old = blocks.by_address.get(&event.old_block).copied();
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
                self.put_number_of(taken, thread);
                self.end_block(event.block, thread);
                self.begin_block(event.block, bytes, class, thread);
            } else if in_place {
                self.put(Columns::Place, place::SAME);
            } else {
                self.place(event.block, bytes, class, thread);
            }
        }
        if let Some(released) = released.filter(|_| !in_place) {
            self.model
                .lane(thread)
                .give_back(released.class, owners.given_back);
        }
    }

    /// Where a block lies that was obtained.
    #[inline]
    fn place(&mut self, block: u64, bytes: u64, class: u8, thread: u32) {
        let lane = self.model.lane(thread);
        if let Some(depth) = lane.depth_of(class, block) {
            lane.reuse(class, depth);
            self.put(Columns::Place, place::FREED + u64::from(depth));
            return;
        }
        let distance = block.wrapping_sub(lane.next) as i64;
        lane.place(block, bytes);
        if distance % 16 == 0 {
            self.put(Columns::Place, place::ALIGNED);
            self.put(Columns::Distance, zigzag(distance / 16));
        } else {
            self.put(Columns::Place, place::ANYWHERE);
            self.put(Columns::Distance, zigzag(distance));
        }
    }

    #[inline(always)]
    fn blocks_of(&mut self, thread: u32) -> &mut Blocks {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        // Made with its first thread.
        &mut self.blocks[place as usize]
    }

    /// A block begins, unless one is live at its address already: then that one is returned.
    #[inline(always)]
    fn begin_block(&mut self, address: u64, bytes: u64, class: u8, thread: u32) -> Option<Owned> {
        let place = self.model.thread(thread).map_or(0, |thread| thread.blocks);
        let Blocks {
            by_address,
            numbers,
        } = &mut self.blocks[place as usize];
        match by_address.entry(address) {
            Entry::Occupied(taken) => Some(*taken.get()),
            Entry::Vacant(vacant) => {
                let number = numbers.take();
                vacant.insert(Owned {
                    number,
                    when: self.model.lane(thread).obtain(number),
                    bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                    class,
                    lane: Model::lane_number(thread),
                });
                None
            }
        }
    }

    #[inline(always)]
    fn end_block(&mut self, address: u64, thread: u32) -> Option<Owned> {
        let blocks = self.blocks_of(thread);
        let owned = blocks.by_address.remove(&address)?;
        blocks.numbers.give(owned.number);
        Some(owned)
    }

    fn end(&mut self, image: ImageId) {
        if let Some(place) = self.model.end(image) {
            self.blocks[place as usize] = Blocks::default();
            self.threads.retain(|&(other, _), _| other != image);
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
        let columns = self.columns.iter();
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
        self.columns.iter_mut().for_each(Column::clear);
        self.items.clear();
        (self.item_count, self.since_item, self.events) = (0, 0, 0);
        Ok(closed)
    }
}
