//! Events and what stands among them, out of the columns of a chunk.
//!
//! The reading side of [`super::encode`]. It needs no table by address: blocks are named by
//! numbers. What an event released is worked out here, by the rules of [`Ownership`].

use super::column::ColumnReader;
use super::columns::{COLUMNS, Columns};
use super::fields::{Fields, Malformed, unzigzag};
use super::items;
use super::model::{
    EventKind, Model, NONE, Numbers, class_of, given, has_alignment, has_count, is_event, place,
};
use super::planes::{EventHead, Planes};
use crate::trace::live::Block;
use crate::trace::{Event, ImageId, Item, Op, Ownership, StackId};

/// A live block, or the place of one, by number.
#[derive(Clone, Copy, Debug)]
struct Slot {
    address: u64,
    block: Option<Block>,
}

/// The blocks of an image.
#[derive(Debug, Default)]
struct Blocks {
    slots: Vec<Slot>,
    numbers: Numbers,
}

/// A block that an event names.
#[derive(Clone, Copy, Debug)]
struct Given {
    address: u64,
    /// Its number and what is known of it, if it is live.
    live: Option<(u32, Block)>,
}

/// See the module.
pub(super) struct Decoder<'t> {
    model: Model,
    blocks: Vec<Blocks>,
    /// By stack, whether it goes on beyond its last frame.
    truncated: &'t [bool],
    planes: Planes,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(truncated: &'t [bool]) -> Self {
        Self {
            model: Model::new(),
            blocks: Vec::new(),
            truncated,
            planes: Planes::default(),
        }
    }

    /// Hands out the items of the next chunk.
    ///
    /// # Errors
    /// The payload can't be right. What came before was handed out.
    pub(super) fn chunk(
        &mut self,
        payload: &[u8],
        raw: u32,
        each: &mut dyn FnMut(&Item),
    ) -> Result<(), Malformed> {
        let mut planes = std::mem::take(&mut self.planes);
        let result = planes
            .load(payload, raw)
            .and_then(|head| self.items(head, &planes, each));
        self.planes = planes;
        result
    }

    fn items(
        &mut self,
        head: EventHead,
        planes: &Planes,
        each: &mut dyn FnMut(&Item),
    ) -> Result<(), Malformed> {
        let mut columns = Reader {
            columns: std::array::from_fn(|at| {
                let (heads, tails) = &planes.columns[at];
                ColumnReader::new(heads, tails)
            }),
        };
        let mut fields = Fields(&planes.items);
        let mut left = head.events;
        // One place for all, as an item is large.
        let mut event = Item::Event(NO_EVENT);
        for at in 0..=head.items {
            // Behind the last item come the events that are left.
            let events = if at == head.items {
                left
            } else {
                fields.number()?
            };
            left = left.checked_sub(events).ok_or_else(|| {
                Malformed::new("an item stands behind more events than there are")
            })?;
            for _ in 0..events {
                if let Item::Event(event) = &mut event {
                    self.event(&mut columns, event)?;
                }
                each(&event);
            }
            if at < head.items {
                let item = items::item(&mut fields)?;
                if let Item::Ended { image, .. } = item {
                    self.end(image);
                }
                each(&item);
            }
        }
        fields.end()?;
        if columns.columns.iter().all(ColumnReader::is_empty) {
            Ok(())
        } else {
            Err(Malformed::new("a column goes on behind its last event"))
        }
    }

    #[inline]
    fn event(&mut self, columns: &mut Reader<'_>, event: &mut Event) -> Result<(), Malformed> {
        let passed = columns.next(Columns::Time)?;
        event.time_ns = self.model.last_ns.wrapping_add(passed);
        self.model.last_ns = event.time_ns;
        let thread = self.thread(columns)?;
        let kind_number = self.kind(columns, thread)?;
        let mut kind = *self
            .model
            .kinds
            .get(kind_number as usize)
            .ok_or_else(|| Malformed::new("an event has no kind"))?;
        let Some(its) = self.model.thread(thread) else {
            return Err(Malformed::new("an event has no thread"));
        };
        let serial = its.serial;
        (event.image, event.tid) = (its.image, its.tid);
        (event.op, event.stack) = (kind.op, kind.stack);
        event.truncated = self.is_truncated(kind.stack);
        (event.released, event.temporary, event.old_block) = (None, false, 0);
        (event.count, event.alignment) = (1, 0);
        let op = kind.op;
        if has_count(op) {
            columns.repeated(Columns::Count, &mut kind.count)?;
            event.count = kind.count;
        }
        if has_alignment(op) {
            columns.repeated(Columns::Alignment, &mut kind.alignment)?;
            event.alignment = kind.alignment;
        }
        if op.is_mapping() {
            columns.repeated(Columns::Size, &mut kind.size)?;
            event.size = kind.size;
            event.block = columns.next(Columns::Rare)?;
            if op.replaces() {
                event.old_block = columns.next(Columns::Rare)?;
            }
        } else {
            let released = if op.only_releases() {
                self.release(columns, event, &mut kind, thread)?
            } else {
                columns.repeated(Columns::Size, &mut kind.size)?;
                event.size = kind.size;
                self.obtain(columns, event, thread)?
            };
            let owners = Ownership::of(op, event.block, event.size, event.old_block);
            event.released = released.map(|block| block.bytes);
            event.temporary = owners.ends_temporary(released, thread, serial);
        }
        if let Some(place) = self.model.kinds.get_mut(kind_number as usize) {
            (place.size, place.count, place.alignment) = (kind.size, kind.count, kind.alignment);
        }
        Ok(())
    }

    #[inline]
    fn thread(&mut self, columns: &mut Reader<'_>) -> Result<u32, Malformed> {
        let code = columns.next_small(Columns::Thread)?;
        if code == 0 {
            return Ok(self.model.thread);
        }
        let number = code - 1;
        if self.model.thread(number).is_none() {
            if number != self.model.next_thread() {
                return Err(Malformed::new(
                    "an event is of a thread that does not exist",
                ));
            }
            let image = ImageId(columns.next_small(Columns::Rare)?);
            let tid = columns.next_small(Columns::Rare)?;
            self.model.add_thread(image, tid);
            let blocks = self.model.thread(number).map_or(0, |thread| thread.blocks);
            if self.blocks.len() <= blocks as usize {
                self.blocks.push(Blocks::default());
            }
        }
        self.model.thread = number;
        Ok(number)
    }

    #[inline]
    fn kind(&mut self, columns: &mut Reader<'_>, thread: u32) -> Result<u32, Malformed> {
        let number = match columns.next_small(Columns::Kind)? {
            0 => self.model.expected_kind(thread),
            code => code - 1,
        };
        if number as usize == self.model.kinds.len() {
            let op = u8::try_from(columns.next(Columns::Rare)?).ok();
            let op = op.and_then(Op::from_tag).filter(|&op| is_event(op));
            let op = op.ok_or_else(|| Malformed::new("an event has an op that none has"))?;
            let stack = StackId(columns.next_small(Columns::Rare)?);
            if stack.0 as usize >= self.truncated.len() {
                return Err(Malformed::new("an event has a stack that was not defined"));
            }
            self.model.kinds.push(EventKind::new(op, stack));
        }
        self.model.set_kind(thread, number);
        Ok(number)
    }

    #[inline(always)]
    fn is_truncated(&self, stack: StackId) -> bool {
        self.truncated
            .get(stack.0 as usize)
            .copied()
            .unwrap_or(false)
    }

    /// Reads the rest of an event that releases a block. Returns the block if it was live.
    #[inline]
    fn release(
        &mut self,
        columns: &mut Reader<'_>,
        event: &mut Event,
        kind: &mut EventKind,
        thread: u32,
    ) -> Result<Option<Block>, Malformed> {
        let given = self.given(columns, thread)?;
        event.block = given.address;
        event.size = 0;
        if event.op != Op::Free {
            match columns.next(Columns::ReleasedSize)? {
                0 => {}
                1 => {
                    let (_, block) = given.live.ok_or_else(not_live)?;
                    kind.size = block.bytes;
                }
                2 => kind.size = columns.next(Columns::Rare)?,
                code => kind.size = code - 3,
            }
            event.size = kind.size;
        }
        let Some((number, block)) = given.live else {
            return Ok(None);
        };
        self.end_block(number, thread);
        let lane = self.model.lane(thread);
        lane.give_back(class_of(block.bytes), given.address);
        Ok(Some(block))
    }

    /// Which block the call was given.
    #[inline]
    fn given(&mut self, columns: &mut Reader<'_>, thread: u32) -> Result<Given, Malformed> {
        let unknown = |address| Given {
            address,
            live: None,
        };
        let code = columns.next(Columns::Given)?;
        match code {
            given::NULL => Ok(unknown(0)),
            given::UNKNOWN => Ok(unknown(columns.next(Columns::Rare)?)),
            _ => self.live(code, thread),
        }
    }

    /// The live block that a code of the given ones names.
    #[inline]
    fn live(&mut self, code: u64, thread: u32) -> Result<Given, Malformed> {
        let number = match code.checked_sub(given::NUMBER) {
            Some(number) => u32::try_from(number).map_err(|_| not_live())?,
            None => {
                let age = code.checked_sub(given::RECENT).ok_or_else(not_live)?;
                self.model.lane(thread).aged(age as usize)
            }
        };
        let blocks = self.blocks_of(thread)?;
        let slot = blocks.slots.get(number as usize).ok_or_else(not_live)?;
        let block = slot.block.ok_or_else(not_live)?;
        Ok(Given {
            address: slot.address,
            live: Some((number, block)),
        })
    }

    /// Reads the rest of an event that obtains a block. Returns what it released.
    #[inline]
    fn obtain(
        &mut self,
        columns: &mut Reader<'_>,
        event: &mut Event,
        thread: u32,
    ) -> Result<Option<Block>, Malformed> {
        let mut old = None;
        if event.op.replaces() {
            let given = self.given(columns, thread)?;
            event.old_block = given.address;
            old = given.live;
        }
        let code = columns.next(Columns::Place)?;
        event.block = 0;
        // Whether a block is given back depends on this one only by its being null.
        let one = u64::from(code != place::NULL);
        let owners = Ownership::of(event.op, one, event.size, event.old_block);
        let released = old.filter(|_| owners.given_back != 0);
        if let Some((number, _)) = released {
            self.end_block(number, thread);
        }
        if code == place::NULL {
            self.give_back(released, event.old_block, thread);
            return Ok(released.map(|(_, block)| block));
        }
        let bytes = event.bytes();
        let class = class_of(bytes);
        let lane = self.model.lane(thread);
        event.block = match code {
            place::SAME => event.old_block,
            place::ALIGNED | place::ANYWHERE => {
                let distance = unzigzag(columns.next(Columns::Distance)?);
                let unit = if code == place::ALIGNED { 16 } else { 1 };
                let address = lane.next.wrapping_add(distance.wrapping_mul(unit) as u64);
                lane.place(address, bytes);
                address
            }
            place::TAKEN => {
                let number = columns.next(Columns::Given)?;
                let taken = self.live(number, thread)?;
                if let Some((number, _)) = taken.live {
                    self.end_block(number, thread);
                }
                taken.address
            }
            _ => {
                let depth = code.wrapping_sub(place::FREED).try_into().ok();
                depth
                    .and_then(|depth| lane.reuse(class, depth))
                    .ok_or_else(|| Malformed::new("a block lies where none was given back"))?
            }
        };
        if event.block == 0 {
            return Err(Malformed::new("a block lies at address 0"));
        }
        self.begin_block(event.block, bytes, thread)?;
        if event.block != event.old_block {
            self.give_back(released, event.old_block, thread);
        }
        Ok(released.map(|(_, block)| block))
    }

    #[inline(always)]
    fn give_back(&mut self, released: Option<(u32, Block)>, address: u64, thread: u32) {
        if let Some((_, block)) = released {
            let lane = self.model.lane(thread);
            lane.give_back(class_of(block.bytes), address);
        }
    }

    #[inline(always)]
    fn blocks_of(&mut self, thread: u32) -> Result<&mut Blocks, Malformed> {
        let place = self.model.thread(thread).map_or(NONE, |its| its.blocks);
        self.blocks.get_mut(place as usize).ok_or_else(not_live)
    }

    #[inline(always)]
    fn begin_block(&mut self, address: u64, bytes: u64, thread: u32) -> Result<(), Malformed> {
        let mut serial = 0;
        if let Some(its) = self.model.thread_mut(thread) {
            its.serial = its.serial.wrapping_add(1);
            serial = its.serial;
        }
        let block = Some(Block {
            bytes,
            thread,
            serial,
        });
        let blocks = self.blocks_of(thread)?;
        let number = blocks.numbers.take();
        let slot = Slot { address, block };
        match blocks.slots.get_mut(number as usize) {
            Some(place) => *place = slot,
            None => blocks.slots.push(slot),
        }
        self.model.lane(thread).obtain(number);
        Ok(())
    }

    #[inline(always)]
    fn end_block(&mut self, number: u32, thread: u32) {
        if let Ok(blocks) = self.blocks_of(thread)
            && let Some(slot) = blocks.slots.get_mut(number as usize)
        {
            slot.block = None;
            blocks.numbers.give(number);
        }
    }

    fn end(&mut self, image: ImageId) {
        if let Some(place) = self.model.end(image)
            && let Some(blocks) = self.blocks.get_mut(place as usize)
        {
            *blocks = Blocks::default();
        }
    }
}

