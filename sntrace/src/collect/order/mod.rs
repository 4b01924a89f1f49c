//! Puts events in order: by time, and never against cause and effect.
//!
//! Every source (a lane; all of an image that comes through the pipe) delivers its own events in order.
//! They are merged by time up to a *watermark*: the collector guarantees that no source will
//! deliver anything earlier. What is later waits in its source's queue.
//!
//! Time alone is right only up to a few hundred nanoseconds, by which a processor may read its
//! counter early. So the merge is checked against the one thing that must hold: an address has one
//! owner at a time (`apply`). An allocation of an address that still has an owner is *blocked*
//! until that owner's release is emitted, a release of an address without an owner until the
//! allocation is. A blocked event holds up its own source and nothing else: the others go on by
//! time, until one of them emits what was missing. If nobody does within [`SKEW_NS`], nobody will:
//! then the missing event was never seen (a block from before the hook was there), and the
//! blocked one is emitted as it is.
//!
//! A `realloc` that moves a block is recorded at its end, when it owns the new block for certain;
//! but another thread may have obtained the old one before that. So it counts by the time of its
//! call as soon as somebody is blocked on its old block. One that resizes a block in place owns it
//! all along and counts by the time of its call.
//!
//! Nor may an owner be mistaken for a later one: a thread that gets an address from another may
//! have read its clock a little before it had it. So a release is blocked as long as the thread
//! that held the address last still has something to do with it that waits (within `CLOSE_NS`),
//! and while an allocation is blocked, releases that are later by more than that are its
//! successors' and have to wait for it.
//!
//! Pure: no system calls, no shared memory. All the numbers come in as arguments.

mod apply;

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::live::LiveBlocks;
use super::ticks::Timeline;
use crate::trace::{Batch, Exit, ImageId, Item, Module};
use apply::{Missing, Touched};

/// A processor reads its counter at most this much too early: the time its reorder buffer can
/// hold back older instructions, with much to spare.
pub const SKEW_NS: u64 = 10_000;
/// By how much two processors' clocks, as read, disagree about cause and effect as a rule: the time
/// in which a cache line moves between them (one that waits for the line has read its counter
/// already). Far less than the skew above, which has to cover what nobody has measured. Not more
/// than that either: in twice the time an address can go to another thread and come back.
const CLOSE_NS: u64 = 120;
/// How long a chain of moves, each of which waits for the next, can be; one a thread.
const FETCHED_MAX: u32 = 200;
/// How far behind a blocked message the move it waits for is looked for.
const BEHIND_MAX: usize = 10_000;
/// How long an event that came through the pipe waits for its cause: the thread that does the
/// causing may be paused between the call and its message, and no lane tells that it is.
const PIPE_PATIENCE_NS: u64 = 2_000_000_000;

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
    /// The image ended. Everything else of it is emitted before.
    Ended(Exit),
}

#[derive(Clone, Debug)]
struct Waiting {
    time: u64,
    image: ImageId,
    delivery: Delivery,
}

#[derive(Debug, Default)]
struct Source {
    waiting: VecDeque<Waiting>,
    last_time: u64,
    /// What the head waits for.
    blocked: Option<Want>,
    /// Moves fetched to the front since the last emission: a chain of causes ends.
    fetched: u32,
    /// The thread of an image whose messages come through the pipe, while any wait.
    pipe_thread: Option<(ImageId, u32)>,
}

