//! What comes before what: whose turn it is, and what an event may have to wait for.

use super::apply::{self, Missing};
use super::{Delivery, Orderer, Patience, Source};
use crate::trace::ImageId;

impl Orderer {
    /// When a source's head has its turn.
    #[inline]
    pub(super) fn turn(&self, source: &Source, patience: Patience) -> u64 {
        let Some(head) = source.waiting.front() else {
            return u64::MAX;
        };
        if self.blocked == 0 {
            return head.time;
        }
        if let Some(want) = &source.blocked {
            let patience = match (want.missing, source.from_pipe) {
                // What gives a block back may be published after the fact.
                (Missing::Release(_), Some(_)) => patience.pipe,
                // What hands one on is published before it does: it is here, though perhaps
                // behind another's blocked event.
                (Missing::Owner(_), None) => patience.lanes.saturating_mul(2),
                _ => patience.lanes,
            };
            return head.time.saturating_add(patience);
        }
        match &head.delivery {
            Delivery::Event(raw)
                if raw.event.op.replaces() && self.is_wanted(head.image, raw.event.operands[0]) =>
            {
                call_time(&raw.event, head.time)
            }
            _ => head.time,
        }
    }

    /// Whether a source waits for the release of this address.
    fn is_wanted(&self, image: ImageId, address: u64) -> bool {
        let mut wants = self
            .active
            .iter()
            .filter_map(|&at| self.sources[at].blocked);
        wants.any(|want| want.image == image && want.missing == Missing::Release(address))
    }

    /// Whether another thread obtained an address before `time`, which is held up behind something
    /// that is blocked, or blocked itself.
    pub(super) fn somebody_obtains(
        &self,
        image: ImageId,
        thread: u32,
        address: u64,
        time: u64,
    ) -> bool {
        let blocked = self.active.iter().map(|&at| &self.sources[at]);
        blocked
            .filter(|source| source.blocked.is_some())
            .flat_map(|source| source.waiting.iter().take_while(|held| held.time < time))
            .filter(|held| held.image == image)
            .any(|held| match &held.delivery {
                Delivery::Event(raw) => {
                    raw.thread != thread
                        && apply::releases_or_holds(&raw.event, address) == Some(false)
                }
                _ => false,
            })
    }

    /// Whether a thread that has an address still does something with it up to a time. Never in the
    /// pipe, where what comes first is first.
    pub(super) fn still_has(&self, image: ImageId, thread: u32, address: u64, until: u64) -> bool {
        let source = self.source_of.get(thread as usize).copied();
        let Some(source) = source.and_then(|at| self.sources.get(at)) else {
            return false;
        };
        if source.from_pipe.is_some() {
            return false;
        }
        let heads = source
            .waiting
            .iter()
            .filter(|waiting| waiting.image == image);
        heads
            .filter_map(|waiting| match &waiting.delivery {
                Delivery::Event(raw) if raw.thread == thread => Some((waiting.time, raw)),
                _ => None,
            })
            .take_while(|&(time, raw)| time.min(call_time(&raw.event, time)) <= until)
            .find_map(|(_, raw)| apply::releases_or_holds(&raw.event, address))
            .unwrap_or(false)
    }
}

/// When the call was made, as far as the record tells.
#[inline]
pub(super) fn call_time(event: &sntrace_format::record::Event, recorded: u64) -> u64 {
    if event.op.replaces() {
        event.operands[1].min(recorded)
    } else {
        recorded
    }
}

/// When the event took place: for a block that was resized in place, the time of the call.
#[inline]
pub(super) fn certain_time(event: &sntrace_format::record::Event, recorded: u64) -> u64 {
    if event.op.replaces() && event.operands[0] == event.block {
        call_time(event, recorded)
    } else {
        recorded
    }
}

/// Whether a delivery is the move, begun before a time, that releases what is missing.
pub(super) fn moves_away(delivery: &Delivery, missing: Missing, before: u64) -> bool {
    let (Missing::Release(address), Delivery::Event(raw)) = (missing, delivery) else {
        return false;
    };
    let event = &raw.event;
    event.op.replaces()
        && event.operands[0] == address
        && event.operands[1] <= before
        && event.block != address
        && event.block != 0
}