/// The columns of a chunk.
struct Reader<'a> {
    columns: [ColumnReader<'a>; COLUMNS],
}

impl Reader<'_> {
    #[inline(always)]
    fn next(&mut self, column: Columns) -> Result<u64, Malformed> {
        self.columns[column as usize].number()
    }

    #[inline(always)]
    fn next_small(&mut self, column: Columns) -> Result<u32, Malformed> {
        self.columns[column as usize].small()
    }

    /// A number that is often that of the last event of the kind.
    #[inline(always)]
    fn repeated(&mut self, column: Columns, last: &mut u64) -> Result<(), Malformed> {
        match self.next(column)? {
            0 => {}
            1 => *last = self.next(Columns::Rare)?,
            code => *last = code - 2,
        }
        Ok(())
    }
}

/// A place for an event.
const NO_EVENT: Event = Event {
    op: Op::Malloc,
    time_ns: 0,
    image: ImageId(0),
    tid: 0,
    block: 0,
    size: 0,
    count: 1,
    alignment: 0,
    old_block: 0,
    caller: 0,
    frames: (0, 0),
    stack: StackId::EMPTY,
    truncated: false,
    released: None,
    temporary: false,
};

#[cold]
fn not_live() -> Malformed {
    Malformed::new("a block that is given back is not live")
}

/// Decodes one event chunk's payload by itself, as the first of a trace with so many stacks: for
/// fuzzing.
///
/// # Errors
/// The payload can't be right.
pub fn decode_events(
    payload: &[u8],
    stacks: usize,
    each: &mut dyn FnMut(&Item),
) -> Result<(), Malformed> {
    let raw = u32::try_from(super::chunk::PAYLOAD_MAX).unwrap_or(u32::MAX);
    Decoder::new(&vec![false; stacks.max(1)]).chunk(payload, raw, each)
}