/// What a blocked event waits for.
#[derive(Clone, Copy, Debug)]
struct Want {
    image: ImageId,
    missing: Missing,
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
    /// Sources with something waiting, in no order.
    active: Vec<usize>,
    /// Sources whose head is blocked.
    blocked: usize,
    /// Sources of threads that write into the pipe, while anything of theirs waits.
    pipe_sources: HashMap<(ImageId, u32), usize>,
    /// Sources that pipe threads have had and left.
    spare: Vec<usize>,
    images: HashMap<ImageId, LiveBlocks>,
    threads: HashMap<(ImageId, u32), u32>,
    /// Allocations made, by dense thread number.
    serials: Vec<u32>,
    /// The source that delivers a thread's events, by dense thread number.
    source_of: Vec<usize>,
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

/// In ticks, how long who waits.
#[derive(Clone, Copy)]
struct Patience {
    lanes: u64,
    pipe: u64,
}

impl Orderer {
    /// Without sources.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sources: Vec::new(),
            active: Vec::new(),
            blocked: 0,
            pipe_sources: HashMap::new(),
            spare: Vec::new(),
            images: HashMap::new(),
            threads: HashMap::new(),
            serials: Vec::new(),
            source_of: Vec::new(),
            buffered: 0,
            last_ns: 0,
            statistics: OrderStatistics::default(),
            current: (ImageId(0), LiveBlocks::default()),
        }
    }

    /// A new source, a lane.
    pub fn add_source(&mut self) -> SourceId {
        self.sources.push(Source::default());
        SourceId(self.sources.len() - 1)
    }

    /// The dense number of a thread of an image.
    pub fn thread(&mut self, image: ImageId, tid: u32) -> u32 {
        *self.threads.entry((image, tid)).or_insert_with(|| {
            self.serials.push(0);
            self.source_of.push(usize::MAX);
            (self.serials.len() - 1) as u32
        })
    }

    /// Takes a delivery in. A source's times must not go back; where they do (a processor that
    /// read its counter early), the delivery gets its predecessor's time.
    pub fn deliver(&mut self, source: SourceId, image: ImageId, time: u64, delivery: Delivery) {
        let SourceId(at) = source;
        let source = &mut self.sources[at];
        let time = match &delivery {
            Delivery::Event(raw) => certain_time(&raw.event, time),
            _ => time,
        };
        let time = time.max(source.last_time);
        source.last_time = time;
        if source.waiting.is_empty() {
            self.active.push(at);
        }
        if let Delivery::Event(raw) = &delivery
            && let Some(source_of) = self.source_of.get_mut(raw.thread as usize)
        {
            *source_of = at;
        }
        if source.pipe_thread.is_some()
            && let Some(want) = source.blocked
            && moves_away(&delivery, want.missing.address(), u64::MAX)
        {
            source.blocked = None;
            self.blocked -= 1;
        }
        source.waiting.push_back(Waiting {
            time,
            image,
            delivery,
        });
        self.buffered += 1;
    }

    /// Takes in what thread `tid` of `image` wrote into the pipe.
    pub fn deliver_from_pipe(&mut self, image: ImageId, tid: u32, time: u64, delivery: Delivery) {
        // One source an image: its messages come in the order of cause and effect over all threads,
        // but for the moves that are recorded late.
        let _ = tid;
        let key = (image, 0);
        let at = match self.pipe_sources.get(&key) {
            Some(&at) => at,
            None => {
                let at = self.spare.pop().unwrap_or_else(|| self.add_source().0);
                self.sources[at].last_time = 0;
                self.sources[at].pipe_thread = Some(key);
                self.pipe_sources.insert(key, at);
                at
            }
        };
        self.deliver(SourceId(at), image, time, delivery);
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

    /// Whether nothing waits anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffered == 0
    }

    /// What went on besides the events.
    #[must_use]
    pub fn statistics(&self) -> OrderStatistics {
        self.statistics
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
        source.last_time = source
            .last_time
            .max(certain_time(&raw.event, raw.event.time));
        let time = source.last_time;
        let _ = self.apply(image, time, raw, None, timeline, out);
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
        let patience = Patience {
            lanes: timeline.ticks_in(SKEW_NS),
            pipe: timeline.ticks_in(PIPE_PATIENCE_NS),
        };
        let certain = if finally {
            u64::MAX
        } else {
            watermark.saturating_sub(patience.lanes)
        };
        while out.items.len() < limit {
            let Some((first, time, until)) = self.next_run(patience) else {
                return false;
            };
            if time > certain {
                return false;
            }
            self.run(first, until.min(certain), limit, timeline, out);
        }
        true
    }

    /// Emits a source's deliveries up to a time, as long as nothing is blocked.
    fn run(&mut self, at: usize, until: u64, limit: usize, timeline: &Timeline, out: &mut Batch) {
        loop {
            let contended = self.blocked > 0;
            // What it was blocked on it has waited for long enough.
            let strict = self.sources[at].blocked.is_none();
            match self.step(at, strict, timeline, out) {
                Step::Blocked => return,
                // Somebody else's turn may have come.
                Step::Emitted if contended => return,
                Step::Emitted => {}
            }
            match self.sources[at].waiting.front() {
                Some(head) if head.time <= until && out.items.len() < limit => {}
                _ => return,
            }
        }
    }

    /// Emits one source's head, or (if `strict`) finds what it has to wait for.
    fn step(&mut self, at: usize, strict: bool, timeline: &Timeline, out: &mut Batch) -> Step {
        let source = &mut self.sources[at];
        if source.blocked.take().is_some() {
            self.blocked -= 1;
        }
        let Some(waiting) = source.waiting.pop_front() else {
            return Step::Emitted;
        };
        let Waiting { image, time, .. } = waiting;
        let close = strict.then(|| timeline.ticks_in(CLOSE_NS));
        match waiting.delivery {
            Delivery::Event(raw) => match self.apply(image, time, &raw, close, timeline, out) {
                Ok(touched) => {
                    if self.blocked > 0 {
                        self.unblock(image, touched);
                    }
                }
                Err(missing) => {
                    let source = &mut self.sources[at];
                    source.blocked = Some(Want { image, missing });
                    source.waiting.push_front(Waiting {
                        delivery: Delivery::Event(raw),
                        ..waiting
                    });
                    self.blocked += 1;
                    if source.pipe_thread.is_some() && source.fetched < FETCHED_MAX {
                        // The move that it waits for may have come right behind it.
                        let address = missing.address();
                        let behind = source.waiting.iter().skip(1);
                        let place = behind
                            .take(BEHIND_MAX)
                            .position(|held| moves_away(&held.delivery, address, time));
                        if let Some(mover) = place.and_then(|at| source.waiting.remove(at + 1)) {
                            source.waiting.push_front(Waiting { time, ..mover });
                            source.fetched += 1;
                            source.blocked = None;
                            self.blocked -= 1;
                        }
                    }
                    return Step::Blocked;
                }
            },
            Delivery::Ended(_) if self.others_wait(image) => {
                self.sources[at].waiting.push_front(waiting);
                self.drain(image, at, timeline, out);
                return Step::Emitted;
            }
            other => self.emit_other(image, time, other, timeline, out),
        }
        self.buffered -= 1;
        self.sources[at].fetched = 0;
        self.leave_if_empty(at);
        Step::Emitted
    }

    /// Keeps the list of active sources, and gives a pipe thread's source to the next one.
    fn leave_if_empty(&mut self, at: usize) {
        let source = &mut self.sources[at];
        if !source.waiting.is_empty() {
            return;
        }
        if let Some(key) = source.pipe_thread.take() {
            self.pipe_sources.remove(&key);
            self.spare.push(at);
        }
        if let Some(place) = self.active.iter().position(|&other| other == at) {
            self.active.swap_remove(place);
        }
    }

    /// Owners have changed: whoever was blocked on that may try again.
    fn unblock(&mut self, image: ImageId, touched: Touched) {
        for &at in &self.active {
            let source = &mut self.sources[at];
            if let Some(want) = source.blocked
                && want.image == image
                && touched.contains(&want.missing.address())
            {
                source.blocked = None;
                self.blocked -= 1;
                self.statistics.reordered += 1;
            }
        }
    }

    /// Whether a source other than the one that ends it has something of this image first.
    fn others_wait(&self, image: ImageId) -> bool {
        self.earliest_of(image, usize::MAX).is_some()
    }

    /// The source with the earliest head of an image, except the one that says it ended.
    fn earliest_of(&self, image: ImageId, except: usize) -> Option<usize> {
        let heads = self.active.iter().filter(|&&at| at != except);
        let heads = heads.filter_map(|&at| {
            let head = self.sources[at].waiting.front()?;
            (head.image == image && !matches!(head.delivery, Delivery::Ended(_)))
                .then_some((head.time, at))
        });
        heads.min().map(|(_, at)| at)
    }

    /// The image is over: what is still blocked will not get its cause any more.
    fn drain(&mut self, image: ImageId, except: usize, timeline: &Timeline, out: &mut Batch) {
        while let Some(at) = self.earliest_of(image, except) {
            self.step(at, false, timeline, out);
        }
    }

    /// The source whose turn it is, its time, and the time up to which it stays that.
    fn next_run(&self, patience: Patience) -> Option<(usize, u64, u64)> {
        let (mut first, mut second) = (None, u64::MAX);
        for &at in &self.active {
            let time = self.turn(&self.sources[at], patience);
            match first {
                Some((_, earliest)) if time >= earliest => second = second.min(time),
                Some((_, earliest)) => {
                    second = earliest;
                    first = Some((at, time));
                }
                None => first = Some((at, time)),
            }
        }
        first.map(|(at, time)| (at, time, second))
    }

    /// When a source's head has its turn.
    #[inline]
    fn turn(&self, source: &Source, patience: Patience) -> u64 {
        let Some(head) = source.waiting.front() else {
            return u64::MAX;
        };
        if self.blocked == 0 {
            return head.time;
        }
        if let Some(want) = &source.blocked {
            let patience = match (want.missing, source.pipe_thread) {
                // What gives a block back may be published after the fact.
                (Missing::Release(_) | Missing::Turn(_), Some(_)) => patience.pipe,
                (Missing::Release(_) | Missing::Turn(_), None) => patience.lanes,
                // What hands one on is published before it does: it is here, though perhaps
                // behind another's blocked event.
                (Missing::Owner(_), Some(_)) if self.somebody_needs_release() => patience.pipe,
                (Missing::Owner(_), _) => patience.lanes.saturating_mul(2),
            };
            return head.time.saturating_add(patience);
        }
        match &head.delivery {
            Delivery::Event(raw)
                if raw.event.op.replaces() && self.is_wanted(head.image, raw.event.operands[0]) =>
            {
                call_time(&raw.event, head.time)
            }
            _ => head.time,
        }
    }

    fn somebody_needs_release(&self) -> bool {
        let mut wants = self
            .active
            .iter()
            .filter_map(|&at| self.sources[at].blocked);
        wants.any(|want| !matches!(want.missing, Missing::Owner(_)))
    }

    /// Whether a source waits for the release of this address.
    fn is_wanted(&self, image: ImageId, address: u64) -> bool {
        let mut wants = self
            .active
            .iter()
            .filter_map(|&at| self.sources[at].blocked);
        wants.any(|want| want.image == image && want.missing == Missing::Release(address))
    }

    /// Whether another thread obtained an address before `time`, which is held up behind something
    /// that is blocked, or blocked itself.
    fn somebody_obtains(&self, image: ImageId, thread: u32, address: u64, time: u64) -> bool {
        let blocked = self.active.iter().map(|&at| &self.sources[at]);
        blocked
            .filter(|source| source.blocked.is_some())
            .flat_map(|source| source.waiting.iter().take_while(|held| held.time < time))
            .filter(|held| held.image == image)
            .any(|held| match &held.delivery {
                Delivery::Event(raw) => {
                    raw.thread != thread
                        && apply::releases_or_holds(&raw.event, address) == Some(false)
                }
                _ => false,
            })
    }

    /// Whether a thread that has an address still does something with it up to a time.
    fn still_has(&self, image: ImageId, thread: u32, address: u64, until: u64) -> bool {
        let source = self.source_of.get(thread as usize).copied();
        let Some(source) = source.and_then(|at| self.sources.get(at)) else {
            return false;
        };
        let heads = source
            .waiting
            .iter()
            .filter(|waiting| waiting.image == image);
        heads
            .filter_map(|waiting| match &waiting.delivery {
                Delivery::Event(raw) if raw.thread == thread => Some((waiting.time, raw)),
                _ => None,
            })
            .take_while(|&(time, raw)| time.min(call_time(&raw.event, time)) <= until)
            .find_map(|(_, raw)| apply::releases_or_holds(&raw.event, address))
            .unwrap_or(false)
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
        let next = self.images.remove(&image).unwrap_or_default();
        let (old, blocks) = std::mem::replace(&mut self.current, (image, next));
        self.images.insert(old, blocks);
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

/// When the call was made, as far as the record tells.
#[inline]
fn call_time(event: &sntrace_format::record::Event, recorded: u64) -> u64 {
    if event.op.replaces() {
        event.operands[1].min(recorded)
    } else {
        recorded
    }
}

/// When the event took place: for a block that was resized in place, the time of the call.
#[inline]
fn certain_time(event: &sntrace_format::record::Event, recorded: u64) -> u64 {
    if event.op.replaces() && event.operands[0] == event.block {
        call_time(event, recorded)
    } else {
        recorded
    }
}

/// Whether a delivery is the move of a block away from this address, begun before a time.
fn moves_away(delivery: &Delivery, address: u64, before: u64) -> bool {
    matches!(delivery, Delivery::Event(raw) if raw.event.op.replaces()
        && raw.event.operands[0] == address
        && raw.event.operands[1] <= before
        && raw.event.block != address
        && raw.event.block != 0)
}

enum Step {
    Emitted,
    /// The head stays where it is.
    Blocked,
}

#[cfg(test)]
mod tests;
