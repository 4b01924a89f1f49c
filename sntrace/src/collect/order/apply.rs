//! One event applied to the live blocks: what must be so before it, and what is so after it.

use super::cause::call_time;
use super::{Delivery, Orderer, RawEvent};
use crate::collect::live::{Block, LiveBlocks};
use crate::collect::ticks::Timeline;
use crate::trace::{Batch, Event, ImageId, Item, Op};

/// The addresses whose owner changed; 0 for none.
pub(super) type Touched = [u64; 2];

/// What has to happen before an event can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The release of an address that is still owned.
    Release(u64),
    /// The allocation of an address that has no owner.
    Owner(u64),
    /// What others have to do with this address first.
    Turn(u64),
}

impl Missing {
    pub(super) fn address(self) -> u64 {
        let (Missing::Release(address) | Missing::Owner(address) | Missing::Turn(address)) = self;
        address
    }
}

/// Of an event that concerns this address: whether it gives it back or resizes the block there,
/// rather than obtain it.
pub(super) fn releases_or_holds(
    event: &sntrace_format::record::Event,
    address: u64,
) -> Option<bool> {
    let parts = Parts::of(event);
    if parts.given_back == address {
        return Some(true);
    }
    (parts.obtained == address).then_some(false)
}

/// The parts of an event that its op puts into the operands.
struct Parts {
    count: u64,
    alignment: u64,
    old_block: u64,
    /// The block that the caller did not have before, or 0.
    obtained: u64,
    /// The block that the caller no longer has, or 0.
    given_back: u64,
}

impl Parts {
    #[inline(always)]
    fn of(event: &sntrace_format::record::Event) -> Self {
        let op = event.op;
        let (mut count, mut alignment, mut old_block) = (1, 0, 0);
        match op {
            Op::Malloc | Op::Free => {}
            Op::Calloc => count = event.operands[0],
            Op::Realloc | Op::Mremap => old_block = event.operands[0],
            Op::Reallocarray => (old_block, count) = (event.operands[0], event.operands[2]),
            _ if op.operands() == 1 => alignment = event.operands[0],
            _ => {}
        }
        // glibc's realloc(block, 0) frees and returns null; any other null left it alone.
        let freed_by_zero = op == Op::Realloc && event.block == 0 && event.size == 0;
        let (obtained, given_back) = if op.is_mapping() {
            (0, 0)
        } else if op.only_releases() {
            (0, event.block)
        } else if event.block != 0 || freed_by_zero {
            (event.block, old_block)
        } else {
            (0, 0)
        };
        Self {
            count,
            alignment,
            old_block,
            obtained,
            given_back,
        }
    }
}

