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
//! [`BUFFERED_MAX`] and [`PATIENCE`]; then the watermark goes on without it, and its event comes
//! late, counted.

pub mod lane;
pub mod live;
pub mod order;
pub mod pipe;
pub mod segment;
pub mod ticks;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sntrace_format::control::Control;
use sntrace_format::layout::LANES;
use sntrace_format::pipe::MessageHeader;
use sntrace_format::verdict::Verdict;

use crate::trace::{Batch, Exit, ImageId, Module};
use lane::{Entry, Lane, LaneThread, decode_one};
use order::{Delivery, OrderStatistics, Orderer, RawEvent, SourceId};
use pipe::PipeReader;
use segment::Segment;
use ticks::{Clock, Timeline};

/// Deliveries held back at most while a thread is stopped inside a record.
pub const BUFFERED_MAX: usize = 400_000;
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
    /// What the order needed.
    pub order: OrderStatistics,
}

struct Image {
    pid: u32,
    /// Its slot in the segment.
    slot: Option<usize>,
    /// A handle that tells when the process is gone.
    handle: Option<std::os::fd::OwnedFd>,
    exit: Option<Exit>,
}

/// Call sites' verdicts, for whoever names the events. Cheap to clone.
#[derive(Clone, Default)]
pub struct Boards {
    segment: Option<Arc<Segment>>,
    slots: Arc<Mutex<HashMap<ImageId, usize>>>,
}

impl Boards {
    /// The image's board, as a handle for [`Boards::judge`].
    #[must_use]
    pub fn find(&self, image: ImageId) -> Option<usize> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&image)
            .copied()
    }

    fn remember(&self, image: ImageId, slot: Option<usize>) {
        if let Some(slot) = slot {
            self.slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(image, slot);
        }
    }

    /// Tells the image's hook what a call site is.
    pub fn judge(&self, board: usize, address: u64, epoch: u32, what: Verdict) {
        if let Some(segment) = &self.segment {
            segment.judge(board, address, epoch, what);
        }
    }
}

/// See the module.
pub struct Collector {
    segment: Option<Arc<Segment>>,
    pipe: Option<PipeReader>,
    pipe_source: Option<SourceId>,
    clock: Clock,
    timeline: Timeline,
    orderer: Orderer,
    lanes: Vec<Option<Lane>>,
    sources: Vec<SourceId>,
    images: HashMap<ImageId, Image>,
    pipe_images: HashMap<u64, ImageId>,
    boards: Boards,
    batch: Batch,
    /// Words taken from a lane, while they are worked through.
    words: Vec<u64>,
    statistics: Statistics,
    barrier_works: bool,
    /// Whether there is one lane and nothing else.
    alone: bool,
    last_look: Instant,
}

