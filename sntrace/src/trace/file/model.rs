//! What writer and reader both know while they go through the events: the expectations.
//!
//! An event is stored as how it differs from what was to be expected. Both sides keep this model
//! and change it by the same rules, so that they expect the same:
//!
//! * *Kinds*: an op with a stack. A thread's next event is expected to be of the kind that came
//!   after its last one's kind the last time; a kind's size is expected to be that of its last event.
//! * *Numbers* of live blocks: a block gets the number that became free last, so they are small
//!   and dense, and a release names its block by a number and not by an address. A block that was
//!   among the last that its thread obtained is named by how long ago that was.
//! * *Lanes*: the addresses that were given back last, by size class. Allocators keep what is freed
//!   for its thread and hand out the last one first (glibc's tcache): so does a lane. It can't know
//!   when they take some away for another use, so what lies above the one that was handed out is
//!   forgotten. Where no address fits, a block is expected behind the one before it.
//!
//! A wrong expectation costs bytes, never truth. Threads share a fixed number of lanes: what a
//! program makes of threads bounds no memory here.

use std::collections::HashMap;

use crate::trace::{ImageId, Op, StackId};

/// Lanes that threads share.
const LANES: usize = 64;
/// So many of a lane's last allocations are named by how long ago they were.
pub(super) const RECENT: usize = 128;
/// Addresses that a lane keeps in a class.
const DEPTH: usize = 16;
/// Size classes: 16 bytes each up to 1 KiB, then eight to each doubling up to 64 MiB.
const CLASSES: usize = 66 + 16 * 8;
/// No thread, no kind.
pub(super) const NONE: u32 = u32::MAX;

/// Codes of the column that says where an obtained block lies.
pub(super) mod place {
    /// Nowhere: the call failed.
    pub const NULL: u64 = 0;
    /// Where the old block was.
    pub const SAME: u64 = 1;
    /// So many times 16 bytes behind where the lane expects a new one.
    pub const ALIGNED: u64 = 2;
    /// So many bytes behind it.
    pub const ANYWHERE: u64 = 3;
    /// Where a block lies that is still live, for want of its release.
    pub const TAKEN: u64 = 4;
    /// Where the block lay that was given back last in its class, then the one before, and so on.
    pub const FREED: u64 = 5;
}

/// Codes of the column that says which block a call was given; numbers follow.
pub(super) mod given {
    /// None.
    pub const NULL: u64 = 0;
    /// One that is not known: its address is among the rare numbers.
    pub const UNKNOWN: u64 = 1;
    /// The last one that the lane obtained, then the one before, and so on.
    pub const RECENT: u64 = 2;
    /// Number 0, then number 1, and so on.
    pub const NUMBER: u64 = RECENT + super::RECENT as u64;
}

/// A thread, numbered by its first event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    pub image: ImageId,
    /// Place of the image's blocks.
    pub blocks: u32,
    pub tid: u32,
    /// How many allocations it has made (modulo 2^32).
    pub serial: u32,
    /// The kind of its last event.
    pub kind: u32,
}

/// An op with a stack, numbered by its first event.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventKind {
    pub op: Op,
    pub stack: StackId,
    /// The kind that came after it.
    pub next: u32,
    /// Of its last event.
    pub size: u64,
    pub count: u64,
    pub alignment: u64,
}

impl EventKind {
    pub(super) fn new(op: Op, stack: StackId) -> Self {
        Self {
            op,
            stack,
            next: NONE,
            size: 0,
            count: 1,
            alignment: 0,
        }
    }
}

/// Whether the op's events have a count of elements.
pub(super) const fn has_count(op: Op) -> bool {
    matches!(op, Op::Calloc | Op::Reallocarray)
}

/// Whether the op's events have an alignment, or flags in its place.
pub(super) const fn has_alignment(op: Op) -> bool {
    op.operands() == 1 && !matches!(op, Op::Calloc)
}

/// Whether the op is one of an event.
pub(super) const fn is_event(op: Op) -> bool {
    !matches!(op, Op::Pad | Op::Control)
}

