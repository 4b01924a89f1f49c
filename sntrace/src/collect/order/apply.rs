//! Emission: one head applied to the live blocks and handed on.

use super::fences::{Limits, WATCHED_NS};
use super::journal::{Emitted, Entry};
use super::source::{Head, HeadKind, Queue, Source};
use super::{CLOSE_NS, Missing, Orderer, Other, Patience, StackDepth};
use crate::collect::ticks::Timeline;
use crate::trace::lanes::SAME_STACK;
use crate::trace::live::{Block, LiveBlocks};
use crate::trace::{Batch, Event, ImageId, Item, Ownership, StackId};

/// The addresses of an image whose owner changed; 0 for none.
pub(super) type Touched = (ImageId, [u64; 2]);

impl Orderer {
    /// Emits a source's head, an event. With `strict` only if nothing is missing, else an error and
    /// nothing was done; without it, whatever may be missing.
    #[inline]
    pub(super) fn apply(
        &mut self,
        at: usize,
        strict: bool,
        journaled: bool,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> Result<Touched, Missing> {
        let source = &mut self.sources[at];
        let (Some(head), Some(details)) = (source.head(), source.details()) else {
            return Ok((ImageId(0), [0; 2]));
        };
        let (time, image) = (head.time, head.image);
        let (parts, event) = (&details.parts, &details.record);
        let (obtained, given_back) = (parts.obtained, parts.given_back);
        let live = live_of(&mut self.current, &mut self.images, image);
        let mut no_serial = 0;
        let serial = self
            .serials
            .get_mut(details.thread as usize)
            .unwrap_or(&mut no_serial);
        let serial_before = *serial;
        let (mut released, mut displaced) = (None, None);
        if given_back != 0 {
            released = live.end(given_back);
            if released.is_none() && strict {
                return Err(Missing::Owner(given_back));
            }
        }
        if obtained != 0 {
            let block = Block {
                bytes: parts.count.saturating_mul(event.size),
                thread: details.thread,
                serial: serial_before.wrapping_add(1),
            };
            if !live.begin(obtained, block) {
                if strict {
                    if let Some(block) = released {
                        live.begin(given_back, block);
                    }
                    return Err(Missing::Release(obtained));
                }
                self.statistics.unseen += 1;
                displaced = live.end(obtained);
                live.begin(obtained, block);
            }
            *serial = block.serial;
        }
        let owners = Ownership {
            obtained,
            given_back,
        };
        let temporary = owners.ends_temporary(released, details.thread, serial_before);
        let last_ns = self.last_ns;
        self.last_ns = last_ns.max(timeline.nanoseconds(time));
        let first_frame = out.frames.len() as u32;
        if self.depth == StackDepth::Full {
            let kept = details.kept.unwrap_or(SAME_STACK);
            out.frames.push(at as u64 | u64::from(kept) << 32);
        }
        match &source.queue {
            Queue::Lane(words) => {
                if details.frames.0 < details.frames.1 {
                    out.frames.extend_from_slice(words.get(details.frames));
                }
            }
            Queue::Pipe(messages) => {
                let first = messages.first_event();
                out.frames
                    .extend_from_slice(first.map_or(&[], |raw| &raw.frames));
            }
        }
        let time_ns = self.last_ns;
        let frames = (first_frame, out.frames.len() as u32);
        out.push(Event {
            op: event.op,
            time_ns,
            image,
            tid: details.tid,
            block: event.block,
            size: event.size,
            count: parts.count,
            alignment: parts.alignment,
            old_block: parts.old_block,
            caller: event.caller,
            frames,
            stack: StackId::EMPTY,
            truncated: details.truncated,
            released: released.map(|block| block.bytes),
            temporary,
        });
        let (thread, end, truncated) = (details.thread, details.end, details.truncated);
        let place = source.place();
        let mut message = None;
        match &mut source.queue {
            Queue::Lane(words) => {
                words.at = end;
                if !journaled {
                    words.settled = end;
                }
            }
            Queue::Pipe(messages) => {
                messages.fetched = 0;
                message = messages.queue.pop_front();
            }
        }
        if let Some(watch) = self.fences.watch(image) {
            watch.event(given_back, obtained, time, details.thread);
        }
        if journaled {
            self.journal.push(Entry {
                source: at as u32,
                place,
                speaker: source.speaker,
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
                    displaced,
                    message: message.map(Box::new),
                },
            });
        }
        source.clock = time;
        if self.depth == StackDepth::Full {
            source.speaker.truncated = truncated;
        }
        source.load_head();
        Ok((image, [obtained, given_back]))
    }

    /// What an event would have to wait for.
    pub(super) fn missing(
        &mut self,
        image: ImageId,
        parts: &super::parts::Parts,
    ) -> Option<Missing> {
        let live = self.live(image);
        if parts.given_back != 0 && !live.contains(parts.given_back) {
            return Some(Missing::Owner(parts.given_back));
        }
        let obtains = parts.obtained != 0 && parts.obtained != parts.given_back;
        (obtains && live.contains(parts.obtained)).then_some(Missing::Release(parts.obtained))
    }

