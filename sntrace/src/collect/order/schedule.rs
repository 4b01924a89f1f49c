//! Whose turn it is: by time, later for who is blocked, earlier for who is waited for.

use std::cmp::Reverse;

use super::source::Source;
use super::{Missing, Orderer, Patience};
use crate::trace::ImageId;

impl Orderer {
    /// The head has to wait.
    pub(super) fn block(&mut self, at: usize, missing: Missing, patience: Patience) {
        self.sources[at].blocked = Some(missing);
        self.blocked.push(at as u32);
        if self.fetch(at) {
            return self.plan(at);
        }
        let source = &self.sources[at];
        let Some(head) = source.head() else { return };
        let wait = match missing {
            // What gives a block back may be published after the fact.
            Missing::Release(_) if source.is_pipe() => patience.pipe,
            _ if source.is_pipe() => patience.lanes,
            _ => patience.close / 2,
        };
        let deadline = head.time.saturating_add(wait);
        self.plan_at(at, deadline);
        // Whoever was moving away from the address at the time has its turn now.
        if let Missing::Release(_) = missing {
            for index in 0..self.active.len() {
                let other = self.active[index] as usize;
                let source = &self.sources[other];
                if source.blocked.is_none() && self.is_wanted(source) {
                    self.plan(other);
                }
            }
        }
    }

    /// Puts a source's head where it belongs in the schedule.
    pub(super) fn plan(&mut self, at: usize) {
        let Some(head) = self.sources[at].head() else {
            return;
        };
        let mut time = head.time;
        if head.moves_away {
            if self.is_wanted(&self.sources[at]) {
                time = head.earliest;
            }
            if !self.moving.contains(&(at as u32)) {
                self.moving.push(at as u32);
            }
        }
        self.plan_at(at, time);
    }

    pub(super) fn plan_at(&mut self, at: usize, time: u64) {
        let source = &mut self.sources[at];
        source.turn = source.turn.wrapping_add(1);
        self.schedule.push(Reverse((time, at as u32, source.turn)));
    }

    pub(super) fn plan_or_leave(&mut self, at: usize) {
        match self.sources[at].head() {
            Some(_) => self.plan(at),
            None => self.leave_if_empty(at),
        }
    }

    /// Takes the source whose turn it is out of the schedule.
    pub(super) fn next(&mut self) -> Option<(u64, usize)> {
        while let Some(Reverse((time, at, turn))) = self.schedule.pop() {
            let source = &self.sources[at as usize];
            if source.turn == turn && source.head().is_some() {
                return Some((time, at as usize));
            }
        }
        None
    }

    /// When the next one's turn is.
    pub(super) fn next_time(&mut self) -> u64 {
        while let Some(Reverse((time, at, turn))) = self.schedule.peek() {
            let source = &self.sources[*at as usize];
            if source.turn == *turn && source.head().is_some() {
                return *time;
            }
            self.schedule.pop();
        }
        u64::MAX
    }

    /// Whether a source's head is a move away from a block whose release another source waits for,
    /// and was going on then.
    pub(super) fn is_wanted(&self, source: &Source) -> bool {
        let (Some(head), Some(old_block)) = (source.head(), source.moves_from()) else {
            return false;
        };
        let wanted = Some(Missing::Release(old_block));
        let mut blocked = self.blocked.iter().map(|&at| &self.sources[at as usize]);
        blocked.any(|waiting| {
            waiting.blocked == wanted
                && waiting
                    .head()
                    .is_some_and(|first| first.image == head.image && head.earliest <= first.time)
        })
    }

    /// Since when the one that is blocked longest has been waiting, or since when a call has been
    /// going on whose place is not certain yet.
    pub(super) fn uncertain_since(&mut self) -> u64 {
        let sources = &self.sources;
        self.moving.retain(|&at| {
            let head = sources[at as usize].head();
            head.is_some_and(|head| head.earliest < head.time)
        });
        let uncertain = self.blocked.iter().chain(&self.moving);
        let sources = uncertain.map(|&at| &self.sources[at as usize]);
        let heads = sources
            .filter(|source| !source.is_pipe())
            .filter_map(|source| source.head());
        heads.map(|head| head.earliest).min().unwrap_or(u64::MAX)
    }

    /// Owners have changed: whoever was blocked on that may try again. Returns whether anybody was.
    pub(super) fn unblock_for(&mut self, (image, touched): (ImageId, [u64; 2])) -> bool {
        let mut any = false;
        let mut index = 0;
        while let Some(&at) = self.blocked.get(index) {
            let at = at as usize;
            let source = &self.sources[at];
            let address = match source.blocked {
                Some(Missing::Release(address) | Missing::Owner(address)) => address,
                None => 0,
            };
            let its_image = source.head().is_some_and(|head| head.image == image);
            if its_image && address != 0 && touched.contains(&address) {
                // Takes it out of the list.
                self.unblock(at);
                self.plan(at);
                self.statistics.reordered += 1;
                any = true;
            } else {
                index += 1;
            }
        }
        any
    }

    pub(super) fn unblock(&mut self, at: usize) {
        self.sources[at].blocked = None;
        if let Some(place) = self.blocked.iter().position(|&other| other as usize == at) {
            self.blocked.swap_remove(place);
        }
    }
}
