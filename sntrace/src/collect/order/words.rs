//! A lane's words, as they were copied out of the ring, until their events have been emitted.
//!
//! Events stay words until it is their turn: a word is copied once, and an event that waits takes
//! 24 bytes. What is no event is taken out when the words arrive ([`WordQueue::scan`]), and its
//! place becomes padding.
//!
//! Coordinates count words from the queue's beginning and never start again.

use std::collections::VecDeque;

use sntrace_format::control::{self, BODY_MAX, CONTROL_WORDS_MAX, Control};
use sntrace_format::record::{
    DecodeError, EVENT_WORDS_MAX, Event, Op, Record, decode, event_length, first_word, length,
    read_event,
};
use sntrace_format::ring::RING_WORDS;

use super::Other;
use crate::trace::Item;

/// Words of the longest record.
const RECORD_WORDS_MAX: u64 = if CONTROL_WORDS_MAX > EVENT_WORDS_MAX {
    CONTROL_WORDS_MAX
} else {
    EVENT_WORDS_MAX
};
/// So many words that are done with are worth moving the others for.
const DONE_WORDS: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct WordQueue {
    words: Vec<u64>,
    /// Coordinate of the first of `words`.
    front: u64,
    /// Up to here records are whole and known to be right.
    scanned: u64,
    /// The position in the ring that `scanned` was copied from.
    ring_position: u64,
    /// The next record.
    pub(super) at: u64,
    /// What came before may be forgotten.
    pub(super) settled: u64,
    /// What stands between events, where, and when.
    pub(super) others: VecDeque<(u64, u64, Other)>,
    /// The latest time of any record.
    latest: u64,
    /// The lane's number among the sources.
    lane: u32,
}

/// Where an event is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Coordinates of its frames.
    pub frames: (u64, u64),
    /// Whether the stack goes on beyond them.
    pub truncated: bool,
    /// How many frames of the last stack stay; `None`: all of it.
    pub kept: Option<u32>,
    /// Coordinate of the next record.
    pub end: u64,
}

