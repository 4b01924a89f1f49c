//! Puts events in order: by time, and never against cause and effect.
//!
//! Every source (a lane, the pipe) delivers its own events in order. They are merged by time up to
//! a *watermark*: the collector guarantees that no source will deliver anything earlier. What is
//! later waits in its source's queue.
//!
//! Time alone is right only up to a few hundred nanoseconds, by which a processor may read its
//! counter early. So the merge is checked against the one thing that must hold: an address has one
//! owner at a time. Before an allocation is emitted for an address that still has an owner, the
//! release that must have come first is looked for among what waits, and emitted; before a release
//! of an address without an owner, the allocation. Within [`SKEW_NS`] the clock is not believed
//! against that. A `realloc` releases its old block at some moment between two times, so it is
//! found by the earlier one.
//!
//! Pure: no system calls, no shared memory. All the numbers come in as arguments.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::live::{Block, LiveBlocks};
use super::ticks::Timeline;
use crate::trace::{Batch, Event, Exit, ImageId, Item, Module, Op};

/// A processor reads its counter at most this much too early: the time its reorder buffer can
/// hold back older instructions, with much to spare.
pub const SKEW_NS: u64 = 10_000;
/// Causes are followed this far: an allocation that needs a release that needs an allocation...
const CHAIN_MAX: u32 = 200;

/// An event as it came out of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// The record.
    pub event: sntrace_format::record::Event,
    /// Return addresses beyond the caller.
    pub frames: SmallVec<[u64; 2]>,
    /// Whether the stack goes on.
    pub truncated: bool,
    /// Thread id in its process's numbering.
    pub tid: u32,
    /// Dense number of the thread, by [`Orderer::thread`].
    pub thread: u32,
}

/// What a source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(RawEvent),
    /// An image begins.
    Process {
        /// Process id.
        pid: u32,
        /// Parent's process id.
        ppid: u32,
        /// The image it was forked from.
        forked_from: Option<ImageId>,
        /// Path of the program.
        executable: Vec<u8>,
        /// Arguments.
        command: Vec<Vec<u8>>,
    },
    /// A module is mapped.
    ModuleAdd(Box<Module>),
    /// A module is gone.
    ModuleRemove(u64),
    /// The loader was called.
    LoaderCalled(u32),
    /// The image ended.
    Ended(Exit),
}

#[derive(Clone, Debug)]
struct Waiting {
    /// Number of the delivery in its source.
    number: u64,
    time: u64,
    image: ImageId,
    delivery: Delivery,
}

#[derive(Debug, Default)]
struct Source {
    waiting: VecDeque<Waiting>,
    last_time: u64,
    delivered: u64,
    /// Whether deliveries come in the order of cause and effect over all threads (the pipe).
    causal: bool,
}

/// Index of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(usize);

/// What went on besides the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderStatistics {
    /// Allocations of an address whose release was never seen.
    pub unseen_releases: u64,
    /// Events emitted out of the clock's order for the sake of cause and effect.
    pub reordered: u64,
}

/// Merges sources. See the module.
#[derive(Debug)]
pub struct Orderer {
    sources: Vec<Source>,
    images: HashMap<ImageId, LiveBlocks>,
    threads: HashMap<(ImageId, u32), u32>,
    /// Allocations made, by dense thread number.
    serials: Vec<u32>,
    buffered: usize,
    last_ns: u64,
    statistics: OrderStatistics,
    /// The image whose live blocks are in `current`: nearly all events come in runs.
    current: (ImageId, LiveBlocks),
}

impl Default for Orderer {
    fn default() -> Self {
        Self::new()
    }
}

enum Emitted {
    Yes,
    /// The cause has not arrived yet.
    MustWait(Box<Waiting>),
}

