//! A source of events: a lane, or all that an image says through the pipe.

use sntrace_format::record::Event;

use super::messages::{Messages, Said};
use super::parts::Parts;
use super::words::WordQueue;
use super::{Missing, Other, plain};
use crate::trace::ImageId;

/// Where a source's events wait.
#[derive(Debug)]
pub(super) enum Queue {
    Lane(WordQueue),
    Pipe(Messages),
}

/// Who a source speaks for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speaker {
    pub image: ImageId,
    /// Thread id in its process's numbering.
    pub tid: u32,
    /// Dense number of the thread.
    pub thread: u32,
    /// With full stacks: whether the last one goes on beyond its outermost frame.
    pub truncated: bool,
}

/// The first thing that waits in a source: what its turn is decided by. What an event says besides is
/// read when it is needed ([`Source::details`]).
#[derive(Debug)]
pub(super) struct Head {
    /// By this time it is put in order, in ticks.
    pub time: u64,
    /// The earliest time at which it may have happened.
    pub earliest: u64,
    pub image: ImageId,
    pub kind: HeadKind,
    /// Whether it is a move away from a block, which may have happened at any time of its call.
    pub moves_away: bool,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadKind {
    Nothing,
    /// An event that obtains one block or gives one back, of a lane: see [`super::plain`].
    Plain,
    /// Any other.
    Event,
    /// Still in the source's queue.
    Other,
    /// The image's end, still in the source's queue.
    Ended,
}

impl Head {
    fn nothing() -> Self {
        Self {
            time: 0,
            earliest: 0,
            image: ImageId(0),
            kind: HeadKind::Nothing,
            moves_away: false,
        }
    }

    pub(super) fn is_event(&self) -> bool {
        matches!(self.kind, HeadKind::Plain | HeadKind::Event)
    }
}

/// All that an event says.
#[derive(Debug)]
pub(super) struct Details {
    pub record: Event,
    pub parts: Parts,
    pub tid: u32,
    pub thread: u32,
    pub truncated: bool,
    /// As in [`super::words::Place`].
    pub kept: Option<u32>,
    /// Where the frames are in a lane's words.
    pub frames: (u64, u64),
    /// Where a lane's next record is.
    pub end: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    pub queue: Queue,
    pub speaker: Speaker,
    /// The time of the last head: times within a source don't go back.
    pub clock: u64,
    head: Head,
    /// What the head waits for.
    pub blocked: Option<Missing>,
    /// Its entries in the schedule that have another number are out of date.
    pub turn: u32,
    /// Whether it is in the list of active sources.
    pub listed: bool,
}

impl Source {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            speaker: Speaker {
                image: ImageId(0),
                tid: 0,
                thread: u32::MAX,
                truncated: false,
            },
            clock: 0,
            head: Head::nothing(),
            blocked: None,
            turn: 0,
            listed: false,
        }
    }

    pub(super) fn is_pipe(&self) -> bool {
        matches!(self.queue, Queue::Pipe(_))
    }

    /// The first thing that waits, if anything does.
    #[inline(always)]
    pub(super) fn head(&self) -> Option<&Head> {
        (self.head.kind != HeadKind::Nothing).then_some(&self.head)
    }

    /// Finds the head anew.
    #[inline(always)]
    pub(super) fn load_head(&mut self) {
        let head = &mut self.head;
        head.image = self.speaker.image;
        match &self.queue {
            Queue::Lane(words) => lane_head(head, words),
            Queue::Pipe(messages) => pipe_head(head, messages),
        }
        head.time = head.time.max(self.clock);
    }

    /// What the head says, if it is an event.
    #[inline]
    pub(super) fn details(&self) -> Option<Details> {
        if !self.head.is_event() {
            return None;
        }
        match &self.queue {
            Queue::Lane(words) => {
                let mut record = Event::NONE;
                let place = words.read_from(words.at, &mut record)?;
                Some(Details {
                    record,
                    parts: Parts::of(&record),
                    tid: self.speaker.tid,
                    thread: self.speaker.thread,
                    truncated: match place.kept {
                        Some(_) => place.truncated,
                        None => self.speaker.truncated,
                    },
                    kept: place.kept,
                    frames: place.frames,
                    end: place.end,
                })
            }
            Queue::Pipe(messages) => messages.first_event().map(|raw| Details {
                record: raw.event,
                parts: Parts::of(&raw.event),
                tid: raw.tid,
                thread: raw.thread,
                truncated: raw.truncated,
                // Each message stands for itself.
                kept: Some(0),
                frames: (0, 0),
                end: 0,
            }),
        }
    }

    /// The block that the head moves away from, if that is what it does.
    pub(super) fn moves_from(&self) -> Option<u64> {
        if !self.head.moves_away {
            return None;
        }
        self.details().map(|details| details.parts.given_back)
    }

    /// Hands the events from the head on that may have happened by `until` to `each`, with the
    /// coordinate of what follows, until it says false. Lanes only: in the pipe nothing overtakes.
    pub(super) fn events_until(
        &self,
        until: u64,
        mut each: impl FnMut(&Event, &Parts, u64) -> bool,
    ) {
        let Queue::Lane(words) = &self.queue else {
            return;
        };
        let (mut at, mut event) = (words.at, Event::NONE);
        while let Some(place) = words.read_from(at, &mut event) {
            let parts = Parts::of(&event);
            if parts.times(&event).1 > until || !each(&event, &parts, place.end) {
                return;
            }
            at = place.end;
        }
    }

    /// The coordinate of a lane's next record; how many messages wait in the pipe's stead.
    pub(super) fn place(&self) -> u64 {
        match &self.queue {
            Queue::Lane(words) => words.at,
            Queue::Pipe(messages) => messages.queue.len() as u64,
        }
    }
}

#[inline(always)]
fn lane_head(head: &mut Head, words: &WordQueue) {
    let next = words.next();
    head.moves_away = false;
    if let Some(&(place, time, _)) = words.others.front()
        && next.is_none_or(|(at, _)| place <= at)
    {
        (head.time, head.earliest) = (time, time);
        head.kind = HeadKind::Other;
        return;
    }
    let Some((at, first)) = next else {
        head.kind = HeadKind::Nothing;
        return;
    };
    if plain::change(first).is_some() {
        head.kind = HeadKind::Plain;
        (head.time, head.earliest) = (first >> 8, first >> 8);
        return;
    }
    head.kind = HeadKind::Event;
    let mut record = Event::NONE;
    if words.read_from(at, &mut record).is_some() {
        event_head(head, &record);
    }
}

fn event_head(head: &mut Head, record: &Event) {
    let parts = Parts::of(record);
    (head.time, head.earliest) = parts.times(record);
    head.moves_away = parts.gives_back_early(record);
}

fn pipe_head(head: &mut Head, messages: &Messages) {
    head.moves_away = false;
    let Some(first) = messages.queue.front() else {
        head.kind = HeadKind::Nothing;
        return;
    };
    match &first.what {
        Said::Event(raw) => {
            head.kind = HeadKind::Event;
            event_head(head, &raw.event);
        }
        Said::Other(Other::Ended(_)) => head.kind = HeadKind::Ended,
        Said::Other(_) => head.kind = HeadKind::Other,
    }
    (head.time, head.earliest) = (first.time, first.time);
}
