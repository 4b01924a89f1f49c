//! Puts events in order: by time, and never against cause and effect.
//!
//! Every source (a lane; all of an image that comes through the pipe) delivers its own events in order.
//! They are merged by time up to a *watermark*: the collector guarantees that no source will
//! deliver anything earlier. What is later waits in its source's queue.
//!
//! Time alone is right only up to what a processor reads its counter early by. So the merge is
//! checked against the one thing that must hold: an address has one owner at a time. An allocation
//! of an address that still has an owner is *blocked* until that owner's release is emitted, a
//! release of an address without an owner until the allocation is. A blocked event holds up its own
//! source and nothing else: the others go on by time, until one of them emits what was missing.
//!
//! Nearly always somebody does. If nobody has within 1 µs, the merge may have taken a wrong
//! turn before: where two threads obtain one address within less than the clocks' error, the wrong
//! one may have come first, and now each waits for something that stands behind the other. So what was
//! emitted last is kept in a journal, taken back, and an order in which everything fits is *searched*:
//! there is one, as it all happened. Where the missing event is nowhere to be seen (a
//! block from before the hook was there), or no order is found, the blocked event waits on, and is
//! emitted as it is after [`SKEW_NS`].
//!
//! A `realloc` that moves a block is recorded at its end, but gave the old block back before that:
//! it counts by the time of its call as soon as somebody is blocked on its old block.
//!
//! Pure: no system calls, no shared memory. All the numbers come in as arguments.

mod apply;
mod fences;
mod journal;
mod messages;
mod parts;
mod plain;
mod run;
mod schedule;
mod search;
mod source;
mod words;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::trace::live::LiveBlocks;
use crate::trace::{Exit, ImageId, Item};
use fences::Fences;
use journal::Journal;
use messages::{Messages, Said};
use parts::Parts;
use source::{Queue, Source};

pub use fences::Judgement;
pub use messages::RawEvent;
pub use words::{Damaged, WordQueue};

/// How long a blocked event waits for what is missing. A processor reads its counter at most this
/// much too early: the time its reorder buffer can hold back older instructions, with much to spare.
pub const SKEW_NS: u64 = 10_000;
/// By how much two clocks, as read, may disagree about cause and effect: what a search assumes.
const CLOSE_NS: u64 = 2_000;
/// How long an event that came through the pipe waits for its cause: the thread that does the
/// causing may be paused between the call and its message, and no lane tells that it is. Where many
/// threads write into a full pipe on a busy machine, one was seen to wait its turn for five seconds.
const PIPE_PATIENCE_NS: u64 = 10_000_000_000;
/// How many messages wait behind it at most.
const PIPE_HELD_MAX: usize = 200_000;

/// What stands between events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// From here on an image's.
    Owner(ImageId),
    /// From here on a thread's, by its process's numbering.
    Thread(u32),
    /// Something to be handed on in its place. A process's time is filled in then.
    Item(Box<Item>),
    /// The image ended. Everything else of it is emitted before.
    Ended(Exit),
}

/// What a blocked event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// The release of an address that is still owned.
    Release(u64),
    /// The allocation of an address that has no owner.
    Owner(u64),
}

/// Index of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(usize);

/// What went on besides the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderStatistics {
    /// Events emitted although something before them was never seen.
    pub unseen: u64,
    /// Events that waited for their cause.
    pub reordered: u64,
    /// Searches for an order that found one.
    pub searched: u64,
    /// Searches that found none.
    pub unsolved: u64,
}

/// What the events' frames are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackDepth {
    /// The frames beyond the caller that its name may take.
    #[default]
    Callers,
    /// All frames, as a difference to the last stack of the same lane: see [`crate::trace::lanes`].
    Full,
}

/// In ticks, how long who waits.
#[derive(Clone, Copy)]
struct Patience {
    lanes: u64,
    close: u64,
    pipe: u64,
}

/// Merges sources. See the module.
#[derive(Debug)]
pub struct Orderer {
    depth: StackDepth,
    sources: Vec<Source>,
    /// When whose turn is: time, source, and the source's number of the entry. An entry with
    /// another number is out of date.
    schedule: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Sources with something waiting, and perhaps some that have nothing any more.
    active: Vec<u32>,
    /// Sources whose head is blocked.
    blocked: Vec<u32>,
    /// Sources whose head is a move away from a block, and perhaps some that have gone on.
    moving: Vec<u32>,
    /// Sources of images that write into the pipe, while anything of theirs waits.
    pipe_sources: HashMap<ImageId, u32>,
    /// Sources that such images have had and left.
    spare: Vec<u32>,
    images: HashMap<ImageId, LiveBlocks>,
    threads: HashMap<(ImageId, u32), u32>,
    /// Allocations made, by dense thread number.
    serials: Vec<u32>,
    last_ns: u64,
    statistics: OrderStatistics,
    /// The image whose live blocks are in `current`: nearly all events come in runs.
    current: (ImageId, LiveBlocks),
    journal: Journal,
    search: search::Budget,
    fences: Fences,
}

impl Default for Orderer {
    fn default() -> Self {
        Self::new()
    }
}

impl Orderer {
    /// Without sources; frames are those that a caller's name takes.
    #[must_use]
    pub fn new() -> Self {
        Self::of(StackDepth::Callers)
    }