/// Nobody wrote these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl WordQueue {
    /// The lane with this number.
    pub(super) fn of_lane(lane: u32) -> Self {
        Self {
            lane,
            ..Self::default()
        }
    }

    /// A new owner writes from this position of the ring on. Words of its predecessor may still
    /// wait.
    pub(super) fn begin(&mut self, ring_position: u64, owner: Other) {
        // A record that its predecessor began and that nobody will end.
        self.words.truncate((self.scanned - self.front) as usize);
        self.ring_position = ring_position;
        self.others.push_back((self.scanned, self.latest, owner));
    }

    /// Room for words to be added at the end.
    pub fn end(&mut self) -> &mut Vec<u64> {
        let done = (self.settled - self.front) as usize;
        if done >= DONE_WORDS && done >= self.words.len() / 2 {
            self.words.drain(..done);
            self.front = self.settled;
        }
        &mut self.words
    }

    /// Looks at the words that were added: takes control messages out (`each` gets their time and
    /// makes what stands in their place, if anything), finds where records end. `more`: words were
    /// published that have not been added yet, so that the last record may be cut.
    ///
    /// # Errors
    /// Where somebody scribbled over the lane: what was right before that place stays.
    pub fn scan(
        &mut self,
        more: bool,
        mut each: impl FnMut(u64, Control<'_>) -> Option<Other>,
    ) -> Result<(), Damaged> {
        loop {
            self.skip_events();
            let at = (self.scanned - self.front) as usize;
            let Some(rest) = self.words.get(at..).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            let taken = match length(rest) {
                Ok((Op::Pad, _)) => {
                    let skipped = RING_WORDS - self.ring_position % RING_WORDS;
                    if skipped > rest.len() as u64 {
                        return self.cut(at, more);
                    }
                    self.words[at] = padding(skipped);
                    skipped
                }
                Ok((Op::Control, taken)) => {
                    let Ok((Record::Control { time, kind, bytes }, _)) = decode(rest) else {
                        return self.cut(at, false);
                    };
                    let mut buffer = [0; BODY_MAX + 8];
                    let body = control::body(rest, bytes, &mut buffer);
                    let Some(message) = control::parse(kind, body) else {
                        return self.cut(at, false);
                    };
                    self.latest = self.latest.max(time);
                    if let Some(other) = each(time, message) {
                        self.others.push_back((self.scanned, time, other));
                    }
                    self.words[at] = padding(taken as u64);
                    taken as u64
                }
                Ok((Op::Stack, taken)) => {
                    let Ok((Record::Stack { time, change }, _)) = decode(rest) else {
                        return self.cut(at, false);
                    };
                    let stack = Item::Stack {
                        lane: self.lane,
                        kept: change.kept,
                        frames: rest[2..taken].to_vec(),
                    };
                    self.latest = self.latest.max(time);
                    let other = Other::Item(Box::new(stack));
                    self.others.push_back((self.scanned, time, other));
                    self.words[at] = padding(taken as u64);
                    taken as u64
                }
                Ok((_, taken)) => {
                    self.latest = self.latest.max(rest[0] >> 8);
                    taken as u64
                }
                Err(DecodeError::Short) => {
                    let short = (rest.len() as u64) < RECORD_WORDS_MAX;
                    return self.cut(at, more && short);
                }
                Err(_) => return self.cut(at, false),
            };
            self.scanned += taken;
            self.ring_position += taken;
        }
    }

    /// Goes past whole events: nearly all records.
    #[inline]
    fn skip_events(&mut self) {
        let begin = (self.scanned - self.front) as usize;
        let mut rest = self.words.get(begin..).unwrap_or(&[]);
        let (all, mut latest) = (rest.len(), self.latest);
        while let Some(&first) = rest.first() {
            let Some(beyond) = event_length(rest).and_then(|taken| rest.get(taken..)) else {
                break;
            };
            latest = latest.max(first >> 8);
            rest = beyond;
        }
        let taken = (all - rest.len()) as u64;
        self.latest = latest;
        self.scanned += taken;
        self.ring_position += taken;
    }

    /// The record at index `at` is not whole: it will be, or never was one.
    fn cut(&mut self, at: usize, later: bool) -> Result<(), Damaged> {
        if later {
            return Ok(());
        }
        self.words.truncate(at);
        Err(Damaged)
    }

    /// The time of the latest record: the source brings nothing earlier any more.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Words that wait.
    pub(super) fn len(&self) -> u64 {
        self.scanned - self.at
    }

    /// The next event: where it is, and its first word.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        let mut at = self.at;
        while at < self.scanned {
            let &first = self.words.get((at - self.front) as usize)?;
            if first as u8 != Op::Pad as u8 {
                return Some((at, first));
            }
            at += first >> 8;
        }
        None
    }

    /// The words of whole events from a coordinate on, up to what is no event.
    #[inline(always)]
    pub(super) fn events_from(&self, at: u64) -> &[u64] {
        let until = match self.others.front() {
            Some(&(place, ..)) => place.min(self.scanned),
            None => self.scanned,
        };
        self.get((at, until.max(at)))
    }

    /// Reads the first event from a coordinate on into `event`. Returns where its frames are, whether
    /// the stack goes on beyond them, and where the next record is.
    #[inline(always)]
    pub(super) fn read_from(&self, mut at: u64, event: &mut Event) -> Option<Place> {
        while at < self.scanned {
            let rest = self.words.get((at - self.front) as usize..)?;
            match read_event(rest, event) {
                Ok(extent) => {
                    let first = at + extent.frames_at as u64;
                    let end = first + extent.frames as u64;
                    return Some(Place {
                        frames: (first, end),
                        truncated: extent.truncated,
                        kept: extent.kept,
                        end,
                    });
                }
                Err(_) => at += rest[0] >> 8,
            }
        }
        None
    }

    /// Words by their coordinates.
    #[inline]
    pub(super) fn get(&self, (start, end): (u64, u64)) -> &[u64] {
        let range = (start - self.front) as usize..(end - self.front) as usize;
        self.words.get(range).unwrap_or(&[])
    }
}

/// What stands where no event is: how many words to skip, in the place of the time.
fn padding(words: u64) -> u64 {
    first_word(words, Op::Pad)
}
