//! A source of events: a lane, or all that an image says through the pipe.

use super::messages::{Messages, Said};
use super::parts::Parts;
use super::words::WordQueue;
use super::{Missing, Other};
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
}

/// The first thing that waits in a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// By this time it is put in order, in ticks.
    pub time: u64,
    /// The earliest time at which it may have happened.
    pub earliest: u64,
    pub image: ImageId,
    pub what: HeadKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum HeadKind {
    Event(HeadEvent),
    /// Still in the source's queue.
    Other,
    /// The image's end, still in the source's queue.
    Ended,
}

impl Head {
    pub(super) fn is_event(&self) -> bool {
        matches!(self.what, HeadKind::Event(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HeadEvent {
    pub event: sntrace_format::record::Event,
    pub parts: Parts,
    pub tid: u32,
    pub thread: u32,
    pub truncated: bool,
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
    pub head: Option<Head>,
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
            },
            clock: 0,
            head: None,
            blocked: None,
            turn: 0,
            listed: false,
        }
    }

    pub(super) fn is_pipe(&self) -> bool {
        matches!(self.queue, Queue::Pipe(_))
    }

    /// Finds the head, if something waits and there is none yet.
    #[inline(always)]
    pub(super) fn load_head(&mut self) {
        if self.head.is_some() {
            return;
        }
        let clock = self.clock;
        match &self.queue {
            Queue::Lane(words) => self.head = lane_head(words, self.speaker, clock),
            Queue::Pipe(messages) => self.head = pipe_head(messages, self.speaker, clock),
        }
    }

    /// Hands the events from the head on that may have happened by `until` to `each`, with the
    /// coordinate of what follows, until it says false. Lanes only: in the pipe nothing overtakes.
    pub(super) fn events_until(
        &self,
        until: u64,
        mut each: impl FnMut(&sntrace_format::record::Event, &Parts, u64) -> bool,
    ) {
        let Queue::Lane(words) = &self.queue else {
            return;
        };
        let mut at = words.at;
        while let Some(found) = words.event_from(at) {
            let parts = Parts::of(&found.event);
            if parts.times(&found.event).1 > until || !each(&found.event, &parts, found.end) {
                return;
            }
            at = found.end;
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
fn lane_head(words: &WordQueue, speaker: Speaker, clock: u64) -> Option<Head> {
    let found = words.event_from(words.at);
    if let Some(&(place, time, _)) = words.others.front()
        && found.as_ref().is_none_or(|found| place < found.end)
    {
        return Some(Head {
            time: time.max(clock),
            earliest: time,
            image: speaker.image,
            what: HeadKind::Other,
        });
    }
    let found = found?;
    let parts = Parts::of(&found.event);
    let (time, earliest) = parts.times(&found.event);
    Some(Head {
        time: time.max(clock),
        earliest,
        image: speaker.image,
        what: HeadKind::Event(HeadEvent {
            event: found.event,
            parts,
            tid: speaker.tid,
            thread: speaker.thread,
            truncated: found.truncated,
            frames: found.frames,
            end: found.end,
        }),
    })
}

fn pipe_head(messages: &Messages, speaker: Speaker, clock: u64) -> Option<Head> {
    let first = messages.queue.front()?;
    let (time, image) = (first.time.max(clock), speaker.image);
    Some(match &first.what {
        Said::Event(raw) => Head {
            time,
            earliest: time,
            image,
            what: HeadKind::Event(HeadEvent {
                event: raw.event,
                parts: Parts::of(&raw.event),
                tid: raw.tid,
                thread: raw.thread,
                truncated: raw.truncated,
                frames: (0, 0),
                end: 0,
            }),
        },
        Said::Other(other) => Head {
            time,
            earliest: time,
            image,
            what: match other {
                Other::Ended(_) => HeadKind::Ended,
                _ => HeadKind::Other,
            },
        },
    })
}