impl Collector {
    /// Begins a run's clock. At least one of the two ways should be there.
    #[must_use]
    pub fn new(segment: Option<Arc<Segment>>, pipe: Option<PipeReader>, clock: Clock) -> Self {
        let mut orderer = Orderer::new();
        let pipe_source = pipe.is_some().then(|| orderer.add_source(true));
        Self {
            boards: Boards {
                segment: segment.clone(),
                slots: Arc::default(),
            },
            segment,
            pipe,
            pipe_source,
            clock,
            timeline: Timeline::begin(clock),
            orderer,
            lanes: Vec::new(),
            sources: Vec::new(),
            images: HashMap::new(),
            pipe_images: HashMap::new(),
            batch: Batch::default(),
            words: Vec::new(),
            statistics: Statistics::default(),
            barrier_works: true,
            alone: false,
            last_look: Instant::now(),
        }
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
        if !self.batch.items.is_empty() {
            send.take(&mut self.batch);
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

    fn read_lanes(&mut self, now: u64, send: &mut dyn Downstream) -> bool {
        let Some(segment) = self.segment.clone() else {
            return false;
        };
        let header = segment.header();
        header.heartbeat.fetch_add(1, Ordering::Relaxed);
        if self.lanes.iter().flatten().nth(1).is_some() && self.barrier_works {
            self.barrier_works = segment::barrier();
        }
        let claimed = (header.lanes_claimed.load(Ordering::Acquire) as usize).min(LANES);
        if self.lanes.len() < claimed {
            self.lanes.resize_with(claimed, || None);
        }
        self.alone = claimed <= 1 && self.pipe_images.is_empty();
        let mut any = false;
        let full = self.orderer.buffered() > BUFFERED_MAX;
        // All lanes are known before any is read: what is emitted in between must not overtake one.
        for index in 0..claimed {
            let owner = segment.lane(index).owner.load(Ordering::Acquire);
            if owner != 0 && self.lanes[index].is_none() {
                self.lanes[index] = Some(self.new_lane(&segment, index, ImageId(owner)));
            }
        }
        for index in 0..claimed {
            let Some(mut lane) = self.lanes[index].take() else {
                continue;
            };
            let progress = lane.consumer.progress();
            lane.note_inside(progress);
            // A thread that holds the others up is read whatever happens.
            if !full || progress.inside {
                any |= self.read_lane(&segment, &mut lane, progress.position, now, send);
                // Without a barrier a store may still be on its way; it never takes this long.
                let margin = if self.barrier_works {
                    0
                } else {
                    self.timeline.ticks_in(1_000_000)
                };
                let clean = match progress.inside {
                    false => now.saturating_sub(margin),
                    // What is being written is later than what was written before.
                    true => self.orderer.last_time(lane.source),
                };
                lane.clean_until = lane.clean_until.max(clean);
            }
            self.lanes[index] = Some(lane);
            if self.orderer.buffered() > BUFFERED_MAX / 4 {
                // Emit in between, so that many full lanes don't add up.
                self.emit(now, false, send);
            }
        }
        any
    }

    fn new_lane(&mut self, segment: &Segment, index: usize, image: ImageId) -> Lane {
        while self.sources.len() <= index {
            self.sources.push(self.orderer.add_source(false));
        }
        Lane {
            consumer: segment.consumer(index),
            image,
            source: self.sources[index],
            tid: 0,
            thread: 0,
            clean_until: 0,
            inside: None,
            damaged: false,
        }
    }

    fn read_lane(
        &mut self,
        segment: &Segment,
        lane: &mut Lane,
        position: u64,
        now: u64,
        send: &mut dyn Downstream,
    ) -> bool {
        let (image, source) = (lane.image, lane.source);
        let mut began = Vec::new();
        let boards = &self.boards;
        let orderer = &mut self.orderer;
        let was_damaged = lane.damaged;
        // The only lane of the run: nothing earlier than `now` can come from anywhere else.
        let (alone, timeline, batch) = (self.alone, &self.timeline, &mut self.batch);
        let mut words = std::mem::take(&mut self.words);
        let start = lane.take(position, &mut words);
        lane.decode(start, &words, |thread, entry| match entry {
            Entry::Event {
                event,
                frames,
                truncated,
            } => {
                let raw = RawEvent {
                    event,
                    frames,
                    truncated,
                    tid: thread.tid,
                    thread: thread.thread,
                };
                if alone && event.time <= now && orderer.is_empty() {
                    orderer.pass(source, image, &raw, timeline, batch);
                    if batch.items.len() >= BATCH_ITEMS {
                        send.take(batch);
                    }
                } else {
                    orderer.deliver(source, image, event.time, Delivery::Event(raw));
                }
            }
            Entry::Control(time, message) => {
                let parent = |key| u32::try_from(key).ok().filter(|&key| key != 0).map(ImageId);
                if let Some(pid) =
                    deliver_control(orderer, source, image, time, &message, thread, parent)
                {
                    // Known before the item is presented, which asks for it.
                    let slot = segment.slot_of(image.0);
                    boards.remember(image, slot);
                    began.push((pid, slot));
                }
            }
        });
        if lane.damaged && !was_damaged {
            self.statistics.damaged += 1;
        }
        let any = !words.is_empty();
        self.words = words;
        for (pid, slot) in began {
            self.image_began(image, pid, slot);
        }
        any
    }

    fn read_pipe(&mut self) -> bool {
        let (Some(mut pipe), Some(source)) = (self.pipe.take(), self.pipe_source) else {
            return false;
        };
        let mut began = Vec::new();
        let result = pipe.read(|header, words| {
            let image = self.pipe_image(header);
            let orderer = &mut self.orderer;
            let images = &self.pipe_images;
            let mut thread = LaneThread {
                tid: header.tid,
                thread: orderer.thread(image, header.tid),
            };
            let decoded = decode_one(words, |entry| match entry {
                Entry::Event {
                    event,
                    frames,
                    truncated,
                } => {
                    let raw = RawEvent {
                        event,
                        frames,
                        truncated,
                        tid: thread.tid,
                        thread: thread.thread,
                    };
                    orderer.deliver(source, image, event.time, Delivery::Event(raw));
                }
                Entry::Control(time, message) => {
                    let parent = |key: u64| images.get(&key).copied();
                    if let Some(pid) =
                        deliver_control(orderer, source, image, time, &message, &mut thread, parent)
                    {
                        began.push((image, pid));
                    }
                }
            });
            if decoded.is_err() {
                self.statistics.damaged += 1;
            }
        });
        self.pipe = Some(pipe);
        for (image, pid) in began {
            self.image_began(image, pid, None);
        }
        // The pipe is the launcher's own: reading it does not fail.
        result.unwrap_or(false)
    }

    /// The number of an image that speaks through the pipe.
    fn pipe_image(&mut self, header: MessageHeader) -> ImageId {
        // A process with lanes uses its image's number here too.
        if let Ok(number) = u32::try_from(header.image) {
            return ImageId(number);
        }
        let (segment, count) = (&self.segment, self.pipe_images.len() as u32);
        *self.pipe_images.entry(header.image).or_insert_with(|| {
            // Numbered along with the others where there are others, so that numbers stay dense.
            let number = segment
                .as_ref()
                .map(|segment| segment.header().last_image.fetch_add(1, Ordering::Relaxed));
            ImageId(number.unwrap_or(count) + 1)
        })
    }

    fn image_began(&mut self, image: ImageId, pid: u32, slot: Option<usize>) {
        self.statistics.images += 1;
        // The same process with another program: the old one is over.
        for (&other, old) in &mut self.images {
            if old.pid == pid && other != image && old.exit.is_none() {
                old.exit = Some(Exit::Exec);
            }
        }
        self.images.insert(
            image,
            Image {
                pid,
                slot,
                handle: segment::process_handle(pid),
                exit: None,
            },
        );
    }

    fn process_ended(&mut self, pid: u32, exit: Exit) {
        for image in self.images.values_mut() {
            if image.pid == pid && image.exit.is_none() {
                image.exit = Some(exit);
            }
        }
    }

    /// Processes that are not sntrace's children: their handles tell that they are gone.
    fn look_at_processes(&mut self) {
        for image in self.images.values_mut() {
            if image.exit.is_none() && image.handle.as_ref().is_some_and(segment::is_gone) {
                image.exit = Some(Exit::Unknown);
            }
        }
    }

    /// Reads the last of images that ended and gives their lanes and slots back.
    fn free_ended_images(&mut self, now: u64, send: &mut dyn Downstream) {
        let ended: Vec<ImageId> = self
            .images
            .iter()
            .filter(|(_, image)| image.exit.is_some())
            .map(|(&id, _)| id)
            .collect();
        for id in ended {
            let mut source = self.pipe_source;
            if let Some(segment) = self.segment.clone() {
                for index in 0..self.lanes.len() {
                    if segment.lane(index).owner.load(Ordering::Acquire) != id.0 {
                        continue;
                    }
                    let mut lane = match self.lanes[index].take() {
                        Some(lane) => lane,
                        None => self.new_lane(&segment, index, id),
                    };
                    let position = lane.consumer.progress().position;
                    self.read_lane(&segment, &mut lane, position, now, send);
                    self.statistics.dropped_events += lane.consumer.header().dropped();
                    source = Some(lane.source);
                    let header = segment.lane(index);
                    header.reset();
                    // Release: the next owner finds the lane empty.
                    header.owner.store(0, Ordering::Release);
                    if self.orderer.buffered() > BUFFERED_MAX / 4 {
                        self.emit(now, false, send);
                    }
                }
            }
            let Some(image) = self.images.remove(&id) else {
                continue;
            };
            if let (Some(segment), Some(slot)) = (&self.segment, image.slot) {
                self.boards
                    .slots
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&id);
                segment.free_slot(slot);
            }
            let source = source.or_else(|| self.sources.first().copied());
            if let (Some(source), Some(exit)) = (source, image.exit) {
                self.orderer
                    .deliver(source, id, self.clock.now(), Delivery::Ended(exit));
            }
        }
    }

    /// The time before which everything has been delivered.
    fn watermark(&mut self, now: u64) -> u64 {
        let bound = |lanes: &mut dyn Iterator<Item = &Lane>| {
            lanes.map(|lane| lane.clean_until).min().unwrap_or(now)
        };
        let all = bound(&mut self.lanes.iter().flatten());
        if !self
            .lanes
            .iter()
            .flatten()
            .any(|lane| lane.is_stopped(PATIENCE))
        {
            return all;
        }
        let without = bound(
            &mut self
                .lanes
                .iter()
                .flatten()
                .filter(|lane| !lane.is_stopped(PATIENCE)),
        );
        if without > all {
            self.statistics.impatient += 1;
        }
        without
    }

    fn emit(&mut self, now: u64, finally: bool, send: &mut dyn Downstream) {
        let watermark = if self.lanes.is_empty() {
            now
        } else {
            self.watermark(now)
        };
        loop {
            let more = self.orderer.advance(
                watermark,
                finally,
                BATCH_ITEMS,
                &self.timeline,
                &mut self.batch,
            );
            if self.batch.items.len() >= BATCH_ITEMS {
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
            self.statistics.lost_events = segment.header().lost_events.load(Ordering::Relaxed);
        }
        self.statistics.damaged += self.pipe.as_ref().map_or(0, |pipe| pipe.noise);
        self.statistics.order = self.orderer.statistics();
        self.statistics
    }
}

/// Hands a control message on; returns the process id of an image that begins with it.
fn deliver_control(
    orderer: &mut Orderer,
    source: SourceId,
    image: ImageId,
    time: u64,
    message: &Control<'_>,
    thread: &mut LaneThread,
    parent: impl Fn(u64) -> Option<ImageId>,
) -> Option<u32> {
    let delivery = match *message {
        Control::Thread { tid } => {
            *thread = LaneThread {
                tid,
                thread: orderer.thread(image, tid),
            };
            return None;
        }
        Control::Process {
            pid,
            ppid,
            forked_from,
            executable,
            command,
        } => {
            let command = command.split(|&byte| byte == 0);
            let mut command: Vec<Vec<u8>> = command.map(<[u8]>::to_vec).collect();
            // The last argument ends with a zero too.
            if command.last().is_some_and(Vec::is_empty) {
                command.pop();
            }
            let process = Delivery::Process {
                pid,
                ppid,
                forked_from: if forked_from == 0 {
                    None
                } else {
                    parent(forked_from)
                },
                executable: executable.to_vec(),
                command,
            };
            orderer.deliver(source, image, time, process);
            return Some(pid);
        }
        Control::ModuleAdd {
            start,
            end,
            bias,
            device,
            inode,
            build_id,
            path,
        } => {
            let (build_id, path) = (build_id.to_vec(), path.to_vec());
            Delivery::ModuleAdd(Box::new(Module {
                start,
                end,
                bias,
                device,
                inode,
                build_id,
                path,
            }))
        }
        Control::ModuleRemove { start } => Delivery::ModuleRemove(start),
        Control::Loader { epoch } => Delivery::LoaderCalled(epoch),
    };
    orderer.deliver(source, image, time, delivery);
    None
}
