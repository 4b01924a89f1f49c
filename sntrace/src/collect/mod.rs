//! The run: drains lanes and pipe, puts the events in order, notices processes come and go.
//!
//! One thread, one loop ([`Collector::run`]). A round:
//!
//! 1. take the time *T* and a memory barrier on all processors that run hooked threads;
//! 2. look at every lane: outside a record, nothing earlier than *T* will come from it; inside
//!    one, nothing earlier than the last round's *T*. The least of these is the watermark;
//! 3. read what is published, and give the room back;
//! 4. emit what the watermark makes certain ([`order`]);
//! 5. look after processes that ended: what they published is still there, and is read before
//!    their lanes are given to others.
//!
//! A thread can be stopped inside a record for long (a debugger, a collector that stops the
//! world). The others must not wait for it: what they publish is taken in up to
//! [`BUFFERED_WORDS_MAX`] and [`PATIENCE`]; then the watermark goes on without it, and its event comes
//! late, counted.

mod images;
pub mod lane;
pub mod order;
pub mod pipe;
mod reading;
pub mod segment;
pub mod ticks;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::trace::{Batch, Exit, ImageId};
pub use images::Boards;
use images::Image;
use lane::Lane;
pub use order::StackDepth;
use order::{Judgement, OrderStatistics, Orderer, SourceId};
use pipe::PipeReader;
use segment::Segment;
use ticks::{Clock, Timeline};

/// Words of events held back at most while a thread is stopped inside a record.
pub const BUFFERED_WORDS_MAX: u64 = 1 << 20;
/// How long a thread inside a record is waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Items in a batch.
///
/// Few enough to stay in a core's own cache: a larger batch would push the program's memory out
/// of the caches that it shares with the launcher.
const BATCH_ITEMS: usize = 512;
/// The longest sleep: after it even a chunk that is not full is read.
const SLEEP: Duration = Duration::from_millis(20);
/// How often processes whose end nobody tells are looked at.
const PROCESS_LOOK: Duration = Duration::from_millis(50);

/// What the collector needs to know of the processes' ends.
pub trait Supervision {
    /// Ends that were noticed since the last call: process id and how.
    fn take_exits(&self) -> Vec<(u32, Exit)>;
    /// Whether no process is left, or the user wants to wait no longer.
    fn is_over(&self) -> bool;
}

/// Where batches go.
pub trait Downstream {
    /// Takes a batch's contents and leaves an empty one.
    fn take(&mut self, batch: &mut Batch);
    /// Nothing more is there for the moment: what is buffered should be seen.
    fn idle(&mut self);
}

/// What is known at the end besides the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events dropped because a lane was full (`--overflow drop`).
    pub dropped_events: u64,
    /// Events that found no way out of their process.
    pub lost_events: u64,
    /// Lanes and messages that were no records.
    pub damaged: u64,
    /// Threads that were not waited for.
    pub impatient: u64,
    /// Process images seen.
    pub images: u64,
    /// Stacks that were compared with a walk of their own, and those that differed.
    pub stacks_verified: u64,
    /// See above.
    pub stacks_different: u64,
    /// Nanoseconds that threads of the program waited for room in their lanes.
    pub waited_ns: u64,
    /// Nanoseconds that the hook took for [`Statistics::sampled_events`] of its events.
    pub sampled_ns: u64,
    /// For how many events that was measured.
    pub sampled_events: u64,
    /// What the order needed.
    pub order: OrderStatistics,
}

/// A stack that is not what a walk of its own finds: return addresses, inner to outer, as many as
/// the hook could tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackDifference {
    /// Where it was.
    pub image: ImageId,
    /// How many frames from the inside are the same.
    pub same: u32,
    /// The stack that was made with the help of the one before it.
    pub reused: Vec<u64>,
    /// The one that was walked.
    pub walked: Vec<u64>,
}

/// See the module.
pub struct Collector {
    segment: Option<Arc<Segment>>,
    pipe: Option<PipeReader>,
    clock: Clock,
    timeline: Timeline,
    orderer: Orderer,
    lanes: Vec<Option<Lane>>,
    sources: Vec<SourceId>,
    images: HashMap<ImageId, Image>,
    /// Ends of processes of which no image is known, during one round: theirs may be unread yet.
    early_ends: HashMap<u32, Exit>,
    pipe_images: HashMap<u64, ImageId>,
    boards: Boards,
    batch: Batch,
    /// Items that may still be taken back, while those before them are handed on.
    tentative: Batch,
    statistics: Statistics,
    first_difference: Option<StackDifference>,
    /// See [`Statistics::waited_ns`] and [`Statistics::sampled_ns`].
    waited_ticks: u64,
    sampled_ticks: u64,
    barrier_works: bool,
    last_look: Instant,
}

impl Collector {
    /// Begins a run's clock. At least one of the two ways should be there. `depth` is what the
    /// hooks are asked for.
    #[must_use]
    pub fn new(
        segment: Option<Arc<Segment>>,
        pipe: Option<PipeReader>,
        clock: Clock,
        depth: StackDepth,
    ) -> Self {
        Self {
            boards: Boards {
                segment: segment.clone(),
                slots: Arc::default(),
            },
            segment,
            pipe,
            clock,
            timeline: Timeline::begin(clock),
            orderer: Orderer::of(depth),
            lanes: Vec::new(),
            sources: Vec::new(),
            images: HashMap::new(),
            early_ends: HashMap::new(),
            pipe_images: HashMap::new(),
            batch: Batch::default(),
            tentative: Batch::default(),
            statistics: Statistics::default(),
            first_difference: None,
            waited_ticks: 0,
            sampled_ticks: 0,
            barrier_works: true,
            last_look: Instant::now(),
        }
    }

