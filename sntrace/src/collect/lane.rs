//! One lane, read: words into deliveries.
//!
//! What a traced process writes is not trusted: a record that can't be right ends the reading of
//! this lane, with a count, and nothing else.

use std::time::{Duration, Instant};

use sntrace_format::control::{self, BODY_MAX, Control};
use sntrace_format::record::{Record, Words, decode};
use sntrace_format::ring::{Consumer, Progress, RING_WORDS};

use super::order::{RawEvent, SourceId};
use crate::trace::ImageId;

/// A lane with its reader's memory.
pub struct Lane {
    /// The reading end.
    pub consumer: Consumer,
    /// Whose it is.
    pub image: ImageId,
    /// Its source in the orderer.
    pub source: SourceId,
    /// The thread that writes, by its process's numbering; 0 before the first record.
    pub tid: u32,
    /// The same, by the orderer's.
    pub thread: u32,
    /// Nothing with an earlier time than this will come, in ticks.
    pub clean_until: u64,
    /// The record that the thread was inside of when it was last looked at, and since when.
    pub inside: Option<(u64, Instant)>,
    /// Whether its process scribbled over it.
    pub damaged: bool,
}

/// One record, taken out of its words.
pub enum Entry<'a> {
    /// An event and the frames beyond its caller.
    Event {
        /// The event.
        event: sntrace_format::record::Event,
        /// Return addresses, inner to outer.
        frames: smallvec::SmallVec<[u64; 2]>,
        /// Whether the stack goes on.
        truncated: bool,
    },
    /// A control message and its time in ticks.
    Control(u64, Control<'a>),
}

/// Decodes one record and hands it on. Returns the words it took, `None` for the rest of the
/// ring, an error for nonsense.
pub fn decode_one<W: Words + ?Sized>(
    words: &W,
    mut each: impl FnMut(Entry<'_>),
) -> Result<Option<usize>, Damaged> {
    let (record, taken) = decode(words).map_err(|_| Damaged)?;
    match record {
        Record::Pad => return Ok(None),
        Record::Event {
            event,
            frames_at,
            frames,
            truncated,
        } => {
            let frames = match frames {
                0 => smallvec::SmallVec::new(),
                _ => (frames_at..frames_at + frames)
                    .map(|at| words.word(at))
                    .collect(),
            };
            each(Entry::Event {
                event,
                frames,
                truncated,
            });
        }
        Record::Control { time, kind, bytes } => {
            let mut buffer = [0; BODY_MAX + 8];
            let body = control::body(words, bytes, &mut buffer);
            let message = control::parse(kind, body).ok_or(Damaged)?;
            each(Entry::Control(time, message));
        }
    }
    Ok(Some(taken))
}

/// Words that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl Lane {
    /// Remembers whether the thread is inside a record, and since when it is inside this one.
    pub fn note_inside(&mut self, progress: Progress) {
        self.inside = match self.inside {
            _ if !progress.inside => None,
            Some((position, since)) if position == progress.position => Some((position, since)),
            _ => Some((progress.position, Instant::now())),
        };
    }

    /// Whether the thread has been inside one record for longer than this.
    #[must_use]
    pub fn is_stopped(&self, patience: Duration) -> bool {
        self.inside
            .is_some_and(|(_, since)| since.elapsed() > patience)
    }

    /// Moves everything published up to `position` into `words` and gives the room back at once,
    /// so that the producer writes on while the records are worked through. Returns where they
    /// start, for [`Lane::decode`].
    pub fn take(&mut self, position: u64, words: &mut Vec<u64>) -> u64 {
        words.clear();
        let start = self.consumer.tail();
        while !self.damaged && self.consumer.tail() < position {
            let Some(piece) = self.consumer.published(position) else {
                self.damaged = true;
                break;
            };
            // Relaxed: `progress` acquired the position behind these words.
            words.extend(
                piece
                    .iter()
                    .map(|word| word.load(std::sync::atomic::Ordering::Relaxed)),
            );
            self.consumer.skip(piece.len() as u64);
        }
        if !words.is_empty() && self.consumer.release() {
            super::segment::futex_wake(self.consumer.header().waiting());
        }
        start
    }

    /// Hands the records in `words`, taken from position `start` on, on one by one.
    pub fn decode(
        &mut self,
        start: u64,
        words: &[u64],
        mut each: impl FnMut(&mut LaneThread, Entry<'_>),
    ) {
        let mut thread = LaneThread {
            tid: self.tid,
            thread: self.thread,
        };
        let mut at = 0;
        while let Some(rest) = words.get(at..).filter(|rest| !rest.is_empty()) {
            match decode_one(rest, |entry| each(&mut thread, entry)) {
                Ok(Some(taken)) => at += taken,
                Ok(None) => at += (RING_WORDS - (start + at as u64) % RING_WORDS) as usize,
                Err(Damaged) => {
                    self.damaged = true;
                    break;
                }
            }
        }
        (self.tid, self.thread) = (thread.tid, thread.thread);
    }
}

/// The thread that writes a lane at the moment.
#[derive(Clone, Copy, Debug)]
pub struct LaneThread {
    /// By its process's numbering.
    pub tid: u32,
    /// By the orderer's.
    pub thread: u32,
}

impl LaneThread {
    /// An event of this thread.
    #[inline]
    #[must_use]
    pub fn event(
        self,
        event: sntrace_format::record::Event,
        frames: smallvec::SmallVec<[u64; 2]>,
        truncated: bool,
    ) -> RawEvent {
        RawEvent {
            event,
            frames,
            truncated,
            tid: self.tid,
            thread: self.thread,
        }
    }
}
