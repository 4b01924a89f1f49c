//! The merge: whose turn it is emits, up to the next one's turn, and what nobody can change any more is settled.

use super::plain::Until;
use super::source::HeadKind;
use super::{CLOSE_NS, Orderer, PIPE_PATIENCE_NS, Patience, SKEW_NS};
use crate::collect::ticks::Timeline;
use crate::trace::Batch;

impl Orderer {
    /// Emits what is certain: everything up to `watermark`, less the skew. `finally`: no source
    /// will deliver anything any more, so everything. At most about `limit` items are added to
    /// `out`; true if there may be more to emit.
    pub fn advance(
        &mut self,
        watermark: u64,
        finally: bool,
        limit: usize,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let patience = Patience {
            lanes: timeline.ticks_in(SKEW_NS),
            close: timeline.ticks_in(CLOSE_NS),
            pipe: timeline.ticks_in(PIPE_PATIENCE_NS),
        };
        let certain = if finally {
            u64::MAX
        } else {
            watermark.saturating_sub(patience.lanes)
        };
        self.forget_idle();
        let before = out.items.len();
        let limit = limit.saturating_add(self.tentative());
        let more = loop {
            if out.items.len() >= limit {
                break true;
            }
            let Some((time, at)) = self.next() else {
                break false;
            };
            if time > certain {
                self.plan_at(at, time);
                break false;
            }
            let until = self.next_time().min(certain);
            match self.sources[at].blocked {
                Some(_) => self.resolve(at, time, patience, timeline, out),
                None => self.run(at, until, limit, patience, timeline, out),
            }
            self.fences.judge(self.sources[at].speaker.image);
        };
        self.search.earn(out.items.len().saturating_sub(before));
        if !more {
            let since = self.uncertain_since().min(certain);
            self.settle(if finally { u64::MAX } else { since }, patience);
        }
        more
    }

    /// Emits a source's deliveries up to a time.
    fn run(
        &mut self,
        at: usize,
        until: u64,
        limit: usize,
        patience: Patience,
        timeline: &Timeline,
        out: &mut Batch,
    ) {
        self.settle_before(at, patience);
        // With nothing else of about this time no other order is possible: up to `calm` no journal is
        // kept. Whether more is calm is asked again from `ask` on.
        let alone = self.schedule.is_empty() && self.journal.len() == 0;
        let (mut calm, mut ask) = if alone { (u64::MAX, u64::MAX) } else { (0, 0) };
        // A move has its turn before its time while somebody waits for it.
        let mut wanted = self.is_wanted(&self.sources[at]);
        loop {
            let Some(head) = self.sources[at].head() else {
                return self.leave_if_empty(at);
            };
            if head.time > until && !wanted {
                return self.plan(at);
            }
            if out.items.len() >= limit {
                self.settle_before(at, patience);
                return self.plan(at);
            }
            wanted = false;
            let (time, kind, is_event) = (head.time, head.kind, head.is_event());
            if time > calm && time >= ask {
                ask = time.saturating_add(patience.close).saturating_add(1);
                calm = self.calm_until(at, until, patience).unwrap_or(0);
            }
            let journaled = time > calm;
            if kind == HeadKind::Plain && self.blocked.is_empty() {
                let until = Until {
                    time: until.min(if journaled { ask } else { calm }),
                    items: limit,
                };
                if self.run_plain(at, until, journaled, timeline, out) {
                    continue;
                }
            }
            if !is_event {
                self.other(at, journaled, timeline, out);
                continue;
            }
            match self.apply(at, true, journaled, timeline, out) {
                Ok(touched) => {
                    if !self.blocked.is_empty() && self.unblock_for(touched) {
                        return self.plan_or_leave(at);
                    }
                }
                Err(missing) => return self.block(at, missing, patience),
            }
        }
    }

    /// Up to when a source's events have nothing of another's near them, before or behind, if its
    /// head hasn't, and if no other source has a turn before `until`. Nothing in the journal will be taken back
    /// then: it is settled.
    fn calm_until(&mut self, at: usize, until: u64, patience: Patience) -> Option<u64> {
        let time = self.sources[at].head()?.time;
        let calm = until.saturating_sub(patience.close.saturating_mul(4));
        if time > calm || !self.blocked.is_empty() || self.uncertain_since() <= until {
            return None;
        }
        if self.journal.iter().any(|entry| entry.source as usize != at) {
            return None;
        }
        self.journal.settle_all(&mut self.sources);
        Some(calm)
    }

    /// A source has its turn, and so no other has anything earlier.
    fn settle_before(&mut self, at: usize, patience: Patience) {
        if let Some(time) = self.sources[at].head().map(|head| head.time) {
            let since = self.uncertain_since().min(time);
            self.settle(since, patience);
        }
    }

    /// No head that waits, now or later, is of an earlier time than `since`: what was emitted well
    /// before it stays so.
    fn settle(&mut self, since: u64, patience: Patience) {
        let before = since.saturating_sub(patience.close.saturating_mul(4));
        self.journal.settle(before, &mut self.sources);
    }

    /// Gives a pipe's source to the next image.
    pub(super) fn leave_if_empty(&mut self, at: usize) {
        let source = &self.sources[at];
        let image = source.speaker.image;
        if source.is_pipe()
            && source.head().is_none()
            && !self.journal.mentions(at as u32)
            && self.pipe_sources.get(&image) == Some(&(at as u32))
        {
            self.pipe_sources.remove(&image);
            self.spare.push(at as u32);
        }
    }

    /// Takes sources that have nothing any more off the list.
    fn forget_idle(&mut self) {
        let sources = &mut self.sources;
        self.active.retain(|&at| {
            let source = &mut sources[at as usize];
            source.listed = source.head().is_some();
            source.listed
        });
    }
}
