//! What an image has written into the pipe, until it has been emitted.
//!
//! A message is written before its call goes on, so messages stand in the order of cause and effect,
//! but for one kind: a `realloc` that moves a block gives the old one back before it can say so. Who
//! obtains it meanwhile may say so earlier. Such a move is *fetched* to the front when somebody
//! waits for it.

use std::collections::VecDeque;

use smallvec::SmallVec;
use sntrace_format::record::Event;

use super::Other;
use super::parts::{Change, Parts};

/// How long a chain of moves, each of which waits for the next, can be; one a thread.
const FETCHED_MAX: u32 = 200;

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub time: u64,
    pub what: Said,
}

/// What it says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Event(RawEvent),
    Other(Other),
}

/// An event as it came through the pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// The record.
    pub event: Event,
    /// Return addresses beyond the caller.
    pub frames: SmallVec<[u64; 2]>,
    /// Whether the stack goes on.
    pub truncated: bool,
    /// Thread id in its process's numbering.
    pub tid: u32,
    /// Dense number of the thread, by [`super::Orderer::thread`].
    pub thread: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub queue: VecDeque<Message>,
    /// The latest time of any message so far.
    pub latest: u64,
    /// Moves fetched to the front since the last emission: a chain of causes ends.
    pub fetched: u32,
}

impl Messages {
    /// Adds a message. Times don't go back.
    pub(super) fn push(&mut self, time: u64, what: Said) {
        self.latest = self.latest.max(time);
        let time = self.latest;
        self.queue.push_back(Message { time, what });
    }

    /// The first message's event, if it is one.
    pub(super) fn first_event(&self) -> Option<&RawEvent> {
        match self.queue.front().map(|first| &first.what) {
            Some(Said::Event(raw)) => Some(raw),
            _ => None,
        }
    }

    /// Puts something that was taken out back to the front.
    pub(super) fn put_back(&mut self, time: u64, other: Other) {
        let what = Said::Other(other);
        self.queue.push_front(Message { time, what });
    }

    /// Brings the move that gives `address` back, for which the first message waits, before it.
    /// False if it is not there.
    pub(super) fn fetch(&mut self, address: u64) -> bool {
        let Some(Message {
            time,
            what: Said::Event(first),
        }) = self.queue.front()
        else {
            return false;
        };
        // By its own clock: its time may be a later one's that was written before it.
        let (time, happened) = (*time, first.event.time);
        if self.fetched >= FETCHED_MAX {
            return false;
        }
        // All of them: the mover may be paused while a quick thread writes thousands.
        let Some(place) = self
            .queue
            .iter()
            .position(|message| moves_away(message, address, happened))
        else {
            return false;
        };
        let Some(mover) = self.queue.remove(place) else {
            return false;
        };
        self.fetched += 1;
        self.queue.push_front(Message { time, ..mover });
        true
    }
}

/// Whether this is a move, begun before `happened`, that gives `address` back. One that began later
/// gives it back for somebody else: who waits had its message written before anybody else could
/// have the address.
fn moves_away(message: &Message, address: u64, happened: u64) -> bool {
    let Said::Event(raw) = &message.what else {
        return false;
    };
    let parts = Parts::of(&raw.event);
    parts.gives_back_early(&raw.event)
        && parts.does(Change::GiveBack(address))
        && parts.times(&raw.event).1 <= happened
}
