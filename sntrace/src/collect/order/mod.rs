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
mod cause;
mod delivery;

use std::collections::{HashMap, VecDeque};

use super::live::LiveBlocks;
use super::ticks::Timeline;
use crate::trace::{Batch, ImageId};
use apply::{Missing, Touched};
use cause::{certain_time, moves_away};
pub use delivery::{Delivery, RawEvent};

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
/// How long an event that came through the pipe waits for its cause: the thread that does the
/// causing may be paused between the call and its message, and no lane tells that it is.
const PIPE_PATIENCE_NS: u64 = 2_000_000_000;

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
    /// The image whose messages come through the pipe here, while any wait.
    from_pipe: Option<ImageId>,
}

impl Source {
    /// Whether the move that the blocked head waits for came behind it: then it is first now.
    fn fetch_mover(&mut self, missing: Missing, time: u64) -> bool {
        if self.fetched >= FETCHED_MAX {
            return false;
        }
        // All of them: the mover may be paused while a quick thread writes thousands.
        let mut behind = self.waiting.iter();
        let place = behind.position(|held| moves_away(&held.delivery, missing, time));
        let Some(mover) = place.and_then(|at| self.waiting.remove(at)) else {
            return false;
        };
        self.put_first(mover, time);
        true
    }

    /// A move that comes before the head, for which it happened.
    fn put_first(&mut self, mover: Waiting, time: u64) {
        self.waiting.push_front(Waiting { time, ..mover });
        self.fetched += 1;
        self.blocked = None;
    }

    /// The time of the head, if that waits for this move in the pipe.
    fn waits_in_pipe_for(&self, delivery: &Delivery) -> Option<u64> {
        self.from_pipe?;
        let (want, head) = (self.blocked?, self.waiting.front()?);
        let waits = self.fetched < FETCHED_MAX && moves_away(delivery, want.missing, head.time);
        waits.then_some(head.time)
    }
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
    /// Sources of images that write into the pipe, while anything of theirs waits.
    pipe_sources: HashMap<ImageId, usize>,
    /// Sources that such images have had and left.
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
        let awaited = source.waits_in_pipe_for(&delivery);
        let waiting = Waiting {
            time,
            image,
            delivery,
        };
        match awaited {
            Some(head_time) => {
                source.put_first(waiting, head_time);
                self.blocked -= 1;
            }
            None => source.waiting.push_back(waiting),
        }
        self.buffered += 1;
    }

    /// Takes in what `image` wrote into the pipe. One source an image: its messages come in the
    /// order of cause and effect over all threads, but for the moves that are recorded late.
    pub fn deliver_from_pipe(&mut self, image: ImageId, time: u64, delivery: Delivery) {
        let at = match self.pipe_sources.get(&image) {
            Some(&at) => at,
            None => {
                let at = self.spare.pop().unwrap_or_else(|| self.add_source().0);
                self.sources[at].last_time = 0;
                self.sources[at].from_pipe = Some(image);
                self.pipe_sources.insert(image, at);
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
                    if source.from_pipe.is_some() && source.fetch_mover(missing, time) {
                        self.blocked -= 1;
                    }
                    return Step::Blocked;
                }
            },
            Delivery::Ended(_) if self.earliest_of(image, at).is_some() => {
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

    /// Keeps the list of active sources, and gives a pipe source to the next image.
    fn leave_if_empty(&mut self, at: usize) {
        let source = &mut self.sources[at];
        if !source.waiting.is_empty() {
            return;
        }
        if let Some(image) = source.from_pipe.take() {
            self.pipe_sources.remove(&image);
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
}

enum Step {
    Emitted,
    /// The head stays where it is.
    Blocked,
}

#[cfg(test)]
mod tests;