impl Orderer {
    /// Without sources.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sources: Vec::new(),
            images: HashMap::new(),
            threads: HashMap::new(),
            serials: Vec::new(),
            buffered: 0,
            last_ns: 0,
            statistics: OrderStatistics::default(),
            current: (ImageId(0), LiveBlocks::default()),
        }
    }

    /// A new source. `causal`: its deliveries come in the order of cause and effect.
    pub fn add_source(&mut self, causal: bool) -> SourceId {
        self.sources.push(Source {
            causal,
            ..Source::default()
        });
        SourceId(self.sources.len() - 1)
    }

    /// The dense number of a thread of an image.
    pub fn thread(&mut self, image: ImageId, tid: u32) -> u32 {
        *self.threads.entry((image, tid)).or_insert_with(|| {
            self.serials.push(0);
            (self.serials.len() - 1) as u32
        })
    }

    /// Takes a delivery in. A source's times must not go back; where they do (a processor that
    /// read its counter early), the delivery gets its predecessor's time.
    pub fn deliver(&mut self, source: SourceId, image: ImageId, time: u64, delivery: Delivery) {
        let source = &mut self.sources[source.0];
        source.last_time = source.last_time.max(time);
        source.delivered += 1;
        source.waiting.push_back(Waiting {
            number: source.delivered,
            time: source.last_time,
            image,
            delivery,
        });
        self.buffered += 1;
    }

    /// The time of a source's last delivery: it delivers nothing earlier.
    #[must_use]
    pub fn last_time(&self, source: SourceId) -> u64 {
        self.sources[source.0].last_time
    }

    /// How many deliveries wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// What went on besides the events.
    #[must_use]
    pub fn statistics(&self) -> OrderStatistics {
        self.statistics
    }

    /// Emits what is certain: everything up to `watermark`, less the skew. `finally`: no source
    /// will deliver anything any more, so everything. At most `limit` items are added to `out`;
    /// true if there may be more to emit.
    pub fn advance(
        &mut self,
        watermark: u64,
        finally: bool,
        limit: usize,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let skew = timeline.ticks_in(SKEW_NS);
        let certain = if finally {
            u64::MAX
        } else {
            watermark.saturating_sub(skew)
        };
        while out.items.len() < limit {
            let Some((first, until)) = self.next_run() else {
                return false;
            };
            let until = until.min(certain);
            loop {
                let source = &mut self.sources[first];
                let Some(head) = source.waiting.front() else {
                    break;
                };
                if head.time > until {
                    if until == certain {
                        return false;
                    }
                    break;
                }
                let causal = source.causal;
                let Some(waiting) = source.waiting.pop_front() else {
                    break;
                };
                self.buffered -= 1;
                match self.emit(waiting, skew, causal && !finally, 0, timeline, out) {
                    Emitted::Yes => {}
                    Emitted::MustWait(waiting) => {
                        self.sources[first].waiting.push_front(*waiting);
                        self.buffered += 1;
                        return false;
                    }
                }
                if out.items.len() >= limit {
                    return true;
                }
            }
        }
        true
    }

    /// The source with the earliest delivery, and the time up to which it stays that.
    fn next_run(&self) -> Option<(usize, u64)> {
        let (mut first, mut second) = (None, u64::MAX);
        for (at, source) in self.sources.iter().enumerate() {
            let Some(head) = source.waiting.front() else {
                continue;
            };
            match first {
                Some((_, time)) if head.time >= time => second = second.min(head.time),
                Some((_, time)) => {
                    second = time;
                    first = Some((at, head.time));
                }
                None => first = Some((at, head.time)),
            }
        }
        first.map(|(at, _)| (at, second))
    }

    #[inline]
    fn live(&mut self, image: ImageId) -> &mut LiveBlocks {
        if self.current.0 != image {
            self.change_image(image);
        }
        &mut self.current.1
    }

    #[cold]
    fn change_image(&mut self, image: ImageId) {
        {
            let next = self.images.remove(&image).unwrap_or_default();
            let (old, blocks) = std::mem::replace(&mut self.current, (image, next));
            self.images.insert(old, blocks);
        }
    }

    fn emit(
        &mut self,
        waiting: Waiting,
        skew: u64,
        may_wait: bool,
        chain: u32,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> Emitted {
        let Waiting { image, time, .. } = waiting;
        match waiting.delivery {
            Delivery::Event(raw) => {
                match self.apply(image, time, &raw, skew, may_wait, chain, timeline, out) {
                    true => Emitted::Yes,
                    false => Emitted::MustWait(Box::new(Waiting {
                        delivery: Delivery::Event(raw),
                        ..waiting
                    })),
                }
            }
            other => {
                self.emit_other(image, time, other, timeline, out);
                Emitted::Yes
            }
        }
    }

    /// Emits an event of a source that has nothing waiting, in a run in which no other source
    /// can have anything earlier. The short way for programs with one thread.
    #[inline]
    pub fn pass(
        &mut self,
        source: SourceId,
        image: ImageId,
        raw: &RawEvent,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        let source = &mut self.sources[source.0];
        source.last_time = source.last_time.max(raw.event.time);
        let time = source.last_time;
        let _ = self.apply(image, time, raw, 0, false, 0, timeline, out);
    }

    /// Whether nothing waits anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffered == 0
    }

    /// Where the earliest waiting event of other threads is that `wanted` accepts: source and
    /// number. What the thread itself did later is never a cause of what it did before.
    fn find(
        &self,
        image: ImageId,
        thread: u32,
        wanted: impl Fn(&Waiting, bool) -> Look,
    ) -> Option<(usize, u64)> {
        let mut found: Option<(u64, usize, u64)> = None;
        for (at, source) in self.sources.iter().enumerate() {
            for waiting in source
                .waiting
                .iter()
                .filter(|waiting| waiting.image == image)
            {
                if matches!(&waiting.delivery, Delivery::Event(raw) if raw.thread == thread) {
                    continue;
                }
                match wanted(waiting, source.causal) {
                    // A source's first is its earliest.
                    Look::Here(owned) => {
                        if found.is_none_or(|(earliest, _, _)| owned < earliest) {
                            found = Some((owned, at, waiting.number));
                        }
                        break;
                    }
                    Look::Further => {}
                    Look::NoFurther => break,
                }
            }
        }
        found.map(|(_, at, number)| (at, number))
    }

    /// Emits a waiting event out of the clock's order. What its thread did before comes along: a
    /// thread's own order is never in doubt. So does what its lane said about modules; what the
    /// pipe said about them may concern the events of others that still wait.
    fn emit_through(
        &mut self,
        (at, number): (usize, u64),
        skew: u64,
        chain: u32,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        self.statistics.reordered += 1;
        let source = &self.sources[at];
        let cause = source
            .waiting
            .iter()
            .find(|waiting| waiting.number == number);
        let Some(Waiting {
            image,
            delivery: Delivery::Event(RawEvent { thread, .. }),
            ..
        }) = cause
        else {
            return;
        };
        let (image, thread, causal) = (*image, *thread, source.causal);
        loop {
            let next = self.sources[at].waiting.iter().position(|waiting| {
                waiting.image == image
                    && match &waiting.delivery {
                        Delivery::Event(raw) => raw.thread == thread,
                        _ => !causal,
                    }
            });
            let waiting = &mut self.sources[at].waiting;
            let Some(next) = next.filter(|&next| waiting[next].number <= number) else {
                return;
            };
            let Some(waiting) = waiting.remove(next) else {
                return;
            };
            self.buffered -= 1;
            let _ = self.emit(waiting, skew, false, chain + 1, timeline, out);
        }
    }

    /// Updates the live blocks and hands the event on. False: its cause has yet to arrive, and
    /// nothing was done.
    #[inline]
    #[allow(clippy::too_many_arguments)] // What `advance` holds constant.
    fn apply(
        &mut self,
        image: ImageId,
        time: u64,
        raw: &RawEvent,
        skew: u64,
        may_wait: bool,
        chain: u32,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let event = &raw.event;
        let op = event.op;
        let (mut count, mut alignment, mut old_block) = (1, 0, 0);
        match op {
            Op::Malloc | Op::Free => {}
            Op::Calloc => count = event.operands[0],
            Op::Realloc | Op::Mremap => old_block = event.operands[0],
            Op::Reallocarray => (old_block, count) = (event.operands[0], event.operands[2]),
            _ if op.operands() == 1 => alignment = event.operands[0],
            _ => {}
        }
        let (mut released, mut temporary) = (None, false);
        if !op.is_mapping() {
            let serial = self.serials.get(raw.thread as usize).copied().unwrap_or(0);
            let obtained = if op.acquires() { event.block } else { 0 };
            if obtained != 0 && obtained != old_block {
                let block = Block {
                    bytes: count.saturating_mul(event.size),
                    thread: raw.thread,
                    serial: serial.wrapping_add(1),
                };
                if !self.live(image).begin(obtained, block)
                    && !self.begin_reused(
                        image, time, obtained, block, skew, may_wait, chain, timeline, out,
                    )
                {
                    return false;
                }
            }
            // glibc's realloc(block, 0) frees and returns null; any other null left it alone.
            let freed_by_zero = op == Op::Realloc && event.block == 0 && event.size == 0;
            let given_back = match op.only_releases() {
                true => event.block,
                false if event.block != 0 || freed_by_zero => old_block,
                false => 0,
            };
            if given_back != 0 {
                let mut ended = self.live(image).end(given_back);
                if ended.is_none() && chain < CHAIN_MAX {
                    let limit = time.saturating_add(skew);
                    if let Some(cause) = self.find(image, raw.thread, |other, _| {
                        gives(other, given_back, limit)
                    }) {
                        self.emit_through(cause, skew, chain, timeline, out);
                        ended = self.live(image).end(given_back);
                    }
                }
                released = ended.map(|block| block.bytes);
                temporary = op.only_releases()
                    && ended
                        .is_some_and(|block| block.thread == raw.thread && block.serial == serial);
            }
            if obtained != 0 {
                let serial = serial.wrapping_add(1);
                if let Some(place) = self.serials.get_mut(raw.thread as usize) {
                    *place = serial;
                }
                if obtained == old_block {
                    // Grown or shrunk in place.
                    let bytes = count.saturating_mul(event.size);
                    self.live(image).begin(
                        obtained,
                        Block {
                            bytes,
                            thread: raw.thread,
                            serial,
                        },
                    );
                }
            }
        }
        let start = out.frames.len() as u32;
        if !raw.frames.is_empty() {
            out.frames.extend_from_slice(&raw.frames);
        }
        let time_ns = self.time(time, timeline);
        out.items.push(Item::Event(Event {
            op,
            time_ns,
            image,
            tid: raw.tid,
            block: event.block,
            size: event.size,
            count,
            alignment,
            old_block,
            caller: event.caller,
            frames: (start, out.frames.len() as u32),
            truncated: raw.truncated,
            released,
            temporary,
        }));
        true
    }

    /// A block begins where one is still thought to live: whoever owns it must have released it
    /// by now. False: that has yet to arrive.
    #[cold]
    #[allow(clippy::too_many_arguments)] // As in `apply`.
    fn begin_reused(
        &mut self,
        image: ImageId,
        time: u64,
        address: u64,
        block: Block,
        skew: u64,
        may_wait: bool,
        chain: u32,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        match self.find(image, block.thread, |other, causal| {
            releases(other, address, time, skew, causal)
        }) {
            Some(cause) if chain < CHAIN_MAX => {
                self.emit_through(cause, skew, chain, timeline, out)
            }
            None if may_wait => return false,
            _ => {}
        }
        if !self.live(image).begin(address, block) {
            self.statistics.unseen_releases += 1;
            self.live(image).end(address);
            self.live(image).begin(address, block);
        }
        true
    }

    /// Nanoseconds, never going back.
    fn time(&mut self, ticks: u64, timeline: &Timeline) -> u64 {
        self.last_ns = self.last_ns.max(timeline.nanoseconds(ticks));
        self.last_ns
    }

    fn emit_other(
        &mut self,
        image: ImageId,
        time: u64,
        delivery: Delivery,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        let item = match delivery {
            Delivery::Process {
                pid,
                ppid,
                forked_from,
                executable,
                command,
            } => {
                let time_ns = self.time(time, timeline);
                Item::Process {
                    image,
                    time_ns,
                    pid,
                    ppid,
                    forked_from,
                    executable,
                    command,
                }
            }
            Delivery::ModuleAdd(module) => Item::ModuleAdd {
                image,
                module: *module,
            },
            Delivery::ModuleRemove(start) => Item::ModuleRemove { image, start },
            Delivery::LoaderCalled(epoch) => Item::LoaderCalled { image, epoch },
            Delivery::Ended(exit) => {
                let blocks = std::mem::take(self.live(image));
                self.threads.retain(|&(owner, _), _| owner != image);
                Item::Ended {
                    image,
                    exit,
                    live_blocks: blocks.count(),
                    live_bytes: blocks.bytes(),
                }
            }
            Delivery::Event(_) => return,
        };
        out.items.push(item);
    }
}

