//! What was emitted last, so that it can be taken back.

use std::collections::VecDeque;

use super::messages::Message;
use super::source::{Queue, Source, Speaker};
use super::{Orderer, Other};
use crate::trace::live::Block;
use crate::trace::{Batch, ImageId, Item};

/// So many emissions are kept at most, however long a call goes on whose place is uncertain.
const ENTRIES_MAX: usize = 20_000;

/// One emission and what was so before it.
#[derive(Debug)]
pub(super) struct Entry {
    pub source: u32,
    /// The source's next record, speaker and clock.
    pub place: u64,
    pub speaker: Speaker,
    pub clock: u64,
    /// By this time it was put in order.
    pub time: u64,
    pub last_ns: u64,
    pub what: Emitted,
}

#[derive(Debug)]
pub(super) enum Emitted {
    Event {
        image: ImageId,
        thread: u32,
        /// The thread's count of allocations.
        serial: u32,
        obtained: u64,
        given_back: u64,
        /// The block that was given back.
        released: Option<Block>,
        /// The block that was where the new one is, for want of its release.
        displaced: Option<Block>,
        /// Where it came through the pipe.
        message: Option<Box<Message>>,
    },
    /// `None`: the batch has it.
    Other(u64, Option<Other>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    /// How many items of the batch belong to it.
    items: usize,
}

impl Entry {
    fn items(&self) -> usize {
        match &self.what {
            Emitted::Event { .. } | Emitted::Other(_, None) => 1,
            Emitted::Other(_, Some(_)) => 0,
        }
    }
}

impl Journal {
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn mentions(&self, source: u32) -> bool {
        self.entries.iter().any(|entry| entry.source == source)
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.items += entry.items();
        self.entries.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_back()?;
        self.items -= entry.items();
        Some(entry)
    }

    /// What was put in order by an earlier time stays emitted.
    pub(super) fn settle(&mut self, before: u64, sources: &mut [Source]) {
        while let Some(first) = self.entries.front() {
            if first.time >= before && self.entries.len() <= ENTRIES_MAX {
                return;
            }
            self.items -= first.items();
            if let Queue::Lane(words) = &mut sources[first.source as usize].queue {
                words.settled = first.place;
            }
            self.entries.pop_front();
        }
    }

    /// Everything stays emitted.
    pub(super) fn settle_all(&mut self, sources: &mut [Source]) {
        for entry in self.entries.drain(..) {
            if let Queue::Lane(words) = &mut sources[entry.source as usize].queue {
                words.settled = words.at;
            }
        }
        self.items = 0;
    }
}

impl Orderer {
    /// Takes the last emission back. False if there is none.
    pub(super) fn undo(&mut self, out: &mut Batch) -> bool {
        let Some(entry) = self.journal.pop() else {
            return false;
        };
        self.last_ns = entry.last_ns;
        let (message, other) = match entry.what {
            Emitted::Event {
                image,
                thread,
                serial,
                obtained,
                given_back,
                released,
                displaced,
                message,
            } => {
                let live = self.live(image);
                if obtained != 0 {
                    live.end(obtained);
                }
                if let Some(block) = displaced {
                    live.begin(obtained, block);
                }
                if let Some(block) = released {
                    live.begin(given_back, block);
                }
                if let Some(place) = self.serials.get_mut(thread as usize) {
                    *place = serial;
                }
                if let Some(Item::Event(event)) = out.items.pop() {
                    out.frames.truncate(event.frames.0 as usize);
                }
                (message, None)
            }
            Emitted::Other(time, Some(other)) => (None, Some((time, other))),
            Emitted::Other(time, None) => {
                let item = out.items.pop();
                (None, item.map(|item| (time, Other::Item(Box::new(item)))))
            }
        };
        let source = &mut self.sources[entry.source as usize];
        source.speaker = entry.speaker;
        source.clock = entry.clock;
        match &mut source.queue {
            Queue::Lane(words) => {
                words.at = entry.place;
                if let Some((time, other)) = other {
                    words.others.push_front((entry.place, time, other));
                }
            }
            Queue::Pipe(messages) => {
                if let Some(message) = message {
                    messages.queue.push_front(*message);
                } else if let Some((time, other)) = other {
                    messages.put_back(time, other);
                }
            }
        }
        source.load_head();
        if !source.listed && source.head().is_some() {
            source.listed = true;
            self.active.push(entry.source);
        }
        true
    }
}
