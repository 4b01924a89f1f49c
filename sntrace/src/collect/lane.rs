//! One lane, read: words into deliveries.
//!
//! What a traced process writes is not trusted: a record that can't be right ends the reading of
//! this lane, with a count, and nothing else.

use std::time::{Duration, Instant};

use sntrace_format::control::{self, BODY_MAX, CONTROL_WORDS_MAX, Control};
use sntrace_format::record::{DecodeError, EVENT_WORDS_MAX, Record, Words, decode};
use sntrace_format::ring::{Consumer, RING_WORDS};

use super::order::{RawEvent, SourceId};
use crate::trace::ImageId;

/// Words of the longest record.
const RECORD_WORDS_MAX: usize = if CONTROL_WORDS_MAX > EVENT_WORDS_MAX {
    CONTROL_WORDS_MAX as usize
} else {
    EVENT_WORDS_MAX as usize
};

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
    /// Up to where its records were published when it was last looked at.
    pub published: u64,
    /// Nothing with an earlier time than this will come, in ticks.
    pub clean_until: u64,
    /// The record that the thread was inside of when it was last looked at, and since when.
    pub inside: Option<(u64, Instant)>,
    /// Whether its process has ended: nobody is inside a record any more.
    pub ended: bool,
    /// Whether its process scribbled over it.
    pub damaged: bool,
    /// The beginning of a record whose end was not taken yet.
    rest: Vec<u64>,
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
) -> Result<Option<usize>, Undecodable> {
    let (record, taken) = decode(words).map_err(|error| match error {
        DecodeError::Short => Undecodable::Short,
        DecodeError::UnknownOp(_) | DecodeError::TooManyFrames(_) => Undecodable::Damaged,
    })?;
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
            let message = control::parse(kind, body).ok_or(Undecodable::Damaged)?;
            each(Entry::Control(time, message));
        }
    }
    Ok(Some(taken))
}

/// Why words are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// They may be the beginning of one.
    Short,
    /// Nobody wrote this.
    Damaged,
}

impl Lane {
    /// A lane of which nothing was read yet.
    #[must_use]
    pub fn new(consumer: Consumer, image: ImageId, source: SourceId) -> Self {
        Self {
            consumer,
            image,
            source,
            tid: 0,
            thread: 0,
            published: 0,
            clean_until: 0,
            inside: None,
            ended: false,
            damaged: false,
            rest: Vec::new(),
        }
    }

    /// Looks how far the thread is, whether it is inside a record, and since when inside this one.
    pub fn look(&mut self) {
        let progress = self.consumer.progress();
        self.published = progress.position;
        self.inside = match self.inside {
            _ if !progress.inside || self.ended => None,
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

    /// Whether everything that was published at the last look has been taken.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.damaged || self.consumer.tail() >= self.published
    }

    /// Moves what was published at the last look, at most `limit` words of it, into `words` and
    /// gives the room back at once, so that the producer writes on while the records are worked
    /// through. Returns where they start, for [`Lane::decode`].
    pub fn take(&mut self, limit: u64, words: &mut Vec<u64>) -> u64 {
        words.clear();
        words.append(&mut self.rest);
        let start = self.consumer.tail() - words.len() as u64;
        let end = self
            .published
            .min(self.consumer.tail().saturating_add(limit));
        while !self.is_read() && self.consumer.tail() < end {
            let Some(piece) = self.consumer.published(self.published) else {
                self.damaged = true;
                break;
            };
            let left = end - self.consumer.tail();
            let piece = &piece[..piece.len().min(left as usize)];
            // Relaxed: `progress` acquired the position behind these words.
            words.extend(
                piece
                    .iter()
                    .map(|word| word.load(std::sync::atomic::Ordering::Relaxed)),
            );
            self.consumer.skip(piece.len() as u64);
        }
        if !words.is_empty() {
            self.give_back();
        }
        start
    }

    fn give_back(&mut self) {
        if self.consumer.release() {
            super::segment::futex_wake(self.consumer.header().waiting());
        }
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
                Err(Undecodable::Short) if !self.is_read() && rest.len() < RECORD_WORDS_MAX => {
                    self.rest.extend_from_slice(rest);
                    break;
                }
                Err(_) => {
                    self.damaged = true;
                    break;
                }
            }
        }
        // The filling of the ring's end is published in one piece, of which not all was taken.
        if let Some(beyond) = at.checked_sub(words.len()).filter(|&beyond| beyond > 0) {
            if self.consumer.tail() + beyond as u64 > self.published {
                self.damaged = true;
            } else {
                self.consumer.skip(beyond as u64);
                self.give_back();
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