/// What a search finds in a waiting event.
enum Look {
    /// The event, whose thread owned the block at this time for certain.
    Here(u64),
    /// Another may be behind it.
    Further,
    /// Nothing behind it can be wanted.
    NoFurther,
}

/// Whether a waiting event gave `address` back before somebody obtained it at `time`, give or
/// take `skew`. Of several, the one that owned it first is the cause, so that is what is told: a
/// free's own time, a realloc's time before its call (its own is that of its end, so the search
/// goes on past the limit). In a causal source a plain release is never late, and a system call
/// stands between any two clocks, so that they are believed.
fn releases(waiting: &Waiting, address: u64, time: u64, skew: u64, causal: bool) -> Look {
    let Delivery::Event(raw) = &waiting.delivery else {
        return Look::Further;
    };
    let event = &raw.event;
    let limit = if causal {
        time
    } else {
        time.saturating_add(skew)
    };
    if event.op.only_releases() && !event.op.is_mapping() {
        let late = causal || event.block != address || waiting.time > limit;
        return if late {
            Look::Further
        } else {
            Look::Here(waiting.time)
        };
    }
    let replaced = event.op.replaces() && !event.op.is_mapping() && event.operands[0] == address;
    if replaced && event.block != address && event.block != 0 && event.operands[1] <= limit {
        return Look::Here(event.operands[1]);
    }
    Look::Further
}

/// Whether a waiting event obtains `address`, no later than `limit`.
fn gives(waiting: &Waiting, address: u64, limit: u64) -> Look {
    if waiting.time > limit {
        return Look::NoFurther;
    }
    let Delivery::Event(raw) = &waiting.delivery else {
        return Look::Further;
    };
    let op = raw.event.op;
    if op.acquires() && !op.is_mapping() && raw.event.block == address {
        return Look::Here(waiting.time);
    }
    Look::Further
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