/// Dense numbers that are given again, the last one first.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    vacant: Vec<u32>,
    count: u32,
}

impl Numbers {
    /// The one that will be taken next.
    #[inline(always)]
    pub(super) fn next(&self) -> u32 {
        self.vacant.last().copied().unwrap_or(self.count)
    }

    #[inline]
    pub(super) fn take(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    #[inline]
    pub(super) fn give(&mut self, number: u32) {
        self.vacant.push(number);
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// How many blocks it obtained.
    obtained: u32,
    /// Numbers of the last ones.
    recent: [u32; RECENT],
    freed: Vec<Freed>,
    /// Where a new block is expected.
    pub next: u64,
}

/// The addresses that were given back last, in one class: a ring.
#[derive(Clone, Copy, Debug, Default)]
struct Freed {
    addresses: [u64; DEPTH],
    /// How many were put in (modulo 2^32).
    end: u32,
    length: u32,
}

impl Freed {
    /// The address that was put in `depth` addresses before the last one.
    #[inline(always)]
    fn at(&self, depth: u32) -> u64 {
        let place = self.end.wrapping_sub(1).wrapping_sub(depth);
        self.addresses[place as usize % DEPTH]
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            obtained: 0,
            recent: [0; RECENT],
            freed: Vec::new(),
            next: 0,
        }
    }

    /// When the next block will be obtained, as [`Lane::age`] takes it.
    #[inline(always)]
    pub(super) fn next_time(&self) -> u32 {
        self.obtained
    }

    /// A block was obtained. Returns when, as [`Lane::age`] takes it.
    #[inline(always)]
    pub(super) fn obtain(&mut self, number: u32) -> u32 {
        let when = self.obtained;
        self.recent[when as usize % RECENT] = number;
        self.obtained = when.wrapping_add(1);
        when
    }

    /// How many blocks were obtained since the one with this number was, if they are few.
    #[inline(always)]
    pub(super) fn age(&self, number: u32, when: u32) -> Option<usize> {
        let age = self.obtained.wrapping_sub(1).wrapping_sub(when) as usize;
        (age < RECENT && self.recent[when as usize % RECENT] == number).then_some(age)
    }

    /// The number of the block that was obtained so many blocks ago.
    #[inline(always)]
    pub(super) fn aged(&self, age: usize) -> u32 {
        let when = self.obtained.wrapping_sub(1).wrapping_sub(age as u32);
        self.recent[when as usize % RECENT]
    }

    /// How deep among the addresses of its class this one lies, if it is there.
    #[inline(always)]
    pub(super) fn depth_of(&self, class: u8, address: u64) -> Option<u32> {
        let freed = self.freed.get(usize::from(class))?;
        (0..freed.length).find(|&depth| freed.at(depth) == address)
    }

    /// Takes out the address that lies so deep, and forgets those above it.
    #[inline(always)]
    pub(super) fn reuse(&mut self, class: u8, depth: u32) -> Option<u64> {
        let freed = self.freed.get_mut(usize::from(class))?;
        if depth >= freed.length {
            return None;
        }
        let address = freed.at(depth);
        freed.end = freed.end.wrapping_sub(depth + 1);
        freed.length -= depth + 1;
        Some(address)
    }

    /// A block was given back.
    #[inline(always)]
    pub(super) fn give_back(&mut self, class: u8, address: u64) {
        if self.freed.is_empty() {
            self.freed = vec![Freed::default(); CLASSES];
        }
        if let Some(freed) = self.freed.get_mut(usize::from(class)) {
            freed.addresses[freed.end as usize % DEPTH] = address;
            freed.end = freed.end.wrapping_add(1);
            freed.length = (freed.length + 1).min(DEPTH as u32);
        }
    }

    /// A block got another address than was expected of it: the next one is expected behind it.
    #[inline(always)]
    pub(super) fn place(&mut self, address: u64, bytes: u64) {
        self.next = address.wrapping_add(room_of(bytes));
    }
}

/// What a block takes with the allocator's own word, as glibc has it.
#[inline(always)]
fn room_of(bytes: u64) -> u64 {
    (bytes.saturating_add(8 + 15) & !15).max(32)
}

/// The class of blocks of so many requested bytes.
#[inline(always)]
pub(super) fn class_of(bytes: u64) -> u8 {
    let sixteens = room_of(bytes) / 16;
    if sixteens < 66 {
        return sixteens as u8;
    }
    // At least 6, as 66 is more than 64.
    let log = sixteens.ilog2();
    let eighth = sixteens >> (log - 3) & 7;
    let class = 66 + u64::from(log - 6) * 8 + eighth;
    class.min(CLASSES as u64 - 1) as u8
}

/// An image that has had an event.
#[derive(Clone, Debug)]
struct Image {
    place: u32,
    threads: Vec<u32>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub threads: Vec<Option<Thread>>,
    thread_numbers: Numbers,
    pub kinds: Vec<EventKind>,
    lanes: Vec<Lane>,
    images: HashMap<ImageId, Image>,
    places: Numbers,
    /// The thread of the last event.
    pub thread: u32,
    /// The time of the last event.
    pub last_ns: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            threads: Vec::new(),
            thread_numbers: Numbers::default(),
            kinds: Vec::new(),
            lanes: vec![Lane::new(); LANES],
            images: HashMap::new(),
            places: Numbers::default(),
            thread: NONE,
            last_ns: 0,
        }
    }

    /// The thread with this number.
    #[inline(always)]
    pub(super) fn thread(&self, number: u32) -> Option<&Thread> {
        self.threads.get(number as usize)?.as_ref()
    }

    #[inline(always)]
    pub(super) fn thread_mut(&mut self, number: u32) -> Option<&mut Thread> {
        self.threads.get_mut(number as usize)?.as_mut()
    }

    /// The lane of a thread.
    #[inline(always)]
    pub(super) fn lane(&mut self, thread: u32) -> &mut Lane {
        // There are so many.
        &mut self.lanes[thread as usize % LANES]
    }

    /// The lane of a thread, by number.
    #[inline(always)]
    pub(super) fn lane_number(thread: u32) -> u8 {
        (thread as usize % LANES) as u8
    }

    /// The number that the next new thread gets.
    pub(super) fn next_thread(&self) -> u32 {
        self.thread_numbers.next()
    }

    /// A thread has its first event. Returns its number.
    pub(super) fn add_thread(&mut self, image: ImageId, tid: u32) -> u32 {
        let number = self.thread_numbers.take();
        let places = &mut self.places;
        let its = self.images.entry(image).or_insert_with(|| Image {
            place: places.take(),
            threads: Vec::new(),
        });
        its.threads.push(number);
        if self.threads.len() <= number as usize {
            self.threads.push(None);
        }
        self.threads[number as usize] = Some(Thread {
            image,
            blocks: its.place,
            tid,
            serial: 0,
            kind: NONE,
        });
        number
    }

    /// An image ended: its threads' numbers and its place are free. Returns the place, if it had
    /// one.
    pub(super) fn end(&mut self, image: ImageId) -> Option<u32> {
        let its = self.images.remove(&image)?;
        self.places.give(its.place);
        for number in its.threads {
            self.threads[number as usize] = None;
            self.thread_numbers.give(number);
        }
        if self.thread(self.thread).is_none() {
            self.thread = NONE;
        }
        Some(its.place)
    }

    /// The kind that a thread's next event is expected to be of.
    #[inline(always)]
    pub(super) fn expected_kind(&self, thread: u32) -> u32 {
        let last = self.thread(thread).map_or(NONE, |thread| thread.kind);
        self.kinds.get(last as usize).map_or(NONE, |kind| kind.next)
    }

    /// A thread's event was of this kind.
    #[inline(always)]
    pub(super) fn set_kind(&mut self, thread: u32, kind: u32) {
        let Some(thread) = self.thread_mut(thread) else {
            return;
        };
        let last = std::mem::replace(&mut thread.kind, kind);
        if let Some(last) = self.kinds.get_mut(last as usize) {
            last.next = kind;
        }
    }
}