    /// Emits a source's head, anything but an event.
    pub(super) fn other(
        &mut self,
        at: usize,
        journaled: bool,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        let source = &mut self.sources[at];
        let place = source.place();
        let Some((time, other)) = take_other(source) else {
            return;
        };
        let (speaker, clock, last_ns) = (source.speaker, source.clock, self.last_ns);
        let mut kept = None;
        match other {
            Other::Owner(image) => {
                kept = journaled.then_some(Other::Owner(image));
                source.speaker.image = image;
            }
            Other::Thread(tid) => {
                kept = journaled.then_some(Other::Thread(tid));
                let thread = self.thread(speaker.image, tid);
                let limits = Limits {
                    close: timeline.ticks_in(CLOSE_NS),
                    watched: timeline.ticks_in(WATCHED_NS),
                };
                self.fences.thread(speaker.image, limits);
                let source = &mut self.sources[at];
                (source.speaker.tid, source.speaker.thread) = (tid, thread);
            }
            Other::Item(mut item) => {
                if let Item::Process { time_ns, .. } = &mut *item {
                    self.last_ns = last_ns.max(timeline.nanoseconds(time));
                    *time_ns = self.last_ns;
                }
                out.items.push(*item);
            }
            Other::Ended(exit) => {
                self.journal.settle_all(&mut self.sources);
                self.drain(speaker.image, at, timeline, out);
                let blocks = std::mem::take(self.live(speaker.image));
                self.threads.retain(|&(owner, _), _| owner != speaker.image);
                self.fences.end(speaker.image);
                out.items.push(Item::Ended {
                    image: speaker.image,
                    exit,
                    live_blocks: blocks.count(),
                    live_bytes: blocks.bytes(),
                });
                let source = &mut self.sources[at];
                return source.load_head();
            }
        }
        let source = &mut self.sources[at];
        if journaled {
            self.journal.push(Entry {
                source: at as u32,
                place,
                speaker,
                clock,
                time,
                last_ns,
                what: Emitted::Other(time, kept),
            });
        }
        source.clock = source.clock.max(time);
        source.load_head();
    }

    /// The image is over: what is still blocked will not get its cause any more.
    fn drain(&mut self, image: ImageId, except: usize, timeline: &Timeline, out: &mut Batch) {
        while let Some(at) = self.earliest_of(image, except) {
            self.unblock(at);
            if self.sources[at].head().is_some_and(Head::is_event) {
                if let Ok(touched) = self.apply(at, false, false, timeline, out) {
                    self.unblock_for(touched);
                }
            } else {
                self.other(at, false, timeline, out);
            }
            self.plan_or_leave(at);
        }
    }

    /// The source with the earliest head of an image, except the one that says it ended.
    fn earliest_of(&self, image: ImageId, except: usize) -> Option<usize> {
        let active = self.active.iter().map(|&at| at as usize);
        let heads = active.filter(|&at| at != except).filter_map(|at| {
            let head = self.sources[at].head()?;
            let its = head.image == image && head.kind != HeadKind::Ended;
            its.then_some((head.time, at))
        });
        heads.min().map(|(_, at)| at)
    }

    #[inline]
    pub(super) fn live(&mut self, image: ImageId) -> &mut LiveBlocks {
        live_of(&mut self.current, &mut self.images, image)
    }

    /// The source's head is blocked and has waited until `now`.
    pub(super) fn resolve(
        &mut self,
        at: usize,
        now: u64,
        patience: Patience,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        if self.search(at, patience, timeline, out) {
            return;
        }
        let end = self.sources[at]
            .head()
            .map_or(0, |head| head.time.saturating_add(patience.lanes));
        if now < end && !self.sources[at].is_pipe() {
            return self.plan_at(at, end);
        }
        self.unblock(at);
        // What comes before it stays before it.
        self.journal.settle_all(&mut self.sources);
        if let Ok(touched) = self.apply(at, false, false, timeline, out) {
            self.unblock_for(touched);
        }
        self.plan_or_leave(at);
    }
}

#[inline(always)]
pub(super) fn live_of<'a>(
    current: &'a mut (ImageId, LiveBlocks),
    images: &mut std::collections::HashMap<ImageId, LiveBlocks>,
    image: ImageId,
) -> &'a mut LiveBlocks {
    if current.0 != image {
        change_image(current, images, image);
    }
    &mut current.1
}

#[cold]
fn change_image(
    current: &mut (ImageId, LiveBlocks),
    images: &mut std::collections::HashMap<ImageId, LiveBlocks>,
    image: ImageId,
) {
    let next = images.remove(&image).unwrap_or_default();
    let (old, blocks) = std::mem::replace(current, (image, next));
    if blocks.count() > 0 {
        images.insert(old, blocks);
    }
}

/// Takes the first thing that is no event out of a source.
fn take_other(source: &mut Source) -> Option<(u64, Other)> {
    match &mut source.queue {
        Queue::Lane(words) => {
            let (place, time, other) = words.others.pop_front()?;
            words.at = words.at.max(place);
            Some((time, other))
        }
        Queue::Pipe(messages) => {
            messages.fetched = 0;
            let message = messages.queue.pop_front()?;
            match message.what {
                super::messages::Said::Other(other) => Some((message.time, other)),
                super::messages::Said::Event(_) => None,
            }
        }
    }
}