impl Orderer {
    /// Updates the live blocks and hands the event on. `close`: two clocks may disagree by so many
    /// ticks; without it the event is applied whatever may be missing. `Err`: what is missing, and
    /// nothing was done.
    #[inline]
    pub(super) fn apply(
        &mut self,
        image: ImageId,
        time: u64,
        raw: &RawEvent,
        close: Option<u64>,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> Result<Touched, Missing> {
        let event = &raw.event;
        let parts = Parts::of(event);
        let (obtained, given_back) = (parts.obtained, parts.given_back);
        let serial = self.serials.get(raw.thread as usize).copied().unwrap_or(0);
        let mut released = None;
        let mut temporary = false;
        if given_back != 0 {
            if let Some(close) = close
                && let Some(missing) = self.missing(image, time, raw, &parts, close)
            {
                return Err(missing);
            }
            let ended = self.live(image).end(given_back);
            released = ended.map(|block| block.bytes);
            temporary = obtained == 0
                && ended.is_some_and(|block| block.thread == raw.thread && block.serial == serial);
        }
        if obtained != 0 {
            let block = Block {
                bytes: parts.count.saturating_mul(event.size),
                thread: raw.thread,
                serial: serial.wrapping_add(1),
            };
            if !self.live(image).begin(obtained, block) {
                if close.is_some() {
                    return Err(Missing::Release(obtained));
                }
                self.statistics.unseen_releases += 1;
                self.live(image).end(obtained);
                self.live(image).begin(obtained, block);
            }
            if let Some(place) = self.serials.get_mut(raw.thread as usize) {
                *place = block.serial;
            }
        }
        let start = out.frames.len() as u32;
        if !raw.frames.is_empty() {
            out.frames.extend_from_slice(&raw.frames);
        }
        let time_ns = self.time(time, timeline);
        out.items.push(Item::Event(Event {
            op: event.op,
            time_ns,
            image,
            tid: raw.tid,
            block: event.block,
            size: event.size,
            count: parts.count,
            alignment: parts.alignment,
            old_block: parts.old_block,
            caller: event.caller,
            frames: (start, out.frames.len() as u32),
            truncated: raw.truncated,
            released,
            temporary,
        }));
        Ok([obtained, given_back])
    }

    /// What an event that gives a block back has to ask for before anything may change.
    #[inline]
    fn missing(
        &mut self,
        image: ImageId,
        time: u64,
        raw: &RawEvent,
        parts: &Parts,
        close: u64,
    ) -> Option<Missing> {
        let (address, obtained) = (parts.given_back, parts.obtained);
        let Some(holder) = self.live(image).thread_of(address) else {
            return Some(Missing::Owner(address));
        };
        let called = call_time(&raw.event, time);
        let late = called.saturating_add(close);
        if obtained == address {
            return None;
        }
        if holder != raw.thread && self.still_has(image, holder, address, late) {
            return Some(Missing::Turn(address));
        }
        let earlier = called.saturating_sub(close);
        if self.blocked > 0 && self.somebody_obtains(image, raw.thread, address, earlier) {
            return Some(Missing::Turn(address));
        }
        (obtained != 0 && self.live(image).contains(obtained)).then_some(Missing::Release(obtained))
    }

    #[inline]
    fn live(&mut self, image: ImageId) -> &mut LiveBlocks {
        if self.current.0 != image {
            self.change_image(image);
        }
        &mut self.current.1
    }

    #[cold]
    fn change_image(&mut self, image: ImageId) {
        let next = self.images.remove(&image).unwrap_or_default();
        let (old, blocks) = std::mem::replace(&mut self.current, (image, next));
        self.images.insert(old, blocks);
    }

    /// Nanoseconds, never going back.
    fn time(&mut self, ticks: u64, timeline: &Timeline) -> u64 {
        self.last_ns = self.last_ns.max(timeline.nanoseconds(ticks));
        self.last_ns
    }

    /// Hands everything but events on.
    pub(super) fn emit_other(
        &mut self,
        image: ImageId,
        time: u64,
        delivery: Delivery,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        let item = match delivery {
            Delivery::Process {
                pid,
                ppid,
                forked_from,
                executable,
                command,
            } => {
                let time_ns = self.time(time, timeline);
                Item::Process {
                    image,
                    time_ns,
                    pid,
                    ppid,
                    forked_from,
                    executable,
                    command,
                }
            }
            Delivery::ModuleAdd(module) => Item::ModuleAdd {
                image,
                module: *module,
            },
            Delivery::ModuleRemove(start) => Item::ModuleRemove { image, start },
            Delivery::LoaderCalled(epoch) => Item::LoaderCalled { image, epoch },
            Delivery::Exec(pid, path) => Item::Exec { image, pid, path },
            Delivery::Ended(exit) => {
                let blocks = std::mem::take(self.live(image));
                self.threads.retain(|&(owner, _), _| owner != image);
                Item::Ended {
                    image,
                    exit,
                    live_blocks: blocks.count(),
                    live_bytes: blocks.bytes(),
                }
            }
            Delivery::Event(_) => return,
        };
        out.items.push(item);
    }
}
