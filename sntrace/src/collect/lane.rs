//! One lane: how far its thread is, and its words out of the ring.
//!
//! What a traced process writes is not trusted: a record that can't be right ends the reading of
//! this lane, with a count, and nothing else.

use std::time::{Duration, Instant};

use sntrace_format::ring::Consumer;

use super::order::SourceId;
use crate::trace::ImageId;

/// A lane with its reader's memory.
pub struct Lane {
    /// The reading end.
    pub consumer: Consumer,
    /// Whose it is.
    pub image: ImageId,
    /// Its source in the orderer.
    pub source: SourceId,
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
}

impl Lane {
    /// A lane of which nothing was read yet.
    #[must_use]
    pub fn new(consumer: Consumer, image: ImageId, source: SourceId) -> Self {
        Self {
            consumer,
            image,
            source,
            published: 0,
            clean_until: 0,
            inside: None,
            ended: false,
            damaged: false,
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

    /// Adds what was published at the last look, at most `limit` words of it, to `words` and gives
    /// the room back at once, so that the producer writes on while the records are worked through.
    /// Returns whether there was anything.
    pub fn take(&mut self, limit: u64, words: &mut Vec<u64>) -> bool {
        let start = self.consumer.tail();
        let end = self.published.min(start.saturating_add(limit));
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
        if self.consumer.tail() == start {
            return false;
        }
        if self.consumer.release() {
            super::segment::futex_wake(self.consumer.header().waiting());
        }
        true
    }
}
