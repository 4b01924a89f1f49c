//! The short way of the events that nearly all are.
//!
//! A *plain* event obtains one block or gives one back, and says nothing else: three words, and perhaps
//! frames. Of a lane they come in long rows, which are emitted in one loop that asks once what holds
//! for all of them. Whatever else an event is, or misses, is left to [`Orderer::apply`].

use sntrace_format::record::{Op, brief, event_length, has_frames, size_and_caller};
use sntrace_format::stack::StackWord;

use super::apply::live_of;
use super::journal::{Emitted, Entry};
use super::source::Queue;
use super::{Orderer, StackDepth};
use crate::collect::ticks::Timeline;
use crate::trace::lanes::SAME_STACK;
use crate::trace::live::{Block, LiveBlocks};
use crate::trace::{Batch, Event, StackId};

/// What a plain event does with its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Obtains(Op),
    GivesBack(Op),
}

/// What the event with this first word does; `None` if it is not plain.
#[inline(always)]
pub(super) fn change(first: u64) -> Option<Change> {
    const BY_FIRST_BYTE: &[Option<Change>; 256] = &{
        let mut changes = [None; 256];
        let mut at = 0;
        while at < changes.len() {
            changes[at] = match brief(at as u64) {
                Some(op) if op.operands() > 0 || op.is_mapping() => None,
                Some(op) if op.only_releases() => Some(Change::GivesBack(op)),
                Some(op) if op.acquires() => Some(Change::Obtains(op)),
                _ => None,
            };
            at += 1;
        }
        changes
    };
    BY_FIRST_BYTE[(first & 0xff) as usize]
}

/// Up to where events are emitted.
#[derive(Clone, Copy)]
pub(super) struct Until {
    /// Their latest time.
    pub time: u64,
    /// With so many items in the batch it is full.
    pub items: usize,
}

/// Events whose blocks are asked for before their turn: as many as are worked through while memory
/// answers.
const LEAD: u32 = 8;

/// How far ahead of the event whose turn it is blocks have been asked for.
#[derive(Default)]
struct Ahead {
    at: usize,
    lead: u32,
}

impl Ahead {
    /// It is the turn of the next event.
    #[inline(always)]
    fn prefetch(&mut self, words: &[u64], live: &LiveBlocks) {
        while self.lead < LEAD {
            let Some(rest) = words.get(self.at..) else {
                return;
            };
            let (Some(&address), Some(length)) = (rest.get(1), event_length(rest)) else {
                return;
            };
            live.prefetch(address);
            self.at += length;
            self.lead += 1;
        }
        self.lead -= 1;
    }
}

impl Orderer {
    /// Emits a lane's events as long as they are plain and miss nothing. Returns whether there were
    /// any.
    #[inline]
    pub(super) fn run_plain(
        &mut self,
        at: usize,
        until: Until,
        journaled: bool,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let source = &mut self.sources[at];
        let Queue::Lane(queue) = &mut source.queue else {
            return false;
        };
        let speaker = &mut source.speaker;
        let (image, tid, thread) = (speaker.image, speaker.tid, speaker.thread);
        let (Some((start, _)), Some(serial)) =
            (queue.next(), self.serials.get_mut(thread as usize))
        else {
            return false;
        };
        let live = live_of(&mut self.current, &mut self.images, image);
        let full = self.depth == StackDepth::Full;
        let words = queue.events_from(start);
        let (mut done, mut place) = (0, queue.at);
        let mut watch = self.fences.watch(image);
        let mut ahead = Ahead::default();
        while let Some((&[first, address, last], rest)) = words[done..].split_first_chunk() {
            // Among others' events a lane's come one by one, and what is ahead is theirs.
            if !journaled {
                ahead.prefetch(words, live);
            }
            let Some(change) = change(first) else { break };
            let time = (first >> 8).max(source.clock);
            if time > until.time || address == 0 || out.items.len() >= until.items {
                break;
            }
            let (mut end, mut kept, mut truncated) = (done + 3, SAME_STACK, speaker.truncated);
            let mut frames: &[u64] = &[];
            if has_frames(first) {
                let Some((&word, listed)) = rest.split_first() else {
                    break;
                };
                let stack = StackWord::from_word(word);
                let Some(new) = listed.get(..usize::from(stack.count)) else {
                    break;
                };
                (frames, kept, truncated) = (new, stack.kept, stack.truncated);
                end += 1 + new.len();
            }
            let (size, caller) = size_and_caller(last);
            let serial_before = *serial;
            let (mut obtained, mut given_back, mut released) = (0, 0, None);
            let (op, temporary) = match change {
                Change::GivesBack(op) => {
                    let Some(block) = live.end(address) else {
                        break;
                    };
                    (given_back, released) = (address, Some(block));
                    let temporary = block.thread == thread && block.serial == serial_before;
                    (op, temporary)
                }
                Change::Obtains(op) => {
                    let block = Block {
                        bytes: size,
                        thread,
                        serial: serial_before.wrapping_add(1),
                    };
                    if !live.begin(address, block) {
                        break;
                    }
                    (*serial, obtained) = (block.serial, address);
                    (op, false)
                }
            };
            let last_ns = self.last_ns;
            self.last_ns = last_ns.max(timeline.nanoseconds(time));
            let first_frame = out.frames.len() as u32;
            if full {
                out.frames.push(at as u64 | u64::from(kept) << 32);
            }
            out.frames.extend_from_slice(frames);
            let (time_ns, frames) = (self.last_ns, (first_frame, out.frames.len() as u32));
            out.push(Event {
                op,
                time_ns,
                image,
                tid,
                block: address,
                size,
                count: 1,
                alignment: 0,
                old_block: 0,
                caller,
                frames,
                stack: StackId::EMPTY,
                truncated,
                released: released.map(|block| block.bytes),
                temporary,
            });
            if journaled {
                self.journal.push(Entry {
                    source: at as u32,
                    place,
                    speaker: *speaker,
                    clock: source.clock,
                    time,
                    last_ns,
                    what: Emitted::Event {
                        image,
                        thread,
                        serial: serial_before,
                        obtained,
                        given_back,
                        released,
                        displaced: None,
                        message: None,
                    },
                });
            }
            if let Some(watch) = &mut watch {
                watch.event(given_back, obtained, time, thread);
            }
            source.clock = time;
            if full {
                speaker.truncated = truncated;
            }
            done = end;
            place = start + done as u64;
        }
        if done == 0 {
            return false;
        }
        if let Some(&[_, next, ..]) = words[done..].first_chunk::<3>() {
            live.prefetch(next);
        }
        queue.at = place;
        if !journaled {
            queue.settled = place;
        }
        source.load_head();
        true
    }
}