    /// Without sources.
    #[must_use]
    pub fn of(depth: StackDepth) -> Self {
        Self {
            depth,
            sources: Vec::new(),
            schedule: BinaryHeap::new(),
            active: Vec::new(),
            blocked: Vec::new(),
            moving: Vec::new(),
            pipe_sources: HashMap::new(),
            spare: Vec::new(),
            images: HashMap::new(),
            threads: HashMap::new(),
            serials: Vec::new(),
            last_ns: 0,
            statistics: OrderStatistics::default(),
            current: (ImageId(0), LiveBlocks::default()),
            journal: Journal::default(),
            search: search::Budget::default(),
            fences: Fences::default(),
        }
    }

    /// A new source, a lane.
    pub fn add_source(&mut self) -> SourceId {
        let number = self.sources.len() as u32;
        SourceId(self.add(Queue::Lane(WordQueue::of_lane(number))) as usize)
    }

    fn add(&mut self, queue: Queue) -> u32 {
        self.sources.push(Source::new(queue));
        (self.sources.len() - 1) as u32
    }

    /// The dense number of a thread of an image.
    pub fn thread(&mut self, image: ImageId, tid: u32) -> u32 {
        *self.threads.entry((image, tid)).or_insert_with(|| {
            self.serials.push(0);
            (self.serials.len() - 1) as u32
        })
    }

    /// A lane's words from here on are this image's, and come from this position of its ring.
    ///
    /// # Panics
    /// If the source is no lane.
    pub fn begin_lane(&mut self, source: SourceId, image: ImageId, ring_position: u64) {
        self.lane(source).begin(ring_position, Other::Owner(image));
        self.arrived(source);
    }

    /// Where a lane's words go. After they have been added and scanned comes
    /// [`Orderer::arrived`].
    ///
    /// # Panics
    /// If the source is no lane.
    pub fn lane(&mut self, SourceId(at): SourceId) -> &mut WordQueue {
        match &mut self.sources[at].queue {
            Queue::Lane(words) => words,
            Queue::Pipe(_) => unreachable!("lanes and the pipe have sources of their own"),
        }
    }

    /// Something was added to a source.
    pub fn arrived(&mut self, SourceId(at): SourceId) {
        let source = &mut self.sources[at];
        if source.head().is_some() {
            return;
        }
        source.load_head();
        if source.head().is_some() {
            if !source.listed {
                source.listed = true;
                self.active.push(at as u32);
            }
            self.plan(at);
        }
    }

    /// Takes in what `image` wrote into the pipe. One source an image: its messages come in the
    /// order of cause and effect over all threads, but for the moves that are recorded late.
    pub fn deliver_event(&mut self, image: ImageId, raw: RawEvent) {
        let (time, _) = Parts::of(&raw.event).times(&raw.event);
        self.deliver(image, time, Said::Event(raw));
    }

    /// Takes in what an image says besides events, and what is said of it.
    pub fn deliver_other(&mut self, image: ImageId, time: u64, other: Other) {
        self.deliver(image, time, Said::Other(other));
    }

    fn deliver(&mut self, image: ImageId, time: u64, said: Said) {
        let at = match self.pipe_sources.get(&image) {
            Some(&at) => at as usize,
            None => {
                let at = match self.spare.pop() {
                    Some(at) => at,
                    None => self.add(Queue::Pipe(Messages::default())),
                };
                self.pipe_sources.insert(image, at);
                let source = &mut self.sources[at as usize];
                source.queue = Queue::Pipe(Messages::default());
                source.speaker.image = image;
                source.clock = 0;
                at as usize
            }
        };
        let source = &mut self.sources[at];
        let mut held = 0;
        if let Queue::Pipe(messages) = &mut source.queue {
            messages.push(time, said);
            held = messages.queue.len();
        }
        if source.blocked.is_some() && (self.fetch(at) || held > PIPE_HELD_MAX) {
            self.plan(at);
        }
        self.arrived(SourceId(at));
    }

    /// If the source's head is blocked and what it waits for is a move that came after it: that is
    /// the head now.
    fn fetch(&mut self, at: usize) -> bool {
        let source = &mut self.sources[at];
        let (Queue::Pipe(messages), Some(Missing::Release(address))) =
            (&mut source.queue, source.blocked)
        else {
            return false;
        };
        if !messages.fetch(address) {
            return false;
        }
        source.load_head();
        self.unblock(at);
        true
    }

    /// The time of a source's last delivery: it delivers nothing earlier.
    #[must_use]
    pub fn last_time(&self, source: SourceId) -> u64 {
        match &self.sources[source.0].queue {
            Queue::Lane(words) => words.latest(),
            Queue::Pipe(messages) => messages.latest,
        }
    }

    /// How much waits, in words (for what came through the pipe, about so).
    #[must_use]
    pub fn buffered_words(&self) -> u64 {
        let sources = self.active.iter().map(|&at| &self.sources[at as usize]);
        sources
            .map(|source| match &source.queue {
                Queue::Lane(words) => words.len(),
                Queue::Pipe(messages) => messages.queue.len() as u64 * 16,
            })
            .sum()
    }

    /// Whether nothing waits anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let mut sources = self.active.iter().map(|&at| &self.sources[at as usize]);
        sources.all(|source| source.head().is_none())
    }

    /// What went on besides the events.
    #[must_use]
    pub fn statistics(&self) -> OrderStatistics {
        self.statistics
    }

    /// Images of which it was found out, since the last call, whether they need a fence in front of
    /// their clocks.
    pub fn take_judgements(&mut self) -> Vec<(ImageId, Judgement)> {
        self.fences.take_news()
    }

    /// How many of the items that were emitted last may still be taken back: they must stay at the
    /// end of the batch that [`Orderer::advance`] gets next.
    #[must_use]
    pub fn tentative(&self) -> usize {
        self.journal.items()
    }
}

#[cfg(test)]
mod tests;