    /// The first stack that was found to be wrong, if any was.
    #[must_use]
    pub fn first_difference(&self) -> Option<&StackDifference> {
        self.first_difference.as_ref()
    }

    /// The verdict boards.
    #[must_use]
    pub fn boards(&self) -> Boards {
        self.boards.clone()
    }

    /// Collects until the run is over; hands full batches, and part-full ones when there is
    /// nothing else to do, to `send`.
    pub fn run(&mut self, supervision: &dyn Supervision, send: &mut dyn Downstream) -> Statistics {
        loop {
            let over = supervision.is_over();
            for (pid, exit) in supervision.take_exits() {
                self.process_ended(pid, exit);
            }
            let any = self.round(over, send);
            if over {
                break;
            }
            if !any {
                self.flush(send);
                send.idle();
                self.sleep(supervision);
            }
        }
        self.end(send)
    }

    fn sleep(&mut self, supervision: &dyn Supervision) {
        match &self.segment {
            Some(segment) if self.pipe.is_none() || self.pipe_images.is_empty() => {
                segment.sleep(SLEEP, || supervision.is_over());
            }
            _ => {
                if let Some(pipe) = &self.pipe {
                    pipe.wait(SLEEP);
                }
            }
        }
    }

    fn flush(&mut self, send: &mut dyn Downstream) {
        let certain = self.batch.items.len() - self.orderer.tentative();
        if certain > 0 {
            self.batch.move_from(certain, &mut self.tentative);
            send.take(&mut self.batch);
            self.tentative.move_from(0, &mut self.batch);
        }
    }

    /// One round. Returns whether anything was read.
    fn round(&mut self, over: bool, send: &mut dyn Downstream) -> bool {
        let now = self.timeline.sync();
        let mut any = self.read_lanes(now, send);
        any |= self.read_pipe();
        if self.last_look.elapsed() >= PROCESS_LOOK || over {
            self.last_look = Instant::now();
            self.look_at_processes();
        }
        self.free_ended_images(now, send);
        self.emit(now, false, send);
        any
    }

    /// The time before which everything has been delivered, and whether some threads were not
    /// waited for.
    fn certain_until(&self) -> (u64, bool) {
        let (mut all, mut without) = (u64::MAX, u64::MAX);
        for lane in self.lanes.iter().flatten() {
            all = all.min(lane.clean_until);
            if !lane.is_stopped(PATIENCE) {
                without = without.min(lane.clean_until);
            }
        }
        (without, without > all)
    }

    /// Tells an image's hooks whether they need a fence in front of their clocks.
    fn fence(&self, id: ImageId, judgement: Judgement) {
        if let (Some(image), Some(segment)) = (self.images.get(&id), &self.segment)
            && let Some(slot) = image.slot
        {
            match judgement {
                Judgement::Needed => segment.fence(slot),
                Judgement::Needless => segment.spare_fence(slot),
            }
        }
    }

    fn emit(&mut self, now: u64, finally: bool, send: &mut dyn Downstream) {
        let (certain, impatient) = self.certain_until();
        self.statistics.impatient += u64::from(impatient);
        let watermark = match certain {
            // No lane that could say anything.
            u64::MAX => now,
            certain => certain,
        };
        for (id, judgement) in self.orderer.take_judgements() {
            self.fence(id, judgement);
        }
        loop {
            let more = self.orderer.advance(
                watermark,
                finally,
                BATCH_ITEMS,
                &self.timeline,
                &mut self.batch,
            );
            if self.batch.items.len() >= BATCH_ITEMS + self.orderer.tentative() {
                self.flush(send);
            }
            if !more {
                return;
            }
        }
    }

    /// Everything is over: reads and emits the rest.
    fn end(&mut self, send: &mut dyn Downstream) -> Statistics {
        let now = self.timeline.sync();
        while self.read_pipe() {}
        self.read_lanes(now, send);
        for image in self.images.values_mut() {
            image.exit.get_or_insert(Exit::Unknown);
        }
        self.free_ended_images(now, send);
        self.emit(now, true, send);
        self.flush(send);
        if let Some(segment) = &self.segment {
            segment.header().closing.store(1, Ordering::Release);
            let header = segment.header();
            self.statistics.lost_events = header.lost_events.load(Ordering::Relaxed);
            self.statistics.stacks_verified = header.stacks_verified.load(Ordering::Relaxed);
            self.statistics.stacks_different = header.stacks_different.load(Ordering::Relaxed);
        }
        self.statistics.damaged += self.pipe.as_ref().map_or(0, |pipe| pipe.noise);
        let ticks = self.timeline.ticks_in(1_000_000_000) as f64;
        let nanoseconds = |count: u64| (count as f64 / ticks * 1e9) as u64;
        self.statistics.waited_ns = nanoseconds(self.waited_ticks);
        self.statistics.sampled_ns = nanoseconds(self.sampled_ticks);
        self.statistics.order = self.orderer.statistics();
        self.statistics
    }
}
